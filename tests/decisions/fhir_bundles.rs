//! Batches and transactions: each entry is decided like a request, and nothing gets through in company that would not alone.

use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::{Value, json};
use wardgate::decision::trace::{Recorder, Silent};
use wardgate::decision::{
    Decision, Delegated, Evaluation, Evidence, Findings, Lookup, Need, Question, Reason, Revocation, Step,
    patient, step,
};
use wardgate::policy::{Match, Policy};
use wardgate::request::fhir::bundle::BundleKind;
use wardgate::request::fhir::reply::{Awaited, Wanted};

use super::fhir::request;
use super::fhir_writes::{NURSE, PATIENT, decide, with_question};
use super::world::{Known, NOW, compile, identity, reading};

const PRESCRIBER: &str = "staff aal2 30s otp role:nurse role:prescriber scope:user/*.cruds";

fn get(url: &str) -> Value {
    json!({ "request": { "method": "GET", "url": url } })
}

fn write(method: &str, url: &str, resource: Value) -> Value {
    json!({ "request": { "method": method, "url": url }, "resource": resource })
}

fn observation() -> Value {
    write(
        "POST",
        "Observation",
        json!({ "resourceType": "Observation", "subject": { "reference": "Patient/p1" } }),
    )
}

fn line(kind: &str, entries: &[Value]) -> String {
    format!("POST /fhir json:{}", json!({ "resourceType": "Bundle", "type": kind, "entry": entries }))
}

fn json_patch(url: &str, patch: &str) -> Value {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(patch);
    write(
        "PATCH",
        url,
        json!({ "resourceType": "Binary", "contentType": "application/json-patch+json", "data": data }),
    )
}

fn both(entries: &[Value], caller: &str) -> String {
    let [batch, transaction] = ["batch", "transaction"].map(|kind| decide(&line(kind, entries), caller));
    assert_eq!(batch, transaction, "{entries:?}");
    batch
}

