//! Whoever confirms, however often, at whichever gateway, and whatever is killed meanwhile: what was kept is sent at most
//! once, and nobody is told otherwise.

use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use super::*;
use crate::session::signed_in;
use crate::support::redis::Redis;
use crate::support::{Setup, http};

const RACERS: usize = 16;
/// How many are kept; of more than sixty in five minutes a person is told that they can't be.
const INTENTS: usize = 12;
const KILLS: u64 = 15;

fn posts(upstream: &Recorder, body: &str) -> usize {
    upstream.requests().iter().filter(|it| it.line.starts_with("POST ") && it.body == body.as_bytes()).count()
}

fn setup(text: &str) -> Setup {
    Setup::new(text, |dir| {
        std::fs::write(dir.join("secret"), "desk-secret\n").expect("written");
        std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("written");
    })
}

/// A browser with a request that waits for its confirmation.
fn waiting(browser: &mut Browser, body: &str) -> Answer {
    let asked = send(browser, "POST", PROFILE, &[FORM], body.as_bytes());
    let page = prove(browser, &asked);
    assert!(page.body.contains("<form"), "{page:?}");
    page
}

#[test]
fn of_all_who_confirm_one_is_the_one() {
    let (idp, server, upstream) = (Idp::shared(), Redis::start(&[]), Recorder::start());
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        server.address
    );
    let text = text(idp, &upstream, "desk").replace("state: { single_replica: true }", &state);
    let gateways = [setup(&text).start(), setup(&text).start()];
    gateways.iter().for_each(Gateway::wait_until_proofs_count);
    let mut browser = signed_in(&gateways[0], "alice");
    let began = Instant::now();
    for number in 0..INTENTS {
        if number % 40 == 39 {
            browser = signed_in(&gateways[number % 2], "alice");
        }
        let body = format!("street={number}");
        let page = waiting(&mut browser, &body);
        let (line, to) = (browser.session().expect("signed in").to_owned(), action(&page));
        let gate = Arc::new(Barrier::new(RACERS));
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let (gate, to, address) = (Arc::clone(&gate), to.clone(), gateways[racer % 2].address);
                let cookie = format!("__Host-wardgate-session={line}");
                std::thread::spawn(move || {
                    let mut headers = vec![("Host", "portal.example"), ("Cookie", &cookie), FORM];
                    headers.extend(NAVIGATION);
                    headers.extend(OWN);
                    gate.wait();
                    http::send(address, "POST", &to, &headers, b"").expect("an answer").status
                })
            })
            .collect();
        let mut statuses: Vec<u16> =
            racers.into_iter().map(|racer| racer.join().expect("no panic")).collect();
        statuses.sort_unstable();
        assert_eq!(posts(&upstream, &body), 1, "{statuses:?}");
        assert_eq!((statuses[0], statuses[1], statuses[RACERS - 1]), (200, 409, 409), "{statuses:?}");
    }
    println!("{INTENTS} requests, {RACERS} racers, 2 gateways: {:?}", began.elapsed());
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
