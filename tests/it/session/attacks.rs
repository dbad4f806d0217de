//! What somebody might try: each time nobody is signed in who should not be, and nothing reaches the application.

use super::browser::{Browser, NAVIGATION, SCRIPT, portal};
use super::{RESULTS, events, signed_in, start};
use crate::support::{Idp, http};

/// The same address with one parameter of its query changed.
fn with(url: &str, name: &str, change: impl Fn(&str) -> Option<String>) -> String {
    let mut parsed = reqwest::Url::parse(url).expect("an address");
    let pairs: Vec<(String, String)> = parsed
        .query_pairs()
        .filter_map(|(key, value)| {
            let value = if key == name { change(&value)? } else { value.into_owned() };
            Some((key.into_owned(), value))
        })
        .collect();
    parsed.query_pairs_mut().clear().extend_pairs(pairs);
    parsed.into()
}

fn is_refused(gateway: &crate::support::Gateway, browser: &mut Browser, url: &str, why: &str) {
    let answer = browser.step(url);
    assert!(matches!(answer.status, 400 | 403), "{why}: {answer:?}");
    assert!(browser.session().is_none(), "{why}");
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{why}");
    assert_eq!(events(gateway).last().expect("recorded").1, why);
}

#[test]
fn what_comes_back_must_answer_what_was_asked_here() {
    let idp = Idp::shared();
    let (gateway, upstream) = start(idp, "desk", "");
    let begin = || {
        let mut browser = Browser::new(gateway.address, "alice");
        let callback = browser.go_until_callback(&portal(RESULTS));
        (browser, callback)
    };
    // State: another one, none, two.
    let (mut browser, callback) = begin();
    let other = with(&callback, "state", |state| Some(state.chars().rev().collect()));
    is_refused(&gateway, &mut browser, &other, "sign_in_expired");
    for malformed in [with(&callback, "state", |_| None), format!("{callback}&state=x")] {
        assert_eq!(browser.step(&malformed).status, 400);
    }
    // Mix-up (RFC 9207): the answer of another issuer, of none, of two.
    let (mut browser, callback) = begin();
    let mixed = with(&callback, "iss", |_| Some("https://evil.example".to_owned()));
    is_refused(&gateway, &mut browser, &mixed, "other_issuer");
    let (mut browser, callback) = begin();
    is_refused(&gateway, &mut browser, &with(&callback, "iss", |_| None), "other_issuer");
    let (mut browser, callback) = begin();
    is_refused(&gateway, &mut browser, &format!("{callback}&iss=https%3A%2F%2Fevil.example"), "other_issuer");
    // The code: wrong, none, of somebody else's sign-in (its verifier and nonce are others).
    let (mut browser, callback) = begin();
    is_refused(&gateway, &mut browser, &with(&callback, "code", |_| Some("guessed".into())), "code_refused");
    let (mut browser, callback) = begin();
    is_refused(&gateway, &mut browser, &with(&callback, "code", |_| None), "code_missing");
    let ((mut browser, callback), (_, injected)) = (begin(), begin());
    let stolen = reqwest::Url::parse(&injected).expect("an address");
    let stolen = stolen.query_pairs().find(|(name, _)| name == "code").expect("a code").1.into_owned();
    is_refused(&gateway, &mut browser, &with(&callback, "code", |_| Some(stolen.clone())), "code_refused");
    // An error of the issuer's signs nobody in, whatever stands beside it.
    let (mut browser, callback) = begin();
    is_refused(&gateway, &mut browser, &format!("{callback}&error=access_denied"), "issuer_refused");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_answer_counts_once_and_in_its_own_browser_only() {
    let idp = Idp::shared();
    let (gateway, _upstream) = start(idp, "desk", "");
    // Login CSRF: the attacker's own sign-in, finished in the victim's browser.
    let mut attacker = Browser::new(gateway.address, "bob");
    let callback = attacker.go_until_callback(&portal(RESULTS));
    let mut victim = Browser::new(gateway.address, "alice");
    is_refused(&gateway, &mut victim, &callback, "sign_in_expired");
    // With a cookie that the attacker could plant if browsers let them: the secret in it is another.
    let victims = victim.go_until_callback(&portal(RESULTS));
    let planted = victim.cookie("__Host-wardgate-tx-").expect("a secret").to_owned();
    let (_, name, _) =
        attacker.cookies.iter().find(|(_, name, _)| name.contains("-tx-")).expect("a cookie").clone();
    victim.cookies.push(("portal.example".to_owned(), name, planted));
    is_refused(&gateway, &mut victim, &callback, "other_browser");
    // The victim's own still counts, once.
    assert_eq!(victim.go(&victims).answer.status, 200);
    let session = victim.session().expect("a session").to_owned();
    let again = victim.go(&victims);
    assert_eq!((again.answer.status, victim.session()), (200, Some(session.as_str())), "no second session");
    victim.cookies.retain(|(_, name, _)| !name.contains("-session"));
    is_refused(&gateway, &mut victim, &victims, "sign_in_expired");
    let signed_in = events(&gateway).iter().filter(|(what, how)| what == "sign_in" && how == "ok").count();
    assert_eq!(signed_in, 1);
}

#[test]
fn nobody_chooses_the_name_of_a_session() {
    let idp = Idp::shared();
    let (gateway, upstream) = start(idp, "desk", "");
    let planted = "A".repeat(43);
    let mut victim = Browser::new(gateway.address, "alice");
    victim.cookies.push(("portal.example".to_owned(), "__Host-wardgate-session".to_owned(), planted.clone()));
    assert_eq!(victim.go(&portal(RESULTS)).answer.status, 200);
    let first = victim.session().expect("a session").to_owned();
    assert_ne!(first, planted);
    let show = |value: &str| {
        let line = format!("__Host-wardgate-session={value}");
        http::send(gateway.address, "GET", RESULTS, &[("Cookie", &line)], b"").expect("an answer")
    };
    assert_eq!((show(&planted).status, show(&first).status), (401, 200));
    // Signing in again gives another name, and the old one is worth nothing.
    assert_eq!(victim.go(&portal("/_wardgate/sign-in?change=1&to=%2F")).answer.status, 200);
    let second = victim.session().expect("a session").to_owned();
    assert_ne!(first, second);
    assert_eq!((show(&first).status, show(&second).status), (401, 200));
    // Names that were tampered with.
    let count = upstream.count();
    let mut changed = second.clone().into_bytes();
    for at in [0, 20, 42] {
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let answer = show(std::str::from_utf8(&changed).expect("text"));
        assert_eq!(
            (answer.status, answer.json()["type"].as_str()),
            (401, Some("urn:wardgate:problem:invalid_token"))
        );
    }
    for value in ["", "x", &format!("{second}A"), &second[1..], &format!("{second}\"")] {
        assert_eq!(show(value).status, 401, "{value}");
    }
    let twice = format!("__Host-wardgate-session={second}; __Host-wardgate-session={planted}");
    let twice = http::send(gateway.address, "GET", RESULTS, &[("Cookie", &twice)], b"").expect("an answer");
    assert_eq!(twice.status, 400);
    assert_eq!(upstream.count(), count);
}

#[test]
fn a_token_and_a_session_at_once_are_refused() {
    let idp = Idp::shared();
    let (gateway, upstream) = start(idp, "desk", "");
    let mut alice = signed_in(&gateway, "alice");
    let token = format!("Bearer {}", idp.sign_in("alice", "aal1", "portal-es256").access());
    let before = upstream.count();
    let both = alice.ask("GET", &portal(RESULTS), &[("Authorization", &token)], b"");
    assert_eq!(both.status, 400);
    assert!(both.header("www-authenticate").is_some_and(|value| value.contains("invalid_request")));
    assert_eq!(upstream.count(), before);
    let alone = http::send(gateway.address, "GET", RESULTS, &[("Authorization", &token)], b"");
    assert_eq!(alone.expect("an answer").status, 200);
}

#[test]
fn other_pages_can_not_act_with_somebodys_session() {
    let idp = Idp::shared();
    let (gateway, upstream) = start(idp, "desk", "");
    let mut alice = signed_in(&gateway, "alice");
    let before = upstream.count();
    let notes = portal("/patients/p1/notes");
    for forged in [
        &[("Sec-Fetch-Site", "cross-site")][..],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Origin", "http://portal.example.evil.example")],
        &[("Sec-Fetch-Site", "cross-site"), ("Origin", "https://portal.example")],
        &[],
    ] {
        let answer = alice.ask("POST", &notes, forged, b"a=b");
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (403, Some("application/problem+json")),
            "{forged:?}"
        );
    }
    let socket = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Origin", "https://evil.example"),
    ];
    assert_eq!(alice.ask("GET", &portal("/patients/p1/ws"), &socket, b"").status, 403);
    assert_eq!(upstream.count(), before);
    let reasons: Vec<_> =
        gateway.audit().iter().filter(|record| record["reason"] == "cross_site").cloned().collect();
    assert_eq!(reasons.len(), 8);
    // The application's own pages, and one that the route names.
    assert_eq!(alice.fetch("POST", "/patients/p1/notes").status, 200);
    for own in [("Origin", "https://portal.example"), ("Origin", "https://forms.example")] {
        assert_eq!(alice.ask("POST", &notes, &[own], b"a=b").status, 200, "{own:?}");
    }
    // A link from elsewhere to a page is what browsers are for.
    let mut link = NAVIGATION.to_vec();
    link.push(("Sec-Fetch-Site", "cross-site"));
    assert_eq!(alice.ask("GET", &portal(RESULTS), &link, b"").status, 200);
}

