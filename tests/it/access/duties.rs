//! Separation of duties: who did one action on something may not do the other, at two gateways on one Redis.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use serde_json::json;

use super::{ask, bearer, setup};
use crate::support::redis::Redis;
use crate::support::{Gateway, Recorder, Setup, Signer, eventually};

const ROUTES: &str = r#"
  - { id: order.create, match: { path: "/orders/{order}", methods: [PUT] }, upstream: app, tier: low, any_of: [{ roles: [prescriber] }] }
  - { id: order.approve, match: { path: "/orders/{order}/approve", methods: [POST] }, upstream: app, tier: low,
      any_of: [{ roles: [prescriber] }], separation_of_duties: { not_same_actor_as: order.create, on: path.order, within: 1h } }
  - { id: claim.file, match: { path: "/patients/{patient}/claims", methods: [POST] }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ roles: [prescriber] }],
      separation_of_duties: { not_same_actor_as: claim.pay, on: patient, within: 1s } }
  - { id: claim.pay, match: { path: "/patients/{patient}/claims/pay", methods: [POST] }, upstream: app, tier: high,
      patient: { from: path.patient }, any_of: [{ roles: [prescriber] }] }"#;

fn shared(redis: &Redis) -> String {
    format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        redis.address
    )
}

fn start(upstream: &Recorder, signer: &Signer, state: &str) -> (Setup, Gateway) {
    let mut setup = setup(upstream, signer, "", ROUTES);
    setup.change(|text| text.replace("state: { single_replica: true }", state));
    std::fs::write(
        setup.dir().join("k1"),
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    )
    .expect("written");
    let gateway = setup.start();
    (setup, gateway)
}

fn ok() -> (u16, String) {
    (200, "permitted".into())
}

fn same() -> (u16, String) {
    (403, "same_actor".into())
}

#[test]
fn one_person_does_one_half_at_any_gateway() {
    let (redis, upstream, signer) = (Redis::start(&[]), Recorder::start(), Signer::new());
    let (_one, first) = start(&upstream, &signer, &shared(&redis));
    let (_two, second) = start(&upstream, &signer, &shared(&redis));
    let (anna, ben) =
        (bearer(&signer, "anna", &["prescriber"], "aal1"), bearer(&signer, "ben", &["prescriber"], "aal1"));
    assert_eq!(ask(&first, &anna, "PUT", "/orders/o-1"), ok());
    let count = upstream.count();
    assert_eq!(ask(&second, &anna, "POST", "/orders/o-1/approve"), same());
    assert_eq!(ask(&first, &anna, "POST", "/orders/O-1/approve"), same(), "in whatever case");
    assert_eq!(upstream.count(), count, "it did not go out");
    assert_eq!(ask(&second, &ben, "POST", "/orders/o-1/approve"), ok(), "somebody else may");
    assert_eq!(ask(&first, &ben, "PUT", "/orders/o-1"), same(), "and not the first half then");
    assert_eq!(ask(&second, &anna, "PUT", "/orders/o-1"), ok(), "the same half again");
    assert_eq!(ask(&second, &anna, "POST", "/orders/o-2/approve"), ok(), "of another order");
    let record =
        first.audit().into_iter().rfind(|record| record["reason"] == "same_actor").expect("a record");
    assert_eq!(record["input"]["duties"], json!("other"), "{record}");
    // Who acts for somebody else acts for themselves.
    let mut claims = Signer::claims("p1", "aal1", 5);
    (claims["sub"], claims["groups"], claims["act"]) =
        ("dora".into(), json!(["prescriber"]), json!({ "sub": "anna" }));
    let acting = format!("Bearer {}", signer.sign(&claims));
    assert_eq!(ask(&first, &acting, "POST", "/orders/o-1/approve").0, 403);
    // Nobody's name lies in the store, and no order's.
    let names = redis.say(&["KEYS", "*"]);
    assert!(names.contains("held") && !names.contains("anna") && !names.contains("o-1"), "{names}");
    // A gateway that is gone has forgotten nothing.
    drop(first);
    assert_eq!(ask(&second, &anna, "POST", "/orders/o-1/approve"), same());
    // And nobody is let through while nobody can tell.
    redis.freeze();
    assert_eq!(ask(&second, &ben, "POST", "/orders/o-9/approve").0, 503);
    redis.thaw();
    eventually("it is back", Duration::from_secs(20), || {
        ask(&second, &ben, "POST", "/orders/o-9/approve") == ok()
    });
    assert!(second.metric("wardgate_duties_total{result=\"claimed\"}") >= 2.0);
}

#[test]
fn of_two_halves_at_once_one_goes_out() {
    let (redis, upstream, signer) = (Redis::start(&[]), Recorder::start(), Signer::new());
    let (_one, first) = start(&upstream, &signer, &shared(&redis));
    let (_two, second) = start(&upstream, &signer, &shared(&redis));
    let anna = bearer(&signer, "anna", &["prescriber"], "aal1");
    let mut both_refused = 0;
    for number in 0..40 {
        let barrier = Arc::new(Barrier::new(2));
        let halves = std::thread::scope(|scope| {
            let half = |gateway: &'static str, method: &'static str, target: String| {
                let (barrier, anna) = (Arc::clone(&barrier), &anna);
                let gateway = if gateway == "first" { &first } else { &second };
                scope.spawn(move || {
                    barrier.wait();
                    ask(gateway, anna, method, &target).0
                })
            };
            let one = half("first", "PUT", format!("/orders/race-{number}"));
            let other = half("second", "POST", format!("/orders/race-{number}/approve"));
            [one.join().expect("an answer"), other.join().expect("an answer")]
        });
        let won = halves.iter().filter(|status| **status == 200).count();
        assert!(won <= 1, "{halves:?}");
        both_refused += usize::from(won == 0);
    }
    assert_eq!(both_refused, 0);
    assert_eq!(upstream.count(), 40);
}

#[test]
fn it_is_forgotten_in_time_and_asks_nobody_for_proof_in_vain() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let gateway = setup(&upstream, &signer, "", ROUTES).start();
    let mut claims = Signer::claims("p1", "aal2", 5000);
    (claims["sub"], claims["groups"]) = ("anna".into(), json!(["prescriber"]));
    let old = format!("Bearer {}", signer.sign(&claims));
    let pay = || ask(&gateway, &old, "POST", "/patients/p7/claims/pay");
    assert_eq!(pay(), (401, "authentication_too_old".into()), "she would be asked");
    let fresh = bearer(&signer, "anna", &["prescriber"], "aal2");
    eventually("she files it, and may not pay it", Duration::from_secs(30), || {
        ask(&gateway, &fresh, "POST", "/patients/p7/claims") == ok() && pay() == same()
    });
    // A second later it is forgotten.
    eventually("it is over", Duration::from_secs(30), || {
        ask(&gateway, &fresh, "POST", "/patients/p7/claims/pay") == ok()
    });
}
