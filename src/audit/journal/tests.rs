//! The journal, against real files.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::audit::signing::Trusted;
use crate::audit::trail::{Trail, Walked, trails, walk};
use crate::audit::verify::{Fault, Findings, Verifier};
use crate::enforce::ports::Journal as _;

pub(super) fn key() -> Key {
    Key::kept(&[7; 32]).expect("a key")
}

pub(super) fn open_with(dir: &Path, origin: &str, most_bytes: u64) -> Result<FileJournal, OpenError> {
    FileJournal::open(dir, Options { origin, key: &key(), most_bytes, reserve: 0 })
}

pub(super) fn open(dir: &Path, origin: &str) -> Result<FileJournal, OpenError> {
    open_with(dir, origin, MOST_BYTES)
}

fn open_beside(dir: &Path, origin: &str) -> Result<FileJournal, OpenError> {
    FileJournal::open_beside(dir, Options { origin, key: &key(), most_bytes: MOST_BYTES, reserve: 0 })
}

pub(super) fn lines(dir: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(dir.join(FILE_NAME)).expect("readable");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The numbers of the records that somebody asked for.
fn sequence(dir: &Path) -> Vec<u64> {
    let asked = lines(dir).into_iter().filter(|line| line["event"] == "stopping");
    asked.map(|line| line["seq"].as_u64().expect("a number")).collect()
}

pub(super) fn trail(dir: &Path) -> Trail {
    trails(dir).expect("readable").remove("audit").expect("a trail")
}

pub(super) fn verified(dir: &Path) -> Result<Findings, (u64, Fault)> {
    let trusted = Trusted::read(key().public()).expect("a key");
    let mut verifier = Verifier::new(&trusted, None);
    match walk(trail(dir).readers(), &mut verifier).expect("readable") {
        Walked::Stopped { line, fault, .. } => Err((line, fault)),
        Walked::Through { .. } => Ok(verifier.finish()),
    }
}

#[tokio::test]
async fn records_are_numbered_on_over_restarts() {
    let dir = tempfile::tempdir().expect("a directory");
    for _ in 0..2 {
        let journal = open(dir.path(), "o").expect("opens");
        for durability in [Durability::Buffered, Durability::Written, Durability::Synced] {
            journal.append(&Event::Stopping, durability).await.expect("recorded");
        }
    }
    let all: Vec<u64> =
        lines(dir.path()).iter().map(|line| line["seq"].as_u64().expect("a number")).collect();
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    assert_eq!(sequence(dir.path()).len(), 6);
    assert_eq!(verified(dir.path()).expect("nothing was changed").unsealed, 0);
    let mode = std::fs::metadata(dir.path().join(FILE_NAME)).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_torn_last_line_is_cut_and_that_is_recorded() {
    let dir = tempfile::tempdir().expect("a directory");
    for torn in [&br#"{"seq":9,"origin":"o","ti"#[..], &[0; 4096]] {
        {
            let journal = open(dir.path(), "o").expect("opens");
            journal.append(&Event::Stopping, Durability::Written).await.expect("recorded");
        }
        let mut file = OpenOptions::new().append(true).open(dir.path().join(FILE_NAME)).expect("writable");
        file.write_all(torn).expect("written");
        drop(file);
        let before = lines(dir.path()).len();
        drop(open(dir.path(), "o").expect("opens"));
        let after = lines(dir.path());
        assert_eq!(
            (&after[before]["event"], &after[before + 1]["event"]),
            (&"signer".into(), &"torn".into())
        );
        assert_eq!(after[before + 1]["bytes"].as_u64(), Some(torn.len() as u64));
        verified(dir.path()).expect("nothing else was changed");
    }
}

#[tokio::test]
async fn what_the_gateway_did_not_write_is_put_aside_and_not_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let journal = open(dir.path(), "o").expect("opens");
        for _ in 0..3 {
            journal.append(&Event::Stopping, Durability::Written).await.expect("recorded");
        }
    }
    let path = dir.path().join(FILE_NAME);
    let mut text = std::fs::read(&path).expect("readable");
    let at = memchr::memmem::find(&text, b"stopping").expect("a record");
    text[at] ^= 1;
    std::fs::write(&path, &text).expect("written");
    let last = lines(dir.path()).len() as u64;
    drop(open(dir.path(), "o").expect("opens"));
    let begins = &lines(dir.path())[0];
    assert_eq!((begins["event"].as_str(), begins["seq"].as_u64()), (Some("segment"), Some(last + 1)));
    assert_eq!(begins["why"], "quarantined");
    assert_eq!(begins["quarantined"]["line"], 3, "after the head and who signs");
    let aside = &trail(dir.path()).put_aside;
    assert_eq!(aside.len(), 1);
    assert_eq!(std::fs::read(&aside[0]).expect("readable"), text, "not a byte is lost");
    assert_eq!(verified(dir.path()).expect("the rest is whole").begins_at, Some(last + 1));
}

