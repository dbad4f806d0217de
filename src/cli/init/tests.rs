//! Drafts of whole documents load, and say what they should.

use std::path::Path;

use super::risk::Kind;
use super::*;
use crate::config::settings::Compiled;
use crate::policy::{Access, PatientSource, Route};

fn sample(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/init").join(name);
    document(&path).expect("a document")
}

fn loaded(text: &str) -> Compiled {
    let loaded = config::load("draft.yaml", text, Path::new("."));
    loaded.map(|(compiled, _)| compiled).unwrap_or_else(|faults| {
        panic!("{}\n{text}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

fn route<'c>(compiled: &'c Compiled, id: &str) -> &'c Route {
    let found = compiled.policy.routes.iter().find(|route| *route.id == *id);
    found.unwrap_or_else(|| panic!("no `{id}` in {:?}", compiled.policy.routes))
}

fn tier<'c>(compiled: &'c Compiled, id: &str) -> &'c str {
    &compiled.policy.tier(route(compiled, id).tier).name
}

#[test]
fn an_openapi_document_gives_a_careful_draft_that_loads() {
    let draft = openapi::draft(&sample("portal.openapi.yaml")).expect("a draft");
    let text = draft.render();
    let compiled = loaded(&text);
    for (id, expected) in [
        ("find-patients", "moderate"),
        ("get-patient", "moderate"),
        ("drop-patient", "critical"),
        ("set-profile", "high"),
        ("change-email", "critical"),
        ("export-record", "critical"),
        ("list-appointments", "moderate"),
        ("book", "high"),
        ("document", "high"),
        ("forgot", "critical"),
        ("list-services", "moderate"),
    ] {
        assert_eq!(tier(&compiled, id), expected, "{id}\n{text}");
    }
    let public: Vec<&str> = compiled
        .policy
        .routes
        .iter()
        .filter(|route| route.access == Access::Public)
        .map(|route| &*route.id)
        .collect();
    assert_eq!(public, ["health"], "nothing else, whatever the document says");
    assert!(text.contains("The document lets anybody call it."));

    let own = route(&compiled, "get-patient");
    assert_eq!(own.template.as_str(), "/api/v1/patients/{id}");
    assert_eq!(own.patient, Some(PatientSource::Path("id".into())));
    assert!(
        own.any_of
            .iter()
            .all(|entry| entry.patient_self && entry.scopes.iter().map(AsRef::as_ref).eq(["portal"]))
    );
    assert!(own.data_floor > crate::identity::Level::NONE);
    let asked = route(&compiled, "list-appointments");
    assert_eq!(asked.patient, Some(PatientSource::Query("patientId".into())));
    let staff = route(&compiled, "find-patients");
    assert!(staff.any_of.iter().all(|entry| entry.roles.iter().map(AsRef::as_ref).eq(["fill-in-role"])));
    assert_eq!(&*compiled.policy.issuers[0].issuer, "https://login.clinic.example/realms/clinic");
    for left_out in
        ["OPTIONS /patients/{id}", "/elsewhere", "GET /letters/{letter}", "GET /letters/{number}.pdf"]
    {
        assert!(
            draft.left_out.iter().any(|line| line.starts_with(left_out)),
            "{left_out}: {:?}",
            draft.left_out
        );
    }
}

#[test]
fn every_operation_is_a_protected_route_or_is_said_to_be_left_out() {
    let draft = openapi::draft(&sample("billing.openapi.json")).expect("a draft");
    let text = draft.render();
    let compiled = loaded(&text);
    assert_eq!(draft.routes.len() + draft.left_out.len(), 7, "{text}");
    for (id, expected) in
        [("get-invoices-invoice", "high"), ("post-invoices-invoice", "critical"), ("pay", "critical")]
    {
        assert_eq!(tier(&compiled, id), expected, "{id}\n{text}");
    }
    let scopes: Vec<Vec<&str>> = route(&compiled, "post-invoices-invoice")
        .any_of
        .iter()
        .map(|entry| entry.scopes.iter().map(AsRef::as_ref).collect())
        .collect();
    assert_eq!(scopes, [vec!["billing.read", "billing.write"], vec!["admin"]]);
    assert_eq!(route(&compiled, "pay-2").template.as_str(), "/billing/reports", "each id is its own");
    assert!(draft.left_out[0].starts_with("GET /status?verbose"), "{:?}", draft.left_out);
    assert!(compiled.policy.routes.iter().all(|route| route.access == Access::Protected));
}