#[test]
fn nobody_is_led_to_another_host() {
    let idp = Idp::shared();
    let (gateway, _upstream) = start(idp, "desk", "");
    let mut alice = signed_in(&gateway, "alice");
    for target in [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/%09/evil.example",
        "/%0a/evil.example",
        "javascript:alert(1)",
        "@evil.example",
        ".evil.example",
        "/_wardgate/sign-out",
        "/a\r\nSet-Cookie: a=b",
    ] {
        let query: String = form_urlencoded::byte_serialize(target.as_bytes()).collect();
        let answer = alice.step(&portal(&format!("/_wardgate/sign-in?to={query}")));
        let at_home = matches!((answer.status, answer.header("location")), (303, Some("/")));
        // Some are refused before they are read.
        assert!(at_home || answer.status == 400, "{target}: {answer:?}");
        assert_eq!(answer.header("set-cookie"), None);
    }
    // Two targets have no one meaning.
    let two = alice.step(&portal("/_wardgate/sign-in?to=%2Fa&to=%2Fb"));
    assert_eq!(two.header("location"), Some("/"));
}

#[test]
fn scripts_can_not_read_what_pages_are_for() {
    let idp = Idp::shared();
    let (gateway, _upstream) = start(idp, "desk", "");
    let mut alice = signed_in(&gateway, "alice");
    // The cookie is out of every script's reach, and no answer repeats it.
    let session = alice.session().expect("a session").to_owned();
    for target in ["/", RESULTS, "/_wardgate/sign-out", "/_wardgate/sign-in", "/nowhere"] {
        let answer = alice.ask("GET", &portal(target), &SCRIPT, b"");
        let told = format!("{:?}{}", answer.headers, answer.body);
        assert!(!told.contains(&session), "{target}: {told}");
    }
}
