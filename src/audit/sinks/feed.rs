//! What a sink gets next: whole records with a good checksum, in the order of their numbers, from one file to the next.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader};
use std::ops::Bound;
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;

use super::cursor::{Cursor, Position};
use super::files::{self, Place, ReadAt};
use crate::audit::frame;
use crate::audit::trail::{self, Trail, read_line};

/// No more bytes of records are handed over at once, unless one alone is longer.
const MOST_BYTES: usize = 1 << 20;

/// One record.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// `origin:seq`, by which whoever gets it twice knows it.
    pub(super) key: String,
    /// When it was written.
    pub(super) time: Timestamp,
    /// Its line, without the end.
    pub(super) line: Vec<u8>,
    /// The place behind it.
    pub(super) after: Position,
}

/// What follows a place.
#[derive(Debug)]
pub(super) struct Batch {
    /// The trail's name.
    pub(super) trail: String,
    /// In order; none where only damaged lines follow.
    pub(super) records: Vec<Record>,
    /// The place behind all of it.
    pub(super) after: Position,
    /// So many lines are no records as they were written, and are left out.
    pub(super) damaged: u64,
    /// So many records follow in all trails, about.
    pub(super) behind: u64,
}

/// So much of a trail is read again before its first record is converted, in bytes: the intents in it, of which outcomes are
/// still to come.
const LOOK_BACK: u64 = 16 << 20;

/// The next records of any trail; trails take turns, beginning behind the one named `last`. Forgets trails that are gone.
///
/// # Errors
/// Something can't be read.
pub(super) fn next(dir: &Path, cursor: &mut Cursor, last: &str, most: usize) -> io::Result<Option<Batch>> {
    let trails = trail::trails(dir)?;
    cursor.trails.retain(|name, _| trails.contains_key(name));
    let behind = trails.range::<str, _>((Bound::Excluded(last), Bound::Unbounded));
    for (name, trail) in behind.chain(trails.range::<str, _>((Bound::Unbounded, Bound::Included(last)))) {
        let at = cursor.trails.get(name).cloned().unwrap_or_default();
        let mut batch = of_trail(name, trail, &at, most)?;
        if batch.after != at {
            for (other, trail) in trails.iter().filter(|(other, _)| *other != name) {
                let delivered = cursor.trails.get(other).map_or(0, |at| at.sequence);
                batch.behind += files::newest(&files::sources(trail)?)?.saturating_sub(delivered);
            }
            return Ok(Some(batch));
        }
    }
    Ok(None)
}

