//! Signals: they raise tiers and refuse, and observing changes nothing.

use wardgate::decision::trace::Recorder;
use wardgate::decision::{Decision, Findings, Lookup, Need, Question, Reason, Revocation, Step, step};
use wardgate::policy::{Match, Policy};

use super::world::{Known, NOW, POLICY, Request, compile, identity, reading};

const ROUTES: &str = r#"
routes:
  - { id: signal.low, match: { path: "/signal/low", methods: [GET] }, upstream: app, tier: low, any_of: [{ issuer: workforce }, { issuer: patients }] }
  - { id: signal.critical, match: { path: "/signal/critical", methods: [GET] }, upstream: app, tier: critical, any_of: [{ issuer: workforce }] }
"#;

fn policy(signals: &str) -> Policy {
    compile(&POLICY.replacen("\nroutes:\n", &format!("\nsignals:\n{signals}{ROUTES}"), 1)).policy
}

/// What is decided where each signal says the same, what was asked for, and the account of it.
fn decide(
    policy: &Policy,
    request: &str,
    caller: &str,
    fires: Option<bool>,
) -> (Decision, Findings, Vec<Need>, String) {
    let facts = Request::parse(request).facts(None, Some("Bearer x")).expect("readable");
    let Match::Route(route) = policy.index.find(&facts) else { panic!("no route for {request}") };
    let question = Question { policy, route: &policy.routes[route], facts: &facts, forms_may_override: true };
    let known = Known {
        identity: identity(policy, caller),
        keys_too_stale: false,
        revocation: Revocation::Valid,
        body: reading(&question, None),
        evaluation: Lookup::Absent,
        record: Lookup::Absent,
    };
    let (mut evidence, mut asked) = (known.evidence(), Vec::new());
    loop {
        let mut account = Recorder::default();
        match step(&question, &evidence, NOW, &mut account) {
            Step::Decided(decision, findings) => {
                let notes: Vec<String> = account.notes.into_iter().map(|(_, note)| note).collect();
                return (decision, findings, asked, notes.join("\n"));
            }
            Step::Need(need) => {
                asked.push(need);
                match need {
                    Need::Signals => evidence.signals = Some(vec![fires; policy.signals.len()]),
                    Need::Grant(_) => evidence.grant = Some(Lookup::Absent),
                    need => panic!("{need:?}"),
                }
            }
        }
    }
}

fn signal(name: &str, effect: &str, mode: &str, more: &str) -> String {
    format!("  - {{ name: {name}, networks: [203.0.113.0/24], effect: {effect}, mode: {mode}{more} }}\n")
}

#[test]
fn a_signal_raises_and_never_lowers() {
    let policy = policy(
        &(signal("bad", "{ raise_to: high }", "enforce", "")
            + &signal("worse", "{ raise_to: low }", "enforce", "")),
    );
    let tier = |findings: &Findings| policy.tier(findings.tier.expect("a tier")).name.to_string();
    let (decision, findings, _, account) = decide(&policy, "GET /signal/low", "staff aal1 30s", Some(true));
    assert!(matches!(decision, Decision::Challenge(_)), "{decision:?}");
    assert_eq!(tier(&findings), "high");
    assert!(account.contains("signal `bad` fires: at least `high`"), "{account}");
    let (decision, findings, ..) = decide(&policy, "GET /signal/low", "staff aal2 30s", Some(true));
    assert_eq!((decision.reason(), tier(&findings)), (Reason::Permitted, "high".to_owned()));
    let (_, findings, ..) = decide(&policy, "GET /signal/critical", "staff aal2 30s", Some(true));
    assert_eq!(tier(&findings), "critical", "never down");
    let (decision, findings, ..) = decide(&policy, "GET /signal/low", "staff aal1 30s", Some(false));
    assert_eq!((decision.reason(), tier(&findings)), (Reason::Permitted, "low".to_owned()));
    assert!(findings.signals.is_empty());
}

#[test]
fn a_signal_that_denies_refuses_whoever_it_is_about_and_nobody_else() {
    let policy = policy(&signal("bad", "{ deny: true }", "enforce", ", issuers: [workforce]"));
    let (decision, ..) = decide(&policy, "GET /signal/low", "staff aal2 30s", Some(true));
    assert_eq!(decision.reason().code(), "signal_denied");
    assert_eq!(decision.reason().wording().status, 403);
    let (decision, findings, asked, _) = decide(&policy, "GET /signal/low", "patient aal1 30s", Some(true));
    assert_eq!((decision.reason(), asked, findings.signals.len()), (Reason::Permitted, Vec::new(), 0));
}

#[test]
fn what_is_observed_is_recorded_and_changes_nothing() {
    for effect in ["{ deny: true }", "{ raise_to: critical }"] {
        let observed = policy(&signal("bad", effect, "observe", ""));
        let (decision, findings, asked, account) =
            decide(&observed, "GET /signal/low", "staff aal1 30s", Some(true));
        assert_eq!((decision.reason(), asked), (Reason::Permitted, vec![Need::Signals]));
        assert_eq!(observed.tier(findings.tier.expect("a tier")).name.as_ref(), "low");
        assert_eq!(findings.signals.as_slice(), [("bad".into(), false)]);
        assert!(account.contains("signal `bad` fires: only observed"), "{account}");
    }
}

#[test]
fn what_can_not_be_told_counts_as_fired_unless_it_is_to_be_ignored() {
    let fired = policy(&signal("bad", "{ deny: true }", "enforce", ""));
    let (decision, ..) = decide(&fired, "GET /signal/low", "staff aal2 30s", None);
    assert_eq!(decision.reason().code(), "signal_denied");
    let ignored = policy(&signal("bad", "{ deny: true }", "enforce", ", when_unavailable: ignored"));
    let (decision, findings, ..) = decide(&ignored, "GET /signal/low", "staff aal2 30s", None);
    assert_eq!((decision.reason(), findings.signals.len()), (Reason::Permitted, 0));
}
