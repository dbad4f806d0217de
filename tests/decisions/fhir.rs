//! FHIR services: who gets what by which interaction, and that no form of a request leads past one's own record.
//!
//! The policy is the one of `tests/config/good/fhir.yaml`; the table is reviewed like code.

use std::fmt::Write as _;
use std::sync::LazyLock;

use wardgate::decision::trace::Silent;
use wardgate::decision::{Decision, Evaluation, Identity, Lookup, Question, Revocation, Step, step};
use wardgate::policy::{Match, Policy};

use super::world::{Body, Known, NOW, Request, compile, identity, reading};

static POLICY: LazyLock<Policy> = LazyLock::new(|| compile(include_str!("../config/good/fhir.yaml")).policy);

/// The callers of the table, by the letters of its columns.
const CALLERS: [(&str, &str); 12] = [
    ("P", "patient aal1 30s scope:patient/*.rs"),
    ("Pw", "patient aal1 30s scope:patient/*.cruds"),
    ("P1", "patient aal1 30s scope:patient/Observation.read scope:launch/patient"),
    ("Pl", "patient aal1 30s scope:patient/Observation.rs?category=laboratory"),
    ("Pu", "patient aal1 30s scope:user/*.cruds"),
    ("P-", "patient aal1 30s scope:openid"),
    ("Pn", "patient aal1 30s recordless scope:patient/*.cruds"),
    ("N", "staff aal1 30s role:nurse scope:user/*.cruds"),
    ("No", "staff aal1 30s role:nurse scope:user/Observation.rs scope:patient/*.cruds scope:system/*.cruds"),
    ("R", "staff aal1 30s role:prescriber scope:user/*.cruds"),
    ("S", "feed 30s client:lab-feed scope:system/Observation.c scope:user/*.cruds"),
    ("W", "feed 30s client:warehouse scope:system/*.rs"),
];

const REQUESTS: [&str; 45] = [
    "GET /fhir/metadata",
    "GET /fhir/.well-known/smart-configuration",
    "GET /fhir/Patient/p1",
    "GET /fhir/Patient/p2",
    "GET /fhir/Patient/p1/_history/2",
    "GET /fhir/Patient?_id=p1",
    "GET /fhir/Patient?_id=p2",
    "GET /fhir/Patient",
    "GET /fhir/Observation/o1",
    "GET /fhir/Observation?patient=p1",
    "GET /fhir/Observation?patient=p1&category=laboratory",
    "GET /fhir/Observation?patient=p2",
    "GET /fhir/Observation?patient=p1,p2",
    "GET /fhir/Observation?code=1",
    "GET /fhir/Observation?patient=p1&_include=Observation:performer",
    "GET /fhir/Observation?patient=p1&performer=p1",
    "POST /fhir/Observation/_search form:patient=p1&date=ge2020&date=le2021",
    "POST /fhir/Observation/_search form:patient=p2",
    "POST /fhir/Observation/_search?patient=p1 form:patient=p2",
    "POST /fhir/Observation/_search?patient=p1 json:{}",
    "GET /fhir/Patient/p1/Observation",
    "GET /fhir/Patient/p2/Observation",
    "GET /fhir/Patient/p1/*",
    "GET /fhir/Practitioner/1",
    "GET /fhir/Patient/p1/$everything",
    "GET /fhir/Patient/p2/$everything",
    "GET /fhir/Patient/p1/$everything?_type=Observation",
    "POST /fhir/Patient/p1/$everything json:{}",
    "GET /fhir/$export",
    "GET /fhir/Patient/$export",
    "GET /fhir/$graphql",
    "GET /fhir/Patient/$match",
    r#"POST /fhir/Observation json:{"resourceType":"Observation"}"#,
    r#"POST /fhir/Observation json:{"resourceType":"MedicationRequest"}"#,
    r#"POST /fhir/MedicationRequest json:{"resourceType":"MedicationRequest"}"#,
    r#"PUT /fhir/MedicationRequest/m1 json:{"resourceType":"MedicationRequest","id":"m1"}"#,
    r#"PUT /fhir/MedicationRequest?identifier=1 json:{"resourceType":"MedicationRequest"}"#,
    r#"PUT /fhir/Patient/p1 json:{"resourceType":"Patient","id":"p1"}"#,
    r#"PATCH /fhir/MedicationRequest/m1 jsonpatch:[{"op":"remove","path":"/note"}]"#,
    "DELETE /fhir/MedicationRequest/m1",
    "POST /fhir json:{}",
    "GET /fhir/_history",
    "GET /fhir?_type=Patient",
    "GET /r5/fhir/Observation/1",
    "GET /r5/fhir/Observation/_history",
];

pub fn request(line: &str) -> (Request, Option<Body>) {
    for (mark, media_type) in [
        (" form:", "application/x-www-form-urlencoded"),
        (" json:", "application/fhir+json"),
        (" jsonpatch:", "application/json-patch+json"),
        (" mergepatch:", "application/merge-patch+json"),
        (" xml:", "application/fhir+xml"),
        (" utf16:", "application/fhir+json; charset=utf-16"),
        (" pdf:", "application/pdf"),
    ] {
        if let Some((line, content)) = line.split_once(mark) {
            let body = Body { media_type: media_type.into(), gzip: false, bytes: content.into() };
            return (Request::parse(line), Some(body));
        }
    }
    (Request::parse(line), None)
}

