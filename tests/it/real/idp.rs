//! Tokens of a real OpenID Provider: every signature algorithm, step-up, and the rotation of keys.

use std::time::{Duration, Instant};

use super::{PAY, READ, ROUTES, alice, ask, assert_no_panic, config};
use crate::support::{Gateway, Idp, Recorder, eventually};

const AUDIENCES: &str = "    audiences: [portal-rs256, portal-es256, portal-ps256, portal-eddsa]\n";

/// How soon a rotation must have taken effect.
const SOON: Duration = Duration::from_secs(2);

fn start(idp: &Idp, more: &str) -> (Gateway, Recorder) {
    let upstream = Recorder::start();
    let more = format!("{AUDIENCES}    algorithms: [RS256, ES256, PS256, EdDSA]\n{more}");
    let gateway = Gateway::start(&config(&idp.issuer, &more, upstream.address, ROUTES), |_| {});
    (gateway, upstream)
}

#[test]
fn every_algorithm_is_verified_with_keys_found_by_discovery() {
    let idp = Idp::start();
    let (gateway, upstream) = start(&idp, "");
    for audience in ["portal-rs256", "portal-es256", "portal-ps256", "portal-eddsa"] {
        let token = alice(&idp, "aal1", audience);
        assert_eq!(ask(&gateway, READ, &token).status, 200, "{audience}");
        let (rest, signature) = token.rsplit_once('.').expect("three parts");
        let first = if signature.starts_with('A') { 'B' } else { 'A' };
        let forged = format!("{rest}.{first}{}", &signature[1..]);
        let refused = ask(&gateway, READ, &forged);
        assert_eq!(refused.status, 401, "{audience}");
        assert!(refused.header("www-authenticate").is_some_and(|value| value.contains("invalid_token")));
    }
    let others = ask(&gateway, READ, idp.sign_in("bob", "aal2", "portal-es256").access());
    assert_eq!(others.status, 403, "bob is another patient");
    assert_eq!(
        ask(&gateway, ("GET", "/ward"), idp.sign_in("nora", "aal1", "portal-es256").access()).status,
        200
    );
    assert_eq!(ask(&gateway, ("GET", "/ward"), &alice(&idp, "aal1", "portal-es256")).status, 403);
    assert_eq!(upstream.count(), 5);
    assert_eq!(idp.asked("jwks"), 1, "one fetch served them all");
}

#[test]
fn only_the_issuers_algorithms_and_audiences_count() {
    let idp = Idp::shared();
    let upstream = Recorder::start();
    let more = "    audiences: [portal-es256, portal-rs256]\n    algorithms: [ES256]\n";
    let gateway = Gateway::start(&config(&idp.issuer, more, upstream.address, ROUTES), |_| {});
    assert_eq!(ask(&gateway, READ, &alice(idp, "aal1", "portal-es256")).status, 200);
    assert_eq!(
        ask(&gateway, READ, &alice(idp, "aal1", "portal-rs256")).status,
        401,
        "an algorithm not allowed"
    );
    assert_eq!(ask(&gateway, READ, &alice(idp, "aal1", "portal-eddsa")).status, 401, "an audience not ours");
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_weak_or_old_sign_in_is_challenged_and_a_fresh_strong_one_passes() {
    let idp = Idp::shared();
    let (gateway, upstream) = start(idp, "");
    let weak = ask(&gateway, PAY, &alice(idp, "aal1", "portal-es256"));
    assert_eq!((weak.status, weak.json()["reason"].as_str()), (401, Some("level_too_low")));
    let challenge = weak.header("www-authenticate").expect("a challenge").to_owned();
    assert!(challenge.contains(r#"acr_values="urn:clinic:loa:2""#) && challenge.contains(r#"max_age="600""#));
    let old = idp.sign_in_earlier("alice", "aal2", "portal-es256", 700);
    let old = ask(&gateway, PAY, old.access());
    assert_eq!((old.status, old.json()["reason"].as_str()), (401, Some("authentication_too_old")));
    assert_eq!(upstream.count(), 0);
    let fresh = alice(idp, "aal2", "portal-es256");
    assert_eq!(ask(&gateway, PAY, &fresh).status, 200);
    let young = idp.sign_in_earlier("alice", "aal2", "portal-es256", 500);
    assert_eq!(ask(&gateway, PAY, young.access()).status, 200);
    assert_eq!(upstream.count(), 2);
}

#[test]
fn an_id_token_is_no_access_token() {
    let idp = Idp::shared();
    let upstream = Recorder::start();
    // The ID token's audience is the client; even where an operator lists that, the token is not for us.
    let more = "    audiences: [portal-es256, portal]\n    algorithms: [RS256, ES256]\n";
    let gateway = Gateway::start(&config(&idp.issuer, more, upstream.address, ROUTES), |_| {});
    let tokens = idp.sign_in("alice", "aal2", "portal-es256");
    let refused = ask(&gateway, READ, tokens.id());
    assert_eq!(
        (refused.status, refused.json()["type"].as_str()),
        (401, Some("urn:wardgate:problem:invalid_token"))
    );
    assert_eq!(
        gateway.audit().iter().filter(|record| record["reason"] == "token_not_an_access_token").count(),
        1
    );
    assert_eq!(upstream.count(), 0);
    assert_eq!(ask(&gateway, READ, tokens.access()).status, 200);
}

#[test]
fn a_machines_token_shows_no_person() {
    let idp = Idp::shared();
    let (gateway, upstream) = start(idp, "");
    let machine = idp.client_token("portal-es256");
    let refused = ask(&gateway, READ, machine.access());
    assert!(matches!(refused.status, 401 | 403), "{refused:?}");
    assert_eq!(upstream.count(), 0);
}

const QUICK: &str = "    jwks: { refresh: 1s, stale_for: 60s, stale_for_critical: 30s, unknown_kid_interval: 1s, timeout: 1s }\n";

#[test]
fn a_new_key_is_known_and_a_retired_one_forgotten_within_two_seconds() {
    let idp = Idp::start();
    let (gateway, upstream) = start(&idp, QUICK);
    let first = alice(&idp, "aal1", "portal-es256");
    assert_eq!(ask(&gateway, READ, &first).status, 200);

    idp.rotate(false);
    let rotated = Instant::now();
    let second = alice(&idp, "aal1", "portal-es256");
    eventually("the new key is known", SOON.saturating_sub(rotated.elapsed()), || {
        ask(&gateway, READ, &second).status == 200
    });
    assert_eq!(ask(&gateway, READ, &first).status, 200, "the old key is still published");

    idp.rotate(true);
    let retired = Instant::now();
    let limit = SOON.saturating_sub(retired.elapsed());
    // Both were verified before: being remembered does not make them outlive their keys.
    eventually("the old keys are forgotten", limit, || {
        ask(&gateway, READ, &first).status == 401 && ask(&gateway, READ, &second).status == 401
    });
    let forwarded = upstream.count();
    assert_eq!(ask(&gateway, READ, &second).status, 401);
    assert_eq!(upstream.count(), forwarded);
    let third = alice(&idp, "aal1", "portal-es256");
    assert_eq!(ask(&gateway, READ, &third).status, 200);
    assert_eq!(upstream.count(), forwarded + 1);
    assert_no_panic(&gateway);
}
