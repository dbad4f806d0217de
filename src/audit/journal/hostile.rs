//! What somebody does to the files who can write to the disk, and what a disk does by itself.

use std::fs::OpenOptions;
use std::io::Write as _;

use super::sealing::Log;
use super::tests::{key, lines, open, open_with, trail, verified};
use super::*;
use crate::audit::frame;
use crate::audit::signing::Trusted;
use crate::audit::trail::{Walked, walk};
use crate::audit::tree::Tree;
use crate::audit::verify::{Fault, Kept, Verifier};
use crate::enforce::ports::Journal as _;

async fn record(journal: &FileJournal, count: usize) {
    for _ in 0..count {
        journal.append(&Event::Stopping, Durability::Written).await.expect("recorded");
    }
}

/// A trail with files that were ended, closed in good order.
async fn with_ended_files(dir: &Path) {
    let journal = open_with(dir, "o", 3_000).expect("opens");
    for _ in 0..2_000 {
        record(&journal, 3).await;
        if trail(dir).files.len() >= 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("files are never ended");
}

fn first(dir: &Path) -> serde_json::Value {
    lines(dir).remove(0)
}

#[test]
fn half_a_line_waits_for_its_other_half() {
    let mut log = Log { name: "a".to_owned(), first: 1, tree: Tree::default() };
    let mut waiting = b"one\ntw".to_vec();
    log.take(&mut waiting);
    assert_eq!((log.tree.size(), waiting.as_slice()), (1, &b"tw"[..]));
    waiting.extend_from_slice(b"o\n");
    log.take(&mut waiting);
    let mut expected = Tree::default();
    expected.push(b"one");
    expected.push(b"two");
    assert_eq!((log.tree, waiting.len()), (expected, 0));
}

#[tokio::test]
async fn records_forged_behind_the_last_checkpoint_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path(), "o").expect("opens");
    record(&journal, 2).await;
    drop(journal);
    let next = lines(dir.path()).len() as u64 + 1;
    let mut forged =
        format!(r#"{{"seq":{next},"origin":"o","time":"t","v":1,"event":"stopping"}}"#).into_bytes();
    frame::close(&mut forged, 0);
    forged.push(b'\n');
    let path = dir.path().join(FILE_NAME);
    OpenOptions::new().append(true).open(&path).expect("opens").write_all(&forged).expect("written");
    drop(open(dir.path(), "o").expect("opens"));
    let findings = verified(dir.path()).expect("nothing that was signed was changed");
    assert_eq!(findings.unvouched, [(next, next)]);
}

#[tokio::test]
async fn a_forger_who_rights_the_checksums_is_not_gone_on_after() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path(), "o").expect("opens");
    record(&journal, 3).await;
    drop(journal);
    let path = dir.path().join(FILE_NAME);
    let text = std::fs::read_to_string(&path).expect("readable");
    let mut changed: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
    let line = &mut changed[2];
    let end = line.len() - r#","crc":"00000000"}"#.len();
    let other = String::from_utf8_lossy(&line[..end]).replace(r#""origin":"o""#, r#""origin":"x""#);
    *line = format!("{other}}}").into_bytes();
    frame::close(line, 0);
    std::fs::write(&path, changed.join(&b'\n').iter().chain(b"\n").copied().collect::<Vec<_>>())
        .expect("written");
    drop(open(dir.path(), "o").expect("opens"));
    assert_eq!(first(dir.path())["why"], "quarantined");
    let findings = verified(dir.path()).expect("the new log is whole");
    assert_eq!((findings.quarantines, findings.put_aside.len()), (1, 1));
}

#[tokio::test]
async fn a_file_that_is_missing_or_empty_beside_ended_ones_begins_a_new_log() {
    for is_empty in [false, true] {
        let dir = tempfile::tempdir().expect("a directory");
        with_ended_files(dir.path()).await;
        let path = dir.path().join(FILE_NAME);
        let begins = first(dir.path())["seq"].as_u64().expect("a number");
        std::fs::remove_file(&path).expect("removed");
        if is_empty {
            std::fs::write(&path, "").expect("written");
        }
        let journal = open(dir.path(), "o").expect("opens");
        assert!(journal.has_earlier_records());
        drop(journal);
        let header = first(dir.path());
        assert_eq!(header["why"], "quarantined");
        assert!(header["seq"].as_u64() >= Some(begins), "{header} after {begins}");
        assert_eq!(verified(dir.path()).expect("nothing was changed").quarantines, 1);
    }
}

