//! The store is killed between any two steps, and comes back with what it had, or with nothing: no request goes out twice,
//! and what the person is told is so.

use std::time::Duration;

use super::once::{on_redis, posts, setup};
use super::*;
use crate::session::signed_in;
use crate::support::eventually;
use crate::support::redis::Redis;

/// Kills while the confirmation is under way, each a little later.
const DURING: u64 = 6;
const LONG: Duration = Duration::from_secs(30);

/// A gateway, its store, and the application.
struct World {
    gateway: Gateway,
    redis: Redis,
    upstream: Recorder,
    /// Whether the store comes back with what it had.
    durable: bool,
}

impl World {
    fn start(options: &[&str]) -> Self {
        let (redis, upstream) = (Redis::start(options), Recorder::start());
        let gateway = setup(&on_redis(&text(Idp::shared(), &upstream, "desk"), &redis, "1s")).start();
        gateway.wait_until_proofs_count();
        Self { gateway, redis, upstream, durable: !options.is_empty() }
    }

    fn posts(&self, body: &str) -> usize {
        posts(&self.upstream, body)
    }

    /// The store is back, and the gateway has noticed.
    fn back(&mut self) {
        self.redis.restart();
        let mut anybody = Browser::new(self.gateway.address, "nobody");
        let cookie = ("__Host-wardgate-session".to_owned(), "A".repeat(43));
        anybody.cookies.push(("portal.example".to_owned(), cookie.0, cookie.1));
        eventually("the gateway has its store again", LONG, || {
            anybody.step(&portal("/_wardgate/step-up?intent=none")).status != 503
        });
    }

    /// What the page at an address says while the store is away, and what it says after that.
    fn outage(&mut self, browser: &mut Browser, url: &str) -> Answer {
        self.redis.kill();
        for _ in 0..2 {
            let away = browser.clone().step(url);
            assert_eq!(away.status, 503, "{url}: {away:?}");
            // Also when nothing is remembered of the session any more.
            std::thread::sleep(Duration::from_millis(2_100));
        }
        self.back();
        browser.step(url)
    }

    /// The page says that there is nothing any more.
    #[track_caller]
    fn gone(&self, page: &Answer) {
        assert_eq!(page.status, 410, "{page:?}");
        assert!(page.body.contains("no longer here"), "{}", page.body);
    }

    /// The person is told: at once where the store knows nothing of them, else when what is left of it is to be sent.
    fn told(&self, browser: &mut Browser, page: &Answer, step_up: &str) {
        if self.durable {
            std::thread::sleep(Duration::from_millis(1_100));
            let page = browser.go(step_up).answer;
            self.gone(&confirm(browser, &page));
        } else {
            self.gone(page);
        }
    }

    /// What was given before the store began pays for nothing; who was signed in at one that forgets signs in again.
    fn begin_again(&self, browser: &mut Browser) {
        std::thread::sleep(Duration::from_millis(1_100));
        if !self.durable {
            *browser = signed_in(&self.gateway, "alice");
        }
    }

    /// The person begins anew, and this time it is done.
    fn anew(&self, browser: &mut Browser, body: &str) {
        self.begin_again(browser);
        let page = once::waiting(browser, body);
        assert_eq!(confirm(browser, &page).status, 200);
    }
}

