//! Signals, end to end: what they do, and that nobody outside sees one that is only observed.

use serde_json::{Value, json};

use super::{bearer, setup};
use crate::support::{Gateway, Recorder, Signer, http};

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
