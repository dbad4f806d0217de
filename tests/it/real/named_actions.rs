//! Tokens that name the action they pay for (RFC 9396), as a real OpenID Provider gives them: the challenge says what to
//! ask for, and of all who show such a token, at whichever gateway, one is the one.

use std::sync::{Arc, Barrier};

use serde_json::{Value, json};

use super::{READ, ROUTES, alice, config};
use crate::support::http::{self, Answer};
use crate::support::redis::Redis;
use crate::support::{Gateway, Idp, Recorder, Setup};

const RACERS: usize = 16;
const EXPORT: &str = "/patients/p1/export";
const BODY: &[u8] = br#"{"year":2024}"#;
const ES256: &str =
    "    audiences: [portal-es256]\n    algorithms: [ES256]\n    authorization_details: true\n";
const MORE_ROUTES: &str = r#"
  - { id: record.send, label: Send your record, match: { path: "/patients/{patient}/send", methods: [POST, PUT] }, upstream: app,
      tier: critical, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;

fn text(idp: &Idp, more: &str, upstream: &Recorder) -> String {
    config(&idp.issuer, more, upstream.address, &format!("{ROUTES}{MORE_ROUTES}"))
}

fn started(idp: &Idp, upstream: &Recorder) -> Gateway {
    let gateway = Gateway::start(&text(idp, ES256, upstream), |_| {});
    gateway.wait_until_proofs_count();
    gateway
}

fn send(gateway: &Gateway, (method, target): (&str, &str), token: &str, body: &[u8]) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Host", "portal.example"),
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    http::send(gateway.address, method, target, &headers, body).expect("an answer")
}

/// What the gateway tells a client to ask for.
fn told(gateway: &Gateway, weak: &str, asked: (&str, &str), body: &[u8]) -> Value {
    let challenge = send(gateway, asked, weak, body);
    assert_eq!(challenge.status, 401, "{challenge:?}");
    challenge.json()["authorization_details"].clone()
}

fn reason(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["reason"].as_str().unwrap_or_default().to_owned())
}

fn refused(word: &str) -> (u16, String) {
    (401, word.to_owned())
}

#[test]
fn of_all_who_show_it_at_two_gateways_one_is_the_one() {
    let (idp, server, upstream) = (Idp::shared(), Redis::start(&[]), Recorder::start());
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        server.address
    );
    let text = text(idp, ES256, &upstream).replace("state: { single_replica: true }", &state);
    let start = || {
        Setup::new(&text, |dir| {
            std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("written");
        })
        .start()
    };
    let gateways = [start(), start()];
    gateways.iter().for_each(Gateway::wait_until_proofs_count);
    let weak = alice(idp, "aal1", "portal-es256");
    let details = told(&gateways[0], &weak, ("POST", EXPORT), BODY);
    assert_eq!(details, told(&gateways[1], &weak, ("POST", EXPORT), BODY), "it is one action at both");
    let token = idp.agree("alice", "portal-es256", &details).access().to_owned();
    let gate = Arc::new(Barrier::new(RACERS));
    let racers: Vec<_> = (0..RACERS)
        .map(|racer| {
            let (gate, token, address) = (Arc::clone(&gate), token.clone(), gateways[racer % 2].address);
            std::thread::spawn(move || {
                let bearer = format!("Bearer {token}");
                gate.wait();
                let headers = [("Host", "portal.example"), ("Authorization", bearer.as_str())];
                http::send(address, "POST", EXPORT, &headers, BODY).expect("an answer")
            })
        })
        .collect();
    let answers: Vec<Answer> = racers.into_iter().map(|racer| racer.join().expect("no panic")).collect();
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    let spent = answers.iter().filter(|answer| reason(answer) == refused("proof_already_spent")).count();
    assert_eq!((passed, spent, upstream.count()), (1, RACERS - 1, 1), "{answers:?}");
    assert_eq!(upstream.requests()[0].body, BODY);
    let challenged = answers.iter().find(|answer| answer.status == 401).expect("one").json();
    assert_eq!((&challenged["max_age"], &challenged["authorization_details"]), (&json!(0), &details));
}

