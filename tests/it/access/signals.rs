//! Signals, end to end: what they do, and that nobody outside sees one that is only observed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ask as ask_for, bearer, setup};
use crate::support::redis::Redis;
use crate::support::{Gateway, Recorder, Setup, Signer, eventually, http};

const ROUTES: &str = r#"
  - { id: chart.read, match: { path: "/chart", methods: [GET] }, upstream: app, tier: low, any_of: [{ roles: [nurse] }] }"#;

fn world(signals: &str) -> (Gateway, Recorder, String) {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let gateway = setup(&upstream, &signer, &format!("signals:\n{signals}"), ROUTES).start();
    (gateway, upstream, bearer(&signer, "u1", &["nurse"], "aal1"))
}

/// The answer, and what is on record of the decision.
fn ask(gateway: &Gateway, token: &str) -> (http::Answer, Value) {
    let headers = [("Authorization", token), ("Host", "portal.example")];
    let answer = http::send(gateway.address, "GET", "/chart", &headers, b"").expect("an answer");
    let id = answer.decision().to_owned();
    let records = gateway.audit();
    let record =
        records.iter().find(|record| record["decision"] == id.as_str() && record["event"] != "outcome");
    (answer, record.expect("a record").clone())
}

#[test]
fn a_network_raises_the_tier_and_an_observed_one_nothing() {
    let here = "networks: [127.0.0.0/8, \"::1\"]";
    let (gateway, upstream, token) =
        world(&format!("  - {{ name: here, {here}, effect: {{ raise_to: high }}, mode: enforce }}\n"));
    let (answer, record) = ask(&gateway, &token);
    assert_eq!((answer.status, upstream.count()), (401, 0), "{answer:?}");
    assert_eq!(
        (&record["tier"], &record["input"]["signals"]),
        (&json!("high"), &json!([["here", "enforced"]]))
    );
    assert!(gateway.metric("wardgate_signals_total{result=\"fired\",signal=\"here\"}") >= 1.0);

    let (gateway, upstream, token) =
        world(&format!("  - {{ name: here, {here}, effect: {{ deny: true }}, mode: observe }}\n"));
    let (answer, record) = ask(&gateway, &token);
    assert_eq!((answer.status, upstream.count()), (200, 1), "{answer:?}");
    assert_eq!(
        (&record["tier"], &record["input"]["signals"]),
        (&json!("low"), &json!([["here", "observed"]]))
    );
    assert!(!format!("{answer:?}{:?}", upstream.requests()[0].line).contains("here"), "{answer:?}");

    let (gateway, upstream, token) =
        world(&format!("  - {{ name: here, {here}, effect: {{ deny: true }}, mode: enforce }}\n"));
    let (answer, record) = ask(&gateway, &token);
    assert_eq!((answer.status, upstream.count(), &record["reason"]), (403, 0, &json!("signal_denied")));

    let elsewhere = "networks: [203.0.113.0/24]";
    let (gateway, _, token) =
        world(&format!("  - {{ name: there, {elsewhere}, effect: {{ deny: true }}, mode: enforce }}\n"));
    let (answer, record) = ask(&gateway, &token);
    assert_eq!((answer.status, record["input"].get("signals")), (200, None));
}

const COUNTED: &str = r#"
  - { id: chart.read, match: { path: "/charts/{patient}", methods: [GET] }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ roles: [nurse] }, { patient: self }] }
  - { id: ward.read, match: { path: "/ward", methods: [GET] }, upstream: app, tier: low, any_of: [{ roles: [nurse] }] }"#;

/// A gateway on this Redis.
fn sharing(redis: &Redis, upstream: &Recorder, signer: &Signer, signals: &str) -> (Setup, Gateway) {
    let mut setup = setup(upstream, signer, &format!("signals:\n{signals}"), COUNTED);
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        redis.address
    );
    setup.change(|text| text.replace("state: { single_replica: true }", &state));
    std::fs::write(setup.dir().join("k1"), "0123456789abcdef".repeat(4)).expect("written");
    let gateway = setup.start();
    (setup, gateway)
}

