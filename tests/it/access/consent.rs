//! Whether a patient has consented: a real FHIR server that keeps Consent resources, and every kind of bad answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Says, StandIn, ask, bearer, setup};
use crate::support::{FhirServer, Recorder, Signer, eventually};

const ROUTES: &str = r#"
  - { id: record.share, match: { path: "/patients/{patient}/share", methods: [GET] }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ patient: self }, { roles: [researcher] }], consent: sharing }
  - { id: record.mail, match: { path: "/patients/{patient}/mail", methods: [GET] }, upstream: app, tier: high,
      patient: { from: path.patient }, any_of: [{ roles: [researcher] }], consent: sharing }"#;

fn consents(kind: &str, url: &str, more: &str) -> String {
    format!("consents: [{{ name: sharing, type: {kind}, url: \"{url}\", timeout: 500ms{more} }}]")
}

/// A patient's word, by rule (`OPTIN`, `OPTOUT`) and provision.
fn consent(id: &str, patient: &str, rule: &str, provision: &Value) -> Value {
    let mut consent = json!({
        "resourceType": "Consent", "id": id, "status": "active",
        "scope": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy" }] },
        "category": [{ "coding": [{ "system": "http://loinc.org", "code": "59284-0" }] }],
        "patient": { "reference": format!("Patient/{patient}") }, "dateTime": "2026-01-01",
        "policyRule": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": rule }] },
    });
    if !provision.is_null() {
        consent["provision"] = provision.clone();
    }
    consent
}

