//! Each rule of RFC 9449 §4.3, broken one at a time.

use serde_json::json;

use super::*;
use crate::identity::testing::{Minter, NOW, changed, encode};

const TOKEN: &str = "an.access.token";

fn asked() -> Asked<'static> {
    Asked {
        method: "POST",
        scheme: "https",
        host: "portal.clinic.example",
        port: None,
        path: "/patients/p1/results",
        token: TOKEN,
        now: NOW,
    }
}

fn claims(change: &Value) -> Value {
    let good = json!({
        "jti": "one", "htm": "POST", "htu": "https://portal.clinic.example/patients/p1/results", "iat": NOW,
        "ath": encode(digest(&SHA256, TOKEN.as_bytes())), "nonce": "n-1",
    });
    changed(good, change)
}

fn header(minter: &Minter) -> Value {
    let mut jwk = minter.jwk();
    jwk.as_object_mut().expect("a map").remove("kid");
    json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk })
}

fn proof(minter: &Minter, header_change: &Value, claims_change: &Value) -> String {
    let header = changed(header(minter), header_change);
    minter.sign(&encode(header.to_string()), &encode(claims(claims_change).to_string()))
}

fn fault(header_change: Value, claims_change: Value) -> Option<DpopFault> {
    let minter = Minter::es256("k");
    KeyProof::verify(&proof(&minter, &header_change, &claims_change), &asked()).err()
}

#[test]
fn a_good_proof_says_whose_it_is() {
    let minter = Minter::es256("k");
    let shown = KeyProof::verify(&proof(&minter, &json!({}), &json!({})), &asked()).expect("good");
    let jwk = minter.jwk();
    let (x, y) = (jwk["x"].as_str().expect("x"), jwk["y"].as_str().expect("y"));
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    assert!(shown.thumbprint.matches(&Thumbprint::of(canonical.as_bytes())));
    assert_eq!((shown.id.as_ref(), shown.issued_at, shown.nonce.as_deref()), ("one", NOW, Some("n-1")));
    assert_eq!(fault(json!({}), json!({ "nonce": null })), None, "a nonce is for the caller to ask for");
}

#[test]
fn the_header_must_be_that_of_a_proof() {
    let none = json!({});
    for (change, expected) in [
        (json!({ "typ": "JWT" }), DpopFault::WrongType),
        (json!({ "typ": null }), DpopFault::WrongType),
        (json!({ "typ": "at+jwt" }), DpopFault::WrongType),
        (json!({ "alg": "none" }), DpopFault::AlgorithmNotAllowed),
        (json!({ "alg": "HS256" }), DpopFault::AlgorithmNotAllowed),
        (json!({ "alg": null }), DpopFault::AlgorithmNotAllowed),
        (json!({ "alg": "ES384" }), DpopFault::KeyNotAllowed),
        (json!({ "alg": "RS256" }), DpopFault::KeyNotAllowed),
        (json!({ "jwk": null }), DpopFault::KeyNotAllowed),
        (json!({ "jwk": { "kty": "oct", "k": "c2VjcmV0" } }), DpopFault::KeyNotAllowed),
        (json!({ "crit": ["exp"] }), DpopFault::HeaderNotAllowed),
        (json!({ "jku": "https://evil.example" }), DpopFault::HeaderNotAllowed),
        (json!({ "x5c": [] }), DpopFault::HeaderNotAllowed),
        (json!({ "b64": false }), DpopFault::HeaderNotAllowed),
    ] {
        assert_eq!(fault(change.clone(), none.clone()), Some(expected), "{change}");
    }
}

#[test]
fn a_private_key_and_another_key_are_refused() {
    let minter = Minter::es256("k");
    let mut jwk = minter.jwk();
    jwk["d"] = "AQAB".into();
    let text = proof(&minter, &json!({ "jwk": jwk }), &json!({}));
    assert_eq!(KeyProof::verify(&text, &asked()).err(), Some(DpopFault::KeyNotAllowed));
    let text = proof(&minter, &json!({ "jwk": Minter::es256("other").jwk() }), &json!({}));
    assert_eq!(KeyProof::verify(&text, &asked()).err(), Some(DpopFault::BadSignature));
}

