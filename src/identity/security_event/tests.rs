//! Events that are understood, and each one thing that makes one refused.

use serde_json::json;

use super::*;
use crate::identity::testing::{ISSUER, NOW, changed};

const TRANSMITTER: &str = "https://signals.test";

fn rules() -> StreamRules {
    StreamRules {
        issuer: ISSUER.into(),
        transmitter: TRANSMITTER.into(),
        audience: "wardgate".into(),
        algorithms: vec![SignatureAlgorithm::ES256],
        opaque_ids: None,
        credential_changes: vec![CredentialChange::Revoke, CredentialChange::Delete],
    }
}

fn alice() -> Value {
    json!({ "format": "iss_sub", "iss": ISSUER, "sub": "alice" })
}

/// An event of a type (with its whole name) about alice, with some of the token's claims changed.
fn set(uri: &str, event: Value, change: &Value) -> Map<String, Value> {
    let good = json!({
        "iss": TRANSMITTER, "aud": ["wardgate"], "jti": "e-1", "iat": NOW - 5, "txn": 7, "sub_id": alice(), "events": { uri: event },
    });
    changed(good, change).as_object().expect("object").clone()
}

fn caep(name: &str) -> String {
    format!("{CAEP}{name}")
}

fn verdict(claims: &Map<String, Value>) -> Result<SecurityEvent, EventFault> {
    read(Media::SecurityEvent, claims, &rules(), &[], NOW)
}

fn effect(name: &str, event: Value) -> Result<Effect, EventFault> {
    verdict(&set(&caep(name), event, &json!({}))).map(|event| event.effect)
}

fn named(kind: Kind, value: &str) -> Named {
    Named { kind, value: value.into() }
}

fn ends_alice(at: i64) -> Result<Effect, EventFault> {
    Ok(Effect::Revoke { names: vec![named(Kind::Subject, "alice")], at })
}

#[test]
fn what_lowers_trust_ends_what_was_begun_with_it() {
    let when = json!({ "event_timestamp": NOW - 60, "initiating_entity": "policy" });
    assert_eq!(effect("session-revoked", when), ends_alice(NOW - 60));
    assert_eq!(effect("session-revoked", json!({})), ends_alice(NOW - 5), "else it is when it was issued");
    let milliseconds = json!({ "event_timestamp": (NOW - 60) * 1_000 });
    assert_eq!(effect("session-revoked", milliseconds), ends_alice(NOW - 60));
    let change = |kind: &str| json!({ "credential_type": "password", "change_type": kind });
    for (event, ends) in [
        (("credential-change", change("revoke")), true),
        (("credential-change", change("delete")), true),
        (("credential-change", change("create")), false),
        (("credential-change", change("update")), false),
        (("assurance-level-change", json!({ "change_direction": "decrease" })), true),
        (("assurance-level-change", json!({ "current_level": "nist-aal1" })), true),
        (("assurance-level-change", json!({ "change_direction": "increase" })), false),
        (("device-compliance-change", json!({ "current_status": "not-compliant" })), true),
        (("device-compliance-change", json!({ "current_status": "compliant" })), false),
    ] {
        let (name, body) = event;
        let expected = if ends { ends_alice(NOW - 5) } else { Ok(Effect::Nothing) };
        assert_eq!(effect(name, body.clone()), expected, "{name} {body}");
    }
}

#[test]
fn what_the_framework_says_of_itself_ends_nothing() {
    let framework = |name: &str, event: Value| {
        let stream = json!({ "sub_id": { "format": "opaque", "id": "stream-1" } });
        verdict(&set(&format!("{FRAMEWORK}{name}"), event, &stream)).map(|event| (event.kind, event.effect))
    };
    let verified = Ok((EventKind::Verification, Effect::Nothing));
    assert_eq!(framework("verification", json!({ "state": "abc" })), verified);
    assert_eq!(framework("verification", json!({})), verified);
    assert_eq!(framework("verification", json!({ "state": 7 })), Err(EventFault::Event));
    for (status, enabled) in [("enabled", true), ("paused", false), ("disabled", false)] {
        let updated = framework("stream-updated", json!({ "status": status }));
        assert_eq!(updated, Ok((EventKind::StreamUpdated, Effect::Stream { enabled })));
    }
    assert_eq!(framework("stream-updated", json!({})), Err(EventFault::Event));
}

