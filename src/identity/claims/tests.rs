//! Claims that are missing, of the wrong type, out of time, or somebody else's.

use serde_json::json;

use super::*;
use crate::identity::testing::{self, NOW, rules};
use crate::identity::{Level, issuer::ClaimNames};

fn read(change: &Value, rules: &IssuerRules, profile: Profile) -> Result<Subject, TokenFault> {
    match testing::claims(change) {
        Value::Object(claims) => subject(claims, rules, profile, NOW),
        _ => Err(TokenFault::Malformed),
    }
}

fn strict(change: &Value) -> Result<Subject, TokenFault> {
    read(change, &rules(), Profile::Rfc9068)
}

#[test]
fn required_claims_are_required() {
    for name in ["exp", "iat", "aud", "sub", "client_id", "jti"] {
        assert_eq!(
            strict(&json!({ name: null })).map(|subject| subject.id),
            Err(TokenFault::MissingClaim),
            "{name}"
        );
    }
    assert_eq!(strict(&json!({ "aud": [] })).map(|subject| subject.id), Err(TokenFault::MissingClaim));
    let plain = read(&json!({ "jti": null, "client_id": null, "azp": "web" }), &rules(), Profile::PlainJwt);
    assert_eq!(plain.map(|subject| subject.client), Ok(Some("web".into())));
}

#[test]
fn a_claim_of_the_wrong_type_is_not_an_absent_claim() {
    for change in [
        json!({ "exp": "1790000300" }),
        json!({ "exp": -1 }),
        json!({ "exp": 1e300 }),
        json!({ "nbf": "0" }),
        json!({ "iat": [NOW] }),
        json!({ "auth_time": "1790000000" }),
        json!({ "auth_time": true }),
        json!({ "aud": 1 }),
        json!({ "aud": ["portal", 1] }),
        json!({ "sub": ["alice"] }),
        json!({ "sub": "" }),
        json!({ "sub": "a b" }),
        json!({ "sub": "al\nice" }),
        json!({ "sub": "älice" }),
        json!({ "sub": "a".repeat(256) }),
        json!({ "client_id": 7 }),
        json!({ "jti": 7 }),
        json!({ "sid": {} }),
        json!({ "acr": ["loa2"] }),
        json!({ "amr": 1 }),
        json!({ "amr": ["pwd", 1] }),
        json!({ "amr": { "pwd": true } }),
        json!({ "roles": 1 }),
        json!({ "roles": [["nurse"]] }),
        json!({ "scope": 1 }),
        json!({ "scope": [1] }),
        json!({ "patient": 12 }),
        json!({ "act": "bob" }),
        json!({ "act": ["bob"] }),
        json!({ "act": {} }),
        json!({ "act": { "sub": 1 } }),
        json!({ "act": { "sub": "bob", "iss": "https://elsewhere.test" } }),
        json!({ "act": { "sub": "b\u{0}b" } }),
    ] {
        assert_eq!(strict(&change).map(|subject| subject.id), Err(TokenFault::BadClaim), "{change}");
    }
}

#[test]
fn times_bind() {
    let latest = NOW + CLOCK_SKEW;
    for (change, fault) in [
        (json!({ "exp": NOW }), TokenFault::Expired),
        (json!({ "exp": NOW - 1 }), TokenFault::Expired),
        (json!({ "exp": 0 }), TokenFault::Expired),
        (json!({ "nbf": latest + 1 }), TokenFault::NotYetValid),
        (json!({ "iat": latest + 1 }), TokenFault::NotYetValid),
        (json!({ "auth_time": latest + 1 }), TokenFault::NotYetValid),
    ] {
        assert_eq!(strict(&change).map(|subject| subject.id), Err(fault), "{change}");
    }
    assert!(strict(&json!({ "nbf": latest, "iat": latest, "auth_time": latest, "exp": NOW + 1 })).is_ok());
    assert_eq!(strict(&json!({ "exp": (NOW as f64) + 1.5 })).map(|subject| subject.expires_at), Ok(NOW + 1));

    let short = IssuerRules { max_token_lifetime: Some(300), ..rules() };
    assert!(read(&json!({}), &short, Profile::Rfc9068).is_ok());
    let long = read(&json!({ "exp": NOW + 301 }), &short, Profile::Rfc9068);
    assert_eq!(long.map(|subject| subject.id), Err(TokenFault::LifetimeTooLong));
    // A token of unknown age may have lived for any time.
    let ageless = read(&json!({ "iat": null }), &short, Profile::Introspection);
    assert_eq!(ageless.map(|subject| subject.id), Err(TokenFault::LifetimeTooLong));
}