#[test]
fn the_claims_must_be_those_of_this_request() {
    for (change, expected) in [
        (json!({ "jti": null }), DpopFault::BadClaim),
        (json!({ "jti": "" }), DpopFault::BadClaim),
        (json!({ "jti": 1 }), DpopFault::BadClaim),
        (json!({ "jti": "x".repeat(256) }), DpopFault::BadClaim),
        (json!({ "htm": "GET" }), DpopFault::WrongMethod),
        (json!({ "htm": "post" }), DpopFault::WrongMethod),
        (json!({ "htm": null }), DpopFault::BadClaim),
        (json!({ "htu": null }), DpopFault::BadClaim),
        (json!({ "iat": null }), DpopFault::BadClaim),
        (json!({ "iat": NOW.to_string() }), DpopFault::BadClaim),
        (json!({ "iat": NOW - 61 }), DpopFault::OutOfTime),
        (json!({ "iat": NOW + 11 }), DpopFault::OutOfTime),
        (json!({ "ath": null }), DpopFault::BadClaim),
        (json!({ "ath": encode(digest(&SHA256, b"another")) }), DpopFault::WrongToken),
        (json!({ "nonce": 7 }), DpopFault::BadClaim),
    ] {
        assert_eq!(fault(json!({}), change.clone()), Some(expected), "{change}");
    }
    for iat in [NOW - 60, NOW + 10] {
        assert_eq!(fault(json!({}), json!({ "iat": iat })), None);
    }
}

#[test]
fn addresses_are_compared_in_their_normal_form() {
    let is = |htu: &str, asked: &Asked<'_>| is_address(htu, asked);
    let here = asked();
    for same in [
        "https://portal.clinic.example/patients/p1/results",
        "HTTPS://Portal.Clinic.Example:443/patients/p1/results",
        "https://portal.clinic.example/%70atients/p1/results?x=1#y",
    ] {
        assert!(is(same, &here), "{same}");
    }
    for other in [
        "http://portal.clinic.example/patients/p1/results",
        "https://portal.clinic.example:8443/patients/p1/results",
        "https://portal.clinic.example/patients/p1/results/",
        "https://portal.clinic.example/patients/p2/results",
        "https://portal.clinic.example/Patients/p1/results",
        "https://evil.example/patients/p1/results",
        "https://portal.clinic.example@evil.example/patients/p1/results",
        "https://portal.clinic.example:x/patients/p1/results",
        "/patients/p1/results",
        "",
    ] {
        assert!(!is(other, &here), "{other}");
    }
    let six = Asked { host: "[::1]", port: Some(8443), path: "/", ..here };
    assert!(is("https://[::1]:8443", &six) && is("https://[::1]:8443/", &six) && !is("https://[::1]/", &six));
    let encoded = Asked { path: "/a%2fb%C3%A9", ..here };
    assert!(is("https://portal.clinic.example/a%2Fb%c3%a9", &encoded));
    assert!(!is("https://portal.clinic.example/a/b%c3%a9", &encoded), "an encoded slash is none");
}

#[test]
fn every_changed_byte_is_noticed() {
    let minter = Minter::es256("k");
    let text = proof(&minter, &json!({}), &json!({}));
    assert!(KeyProof::verify(&text, &asked()).is_ok());
    for at in (0..text.len()).step_by(7) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).expect("ascii");
        assert!(KeyProof::verify(&changed, &asked()).is_err(), "byte {at}");
        assert!(KeyProof::verify(&text[..at], &asked()).is_err(), "cut at {at}");
    }
    assert_eq!(KeyProof::verify(&"A".repeat(9000), &asked()).err(), Some(DpopFault::Malformed));
}
