//! A process that is killed, or a disk that fails, at each single system call of a durable record: what was acknowledged
//! is there, and what is there is as it was written.
//!
//! This program runs itself under strace, which kills it or lets a call fail where it is told to.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use wardgate::audit::event::Event;
use wardgate::audit::journal::{FileJournal, Options};
use wardgate::audit::signing::Key;
use wardgate::enforce::ports::Journal as _;
use wardgate::policy::Durability;

const DIR: &str = "WARDGATE_TEST_AUDIT";
/// So many records are acknowledged, in so many attempts at most.
const RECORDS: usize = 6;
const ATTEMPTS: usize = 40;
/// Little enough that a file is ended among them.
const MOST_BYTES: u64 = 1_200;
/// The calls by which records and files come to the disk.
const CALLS: [&str; 6] = ["write", "fdatasync", "fsync", "linkat", "rename", "openat"];

fn key() -> Key {
    Key::kept(&[3; 32]).expect("a key")
}

fn open(dir: &Path) -> Option<FileJournal> {
    FileJournal::open(dir, Options { origin: "o", key: &key(), most_bytes: MOST_BYTES, reserve: 0 }).ok()
}

/// The program that is killed: says the number of each record once it is acknowledged.
#[test]
#[ignore = "run by the test below, which kills it"]
fn appends_what_it_is_told_to() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let Some(journal) = open(Path::new(&dir)) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let event = Event::OperatorRefused { action: "revoke", uid: None, why: "peer" };
    let mut acknowledged = 0;
    for _ in 0..ATTEMPTS {
        match runtime.block_on(journal.append(&event, Durability::Synced)) {
            Ok(receipt) => {
                println!("acknowledged {}", receipt.sequence());
                acknowledged += 1;
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
        if acknowledged == RECORDS {
            break;
        }
        std::thread::sleep(Duration::from_millis(40));
    }
}

/// Runs it under strace, which looks at the calls about the journal's files.
fn run(dir: &Path, log: &Path, inject: Option<&str>) -> Output {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(log).args(["-e", &format!("trace={}", CALLS.join(","))]);
    for file in ["audit.jsonl", "audit.next", "."] {
        strace.arg("-P").arg(if file == "." { dir.to_owned() } else { dir.join(file) });
    }
    if let Some(inject) = inject {
        strace.args(["-e", &format!("inject={inject}")]);
    }
    strace
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "operate::durability::appends_what_it_is_told_to", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .output()
        .expect("strace runs: see scripts/setup.sh test")
}

fn acknowledged(output: &Output) -> BTreeSet<u64> {
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers = said.lines().filter_map(|line| line.rsplit_once("acknowledged ")?.1.parse().ok());
    numbers.collect()
}

/// The numbers of the records that are there, in the files' order.
fn recorded(dir: &Path) -> Vec<u64> {
    let program = Command::new(env!("CARGO_BIN_EXE_wardgate")).args(["audit", "query"]).arg(dir).output();
    let text = String::from_utf8(program.expect("the program runs").stdout).expect("text");
    let number = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["seq"].as_u64();
    text.lines().map(|line| number(line).expect("a number")).collect()
}

fn verify(dir: &Path) -> (Option<i32>, String) {
    std::fs::write(dir.join("checkpoints.pub"), key().public()).expect("written");
    let program = Command::new(env!("CARGO_BIN_EXE_wardgate")).args(["audit", "verify"]).arg(dir).output();
    let output = program.expect("the program runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What must hold whatever happened; then the next process goes on, and it still holds.
fn check(dir: &Path, what: &str, acknowledged: &BTreeSet<u64>) {
    for is_over in [false, true] {
        if is_over {
            drop(open(dir).unwrap_or_else(|| panic!("{what}: the next process can't go on")));
        }
        let there = recorded(dir);
        let missing: Vec<_> = acknowledged.iter().filter(|number| !there.contains(number)).collect();
        assert!(missing.is_empty(), "{what}: {missing:?} were acknowledged and are not there: {there:?}");
        assert!(there.windows(2).all(|pair| pair[1] == pair[0] + 1), "{what}: {there:?}");
        let (code, said) = verify(dir);
        // Nobody stopped it: whatever else there is to say, it does not end as it should.
        assert_eq!(code, Some(2), "{what}: {said}");
        assert!(!said.contains("checkpoint yet") || !is_over, "{what}: {said}");
    }
}

#[test]
fn no_acknowledged_record_is_lost_at_any_system_call() {
    let logs = tempfile::tempdir().expect("a directory");
    let log = logs.path().join("strace");
    let whole = tempfile::tempdir().expect("a directory");
    let output = run(whole.path(), &log, None);
    assert_eq!(acknowledged(&output).len(), RECORDS, "{output:?}");
    check(whole.path(), "undisturbed", &acknowledged(&output));
    let calls = std::fs::read_to_string(&log).expect("readable");
    let mut tried = 0;
    for call in CALLS {
        let count = calls.lines().filter(|line| line.contains(&format!(" {call}("))).count();
        assert!(count > 0, "no {call} in {calls}");
        for number in 1..=count {
            let faults = ["signal=KILL", "error=EIO", "error=ENOSPC"];
            for fault in &faults[..if matches!(call, "openat" | "rename" | "linkat") { 2 } else { 3 }] {
                let dir = tempfile::tempdir().expect("a directory");
                let inject = format!("{call}:{fault}:when={number}");
                let output = run(dir.path(), &log, Some(&inject));
                let acknowledged = acknowledged(&output);
                let opened = !acknowledged.is_empty() || dir.path().join("audit.jsonl").exists();
                if opened {
                    check(dir.path(), &inject, &acknowledged);
                }
                tried += 1;
            }
        }
    }
    println!("{tried} faults");
    assert!(tried > 60, "only {tried} faults were tried");
}