#[test]
fn the_audience_is_one_of_ours() {
    assert!(strict(&json!({ "aud": ["other", "portal"] })).is_ok());
    for audience in
        [json!("other"), json!(["other"]), json!("portal "), json!("Portal"), json!("portal,other")]
    {
        assert_eq!(
            strict(&json!({ "aud": audience })).map(|subject| subject.id),
            Err(TokenFault::WrongAudience),
            "{audience}"
        );
    }
}

#[test]
fn other_tokens_are_told_apart() {
    let plain = |change: Value| read(&change, &rules(), Profile::PlainJwt).map(|subject| subject.id);
    for mark in ["nonce", "at_hash", "c_hash", "s_hash", "events"] {
        assert_eq!(plain(json!({ mark: "x" })), Err(TokenFault::NotAnAccessToken), "{mark}");
    }
    assert_eq!(strict(&json!({ "events": {} })).map(|subject| subject.id), Err(TokenFault::NotAnAccessToken));
    for change in [
        json!({ "token_use": "id" }),
        json!({ "token_use": "Access" }),
        json!({ "typ": "ID" }),
        json!({ "typ": "id" }),
        json!({ "typ": "Refresh" }),
        json!({ "typ": "Logout" }),
        json!({ "typ": "Offline" }),
    ] {
        for profile in [Profile::Rfc9068, Profile::PlainJwt, Profile::Introspection] {
            assert_eq!(
                read(&change, &rules(), profile).map(|subject| subject.id),
                Err(TokenFault::NotAnAccessToken),
                "{change}"
            );
        }
    }
    assert!(plain(json!({ "token_use": "access", "typ": "Bearer" })).is_ok());
    assert_eq!(plain(json!({ "token_use": 1 })), Err(TokenFault::BadClaim));
    assert_eq!(plain(json!({ "cnf": {} })), Err(TokenFault::ProofOfKeyMissing));
}

#[test]
fn one_string_is_one_role() {
    assert_eq!(
        strict(&json!({ "roles": "user,admin" })).map(|subject| subject.roles),
        Ok(vec!["user,admin".into()])
    );
    assert_eq!(
        strict(&json!({ "roles": "user admin" })).map(|subject| subject.roles),
        Ok(vec!["user admin".into()])
    );
    assert_eq!(strict(&json!({ "roles": null })).map(|subject| subject.roles), Ok(vec![]));
}

#[test]
fn nested_claims_are_found_by_steps_and_never_guessed() {
    let nested = IssuerRules {
        claims: ClaimNames { patient: None, roles: Some("realm.access.roles".into()), role_ends: None },
        ..rules()
    };
    let roles = |change: Value| read(&change, &nested, Profile::Rfc9068).map(|subject| subject.roles);
    assert_eq!(roles(json!({ "realm": { "access": { "roles": ["nurse"] } } })), Ok(vec!["nurse".into()]));
    assert_eq!(roles(json!({ "realm.access.roles": ["flat"], "realm": 1 })), Ok(vec!["flat".into()]));
    assert_eq!(roles(json!({ "realm": { "access": {} } })), Ok(vec![]));
    assert_eq!(roles(json!({ "realm": {} })), Ok(vec![]));
    assert_eq!(roles(json!({ "realm": "access" })), Err(TokenFault::BadClaim));
    assert_eq!(roles(json!({ "realm": { "access": ["roles"] } })), Err(TokenFault::BadClaim));
}

#[test]
fn scopes_come_as_text_or_list() {
    for change in
        [json!({ "scope": "a  b " }), json!({ "scope": ["a", "b"] }), json!({ "scope": null, "scp": "a b" })]
    {
        assert_eq!(
            strict(&change).map(|subject| subject.scopes),
            Ok(vec!["a".into(), "b".into()]),
            "{change}"
        );
    }
    assert_eq!(
        strict(&json!({ "scope": "a", "scp": "admin" })).map(|subject| subject.scopes),
        Ok(vec!["a".into()])
    );
}

#[test]
fn assurance_is_what_the_issuers_words_are_mapped_to() {
    let level = |change: Value| strict(&change).map(|subject| subject.level);
    let two = level(json!({})).expect("level");
    let one = level(json!({ "acr": "LOA2" })).expect("level");
    assert!(two > one && one > Level::NONE);
    assert_eq!(level(json!({ "acr": "urn:made:up", "amr": ["face"] })), Ok(Level::NONE));
    assert_eq!(level(json!({ "acr": null, "amr": null })), Ok(Level::NONE));
    assert_eq!(strict(&json!({ "auth_time": null })).map(|subject| subject.auth_time), Ok(None));
    let service = IssuerRules { callers: Caller::Service, ..rules() };
    assert_eq!(read(&json!({}), &service, Profile::Rfc9068).map(|subject| subject.auth_time), Ok(None));
}