fn killed_between_any_two_steps(options: &[&str]) {
    let mut world = World::start(options);
    let mut browser = signed_in(&world.gateway, "alice");
    let asked = |browser: &mut Browser, body: &str| {
        let asked = send(browser, "POST", PROFILE, &[FORM], body.as_bytes());
        portal(&link(&asked, "/_wardgate/step-up?"))
    };

    // It waits for a proof. Sealed work from before is gone, and that is said when it is to be sent at the latest.
    let body = "street=challenged";
    let step_up = asked(&mut browser, body);
    let page = world.outage(&mut browser, &step_up);
    world.told(&mut browser, &page, &step_up);
    assert_eq!(world.posts(body), 0);
    world.anew(&mut browser, body);
    assert_eq!(world.posts(body), 1);

    // The person is at the issuer.
    let body = "street=at-the-issuer";
    let step_up = asked(&mut browser, body);
    std::thread::sleep(Duration::from_millis(1_050));
    let callback = browser.go_until_callback(&step_up);
    let page = world.outage(&mut browser, &callback);
    assert!(!page.body.contains("method=\"post\""), "{page:?}");
    let page = browser.step(&step_up);
    world.told(&mut browser, &page, &step_up);
    assert_eq!(world.posts(body), 0);
    world.anew(&mut browser, body);
    assert_eq!(world.posts(body), 1);

    // The proof is there, and what will be sent is shown.
    let body = "street=proven";
    let page = once::waiting(&mut browser, body);
    let name = action(&page).split_once("wardgate-intent=").expect("a name").1.to_owned();
    let after = world.outage(&mut browser, &portal(&format!("/_wardgate/confirm?intent={name}")));
    assert_eq!(after.status, if world.durable { 200 } else { 410 }, "{after:?}");
    world.gone(&confirm(&mut browser, &page));
    world.gone(&confirm(&mut browser, &page));
    assert_eq!(world.posts(body), 0);
    world.anew(&mut browser, body);

    // It is confirmed while the store is away.
    let body = "street=away";
    let page = once::waiting(&mut browser, body);
    world.redis.kill();
    let clicked = confirm(&mut browser, &page);
    assert_eq!((clicked.status, world.posts(body)), (503, 0), "{clicked:?}");
    world.back();
    world.gone(&confirm(&mut browser, &page));
    assert_eq!(world.posts(body), 0);
    world.anew(&mut browser, body);

    // It was sent before.
    let body = "street=sent";
    let page = once::waiting(&mut browser, body);
    assert_eq!(confirm(&mut browser, &page).status, 200);
    world.redis.kill();
    world.back();
    let clicked = confirm(&mut browser, &page);
    assert_eq!(clicked.status, if world.durable { 409 } else { 410 }, "{clicked:?}");
    let by_hand = send(&mut browser, "POST", PROFILE, &[FORM], body.as_bytes());
    assert_eq!((by_hand.status, world.posts(body)), (401, 1), "{by_hand:?}");
}

fn killed_while_it_is_confirmed(options: &[&str]) {
    let mut world = World::start(options);
    let mut browser = signed_in(&world.gateway, "alice");
    let mut told = Vec::new();
    for number in 0..DURING {
        let body = format!("street=during-{number}");
        let page = once::waiting(&mut browser, &body);
        let mut other = browser.clone();
        let clicked = std::thread::spawn({
            let page = page.clone();
            move || confirm(&mut other, &page)
        });
        std::thread::sleep(Duration::from_micros(number * 4_000));
        world.redis.kill();
        let clicked = clicked.join().expect("an answer");
        let sent = world.posts(&body);
        match clicked.status {
            200 => assert_eq!(sent, 1, "{clicked:?}"),
            // "Nothing has been changed."
            503 => assert_eq!(sent, 0, "{clicked:?}"),
            other => panic!("{other}: {clicked:?}"),
        }
        world.back();
        let again = confirm(&mut browser, &page);
        match again.status {
            // "It was confirmed before: look whether it was done."
            409 => assert!(world.durable, "{again:?}"),
            // "Try again in a minute. Nothing has been changed": the click before it got no further than having been made.
            503 => assert!(world.durable && sent == 0, "{again:?}"),
            // "If you had not confirmed it, nothing was sent."
            410 => assert!(!world.durable || sent == 0, "{again:?}"),
            other => panic!("{other}: {again:?}"),
        }
        assert_eq!(world.posts(&body), sent, "it went out after all");
        told.push((clicked.status, again.status));
        world.begin_again(&mut browser);
    }
    println!("killed while it was confirmed, told then and after: {told:?}");
}

const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

#[test]
fn a_store_that_remembers_is_killed_between_any_two_steps() {
    killed_between_any_two_steps(&DURABLE);
}

#[test]
fn a_store_that_forgets_is_killed_between_any_two_steps() {
    killed_between_any_two_steps(&[]);
}

#[test]
fn a_store_that_remembers_is_killed_while_it_is_confirmed() {
    killed_while_it_is_confirmed(&DURABLE);
}

#[test]
fn a_store_that_forgets_is_killed_while_it_is_confirmed() {
    killed_while_it_is_confirmed(&[]);
}
