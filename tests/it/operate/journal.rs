//! A journal that can't be written: what can't be recorded is not done.

use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{EXPORT, JSON, NOTES, PAY, PROFILE, READ, proofs, setup};
use crate::support::upstream::Behaviour;
use crate::support::{Connection, Gateway, Recorder, Signer, eventually, http};

const LONG: Duration = Duration::from_secs(10);

fn start() -> (Gateway, Recorder, Signer) {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    (setup(upstream.address, &signer, |text| text).with_small_files().start(), upstream, signer)
}

/// Makes every write to the journal fail; the first may still take a few bytes of its record.
fn fill_the_disk(gateway: &Gateway) {
    gateway.audit();
    let size = std::fs::metadata(gateway.audit_file()).expect("the journal").len();
    gateway.limit_files(Some(size + 40));
}

fn send(gateway: &Gateway, method: &str, target: &str, token: &str) -> http::Answer {
    http::send(gateway.address, method, target, &[("Authorization", token), JSON], br#"{"address":"x"}"#)
        .expect("an answer")
}

fn assert_whole(records: &[Value]) {
    let sequence: Vec<u64> = records.iter().map(|record| record["seq"].as_u64().expect("a number")).collect();
    assert!(sequence.windows(2).all(|pair| pair[1] == pair[0] + 1), "gaps: {sequence:?}");
}

#[test]
fn what_must_be_written_first_is_refused_while_it_can_not_be() {
    let (gateway, upstream, signer) = start();
    let proof = proofs(&gateway, &signer, 1).remove(0);
    assert_eq!(send(&gateway, "POST", PAY, &proof).status, 200);
    fill_the_disk(&gateway);
    for (method, target) in [("POST", NOTES), ("POST", PAY), ("PUT", EXPORT), ("PUT", PROFILE)] {
        let refused = send(&gateway, method, target, &proof);
        assert_eq!(
            (refused.status, refused.header("retry-after")),
            (503, Some("5")),
            "{target}: {refused:?}"
        );
        assert_eq!(refused.json()["type"], "urn:wardgate:problem:unavailable", "{target}");
    }
    assert_eq!(upstream.count(), 1, "nothing was forwarded");
    assert!(gateway.metric("wardgate_audit_failures_total") >= 4.0);

    gateway.limit_files(None);
    eventually("it recovers by itself", LONG, || send(&gateway, "POST", NOTES, &proof).status == 200);
    assert_eq!(send(&gateway, "PUT", EXPORT, &proof).status, 200, "without a receipt no proof was spent");
    assert_eq!(send(&gateway, "PUT", EXPORT, &proof).json()["reason"], "proof_already_spent");
    assert_whole(&gateway.audit());
}

/// What `wardgate audit verify` says, and what it exits with.
fn verify(gateway: &Gateway) -> (Option<i32>, String) {
    let dir = gateway.audit_file().parent().expect("a directory").to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_wardgate")).args(["audit", "verify"]).arg(dir).output();
    let output = output.expect("the program runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn half_a_record_on_a_full_disk_is_vouched_for_once_it_is_whole() {
    let (gateway, _upstream, signer) = start();
    let proof = signer.bearer("p1", "aal2", 5);
    eventually("all is vouched for", LONG, || verify(&gateway).0 == Some(0));
    fill_the_disk(&gateway);
    assert_eq!(send(&gateway, "POST", NOTES, &proof).status, 503);
    // Longer than the thread waits that takes what was written into the tree.
    std::thread::sleep(Duration::from_millis(500));
    let text = std::fs::read(gateway.audit_file()).expect("the journal");
    assert_ne!(text.last(), Some(&b'\n'), "half a record is there");
    gateway.limit_files(None);
    eventually("it recovers by itself", LONG, || send(&gateway, "POST", NOTES, &proof).status == 200);
    eventually("all is vouched for again", LONG, || {
        let (code, said) = verify(&gateway);
        assert_ne!(code, Some(1), "{said}");
        code == Some(0)
    });
}

#[test]
fn a_request_refused_for_want_of_a_record_does_not_read_as_one_that_may_have_happened() {
    let (gateway, upstream, signer) = start();
    let proof = signer.bearer("p1", "aal2", 5);
    fill_the_disk(&gateway);
    for target in [NOTES, PAY] {
        assert_eq!(send(&gateway, "POST", target, &proof).status, 503);
    }
    gateway.limit_files(None);
    eventually("it recovers by itself", LONG, || send(&gateway, "POST", PAY, &proof).status == 200);
    assert_whole(&gateway.audit());
    assert_eq!(gateway.admitted_intents(), upstream.count());
}

#[test]
fn what_may_be_written_later_is_never_forgotten_and_has_a_limit() {
    let (gateway, upstream, signer) = start();
    let token = signer.bearer("p1", "aal1", 5);
    fill_the_disk(&gateway);
    let mut connection = Connection::open(gateway.address).expect("a connection");
    let mut statuses = Vec::new();
    // Records of a kibibyte and less: far more than a mebibyte of them.
    while statuses.len() < 5000 && statuses.last() != Some(&503) {
        statuses
            .push(connection.ask("GET", READ, &[("Authorization", &token)], b"").expect("an answer").status);
    }
    assert_eq!(statuses.pop(), Some(503), "records are kept in memory without a limit");
    assert!(statuses.iter().all(|status| *status == 200));
    assert_eq!(upstream.count(), statuses.len());
    assert!(gateway.metric("wardgate_audit_failures_total") > 0.0);
    gateway.limit_files(None);
    eventually("it recovers by itself", LONG, || {
        send(&gateway, "POST", NOTES, &signer.bearer("p1", "aal2", 5)).status == 200
    });
    let records = gateway.audit();
    assert_whole(&records);
    let reads =
        records.iter().filter(|record| record["event"] == "intent" && record["action"] == "results.read");
    assert_eq!(reads.count(), statuses.len(), "each request that was forwarded is recorded");
}

#[test]
fn refusals_stand_without_a_journal() {
    let (gateway, upstream, signer) = start();
    fill_the_disk(&gateway);
    let token = signer.bearer("p2", "aal2", 5);
    let answers = [("GET", READ, 403), ("POST", PAY, 403), ("GET", "/nowhere", 404), ("PATCH", PAY, 405)];
    for (method, target, status) in answers {
        assert_eq!(send(&gateway, method, target, &token).status, status, "{method} {target}");
    }
    assert_eq!(upstream.count(), 0);
}

#[test]
fn an_outcome_is_kept_until_it_can_be_written() {
    let behaviour: Behaviour = Arc::new(|request, stream| {
        // Only what is not paid for answers at once.
        while request.target() == PAY && !std::path::Path::new(request.values("x-until")[0]).exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
    });
    let (upstream, signer) = (Recorder::behaving(behaviour), Signer::new());
    let gateway = setup(upstream.address, &signer, |text| text).with_small_files().start();
    let proof = proofs(&gateway, &signer, 1).remove(0);
    let (dir, address) = (tempfile::tempdir().expect("a directory"), gateway.address);
    let until = dir.path().join("go").display().to_string();
    let (token, flag) = (proof.clone(), until.clone());
    let paying = std::thread::spawn(move || {
        http::send(address, "POST", PAY, &[("Authorization", &token), ("X-Until", &flag)], b"")
            .expect("an answer")
    });
    eventually("it is under way", LONG, || upstream.count() == 1);
    fill_the_disk(&gateway);
    assert_eq!(send(&gateway, "POST", NOTES, &proof).status, 503, "the disk is full");
    std::fs::write(&until, "").expect("written");
    assert_eq!(paying.join().expect("no panic").status, 200);
    gateway.limit_files(None);
    let outcome = |record: &Value| record["event"] == "outcome" && record["result"] == "completed";
    eventually("the outcome is there", LONG, || gateway.audit().iter().any(outcome));
    assert_whole(&gateway.audit());
}

#[test]
fn a_journal_that_was_taken_away_admits_nothing() {
    let (gateway, upstream, signer) = start();
    let proof = signer.bearer("p1", "aal2", 5);
    assert_eq!(send(&gateway, "POST", PAY, &proof).status, 200);
    let kept = gateway.audit_file().with_extension("away");
    std::fs::rename(gateway.audit_file(), &kept).expect("renamed");
    eventually("it is noticed", LONG, || gateway.telemetry_page("/readyz").status == 503);
    assert!(
        gateway.telemetry_page("/readyz").json()["not_ready"][0].as_str().expect("text").contains("removed")
    );
    for (method, target) in [("GET", READ), ("POST", PAY)] {
        assert_eq!(send(&gateway, method, target, &proof).status, 503, "{target}");
    }
    std::fs::rename(&kept, gateway.audit_file()).expect("renamed");
    eventually("it is there again", LONG, || send(&gateway, "POST", PAY, &proof).status == 200);
    assert_eq!(gateway.admitted_intents(), upstream.count());
}
