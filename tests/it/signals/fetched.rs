//! Events that are fetched (RFC 8936).

use serde_json::{Value, json};

use super::transmitter::Transmitter;
use super::*;
use crate::support::eventually;

#[test]
fn events_are_fetched_carried_out_and_acknowledged() {
    let (upstream, signer, transmitter) = (Recorder::start(), Signer::new(), Transmitter::start());
    let gateway = setup(&upstream, &signer, &transmitter, &fetched(&transmitter), ALONE).start();
    let (alice, bob) = (bearer(&signer, "alice", "s1"), bearer(&signer, "bob", "s2"));
    assert_eq!((ask(&gateway, &alice), ask(&gateway, &bob)), (200, 200));
    let up = "wardgate_shared_signals_up{issuer=\"patients\"}";
    eventually("the transmitter answers", SOON, || gateway.metric(up) == 1.0);
    let named = |claims: &Value| claims["jti"].as_str().expect("a name").to_owned();
    let good = transmitter.claims(someone("alice"), "session-revoked", json!({}));
    let mut forged = transmitter.claims(someone("bob"), "session-revoked", json!({}));
    forged["aud"] = "somebody else".into();
    transmitter.send(&named(&forged), &transmitter.sign(&forged));
    transmitter.send("not a token", "opaque");
    transmitter.send(&named(&good), &transmitter.sign(&good));
    eventually("the event is carried out", SOON, || ask(&gateway, &alice) == 401);
    eventually("every event is answered", SOON, || transmitter.pending().is_empty());
    assert_eq!(ask(&gateway, &bob), 200, "the forged one did nothing");
    let asked = transmitter.asked();
    let answers = asked.iter().find(|request| request.get("ack").is_some()).expect("an answer to the events");
    assert_eq!(answers["ack"], json!([named(&good)]));
    assert_eq!(answers["setErrs"][named(&forged)]["err"], "invalid_audience");
    assert_eq!(answers["setErrs"]["not a token"]["err"], "invalid_request");
    assert_eq!(answers["returnImmediately"], true, "what is known is not held back");
    // While there is nothing to fetch the transmitter is not asked again and again.
    eventually("a request waits", SOON, || {
        transmitter.asked().last().is_some_and(|request| request["returnImmediately"] == false)
    });
    let before = transmitter.asked().len();
    std::thread::sleep(Duration::from_secs(3));
    assert!(transmitter.asked().len() - before <= 3);
    assert!(asked.iter().all(|request| request["maxEvents"] == 20));
}

#[test]
fn an_outage_is_told_and_heals() {
    let (upstream, signer, transmitter) = (Recorder::start(), Signer::new(), Transmitter::start());
    let gateway = setup(&upstream, &signer, &transmitter, &fetched(&transmitter), ALONE).start();
    let alice = bearer(&signer, "alice", "s1");
    let up = "wardgate_shared_signals_up{issuer=\"patients\"}";
    eventually("the transmitter answers", SOON, || gateway.metric(up) == 1.0);
    transmitter.break_with(Some(503));
    eventually("the outage is told", SOON, || gateway.metric(up) == 0.0);
    let (status, said) = notices(&gateway);
    assert_eq!(status, 200, "other things work");
    assert!(said.contains("no events can be fetched") && said.contains("status 503"), "{said}");
    assert!(
        gateway.metric("wardgate_shared_signal_polls_total{issuer=\"patients\",result=\"status\"}") >= 1.0
    );
    let event = transmitter.claims(someone("alice"), "session-revoked", json!({}));
    transmitter.send("e1", &transmitter.sign(&event));
    assert_eq!(ask(&gateway, &alice), 200);
    // What we show there is told apart from other troubles.
    transmitter.break_with(Some(401));
    eventually("the remedy is named", SOON, || notices(&gateway).1.contains("poll.authorization_file"));
    transmitter.break_with(None);
    eventually("what happened meanwhile is made up for", Duration::from_secs(60), || {
        ask(&gateway, &alice) == 401
    });
    assert!(gateway.metric(up) == 1.0 && !notices(&gateway).1.contains("shared signals"));
}

#[test]
fn a_reload_goes_on_where_it_was() {
    let (upstream, signer, transmitter) = (Recorder::start(), Signer::new(), Transmitter::start());
    let gateway = setup(&upstream, &signer, &transmitter, &fetched(&transmitter), ALONE).start();
    let alice = bearer(&signer, "alice", "s1");
    let path = gateway.dir.path().join("gateway.yaml");
    let text = std::fs::read_to_string(&path).expect("the configuration");
    std::fs::write(&path, text.replace("audience: wardgate,", "audience: hospital,")).expect("written");
    eventually("it is in force", SOON, || {
        gateway.metric("wardgate_config_reloads_total{result=\"accepted\"}") == 1.0
    });
    let old = transmitter.claims(someone("alice"), "session-revoked", json!({}));
    transmitter.send("old", &transmitter.sign(&old));
    eventually("it is refused", SOON, || transmitter.pending().is_empty());
    assert_eq!(ask(&gateway, &alice), 200);
    let mut new = old;
    new["aud"] = "hospital".into();
    transmitter.send("new", &transmitter.sign(&new));
    eventually("it is carried out", SOON, || ask(&gateway, &alice) == 401);
}

#[test]
fn an_answer_that_never_comes_is_no_outage_while_others_do() {
    let (upstream, signer, transmitter) = (Recorder::start(), Signer::new(), Transmitter::start());
    transmitter.hang(Duration::from_secs(30));
    let delivery = fetched(&transmitter).replace("wait: 2s", "wait: 1s");
    let gateway = setup(&upstream, &signer, &transmitter, &delivery, ALONE).start();
    let alice = bearer(&signer, "alice", "s1");
    let up = "wardgate_shared_signals_up{issuer=\"patients\"}";
    eventually("the transmitter answers", SOON, || gateway.metric(up) == 1.0);
    // While a request hangs something happens: the next one, which need not wait, finds it.
    let event = transmitter.claims(someone("alice"), "session-revoked", json!({}));
    std::thread::sleep(Duration::from_secs(1));
    transmitter.send("e1", &transmitter.sign(&event));
    eventually("it is carried out", Duration::from_secs(30), || ask(&gateway, &alice) == 401);
    assert!(
        gateway.metric("wardgate_shared_signal_polls_total{issuer=\"patients\",result=\"too_slow\"}") >= 1.0
    );
    assert!(gateway.metric(up) == 1.0 && !notices(&gateway).1.contains("shared signals"));
}
