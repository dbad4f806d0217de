//! Each way to forge or bend a token, by the list of RFC 8725 and of what others got wrong.

use serde_json::json;

use super::*;
use crate::identity::Level;
use crate::identity::testing::{Minter, NOW, claims, encode, rules};

struct Bench {
    minter: Minter,
    keys: KeySet,
    rules: IssuerRules,
}

impl Bench {
    fn new() -> Self {
        let minter = Minter::es256("k1");
        let keys = KeySet::parse(minter.jwks().as_bytes()).expect("keys");
        Self { minter, keys, rules: rules() }
    }

    fn verify(&self, token: &str) -> Result<Subject, TokenFault> {
        UnverifiedJwt::parse(token)?.verify(&self.rules, &self.keys, NOW)
    }

    /// What a token with a changed header comes to.
    fn with_header(&self, header: &Value) -> Result<Subject, TokenFault> {
        self.verify(&self.minter.token(header, &claims(&json!({}))))
    }
}

#[test]
fn a_good_token_becomes_a_subject() {
    let bench = Bench::new();
    let subject = bench.with_header(&json!({})).expect("subject");
    assert_eq!(subject.qualified_id(), "people:alice");
    assert_eq!((subject.client.as_deref(), subject.token_id.as_deref()), (Some("app"), Some("t-1")));
    assert!(subject.level > Level::NONE);
    assert_eq!(
        bench.with_header(&json!({ "typ": "application/AT+JWT" })).map(|subject| subject.id),
        Ok("alice".into())
    );
}

#[test]
fn the_header_chooses_neither_algorithm_nor_key() {
    let bench = Bench::new();
    for (header, fault) in [
        (json!({ "alg": "none" }), TokenFault::AlgorithmNotAllowed),
        (json!({ "alg": "None" }), TokenFault::AlgorithmNotAllowed),
        (json!({ "alg": "HS256" }), TokenFault::AlgorithmNotAllowed),
        (json!({ "alg": "es256" }), TokenFault::AlgorithmNotAllowed),
        // Known algorithms, but not this issuer's.
        (json!({ "alg": "RS256" }), TokenFault::AlgorithmNotAllowed),
        (json!({ "alg": "ES384" }), TokenFault::AlgorithmNotAllowed),
        (json!({ "alg": null }), TokenFault::Malformed),
        (json!({ "alg": ["ES256"] }), TokenFault::Malformed),
        (json!({ "crit": ["exp"], "exp": 1 }), TokenFault::HeaderNotAllowed),
        (json!({ "crit": [] }), TokenFault::HeaderNotAllowed),
        (json!({ "b64": false }), TokenFault::HeaderNotAllowed),
        (json!({ "jwk": bench.minter.jwk() }), TokenFault::HeaderNotAllowed),
        (json!({ "jku": "https://login.test/keys" }), TokenFault::HeaderNotAllowed),
        (json!({ "x5u": "https://login.test/keys" }), TokenFault::HeaderNotAllowed),
        (json!({ "x5c": ["MIIB"] }), TokenFault::HeaderNotAllowed),
        (json!({ "kid": 1 }), TokenFault::Malformed),
        (json!({ "kid": ["k1"] }), TokenFault::Malformed),
        (json!({ "kid": "k2" }), TokenFault::UnknownKey),
        (json!({ "kid": "../../dev/null" }), TokenFault::UnknownKey),
    ] {
        assert_eq!(bench.with_header(&header).map(|subject| subject.id), Err(fault), "{header}");
    }
    assert!(bench.with_header(&json!({ "kid": null })).is_ok(), "the only key needs no name");
}

#[test]
fn an_algorithm_and_a_key_of_another_kind_never_meet() {
    // The issuer allows RS256 too, its key is P-256: the token can't make one read as the other.
    let mut bench = Bench::new();
    bench.rules.algorithms.push(SignatureAlgorithm::RS256);
    assert_eq!(
        bench.with_header(&json!({ "alg": "RS256" })).map(|subject| subject.id),
        Err(TokenFault::UnknownKey)
    );
}

#[test]
fn a_public_key_is_no_shared_secret() {
    let bench = Bench::new();
    let input = format!(
        "{}.{}",
        encode(json!({ "typ": "at+jwt", "alg": "HS256", "kid": "k1" }).to_string()),
        encode(claims(&json!({})).to_string())
    );
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, bench.minter.jwks().as_bytes());
    let token = format!("{input}.{}", encode(aws_lc_rs::hmac::sign(&secret, input.as_bytes())));
    assert_eq!(bench.verify(&token).map(|subject| subject.id), Err(TokenFault::AlgorithmNotAllowed));
}

#[test]
fn only_access_tokens_are_access_tokens() {
    let mut bench = Bench::new();
    for media in [
        json!(null),
        json!("JWT"),
        json!(""),
        json!("logout+jwt"),
        json!("secevent+jwt"),
        json!("dpop+jwt"),
        json!("jwt2"),
    ] {
        let got = bench.with_header(&json!({ "typ": media }));
        assert_eq!(got.map(|subject| subject.id), Err(TokenFault::NotAnAccessToken), "{media}");
    }
    assert_eq!(bench.with_header(&json!({ "typ": 1 })).map(|subject| subject.id), Err(TokenFault::Malformed));
    bench.rules.plain_jwt = true;
    for media in [json!(null), json!("JWT"), json!("at+jwt")] {
        assert!(bench.with_header(&json!({ "typ": media })).is_ok(), "{media}");
    }
    for media in [json!("logout+jwt"), json!("secevent+jwt"), json!("dpop+jwt")] {
        let got = bench.with_header(&json!({ "typ": media }));
        assert_eq!(got.map(|subject| subject.id), Err(TokenFault::NotAnAccessToken), "{media}");
    }
}

