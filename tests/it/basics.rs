//! The main job, end to end: a permit, a challenge, a refusal, and what each leaves in the journal.

use serde_json::Value;

use crate::support::{Gateway, Recorder, Signer, http, tokens};

const ROUTES: &str = r#"
  - { id: home, match: { path: "/", methods: [GET] }, upstream: app, access: public }
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: payment.pay, label: Pay a bill, match: { path: "/patients/{patient}/payments", methods: [POST] }, upstream: app,
      tier: high, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: profile.update, match: { path: "/patients/{patient}/profile", methods: [PUT] }, upstream: app, tier: critical,
      patient: { from: path.patient }, any_of: [{ patient: self }],
      lower_risk_if_only: { fields: [language], tier: moderate, id: profile.preferences } }
"#;

fn start() -> (Gateway, Recorder, Signer) {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let gateway = Gateway::start(&tokens::config(upstream.address, ROUTES), |dir| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
    });
    gateway.wait_until_proofs_count();
    (gateway, upstream, signer)
}

fn record<'r>(records: &'r [Value], decision: &str, event: &str) -> &'r Value {
    records
        .iter()
        .find(|record| record["decision"] == decision && record["event"] == event)
        .unwrap_or_else(|| panic!("no {event} of {decision}"))
}

#[test]
fn reading_is_smooth_and_paying_asks_for_proof() {
    let (gateway, upstream, signer) = start();
    let (weak, strong) = (signer.bearer("p1", "aal1", 30), signer.bearer("p1", "aal2", 30));

    let read = http::send(
        gateway.address,
        "GET",
        "/patients/p1/results/2024?x=%41",
        &[("Authorization", &weak)],
        b"",
    )
    .expect("answer");
    assert_eq!((read.status, read.body.as_str()), (200, "{\"served\":true}"), "{read:?}");
    let other =
        http::send(gateway.address, "GET", "/patients/p2/results/2024", &[("Authorization", &weak)], b"")
            .expect("answer");
    assert_eq!((other.status, other.json()["type"].as_str()), (403, Some("urn:wardgate:problem:forbidden")));
    let challenged = http::send(
        gateway.address,
        "POST",
        "/patients/p1/payments",
        &[("Authorization", &weak)],
        b"amount=5",
    )
    .expect("answer");
    assert_eq!(
        (challenged.status, challenged.header("www-authenticate")),
        (
            401,
            Some(
                r#"Bearer error="insufficient_user_authentication", error_description="A stronger or more recent authentication is needed", acr_values="urn:clinic:loa:2", max_age="600""#
            )
        )
    );
    assert_eq!(challenged.json()["action"], "Pay a bill");
    let printed = challenged.header("www-authenticate").expect("a challenge");
    assert!(
        include_str!("../../docs/step-up.md").contains(printed),
        "docs/step-up.md shows another challenge"
    );
    let paid = http::send(
        gateway.address,
        "POST",
        "/patients/p1/payments",
        &[("Authorization", &strong), ("Content-Type", "application/json")],
        b"{\"amount\":5}",
    )
    .expect("answer");
    assert_eq!(paid.status, 200);
    let nobody = http::get(gateway.address, "/patients/p1/results/1").expect("answer");
    assert_eq!((nobody.status, nobody.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(http::get(gateway.address, "/nowhere").expect("answer").status, 404);
    let wrong_method =
        http::send(gateway.address, "DELETE", "/patients/p1/payments", &[("Authorization", &strong)], b"")
            .expect("answer");
    assert_eq!((wrong_method.status, wrong_method.header("allow")), (405, Some("POST")));
    assert_eq!(http::get(gateway.address, "/").expect("answer").status, 200);

    let records = gateway.audit();
    let intent = record(&records, read.decision(), "intent");
    assert_eq!((intent["tier"].as_str(), intent["action"].as_str()), (Some("low"), Some("results.read")));
    assert_eq!(record(&records, read.decision(), "outcome")["result"], "completed");
    assert_eq!(record(&records, other.decision(), "decision")["reason"], "no_relation");
    assert_eq!(record(&records, challenged.decision(), "decision")["verdict"], "challenge");
    let sequence: Vec<u64> = records.iter().map(|record| record["seq"].as_u64().expect("a number")).collect();
    assert!(sequence.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequence:?}");
    let text = std::fs::read_to_string(gateway.audit_file()).expect("the journal");
    for secret in
        ["user-p1", "\"p1\"", "/patients/p1", "2024", "127.0.0.1", weak.trim_start_matches("Bearer ")]
    {
        assert!(!text.contains(secret), "the journal holds {secret}");
    }
    assert_eq!(upstream.count(), gateway.admitted_intents());
    let first = &upstream.requests()[0];
    assert_eq!(first.line, "GET /patients/p1/results/2024?x=%41 HTTP/1.1");
    assert_eq!(first.values("x-remote-user"), ["patients:user-p1"]);
    assert!(first.values("authorization").is_empty());
}

#[test]
fn a_harmless_change_is_lighter_and_a_critical_one_spends_its_proof() {
    let (gateway, upstream, signer) = start();
    let (weak, strong) = (signer.bearer("p1", "aal1", 30), signer.bearer("p1", "aal2", 0));
    let put = |token: &str, body: &str| {
        http::send(
            gateway.address,
            "PUT",
            "/patients/p1/profile",
            &[("Authorization", token), ("Content-Type", "application/json")],
            body.as_bytes(),
        )
        .expect("answer")
    };
    assert_eq!(put(&weak, r#"{"language":"es"}"#).status, 200);
    assert_eq!(put(&weak, r#"{"language":"es","address":"x"}"#).status, 401);
    assert_eq!(put(&weak, r#"{"language":"es","language":"en"}"#).status, 401);
    assert_eq!(put(&weak, "{}").status, 401);
    assert_eq!(put(&strong, r#"{"address":"x"}"#).status, 200);
    let again = put(&strong, r#"{"address":"y"}"#);
    assert_eq!((again.status, again.json()["reason"].as_str()), (401, Some("proof_already_spent")));
    assert!(again.header("www-authenticate").expect("a challenge").contains(r#"max_age="0""#));
    assert_eq!(upstream.count(), 2);
    assert_eq!(upstream.requests()[0].body, br#"{"language":"es"}"#);
    assert_eq!(gateway.admitted_intents(), 2);
}

#[test]
fn sixteen_racers_on_one_proof_yield_one_request() {
    let (gateway, upstream, signer) = start();
    let strong = signer.bearer("p1", "aal2", 0);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let headers = [("Authorization", strong.as_str()), ("Content-Type", "application/json")];
                    http::send(
                        gateway.address,
                        "PUT",
                        "/patients/p1/profile",
                        &headers,
                        br#"{"address":"x"}"#,
                    )
                    .expect("answer")
                    .status
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("racer")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(upstream.count(), 1);
    assert_eq!(gateway.admitted_intents(), 1);
}