#[tokio::test]
async fn a_crash_behind_putting_a_file_aside_is_no_way_to_lose_numbers() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path(), "o").expect("opens");
    record(&journal, 3).await;
    drop(journal);
    let last = lines(dir.path()).len() as u64;
    let path = dir.path().join(FILE_NAME);
    std::fs::rename(&path, path.with_extension("damaged-1.jsonl")).expect("renamed");
    drop(open(dir.path(), "o").expect("opens"));
    let header = first(dir.path());
    assert_eq!((header["why"].as_str(), header["seq"].as_u64()), (Some("quarantined"), Some(last + 1)));
    assert_eq!(header["quarantined"]["file"], "audit.damaged-1.jsonl");
    let findings = verified(dir.path()).expect("the new log is whole");
    assert_eq!(findings.put_aside, ["audit.damaged-1.jsonl"]);
}

#[tokio::test]
async fn what_a_crash_leaves_of_ending_a_file_is_finished() {
    let dir = tempfile::tempdir().expect("a directory");
    with_ended_files(dir.path()).await;
    let path = dir.path().join(FILE_NAME);
    let newest = trail(dir.path()).files.pop().expect("a file");
    // As before the new file took its place: two names for the one, another for the next.
    std::fs::rename(&path, path.with_extension("next")).expect("renamed");
    std::fs::hard_link(&newest, &path).expect("linked");
    drop(open(dir.path(), "o").expect("opens"));
    let findings = verified(dir.path()).expect("nothing was changed");
    assert_eq!((findings.quarantines, findings.begins_at), (0, None));
    assert!(!path.with_extension("next").exists());
    // Two names, and no next: it goes on.
    let count = trail(dir.path()).files.len();
    let first = first(dir.path())["seq"].as_u64().expect("a number");
    std::fs::hard_link(&path, path.with_extension(format!("{first:020}.jsonl"))).expect("linked");
    drop(open(dir.path(), "o").expect("opens"));
    assert_eq!(trail(dir.path()).files.len(), count);
    assert_eq!(verified(dir.path()).expect("nothing was changed").quarantines, 0);
}

#[tokio::test]
async fn an_ended_file_is_never_written_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let ended = dir.path().join(FILE_NAME).with_extension("00000000000000000001.jsonl");
    let journal = open_with(dir.path(), "o", 1_000).expect("opens");
    std::fs::write(&ended, "evidence").expect("written");
    record(&journal, 20).await;
    drop(journal.shared.seal(true));
    assert_eq!(std::fs::read_to_string(&ended).expect("readable"), "evidence");
}

#[tokio::test]
async fn a_file_is_not_ended_while_somebody_syncs_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open_with(dir.path(), "o", 1_000).expect("opens");
    {
        let _syncing = journal.shared.syncing.lock().expect("no panic");
        for _ in 0..20 {
            journal.shared.append(&Event::Stopping, Durability::Written).ok().expect("recorded");
        }
        // More than enough for the thread that ends files.
        std::thread::park_timeout(5 * FLUSH_EVERY);
        assert!(trail(dir.path()).files.is_empty(), "it was ended");
    }
    journal.shared.seal(true).expect("sealed");
    assert!(!trail(dir.path()).files.is_empty(), "it is ended then");
}

#[tokio::test]
async fn a_write_that_succeeds_does_not_end_the_trouble_of_a_disk_that_failed() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path(), "o").expect("opens");
    let mut writer = journal.shared.lock();
    writer.is_doubtful = true;
    writer.in_trouble("failed".to_owned());
    writer.push_own(&Event::Stopping).expect("waits");
    writer.write_out().expect("written");
    assert!(writer.trouble.is_some());
    writer.is_doubtful = false;
    writer.push_own(&Event::Stopping).expect("waits");
    writer.write_out().expect("written");
    assert!(writer.trouble.is_none());
}

