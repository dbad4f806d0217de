//! Separation of duties: when it is asked about, and that nothing gets beyond it.

use wardgate::decision::trace::Silent;
use wardgate::decision::{Decision, Lookup, Need, Opened, Question, Revocation, Step, step};
use wardgate::policy::{Match, Policy};

use super::world::{Known, NOW, POLICY, Request, compile, identity, reading};

const PAIR: &str = r#"
break_glass:
  treatment:
    issuer: workforce
    roles: [hospitalist]
    access: write
    require: { assurance: aal2, reason_codes: [emergency] }
    review: { within: 72h, by: [privacy-office] }
    overrides: [role_missing]
routes:
  - { id: pair.one, match: { path: "/one/{patient}", methods: [POST] }, upstream: app, tier: high, patient: { from: path.patient },
      break_glass: treatment, any_of: [{ issuer: workforce, roles: [nurse] }] }
  - { id: pair.two, match: { path: "/two/{patient}", methods: [POST] }, upstream: app, tier: low, patient: { from: path.patient },
      any_of: [{ issuer: workforce, roles: [nurse] }],
      separation_of_duties: { not_same_actor_as: pair.one, on: patient, within: 24h } }
"#;

fn policy() -> Policy {
    let text = POLICY.replacen("\nroutes:\n", PAIR, 1);
    assert_ne!(text, POLICY);
    compile(&text).policy
}

/// What is decided, and what is claimed.
fn decide(
    request: &str,
    caller: &str,
    other_is_done: &Lookup<bool>,
) -> (&'static str, Vec<(String, String)>, bool) {
    let policy = policy();
    let facts = Request::parse(request).facts(None, Some("Bearer x")).expect("readable");
    let Match::Route(route) = policy.index.find(&facts) else { panic!("no route for {request}") };
    let question =
        Question { policy: &policy, route: &policy.routes[route], facts: &facts, forms_may_override: true };
    let known = Known {
        identity: identity(&policy, caller),
        keys_too_stale: false,
        revocation: Revocation::Valid,
        body: reading(&question, None),
        evaluation: Lookup::Absent,
        record: Lookup::Absent,
    };
    let (mut evidence, mut asked) = (known.evidence(), false);
    evidence.break_glass = Some(Lookup::Found(Opened {
        id: "2026-11-23.1".into(),
        right: "treatment".into(),
        issuer: "workforce".into(),
        subject: "s1".into(),
        patient: "p2".into(),
        until: NOW + 60,
        drill: false,
    }));
    loop {
        match step(&question, &evidence, NOW, &mut Silent) {
            Step::Need(Need::Duties) => {
                assert!(!std::mem::replace(&mut asked, true), "asked once");
                evidence.duties = Some(other_is_done.clone());
            }
            Step::Need(need) => panic!("{need:?}"),
            Step::Decided(decision, _) => {
                let claims = match &decision {
                    Decision::Permit(permit) => permit.claims().iter(),
                    _ => [].iter(),
                };
                let claims = claims.map(|claim| (claim.key.to_string(), claim.half.to_string())).collect();
                return (decision.reason().code(), claims, asked);
            }
        }
    }
}

const STRONG: &str = "staff aal2 30s role:nurse";

#[test]
fn both_halves_claim_the_same_and_neither_goes_out_for_who_did_the_other() {
    let free = Lookup::Found(false);
    let (one, claims, _) = decide("POST /one/p2", STRONG, &free);
    let (two, others, _) = decide("POST /two/p2", STRONG, &free);
    assert_eq!((one, two), ("permitted", "permitted"));
    assert_eq!((claims.len(), &claims[0].0), (1, &others[0].0), "one key");
    assert_eq!((claims[0].1.as_str(), others[0].1.as_str()), ("pair.one", "pair.two"));
    let (_, elsewhere, _) = decide("POST /two/p3", STRONG, &free);
    assert_ne!(others[0].0, elsewhere[0].0);
    for request in ["POST /one/p2", "POST /two/p2"] {
        assert_eq!(decide(request, STRONG, &Lookup::Found(true)), ("same_actor", vec![], true));
        assert_eq!(decide(request, STRONG, &Lookup::Unavailable), ("store_unavailable", vec![], true));
    }
}

#[test]
fn nobody_is_asked_for_proof_in_vain_and_no_broken_glass_gets_beyond() {
    let weak = "staff aal2 50000s role:nurse";
    assert_eq!(decide("POST /one/p2", weak, &Lookup::Found(false)).0, "authentication_too_old");
    assert_eq!(decide("POST /one/p2", weak, &Lookup::Found(true)).0, "same_actor");
    let hospitalist = "staff aal2 30s role:hospitalist";
    let (reason, claims, _) = decide("POST /one/p2", hospitalist, &Lookup::Found(false));
    assert_eq!((reason, claims.len()), ("glass_broken", 1));
    assert_eq!(decide("POST /one/p2", hospitalist, &Lookup::Found(true)).0, "same_actor");
    // Who is refused anyway is not looked up.
    assert!(!decide("POST /two/p2", "staff aal2 30s role:clerk", &Lookup::Found(true)).2);
}
