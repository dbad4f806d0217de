//! People who have not signed in, on routes that ask for more than nothing: what is asked for, in which order, and what
//! comes of it.

use std::path::Path;

use http::{HeaderMap, HeaderValue, Method};
use wardgate::config::{Compiled, load};
use wardgate::decision::trace::Silent;
use wardgate::decision::{
    BodyReading, Decision, Evidence, Granted, Lookup, Need, Question, Reason, Step, Tried, step,
};
use wardgate::request::Facts;
use wardgate::request::body::{BodyFacts, Media};
use wardgate::request::facts::{Hop, RawRequest, Reading};
use wardgate::state::spent::ProofKey;

use super::world::NOW;

const FORM: &str = "username=Alice&mail=a%40b.example";

fn compiled() -> Compiled {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/good");
    let text = std::fs::read_to_string(dir.join("anonymous.yaml")).expect("a configuration");
    load("anonymous.yaml", &text, &dir).expect("sound").0
}

fn facts(headers: &[(&'static str, &str)]) -> Facts {
    facts_of("POST /recover", headers)
}

fn facts_of(line: &str, headers: &[(&'static str, &str)]) -> Facts {
    let (method, target) = line.split_once(' ').expect("a method and a target");
    let length = FORM.len().to_string();
    let mut all = vec![
        ("host", "portal.clinic.example"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-length", &*length),
    ];
    all.extend_from_slice(headers);
    let mut map = HeaderMap::new();
    let mut section = format!("{line} HTTP/1.1\r\n");
    for (name, value) in all {
        map.append(name, HeaderValue::from_str(value).expect("a value"));
        section.push_str(&format!("{name}: {value}\r\n"));
    }
    section.push_str("\r\n");
    let raw = RawRequest {
        method: &method.parse::<Method>().expect("a method"),
        version: http::Version::HTTP_11,
        target: target.as_bytes(),
        headers: &map,
        section: section.as_bytes(),
        peer: None,
        hop: Hop::default(),
    };
    let reading = Reading { trusted_proxies: Vec::new(), header_bytes: 32 * 1024, header_count: 100 };
    Facts::read(&raw, &reading).expect("readable")
}

fn read(form: &str) -> Option<BodyReading> {
    Some(match BodyFacts::read(Media::Form, form.as_bytes()) {
        Some(facts) => BodyReading::Read(facts),
        None => BodyReading::Unreadable,
    })
}

fn key(name: &str) -> ProofKey {
    ProofKey::new(&["intent", name], NOW - 5)
}

fn granted(compiled: &Compiled, level: &str, name: &str) -> Option<Lookup<Granted>> {
    let level = compiled.policy.levels.find(level).expect("a level");
    Some(Lookup::Found(Granted { level, methods: vec!["face".into()], proof: key(name) }))
}

/// What comes of it: a need, or a reason and what is to be spent.
fn judged(
    compiled: &Compiled,
    facts: &Facts,
    evidence: &Evidence,
) -> Result<(Reason, Option<ProofKey>), Need> {
    let policy = &compiled.policy;
    let id = if facts.target.raw().starts_with("/check") { "account.check" } else { "account.recover" };
    let route = policy.routes.iter().find(|route| *route.id == *id).expect("a route");
    let question = Question { policy, route, facts, forms_may_override: true };
    match step(&question, evidence, NOW, &mut Silent) {
        Step::Need(need) => Err(need),
        Step::Decided(decision, _) => {
            let spend = match &decision {
                Decision::Permit(permit) => permit.to_spend().cloned(),
                Decision::Challenge(_) | Decision::Deny(_) => None,
            };
            Ok((decision.reason(), spend))
        }
    }
}

#[test]
fn one_thing_after_the_other_is_asked_for() {
    let (compiled, facts) = (compiled(), facts(&[]));
    let tier = compiled.policy.routes[0].tier;
    let mut evidence = Evidence::default();
    assert_eq!(judged(&compiled, &facts, &evidence), Err(Need::Body));
    evidence.body = read(FORM);
    assert_eq!(judged(&compiled, &facts, &evidence), Err(Need::Grant(tier)));
    evidence.grant = Some(Lookup::Absent);
    assert_eq!(judged(&compiled, &facts, &evidence), Err(Need::Attempts));
    evidence.attempts = Some(Lookup::Found(Tried::Within));
    assert_eq!(judged(&compiled, &facts, &evidence), Ok((Reason::ProofingRequired, None)));
}

#[test]
fn every_piece_of_evidence_has_its_answer() {
    use Reason as R;
    let (compiled, facts) = (compiled(), facts(&[]));
    let (weak, enough) = (granted(&compiled, "aal1", "a"), granted(&compiled, "aal2", "a"));
    let within = Some(Lookup::Found(Tried::Within));
    let beyond = Some(Lookup::Found(Tried::Beyond));
    for (body, grant, attempts, expected) in [
        // Who names nobody is not asked anything.
        (read("user=alice"), None, None, R::AccountUnnamed),
        (read("username=a&username=b"), None, None, R::AccountUnnamed),
        (Some(BodyReading::Absent), None, None, R::AccountUnnamed),
        (Some(BodyReading::Searched { hides_method: false }), None, None, R::AccountUnnamed),
        (Some(BodyReading::Searched { hides_method: true }), None, None, R::MethodOverride),
        (read("username=a&_method=PUT"), None, None, R::MethodOverride),
        // An outage lets nobody through.
        (read(FORM), Some(Lookup::Unavailable), None, R::StoreUnavailable),
        (read(FORM), Some(Lookup::Absent), Some(Lookup::Unavailable), R::StoreUnavailable),
        (read(FORM), Some(Lookup::Absent), Some(Lookup::Absent), R::StoreUnavailable),
        // Nor does a proof that is too weak.
        (read(FORM), weak.clone(), within.clone(), R::ProofingRequired),
        (read(FORM), weak, beyond.clone(), R::TooManyAttempts),
        (read(FORM), Some(Lookup::Absent), beyond, R::TooManyAttempts),
        // What was proven was counted before.
        (read(FORM), enough, None, R::AnonymousProven),
    ] {
        let evidence = Evidence { body, grant, attempts, ..Evidence::default() };
        let (reason, spend) = judged(&compiled, &facts, &evidence).expect("decided");
        assert_eq!(reason, expected, "{evidence:?}");
        assert_eq!(spend, (reason == R::AnonymousProven).then(|| key("a")), "a proof is for one request");
    }
}

/// A picture on another site's page would count against its visitors, and against whom it names.
#[test]
fn what_another_sites_page_loads_is_no_attempt() {
    let compiled = compiled();
    let no_body = Evidence { body: Some(BodyReading::Absent), ..Evidence::default() };
    let ask = |headers: &[(&'static str, &str)]| {
        judged(&compiled, &facts_of("GET /check?user=alice", headers), &no_body)
    };
    let (site, mode) = (("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"));
    assert_eq!(ask(&[site, mode]), Ok((Reason::CrossSite, None)));
    for other in [
        &[site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")][..],
        &[("sec-fetch-site", "same-origin"), mode],
        &[],
    ] {
        assert_ne!(ask(other), Ok((Reason::CrossSite, None)), "{other:?}");
    }
}

#[test]
fn what_goes_on_is_what_was_proven() {
    let (compiled, facts) = (compiled(), facts(&[]));
    let resumed = |name: &str| Evidence {
        body: read(FORM),
        grant: granted(&compiled, "aal2", "a"),
        attempts: Some(Lookup::Found(Tried::Within)),
        resumes: Some(key(name)),
        ..Evidence::default()
    };
    assert_eq!(judged(&compiled, &facts, &resumed("a")), Ok((Reason::AnonymousProven, Some(key("a")))));
    assert_eq!(judged(&compiled, &facts, &resumed("b")), Ok((Reason::ProofingRequired, None)));
}

#[test]
fn another_sites_page_is_refused_before_anything_is_read() {
    let compiled = compiled();
    for headers in [[("sec-fetch-site", "cross-site")], [("origin", "https://evil.example")]] {
        let judged = judged(&compiled, &facts(&headers), &Evidence::default());
        assert_eq!(judged, Ok((Reason::CrossSite, None)), "{headers:?}");
    }
    let own = judged(&compiled, &facts(&[("sec-fetch-site", "same-origin")]), &Evidence::default());
    assert_eq!(own, Err(Need::Body));
    let overridden = judged(&compiled, &facts(&[("x-http-method-override", "PUT")]), &Evidence::default());
    assert_eq!(overridden, Ok((Reason::MethodOverride, None)));
}
