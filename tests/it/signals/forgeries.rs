//! Tokens that nobody may believe, whatever kind of token they pretend to be.

use serde_json::{Value, json};

use crate::hostile::forge::{self, Forge, encode};

/// A forged token, what it is, and the code it is refused with.
pub type Forgery = (&'static str, String, &'static str);

/// Everything that is wrong with a token before its claims are looked at, made from an honest header and honest claims
/// that the key signs.
pub fn of_any_token(key: &Forge, header: &Value, claims: &Value) -> Vec<Forgery> {
    let other = Forge::new();
    let (head, body) = (header.to_string(), claims.to_string());
    let input = |head: &Value| format!("{}.{}", encode(head.to_string().as_bytes()), encode(body.as_bytes()));
    let with = |name: &str, value: Value| {
        let mut changed = header.clone();
        changed[name] = value;
        changed
    };
    let signed = |head: Value| key.sign(&head.to_string(), &body);
    let in_front = |text: &str, member: &str| text.replacen('{', &format!("{{{member},"), 1);
    let honest = key.sign(&head, &body);
    let (start, signature) = honest.rsplit_once('.').expect("three parts");
    vec![
        ("empty", String::new(), "token_malformed"),
        ("one word", "opaque".to_owned(), "token_malformed"),
        ("two parts", start.to_owned(), "token_malformed"),
        ("four parts", format!("{honest}.x"), "token_malformed"),
        (
            "no algorithm, no signature",
            format!("{}.", input(&with("alg", "none".into()))),
            "token_algorithm_not_allowed",
        ),
        ("no algorithm, a signature", signed(with("alg", "none".into())), "token_algorithm_not_allowed"),
        ("no algorithm, in capitals", signed(with("alg", "None".into())), "token_algorithm_not_allowed"),
        (
            "a secret: the public key's PEM",
            forge::hmac(key.pem().as_bytes(), &input(&with("alg", "HS256".into()))),
            "token_algorithm_not_allowed",
        ),
        (
            "a secret: the public key's JWK",
            forge::hmac(key.jwk().to_string().as_bytes(), &input(&with("alg", "HS256".into()))),
            "token_algorithm_not_allowed",
        ),
        (
            "a secret: nothing",
            forge::hmac(b"", &input(&with("alg", "HS256".into()))),
            "token_algorithm_not_allowed",
        ),
        (
            "another algorithm than the issuer's",
            signed(with("alg", "RS512".into())),
            "token_algorithm_not_allowed",
        ),
        ("another's key under the same name", other.sign(&head, &body), "token_bad_signature"),
        (
            "a key that nobody has",
            other.sign(&with("kid", "k2".into()).to_string(), &body),
            "token_unknown_key",
        ),
        ("its own key", other.sign(&with("jwk", other.jwk()).to_string(), &body), "token_header_not_allowed"),
        (
            "its own key's address",
            signed(with("jku", "https://evil.example/keys".into())),
            "token_header_not_allowed",
        ),
        ("its own certificate", signed(with("x5c", json!(["AA=="]))), "token_header_not_allowed"),
        (
            "its own certificate's address",
            signed(with("x5u", "https://evil.example".into())),
            "token_header_not_allowed",
        ),
        (
            "an extension that must be understood",
            signed(with("crit", json!(["exp"]))),
            "token_header_not_allowed",
        ),
        ("a payload that is not encoded", signed(with("b64", false.into())), "token_header_not_allowed"),
        ("the algorithm twice", key.sign(&in_front(&head, r#""alg":"none""#), &body), "token_malformed"),
        (
            "a claim twice",
            key.sign(&head, &in_front(&body, r#""iss":"https://evil.example""#)),
            "token_malformed",
        ),
        (
            "a claim twice, once escaped",
            key.sign(&head, &in_front(&body, r#""\u0069ss":"x""#)),
            "token_malformed",
        ),
        ("a list for claims", key.sign(&head, "[]"), "token_malformed"),
        (
            "another's claims under its signature",
            format!(
                "{}.{}.{signature}",
                encode(head.as_bytes()),
                encode(in_front(&body, r#""x":1"#).as_bytes())
            ),
            "token_bad_signature",
        ),
        ("no signature", format!("{start}."), "token_bad_signature"),
        ("padded", format!("{honest}="), "token_malformed"),
        ("stray bits", forge::with_stray_bits(&honest), "token_malformed"),
    ]
}

/// Who it is from and for.
pub fn of_any_claims(
    sign: impl Fn(&Value) -> String,
    claims: &Value,
    audience_fault: &'static str,
) -> Vec<Forgery> {
    let own = claims["iss"].as_str().expect("an issuer");
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        sign(&changed)
    };
    let without = |name: &str| {
        let mut changed = claims.clone();
        changed.as_object_mut().expect("claims").remove(name);
        sign(&changed)
    };
    let (audience, unknown) = (claims["aud"].as_str().expect("one audience"), "token_unknown_issuer");
    vec![
        ("another issuer", with("iss", "https://evil.example".into()), unknown),
        ("the issuer with a slash more", with("iss", format!("{own}/").into()), unknown),
        ("a list of issuers", with("iss", json!([own])), unknown),
        ("no issuer", without("iss"), unknown),
        ("for another", with("aud", "other".into()), audience_fault),
        ("for others", with("aud", json!(["other", format!("{audience}-2")])), audience_fault),
        ("for nobody", without("aud"), audience_fault),
    ]
}