#[tokio::test]
async fn full_files_are_ended_and_the_next_goes_on_after_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open_with(dir.path(), "o", 4_000).expect("opens");
    let mut count = 0;
    while trail(dir.path()).files.len() < 3 {
        journal.append(&Event::Stopping, Durability::Synced).await.expect("recorded");
        count += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(count < 10_000, "files are never ended");
    }
    drop(journal);
    let next = dir.path().join("audit.next");
    std::fs::write(&next, "{}").expect("written");
    drop(open(dir.path(), "o").expect("opens"));
    assert!(!next.exists());
    let findings = verified(dir.path()).expect("nothing was changed");
    assert!(findings.records > count && findings.begins_at.is_none() && findings.unsealed == 0);
    // A file of the middle is gone; the last one can be checked by itself.
    let mut files = trail(dir.path()).files;
    std::fs::remove_file(files.remove(1)).expect("removed");
    assert_eq!(verified(dir.path()).expect_err("a gap"), (1, Fault::DoesNotContinue));
    files.iter().for_each(|file| std::fs::remove_file(file).expect("removed"));
    assert!(verified(dir.path()).expect("whole").begins_at.is_some());
}

#[tokio::test]
async fn records_are_vouched_for_within_a_second_or_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path(), "o").expect("opens");
    journal.append(&Event::Stopping, Durability::Written).await.expect("recorded");
    tokio::time::timeout(Duration::from_secs(20), async {
        while verified(dir.path()).expect("nothing was changed").unsealed > 0 {
            tokio::time::sleep(FLUSH_EVERY).await;
        }
    })
    .await
    .expect("a checkpoint");
}

#[test]
fn one_writer_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let _first = open(dir.path(), "a").expect("opens");
    let refused = open(dir.path(), "b").err().expect("held").to_string();
    assert!(refused.contains("give each process its own `audit.dir`"), "{refused}");
}

#[tokio::test]
async fn a_successor_writes_beside_and_the_next_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = open(dir.path(), "a").expect("opens");
    let second = open_beside(dir.path(), "b").expect("opens");
    for journal in [&second, &first, &second] {
        journal.append(&Event::Stopping, Durability::Written).await.expect("recorded");
    }
    drop(first);
    let third = open_beside(dir.path(), "c").expect("opens");
    third.append(&Event::Stopping, Durability::Written).await.expect("recorded");
    assert_eq!(sequence(dir.path()).len(), 2, "the first file is free again");
    let own = std::fs::read_to_string(dir.path().join("audit-b.jsonl")).expect("readable");
    assert_eq!(own.matches(r#""event":"stopping""#).count(), 2);
    assert!(own.starts_with(r#"{"seq":1,"#), "{own}");
}

#[tokio::test]
async fn written_is_on_file_before_the_receipt_and_buffered_follows() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path(), "o").expect("opens");
    journal.append(&Event::Stopping, Durability::Written).await.expect("recorded");
    assert_eq!(sequence(dir.path()).len(), 1);
    journal.append(&Event::Stopping, Durability::Buffered).await.expect("recorded");
    tokio::time::timeout(Duration::from_secs(10), async {
        while sequence(dir.path()).len() != 2 {
            tokio::time::sleep(FLUSH_EVERY).await;
        }
    })
    .await
    .expect("flushed");
}