#[test]
fn what_is_swapped_is_refused_and_costs_nothing() {
    let (idp, upstream) = (Idp::shared(), Recorder::start());
    let gateway = started(idp, &upstream);
    let details = told(&gateway, &alice(idp, "aal1", "portal-es256"), ("POST", "/patients/p1/send"), BODY);
    let token = idp.agree("alice", "portal-es256", &details).access().to_owned();
    for (what, asked, body) in [
        ("route", ("POST", EXPORT), BODY),
        ("method", ("PUT", "/patients/p1/send"), BODY),
        ("target", ("POST", "/patients/p1/send?to=all"), BODY),
        ("body", ("POST", "/patients/p1/send"), br#"{"year":2025}"#.as_slice()),
        ("no body", ("POST", "/patients/p1/send"), b"".as_slice()),
    ] {
        assert_eq!(reason(&send(&gateway, asked, &token, body)), refused("action_not_named"), "{what}");
    }
    // Another subject, who was given the same details by the issuer: it is not their record, and their token's price is
    // their own.
    let bob = idp.agree("bob", "portal-es256", &details).access().to_owned();
    assert_eq!(send(&gateway, ("POST", "/patients/p1/send"), &bob, BODY).status, 403);
    // It reads no record, however the route.
    assert_eq!(send(&gateway, READ, &token, b"").status, 403);
    let recorded = gateway.audit().iter().any(|record| record["reason"] == "token_for_other_action");
    assert!(recorded, "an operator sees why");
    // Under other rules it is another action.
    let other_rules = text(idp, ES256, &upstream).replace("label: Send your record", "label: Send it");
    let other = Gateway::start(&other_rules, |_| {});
    other.wait_until_proofs_count();
    let there = send(&other, ("POST", "/patients/p1/send"), &token, BODY);
    assert_eq!(reason(&there), refused("action_not_named"));
    assert_eq!(upstream.count(), 0);
    assert_eq!(
        send(&gateway, ("POST", "/patients/p1/send"), &token, BODY).status,
        200,
        "it was not spent by any of that"
    );
    let again = send(&gateway, ("POST", "/patients/p1/send"), &token, BODY);
    assert_eq!(reason(&again), refused("proof_already_spent"));
    assert_eq!(upstream.count(), 1);
}

#[test]
fn two_details_are_two_actions_and_other_types_are_none() {
    let (idp, upstream) = (Idp::shared(), Recorder::start());
    let gateway = started(idp, &upstream);
    let weak = alice(idp, "aal1", "portal-es256");
    let one = told(&gateway, &weak, ("POST", EXPORT), BODY)[0].clone();
    let two = told(&gateway, &weak, ("POST", "/patients/p1/send"), b"")[0].clone();
    let both = json!([one, {"type": "other", "amount": 1}, two]);
    let token = idp.agree("alice", "portal-es256", &both).access().to_owned();
    for _ in 0..2 {
        send(&gateway, ("POST", EXPORT), &token, BODY);
        send(&gateway, ("POST", "/patients/p1/send"), &token, b"");
    }
    assert_eq!(upstream.count(), 2);
    let others = idp.agree("alice", "portal-es256", &json!([{"type": "other"}])).access().to_owned();
    assert_eq!(send(&gateway, READ, &others, b"").status, 200);
    let mut odd = one;
    odd["until"] = json!("noon");
    let odd = idp.agree("alice", "portal-es256", &json!([odd])).access().to_owned();
    let answer = send(&gateway, ("POST", EXPORT), &odd, BODY);
    assert_eq!(reason(&answer), refused("action_details_unreadable"));
    assert_eq!(upstream.count(), 3);
}

#[test]
fn an_opaque_token_names_its_action_too() {
    let (idp, upstream) = (Idp::shared(), Recorder::start());
    let more = "    audiences: [portal-opaque]\n    introspection: { client_id: gw, client_secret_file: secret, timeout: 1s, cache: 60s }\n    authorization_details: true\n";
    let gateway = Gateway::start(&text(idp, more, &upstream), |dir| {
        std::fs::write(dir.join("secret"), "gw-secret\n").expect("written");
    });
    gateway.wait_until_proofs_count();
    let details = told(&gateway, &alice(idp, "aal1", "portal-opaque"), ("POST", EXPORT), BODY);
    let token = idp.agree("alice", "portal-opaque", &details).access().to_owned();
    assert!(!token.contains('.'));
    assert_eq!(reason(&send(&gateway, ("POST", EXPORT), &token, b"{}")), refused("action_not_named"));
    assert_eq!(send(&gateway, ("POST", EXPORT), &token, BODY).status, 200);
    assert_eq!(reason(&send(&gateway, ("POST", EXPORT), &token, BODY)), refused("proof_already_spent"));
    assert_eq!(upstream.count(), 1);
}

/// The example in the documents is what is sent, but for what differs each time.
#[test]
fn the_documents_show_the_challenge_as_it_is() {
    let document = include_str!("../../../docs/step-up.md");
    let (_, after) = document.split_once("### Actions that need their own proof").expect("the section");
    let (_, block) = after.split_once("```json\n").expect("a block");
    let mut shown: Value = serde_json::from_str(block.split_once("```").expect("its end").0).expect("JSON");

    let (idp, upstream) = (Idp::shared(), Recorder::start());
    let route = r#"
  - { id: payment.pay, label: Pay a bill, match: { path: "/patients/{patient}/invoices/{invoice}/payments", methods: [POST] }, upstream: app,
      tier: critical, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;
    // The gateway in front of which TLS ends.
    let text = config(&idp.issuer, ES256, upstream.address, route)
        .replace("address: \"$LISTEN\"", "address: \"$LISTEN\", trusted_proxies: [127.0.0.1]");
    let gateway = Gateway::start(&text, |_| {});
    gateway.wait_until_proofs_count();
    let bearer = format!("Bearer {}", alice(idp, "aal1", "portal-es256"));
    let headers = [
        ("Host", "portal.clinic.example"),
        ("X-Forwarded-Proto", "https"),
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    let target = "/patients/p1/invoices/7/payments";
    let answer = http::send(gateway.address, "POST", target, &headers, br#"{"amount":120}"#).expect("one");
    let mut sent = answer.json();
    for changing in ["/decision", "/authorization_details/0/rules"] {
        let (shown, sent) =
            (shown.pointer_mut(changing).expect("shown"), sent.pointer_mut(changing).expect("sent"));
        assert_eq!(shown.as_str().map(str::len), sent.as_str().map(str::len), "{changing}");
        *shown = sent.clone();
    }
    assert_eq!(sent, shown, "{}", answer.body);
    assert_eq!(answer.status, 401);
}