#[test]
fn each_thing_that_is_wrong_refuses_it() {
    let revoked = caep("session-revoked");
    for media in [Media::AccessToken, Media::Logout, Media::Plain, Media::Other] {
        let fault = read(media, &set(&revoked, json!({}), &json!({})), &rules(), &[], NOW);
        assert_eq!(fault, Err(EventFault::Type));
    }
    let two = json!({ revoked.clone(): {}, caep("credential-change"): { "change_type": "revoke" } });
    for (change, fault) in [
        (json!({ "sub": "alice" }), EventFault::Claim),
        (json!({ "exp": NOW + 300 }), EventFault::Claim),
        (json!({ "nonce": "n" }), EventFault::Claim),
        (json!({ "aud": null }), EventFault::Audience),
        (json!({ "aud": "other" }), EventFault::Audience),
        (json!({ "aud": ["other"] }), EventFault::Audience),
        (json!({ "aud": 7 }), EventFault::Claim),
        (json!({ "iat": null }), EventFault::Claim),
        (json!({ "iat": "now" }), EventFault::Claim),
        (json!({ "iat": NOW - OLDEST - 1 }), EventFault::Time),
        (json!({ "iat": NOW + 31 }), EventFault::Time),
        (json!({ "jti": null }), EventFault::Claim),
        (json!({ "jti": "" }), EventFault::Claim),
        (json!({ "jti": 7 }), EventFault::Claim),
        (json!({ "events": null }), EventFault::Claim),
        (json!({ "events": [] }), EventFault::Claim),
        (json!({ "events": {} }), EventFault::Count),
        (json!({ "events": two }), EventFault::Count),
        (json!({ "events": { caep("token-claims-change"): {} } }), EventFault::UnknownEvent),
        (json!({ "events": { "session-revoked": {} } }), EventFault::UnknownEvent),
        (json!({ "events": { revoked.clone(): true } }), EventFault::Event),
        (json!({ "events": { revoked.clone(): { "event_timestamp": NOW + 31 } } }), EventFault::Time),
        (json!({ "events": { revoked.clone(): { "event_timestamp": 7 } } }), EventFault::Time),
        (json!({ "events": { revoked.clone(): { "event_timestamp": "soon" } } }), EventFault::Event),
        (json!({ "sub_id": null }), EventFault::SubjectMissing),
        (json!({ "sub_id": "alice" }), EventFault::Claim),
        (json!({ "events": { caep("credential-change"): {} } }), EventFault::Event),
        (json!({ "events": { caep("credential-change"): { "change_type": "lost" } } }), EventFault::Event),
        (json!({ "events": { caep("credential-change"): { "change_type": 7 } } }), EventFault::Event),
        (
            json!({ "events": { caep("assurance-level-change"): { "change_direction": "up" } } }),
            EventFault::Event,
        ),
        (json!({ "events": { caep("device-compliance-change"): {} } }), EventFault::Event),
    ] {
        assert_eq!(verdict(&set(&revoked, json!({}), &change)), Err(fault), "{change}");
    }
}

fn whom(subject: Value, rules: &StreamRules, name: &str) -> Result<Vec<Named>, EventFault> {
    let event = json!({ "change_type": "revoke" });
    let claims = set(&caep(name), event, &json!({ "sub_id": subject }));
    match read(Media::SecurityEvent, &claims, rules, &["badge".into(), "device".into()], NOW)?.effect {
        Effect::Revoke { names, .. } => Ok(names),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_subject_that_is_nobody_here_refuses_the_event() {
    let email = json!({ "format": "email", "email": "alice@clinic.example" });
    let device = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "laptop" });
    for (subject, fault) in [
        (json!({}), EventFault::SubjectFormat),
        (json!({ "iss": ISSUER, "sub": "alice" }), EventFault::SubjectFormat),
        (email.clone(), EventFault::SubjectFormat),
        (json!({ "format": "iss_sub", "iss": ISSUER }), EventFault::SubjectFormat),
        (json!({ "format": "iss_sub", "iss": ISSUER, "sub": "" }), EventFault::SubjectFormat),
        (json!({ "format": "iss_sub", "iss": ISSUER, "sub": ["alice"] }), EventFault::SubjectFormat),
        (json!({ "format": "iss_sub", "iss": TRANSMITTER, "sub": "alice" }), EventFault::SubjectIssuer),
        (
            json!({ "format": "iss_sub", "iss": format!("{ISSUER}/"), "sub": "alice" }),
            EventFault::SubjectIssuer,
        ),
        (json!({ "format": "jwt_id", "iss": "https://other.test", "jti": "t" }), EventFault::SubjectIssuer),
        (json!({ "format": "opaque", "id": "alice" }), EventFault::SubjectUnmapped),
        (json!({ "format": "complex" }), EventFault::SubjectUnmapped),
        (json!({ "format": "complex", "device": device.clone() }), EventFault::SubjectUnmapped),
        (json!({ "format": "complex", "user": "alice" }), EventFault::SubjectFormat),
        (json!({ "format": "complex", "user": email.clone() }), EventFault::SubjectFormat),
        (json!({ "format": "complex", "user": alice(), "badge": device }), EventFault::SubjectCritical),
        (json!({ "format": "aliases", "identifiers": [] }), EventFault::SubjectFormat),
        (json!({ "format": "aliases", "identifiers": [email] }), EventFault::SubjectFormat),
        (json!({ "format": "aliases", "identifiers": [alice(), 7] }), EventFault::SubjectFormat),
        (json!({ "format": "aliases", "identifiers": vec![alice(); 17] }), EventFault::SubjectFormat),
        (
            json!({ "format": "aliases", "identifiers": [{ "format": "aliases", "identifiers": [alice()] }] }),
            EventFault::SubjectFormat,
        ),
    ] {
        assert_eq!(whom(subject.clone(), &rules(), "session-revoked"), Err(fault), "{subject}");
    }
}

