//! The end of a session: by the person, by time, by the issuer; and claims that change meanwhile.

use std::time::Duration;

use serde_json::json;

use super::browser::{Browser, NAVIGATION, portal};
use super::{RESULTS, events, signed_in, start};
use crate::support::{Gateway, Idp, eventually, http};

/// Shows a session's name as a thief would who has copied it.
fn shown(gateway: &Gateway, session: &str) -> u16 {
    let line = format!("__Host-wardgate-session={session}");
    http::send(gateway.address, "GET", RESULTS, &[("Cookie", &line)], b"").expect("an answer").status
}

#[test]
fn signing_out_ends_the_session_everywhere() {
    let idp = Idp::shared();
    let (gateway, _upstream) = start(idp, "desk", "");
    let mut alice = signed_in(&gateway, "alice");
    let session = alice.session().expect("a session").to_owned();
    let page = alice.step(&portal("/_wardgate/sign-out"));
    assert!(page.status == 200 && page.body.contains("Sign out?"), "{}", page.body);
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains(&format!("form-action 'self' {};", idp.issuer)), "{policy}");
    assert_eq!(shown(&gateway, &session), 200, "a look changes nothing");
    // Another's page can't do it.
    for forged in [&[("Sec-Fetch-Site", "cross-site")][..], &[("Origin", "https://evil.example")], &[]] {
        assert_eq!(alice.ask("POST", &portal("/_wardgate/sign-out"), forged, b"").status, 400);
        assert_eq!(shown(&gateway, &session), 200);
    }
    let mut own = NAVIGATION.to_vec();
    own.push(("Sec-Fetch-Site", "same-origin"));
    let out = alice.ask("POST", &portal("/_wardgate/sign-out"), &own, b"");
    let onward = out.header("location").expect("onward").to_owned();
    assert!(out.status == 303 && onward.starts_with(&format!("{}/session/end?id_token_hint=", idp.issuer)));
    assert!(
        onward.contains("post_logout_redirect_uri=https%3A%2F%2Fportal.example%2F_wardgate%2Fsigned-out")
    );
    assert!(alice.session().is_none());
    assert_eq!(shown(&gateway, &session), 401, "a copy of its name is worthless");
    let last = alice.step(&portal("/_wardgate/signed-out"));
    assert!(last.status == 200 && last.body.contains("You are signed out"));
    assert_eq!(events(&gateway).last().expect("recorded").0, "sign_out");
}

#[test]
fn a_session_ends_when_nobody_uses_it_and_when_its_time_has_come() {
    let idp = Idp::shared();
    let (gateway, _upstream) = start(idp, "desk", "      session: { idle: 3s, absolute: 8s }");
    let mut alice = signed_in(&gateway, "alice");
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        assert_eq!(alice.fetch("GET", RESULTS).status, 200, "in use after {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(500));
    }
    eventually("the longest time ends it, in use or not", Duration::from_secs(8), || {
        alice.fetch("GET", RESULTS).status == 401
    });
    let mut idle = signed_in(&gateway, "alice");
    assert_eq!(idle.fetch("GET", RESULTS).status, 200);
    std::thread::sleep(Duration::from_millis(4_200));
    assert_eq!(idle.fetch("GET", RESULTS).status, 401, "nobody used it");
    // A person is led back in, and to where they were.
    let arrived = idle.go(&portal(RESULTS));
    assert_eq!((arrived.answer.status, arrived.url), (200, portal(RESULTS)));
}

#[test]
fn the_issuer_ends_sessions_on_the_back_channel() {
    let idp = Idp::start();
    let (gateway, _upstream) = start(&idp, "desk", "");
    idp.relay_to(gateway.address);
    let mut alice = signed_in(&gateway, "alice");
    let mut elsewhere = signed_in(&gateway, "alice");
    let session = alice.session().expect("a session").to_owned();
    // She signs out at the issuer itself: the gateway's page is never asked.
    let page = alice.step(&format!("{}/session/end", idp.issuer));
    let done = alice.confirm_at(&idp.issuer, &page);
    assert!(matches!(done.status, 302 | 303), "{done:?}");
    eventually("the session has ended", Duration::from_secs(10), || shown(&gateway, &session) == 401);
    assert_eq!(elsewhere.fetch("GET", RESULTS).status, 200, "only the session that was named");
    assert!(events(&gateway).contains(&("back_channel_logout".to_owned(), "ok".to_owned())));
    // Back in, without a loop.
    assert_eq!(alice.go(&portal(RESULTS)).answer.status, 200);
}

