//! How files and journals end, where something is in the way.

use super::tests::{lines, open, open_with, trail, verified};
use super::*;

fn put(journal: &FileJournal, durability: Durability) -> Option<u64> {
    journal.shared.append(&Event::Stopping, durability).ok()
}

/// The name that the file gets once it is ended.
fn second_name(dir: &Path) -> PathBuf {
    let first = lines(dir)[0]["seq"].as_u64().expect("a number");
    dir.join(FILE_NAME).with_extension(format!("{first:020}.jsonl"))
}

#[tokio::test]
async fn a_file_that_has_both_names_already_is_ended_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open_with(dir.path(), "o", 1_000).expect("opens");
    let ended = second_name(dir.path());
    {
        // Nobody ends it meanwhile.
        let _syncing = journal.shared.syncing.lock().expect("no panic");
        std::fs::hard_link(dir.path().join(FILE_NAME), &ended).expect("linked");
        for _ in 0..20 {
            put(&journal, Durability::Written).expect("recorded");
        }
    }
    journal.shared.seal(true).expect("sealed");
    assert!(lines(dir.path())[0]["seq"].as_u64() > Some(20), "another file is written to");
    drop(journal);
    assert_eq!(trail(dir.path()).files, [ended]);
    assert_eq!(verified(dir.path()).expect("whole").unvouched, []);
}

#[tokio::test]
async fn a_next_file_that_does_not_follow_is_not_put_in_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open_with(dir.path(), "o", 1_000).expect("opens");
    let path = dir.path().join(FILE_NAME);
    while trail(dir.path()).files.is_empty() {
        put(&journal, Durability::Written).expect("recorded");
        drop(journal.shared.seal(true));
    }
    // Its first record is what stood there before it took the other's place, and nothing more.
    let header = std::fs::read_to_string(&path).expect("readable").lines().next().map(str::to_owned);
    drop(journal);
    let header = header.expect("a first line") + "\n";
    let written = std::fs::read(&path).expect("readable");
    std::fs::hard_link(&path, second_name(dir.path())).expect("linked");
    std::fs::write(path.with_extension("next"), header).expect("written");
    drop(open(dir.path(), "o").expect("opens"));
    assert!(std::fs::read(&path).expect("readable").starts_with(&written), "the file goes on");
    assert!(!path.with_extension("next").exists() && !second_name(dir.path()).exists());
    assert_eq!(verified(dir.path()).expect("whole").unvouched, []);
}

#[tokio::test]
async fn what_a_disk_failed_to_take_is_acknowledged_to_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path(), "o").expect("opens");
    let sequence = {
        // As whoever syncs leaves it, while another record waits.
        let _syncing = journal.shared.syncing.lock().expect("no panic");
        let sequence = put(&journal, Durability::Written).expect("recorded");
        journal.shared.lock().is_doubtful = true;
        sequence
    };
    journal.shared.sync(sequence).expect_err("nobody knows");
    while !trail(dir.path()).files.iter().any(|file| file.exists()) {
        drop(journal.shared.seal(true));
    }
    journal.shared.sync(sequence).expect_err("still nobody knows, though the new file is well");
    let next = put(&journal, Durability::Written).expect("recorded");
    journal.shared.sync(next).expect("the new file is synced");
    journal.shared.sync(sequence).expect_err("a later success says nothing of it");
    drop(journal);
    assert_eq!(lines(dir.path())[0]["why"], "sync_failed");
    assert_eq!(verified(dir.path()).expect("whole").unvouched, []);
}

#[tokio::test]
async fn nothing_comes_between_the_last_write_and_the_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path(), "o").expect("opens");
    let taken = put(&journal, Durability::Buffered).expect("recorded");
    journal.shared.close().expect("written");
    assert!(lines(dir.path()).iter().any(|line| line["seq"] == taken), "it is written");
    assert_eq!(put(&journal, Durability::Buffered), None, "it would never be");
}

#[test]
fn what_is_no_file_is_not_written_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let elsewhere = dir.path().join("elsewhere");
    std::fs::write(&elsewhere, "").expect("written");
    std::os::unix::fs::symlink(&elsewhere, dir.path().join(FILE_NAME)).expect("a link");
    let refused = open(dir.path(), "o").err().expect("refused").to_string();
    assert!(refused.contains("no regular file"), "{refused}");
}
