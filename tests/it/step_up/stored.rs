//! What lies in the store of a step-up, and what becomes of it where two write at the same moment, or nobody can record.

use std::collections::BTreeSet;
use std::time::Duration;

use super::once::{on_redis, setup};
use super::*;
use crate::session::signed_in;
use crate::support::eventually;
use crate::support::redis::Redis;

/// A gateway on a Redis of its own.
fn start_on_redis() -> (Redis, Recorder, Gateway) {
    let (redis, upstream) = (Redis::start(&[]), Recorder::start());
    let gateway = setup(&on_redis(&text(Idp::shared(), &upstream, "desk"), &redis, "5s")).start();
    gateway.wait_until_proofs_count();
    (redis, upstream, gateway)
}

/// The sealed pieces.
fn sealed(redis: &Redis) -> BTreeSet<String> {
    let names = redis.say(&["KEYS", "*sealed*"]);
    names.lines().map(|line| line.trim_matches('"').to_owned()).filter(|line| !line.is_empty()).collect()
}

fn length(redis: &Redis, name: &str) -> usize {
    redis.say(&["STRLEN", name]).parse().expect("a number")
}

#[test]
fn the_body_lies_apart_and_without_it_nothing_is_there() {
    let (redis, upstream, gateway) = start_on_redis();
    let mut browser = signed_in(&gateway, "alice");
    let before = sealed(&redis);
    let body = format!("street={}", "x".repeat(100_000));
    let asked = send(&mut browser, "POST", PROFILE, &[FORM], body.as_bytes());
    let after = sealed(&redis);
    let new: Vec<&String> = after.difference(&before).collect();
    let (large, small): (Vec<&String>, Vec<&String>) =
        new.iter().copied().partition(|name| length(&redis, name) > 50_000);
    assert_eq!((large.len(), small.len()), (1, 1), "{new:?}");
    // What every look reads is small.
    assert!(length(&redis, small[0]) < 3_000, "{}", length(&redis, small[0]));
    let page = prove(&mut browser, &asked);
    assert!(page.body.contains("xxx"), "{page:?}");
    assert_eq!(redis.say(&["DEL", large[0]]), "1");
    let name = action(&page).split_once("wardgate-intent=").expect("a name").1.to_owned();
    let shown = browser.step(&portal(&format!("/_wardgate/confirm?intent={name}")));
    assert_eq!(shown.status, 410, "{shown:?}");
    let before = upstream.count();
    let clicked = confirm(&mut browser, &page);
    assert_eq!((clicked.status, upstream.count()), (410, before), "{clicked:?}");
    // Nor is anything left of what was sent.
    let body = body.replace('x', "y");
    let asked = send(&mut browser, "POST", PROFILE, &[FORM], body.as_bytes());
    let page = prove(&mut browser, &asked);
    assert_eq!((confirm(&mut browser, &page).status, upstream.count()), (200, before + 1));
    assert!(sealed(&redis).iter().all(|name| length(&redis, name) < 50_000));
}

#[test]
fn whoever_writes_the_session_as_it_was_takes_nothing_back_that_was_proven() {
    let (redis, upstream, gateway) = start_on_redis();
    let mut browser = signed_in(&gateway, "alice");
    let old = browser.clone();
    let session = sealed(&redis);
    for name in &session {
        redis.say(&["COPY", name, &format!("{name}-before")]);
    }
    let asked = send(&mut browser, "POST", PAY, &[FORM], b"amount=1");
    let page = prove(&mut browser, &asked);
    // Another gateway notes that the session is used: it had read it just before the step-up.
    for name in &session {
        redis.say(&["COPY", &format!("{name}-before"), name, "REPLACE"]);
    }
    assert_eq!(confirm(&mut browser, &page).status, 200);
    // Until nothing is remembered in the gateway.
    std::thread::sleep(Duration::from_millis(2_500));
    let again = send(&mut browser, "POST", PAY, &[FORM], b"amount=2");
    assert_eq!(again.status, 200, "nobody is asked twice: {again:?}");
    // And who knows the name before is out soon.
    eventually("the old name counts no more", Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(500));
        old.clone().fetch("GET", crate::session::RESULTS).status == 401
    });
    assert_eq!(upstream.requests().iter().filter(|it| it.line.starts_with("POST")).count(), 2);
}

#[test]
fn who_gives_proof_while_nothing_can_be_recorded_stays_signed_in() {
    let upstream = Recorder::start();
    let text = text(Idp::shared(), &upstream, "desk");
    let gateway = setup(&text).with_small_files().start();
    gateway.wait_until_proofs_count();
    let mut browser = signed_in(&gateway, "alice");
    let asked = send(&mut browser, "POST", PROFILE, &[FORM], b"street=1");
    std::thread::sleep(Duration::from_millis(1_050));
    let callback = browser.go_until_callback(&portal(&link(&asked, "/_wardgate/step-up?")));
    let (before, was) = (upstream.count(), browser.session().expect("signed in").to_owned());
    gateway.limit_files(Some(0));
    let page = browser.step(&callback);
    assert_eq!(page.status, 503, "{page:?}");
    // The name before counts for a moment only.
    assert_ne!(browser.session().expect("still signed in"), was);
    // What can't be recorded is not sent.
    let answer = send(&mut browser, "POST", PROFILE, &[FORM], b"street=1");
    assert_eq!((answer.status, upstream.count()), (503, before), "{answer:?}");
    gateway.limit_files(None);
    eventually("she is signed in, and it is recorded again", Duration::from_secs(40), || {
        std::thread::sleep(Duration::from_millis(500));
        browser.fetch("GET", crate::session::RESULTS).status == 200
    });
    let posts = || upstream.requests().iter().filter(|it| it.line.starts_with("POST")).count();
    assert_eq!(posts(), 0);
}
