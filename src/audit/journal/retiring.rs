//! Old files go, and what says so is looked for.

use jiff::{SignedDuration, Timestamp};

use super::retention::Retention;
use super::tests::{key, lines, open_with, trail, verified};
use super::*;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A journal with a few files that were ended.
fn written(dir: &Path) -> FileJournal {
    let journal = open_with(dir, "o", 1_500).expect("opens");
    for _ in 0..2_000 {
        if dir.read_dir().expect("readable").count() > 6 {
            return journal;
        }
        journal.shared.append(&Event::Stopping, Durability::Written).ok().expect("recorded");
        drop(journal.shared.seal(false));
    }
    panic!("no file is ended");
}

fn retention(sinks: &[&str]) -> Retention {
    Retention {
        keep: Duration::from_secs(30 * 86_400),
        sinks: sinks.iter().map(|name| (*name).into()).collect(),
    }
}

fn retire(journal: &FileJournal, sinks: &[&str], after: SignedDuration) -> io::Result<Option<String>> {
    journal.shared.retire(&retention(sinks), key().public(), Timestamp::now() + after)
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

/// A sink that has got everything up to a record, in the file that begins with `first`.
fn has_got(dir: &Path, first: u64, sequence: u64) {
    std::fs::create_dir_all(dir.join("sinks")).expect("made");
    let cursor = format!(
        r#"{{"trails":{{"audit":{{"first":{first},"offset":0,"before":0,"sequence":{sequence}}}}}}}"#
    );
    std::fs::write(dir.join("sinks/siem.cursor"), cursor).expect("written");
}

#[tokio::test]
async fn an_old_file_goes_and_the_trail_is_whole_without_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = written(dir.path());
    let files = trail(dir.path()).files;
    assert_eq!(retire(&journal, &[], DAY * 29).expect("looked"), None, "it is not old");
    assert_eq!(retire(&journal, &[], DAY * -400).expect("looked"), None, "it is of the future");
    for gone in &files {
        assert_eq!(retire(&journal, &[], DAY * 31).expect("retired"), Some(name(gone)));
        assert!(!gone.exists());
        let found = verified(dir.path()).expect("nothing was changed");
        assert_eq!((found.begins_at, found.unvouched), (None, Vec::new()));
        assert!(found.unsealed <= 2, "but for the beginning of another file");
        let first = found.retired.expect("a record says so").0;
        let next = trail(dir.path()).files.first().map_or(FILE_NAME.to_owned(), |path| name(path));
        assert!(next == FILE_NAME || next.contains(&format!("{first:020}")), "{next}");
    }
    // The records of it have ended other files.
    while retire(&journal, &[], DAY * 31).expect("looked").is_some() {}
    assert!(
        trail(dir.path()).files.is_empty() && dir.path().join(FILE_NAME).exists(),
        "what is written to stays"
    );
    drop(journal);
    drop(open_with(dir.path(), "o", 1_500).expect("opens again"));
    assert_eq!(verified(dir.path()).expect("whole").begins_at, None);
}

#[tokio::test]
async fn a_file_that_somebody_removed_is_still_missing() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = written(dir.path());
    let files = trail(dir.path()).files;
    retire(&journal, &[], DAY * 31).expect("retired").expect("one");
    std::fs::remove_file(&files[1]).expect("removed");
    let found = verified(dir.path()).expect("nothing was changed");
    assert!(found.begins_at.is_some() && found.retired.is_none(), "the record is about another: {found:?}");
}

#[tokio::test]
async fn what_a_sink_has_not_got_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = written(dir.path());
    let files = trail(dir.path()).files;
    let first =
        |path: &Path| name(path).split('.').nth(1).expect("a number").parse::<u64>().expect("a number");
    let second = first(&files[1]);
    let old = || retire(&journal, &["siem"], DAY * 31);
    assert_eq!(old().expect("looked"), None, "a sink without a place has nothing");
    has_got(dir.path(), 1, second - 2);
    assert_eq!(old().expect("looked"), None, "one record is missing");
    has_got(dir.path(), 9_999, 9_999);
    assert_eq!(old().expect("looked"), None, "its place is in another trail");
    has_got(dir.path(), 1, second - 1);
    assert_eq!(old().expect("retired"), Some(name(&files[0])));
    assert_eq!(old().expect("looked"), None, "the next one is not delivered");
}

#[tokio::test]
async fn a_file_that_was_changed_is_not_retired() {
    for (at, what) in [(0, "line 3"), (1, "its first record is damaged")] {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = written(dir.path());
        let files = trail(dir.path()).files;
        let mut text = std::fs::read_to_string(&files[at]).expect("readable");
        let place = text.match_indices("\"origin\"").nth(if at == 0 { 2 } else { 0 }).expect("a record").0;
        text.replace_range(place..=place, " ");
        std::fs::write(&files[at], text).expect("written");
        let said = retire(&journal, &[], DAY * 31).expect_err("kept").to_string();
        assert!(said.contains(what), "{said}");
        assert!(files[0].exists());
        assert!(lines(dir.path()).iter().all(|line| line["event"] != "retired"));
    }
}