/// The reason's code with the verdict, or why there is no decision.
fn decide(line: &str, caller: &str) -> String {
    let (request, body) = request(line);
    let facts = match request.facts(body.as_ref(), Some("Bearer a.b.c")) {
        Ok(facts) => facts,
        Err(why) => return why.code().to_owned(),
    };
    let route = match POLICY.index.find(&facts) {
        Match::Route(route) => &POLICY.routes[route],
        Match::NotFhir => return "fhir_not_understood".to_owned(),
        Match::Unreadable(why) => return why.code().to_owned(),
        _ => return "no_route".to_owned(),
    };
    let question = Question { policy: &POLICY, route, facts: &facts, forms_may_override: true };
    let known = Known {
        identity: identity(&POLICY, caller),
        keys_too_stale: false,
        revocation: Revocation::Valid,
        body: reading(&question, body.as_ref()),
        evaluation: Lookup::Found(Evaluation::Permitted),
        record: Lookup::Absent,
    };
    match step(&question, &known.evidence(), NOW, &mut Silent) {
        // Who is confined to one patient never gets a reply that was not looked through.
        Step::Decided(Decision::Permit(permit), _) => match permit.confinement() {
            Some(confinement) if !confinement.awaited.names_patient() => "if the reply is own".to_owned(),
            Some(_) => "yes, looked through".to_owned(),
            None => "yes".to_owned(),
        },
        Step::Decided(decision, _) => decision.reason().code().to_owned(),
        Step::Need(need) => format!("{need:?}"),
    }
}

#[test]
fn the_fhir_table_is_as_reviewed() {
    let mut table = String::new();
    for (name, caller) in CALLERS {
        let _ = writeln!(table, "{name:<3}{caller}");
    }
    for line in REQUESTS {
        let _ = writeln!(table, "\n{line}");
        let mut by_answer: Vec<(String, Vec<&str>)> = Vec::new();
        for (name, caller) in CALLERS {
            let answer = decide(line, caller);
            match by_answer.iter_mut().find(|(known, _)| *known == answer) {
                Some((_, names)) => names.push(name),
                None => by_answer.push((answer, vec![name])),
            }
        }
        by_answer.sort_by_key(|(answer, _)| (!answer.starts_with("yes"), answer.clone()));
        for (answer, names) in by_answer {
            let _ = writeln!(table, "  {answer:<24}{}", names.join(" "));
        }
    }
    insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("fhir", table);
    });
}

/// Each of these would show, or change, what is not the record of `p1`, at some server.
fn evasions() -> impl Iterator<Item = &'static str> {
    let lines = include_str!("fhir_evasions.txt").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[test]
fn no_form_of_a_request_leads_past_ones_own_record() {
    assert!(evasions().count() >= 200, "{}", evasions().count());
    for line in evasions() {
        for (name, caller) in CALLERS.iter().filter(|(name, _)| name.starts_with('P')) {
            assert!(!decide(line, caller).starts_with("yes"), "{name}: {line}");
        }
    }
}

/// The scopes confine also where the route's rules would not.
#[test]
fn scopes_of_a_patient_confine_whoever_has_them() {
    let text = include_str!("../config/good/fhir.yaml")
        .replace(
            "- { issuer: patients, patient: self }\n      - { issuer: workforce",
            "- { issuer: patients }\n      - { issuer: workforce",
        )
        .replace("cases:", "unused_cases:");
    let text = text.split("unused_cases:").next().expect("routes");
    let policy = compile(text).policy;
    for (line, expected) in [
        ("GET /fhir/Patient/p1", true),
        ("GET /fhir/Observation?patient=p1", true),
        ("GET /fhir/Patient/p2", false),
        ("GET /fhir/Observation?patient=p2", false),
        ("GET /fhir/Observation/o1", true),
        ("GET /fhir/Medication/1", false),
        ("GET /fhir/Observation?code=1", false),
    ] {
        for (caller, confined) in [
            ("patient aal1 30s scope:patient/*.rs", true),
            ("patient aal1 30s scope:patient/*.rs scope:user/Practitioner.rs", true),
            ("patient aal1 30s scope:user/*.rs", false),
        ] {
            let facts = Request::parse(line).facts(None, Some("Bearer a.b.c")).expect("readable");
            let Match::Route(route) = policy.index.find(&facts) else { panic!("{line}") };
            let route = &policy.routes[route];
            let question = Question { policy: &policy, route, facts: &facts, forms_may_override: true };
            let Identity::Known(subject) = identity(&policy, caller) else { panic!("{caller}") };
            let known = Known {
                identity: Identity::Known(subject),
                keys_too_stale: false,
                revocation: Revocation::Valid,
                body: reading(&question, None),
                evaluation: Lookup::Found(Evaluation::Permitted),
                record: Lookup::Absent,
            };
            let Step::Decided(decision, findings) = step(&question, &known.evidence(), NOW, &mut Silent)
            else {
                panic!("{line}")
            };
            let permitted = match &decision {
                Decision::Permit(permit) => {
                    assert_eq!(permit.confinement().is_some(), confined, "{caller}: {line}");
                    true
                }
                Decision::Challenge(_) | Decision::Deny(_) => false,
            };
            assert_eq!(permitted, expected || !confined, "{caller}: {line}: {findings:?}");
        }
    }
}
