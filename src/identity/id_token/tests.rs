//! ID tokens and logout tokens that are good, and each one thing that makes them bad.

use serde_json::json;

use super::*;
use crate::identity::testing::{NOW, changed, rules};

fn id_token(change: &Value) -> Map<String, Value> {
    let good = json!({
        "iss": "https://login.test/realms/people", "aud": "portal", "sub": "alice", "nonce": "n-1",
        "iat": NOW, "exp": NOW + 300, "auth_time": NOW - 60, "acr": "loa2", "amr": ["pwd"], "sid": "s-1",
        "patient": "p1", "roles": ["nurse"],
    });
    changed(good, change).as_object().expect("object").clone()
}

fn expected() -> Expected<'static> {
    Expected {
        client_id: "portal",
        nonce: Some("n-1"),
        subject: Some("alice"),
        authenticated_since: Some(NOW - 100),
        now: NOW,
    }
}

fn verdict(change: &Value) -> Result<(), IdTokenFault> {
    check(Media::Plain, &id_token(change), &expected())
}

#[test]
fn only_an_id_token_for_this_very_request_counts() {
    assert_eq!(verdict(&json!({})), Ok(()));
    assert_eq!(verdict(&json!({ "azp": "portal" })), Ok(()));
    assert_eq!(verdict(&json!({ "aud": ["portal", "other"], "azp": "portal" })), Ok(()));
    assert_eq!(verdict(&json!({ "auth_time": NOW - 130 })), Ok(()), "clocks differ by half a minute");
    for (change, fault) in [
        (json!({ "aud": "other" }), IdTokenFault::Audience),
        (json!({ "aud": null }), IdTokenFault::Audience),
        (json!({ "aud": ["portal", "other"] }), IdTokenFault::Audience),
        (json!({ "azp": "other" }), IdTokenFault::Audience),
        (json!({ "aud": 7 }), IdTokenFault::Claim),
        (json!({ "exp": NOW }), IdTokenFault::Time),
        (json!({ "exp": null }), IdTokenFault::Claim),
        (json!({ "iat": NOW + 60 }), IdTokenFault::Time),
        (json!({ "iat": NOW - 601 }), IdTokenFault::Time),
        (json!({ "iat": null }), IdTokenFault::Claim),
        (json!({ "nonce": "n-2" }), IdTokenFault::Nonce),
        (json!({ "nonce": null }), IdTokenFault::Nonce),
        (json!({ "nonce": ["n-1"] }), IdTokenFault::Claim),
        (json!({ "sub": "bob" }), IdTokenFault::Subject),
        (json!({ "sub": null }), IdTokenFault::Claim),
        (json!({ "sub": "a\nb" }), IdTokenFault::Claim),
        (json!({ "auth_time": NOW - 131 }), IdTokenFault::Authentication),
        (json!({ "auth_time": null }), IdTokenFault::Authentication),
        (json!({ "auth_time": NOW + 60 }), IdTokenFault::Time),
        (json!({ "events": {} }), IdTokenFault::Type),
        (json!({ "act": { "sub": "bob" } }), IdTokenFault::Subject),
    ] {
        assert_eq!(verdict(&change), Err(fault), "{change}");
    }
    for media in [Media::AccessToken, Media::Logout, Media::SecurityEvent, Media::Other] {
        assert_eq!(check(media, &id_token(&json!({})), &expected()), Err(IdTokenFault::Type));
    }
}

#[test]
fn a_sessions_subject_is_read_like_a_tokens() {
    let frame =
        Frame { client_id: "portal", name: "session-1", began_at: NOW, ends_at: NOW + 3_600, now: NOW };
    let read = |change: &Value| subject(&Arc::new(id_token(change)), &rules(), &frame);
    let alice = read(&json!({})).expect("a subject");
    assert_eq!((alice.id.as_ref(), alice.patient.as_deref(), alice.roles.len()), ("alice", Some("p1"), 1));
    assert_eq!((alice.client.as_deref(), alice.session.as_deref()), (Some("portal"), Some("s-1")));
    assert_eq!((alice.token_id.as_deref(), alice.issued_at), (Some("session-1"), NOW));
    assert!(alice.level > crate::identity::Level::NONE && alice.auth_time == Some(NOW - 60));
    assert_eq!(read(&json!({ "auth_time": null })).expect("a subject").auth_time, None);
    assert_eq!(read(&json!({ "roles": 7 })).err(), Some(TokenFault::BadClaim));
}

fn logout_token(change: &Value) -> Map<String, Value> {
    let good = json!({
        "iss": "https://login.test/realms/people", "aud": "portal", "sub": "alice", "sid": "s-1", "jti": "l-1",
        "iat": NOW, "exp": NOW + 120, "events": { LOGOUT_EVENT: {} },
    });
    changed(good, change).as_object().expect("object").clone()
}

#[test]
fn only_a_logout_token_for_us_logs_out() {
    let verdict = |change: &Value| logout(Media::Logout, &logout_token(change), "portal", NOW);
    let all = verdict(&json!({})).expect("good");
    assert_eq!((all.subject.as_deref(), all.session.as_deref()), (Some("alice"), Some("s-1")));
    assert!(verdict(&json!({ "sid": null })).is_ok() && verdict(&json!({ "sub": null })).is_ok());
    for (change, fault) in [
        (json!({ "nonce": "n-1" }), IdTokenFault::Type),
        (json!({ "events": null }), IdTokenFault::Type),
        (json!({ "events": { "other": {} } }), IdTokenFault::Type),
        (json!({ "events": { LOGOUT_EVENT: true } }), IdTokenFault::Type),
        (json!({ "aud": "other" }), IdTokenFault::Audience),
        (json!({ "iat": NOW - 601 }), IdTokenFault::Time),
        (json!({ "iat": NOW + 60 }), IdTokenFault::Time),
        (json!({ "iat": null }), IdTokenFault::Claim),
        (json!({ "exp": NOW }), IdTokenFault::Time),
        (json!({ "jti": null }), IdTokenFault::Claim),
        (json!({ "jti": "" }), IdTokenFault::Claim),
        (json!({ "sub": null, "sid": null }), IdTokenFault::Claim),
        (json!({ "sub": 7 }), IdTokenFault::Claim),
    ] {
        assert_eq!(verdict(&change), Err(fault), "{change}");
    }
    for media in [Media::AccessToken, Media::SecurityEvent, Media::Other] {
        assert_eq!(logout(media, &logout_token(&json!({})), "portal", NOW), Err(IdTokenFault::Type));
    }
    assert_eq!(
        logout(Media::Logout, &id_token(&json!({})), "portal", NOW),
        Err(IdTokenFault::Type),
        "an ID token logs nobody out"
    );
}
