//! A real OpenID Provider that is stopped, broken, or not the one that was configured.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{PAY, READ, ROUTES, alice, ask, assert_no_panic, config, not_ready};
use crate::support::{Gateway, Idp, Recorder, eventually};

const AUDIENCE: &str = "    audiences: [portal-es256]\n    algorithms: [ES256]\n";
const LONG: Duration = Duration::from_secs(20);

fn config_with(idp: &Idp, upstream: &Recorder, jwks: &str) -> String {
    config(&idp.issuer, &format!("{AUDIENCE}{jwks}\n"), upstream.address, ROUTES)
}

#[test]
fn tokens_outlive_the_provider_only_so_long_and_less_where_it_matters() {
    let (mut idp, upstream) = (Idp::start(), Recorder::start());
    let jwks = "    jwks: { refresh: 1s, stale_for: 6s, stale_for_critical: 2s, unknown_kid_interval: 1s, timeout: 1s }";
    let gateway = Gateway::start(&config_with(&idp, &upstream, jwks), |_| {});
    let token = alice(&idp, "aal2", "portal-es256");
    assert_eq!((ask(&gateway, READ, &token).status, ask(&gateway, PAY, &token).status), (200, 200));

    idp.stop();
    let mut seen = Vec::new();
    eventually("both tiers are refused", LONG, || {
        let (low, high) = (ask(&gateway, READ, &token), ask(&gateway, PAY, &token));
        assert!([&low, &high].iter().all(|answer| {
            answer.status == 200 || (answer.status == 503 && answer.header("retry-after").is_some())
        }));
        seen.push((low.status, high.status));
        seen.last() == Some(&(503, 503))
    });
    seen.dedup();
    assert_eq!(
        seen,
        [(200, 200), (200, 503), (503, 503)],
        "the higher tier is the first to be refused, and both stay so"
    );
    let missing = not_ready(&gateway);
    assert!(
        missing.contains("`clinic`") && missing.contains("stale_for") && missing.contains("can't be reached"),
        "{missing}"
    );
    let forwarded = upstream.count();
    assert_eq!(ask(&gateway, READ, &token).json()["type"], "urn:wardgate:problem:unavailable");
    assert_eq!(upstream.count(), forwarded);

    idp.restart();
    eventually("the gateway recovers by itself", LONG, || not_ready(&gateway).is_empty());
    let token_of_new_keys = alice(&idp, "aal2", "portal-es256");
    assert_eq!(
        (ask(&gateway, READ, &token_of_new_keys).status, ask(&gateway, PAY, &token_of_new_keys).status),
        (200, 200)
    );
    assert_eq!(ask(&gateway, READ, &token).status, 401, "its key is gone");
    assert_no_panic(&gateway);
}

#[test]
fn a_provider_that_was_never_there_is_waited_for() {
    let (mut idp, upstream) = (Idp::start(), Recorder::start());
    let early = alice(&idp, "aal1", "portal-es256");
    idp.stop();
    let jwks = "    jwks: { refresh: 1s, timeout: 1s }";
    let gateway = Gateway::start_unready(&config_with(&idp, &upstream, jwks), |_| {});
    assert_eq!(ask(&gateway, READ, &early).status, 503);
    eventually("its absence is named", LONG, || not_ready(&gateway).contains("`clinic`"));
    assert_eq!(upstream.count(), 0);
    idp.restart();
    eventually("the gateway is ready by itself", LONG, || not_ready(&gateway).is_empty());
    assert_eq!(ask(&gateway, READ, &alice(&idp, "aal1", "portal-es256")).status, 200);
}

fn assert_nothing_passes(endpoint: &str) {
    let idp = Idp::start();
    let token = alice(&idp, "aal2", "portal-es256");
    let jwks = "    jwks: { refresh: 1s, timeout: 400ms, unknown_kid_interval: 1s }";
    for mode in ["500", "hang", "garbage", "redirect", "huge"] {
        let upstream = Recorder::start();
        idp.fail(endpoint, Some(mode));
        let gateway = Gateway::start_unready(&config_with(&idp, &upstream, jwks), |_| {});
        for request in [READ, PAY] {
            let refused = ask(&gateway, request, &token);
            assert_eq!(refused.status, 503, "{endpoint} {mode}: {refused:?}");
            assert!(refused.header("retry-after").is_some());
        }
        let missing = not_ready(&gateway);
        assert!(missing.contains("`clinic`"), "{endpoint} {mode}: {missing}");
        assert_eq!(upstream.count(), 0, "{endpoint} {mode}");
        idp.fail(endpoint, None);
        eventually("it works once mended", LONG, || ask(&gateway, READ, &token).status == 200);
        assert_eq!(upstream.count(), 1, "{endpoint} {mode}");
        assert_no_panic(&gateway);
    }
    assert_eq!(idp.asked("moved"), 0, "a redirect was followed");
}

#[test]
fn keys_that_can_not_be_had_let_no_byte_through() {
    assert_nothing_passes("jwks");
}

#[test]
fn metadata_that_can_not_be_had_lets_no_byte_through() {
    assert_nothing_passes("discovery");
}

#[test]
fn a_bad_answer_does_not_replace_good_keys() {
    let (idp, upstream) = (Idp::start(), Recorder::start());
    let jwks = "    jwks: { refresh: 1s, timeout: 400ms }";
    let gateway = Gateway::start(&config_with(&idp, &upstream, jwks), |_| {});
    let token = alice(&idp, "aal2", "portal-es256");
    for mode in ["garbage", "huge"] {
        let asked = idp.asked("jwks");
        idp.fail("jwks", Some(mode));
        eventually("it was fetched", LONG, || idp.asked("jwks") > asked + 1);
        assert_eq!(ask(&gateway, PAY, &token).status, 200, "{mode}");
    }
    assert_no_panic(&gateway);
}

#[test]
fn metadata_of_another_issuer_is_not_believed() {
    let idp = Idp::start();
    let token = alice(&idp, "aal2", "portal-es256");
    for (suffix, why) in [("/", "is for issuer"), ("/realms/other", "status 404")] {
        let upstream = Recorder::start();
        let issuer = format!("{}{suffix}", idp.issuer);
        let gateway = Gateway::start_unready(&config(&issuer, AUDIENCE, upstream.address, ROUTES), |_| {});
        eventually("the reason is named", LONG, || not_ready(&gateway).contains(why));
        // The provider's tokens are of an issuer that nobody configured; those of the configured one can't be verified.
        assert_eq!(ask(&gateway, READ, &token).status, 401);
        let parts: Vec<&str> = token.split('.').collect();
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).expect("base64url")).expect("text");
        let claims = claims.replace(&idp.issuer, &issuer);
        let other = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims), parts[2]);
        assert_eq!(ask(&gateway, READ, &other).status, 503);
        assert_eq!(upstream.count(), 0);
        assert_eq!(idp.asked("jwks"), 0, "keys were fetched");
    }
}
