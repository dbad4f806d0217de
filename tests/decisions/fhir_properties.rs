//! FHIR requests with a second meaning, more that is known and things that fail: none of it lowers a tier or lets through what
//! was refused.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::test_runner::Config;
use wardgate::decision::trace::{Recorder, Stage};
use wardgate::decision::{
    BodyReading, Evaluation, Evidence, Identity, Lookup, Question, Revocation, Step, step,
};
use wardgate::policy::{Match, Policy, TierIndex};

use super::fhir::request;
use super::fhir_writes::{NURSE, PATIENT};
use super::world::{Known, NOW, compile, identity, reading};

static POLICY: LazyLock<Policy> = LazyLock::new(|| compile(include_str!("fhir_writes.yaml")).policy);

const CALLERS: [&str; 8] = [
    PATIENT,
    NURSE,
    "patient aal2 30s otp scope:patient/Observation.rs?category=laboratory",
    "patient aal1 30s recordless scope:patient/*.cruds",
    "patient aal1 30s scope:user/*.cruds",
    "staff aal2 30s otp role:nurse role:prescriber scope:user/*.cruds",
    "staff aal1 30s role:nurse scope:user/Observation.rs",
    "nobody",
];

/// Reads and searches; a parameter may follow.
const ASKED: [&str; 8] = [
    "GET /fhir/Patient/p1",
    "GET /fhir/Patient/p2",
    "GET /fhir/Observation/o1",
    "GET /fhir/Observation",
    "GET /fhir/Observation?patient=p1",
    "GET /fhir/Observation?subject=Patient/p1&category=laboratory",
    "GET /fhir/Observation?patient=p2",
    "GET /fhir/Patient?_id=p1",
];

/// What makes it unclear whom or what a search is about.
const MORE_ASKED: [&str; 12] = [
    "patient=p2",
    "patient=p1,p2",
    "patient=",
    "%70atient=p2",
    "subject=Patient/p2",
    "patient:identifier=1",
    "patient._id=p2",
    "_include=Observation:performer",
    "_revinclude=Provenance:target",
    "_has:Observation:patient:code=1",
    "_filter=x",
    "unheard-of=1",
];

