//! Records that pile up for a sink are told of, and refuse nobody; records behind files that are gone are still proven.

use std::process::Command;
use std::time::Duration;

use wardgate::audit::event::Event;
use wardgate::audit::journal::{FileJournal, Options};
use wardgate::audit::signing::Key;
use wardgate::enforce::ports::Journal as _;
use wardgate::policy::Durability;

use super::{READ, proofs, setup};
use crate::support::{Recorder, Signer, eventually, free_address, http};

const LONG: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;

/// A trail's first file with records of so many bytes, as from a gateway before.
fn pile_up(dir: &std::path::Path, bytes: usize) {
    std::fs::create_dir_all(dir).expect("made");
    let key = Key::kept(&[3; 32]).expect("a key");
    let options = Options { origin: "o", key: &key, most_bytes: u64::MAX, reserve: 0 };
    let journal = FileJournal::open(dir, options).expect("opens");
    let findings = vec!["f".repeat(1000); 500];
    let event = Event::ReloadRefused { policy: "p", refused: None, findings: &findings };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for _ in 0..bytes / 500_000 + 1 {
        runtime.block_on(journal.append(&event, Durability::Written)).expect("recorded");
    }
    drop(journal);
    std::fs::write(dir.join("checkpoints.key"), "03".repeat(32)).expect("written");
    std::fs::write(dir.join("checkpoints.pub"), format!("{}\n", key.public())).expect("written");
    std::fs::write(dir.join("pseudonyms.key"), "05".repeat(32)).expect("written");
}

#[test]
fn what_waits_for_a_sink_is_told_at_its_marks_and_refuses_nobody() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(upstream.address, &signer, |text| {
        let audit = format!(
            "audit: {{ dir: ./audit, undelivered_quota: 64MiB, sinks: [{{ name: siem, type: http, url: \"http://{}/audit\" }}] }}",
            free_address()
        );
        text.replace("audit: { dir: ./audit }", &audit)
    });
    pile_up(&setup.dir().join("audit"), 46 * MIB);
    let gateway = setup.start();
    let told = || {
        let records = gateway.audit().into_iter().filter(|record| record["event"] == "journal_near_quota");
        records.map(|record| record["mark"].as_u64().expect("a mark")).collect::<Vec<_>>()
    };
    eventually("it is on record", LONG, || told() == [70]);
    assert!(gateway.metric("wardgate_audit_undelivered_bytes") > 46.0 * MIB as f64);
    let ready = gateway.telemetry_page("/readyz");
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert!(ready.body.contains("70 % of `audit.undelivered_quota`"), "{}", ready.body);
    let token = proofs(&gateway, &signer, 1).remove(0);
    let answer =
        http::send(gateway.address, "GET", READ, &[("Authorization", &token)], b"").expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(told(), [70], "it is told once");
    let name = r#"wardgate_detections_total{name="journal_near_quota"}"#;
    eventually("it stands out", LONG, || gateway.metric(name) == 1.0);
}

#[test]
fn a_record_behind_files_that_are_gone_is_proven() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = Key::kept(&[3; 32]).expect("a key");
    let options = Options { origin: "o", key: &key, most_bytes: 1_500, reserve: 0 };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let ended = || {
        let names = dir.path().read_dir().expect("readable").map(|entry| entry.expect("one").path());
        let mut ended: Vec<_> = names.filter(|path| path.to_string_lossy().contains("/audit.0")).collect();
        ended.sort();
        ended
    };
    {
        let journal = FileJournal::open(dir.path(), options).expect("opens");
        eventually("files are ended", LONG, || {
            runtime.block_on(journal.append(&Event::Stopping, Durability::Written)).expect("recorded");
            ended().len() > 3
        });
        runtime.block_on(journal.append(&Event::Stopping, Durability::Written)).expect("recorded");
    }
    let public = dir.path().join("key");
    std::fs::write(&public, key.public()).expect("written");
    let audit = |arguments: &[&std::ffi::OsStr]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_wardgate"));
        program.arg("audit").args(arguments).output().expect("the program runs")
    };
    let files = ended();
    for gone in files.iter().take(3) {
        std::fs::remove_file(gone).expect("removed");
    }
    let text = std::fs::read_to_string(&files[3]).expect("readable")
        + &std::fs::read_to_string(dir.path().join("audit.jsonl")).expect("readable");
    let mut stopping = text.lines().filter(|line| line.contains(r#""event":"stopping""#));
    let record = stopping.next_back().expect("a record").to_owned();
    let parsed: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    let number = parsed["seq"].to_string();
    let proof = audit(&["prove".as_ref(), dir.path().as_ref(), number.as_ref()]);
    assert!(proof.status.success(), "{}", String::from_utf8_lossy(&proof.stderr));
    let file = dir.path().join("proof.json");
    std::fs::write(&file, proof.stdout).expect("written");
    let checked = audit(&["check-proof".as_ref(), file.as_ref(), "--key".as_ref(), public.as_ref()]);
    assert_eq!(String::from_utf8_lossy(&checked.stdout).trim_end(), record);
    let gone = audit(&["prove".as_ref(), dir.path().as_ref(), "2".as_ref()]);
    assert!(String::from_utf8_lossy(&gone.stderr).contains("there is no record 2"));
}