#[tokio::test]
async fn what_stands_behind_the_last_line_of_an_ended_file_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    with_ended_files(dir.path()).await;
    let newest = trail(dir.path()).files.pop().expect("a file");
    OpenOptions::new().append(true).open(&newest).expect("opens").write_all(b"x").expect("written");
    assert_eq!(verified(dir.path()).expect_err("changed").1, Fault::NoEnd);
}

#[tokio::test]
async fn a_checkpoint_older_than_the_first_file_is_told_from_a_change() {
    let dir = tempfile::tempdir().expect("a directory");
    with_ended_files(dir.path()).await;
    let oldest = std::fs::read_to_string(&trail(dir.path()).files[0]).expect("readable");
    let note = oldest.lines().rfind(|line| line.contains(r#""event":"checkpoint""#)).expect("a checkpoint");
    let note: serde_json::Value = serde_json::from_str(note).expect("JSON");
    let note = note["note"].as_str().expect("a note").to_owned();
    let kept = Kept::read(&format!("{note}\n\n")).expect("however many lines end it");
    let trusted = Trusted::read(key().public()).expect("a key");
    let walked = || {
        let mut verifier = Verifier::new(&trusted, Some(kept.clone()));
        let walked = walk(trail(dir.path()).readers(), &mut verifier).expect("readable");
        assert_eq!(walked, Walked::Through { torn: 0 });
        verifier.finish()
    };
    assert!(walked().is_as_kept);
    std::fs::remove_file(&trail(dir.path()).files[0]).expect("removed");
    assert!(walked().is_kept_older);
}

#[tokio::test]
async fn numbers_in_damaged_lines_are_not_believed() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path(), "o").expect("opens");
    record(&journal, 2).await;
    drop(journal);
    let count = lines(dir.path()).len() as u64;
    let path = dir.path().join(FILE_NAME);
    let mut file = OpenOptions::new().append(true).open(path).expect("opens");
    writeln!(file, r#"{{"seq":{},"event":"stopping"}}"#, u64::MAX).expect("written");
    drop(open(dir.path(), "o").expect("opens"));
    assert_eq!(first(dir.path())["seq"].as_u64(), Some(count + 2));
}

#[tokio::test]
async fn an_end_that_no_crash_leaves_is_not_cut_off() {
    let whole = {
        let mut line = br#"{"seq":9,"origin":"o","time":"t","v":1,"event":"stopping"}"#.to_vec();
        frame::close(&mut line, 0);
        line
    };
    for end in [whole, vec![b'x'; (1 << 20) + 7]] {
        let dir = tempfile::tempdir().expect("a directory");
        drop(open(dir.path(), "o").expect("opens"));
        let path = dir.path().join(FILE_NAME);
        OpenOptions::new().append(true).open(path).expect("opens").write_all(&end).expect("written");
        drop(open(dir.path(), "o").expect("opens"));
        let aside = trail(dir.path()).put_aside;
        assert!(std::fs::read(&aside[0]).expect("readable").ends_with(&end));
    }
}

#[tokio::test]
async fn nothing_is_recorded_behind_the_last_checkpoint() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = open(dir.path(), "o").expect("opens");
    record(&journal, 1).await;
    journal.flush(Duration::ZERO).expect("flushed");
    assert!(journal.append(&Event::Stopping, Durability::Written).await.is_err());
    assert_eq!(verified(dir.path()).expect("whole").unsealed, 0);
}

#[tokio::test]
async fn whoever_reads_meanwhile_finds_nothing_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = Arc::new(open_with(dir.path(), "o", 2_000).expect("opens"));
    let (writes, ends) = (Arc::clone(&journal), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let ended = Arc::clone(&ends);
    let writer = std::thread::spawn(move || {
        while !ended.load(std::sync::atomic::Ordering::Acquire) {
            writes.shared.append(&Event::Stopping, Durability::Written).ok().expect("recorded");
            drop(writes.shared.seal(true));
            // Else there is no moment in which they could be listed.
            std::thread::park_timeout(Duration::from_millis(3));
        }
    });
    let mut looks = 0;
    while trail(dir.path()).files.len() < 10 {
        verified(dir.path()).expect("nothing is changed");
        looks += 1;
        assert!(looks < 10_000, "files are never ended");
    }
    ends.store(true, std::sync::atomic::Ordering::Release);
    writer.join().expect("no panic");
}
