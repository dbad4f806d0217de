//! Whoever confirms, however often, at whichever gateway, and whatever is killed meanwhile: what was kept is sent at most
//! once, and nobody is told otherwise.

use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::session::signed_in;
use crate::support::redis::Redis;
use crate::support::{Setup, http};

const RACERS: usize = 16;
/// Who have requests; of more than sixty in five minutes one person is told that they can't be kept.
const PEOPLE: usize = 4;
/// People whose requests race beside each other.
const AT_A_TIME: usize = 4;
/// Longer than in operation: these tests share their machine with others.
const STORE_TIMEOUT: &str = "5s";
const KILLS: u64 = 15;

pub fn posts(upstream: &Recorder, body: &str) -> usize {
    upstream.requests().iter().filter(|it| it.line.starts_with("POST ") && it.body == body.as_bytes()).count()
}

pub fn setup(text: &str) -> Setup {
    Setup::new(text, |dir| {
        std::fs::write(dir.join("secret"), "desk-secret\n").expect("written");
        std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("written");
    })
}

/// A browser with a request that waits for its confirmation.
pub fn waiting(browser: &mut Browser, body: &str) -> Answer {
    let asked = send(browser, "POST", PROFILE, &[FORM], body.as_bytes());
    let page = prove(browser, &asked);
    assert!(page.body.contains("<form"), "{page:?}");
    page
}

/// The same configuration, with what gateways share on a Redis.
pub fn on_redis(text: &str, redis: &Redis, timeout: &str) -> String {
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: {timeout} }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        redis.address
    );
    text.replace("state: { single_replica: true }", &state)
}

/// Many confirm one request at the same moment, at two gateways; what they are told.
fn race(gateways: &[Gateway], session: &str, to: &str) -> Vec<u16> {
    let gate = Barrier::new(RACERS);
    let confirm = |racer: usize| {
        let cookie = format!("__Host-wardgate-session={session}");
        let mut headers = vec![("Host", "portal.example"), ("Cookie", &cookie), FORM];
        headers.extend(NAVIGATION);
        headers.extend(OWN);
        gate.wait();
        http::send(gateways[racer % 2].address, "POST", to, &headers, b"").expect("an answer").status
    };
    let confirm = &confirm;
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..RACERS).map(|racer| scope.spawn(move || confirm(racer))).collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    });
    statuses.sort_unstable();
    statuses
}

/// So many people have so many requests each that wait, one after the other; several people at a time.
fn of_all_who_confirm_one_is_the_one(people: usize, each: usize) {
    let (idp, server, upstream) = (Idp::start(), Redis::start(&[]), Recorder::start());
    let text = on_redis(&text(&idp, &upstream, "desk"), &server, STORE_TIMEOUT);
    let gateways = [setup(&text).start(), setup(&text).start()];
    gateways.iter().for_each(Gateway::wait_until_proofs_count);
    for person in 0..people {
        let claims = serde_json::json!({ "patient_id": format!("r{person}"), "groups": [] });
        idp.set_claims(&format!("racer-{person}"), &claims);
    }
    let (began, next) = (Instant::now(), AtomicUsize::new(0));
    let work = || {
        loop {
            let person = next.fetch_add(1, Ordering::SeqCst);
            if person >= people {
                return;
            }
            let mut browser = signed_in(&gateways[person % 2], &format!("racer-{person}"));
            for number in 0..each {
                let (profile, body) =
                    (format!("/patients/r{person}/profile"), format!("street={person}-{number}"));
                let asked = send(&mut browser, "POST", &profile, &[FORM], body.as_bytes());
                let page = prove(&mut browser, &asked);
                let statuses = race(&gateways, browser.session().expect("signed in"), &action(&page));
                let told = (statuses[0], statuses[1], statuses[RACERS - 1]);
                assert_eq!(told, (200, 409, 409), "{body}: {statuses:?}");
            }
        }
    };
    std::thread::scope(|scope| (0..AT_A_TIME).for_each(|_| drop(scope.spawn(work))));
    let mut seen = HashMap::<Vec<u8>, usize>::new();
    for request in upstream.requests().into_iter().filter(|it| it.line.starts_with("POST ")) {
        *seen.entry(request.body).or_default() += 1;
    }
    assert_eq!(seen.len(), people * each, "each was sent");
    assert!(seen.values().all(|count| *count == 1), "once: {seen:?}");
    println!("{} requests, {RACERS} racers, 2 gateways: {:?}", people * each, began.elapsed());
}

#[test]
fn one_of_all_who_confirm_is_the_one() {
    of_all_who_confirm_one_is_the_one(PEOPLE, 3);
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn soak_one_of_all_who_confirm_is_the_one() {
    of_all_who_confirm_one_is_the_one(25, 40);
}

#[test]
fn a_kill_at_any_moment_sends_nothing_twice_and_the_person_is_told_the_truth() {
    let (idp, upstream) = (Idp::shared(), Recorder::start());
    let state = "state: { data_dir: state, single_replica: true }";
    let text = text(idp, &upstream, "desk").replace("state: { single_replica: true }", state);
    let setup = setup(&text);
    let mut gateway = setup.start();
    gateway.wait_until_proofs_count();
    let mut browser = signed_in(&gateway, "alice");
    let (mut told_sent, mut still_waiting) = (0, 0);
    for number in 0..KILLS {
        let body = format!("street=kill-{number}");
        let page = waiting(&mut browser, &body);
        let (to, cookie) =
            (action(&page), format!("__Host-wardgate-session={}", browser.session().expect("one")));
        let address = gateway.address;
        let confirmation = std::thread::spawn({
            let to = to.clone();
            move || {
                let mut headers = vec![("Host", "portal.example"), ("Cookie", cookie.as_str()), FORM];
                headers.extend(NAVIGATION);
                headers.extend(OWN);
                http::send(address, "POST", &to, &headers, b"").map(|answer| answer.status).ok()
            }
        });
        std::thread::sleep(Duration::from_micros(number * 1_500));
        gateway.kill();
        let answered = confirmation.join().expect("no panic");
        gateway = setup.start();
        browser.moved_to(gateway.address);
        let name = to.rsplit_once("wardgate-").expect("a name").1;
        let shown = browser.step(&portal(&format!("/_wardgate/confirm?{name}")));
        let sent = posts(&upstream, &body);
        match shown.status {
            200 => {
                assert_eq!((sent, answered), (0, None), "it waits: {shown:?}");
                still_waiting += 1;
                // Proofs from before the start pay for nothing single-use; whatever is said, it goes out once at most.
                confirm(&mut browser, &shown);
            }
            409 => told_sent += 1,
            410 => assert_eq!(sent, 0, "nothing was sent: {shown:?}"),
            other => panic!("{other}: {shown:?}"),
        }
        assert!(posts(&upstream, &body) <= 1);
        if answered == Some(200) {
            assert_eq!((shown.status, sent), (409, 1));
        }
        gateway.wait_until_proofs_count();
    }
    println!("{KILLS} kills: {told_sent} told sent, {still_waiting} still waiting");
}