#[test]
fn a_subject_is_taken_for_more_than_it_says_and_never_for_less() {
    let as_subject = StreamRules { opaque_ids: Some(OpaqueIds::Subject), ..rules() };
    let as_session = StreamRules { opaque_ids: Some(OpaqueIds::Session), ..rules() };
    let (sub, sid) = (vec![named(Kind::Subject, "alice")], vec![named(Kind::Session, "s-1")]);
    let opaque = |id: &str| json!({ "format": "opaque", "id": id });
    let device = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "laptop" });
    let both =
        json!({ "format": "complex", "user": alice(), "session": opaque("s-1"), "device": device.clone() });
    let token = json!({ "format": "jwt_id", "iss": ISSUER, "jti": "t-1" });
    for (subject, rules, event, expected) in [
        (opaque("alice"), &as_subject, "session-revoked", sub.clone()),
        (opaque("s-1"), &as_session, "session-revoked", sid.clone()),
        (both.clone(), &as_session, "session-revoked", sid.clone()),
        // A credential is a person's, not a session's.
        (both.clone(), &as_session, "credential-change", sub.clone()),
        // Sessions have other names at this transmitter, so all of the person's end.
        (both.clone(), &as_subject, "session-revoked", sub.clone()),
        (both, &rules(), "session-revoked", sub.clone()),
        (
            json!({ "format": "complex", "user": alice(), "device": device }),
            &rules(),
            "session-revoked",
            sub.clone(),
        ),
        (
            json!({ "format": "complex", "user": opaque("alice") }),
            &as_subject,
            "session-revoked",
            sub.clone(),
        ),
        (
            json!({ "format": "complex", "session": opaque("s-1") }),
            &as_session,
            "credential-change",
            sid.clone(),
        ),
        (
            json!({ "format": "complex", "session": opaque("s-1"), "user": { "format": "email", "email": "a@b" } }),
            &as_session,
            "session-revoked",
            sid,
        ),
        (token.clone(), &rules(), "session-revoked", vec![named(Kind::Token, "t-1")]),
        (
            json!({ "format": "aliases", "identifiers": [{ "format": "email", "email": "a@b" }, alice(), token, alice()] }),
            &rules(),
            "session-revoked",
            vec![named(Kind::Subject, "alice"), named(Kind::Token, "t-1")],
        ),
    ] {
        assert_eq!(whom(subject.clone(), rules, event), Ok(expected), "{subject} {event}");
    }
    // Where all of a person's sessions end, the person must be known; and another issuer's is nobody here.
    for (user, event, why) in [
        (json!({ "format": "email", "email": "a@b" }), "credential-change", EventFault::SubjectFormat),
        (
            json!({ "format": "iss_sub", "iss": "https://evil.example", "sub": "a" }),
            "session-revoked",
            EventFault::SubjectIssuer,
        ),
    ] {
        let subject = json!({ "format": "complex", "session": opaque("s-1"), "user": user });
        assert_eq!(whom(subject, &as_session, event), Err(why));
    }
    // What names sessions elsewhere is no person's name.
    let user = json!({ "format": "complex", "user": opaque("alice") });
    assert_eq!(whom(user, &as_session, "session-revoked"), Err(EventFault::SubjectUnmapped));
}
