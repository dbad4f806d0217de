//! Each thing that makes an action what it is, changed after the proof was given: the proof is worth nothing then.
//!
//! What no request and no configuration can change by itself (of which route it is, who the subject is) is in the test of
//! `enforce::action`.

use std::time::Duration;

use serde_json::json;

use super::attacks::{proven, proven_at};
use super::*;
use crate::session::signed_in;
use crate::support::eventually;

#[test]
fn a_proof_is_worth_nothing_for_anything_else() {
    let idp = Idp::shared();
    let (gateway, upstream) = start(idp);
    let (mut browser, page) = proven(&gateway);
    let before = upstream.count();
    let name = action(&page).split_once("wardgate-intent=").expect("a name").1.to_owned();
    for (what, method, target, body) in [
        ("body", "POST", PROFILE, &b"street=2"[..]),
        ("no body", "POST", PROFILE, b""),
        ("method", "PUT", PROFILE, b"street=1"),
        ("target", "POST", "/patients/p1/profile?a=b", b"street=1"),
        ("route", "POST", "/patients/p1/mail", b"street=1"),
        ("read", "GET", PROFILE, b""),
    ] {
        let answer = send(&mut browser, method, target, &[FORM], body);
        assert_eq!((answer.status, upstream.count()), (401, before), "{what}: {answer:?}");
    }
    for target in ["/patients/p1/mail", "/patients/p1/profile?x=y"] {
        let joint = if target.contains('?') { '&' } else { '?' };
        let answer =
            send(&mut browser, "POST", &format!("{target}{joint}wardgate-intent={name}"), &[FORM], b"");
        assert_eq!((answer.status, upstream.count()), (400, before), "{target}: {answer:?}");
    }
    // Another session of the same person, who is known there as well as here.
    let mut hers = signed_in(&gateway, "alice");
    let asked = send(&mut hers, "POST", PROFILE, &[FORM], b"street=9");
    prove(&mut hers, &asked);
    assert_eq!(send(&mut hers, "POST", PROFILE, &[FORM], b"street=1").status, 401);
    assert_eq!(confirm(&mut hers, &page).status, 403);
    // Another person, who knows every address.
    let mut bob = signed_in(&gateway, "bob");
    assert_eq!(confirm(&mut bob, &page).status, 403);
    assert_eq!(bob.step(&portal(&format!("/_wardgate/confirm?intent={name}"))).status, 403);
    assert_eq!(confirm(&mut Browser::new(gateway.address, "alice"), &page).status, 401);
    assert_eq!(upstream.requests()[before..].iter().filter(|it| it.line.starts_with("POST")).count(), 0);
    assert_eq!(confirm(&mut browser, &page).status, 200, "and it is still good for what it was given for");
}

#[test]
fn a_proof_is_worth_nothing_under_other_rules() {
    let idp = Idp::shared();
    for (what, from, to, is_asked_again) in [
        ("the rules", "label: Change your address", "label: Change your postal address", true),
        // A session of another client's is none here at all.
        ("the client", "client_id: desk", "client_id: desk-short", false),
    ] {
        let upstream = Recorder::start();
        let gateway = crate::session::running(&text(idp, &upstream, "desk"));
        gateway.wait_until_proofs_count();
        let (mut browser, page) = proven(&gateway);
        let before = upstream.count();
        let file = gateway.dir.path().join("gateway.yaml");
        let text = std::fs::read_to_string(&file).expect("read");
        let changed = text.replace("Clinic of St. Anna", "Clinic of St. Bob").replace(from, to);
        std::fs::write(&file, changed).expect("written");
        gateway.signal("HUP");
        eventually("the rules are others", Duration::from_secs(30), || {
            browser.step(&portal("/_wardgate/signed-out")).body.contains("St. Bob")
        });
        let answer = confirm(&mut browser, &page);
        assert_eq!(upstream.count(), before, "{what}: {answer:?}");
        if is_asked_again {
            // What was kept is kept again, for a new proof.
            let page = prove(&mut browser, &answer);
            assert_eq!((confirm(&mut browser, &page).status, upstream.count()), (200, before + 1));
        } else {
            assert_eq!(answer.status, 410, "{what}: {answer:?}");
        }
    }
}

#[test]
fn a_proof_is_worth_nothing_in_another_tier() {
    let idp = Idp::start();
    let upstream = Recorder::start();
    // Not for people like her until she has a new role, which is nothing that she sends.
    let refined = "tier: high, refine: [{ when: \"'nurse' in subject.roles\", tier: critical }],";
    let text = text(&idp, &upstream, "desk-short").replacen("tier: high,", refined, 1);
    let gateway = crate::session::running(&text);
    gateway.wait_until_proofs_count();
    let (mut browser, page) = proven_at(&gateway, PAY);
    let before = upstream.count();
    idp.set_claims("alice", &json!({ "patient_id": "p1", "groups": ["nurse"] }));
    eventually("the claims were renewed", Duration::from_secs(30), || {
        browser.fetch("GET", "/ward").status == 200
    });
    let sent = || upstream.requests()[before..].iter().filter(|it| it.line.starts_with("POST")).count();
    let answer = confirm(&mut browser, &page);
    assert_eq!((answer.status, sent()), (401, 0), "{answer:?}");
    let page = prove(&mut browser, &answer);
    assert_eq!((confirm(&mut browser, &page).status, sent()), (200, 1));
}