#[test]
fn different_patients_are_counted_at_all_gateways_together() {
    let (redis, upstream, signer) = (Redis::start(&[]), Recorder::start(), Signer::new());
    let signal = "  - { name: mass_lookup, distinct_patients: { more_than: 10, in: 1h }, effect: { raise_to: high }, mode: enforce }\n";
    let (_one, first) = sharing(&redis, &upstream, &signer, signal);
    let (_two, second) = sharing(&redis, &upstream, &signer, signal);
    let nurse = |name: &str| bearer(&signer, name, &["nurse"], "aal1");
    let look = |gateway: &Gateway, who: &str, patient: usize| {
        ask_for(gateway, &nurse(who), "GET", &format!("/charts/q{patient}"))
    };
    let (ok, raised) = ((200, "permitted".to_owned()), (401, "level_too_low".to_owned()));
    for patient in 0..10 {
        let gateway = if patient % 2 == 0 { &first } else { &second };
        assert_eq!(look(gateway, "mia", patient), ok, "{patient}");
        assert_eq!(look(&first, "mia", patient), ok, "the same patient again is none more");
    }
    assert_eq!(ask_for(&second, &nurse("mia"), "GET", "/ward"), ok, "about nobody in particular");
    assert_eq!(look(&second, "mia", 10), raised, "the eleventh");
    assert_eq!(look(&first, "mia", 3), raised, "at the other gateway as well, and about anybody");
    assert_eq!(look(&first, "ben", 10), ok, "somebody else");
    // Of one's own record one may see as much as one likes.
    assert_eq!(ask_for(&first, &nurse("zoe"), "GET", "/charts/p1"), ok);
    let keys = redis.say(&["KEYS", "*distinct*"]);
    assert!(!keys.is_empty() && !keys.contains("mia"), "{keys}");
    let busiest = keys.lines().map(|key| key.trim().trim_start_matches(|letter: char| letter != 'w'));
    let of_each: Vec<(i64, i64)> = busiest
        .map(|key| {
            let bytes =
                redis.say(&["MEMORY", "USAGE", key]).trim_start_matches("(integer) ").parse().expect("bytes");
            (redis.say(&["ZCARD", key]).trim_start_matches("(integer) ").parse().expect("a count"), bytes)
        })
        .collect();
    println!("different patients and bytes of each active subject in Redis: {of_each:?}");
    assert!(of_each.iter().all(|(count, bytes)| *count <= 11 && *bytes < 2_000), "{of_each:?}");
    // A gateway that is gone has forgotten nothing.
    drop(first);
    assert_eq!(look(&second, "mia", 4), raised);
    // What can't be counted counts as fired.
    redis.freeze();
    let (status, reason) = look(&second, "ben", 1);
    assert!(
        matches!((status, reason.as_str()), (503, "store_unavailable") | (401, "level_too_low")),
        "{status} {reason}"
    );
    redis.thaw();
    eventually("it is back", Duration::from_secs(20), || look(&second, "ben", 1) == ok);
}

#[test]
fn requests_are_counted_and_what_is_only_observed_asks_no_store() {
    let (redis, upstream, signer) = (Redis::start(&[]), Recorder::start(), Signer::new());
    let signal =
        "  - { name: busy, requests: { more_than: 5, in: 1h }, effect: { deny: true }, mode: enforce }\n";
    let (_one, gateway) = sharing(&redis, &upstream, &signer, signal);
    let nurse = bearer(&signer, "mia", &["nurse"], "aal1");
    for _ in 0..5 {
        assert_eq!(ask_for(&gateway, &nurse, "GET", "/ward").0, 200);
    }
    assert_eq!(ask_for(&gateway, &nurse, "GET", "/ward"), (403, "signal_denied".into()));
    drop(gateway);
    let observed = signal.replace("enforce", "observe");
    let (_two, gateway) = sharing(&redis, &upstream, &signer, &observed);
    let before = redis.say(&["DBSIZE"]);
    for _ in 0..8 {
        assert_eq!(ask_for(&gateway, &nurse, "GET", "/ward"), (200, "permitted".into()));
    }
    assert_eq!(redis.say(&["DBSIZE"]), before, "nothing was counted there");
    let fired = gateway
        .audit()
        .iter()
        .filter(|record| record["input"]["signals"] == json!([["busy", "observed"]]))
        .count();
    assert_eq!(fired, 3, "the sixth, seventh and eighth are on record");
}
