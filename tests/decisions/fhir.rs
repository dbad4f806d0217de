//! FHIR services: who gets what by which interaction, and that no form of a request leads past one's own record.
//!
//! The policy is the one of `tests/config/good/fhir.yaml`; the table is reviewed like code.

use std::fmt::Write as _;
use std::sync::LazyLock;

use wardgate::decision::trace::Silent;
use wardgate::decision::{Decision, Identity, Question, Revocation, Step, step};
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

const REQUESTS: [&str; 44] = [
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
    "POST /fhir/Observation json:{}",
    "POST /fhir/MedicationRequest json:{}",
    "PUT /fhir/MedicationRequest/m1 json:{}",
    "PUT /fhir/MedicationRequest?identifier=1 json:{}",
    "PUT /fhir/Patient/p1 json:{}",
    "PATCH /fhir/MedicationRequest/m1 json:{}",
    "DELETE /fhir/MedicationRequest/m1",
    "POST /fhir json:{}",
    "GET /fhir/_history",
    "GET /fhir?_type=Patient",
    "GET /r5/fhir/Observation/1",
    "GET /r5/fhir/Observation/_history",
];

fn request(line: &str) -> (Request, Option<Body>) {
    for (mark, media_type) in
        [(" form:", "application/x-www-form-urlencoded"), (" json:", "application/fhir+json")]
    {
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
    };
    match step(&question, &known.evidence(), NOW, &mut Silent) {
        Step::Decided(Decision::Permit(_), _) => "yes".to_owned(),
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
        by_answer.sort_by_key(|(answer, _)| (answer != "yes", answer.clone()));
        for (answer, names) in by_answer {
            let _ = writeln!(table, "  {answer:<24}{}", names.join(" "));
        }
    }
    insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("fhir", table);
    });
}

