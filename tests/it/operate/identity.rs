//! What an upstream is told about the caller: a signed assertion, or the token itself where it is to have it.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

use super::{JSON, PROFILE, READ, proofs, setup, start};
use crate::support::{Gateway, Recorder, Signer, http};

/// Verifies an assertion as an upstream does, with the keys of the telemetry listener.
fn verified(gateway: &Gateway, assertion: &str) -> Value {
    let page = gateway.telemetry_page("/.well-known/jwks.json");
    assert_eq!((page.status, page.header("content-type")), (200, Some("application/jwk-set+json")));
    assert!(!page.body.contains(r#""d""#), "a private key");
    let keys: JwkSet = serde_json::from_str(&page.body).expect("a key set");
    let header = jsonwebtoken::decode_header(assertion).expect("a header");
    assert_eq!(header.alg, Algorithm::ES256);
    let key = keys.find(&header.kid.expect("a key's name")).expect("the key is published");
    let mut rules = Validation::new(Algorithm::ES256);
    rules.set_audience(&["app"]);
    rules.set_issuer(&["wardgate"]);
    rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let key = DecodingKey::from_jwk(key).expect("a key");
    jsonwebtoken::decode::<Value>(assertion, &key, &rules).expect("it verifies").claims
}

fn assertion_of(gateway: &Gateway, upstream: &Recorder, token: &str, patient: &str) -> String {
    let target = format!("/patients/{patient}/results/1");
    let forged = [("Authorization", token), ("X-Wardgate-Assertion", "forged"), ("x-remote-user", "forged")];
    let answer = http::send(gateway.address, "GET", &target, &forged, b"").expect("an answer");
    assert_eq!(answer.status, 200);
    let request = upstream.requests().pop().expect("a request");
    let assertions = request.values("x-wardgate-assertion");
    assert_eq!((assertions.len(), request.values("x-remote-user").len()), (1, 1), "{request:?}");
    assert_eq!(request.values("x-wardgate-decision"), [answer.decision()]);
    assertions[0].to_owned()
}

#[test]
fn an_assertion_says_who_asks_and_is_signed() {
    let upstream = Recorder::start();
    let (gateway, signer) = start(&upstream);
    let token = signer.bearer("p1", "aal1", 42);
    let first = assertion_of(&gateway, &upstream, &token, "p1");
    let claims = verified(&gateway, &first);
    assert_eq!((claims["iss"].as_str(), claims["aud"].as_str()), (Some("wardgate"), Some("app")));
    assert_eq!((claims["level"].as_str(), claims["patient"].as_str()), (Some("aal1"), Some("p1")));
    assert_eq!((claims["kind"].as_str(), claims["issuer"].as_str()), (Some("person"), Some("patients")));
    let subject = claims["sub"].as_str().expect("a subject");
    assert!(subject.contains("patients") && subject.contains("user-p1"), "{subject}");
    let seconds = |name: &str| claims[name].as_i64().expect("a moment");
    assert_eq!(seconds("exp") - seconds("iat"), 60);
    assert!((40..60).contains(&(seconds("iat") - seconds("auth_time"))));

    assert_eq!(assertion_of(&gateway, &upstream, &token, "p1"), first, "the same within its life");
    let other = assertion_of(&gateway, &upstream, &signer.bearer("p2", "aal2", 5), "p2");
    assert_ne!(other, first);
    let claims = verified(&gateway, &other);
    assert_eq!((claims["level"].as_str(), claims["patient"].as_str()), (Some("aal2"), Some("p2")));
    assert_ne!(claims["sub"], subject);
}

#[test]
fn an_assertion_is_renewed_before_it_ends() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let gateway = setup(upstream.address, &signer, |text| text.replace("ttl: 60s", "ttl: 4s")).start();
    let token = signer.bearer("p1", "aal1", 5);
    let first = assertion_of(&gateway, &upstream, &token, "p1");
    std::thread::sleep(std::time::Duration::from_millis(3100));
    let second = assertion_of(&gateway, &upstream, &token, "p1");
    assert_ne!(first, second);
    let left =
        verified(&gateway, &second)["exp"].as_i64().expect("a moment") - jiff::Timestamp::now().as_second();
    assert!(left >= 2, "{left} s are left");
}

#[test]
fn every_way_upstream_carries_the_assertion() {
    let upstream = Recorder::start();
    let (gateway, signer) = start(&upstream);
    let proof = proofs(&gateway, &signer, 1).remove(0);
    for body in [r#"{"language":"es"}"#, r#"{"address":"x"}"#] {
        let headers = [("Authorization", proof.as_str()), JSON, ("X-Wardgate-Assertion", "forged")];
        assert_eq!(
            http::send(gateway.address, "PUT", PROFILE, &headers, body.as_bytes()).expect("an answer").status,
            200
        );
        let request = upstream.requests().pop().expect("a request");
        assert_eq!(request.values("x-wardgate-assertion").len(), 1);
        assert_eq!(verified(&gateway, request.values("x-wardgate-assertion")[0])["patient"], "p1");
    }
}

#[test]
fn the_token_itself_is_passed_on_only_where_the_configuration_says_so() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let token = signer.bearer("p1", "aal1", 5);
    let plain = setup(upstream.address, &signer, |text| text).start();
    let passing = setup(upstream.address, &signer, |text| {
        text.replace("    inject:", "    pass_bearer: true\n    inject:")
    });
    let passing = passing.start();
    for (gateway, expected) in [(&plain, vec![]), (&passing, vec![token.as_str()])] {
        let answer =
            http::send(gateway.address, "GET", READ, &[("Authorization", &token)], b"").expect("an answer");
        assert_eq!(answer.status, 200);
        assert_eq!(upstream.requests().pop().expect("a request").values("authorization"), expected);
    }
    let said = passing.logs().join("\n");
    assert!(!said.contains(token.trim_start_matches("Bearer ")));
}
