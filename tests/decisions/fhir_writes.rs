//! What is written to FHIR servers: bodies that are not what their address says, whose record they make, what patches change.

use std::sync::LazyLock;

use wardgate::decision::trace::Silent;
use wardgate::decision::{Decision, Evaluation, Lookup, Question, Revocation, Step, step};
use wardgate::policy::{Match, Policy};

use super::fhir::request;
use super::world::{Body, Known, NOW, compile, identity, reading};

static POLICY: LazyLock<Policy> = LazyLock::new(|| compile(include_str!("fhir_writes.yaml")).policy);

pub const PATIENT: &str = "patient aal1 30s scope:patient/*.cruds";
pub const NURSE: &str = "staff aal1 30s role:nurse scope:user/*.cruds";

/// Does something with the question that a line asks, and with its body.
pub fn with_question<R>(line: &str, act: impl FnOnce(&Question<'_>, Option<&Body>) -> R) -> R {
    let (request, body) = request(line);
    let facts = request.facts(body.as_ref(), Some("Bearer a.b.c")).expect("readable");
    let Match::Route(route) = POLICY.index.find(&facts) else { panic!("{line}") };
    let question =
        Question { policy: &POLICY, route: &POLICY.routes[route], facts: &facts, forms_may_override: true };
    act(&question, body.as_ref())
}

/// The verdict with the tier where it matters, or the reason of a refusal.
pub fn decide(line: &str, caller: &str) -> String {
    let (request, body) = request(line);
    let facts = match request.facts(body.as_ref(), Some("Bearer a.b.c")) {
        Ok(facts) => facts,
        Err(why) => return why.code().to_owned(),
    };
    let route = match POLICY.index.find(&facts) {
        Match::Route(route) => &POLICY.routes[route],
        Match::NotFhir => return "fhir_not_understood".to_owned(),
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
        Step::Decided(Decision::Deny(denial), _) => denial.reason.code().to_owned(),
        Step::Decided(decision, findings) => {
            let tier = findings.tier.map_or("none", |tier| &*POLICY.tier(tier).name);
            format!("{} {tier}", decision.verdict())
        }
        Step::Need(need) => format!("{need:?}"),
    }
}

/// Each would write something else than its address says, or is read otherwise by some server.
#[test]
fn bodies_that_do_not_go_with_their_address_are_refused() {
    assert_eq!(
        decide(r#"POST /fhir/Observation json:{"resourceType":"Observation"}"#, NURSE),
        "permit moderate"
    );
    for line in [
        r#"POST /fhir/Observation json:{"resourceType":"MedicationRequest"}"#,
        r#"PUT /fhir/Observation/m1 json:{"resourceType":"MedicationRequest","id":"m1"}"#,
        r#"PUT /fhir/Observation/o1 json:{"resourceType":"Observation","id":"o2"}"#,
        r#"PUT /fhir/Observation/o1 json:{"resourceType":"Observation"}"#,
        r#"PUT /fhir/Observation?code=x json:{"resourceType":"MedicationRequest"}"#,
        r#"POST /fhir/Observation json:{"resourceType":"Observation","resourceType":"MedicationRequest"}"#,
        r#"POST /fhir/Observation json:{"resourceType":"Observation","ResourceType":"MedicationRequest"}"#,
        r#"POST /fhir/Observation json:{"resourceType":"Observation","code":{"text":"a","text":"b"}}"#,
        "POST /fhir/Observation json:\u{feff}{\"resourceType\":\"Observation\"}",
        r#"POST /fhir/Observation json:{"resourceType":"Observation"} {}"#,
        r#"POST /fhir/Observation json:[{"resourceType":"Observation"}]"#,
        "POST /fhir/Observation json:{}",
        "POST /fhir/Observation json:",
        "POST /fhir/Observation",
        r#"POST /fhir/Observation utf16:{"resourceType":"Observation"}"#,
        "POST /fhir/Observation xml:<Observation/>",
        "POST /fhir/Binary xml:<MedicationRequest/>",
        "POST /fhir/Observation pdf:x",
        "POST /fhir/Observation form:resourceType=Observation",
        r#"POST /fhir/Bundle json:{"resourceType":"Bundle","type":"transaction"}"#,
        r#"PATCH /fhir/Observation/o1 json:[{"op":"add","path":"/note","value":1}]"#,
        r#"PATCH /fhir/Observation/o1 jsonpatch:{"op":"add","path":"/note","value":1}"#,
        r#"PATCH /fhir/Observation/o1 jsonpatch:[{"op":"replace","path":"/resourceType","value":"MedicationRequest"}]"#,
        r#"PATCH /fhir/Observation/o1 jsonpatch:[{"op":"replace","path":"","value":{}}]"#,
        r#"PATCH /fhir/Observation/o1 jsonpatch:[{"op":"move","path":"/id","from":"/identifier/0/value"}]"#,
        r#"PATCH /fhir/Observation/o1 mergepatch:{"resourceType":"MedicationRequest"}"#,
        r#"PATCH /fhir/Observation/o1 json:{"resourceType":"Observation"}"#,
    ] {
        // Some are refused before that, since they could hide a method.
        let verdict = decide(line, NURSE);
        let refused = ["fhir_body_refused", "form_not_inspectable", "method_override"];
        assert!(refused.contains(&&*verdict), "{line}: {verdict}");
    }
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let long = format!("\"{}\"", "x".repeat(1024 * 1024));
    for value in [deep, long] {
        let line = format!(r#"POST /fhir/Observation json:{{"resourceType":"Observation","x":{value}}}"#);
        let verdict = decide(&line, NURSE);
        assert!(["fhir_body_refused", "form_not_inspectable"].contains(&&*verdict), "{verdict}");
    }
    assert_eq!(decide("POST /fhir/Binary pdf:x", NURSE), "permit moderate");
}

#[test]
fn a_patient_makes_what_is_her_own_record_and_nothing_else() {
    let create =
        |rest: &str| format!(r#"POST /fhir/Observation json:{{"resourceType":"Observation",{rest}}}"#);
    assert_eq!(decide(&create(r#""subject":{"reference":"Patient/p1"}"#), PATIENT), "permit moderate");
    for (rest, expected) in [
        (r#""status":"final""#, "patient_unresolved"),
        (r#""subject":{"reference":"Patient/p2"}"#, "no_relation"),
        (r#""subject":{"reference":"Patient/p1"},"performer":[{"reference":"Patient/p2"}]"#, "no_relation"),
        (
            r#""subject":{"reference":"Patient/p1"},"contained":[{"resourceType":"Patient","id":"a","link":[{"other":{"reference":"Patient/p2"}}]}]"#,
            "no_relation",
        ),
        (
            r##""subject":{"reference":"#a"},"contained":[{"resourceType":"Patient","id":"a"}]"##,
            "patient_unresolved",
        ),
        (r#""subject":{"reference":"Patient/p1","identifier":{"value":"2"}}"#, "patient_unresolved"),
        (r#""subject":{"reference":"http://ehr.example/fhir/Patient/p2"}"#, "patient_unresolved"),
        (r#""subject":{"reference":"Patient?identifier=2"}"#, "patient_unresolved"),
    ] {
        assert_eq!(decide(&create(rest), PATIENT), expected, "{rest}");
    }
    for line in [
        r#"PUT /fhir/Observation/o1 json:{"resourceType":"Observation","id":"o1","subject":{"reference":"Patient/p1"}}"#,
        r#"PATCH /fhir/Observation/o1 mergepatch:{"subject":{"reference":"Patient/p1"}}"#,
        r#"POST /fhir/Patient json:{"resourceType":"Patient"}"#,
        r#"POST /fhir/Practitioner json:{"resourceType":"Practitioner","subject":{"reference":"Patient/p1"}}"#,
        "DELETE /fhir/Observation/o1",
    ] {
        assert_eq!(decide(line, PATIENT), "patient_unresolved", "{line}");
    }
    let own =
        |rest: &str| format!(r#"PUT /fhir/Patient/p1 json:{{"resourceType":"Patient","id":"p1"{rest}}}"#);
    assert_eq!(decide(&own(""), PATIENT), "permit moderate");
    assert_eq!(decide(&own(r#","link":[{"other":{"reference":"Patient/p2"}}]"#), PATIENT), "no_relation");
    let link = r#"PATCH /fhir/Patient/p1 jsonpatch:[{"op":"add","path":"/link/0/other/reference","value":"Patient/p2"}]"#;
    assert_eq!(decide(link, PATIENT), "no_relation");
}

/// The one way down, and what is up: by what changes, in each form that a patch has.
#[test]
fn the_tier_goes_by_what_a_patch_changes() {
    let path = |path: &str| {
        format!(
            r#"json:{{"resourceType":"Parameters","parameter":[{{"name":"operation","part":[{{"name":"type","valueCode":"replace"}},{{"name":"path","valueString":"{path}"}},{{"name":"value","valueString":"x"}}]}}]}}"#
        )
    };
    for (body, tier) in [
        (r#"jsonpatch:[{"op":"add","path":"/note/-","value":{"text":"x"}}]"#.to_owned(), "moderate"),
        (r#"jsonpatch:[{"op":"add","path":"/_description","value":{}}]"#.to_owned(), "moderate"),
        (
            r#"jsonpatch:[{"op":"add","path":"/note/-","value":1},{"op":"add","path":"/owner","value":1}]"#
                .to_owned(),
            "high",
        ),
        (r#"jsonpatch:[{"op":"copy","path":"/note/0/text","from":"/owner/display"}]"#.to_owned(), "high"),
        (r#"jsonpatch:[{"op":"move","path":"/note/0/text","from":"/status"}]"#.to_owned(), "critical"),
        (
            r#"jsonpatch:[{"op":"test","path":"/status","value":"x"},{"op":"remove","path":"/note"}]"#
                .to_owned(),
            "critical",
        ),
        (r#"mergepatch:{"note":null}"#.to_owned(), "moderate"),
        (r#"mergepatch:{"note":null,"status":"x"}"#.to_owned(), "critical"),
        (path("Task.note[0].text"), "moderate"),
        (path("Task.status"), "critical"),
        (path("Task.note.where(true)"), "critical"),
        (path("note"), "critical"),
    ] {
        let verdict = decide(&format!("PATCH /fhir/Task/t1 {body}"), NURSE);
        let expected =
            if tier == "moderate" { "permit moderate".to_owned() } else { format!("challenge {tier}") };
        assert_eq!(verdict, expected, "{body}");
    }
    // What an update leaves out is gone.
    let update = r#"PUT /fhir/Task/t1 json:{"resourceType":"Task","id":"t1","note":[{"text":"x"}]}"#;
    assert_eq!(decide(update, NURSE), "challenge critical");
    let create = r#"POST /fhir/Task json:{"resourceType":"Task","note":[{"text":"x"}]}"#;
    assert_eq!(decide(create, NURSE), "permit moderate");
}