/// Each of these would show, or change, what is not the record of `p1`, at some server.
#[rustfmt::skip]
const EVASIONS: &[&str] = &[
    // The letter case and the encoding of types, ids and names.
    "GET /fhir/patient/p1", "GET /fhir/PATIENT/p1", "GET /fhir/P%61tient/p1", "GET /fhir/Patient%2Fp2", "GET /fhir/Patient/p%31",
    "GET /Fhir/Patient/p1", "GET /FHIR/Patient/p1", "GET /fhir/Patient/p1/", "GET /fhir//Patient/p2", "GET //fhir/Patient/p2",
    "GET /fhir/./Patient/p2", "GET /fhir/Patient/../Patient/p2", "GET /fhir/Patient/..", "GET /fhir/Patient/p1/..%2fp2",
    "GET /fhir/Patient/p1;x/p2", "GET /fhir;x/Patient/p2", "GET /fhir/Patient/p1%00", "GET /fhir/Patient/p1%20", "GET /fhir/Patient/p1%0a",
    "GET /fhir/Patient/P1", "GET /fhir/Patient/p1.json", "GET /fhir/Patient/p1%3F", "GET /fhir/Patient/p1%23", "GET /fhir/Patient/%70%31",
    "GET /fhir/Patient/p1,p2", "GET /fhir/Patient/p1|p2", "GET /fhir/Patient/*", "GET /fhir/Patient/p1*",
    // A second patient.
    "GET /fhir/Observation?patient=p2", "GET /fhir/Observation?patient=p1&patient=p2", "GET /fhir/Observation?patient=p2&patient=p1",
    "GET /fhir/Observation?patient=p1,p2", "GET /fhir/Observation?patient=p1%2Cp2", "GET /fhir/Observation?patient:Patient=p2&patient=p1",
    "GET /fhir/Observation?%70atient=p2", "GET /fhir/Observation?patient=p1&%70atient=p2", "GET /fhir/Observation?patient=p1&subject=p2",
    "GET /fhir/Observation?patient=p1&subject=Patient/p2", "GET /fhir/Observation?subject=Patient%2fp2", "GET /fhir/Observation?subject:Patient=p2",
    "GET /fhir/Observation?patient=Patient/p1,Patient/p2", "GET /fhir/Observation?patient=p1&Patient=p2", "GET /fhir/Observation?PATIENT=p1",
    "GET /fhir/Observation?patient=p1&patient[]=p2", "GET /fhir/Observation?patient[0]=p1", "GET /fhir/Observation?patient[x]=p1",
    "GET /fhir/Observation?patient=p1;patient=p2", "GET /fhir/Observation?patient=p1%3Bpatient=p2", "GET /fhir/Observation?patient=p1%26patient=p2",
    "GET /fhir/Observation?+patient=p1", "GET /fhir/Observation?patient+=p1", "GET /fhir/Observation?patient%00=p1", "GET /fhir/Observation?patient=p1%00",
    "GET /fhir/Observation?patient=%EF%BC%90", "GET /fhir/Observation?patient=p1%FF", "GET /fhir/Observation?patient=p1%0Ap2",
    // Names nobody, or negates.
    "GET /fhir/Observation", "GET /fhir/Observation?", "GET /fhir/Observation?patient=", "GET /fhir/Observation?patient", "GET /fhir/Observation?patient=,",
    "GET /fhir/Observation?patient=p1,", "GET /fhir/Observation?patient=*", "GET /fhir/Observation?patient:missing=true",
    "GET /fhir/Observation?patient=p1&patient:missing=false", "GET /fhir/Observation?patient:not=p1", "GET /fhir/Observation?patient:not=p2&patient=p1",
    "GET /fhir/Observation?patient:identifier=x", "GET /fhir/Observation?patient.name=x", "GET /fhir/Observation?patient=p1&patient.name=x",
    "GET /fhir/Observation?patient.identifier=x", "GET /fhir/Observation?subject:Patient.name=x", "GET /fhir/Observation?patient:Group=p1",
    "GET /fhir/Observation?patient=Practitioner/p1", "GET /fhir/Observation?patient=Group/p1", "GET /fhir/Observation?patient=patient/p1",
    "GET /fhir/Observation?patient=https://x.example/fhir/Patient/p1", "GET /fhir/Observation?patient=/Patient/p1", "GET /fhir/Observation?patient=Patient/",
    "GET /fhir/Observation?patient=p1|x", "GET /fhir/Observation?patient=../p2", "GET /fhir/Observation?patient=p1/_history/1",
    "GET /fhir/Observation?subject=Patient/p1/_history/1", "GET /fhir/Observation?_id=o1", "GET /fhir/Observation?code=1",
    "GET /fhir/Observation?identifier=p1", "GET /fhir/Patient", "GET /fhir/Patient?name=x", "GET /fhir/Patient?_id=p2", "GET /fhir/Patient?_id=p1,p2",
    "GET /fhir/Patient?_id=p1&_id=p2", "GET /fhir/Patient?_id:not=p2", "GET /fhir/Patient?_id:missing=false", "GET /fhir/Patient?_ID=p1",
    "GET /fhir/Patient?_id=", "GET /fhir/Patient?patient=p1", "GET /fhir/Patient?link=p1", "GET /fhir/Patient?_id=p1&link=p2", "GET /fhir/Patient?subject=p1",
    // By id alone.
    "GET /fhir/Observation/o1", "GET /fhir/Observation/p1", "GET /fhir/Observation/o1?patient=p1", "GET /fhir/Observation/o1/_history/1",
    "GET /fhir/Practitioner/p1", "GET /fhir/Binary/b1", "GET /fhir/DocumentReference/d1", "GET /fhir/Provenance/x", "GET /fhir/Bundle/b", "GET /fhir/Group/g1",
    "GET /fhir/Binary?patient=p1", "GET /fhir/Organization?subject=p1", "GET /fhir/Device?patient=p1", "GET /fhir/Parameters?patient=p1",
    // What brings others along, or tells of them.
    "GET /fhir/Observation?patient=p1&_include=*", "GET /fhir/Observation?patient=p1&_include=Observation:subject",
    "GET /fhir/Observation?patient=p1&_include:iterate=Patient:link", "GET /fhir/Patient?_id=p1&_revinclude=Observation:performer",
    "GET /fhir/Patient?_id=p1&_revinclude:recurse=*", "GET /fhir/Patient?_id=p1&_%72evinclude=*", "GET /fhir/Patient?_id=p1&_has:Observation:patient:code=1",
    "GET /fhir/Observation?patient=p1&_has:Group:member:_id=1", "GET /fhir/Observation?patient=p1&_filter=x", "GET /fhir/Observation?patient=p1&_query=x",
    "GET /fhir/Observation?patient=p1&_list=1", "GET /fhir/Observation?patient=p1&_contained=true", "GET /fhir/Observation?patient=p1&_sort=date",
    "GET /fhir/Observation?patient=p1&_total=accurate", "GET /fhir/Observation?patient=p1&_summary=count", "GET /fhir/Observation?patient=p1&_elements=id",
    "GET /fhir/Observation?patient=p1&performer=p1", "GET /fhir/Observation?patient=p1&_security=x", "GET /fhir/Observation?patient=p1&encounter.subject=p2",
    // Paging links, which name nobody.
    "GET /fhir?_getpages=1", "GET /fhir?_getpages=1&_getpagesoffset=20", "GET /fhir/Observation?_page=2", "GET /fhir/Observation?patient=p1&_offset=20",
    "GET /fhir/Observation?_cursor=x", "GET /fhir/_page/1",
    // Whole servers, histories, compartments of others.
    "GET /fhir", "GET /fhir/", "GET /fhir?_type=Observation&patient=p1", "GET /fhir/?_type=Patient&_id=p1", "GET /fhir/_history", "GET /fhir/Patient/_history",
    "GET /fhir/Observation/_history", "GET /fhir/Patient/p2/Observation", "GET /fhir/Patient/p1/Observation?patient=p2", "GET /fhir/Patient/p2/*",
    "GET /fhir/Patient/p1/Observation?subject=Patient/p2", "GET /fhir/Patient/p1/observation", "GET /fhir/Patient/p1/Observation/o2",
    "GET /fhir/Practitioner/p1/Observation", "GET /fhir/Encounter/e1/Observation", "GET /fhir/Encounter/e1/Observation?patient=p1",
    "GET /fhir/RelatedPerson/p1/*", "GET /fhir/Device/p1/Observation", "GET /fhir/Group/p1/Observation",
    // Searches by form.
    "POST /fhir/Observation/_search", "POST /fhir/Observation/_search form:", "POST /fhir/Observation/_search form:patient=p2",
    "POST /fhir/Observation/_search form:patient=p1&patient=p2", "POST /fhir/Observation/_search?patient=p2 form:patient=p1",
    "POST /fhir/Observation/_search?patient=p1 form:patient=p2", "POST /fhir/Observation/_search form:patient=p1;patient=p2",
    "POST /fhir/Observation/_search form:%70atient=p2", "POST /fhir/Observation/_search?patient=p1 json:{\"patient\":\"p2\"}",
    "POST /fhir/Observation/_search form:patient=p1&_include=*", "POST /fhir/_search form:_type=Observation&patient=p1", "POST /fhir/Patient/_search form:_id=p2",
    "POST /fhir/Patient/p2/Observation/_search form:patient=p1", "POST /fhir/observation/_search form:patient=p1", "GET /fhir/Observation/_search?patient=p1",
    "POST /fhir/Observation/_search/ form:patient=p1", "POST /fhir/Observation/_Search form:patient=p1", "PUT /fhir/Observation/_search form:patient=p1",
    "GET /fhir/Observation?patient=p1 form:patient=p2", "GET /fhir/Patient/p1 form:_id=p2", "POST /fhir/Observation/_search form:_method=DELETE&patient=p1",
    // Operations.
    "GET /fhir/Patient/p2/$everything", "GET /fhir/Patient/$everything", "GET /fhir/$everything", "GET /fhir/Patient/p2/%24everything",
    "POST /fhir/Patient/p1/$everything json:{}", "GET /fhir/Patient/p1/$everything?patient=p2&_include=*", "GET /fhir/$export", "GET /fhir/Patient/$export",
    "GET /fhir/Group/g/$export", "GET /fhir/$export-poll-status?_jobId=1", "GET /fhir/$graphql?query=x", "GET /fhir/Patient/p1/$graphql", "POST /fhir/$graphql json:{}",
    "GET /fhir/Patient/p1/$summary", "GET /fhir/Patient/p1/$EVERYTHING", "GET /fhir/Patient/p1/$everything/x", "GET /fhir/Observation/$lastn?patient=p1",
    "GET /fhir/Encounter/e1/$everything", "POST /fhir/$process-message json:{}", "POST /fhir/$reindex json:{}", "GET /fhir/Patient/p1/$validate",
    // Writing.
    "POST /fhir json:{}", "POST /fhir/ json:{}", "POST /fhir/Observation json:{}", "POST /fhir/MedicationRequest json:{}", "PUT /fhir/MedicationRequest/m1 json:{}",
    "PATCH /fhir/MedicationRequest/m1 json:[]", "PUT /fhir/MedicationRequest?patient=p1 json:{}", "DELETE /fhir/Observation/o1", "DELETE /fhir/Observation?patient=p1",
    "PATCH /fhir/Patient?_id=p1 json:[]", "PUT /fhir/Patient?_id=p1 json:{}", "PUT /fhir/Patient json:{}", "POST /fhir/Patient/p1 json:{}", "PUT /fhir/Patient/p1 json:{}",
    "DELETE /fhir/Patient/p1", "DELETE /fhir/Patient/p1/_history", "PUT /fhir/Patient/p1/_history/1 json:{}", "POST /fhir/Patient json:{}",
    "GET /fhir/Patient/p1?_method=DELETE", "OPTIONS /fhir/Patient/p1", "SEARCH /fhir/Patient", "GET /r5/fhir/Patient/p1", "GET /r5/fhir/Observation?patient=p1",
];

#[test]
fn no_form_of_a_request_leads_past_ones_own_record() {
    assert!(EVASIONS.len() >= 150, "{}", EVASIONS.len());
    for line in EVASIONS {
        for (name, caller) in CALLERS.iter().filter(|(name, _)| name.starts_with('P')) {
            assert_ne!(decide(line, caller), "yes", "{name}: {line}");
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
        ("GET /fhir/Observation/o1", false),
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
            };
            let Step::Decided(decision, findings) = step(&question, &known.evidence(), NOW, &mut Silent)
            else {
                panic!("{line}")
            };
            let permitted = matches!(decision, Decision::Permit(_));
            assert_eq!(permitted, expected || !confined, "{caller}: {line}: {findings:?}");
        }
    }
}