#[test]
fn the_riskiest_entry_counts_and_any_refusal_refuses_all() {
    let status = json_patch("Task/t1", r#"[{"op":"replace","path":"/status","value":"completed"}]"#);
    let note = json_patch("Task/t1", r#"[{"op":"remove","path":"/note"}]"#);
    let prescription = write("POST", "MedicationRequest", json!({ "resourceType": "MedicationRequest" }));
    let others = |more: &Value| [get("Observation?patient=p1"), observation(), more.clone()];
    assert_eq!(both(&[get("Patient/p1")], NURSE), "permit low");
    assert_eq!(both(&[get("metadata")], NURSE), "permit low");
    assert_eq!(both(&[get("Patient/p1"), observation()], NURSE), "permit moderate");
    assert_eq!(both(&others(&note), NURSE), "permit moderate");
    assert_eq!(both(&others(&status), NURSE), "challenge critical");
    assert_eq!(both(&others(&prescription), NURSE), "role_missing");
    assert_eq!(
        both(&others(&prescription), "staff aal1 30s role:nurse role:prescriber scope:user/*.cruds"),
        "challenge high"
    );
    assert_eq!(both(&others(&prescription), PRESCRIBER), "permit high");
    assert_eq!(
        both(&others(&prescription), "staff aal2 30s otp role:nurse role:prescriber scope:user/*.rs"),
        "scope_missing"
    );
    assert_eq!(
        both(&others(&get("Observation?_include=Observation:performer")), NURSE),
        "fhir_parameter_refused"
    );
    assert_eq!(both(&others(&get("Patient/$everything")), NURSE), "no_route");
    assert_eq!(both(&[get("Patient/p1"), observation()], PATIENT), "permit moderate");
    assert_eq!(both(&[get("Patient/p1"), get("Patient/p2")], PATIENT), "no_relation");
    assert_eq!(both(&[get("Patient/p1"), get("Observation?code=1")], PATIENT), "patient_unresolved");
}

/// Each of these is a prescription, or something of the kind, at some server.
#[test]
fn no_bundle_smuggles_what_its_sender_may_not_do() {
    let prescription = || json!({ "resourceType": "MedicationRequest", "id": "m1" });
    let with = |entry: Value, name: &str, value: Value| {
        let mut entry = entry;
        entry[name] = value;
        entry
    };
    let nested = json!({ "resourceType": "Bundle", "type": "batch", "entry": [write("POST", "MedicationRequest", prescription())] });
    let entries = [
        write("PUT", "MedicationRequest/m1", prescription()),
        write("PUT", "MedicationRequest?identifier=1", prescription()),
        write("POST", "Observation", prescription()),
        write("PUT", "Observation/m1", prescription()),
        write("PUT", "Observation/o1", json!({ "resourceType": "Observation", "id": "o2" })),
        write("POST", "", prescription()),
        write("POST", "?", nested.clone()),
        write("POST", "", nested.clone()),
        write("POST", "Bundle", nested),
        write("POST", "/fhir/MedicationRequest", prescription()),
        write("POST", "http://ehr.example/fhir/MedicationRequest", prescription()),
        write("POST", "//ehr.example/fhir/MedicationRequest", prescription()),
        write("POST", "Observation/../MedicationRequest", prescription()),
        write("POST", "Observation/%2e%2e/MedicationRequest", prescription()),
        write("POST", "Observation%2f..%2fMedicationRequest", prescription()),
        write("POST", "./MedicationRequest", prescription()),
        write("POST", "medicationrequest", prescription()),
        write("POST", "Medication%52equest", prescription()),
        write("POST", "MedicationRequest#", prescription()),
        write("POST", "MedicationRequest ", prescription()),
        write("POST", "Observation/_search", prescription()),
        write("GET", "Observation/o1", prescription()),
        write("DELETE", "Observation/o1", prescription()),
        write("PATCH", "Observation/o1", prescription()),
        write("post", "Observation", json!({ "resourceType": "Observation" })),
        get("Observation?_method=DELETE"),
        get("Observation?patient=p1;_method=DELETE"),
        json_patch("MedicationRequest/m1", r#"[{"op":"copy","path":"/status","from":"/note/0/text"}]"#),
        json_patch(
            "Observation/o1",
            r#"[{"op":"replace","path":"/resourceType","value":"MedicationRequest"}]"#,
        ),
        json_patch("Observation/o1", r#"[{"op":"move","path":"","from":"/contained/0"}]"#),
        write(
            "PATCH",
            "Observation/o1",
            json!({ "resourceType": "Binary", "contentType": "application/fhir+json", "data": "e30=" }),
        ),
        write(
            "PATCH",
            "Observation/o1",
            json!({ "resourceType": "Binary", "contentType": "application/json-patch+json", "data": "!" }),
        ),
        json!({ "resource": { "resourceType": "Observation" } }),
        json!({ "request": { "method": "POST", "url": "Observation", "ifNoneExist": "identifier=1;x=2" }, "resource": { "resourceType": "Observation" } }),
        json!({ "request": { "method": "POST", "url": "Observation", "ifNoneExist": "_filter=x" }, "resource": { "resourceType": "Observation" } }),
        json!({ "request": { "method": "PUT", "url": "Observation/o1", "ifNoneExist": "code=1" }, "resource": { "resourceType": "Observation", "id": "o1" } }),
        with(observation(), "fullUrl", json!("https://ehr.example/fhir/Patient/p2")),
        with(get("Patient/p1"), "fullUrl", json!("Patient/p2")),
        with(get("Patient/p1"), "resource", json!(null)),
        with(get("Patient/p1"), "Request", json!({ "method": "DELETE", "url": "Patient/p1" })),
    ];
    for entry in entries {
        for company in
            [vec![entry.clone()], vec![get("Patient/p1"), entry.clone()], vec![entry.clone(), observation()]]
        {
            let verdict = both(&company, NURSE);
            assert!(
                !verdict.starts_with("permit") && !verdict.starts_with("challenge"),
                "{verdict}: {entry}"
            );
        }
    }
    let update = || write("PUT", "Observation/o1", json!({ "resourceType": "Observation", "id": "o1" }));
    assert_eq!(both(&[update()], NURSE), "permit moderate");
    assert_eq!(both(&[update(), update()], NURSE), "fhir_body_refused");
    assert_eq!(
        both(&[update(), json!({ "request": { "method": "DELETE", "url": "Observation/o1" } })], NURSE),
        "fhir_body_refused"
    );
    for (kind, body) in [
        (
            "a second entry",
            r#"{"resourceType":"Bundle","type":"batch","entry":[],"entry":[{"request":{"method":"GET","url":"Patient/p1"}}]}"#,
        ),
        (
            "history",
            r#"{"resourceType":"Bundle","type":"history","entry":[{"request":{"method":"GET","url":"Patient/p1"}}]}"#,
        ),
        ("no type", r#"{"resourceType":"Bundle","entry":[{"request":{"method":"GET","url":"Patient/p1"}}]}"#),
        ("no Bundle", r#"{"resourceType":"Observation"}"#),
        (
            "a second url",
            r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Patient/p1","url":"Patient/p2"}}]}"#,
        ),
    ] {
        let verdict = decide(&format!("POST /fhir json:{body}"), NURSE);
        assert!(["fhir_body_refused", "form_not_inspectable"].contains(&&*verdict), "{kind}: {verdict}");
    }
    assert_eq!(both(&vec![get("Patient/p1"); 20], NURSE), "permit low");
    assert_eq!(both(&vec![get("Patient/p1"); 21], NURSE), "fhir_body_refused");
    assert_eq!(decide("POST /fhir xml:<Bundle/>", NURSE), "fhir_body_refused");
    assert_eq!(decide("POST /fhir?x=1 json:{}", NURSE), "fhir_not_understood");
}

/// What was decided on a line, with all that was found out.
fn settled(line: &str, caller: &str) -> (Decision, Findings, Recorder) {
    with_question(line, |question, body| {
        let known = Known {
            identity: identity(question.policy, caller),
            keys_too_stale: false,
            revocation: Revocation::Valid,
            body: reading(question, body),
            evaluation: Lookup::Found(Evaluation::Permitted),
            record: Lookup::Absent,
        };
        let mut trace = Recorder::default();
        assert!(matches!(step(question, &known.evidence(), NOW, &mut Silent), Step::Decided(..)));
        match step(question, &known.evidence(), NOW, &mut trace) {
            Step::Decided(decision, findings) => (decision, findings, trace),
            Step::Need(need) => panic!("{need:?}"),
        }
    })
}

#[test]
fn what_was_found_out_names_each_entry() {
    let note = json_patch("Task/t1", r#"[{"op":"remove","path":"/note"}]"#);
    let line = line("batch", &[get("Patient/p1"), get("Observation?patient=p1"), observation(), note]);
    let (_, findings, trace) = settled(&line, NURSE);
    let bundle = findings.bundle.expect("a Bundle");
    assert_eq!((bundle.kind.name(), bundle.entries.len()), ("batch", 4));
    let lowered: Vec<bool> = bundle.entries.iter().map(|entry| entry.lowered).collect();
    assert_eq!(lowered, [false, false, false, true]);
    for at in 0..4 {
        let name = format!("entry {at}: route");
        assert!(trace.notes.iter().any(|(_, text)| text.starts_with(&name)), "{name}");
    }
    // A Task says nothing of its patient here, so the whole is about nobody in particular.
    assert_eq!(findings.patient, None);
}

#[test]
fn the_answer_to_a_patient_is_awaited_entry_by_entry() {
    let entries = [get("metadata"), get("Observation/o1"), get("Observation?patient=p1"), observation()];
    let awaited = |caller: &str| match settled(&line("transaction", &entries), caller).0 {
        Decision::Permit(permit) => permit.confinement().map(|it| (it.is_search, it.awaited.clone())),
        _ => panic!("refused"),
    };
    let wanted = |resource, names_patient| Some(Wanted { resource, names_patient });
    let each =
        vec![None, wanted(Some(("Observation", "o1".into())), false), wanted(None, true), wanted(None, true)];
    assert_eq!(awaited(PATIENT), Some((true, Awaited::Each(BundleKind::Transaction, each))));
    assert_eq!(awaited(NURSE), None);
}

fn entries() -> impl Strategy<Value = Vec<Value>> {
    let task = |field: &str| json_patch("Task/t1", &format!(r#"[{{"op":"remove","path":"/{field}"}}]"#));
    let pool = vec![
        get("Patient/p1"),
        get("Patient/p2"),
        get("Observation?patient=p1"),
        get("Observation?code=1"),
        get("metadata"),
        get("Nothing"),
        observation(),
        task("note"),
        task("status"),
        task("owner"),
        write("POST", "MedicationRequest", json!({ "resourceType": "MedicationRequest" })),
        write("POST", "Observation", json!({ "resourceType": "MedicationRequest" })),
        json!({ "request": { "method": "DELETE", "url": "Observation/o1" } }),
        json!({}),
    ];
    prop::collection::vec(prop::sample::select(pool), 1..5)
}

proptest! {
    #![proptest_config(Config { cases: 400, failure_persistence: None, ..Config::default() })]

    /// One more entry, wherever it stands, never lowers the tier nor lets through what was refused.
    #[test]
    fn company_never_helps(entries in entries(), more in entries(), at in 0usize..5, who in 0usize..4) {
        let caller = [NURSE, PATIENT, PRESCRIBER, "staff aal2 30s otp role:nurse scope:user/*.cruds"][who];
        let mut longer = entries.clone();
        longer.insert(at.min(entries.len()), more[0].clone());
        let is_permit = |decision: &Decision| matches!(decision, Decision::Permit(_));
        let is_classified = |trace: &Recorder| trace.notes.iter().any(|(_, text)| text.starts_with("the Bundle's tier is"));
        let (before, findings, trace) = settled(&line("batch", &entries), caller);
        let (after, later, later_trace) = settled(&line("batch", &longer), caller);
        prop_assert!(is_permit(&before) || !is_permit(&after), "{caller}: {entries:?} and {}", more[0]);
        if is_classified(&trace) && is_classified(&later_trace) {
            prop_assert!(later.tier >= findings.tier, "{caller}: {entries:?} and {}", more[0]);
        }
    }
}

/// `u1`, whose own record is `p1`, acts for `p2`.
fn decide_for(policy: &Policy, entries: &[Value], granted: Lookup<Delegated>) -> Step {
    let (request, body) = request(&line("batch", entries));
    let facts = request.facts(body.as_ref(), Some("Bearer a.b.c")).expect("readable");
    let Match::Route(route) = policy.index.find(&facts) else { panic!("no route") };
    let question = Question { policy, route: &policy.routes[route], facts: &facts, forms_may_override: true };
    let known = Known {
        identity: identity(policy, "patient aal1 30s scope:user/*.cruds"),
        keys_too_stale: false,
        revocation: Revocation::Valid,
        body: reading(&question, body.as_ref()),
        evaluation: Lookup::Absent,
        record: Lookup::Absent,
    };
    let evidence = known.evidence();
    if let Step::Need(need) = step(&question, &evidence, NOW, &mut Silent) {
        assert_eq!(need, Need::Delegation);
        let is_about_one = !line("batch", entries).contains("Patient/p1");
        assert_eq!(patient(&question, &evidence).as_deref(), is_about_one.then_some("p2"));
    }
    step(&question, &Evidence { delegation: Some(granted), ..evidence }, NOW, &mut Silent)
}

#[test]
fn who_acts_for_a_patient_may_send_bundles_about_that_one() {
    let own = "any_of: [{ issuer: patients, patient: self }, ";
    let relation = "delegation: { by: { issuer: workforce, roles: [office], assurance: aal2 }, relations: { caregiver: { issuer: patients, review_every: 30d, actions: [read] } } }\nroutes:\n";
    let text = include_str!("fhir_writes.yaml").replacen("routes:\n", relation, 1).replacen(
        own,
        &format!("{own}{{ issuer: patients, delegate: [caregiver] }}, "),
        1,
    );
    let policy = compile(&text).policy;
    let granted = || {
        Lookup::Found(Delegated {
            id: "2026-11-23.1".into(),
            relation: "caregiver".into(),
            issuer: "patients".into(),
            person: "u1".into(),
            patient: "p2".into(),
            actions: Vec::new(),
            granted: NOW,
            until: NOW + 60,
            review_due: NOW + 30,
        })
    };
    let both = [get("Observation?patient=p2"), get("Patient/p2")];
    let Step::Decided(Decision::Permit(permit), findings) = decide_for(&policy, &both, granted()) else {
        panic!("refused")
    };
    assert_eq!((permit.reason(), findings.patient.as_deref()), (Reason::Delegated, Some("p2")));
    assert!(findings.mandate.is_some());
    assert_eq!(permit.confinement().map(|it| it.patient.as_ref()), Some("p2"));
    let verdict = |entries: &[Value], granted| match decide_for(&policy, entries, granted) {
        Step::Decided(decision, _) => decision.reason(),
        Step::Need(need) => panic!("{need:?}"),
    };
    assert_eq!(verdict(&both, Lookup::Absent), Reason::NoRelation);
    assert_eq!(verdict(&both, Lookup::Unavailable), Reason::StoreUnavailable);
    // Another's record beside it, and one's own: the answer could be looked through for one of them only.
    let with = |url: &str| [get("Patient/p2"), get(url)];
    assert_eq!(verdict(&with("Patient/p1"), granted()), Reason::PatientUnresolved);
    let written = json!({ "request": { "method": "DELETE", "url": "Observation/o2" } });
    assert!(!matches!(verdict(&[get("Patient/p2"), written], granted()), Reason::Delegated));
}