#[test]
fn a_token_has_three_parts_of_canonical_base64url() {
    let bench = Bench::new();
    let good = bench.minter.token(&json!({}), &claims(&json!({})));
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let standard = |part: &str| format!("{}+", &part[1..]);
    for token in [
        String::new(),
        "..".into(),
        "a".into(),
        format!("{header}.{payload}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!("{good}=="),
        format!("{good} "),
        format!("{header}.{payload}.{}", standard(signature)),
        with_stray_bits(&good),
    ] {
        assert_eq!(bench.verify(&token).map(|subject| subject.id), Err(TokenFault::Malformed), "{token}");
    }
}

/// The same 64 bytes of signature, but the last character's unused bits are set.
fn with_stray_bits(token: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = token.split_at(token.len() - 1);
    let at = ALPHABET.find(last).expect("base64url");
    format!("{rest}{}", &ALPHABET[at + 1..at + 2])
}

#[test]
fn members_have_one_value() {
    let bench = Bench::new();
    let (header, payload) =
        (json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k1" }).to_string(), claims(&json!({})).to_string());
    let twice = |object: &str, member: &str| encode(format!("{},{member}}}", &object[..object.len() - 1]));
    for (header, payload) in [
        (twice(&header, r#""alg":"ES256""#), encode(&payload)),
        (twice(&header, r#""k\u0069d":"k2""#), encode(&payload)),
        (encode(&header), twice(&payload, r#""sub":"bob""#)),
        (encode(&header), twice(&payload, r#""act":{"sub":"a","sub":"b"}"#)),
        (encode(&header), encode("[]")),
        (encode(&header), encode(r#""text""#)),
        (encode(&header), encode([0xff, 0xfe])),
        (encode("[]"), encode(&payload)),
    ] {
        let token = bench.minter.sign(&header, &payload);
        assert_eq!(bench.verify(&token).map(|subject| subject.id), Err(TokenFault::Malformed), "{token}");
    }
}

#[test]
fn only_the_issuers_own_signature_verifies() {
    let bench = Bench::new();
    let good = bench.minter.token(&json!({}), &claims(&json!({})));
    let (input, signature) = good.rsplit_once('.').expect("parts");
    let raw = URL_SAFE_NO_PAD.decode(signature).expect("signature");
    let stranger = Minter::es256("k1").token(&json!({}), &claims(&json!({})));
    for signature in [
        // Java's "psychic signatures" took r = s = 0 for anybody's (CVE-2022-21449).
        encode([0; 64]),
        encode(&raw[..63]),
        encode(&raw[..32]),
        encode([&raw[..], &[0]].concat()),
        String::new(),
        stranger.rsplit_once('.').expect("parts").1.to_owned(),
    ] {
        let got = bench.verify(&format!("{input}.{signature}")).map(|subject| subject.id);
        assert_eq!(got, Err(TokenFault::BadSignature), "{signature}");
    }
    let (header, _) = input.split_once('.').expect("parts");
    let forged = format!("{header}.{}.{signature}", encode(claims(&json!({ "sub": "root" })).to_string()));
    assert_eq!(bench.verify(&forged).map(|subject| subject.id), Err(TokenFault::BadSignature));
}

#[test]
fn the_issuer_is_one_exact_string() {
    let bench = Bench::new();
    for issuer in [
        json!(["https://login.test/realms/people"]),
        json!("https://login.test/realms/people/"),
        json!(null),
        json!(1),
    ] {
        let token = bench.minter.token(&json!({}), &claims(&json!({ "iss": issuer })));
        assert_eq!(
            bench.verify(&token).map(|subject| subject.id),
            Err(TokenFault::UnknownIssuer),
            "{issuer}"
        );
    }
}

#[test]
fn an_introspection_answer_must_say_active_and_be_of_the_issuer() {
    let rules = rules();
    let read = |change: Value| match claims(&change) {
        Value::Object(answer) => introspected(answer, &rules, NOW).map(|subject| subject.id),
        _ => Err(TokenFault::Malformed),
    };
    assert_eq!(read(json!({ "active": true })), Ok("alice".into()));
    // RFC 7662 makes these optional; Wardgate needs none of them.
    assert_eq!(
        read(json!({ "active": true, "iss": null, "jti": null, "client_id": null, "iat": null })),
        Ok("alice".into())
    );
    assert_eq!(read(json!({ "active": false })), Err(TokenFault::Inactive));
    assert_eq!(read(json!({})), Err(TokenFault::BadClaim));
    assert_eq!(read(json!({ "active": "true" })), Err(TokenFault::BadClaim));
    assert_eq!(read(json!({ "active": true, "iss": "https://evil.test" })), Err(TokenFault::UnknownIssuer));
    assert_eq!(read(json!({ "active": true, "token_type": "DPoP" })), Err(TokenFault::ProofOfKeyMissing));
    assert_eq!(read(json!({ "active": true, "aud": null })), Err(TokenFault::MissingClaim));
}