#[test]
fn the_outermost_actor_acts() {
    let change = json!({ "act": { "sub": "helper", "act": { "sub": "earlier" } } });
    assert_eq!(strict(&change).map(|subject| subject.actor), Ok(Some("helper".into())));
    // Said to be of the token's own issuer.
    let issuer = strict(&json!({})).map(|subject| subject.claims["iss"].clone()).expect("good");
    let change = json!({ "act": { "sub": "helper", "iss": issuer } });
    assert_eq!(strict(&change).map(|subject| subject.actor), Ok(Some("helper".into())));
}

#[test]
fn a_token_is_bound_to_one_certificate_or_refused() {
    let bound =
        |cnf: Value| strict(&json!({ "cnf": cnf })).map(|subject| subject.bound_to.map(|to| to.to_string()));
    let thumbprint = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2";
    // The example of RFC 8705 §3.1 has bits behind its end; its canonical neighbour has none.
    assert_eq!(bound(json!({ "x5t#S256": thumbprint })), Err(TokenFault::BadClaim));
    let thumbprint = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0";
    assert_eq!(bound(json!({ "x5t#S256": thumbprint })), Ok(Some(thumbprint.to_owned())));
    for (cnf, fault) in [
        (json!({ "x5t#S256": "short" }), TokenFault::BadClaim),
        (json!({ "x5t#S256": 1 }), TokenFault::BadClaim),
        (json!({ "x5t#S256": thumbprint, "jkt": "x" }), TokenFault::BadClaim),
        (json!({ "x5t#S256": thumbprint, "jwk": {} }), TokenFault::ProofOfKeyMissing),
        (json!({ "x5t": thumbprint }), TokenFault::ProofOfKeyMissing),
        (json!(null), TokenFault::ProofOfKeyMissing),
        (json!("x"), TokenFault::ProofOfKeyMissing),
    ] {
        let mut claims = testing::claims(&json!({}));
        claims["cnf"] = cnf.clone();
        let Value::Object(claims) = claims else { unreachable!() };
        let read = subject(claims, &rules(), Profile::Rfc9068, NOW);
        assert_eq!(read.map(|subject| subject.id), Err(fault), "{cnf}");
    }
}

#[test]
fn a_token_can_be_bound_to_a_key_and_to_a_certificate_too() {
    let thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let read = |cnf: Value| strict(&json!({ "cnf": cnf })).expect("read");
    let (key, both) =
        (read(json!({ "jkt": thumbprint })), read(json!({ "jkt": thumbprint, "x5t#S256": thumbprint })));
    assert_eq!(key.bound_key.map(|key| key.to_string()).as_deref(), Some(thumbprint));
    assert!(key.bound_to.is_none() && both.bound_to.is_some() && both.bound_key.is_some());
    assert!(key.is_sender_constrained() && !strict(&json!({})).expect("read").is_sender_constrained());
}

#[test]
fn an_introspection_answer_that_speaks_of_a_key_must_name_it() {
    let ask = |change: Value| read(&change, &rules(), Profile::Introspection).map(|subject| subject.id);
    let key = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    assert_eq!(ask(json!({ "token_type": "DPoP" })), Err(TokenFault::ProofOfKeyMissing));
    assert!(ask(json!({ "token_type": "DPoP", "cnf": { "jkt": key } })).is_ok());
    assert!(ask(json!({ "token_type": "Bearer" })).is_ok());
    assert_eq!(ask(json!({ "token_type": "mac" })), Err(TokenFault::ProofOfKeyMissing));
}

#[test]
fn a_role_ends_when_its_time_is_over() {
    let mut rules = rules();
    rules.claims.role_ends = Some("until".into());
    let ask = |until: Value, now: i64| {
        let Value::Object(claims) = testing::claims(&json!({ "roles": ["nurse", "locum"], "until": until }))
        else {
            unreachable!()
        };
        subject(claims, &rules, Profile::Rfc9068, now)
    };
    let held = |until: Value, now: i64| {
        ask(until, now).map(|subject| (subject.roles.join(","), subject.changes_at.map(|at| at - NOW)))
    };
    let until = json!({ "locum": NOW + 10, "surgeon": NOW + 5, "nurse": 1_790_000_020.5 });
    assert_eq!(held(until.clone(), NOW + 9), Ok(("nurse,locum".to_owned(), Some(10))));
    assert_eq!(held(until.clone(), NOW + 10), Ok(("nurse".to_owned(), Some(20))));
    assert_eq!(held(until, NOW + 20), Ok((String::new(), None)));
    assert_eq!(held(Value::Null, NOW), Ok(("nurse,locum".to_owned(), None)), "the claim is not there");
    for wrong in
        [json!([]), json!("x"), json!({ "locum": "soon" }), json!({ "locum": null }), json!({ "locum": -1 })]
    {
        assert_eq!(held(wrong.clone(), NOW), Err(TokenFault::BadClaim), "{wrong}");
    }
}