#[test]
fn a_capability_statement_gives_a_careful_draft_that_loads() {
    let draft = capability::draft(&sample("server.capabilities.json")).expect("a draft");
    let text = draft.render();
    let compiled = loaded(&text);
    for (id, expected) in [
        ("fhir.read.patient", "moderate"),
        ("fhir.read.other", "moderate"),
        ("fhir.write.patient", "high"),
        ("fhir.write.other", "high"),
        ("fhir.delete.patient", "critical"),
        ("fhir.operation.everything", "critical"),
        ("fhir.operation.match", "high"),
        ("fhir.system.export", "critical"),
        ("fhir.system.search-system", "critical"),
    ] {
        assert_eq!(tier(&compiled, id), expected, "{id}\n{text}");
    }
    assert!(route(&compiled, "fhir.read.patient").any_of.iter().all(|entry| entry.patient_self));
    assert!(route(&compiled, "fhir.read.other").any_of.iter().all(|entry| !entry.roles.is_empty()));
    assert!(text.contains("base: \"/fhir/r4\""));
    assert_eq!(draft.left_out.len(), 2, "{:?}", draft.left_out);
}

#[test]
fn what_is_something_else_is_refused_with_a_remedy() {
    let of = |text: &str| openapi::draft(&parsed(text).expect("YAML")).map(|_| ()).expect_err("refused");
    assert!(of("swagger: '2.0'").contains("convert"));
    assert!(of("openapi: 2.9").contains("no OpenAPI 3"));
    assert!(of("openapi: 3.0.0").contains("paths"));
    assert!(of("openapi: 3.0.0\npaths: {}").contains("no operation"));
    assert!(parsed("a: [").is_err() && parsed("a: 1\na: 2").is_err());
    let of = |text: &str| capability::draft(&parsed(text).expect("JSON")).map(|_| ()).expect_err("refused");
    assert!(of("{}").contains("metadata"));
    assert!(of(r#"{"resourceType":"CapabilityStatement","fhirVersion":"3.0.2"}"#).contains("R4"));
}

#[test]
fn a_document_can_write_nothing_into_the_draft_but_its_words() {
    let hostile = serde_json::json!({ "openapi": "3.0.0", "info": { "title": "x\nroutes: []\u{2028}y" }, "paths": {
        "/a\n- id: b": { "get": {} }, "/c": { "get": { "operationId": "c\"\n  access: public #", "summary": "d\n    access: public" } } } });
    let draft = openapi::draft(&hostile).expect("a draft");
    let compiled = loaded(&draft.render());
    assert!(compiled.policy.routes.iter().all(|route| route.access == Access::Protected));
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.yaml");
    let draft = openapi::draft(&sample("billing.openapi.json")).expect("a draft");
    assert_eq!(deliver(&draft, Some(&path)), Ok(true));
    std::fs::write(&path, "mine").expect("written");
    assert!(deliver(&draft, Some(&path)).expect_err("refused").contains("nothing is overwritten"));
    assert_eq!(std::fs::read_to_string(&path).expect("text"), "mine");
}

#[test]
fn words_are_found_in_names_of_every_style() {
    let words = |text: &str| risk::words(text).join(" ");
    assert_eq!(words("getPatientsByID"), "get patient by id");
    assert_eq!(words("/e-mail_addresses/Allergies"), "e mail address allergy");
    let judged = |kind, text: &str| risk::judge(kind, &risk::words(text)).tier;
    assert_eq!(judged(Kind::Writes, "discharge patient"), "high", "no charge");
    assert_eq!(judged(Kind::Reads, "bulkDownloads"), "critical");
    assert_eq!(judged(Kind::Reads, "list payments"), "high");
    assert_eq!(judged(Kind::Reads, "emails"), "moderate");
    assert_eq!(judged(Kind::Deletes, "anything"), "critical");
}
