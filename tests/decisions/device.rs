//! Rules that ask about the browser: what is asked for, of whom, and what an outage means.

use http::{HeaderMap, HeaderValue, Method, header};
use wardgate::decision::trace::Silent;
use wardgate::decision::{Decision, Evidence, Findings, Lookup, Need, Question, Revocation, Step, step};
use wardgate::policy::{Match, Policy};
use wardgate::request::Facts;
use wardgate::request::facts::{Hop, RawRequest, Reading};

use super::world::{NOW, POLICY, identity};

fn policy(rule: &str) -> Policy {
    let read = "tier: low\n    any_of: [{ issuer: patients }]";
    let text = POLICY.replacen(read, &format!("tier: low\n    {rule}"), 1);
    assert_ne!(text, POLICY);
    let loaded = wardgate::config::load("policy.yaml", &text, std::path::Path::new(""));
    loaded.unwrap_or_else(|found| panic!("{}", found[0])).0.policy
}

const RAISES: &str =
    "refine: [{ when: '!device.recognised', tier: high }]\n    any_of: [{ issuer: patients }]";
const DENIES: &str = "deny: [{ when: '!device.recognised' }]\n    any_of: [{ issuer: patients }]";
const DENIES_KNOWN: &str = "deny: [{ when: 'device.recognised' }]\n    any_of: [{ issuer: patients }]";
const ALLOWS: &str = "any_of: [{ issuer: patients, when: 'device.recognised' }]";

fn facts(headers: &[(header::HeaderName, String)]) -> Facts {
    let mut map = HeaderMap::new();
    let mut section = "GET /news HTTP/1.1\r\n".to_owned();
    for (name, value) in [(header::HOST, "portal.clinic.example".to_owned())].iter().chain(headers) {
        map.append(name, HeaderValue::from_str(value).expect("a value"));
        section.push_str(&format!("{name}: {value}\r\n"));
    }
    section.push_str("\r\n");
    let raw = RawRequest {
        method: &Method::GET,
        version: http::Version::HTTP_11,
        target: b"/news",
        headers: &map,
        section: section.as_bytes(),
        peer: None,
        hop: Hop::default(),
    };
    let reading = Reading { trusted_proxies: Vec::new(), header_bytes: 32 * 1024, header_count: 100 };
    Facts::read(&raw, &reading).expect("readable")
}

fn browser(device: bool) -> Facts {
    let id = "A".repeat(43);
    let device = if device { format!("; __Host-wardgate-device={id}") } else { String::new() };
    facts(&[(header::COOKIE, format!("__Host-wardgate-session={id}{device}"))])
}

fn decide(policy: &Policy, facts: &Facts, device: &Lookup<()>) -> (bool, Decision, Findings) {
    let Match::Route(route) = policy.index.find(facts) else { panic!("a route") };
    let question = Question { policy, route: &policy.routes[route], facts, forms_may_override: true };
    let mut evidence = Evidence {
        identity: Some(identity(policy, "patient aal1 30s pwd")),
        revocation: Some(Revocation::Valid),
        ..Evidence::default()
    };
    let mut asked = false;
    loop {
        match step(&question, &evidence, NOW, &mut Silent) {
            Step::Decided(decision, findings) => return (asked, decision, findings),
            Step::Need(Need::Device) => {
                assert!(!std::mem::replace(&mut asked, true));
                evidence.device = Some(device.clone());
            }
            Step::Need(need) => panic!("{need:?}"),
        }
    }
}

#[test]
fn what_is_found_out_counts_and_an_outage_opens_nothing() {
    let (known, unknown, outage) = (Lookup::Found(()), Lookup::Absent, Lookup::Unavailable);
    for (rule, of_known, of_unknown, of_outage) in [
        (RAISES, "permit", "challenge", "challenge"),
        (DENIES, "permit", "deny", "deny"),
        (DENIES_KNOWN, "deny", "permit", "deny"),
        (ALLOWS, "permit", "deny", "deny"),
    ] {
        let policy = policy(rule);
        for (device, expected, recorded) in
            [(&known, of_known, Some(true)), (&unknown, of_unknown, Some(false)), (&outage, of_outage, None)]
        {
            let (asked, decision, findings) = decide(&policy, &browser(true), device);
            assert_eq!(
                (asked, decision.verdict(), findings.device),
                (true, expected, recorded),
                "{rule} {device:?}"
            );
        }
    }
}

#[test]
fn nobody_is_asked_about_without_a_reason() {
    let (raises, plain) = (policy(RAISES), super::world::compile(POLICY).policy);
    // No cookie, or no browser: unknown, and nothing to look for.
    let bearer = facts(&[
        (header::AUTHORIZATION, "Bearer a.b.c".to_owned()),
        (header::COOKIE, format!("__Host-wardgate-device={}", "A".repeat(43))),
    ]);
    for facts in [browser(false), bearer] {
        let (asked, decision, findings) = decide(&raises, &facts, &Lookup::Found(()));
        assert_eq!((asked, decision.verdict(), findings.device), (false, "challenge", Some(false)));
    }
    let (asked, decision, findings) = decide(&plain, &browser(true), &Lookup::Unavailable);
    assert_eq!((asked, decision.verdict(), findings.device), (false, "permit", None));
}
