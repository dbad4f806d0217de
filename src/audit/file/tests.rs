//! The journal, against real files.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

fn lines(dir: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(dir.join(FILE_NAME)).expect("readable");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn sequence(dir: &Path) -> Vec<u64> {
    lines(dir).iter().map(|line| line["seq"].as_u64().expect("a number")).collect()
}

#[tokio::test]
async fn records_are_numbered_on_over_restarts() {
    let dir = tempfile::tempdir().expect("a directory");
    for _ in 0..2 {
        let journal = FileJournal::open(dir.path(), "o").expect("opens");
        for durability in [Durability::Buffered, Durability::Written, Durability::Synced] {
            journal.append(&Event::Stopping, durability).await.expect("recorded");
        }
    }
    assert_eq!(sequence(dir.path()), [1, 2, 3, 4, 5, 6]);
    let mode = std::fs::metadata(dir.path().join(FILE_NAME)).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_torn_last_line_is_ended_and_its_number_not_used_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let journal = FileJournal::open(dir.path(), "o").expect("opens");
        journal.append(&Event::Stopping, Durability::Written).await.expect("recorded");
    }
    let mut file = OpenOptions::new().append(true).open(dir.path().join(FILE_NAME)).expect("writable");
    file.write_all(br#"{"seq":2,"origin":"o","ti"#).expect("written");
    drop(file);
    let journal = FileJournal::open(dir.path(), "o").expect("opens");
    let receipt = journal.append(&Event::Stopping, Durability::Written).await.expect("recorded");
    assert_eq!(receipt.sequence(), 3, "the torn record's number is taken");
    assert_eq!(sequence(dir.path()), [1, 3]);
}

#[test]
fn one_writer_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let _first = FileJournal::open(dir.path(), "a").expect("opens");
    let refused = FileJournal::open(dir.path(), "b").err().expect("held").to_string();
    assert!(refused.contains("give each process its own `audit.dir`"), "{refused}");
}

#[tokio::test]
async fn a_successor_writes_beside_and_the_next_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = FileJournal::open(dir.path(), "a").expect("opens");
    let second = FileJournal::open_beside(dir.path(), "b").expect("opens");
    for journal in [&second, &first, &second] {
        journal.append(&Event::Stopping, Durability::Written).await.expect("recorded");
    }
    drop(first);
    let third = FileJournal::open_beside(dir.path(), "c").expect("opens");
    third.append(&Event::Stopping, Durability::Written).await.expect("recorded");
    assert_eq!(sequence(dir.path()), [1, 2], "the first file is free again");
    let own = std::fs::read_to_string(dir.path().join("audit-b.jsonl")).expect("readable");
    assert_eq!(own.matches(r#""origin":"b""#).count(), 2);
    assert!(own.starts_with(r#"{"seq":1,"#), "{own}");
}

#[tokio::test]
async fn written_is_on_file_before_the_receipt_and_buffered_follows() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = FileJournal::open(dir.path(), "o").expect("opens");
    journal.append(&Event::Stopping, Durability::Written).await.expect("recorded");
    assert_eq!(sequence(dir.path()), [1]);
    journal.append(&Event::Stopping, Durability::Buffered).await.expect("recorded");
    tokio::time::timeout(Duration::from_secs(10), async {
        while sequence(dir.path()) != [1, 2] {
            tokio::time::sleep(FLUSH_EVERY).await;
        }
    })
    .await
    .expect("flushed");
}