/// Shows the records of a trail that stand just before a place, the oldest first.
///
/// # Errors
/// Something can't be read.
pub(super) fn before(dir: &Path, name: &str, at: &Position, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let trails = trail::trails(dir)?;
    let Some(trail) = trails.get(name) else { return Ok(()) };
    let sources = files::sources(trail)?;
    let mut left = LOOK_BACK;
    let mut parts = Vec::new();
    for (first, place) in sources.iter().rev().filter(|(first, _)| *first <= at.first) {
        let end =
            if *first == at.first { at.offset } else { place.with(|file| Ok(file.metadata()?.len()))? };
        let begin = end.saturating_sub(left);
        parts.push((place, begin, end));
        left -= end - begin;
        if left == 0 {
            break;
        }
    }
    for (place, begin, end) in parts.into_iter().rev() {
        place.with(|file| {
            let mut reader = BufReader::with_capacity(1 << 16, ReadAt { file, offset: begin });
            let (mut line, mut offset) = (Vec::new(), begin);
            while offset < end {
                let read = read_line(&mut reader, &mut line)?;
                if read.length == 0 {
                    break;
                }
                offset += read.length;
                // The first one may be the end of a record only, and has no good checksum then.
                if read.is_ended && frame::is_whole(&line) {
                    each(&line);
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Where to go on: at the beginning, where the trail is another one than the cursor's, as after an operator has moved the old
/// one away. Files that are gone from the front are no sign of that.
fn whence<'a>(name: &str, at: &'a Position, sources: &[(u64, Place<'_>)]) -> Cow<'a, Position> {
    let is_there = sources.iter().any(|(first, _)| *first == at.first);
    let is_older = sources.first().is_some_and(|(first, _)| *first < at.first);
    if is_there || !is_older {
        return Cow::Borrowed(at);
    }
    tracing::warn!(trail = name, "the trail is not what it was; it is delivered from its beginning");
    Cow::Owned(Position::default())
}

fn of_trail(name: &str, trail: &Trail, at: &Position, most: usize) -> io::Result<Batch> {
    let sources = files::sources(trail)?;
    let at = whence(name, at, &sources);
    let mut batch = Batch {
        trail: name.to_owned(),
        records: Vec::new(),
        after: at.as_ref().clone(),
        damaged: 0,
        behind: 0,
    };
    let mut bytes = 0;
    let begin = sources.iter().position(|(first, _)| *first >= at.first).unwrap_or(sources.len());
    for (number, (first, place)) in sources.iter().enumerate().skip(begin) {
        // It was listed after the one before it was ended, which is read to its end by now.
        let is_last = number + 1 == sources.len() || matches!(place, Place::Opened(_));
        let opened;
        let file = match place {
            Place::Opened(file) => *file,
            Place::At(path) => {
                opened = File::open(path)?;
                &opened
            }
        };
        if batch.after.first != *first {
            let expected = batch.after.sequence.saturating_add(1);
            if batch.after.sequence > 0 && *first > expected {
                tracing::error!(
                    trail = name,
                    from = expected,
                    to = first - 1,
                    "records of the audit trail are not there any more and were not delivered"
                );
            }
            batch.after.first = *first;
            batch.after.offset = 0;
        } else if !batch.after.fits(file)? {
            tracing::warn!(
                trail = name,
                first,
                "the file is not what it was; it is delivered again from its beginning"
            );
            batch.after.offset = 0;
        }
        let is_full = read(file, &mut batch, is_last, most, &mut bytes)?;
        batch.after.seal(file)?;
        if is_full {
            batch.behind = files::newest(&sources)?.saturating_sub(batch.after.sequence);
            break;
        }
    }
    Ok(batch)
}

/// Takes a file's records; says whether the batch is full.
fn read(file: &File, batch: &mut Batch, is_last: bool, most: usize, bytes: &mut usize) -> io::Result<bool> {
    let mut reader = BufReader::with_capacity(1 << 16, ReadAt { file, offset: batch.after.offset });
    let mut line = Vec::new();
    loop {
        let read = read_line(&mut reader, &mut line)?;
        if read.length == 0 || (!read.is_ended && is_last) {
            return Ok(false);
        }
        let record =
            Some(&line).filter(|line| read.is_ended && frame::is_whole(line)).and_then(|line| record(line));
        let is_record = record.is_some();
        if is_record && (batch.records.len() >= most || (*bytes > 0 && *bytes + line.len() > MOST_BYTES)) {
            return Ok(true);
        }
        batch.after.offset += read.length;
        if let Some((sequence, mut record)) = record {
            *bytes += line.len();
            batch.after.sequence = sequence;
            batch.after.seal(file)?;
            record.after.clone_from(&batch.after);
            batch.records.push(record);
        } else {
            batch.damaged += 1;
        }
    }
}

fn record(line: &[u8]) -> Option<(u64, Record)> {
    #[derive(Deserialize)]
    struct Own<'l> {
        seq: u64,
        #[serde(borrow)]
        origin: Cow<'l, str>,
        #[serde(borrow)]
        time: Cow<'l, str>,
    }
    let Own { seq, origin, time } = serde_json::from_slice(line).ok()?;
    // A checksum can be made by anybody, and a key stands where no quotation mark may.
    let is_origin =
        (1..=64).contains(&origin.len()) && origin.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_origin {
        return None;
    }
    let record = Record {
        key: format!("{origin}:{seq}"),
        time: time.parse().ok()?,
        line: line.to_vec(),
        after: Position::default(),
    };
    Some((seq, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64) -> Vec<u8> {
        let text = format!(
            r#"{{"seq":{number},"origin":"o","time":"2026-11-22T10:15:00Z","v":1,"event":"stopping"}}"#
        );
        let mut line = text.into_bytes();
        frame::close(&mut line, 0);
        line.push(b'\n');
        line
    }

    fn lines(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
        numbers.into_iter().flat_map(line).collect()
    }

    /// Everything that is new, in batches of `most`.
    fn drain(dir: &Path, cursor: &mut Cursor, most: usize) -> (Vec<String>, u64) {
        let (mut keys, mut damaged, mut last) = (Vec::new(), 0, String::new());
        while let Some(batch) = next(dir, cursor, &last, most).expect("readable") {
            assert!(batch.records.len() <= most);
            keys.extend(batch.records.into_iter().map(|record| record.key));
            damaged += batch.damaged;
            cursor.trails.insert(batch.trail.clone(), batch.after);
            last = batch.trail;
        }
        (keys, damaged)
    }

    fn keys(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
        numbers.into_iter().map(|number| format!("o:{number}")).collect()
    }

    #[test]
    fn records_come_in_order_over_files_that_were_ended_or_put_aside() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("written");
        write("audit.00000000000000000001.jsonl", &lines(1..=5));
        write("audit.jsonl", &lines(6..=8));
        let mut cursor = Cursor::default();
        assert_eq!(drain(dir.path(), &mut cursor, 2), (keys(1..=8), 0));
        // A part of a record is not one yet.
        let mut more = lines(6..=10);
        let whole = more.len();
        more.extend(&line(11)[..20]);
        write("audit.jsonl", &more);
        assert_eq!(drain(dir.path(), &mut cursor, 9), (keys(9..=10), 0));
        more.truncate(whole);
        more.extend(line(11));
        // It is put aside before the sink has seen its last record; a sibling of an upgrade is there too.
        write("audit.damaged-1.jsonl", &more);
        write("audit.jsonl", &lines(12..=13));
        write("audit-abc.jsonl", &lines(1..=1));
        let (mut found, damaged) = drain(dir.path(), &mut cursor, 9);
        assert_eq!(
            (found.remove(0), damaged),
            ("o:11".to_owned(), 0),
            "the trail that comes first has its turn"
        );
        assert_eq!(found, [keys(12..=13), keys(1..=1)].concat());
    }

    #[test]
    fn a_damaged_line_is_left_out_and_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut bytes = lines(1..=2);
        bytes.extend(br#"{"seq":3,"origin":"o","time":"2026-11-22T10:15:00Z","v":1,"event":"forged","crc":"00000000"}"#);
        bytes.push(b'\n');
        bytes.extend(line(4));
        std::fs::write(dir.path().join("audit.jsonl"), bytes).expect("written");
        assert_eq!(drain(dir.path(), &mut Cursor::default(), 9), (keys([1, 2, 4]), 1));
    }

    #[test]
    fn other_records_in_the_place_of_delivered_ones_are_delivered() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit.jsonl");
        std::fs::write(&path, lines(1..=5)).expect("written");
        let mut cursor = Cursor::default();
        drain(dir.path(), &mut cursor, 9);
        // A loss of power took the last two, and another process wrote as many bytes there.
        let other = [lines(1..=3), lines([7, 8])].concat();
        std::fs::write(&path, other).expect("written");
        assert_eq!(drain(dir.path(), &mut cursor, 9).0, keys([1, 2, 3, 7, 8]));
        std::fs::write(&path, lines(1..=2)).expect("written");
        assert_eq!(drain(dir.path(), &mut cursor, 9).0, keys(1..=2), "a file that is shorter now");
    }

    #[test]
    fn another_trail_in_the_place_of_the_old_one_is_delivered_from_its_beginning() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("written");
        write("audit.00000000000000000001.jsonl", &lines(1..=5));
        write("audit.jsonl", &lines(6..=8));
        let mut cursor = Cursor::default();
        drain(dir.path(), &mut cursor, 9);
        // What is gone from the front changes nothing.
        std::fs::remove_file(dir.path().join("audit.00000000000000000001.jsonl")).expect("removed");
        assert_eq!(drain(dir.path(), &mut cursor, 9).0, keys([]));
        write("audit.jsonl", &lines(1..=3));
        assert_eq!(drain(dir.path(), &mut cursor, 2).0, keys(1..=3));
        assert_eq!(drain(dir.path(), &mut cursor, 2).0, keys([]));
    }

    #[test]
    fn a_copy_that_lies_beside_is_not_delivered_as_well() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("written");
        write("audit.jsonl", &lines(1..=5));
        write("audit.bak.jsonl", &lines(1..=3));
        let mut cursor = Cursor::default();
        assert_eq!(drain(dir.path(), &mut cursor, 2).0, keys(1..=5));
        std::fs::rename(dir.path().join("audit.jsonl"), dir.path().join("audit.00000000000000000001.jsonl"))
            .expect("renamed");
        write("audit.jsonl", &lines(6..=9));
        assert_eq!(drain(dir.path(), &mut cursor, 2).0, keys(6..=9));
    }

    #[test]
    fn an_origin_that_could_end_a_text_is_none() {
        for origin in ["", "a\\\"}}", "a b", &"a".repeat(65)] {
            let text = format!(r#"{{"seq":1,"origin":"{origin}","time":"2026-11-22T10:15:00Z"}}"#);
            assert!(record(text.as_bytes()).is_none(), "{origin}");
        }
        assert!(record(br#"{"seq":1,"origin":"0a","time":"2026-11-22T10:15:00Z"}"#).is_some());
    }
}