/// Writes, each with its body's first members left open.
const WRITTEN: [(&str, &str); 6] = [
    ("POST /fhir/Observation", r#""resourceType":"Observation","subject":{"reference":"Patient/p1"}"#),
    ("POST /fhir/Observation", r#""resourceType":"Observation","subject":{"reference":"Patient/p2"}"#),
    (
        "PUT /fhir/Observation/o1",
        r#""resourceType":"Observation","id":"o1","subject":{"reference":"Patient/p1"}"#,
    ),
    ("PUT /fhir/Patient/p1", r#""resourceType":"Patient","id":"p1""#),
    ("POST /fhir/Task", r#""resourceType":"Task","note":[]"#),
    ("POST /fhir/MedicationRequest", r#""resourceType":"MedicationRequest""#),
];

/// What stands there too.
const MORE_WRITTEN: [&str; 9] = [
    r#""resourceType":"MedicationRequest""#,
    r#""ResourceType":"MedicationRequest""#,
    r#""subject":{"reference":"Patient/p2"}"#,
    r#""status":"completed""#,
    r#""_note":[{"id":"1"}]"#,
    r#""contained":[{"resourceType":"Patient","id":"p2"}]"#,
    r#""extension":[{"valueReference":{"reference":"Patient/p2"}}]"#,
    r#""id":"other""#,
    r#""entry":[{"request":{"method":"DELETE","url":"Patient/p1"}}]"#,
];

/// Patches of a task.
const OPERATIONS: [&str; 6] = [
    r#"{"op":"remove","path":"/note"}"#,
    r#"{"op":"replace","path":"/description","value":"x"}"#,
    r#"{"op":"replace","path":"/status","value":"completed"}"#,
    r#"{"op":"move","path":"/note/0","from":"/status"}"#,
    r#"{"op":"replace","path":"","value":{}}"#,
    r#"{"op":"add","path":"/no~1te","value":1}"#,
];

/// A request, and the same with something beside it.
fn pair() -> impl Strategy<Value = (String, String)> {
    let asked = (prop::sample::select(ASKED.to_vec()), prop::sample::select(MORE_ASKED.to_vec())).prop_map(
        |(line, more)| {
            let mark = if line.contains('?') { '&' } else { '?' };
            (line.to_owned(), format!("{line}{mark}{more}"))
        },
    );
    let written =
        (prop::sample::select(WRITTEN.to_vec()), prop::sample::select(MORE_WRITTEN.to_vec()), any::<bool>())
            .prop_map(|((line, own), more, is_first)| {
                let both = if is_first { format!("{more},{own}") } else { format!("{own},{more}") };
                (format!("{line} json:{{{own}}}"), format!("{line} json:{{{both}}}"))
            });
    let patched = prop::collection::vec(prop::sample::select(OPERATIONS.to_vec()), 2..5).prop_map(|all| {
        let line = |some: &[&str]| format!("PATCH /fhir/Task/t1 jsonpatch:[{}]", some.join(","));
        (line(&all[..all.len() - 1]), line(&all))
    });
    let read_otherwise =
        (prop::sample::select(WRITTEN.to_vec()), prop::sample::select(vec!["xml", "utf16", "pdf", "form"]))
            .prop_map(|((line, own), kind)| {
                (format!("{line} json:{{{own}}}"), format!("{line} {kind}:{{{own}}}"))
            });
    prop_oneof![asked, written, patched, read_otherwise]
}

/// What came of a request: whether it is permitted, its tier where it got one, and the reason.
type Verdict = (bool, Option<TierIndex>, &'static str);

fn judge(question: &Question<'_>, evidence: &Evidence) -> Option<Verdict> {
    let mut trace = Recorder::default();
    match step(question, evidence, NOW, &mut trace) {
        Step::Need(_) => None,
        Step::Decided(decision, findings) => {
            let is_classified = trace.notes.iter().any(|(stage, _)| *stage == Stage::Classify);
            let tier = findings.tier.filter(|_| is_classified);
            Some((decision.verdict() == "permit", tier, decision.reason().code()))
        }
    }
}

/// Does something with a question and all that is known of it; `None` where the request is refused before.
fn with<R>(line: &str, caller: &str, act: impl FnOnce(&Question<'_>, &Known) -> R) -> Option<R> {
    let (request, body) = request(line);
    let facts = request.facts(body.as_ref(), Some("Bearer a.b.c")).ok()?;
    let Match::Route(route) = POLICY.index.find(&facts) else { return None };
    let question =
        Question { policy: &POLICY, route: &POLICY.routes[route], facts: &facts, forms_may_override: true };
    let known = Known {
        identity: identity(&POLICY, caller),
        keys_too_stale: false,
        revocation: Revocation::Valid,
        body: reading(&question, body.as_ref()),
        evaluation: Lookup::Found(Evaluation::Permitted),
        record: Lookup::Absent,
    };
    Some(act(&question, &known))
}

fn is_no_better(before: &Verdict, after: &Verdict) -> bool {
    let tier_holds = before.1.zip(after.1).is_none_or(|(before, after)| after >= before);
    (before.0 || !after.0) && tier_holds
}

proptest! {
    #![proptest_config(Config { cases: 2_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_second_meaning_never_helps((line, unclear) in pair(), caller in prop::sample::select(CALLERS.to_vec())) {
        let of = |line: &str| with(line, caller, |question, known| judge(question, &known.evidence()).expect("all is known"));
        let (before, after) = (of(&line), of(&unclear));
        match (before, after) {
            (Some(before), Some(after)) => {
                prop_assert!(is_no_better(&before, &after), "{caller}: {line} {before:?}, {unclear} {after:?}");
            }
            (None, Some(after)) => prop_assert!(!after.0, "{caller}: {unclear}"),
            (_, None) => {}
        }
    }

    #[test]
    fn neither_outages_nor_more_evidence_help((line, unclear) in pair(), caller in prop::sample::select(CALLERS.to_vec()), outages in 1u8..16) {
        for line in [line, unclear] {
            let judged = with(&line, caller, |question, known| {
                let all = judge(question, &known.evidence()).expect("all is known");
                let early: Vec<_> = (0..8u8)
                    .filter_map(|bits| judge(question, &known.part(bits & 1 != 0, bits & 2 != 0, bits & 4 != 0)))
                    .collect();
                let out = |bit: u8| outages & bit != 0;
                let less = Known {
                    identity: if out(1) { Identity::Unavailable } else { known.identity.clone() },
                    keys_too_stale: out(2),
                    revocation: if out(4) { Revocation::Unknown } else { known.revocation },
                    body: if out(8) { BodyReading::Unreadable } else { known.body.clone() },
                    ..known.clone()
                };
                (all, early, judge(question, &less.evidence()).expect("all is known"))
            });
            let Some((all, early, less)) = judged else { continue };
            prop_assert!(early.iter().all(|one| *one == all), "{caller}: {line} {early:?} {all:?}");
            prop_assert!(is_no_better(&all, &less), "{caller}, {outages:b}: {line} {all:?} {less:?}");
        }
    }
}