#[test]
fn forged_logout_tokens_end_nothing() {
    let idp = Idp::shared();
    let (gateway, _upstream) = start(idp, "desk", "");
    let mut alice = signed_in(&gateway, "alice");
    let tokens = idp.sign_in("alice", "aal1", "portal-es256");
    let unsigned = "eyJhbGciOiJub25lIiwidHlwIjoibG9nb3V0K2p3dCJ9.eyJzdWIiOiJhbGljZSJ9.";
    for (form, why) in [
        (String::new(), "logout_token_missing"),
        ("logout_token=".to_owned(), "token_malformed"),
        (format!("logout_token={unsigned}"), "token_algorithm_not_allowed"),
        (format!("logout_token={}", tokens.id()), "id_token_type"),
        (format!("logout_token={}", tokens.access()), "id_token_type"),
        (format!("logout_token={0}&logout_token={0}", tokens.id()), "logout_token_missing"),
        (format!("logout_token={}", "a".repeat(20_000)), "logout_token_malformed"),
    ] {
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        let target = "/_wardgate/back-channel-logout";
        let answer = http::send(gateway.address, "POST", target, &kind, form.as_bytes()).expect("an answer");
        assert_eq!((answer.status, answer.header("cache-control")), (400, Some("no-store")), "{why}");
        assert_eq!(events(&gateway).last().expect("recorded").1, why);
    }
    assert_eq!(alice.fetch("GET", RESULTS).status, 200);
}

#[test]
fn claims_are_refreshed_once_and_decided_on_anew() {
    let idp = Idp::start();
    let (gateway, _upstream) = start(&idp, "desk-short", "");
    let mut nora = signed_in(&gateway, "nora");
    assert_eq!(nora.fetch("GET", "/ward").status, 200);
    let asked = idp.asked("token");
    idp.set_claims("nora", &json!({ "groups": ["porter"] }));
    std::thread::sleep(Duration::from_millis(3_100));
    // Ten at once find the claims too old: the issuer is asked once, and all are judged by what it says.
    let racers: Vec<_> = (0..10)
        .map(|_| {
            let mut browser = nora.clone();
            std::thread::spawn(move || browser.fetch("GET", "/ward").status)
        })
        .collect();
    let statuses: Vec<u16> = racers.into_iter().map(|racer| racer.join().expect("an answer")).collect();
    assert_eq!(statuses, vec![403; 10], "no nurse any more");
    assert_eq!(idp.asked("token"), asked + 1, "one refresh for all");
    assert_eq!(events(&gateway).iter().filter(|(what, _)| what == "refresh").count(), 1);
}

#[test]
fn who_is_no_longer_vouched_for_is_out() {
    let idp = Idp::start();
    let (gateway, _upstream) = start(&idp, "desk-short", "");
    let mut nora = signed_in(&gateway, "nora");
    assert_eq!(nora.fetch("GET", "/ward").status, 200);
    // The issuer is away for a moment: what was known counts on.
    idp.fail("token", Some("500"));
    std::thread::sleep(Duration::from_millis(3_100));
    assert_eq!(nora.fetch("GET", "/ward").status, 200, "for as long as keys would");
    idp.fail("token", Some("refuse"));
    eventually("the refusal ends the session", Duration::from_secs(90), || {
        nora.fetch("GET", "/ward").status == 401
    });
    assert!(events(&gateway).contains(&("refresh".to_owned(), "refresh_refused".to_owned())));
    idp.fail("token", None);
    assert_eq!(nora.fetch("GET", "/ward").status, 401, "for good");
    let mut again = Browser::new(gateway.address, "nora");
    assert_eq!(again.go(&portal("/ward")).answer.status, 200);
}
