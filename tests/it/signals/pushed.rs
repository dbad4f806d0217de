//! Events that are pushed (RFC 8935).

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::{Value, json};

use super::forgeries::{of_any_claims, of_any_token};
use super::transmitter::{CAEP, FRAMEWORK, Transmitter};
use super::*;
use crate::revocation::{begin, ends};
use crate::support::eventually;
use crate::support::redis::Redis;

/// Says a word every now and then, for ever, below `/events`; answers everything else at once.
fn talkative() -> Recorder {
    Recorder::behaving(Arc::new(|request, stream: &mut TcpStream| {
        let mut say = |text: &str| stream.write_all(text.as_bytes()).is_ok();
        if !request.target().ends_with("/events") {
            return say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
        let mut going =
            say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
        while going {
            going = say("data: still here\n\n");
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }))
}

/// A moment that lies behind a sign-in of before: revocations count in seconds.
fn next_second() {
    std::thread::sleep(Duration::from_millis(1_100));
}

#[test]
fn an_event_ends_what_was_begun_before_it() {
    let (upstream, signer, transmitter) = (talkative(), Signer::new(), Transmitter::start());
    let gateway = setup(&upstream, &signer, &transmitter, PUSHED, ALONE).start();
    let (alice, bob) = (bearer(&signer, "alice", "s1"), bearer(&signer, "bob", "s2"));
    let hers = begin(&gateway, "/patients/p1/events", &alice);
    let his = begin(&gateway, "/patients/p1/events", &bob);
    let members = json!({ "initiating_entity": "admin", "reason_admin": { "en": "Landspeed 4711" } });
    let event = transmitter.event(someone("alice"), "session-revoked", members);
    let taken = push(&gateway, &event);
    assert_eq!((taken.status, taken.body.as_str()), (202, ""), "{taken:?}");
    assert!(ends(hers), "what runs ends");
    assert_eq!((ask(&gateway, &alice), ask(&gateway, &bob)), (401, 200));
    drop(his);
    // She signs in again; the event is shown again, by whoever has kept it.
    next_second();
    let again = bearer(&signer, "alice", "s3");
    assert_eq!(ask(&gateway, &again), 200);
    assert_eq!(push(&gateway, &event).status, 202, "taken");
    next_second();
    assert_eq!(ask(&gateway, &again), 200, "and nothing is done");
    let records = gateway.audit();
    let revocations: Vec<_> = records.iter().filter(|record| record["event"] == "revocation").collect();
    assert_eq!(revocations.len(), 1);
    assert_eq!(
        (&revocations[0]["source"], &revocations[0]["claim"], &revocations[0]["result"]),
        (&json!("shared_signals"), &json!("sub"), &json!("stored"))
    );
    assert_eq!(signals(&gateway), [("session_revoked".to_owned(), "revoked".to_owned())]);
    for result in ["revoked", "again"] {
        let of = "wardgate_shared_signals_total{event=\"session_revoked\",issuer=\"patients\"";
        assert_eq!(gateway.metric(&format!("{of},result=\"{result}\"}}")), 1.0, "{result}");
    }
    // Nothing of what it says of people is kept anywhere.
    let everything =
        format!("{records:?}{}{}", gateway.logs().join("\n"), gateway.telemetry_page("/metrics").body);
    for secret in ["Landspeed", "alice", "push-to-me", &event] {
        assert!(!everything.contains(secret), "{secret}");
    }
}

#[test]
fn each_type_of_event_ends_what_it_should() {
    let (upstream, signer, transmitter) = (Recorder::start(), Signer::new(), Transmitter::start());
    let delivery = format!("{PUSHED}, opaque_ids: sid");
    let gateway = setup(&upstream, &signer, &transmitter, &delivery, ALONE).start();
    let token = |sub: &str, sid: &str| bearer(&signer, sub, sid);
    let complex = |sub: &str, sid: &str| json!({ "format": "complex", "user": someone(sub), "session": { "format": "opaque", "id": sid } });
    let change = |kind: &str| json!({ "credential_type": "password", "change_type": kind, "friendly_name": "her key" });
    for (number, (subject, event, members, ends, other_session)) in [
        (someone("u0"), "session-revoked", json!({}), true, true),
        (json!({ "format": "opaque", "id": "s1" }), "session-revoked", json!({}), true, false),
        (complex("u2", "s2"), "session-revoked", json!({}), true, false),
        (complex("u3", "s3"), "credential-change", change("revoke"), true, true),
        (someone("u4"), "credential-change", change("update"), true, true),
        (someone("u5"), "credential-change", change("create"), false, false),
        (someone("u6"), "assurance-level-change", json!({ "change_direction": "decrease" }), true, true),
        (someone("u7"), "assurance-level-change", json!({ "change_direction": "increase" }), false, false),
        (
            complex("u8", "s8"),
            "device-compliance-change",
            json!({ "current_status": "not-compliant" }),
            true,
            false,
        ),
        (someone("u9"), "device-compliance-change", json!({ "current_status": "compliant" }), false, false),
    ]
    .into_iter()
    .enumerate()
    {
        let (sub, sid) = (format!("u{number}"), format!("s{number}"));
        let (own, other) = (token(&sub, &sid), token(&sub, "elsewhere"));
        assert_eq!((ask(&gateway, &own), ask(&gateway, &other)), (200, 200));
        let taken = push(&gateway, &transmitter.event(subject, event, members));
        assert_eq!(taken.status, 202, "{number}: {taken:?}");
        assert_eq!(ask(&gateway, &own), if ends { 401 } else { 200 }, "{number}: {event}");
        assert_eq!(ask(&gateway, &other), if other_session { 401 } else { 200 }, "{number}: {event}");
    }
    // The framework's own events; what it says of the stream is seen by the operator.
    let stream = json!({ "format": "opaque", "id": "stream-1" });
    let of_framework = |name: &str, members: Value| {
        push(&gateway, &transmitter.event(stream.clone(), &format!("{FRAMEWORK}{name}"), members)).status
    };
    assert_eq!(of_framework("verification", json!({ "state": "VGhpcyBpcyBhbiBleGFtcGxl" })), 202);
    let up = "wardgate_shared_signals_up{issuer=\"patients\"}";
    assert!(gateway.metric(up) == 1.0 && !notices(&gateway).1.contains("shared signals"));
    assert_eq!(of_framework("stream-updated", json!({ "status": "paused", "reason": "7 people" })), 202);
    let (status, said) = notices(&gateway);
    assert!(status == 200 && said.contains("shared signals for `patients`"), "{said}");
    assert!(gateway.metric(up) == 0.0 && !said.contains("7 people"));
    assert_eq!(of_framework("stream-updated", json!({ "status": "enabled" })), 202);
    assert!(gateway.metric(up) == 1.0 && !notices(&gateway).1.contains("shared signals"));
}

/// What is wrong with an event itself.
fn of_events(transmitter: &Transmitter) -> Vec<(&'static str, String, &'static str)> {
    let honest = transmitter.claims(someone("alice"), "session-revoked", json!({}));
    let now = jiff::Timestamp::now().as_second();
    let revoked = format!("{CAEP}session-revoked");
    let with = |name: &str, value: Value| {
        let mut changed = honest.clone();
        changed[name] = value;
        transmitter.sign(&changed)
    };
    let without = |name: &str| {
        let mut changed = honest.clone();
        changed.as_object_mut().expect("claims").remove(name);
        transmitter.sign(&changed)
    };
    let typed = |typ: Value| {
        let mut header = Transmitter::header();
        header["typ"] = typ;
        transmitter.forge.sign(&header.to_string(), &honest.to_string())
    };
    let untyped = transmitter.forge.sign(r#"{"alg":"ES256","kid":"k1"}"#, &honest.to_string());
    // Other tokens of somebody who signs them all with one key.
    let other = |typ: &str, claims: Value| {
        let mut whole = honest.clone();
        whole.as_object_mut().expect("claims").extend(claims.as_object().expect("claims").clone());
        transmitter
            .forge
            .sign(&json!({ "alg": "ES256", "kid": "k1", "typ": typ }).to_string(), &whole.to_string())
    };
    let logout = json!({ "events": { "http://schemas.openid.net/event/backchannel-logout": {} }, "sub": "alice", "exp": now + 60 });
    let subject = |subject: Value| transmitter.event(subject, "session-revoked", json!({}));
    vec![
        ("an event that says it is a JWT", typed("JWT".into()), "set_type"),
        ("an event that does not say what it is", untyped, "set_type"),
        (
            "an access token",
            other("at+jwt", json!({ "sub": "alice", "exp": now + 60, "client_id": "portal" })),
            "set_type",
        ),
        ("an ID token", other("JWT", json!({ "sub": "alice", "exp": now + 60, "nonce": "n" })), "set_type"),
        ("a logout token", other("logout+jwt", logout.clone()), "set_type"),
        ("a logout token that says it is an event", other("secevent+jwt", logout), "set_claim"),
        ("a subject as in an ID token", with("sub", "alice".into()), "set_claim"),
        ("an end as of an access token", with("exp", json!(now + 60)), "set_claim"),
        ("a nonce", with("nonce", "n".into()), "set_claim"),
        ("issued long ago", with("iat", json!(now - 8 * 86_400)), "set_time"),
        ("issued tomorrow", with("iat", json!(now + 86_400)), "set_time"),
        ("issued never", without("iat"), "set_claim"),
        ("no name", without("jti"), "set_claim"),
        ("no events", without("events"), "set_claim"),
        ("an empty list of events", with("events", json!({})), "set_event_count"),
        (
            "two events",
            with(
                "events",
                json!({ revoked.clone(): {}, format!("{CAEP}credential-change"): { "change_type": "revoke" } }),
            ),
            "set_event_count",
        ),
        (
            "an unknown event",
            with("events", json!({ format!("{CAEP}session-revoked-2"): {} })),
            "set_event_unknown",
        ),
        ("an event that is none", with("events", json!({ revoked.clone(): true })), "set_event_malformed"),
        (
            "an event of tomorrow",
            with("events", json!({ revoked: { "event_timestamp": now + 86_400 } })),
            "set_time",
        ),
        ("about nobody", without("sub_id"), "subject_missing"),
        (
            "about a subject of another issuer",
            subject(json!({ "format": "iss_sub", "iss": "https://evil.example", "sub": "alice" })),
            "subject_other_issuer",
        ),
        (
            "about a subject of the transmitter",
            subject(json!({ "format": "iss_sub", "iss": transmitter.issuer(), "sub": "alice" })),
            "subject_other_issuer",
        ),
        ("about an opaque name", subject(json!({ "format": "opaque", "id": "alice" })), "subject_unmapped"),
        ("about an address", subject(json!({ "format": "email", "email": "alice" })), "subject_format"),
        (
            "about a device",
            subject(json!({ "format": "complex", "device": someone("alice") })),
            "subject_unmapped",
        ),
        (
            "with a critical member",
            subject(json!({ "format": "complex", "user": someone("alice"), "badge": someone("alice") })),
            "subject_critical_member",
        ),
    ]
}

#[test]
fn forged_events_end_nothing() {
    let (upstream, signer, transmitter) = (Recorder::start(), Signer::new(), Transmitter::start());
    let gateway = setup(&upstream, &signer, &transmitter, PUSHED, ALONE).start();
    let alice = bearer(&signer, "alice", "s1");
    let honest = transmitter.claims(someone("alice"), "session-revoked", json!({}));
    let mut forgeries = of_any_token(&transmitter.forge, &Transmitter::header(), &honest);
    forgeries.extend(of_any_claims(|claims| transmitter.sign(claims), &honest, "set_audience"));
    forgeries.extend(of_events(&transmitter));
    assert!(forgeries.len() >= 50, "{}", forgeries.len());
    // The issuer of the access tokens is no transmitter, and an access token is no event.
    forgeries.push(("a real access token", alice["Bearer ".len()..].to_owned(), "token_unknown_issuer"));
    for (what, token, why) in &forgeries {
        let mut refused = push(&gateway, token);
        if refused.status == 503 {
            // Another key was looked for a moment ago; see the last test here.
            next_second();
            refused = push(&gateway, token);
        }
        assert_eq!(refused.status, 400, "{what}: {refused:?}");
        assert_eq!(refused.header("content-type"), Some("application/json"), "{what}");
        let told = refused.json();
        assert_eq!(told["description"], *why, "{what}");
        let err = match *why {
            "token_unknown_issuer" => "invalid_issuer",
            "token_unknown_key" | "token_bad_signature" | "token_algorithm_not_allowed" => "invalid_key",
            "set_audience" => "invalid_audience",
            _ => "invalid_request",
        };
        assert_eq!(told["err"], err, "{what}");
    }
    assert_eq!(ask(&gateway, &alice), 200);
    let results = signals(&gateway).into_iter().map(|(_, result)| result);
    let results: Vec<String> = results.filter(|result| result != "transmitter_unavailable").collect();
    let expected: Vec<String> = forgeries.iter().map(|(.., why)| (*why).to_owned()).collect();
    assert_eq!(results, expected);
    assert!(!gateway.audit().iter().any(|record| record["event"] == "revocation"));
    // The honest one that all were made from.
    assert_eq!(push(&gateway, &transmitter.sign(&honest)).status, 202);
    assert_eq!(ask(&gateway, &alice), 401);
}

#[test]
fn a_push_is_from_who_it_should_be_from_and_brings_an_event() {
    let (upstream, signer, transmitter) = (Recorder::start(), Signer::new(), Transmitter::start());
    let gateway = setup(&upstream, &signer, &transmitter, PUSHED, ALONE).start();
    let alice = bearer(&signer, "alice", "s1");
    let event = transmitter.event(someone("alice"), "session-revoked", json!({}));
    let kind = ("Content-Type", "application/secevent+jwt");
    let own = ("Authorization", PUSH_AUTHORIZATION);
    let send = |method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]| {
        http::send(gateway.address, method, target, headers, body).expect("an answer")
    };
    for (headers, err, description) in [
        (&[kind][..], "authentication_failed", "authentication_failed"),
        (&[kind, ("Authorization", "Bearer push-to-you")], "authentication_failed", "authentication_failed"),
        (&[kind, ("Authorization", "push-to-me")], "authentication_failed", "authentication_failed"),
        (&[own], "invalid_request", "set_content_type"),
        (&[own, ("Content-Type", "application/json")], "invalid_request", "set_content_type"),
    ] {
        let refused = send("POST", PUSH_PATH, headers, event.as_bytes());
        assert_eq!((refused.status, &refused.json()["err"]), (400, &json!(err)), "{headers:?}");
        assert_eq!(refused.json()["description"], description);
    }
    let refused = send("POST", PUSH_PATH, &[kind, own], b"\xff\xfe");
    assert_eq!((refused.status, &refused.json()["description"]), (400, &json!("set_malformed")));
    let refused = send("POST", PUSH_PATH, &[kind, own], "a".repeat(20_000).as_bytes());
    assert_eq!((refused.status, &refused.json()["description"]), (400, &json!("set_too_long")));
    assert_eq!(send("POST", PUSH_PATH, &[kind, own], "a".repeat(40_000).as_bytes()).status, 413);
    let get = send("GET", PUSH_PATH, &[own], b"");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    for target in
        ["/_wardgate/shared-signals/", "/_wardgate/shared-signals/staff", "/_wardgate/shared-signals"]
    {
        assert_eq!(send("POST", target, &[kind, own], event.as_bytes()).status, 404, "{target}");
    }
    let elsewhere = [kind, own, ("Host", "other.example")];
    assert_eq!(send("POST", PUSH_PATH, &elsewhere, event.as_bytes()).status, 404, "another host");
    assert_eq!(ask(&gateway, &alice), 200, "nothing of all that counted");
    assert_eq!(upstream.count(), 1, "and nothing went on");
    assert_eq!(push(&gateway, &event).status, 202);
    assert_eq!(ask(&gateway, &alice), 401);
}

#[test]
fn what_can_not_be_done_now_is_asked_for_again() {
    let (upstream, signer, transmitter) = (Recorder::start(), Signer::new(), Transmitter::start());
    let mut server = Redis::start(&[]);
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        server.address
    );
    transmitter.break_with(Some(500));
    let gateway = setup(&upstream, &signer, &transmitter, PUSHED, &state).start();
    let alice = bearer(&signer, "alice", "s1");
    let event = transmitter.event(someone("alice"), "session-revoked", json!({}));
    // Without keys nobody can say whether it is good: ready, since everything else works, but it is told.
    let later = push(&gateway, &event);
    assert_eq!((later.status, later.header("retry-after").is_some()), (503, true), "{later:?}");
    let (status, said) = notices(&gateway);
    assert!(status == 200 && said.contains("keys for shared signals"), "{said}");
    transmitter.break_with(None);
    eventually("the keys are there", SOON, || !notices(&gateway).1.contains("keys for shared signals"));
    server.kill();
    eventually("the store is out of reach", SOON, || push(&gateway, &event).status == 503);
    server.restart();
    eventually("the store answers, and the event is carried out", SOON, || {
        push(&gateway, &event).status == 202
    });
    assert_eq!(ask(&gateway, &alice), 401);
    let results: Vec<String> = signals(&gateway).into_iter().map(|(_, result)| result).collect();
    assert!(results.contains(&"transmitter_unavailable".to_owned()), "{results:?}");
    assert!(results.contains(&"store_unavailable".to_owned()), "{results:?}");
    assert_eq!(results.last().expect("recorded"), "revoked");
}

#[test]
fn an_event_that_comes_late_ends_nothing_that_has_begun_since() {
    let (upstream, signer, transmitter) = (Recorder::start(), Signer::new(), Transmitter::start());
    let gateway = setup(&upstream, &signer, &transmitter, PUSHED, ALONE).start();
    let (before, since) = (earlier_bearer(&signer, "alice", 150), earlier_bearer(&signer, "alice", 50));
    assert_eq!((ask(&gateway, &before), ask(&gateway, &since)), (200, 200));
    let happened = jiff::Timestamp::now().as_second() - 100;
    let members = json!({ "event_timestamp": happened });
    assert_eq!(push(&gateway, &transmitter.event(someone("alice"), "session-revoked", members)).status, 202);
    assert_eq!((ask(&gateway, &before), ask(&gateway, &since)), (401, 200));
}

#[test]
fn an_event_with_a_key_that_may_be_new_is_asked_for_again() {
    let (upstream, signer, transmitter) = (Recorder::start(), Signer::new(), Transmitter::start());
    let gateway = setup(&upstream, &signer, &transmitter, PUSHED, ALONE).start();
    let claims = transmitter.claims(someone("alice"), "session-revoked", json!({}));
    let mut header = Transmitter::header();
    header["kid"] = "new".into();
    let token = crate::hostile::forge::Forge::new().sign(&header.to_string(), &claims.to_string());
    // Its keys are fetched for it, and don't hold it: so it is none of its own.
    let first = push(&gateway, &token);
    assert_eq!((first.status, &first.json()["description"]), (400, &json!("token_unknown_key")));
    // For a while they are not fetched again, and by then it may be there: what is refused now would be lost.
    let answers: Vec<u16> = (0..40).map(|_| push(&gateway, &token).status).collect();
    assert!(answers.contains(&503), "{answers:?}");
}
