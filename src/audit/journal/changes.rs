//! Whatever is done to a trail is found.

use std::ops::ControlFlow;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

use super::{Event, FileJournal, Key, Options};
use crate::audit::frame::{self, Head};
use crate::audit::signing::Trusted;
use crate::audit::trail::{Walked, trails, walk};
use crate::audit::verify::{Kept, Verifier};
use crate::enforce::ports::Journal as _;
use crate::policy::Durability;

type Files = Vec<Vec<Vec<u8>>>;

/// Three files of a real journal, as lines, and its last checkpoint.
fn written() -> (Files, Key, Kept) {
    let dir = tempfile::tempdir().expect("a directory");
    let key = Key::kept(&[9; 32]).expect("a key");
    let options = Options { origin: "o", key: &key, most_bytes: 1_500, reserve: 0 };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    while trails(dir.path()).expect("readable").get("audit").is_none_or(|trail| trail.files.len() < 2) {
        let journal = FileJournal::open(dir.path(), options).expect("opens");
        for _ in 0..4 {
            runtime.block_on(journal.append(&Event::Stopping, Durability::Written)).expect("recorded");
        }
    }
    let trail = trails(dir.path()).expect("readable").remove("audit").expect("a trail");
    let mut files: Files = Vec::new();
    let all = trail.lines(|_, line| {
        if line.number == 1 {
            files.push(Vec::new());
        }
        files.last_mut().expect("a file").push(line.bytes.to_vec());
        ControlFlow::<()>::Continue(())
    });
    all.expect("readable");
    let last = files.iter().flatten().rfind(|line| Head::read(line).expect("a head").event == "checkpoint");
    let last: serde_json::Value = serde_json::from_slice(last.expect("a checkpoint")).expect("JSON");
    let kept = Kept::read(last["note"].as_str().expect("a note")).expect("a checkpoint");
    (files, key, kept)
}

/// Whether a trail passes as whole, by the checkpoint that was kept.
fn passes(files: &[Vec<u8>], key: &Trusted, kept: &Kept) -> bool {
    let mut verifier = Verifier::new(key, Some(kept.clone()));
    let last = files.len().saturating_sub(1);
    let readers = files.iter().enumerate().map(|(place, file)| Ok((file.as_slice(), place == last)));
    let walked = walk(readers, &mut verifier).expect("readable");
    let findings = verifier.finish();
    let is_whole = findings.unsealed == 0
        && findings.begins_at.is_none()
        && findings.quarantines == 0
        && findings.unvouched.is_empty();
    walked == Walked::Through { torn: 0 } && findings.is_as_kept && is_whole
}

fn joined(files: &Files) -> Vec<Vec<u8>> {
    let ended = |line: &Vec<u8>| [line.as_slice(), b"\n"].concat();
    files.iter().map(|file| file.iter().flat_map(ended).collect()).collect()
}

/// What is done to it.
#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Cut(Index),
    Delete(Index),
    Insert(Index, Index),
    Swap(Index, Index),
    Splice(Index, Index, usize),
    /// The same by somebody who knows the format: checksums and numbers are right afterwards.
    Rewrite(Index, u8),
    Renumber(Index),
    Rollback(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        at().prop_map(Change::Cut),
        at().prop_map(Change::Delete),
        (at(), at()).prop_map(|(from, to)| Change::Insert(from, to)),
        (at(), at()).prop_map(|(one, other)| Change::Swap(one, other)),
        (at(), at(), 1..6usize).prop_map(|(from, to, count)| Change::Splice(from, to, count)),
        (at(), any::<u8>()).prop_map(|(at, by)| Change::Rewrite(at, by)),
        at().prop_map(Change::Renumber),
        at().prop_map(Change::Rollback),
    ]
}

/// A line with its checksum and its number put right.
fn forged(line: &[u8], sequence: u64) -> Vec<u8> {
    let at = line.len() - r#","crc":"00000000"}"#.len();
    let text = String::from_utf8_lossy(&line[..at]).into_owned();
    let (_, rest) = text.split_once(r#","origin""#).unwrap_or(("", &text));
    let mut line = format!(r#"{{"seq":{sequence},"origin"{rest}}}"#).into_bytes();
    frame::close(&mut line, 0);
    line
}

fn changed(files: &Files, change: &Change) -> Vec<Vec<u8>> {
    // Across files, as one row of lines: a file begins where it did, or a line earlier or later.
    let mut files = files.clone();
    let sizes: Vec<usize> = files.iter().map(Vec::len).collect();
    let mut lines: Vec<Vec<u8>> = files.drain(..).flatten().collect();
    let number = |line: &[u8]| Head::read(line).expect("a head").sequence;
    match change {
        Change::Flip(at, bit) => {
            let at = at.index(lines.len());
            let byte = usize::from(*bit) * 131 % lines[at].len();
            lines[at][byte] ^= 1 << bit;
        }
        Change::Cut(at) => {
            let mut files = joined(&split(lines, &sizes));
            let file = at.index(files.len());
            let length = at.index(files[file].len());
            files[file].truncate(length);
            return files;
        }
        Change::Delete(at) => drop(lines.remove(at.index(lines.len()))),
        Change::Insert(from, to) => {
            let line = lines[from.index(lines.len())].clone();
            lines.insert(to.index(lines.len()), line);
        }
        Change::Swap(one, other) => {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
        }
        Change::Splice(from, to, count) => {
            let from = from.index(lines.len());
            let part: Vec<_> = lines[from..(from + count).min(lines.len())].to_vec();
            let to = to.index(lines.len());
            let end = (to + count).min(lines.len());
            lines.splice(to..end, part);
        }
        Change::Rewrite(at, by) => {
            let at = at.index(lines.len());
            let sequence = number(&lines[at]);
            let middle = lines[at].len() / 2 + usize::from(*by) % (lines[at].len() / 4);
            lines[at][middle] = if lines[at][middle] == b'7' { b'8' } else { b'7' };
            lines[at] = forged(&lines[at], sequence);
        }
        Change::Renumber(at) => {
            let at = at.index(lines.len());
            lines.remove(at);
            for line in &mut lines[at..] {
                *line = forged(line, number(line) - 1);
            }
        }
        Change::Rollback(at) => lines.truncate(at.index(lines.len())),
    }
    joined(&split(lines, &sizes))
}

fn split(lines: Vec<Vec<u8>>, sizes: &[usize]) -> Files {
    let mut lines = lines.into_iter();
    let mut files: Files = sizes.iter().map(|size| lines.by_ref().take(*size).collect()).collect();
    if let Some(last) = files.last_mut() {
        last.extend(lines);
    }
    files.retain(|file| !file.is_empty());
    files
}

#[test]
fn ten_thousand_changes_are_found() {
    let (files, key, kept) = written();
    let trusted = Trusted::read(key.public()).expect("a key");
    let whole = joined(&files);
    assert!(passes(&whole, &trusted, &kept), "nothing was changed");
    let mut runner =
        TestRunner::new(Config { cases: 10_000, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&change(), |change| {
        let changed = changed(&files, &change);
        // Some change nothing, as a line that changes place with itself.
        prop_assert!(changed == whole || !passes(&changed, &trusted, &kept));
        Ok(())
    });
    outcome.expect("every change is found");
}

#[test]
fn another_key_proves_nothing() {
    let (files, _, kept) = written();
    let other = Key::kept(&[8; 32]).expect("a key");
    let trusted = Trusted::read(other.public()).expect("a key");
    assert!(!passes(&joined(&files), &trusted, &kept));
}