#[test]
fn what_patients_have_agreed_to_stands_in_a_real_fhir_server() {
    let (fhir, upstream, signer) = (FhirServer::start(), Recorder::start(), Signer::new());
    let research =
        json!([{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HRESCH" }]);
    let patients = ["p7", "p2", "p3", "p4", "p5", "p6"]
        .map(|id| json!({ "resourceType": "Patient", "id": id, "name": [{ "family": "Who" }] }));
    fhir.store(&patients);
    fhir.store(&[
        consent("c1", "p7", "OPTIN", &Value::Null),
        consent("c2", "p2", "OPTOUT", &Value::Null),
        consent("c3", "p3", "OPTOUT", &json!({ "type": "permit", "purpose": research })),
        consent("c4", "p4", "OPTIN", &json!({ "type": "deny", "purpose": research })),
        consent("c5", "p5", "OPTIN", &json!({ "period": { "end": "2025-12-31" } })),
    ]);
    let url = format!("http://{}/fhir", fhir.address);
    let setting = consents("fhir", &url, ", purpose: HRESCH").replace("500ms", "5s");
    let gateway = setup(&upstream, &signer, &setting, ROUTES).start();
    let researcher = bearer(&signer, "u9", &["researcher"], "aal1");
    let share = |patient: &str| ask(&gateway, &researcher, "GET", &format!("/patients/{patient}/share"));
    let (given, not_given) = ((200, "permitted".into()), (403, "consent_not_given".into()));
    assert_eq!([share("p7"), share("p3")], [given.clone(), given]);
    assert_eq!(
        [share("p2"), share("p4"), share("p5"), share("p6")],
        [not_given.clone(), not_given.clone(), not_given.clone(), not_given.clone()]
    );
    assert_eq!(upstream.count(), 2);
    // Withdrawn, it counts as soon as the server finds it so.
    fhir.store(&[consent("c1", "p7", "OPTOUT", &Value::Null)]);
    eventually("it is withdrawn", Duration::from_secs(30), || share("p7") == not_given);
    // A name that would be another search is none.
    assert_eq!(share("p7,p3").1, "consent_answer_refused");
    drop(fhir);
    assert_eq!(share("p3"), (503, "consent_unavailable".into()));
}

#[test]
fn only_a_plain_yes_is_one() {
    let (office, upstream, signer) = (StandIn::start(), Recorder::start(), Signer::new());
    let setting = consents("http", &office.url("/consent"), ", secret_file: secret, purpose: HRESCH");
    let gateway = setup(&upstream, &signer, &setting, ROUTES).start();
    let researcher = bearer(&signer, "u9", &["researcher"], "aal1");
    let share = || ask(&gateway, &researcher, "GET", "/patients/p2/share");
    office.answer(r#"{"consent":true}"#);
    assert_eq!(share(), (200, "permitted".into()));
    let asked = office.recorder.requests();
    assert_eq!(
        (asked[0].line.as_str(), asked[0].values("authorization")[0]),
        ("POST /consent HTTP/1.1", "Bearer s3cret-of-the-gateway")
    );
    let question: Value = serde_json::from_slice(&asked[0].body).expect("JSON");
    assert_eq!(
        question,
        json!({ "patient": "p2", "action": "record.share", "purpose": "HRESCH",
            "subject": { "issuer": "patients", "id": "u9" } })
    );
    office.answer(r#"{"consent":false}"#);
    assert_eq!(share(), (403, "consent_not_given".into()));
    let yes = r#"{"consent":true}"#;
    for body in
        ["", "true", "{}", r#"{"consent":"true"}"#, r#"{"consent":1}"#, r#"{"consent":false,"consent":true}"#]
    {
        office.answer(body);
        assert_eq!(share(), (403, "consent_answer_refused".into()), "{body}");
    }
    let long = format!(r#"{{"consent":true,"why":"{}"}}"#, "x".repeat(70_000));
    for says in [
        Says::Answer(404, yes.into()),
        Says::Answer(403, yes.into()),
        Says::Answer(201, yes.into()),
        Says::Answer(200, long),
        Says::Redirect,
        Says::Elsewhere(yes.into()),
    ] {
        office.say(says);
        assert_eq!(share(), (403, "consent_answer_refused".into()));
    }
    for says in [Says::Close, Says::Nothing, Says::Answer(500, yes.into())] {
        office.say(says);
        assert_eq!(share(), (503, "consent_unavailable".into()));
    }
    assert!(gateway.telemetry_page("/readyz").body.contains("consent `sharing`"));
    assert_eq!(upstream.count(), 1);
    // Nobody's consent is needed for one's own record, and nobody is asked.
    let before = office.recorder.count();
    assert_eq!(ask(&gateway, &bearer(&signer, "u1", &[], "aal1"), "GET", "/patients/p1/share").0, 200);
    // Nor for those who may not anyway.
    assert_eq!(ask(&gateway, &bearer(&signer, "u1", &[], "aal1"), "GET", "/patients/p2/share").0, 403);
    assert_eq!(office.recorder.count(), before);
    office.answer(r#"{"consent":false}"#);
    eventually("it is asked again", Duration::from_secs(10), || share().1 == "consent_not_given");
    let records = gateway.audit();
    let words: Vec<&str> = records.iter().filter_map(|record| record["input"]["consent"].as_str()).collect();
    for word in ["given", "not_given", "not_understood", "unavailable", "own"] {
        assert!(words.contains(&word), "{word}: {words:?}");
    }
}

#[test]
fn an_answer_is_remembered_for_its_patient_and_an_outage_counts_as_configured() {
    let (office, upstream, signer) = (StandIn::start(), Recorder::start(), Signer::new());
    let setting = consents("http", &office.url("/consent"), ", cache: 30s, when_unavailable: allow");
    let gateway = setup(&upstream, &signer, &setting, ROUTES).start();
    let of = |subject: &str| bearer(&signer, subject, &["researcher"], "aal2");
    let get = |who: &str, target: &str| ask(&gateway, &of(who), "GET", target);
    office.answer(r#"{"consent":true}"#);
    assert_eq!([get("u9", "/patients/p2/share").0, get("u9", "/patients/p2/share").0], [200, 200]);
    assert_eq!(office.recorder.count(), 1);
    office.answer(r#"{"consent":false}"#);
    for (who, target) in
        [("u8", "/patients/p2/share"), ("u9", "/patients/p3/share"), ("u9", "/patients/p2/mail")]
    {
        assert_eq!(get(who, target).0, 403, "{who} {target}: what another was told is not told to them");
    }
    assert_eq!(get("u9", "/patients/p2/share").0, 200);
    assert_eq!(office.recorder.count(), 4);
    office.say(Says::Close);
    assert_eq!(get("u7", "/patients/p4/share"), (200, "permitted".into()), "`when_unavailable` says so");
    assert_eq!(
        get("u7", "/patients/p4/mail"),
        (503, "consent_unavailable".into()),
        "not for what is riskier"
    );
}
