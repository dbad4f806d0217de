//! What a sink gets next: whole records with a good checksum, in the order of their numbers, from one file to the next.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;

use super::cursor::{Cursor, Position};
use crate::audit::frame::{self, Head};
use crate::audit::records::{MOST_LINE, MOST_SEQUENCE};
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
}

/// What follows a place.
#[derive(Debug)]
pub(super) struct Batch {
    /// The trail's name.
    pub(super) trail: String,
    /// In order; none where only damaged lines follow.
    pub(super) records: Vec<Record>,
    /// The place behind them.
    pub(super) after: Position,
    /// So many lines are no records as they were written, and are left out.
    pub(super) damaged: u64,
    /// So many records follow, about.
    pub(super) behind: u64,
}

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
        let batch = of_trail(name, trail, &at, most)?;
        if batch.after != at {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}

/// Where a file of a trail is.
enum Place<'t> {
    At(&'t Path),
    Opened(&'t File),
}

/// The files of a trail by the numbers of their first records, one for each: of several the one that the journal named, then
/// the one that is written to, then the longest of those that were put aside (also as somebody's copy). What is whole in
/// those was recorded.
///
/// # Errors
/// One can't be read, and what follows it must not be taken for all there is.
fn sources(trail: &Trail) -> io::Result<Vec<(u64, Place<'_>)>> {
    let named = |path: &Path, error: io::Error| {
        io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
    };
    let mut found = Vec::new();
    for path in &trail.files {
        // Their names hold it.
        let number = path.file_stem().and_then(|stem| stem.to_str()?.rsplit('.').next()?.parse().ok());
        found.extend(number.map(|first: u64| (first, 0, 0, Place::At(path))));
    }
    match (&trail.active, trail.opened()) {
        (Some(path), None) => return Err(named(path, io::Error::other("it can't be opened"))),
        (_, Some(file)) => found.extend(first_of(file)?.map(|first| (first, 1, 0, Place::Opened(file)))),
        (None, None) => {}
    }
    for path in &trail.put_aside {
        let file = File::open(path).map_err(|error| named(path, error))?;
        let length = file.metadata()?.len();
        found.extend(first_of(&file)?.map(|first| (first, 2, u64::MAX - length, Place::At(path))));
    }
    found.retain(|(first, ..)| *first < MOST_SEQUENCE);
    found.sort_by_key(|(first, kind, shorter, _)| (*first, *kind, *shorter));
    found.dedup_by_key(|(first, ..)| *first);
    Ok(found.into_iter().map(|(first, _, _, place)| (first, place)).collect())
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

/// Reads a file from a place on, whoever else reads it through the same handle.
struct ReadAt<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for ReadAt<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// The number of a file's first whole record.
fn first_of(file: &File) -> io::Result<Option<u64>> {
    let (mut reader, mut line) = (BufReader::new(ReadAt { file, offset: 0 }), Vec::new());
    while read_line(&mut reader, &mut line)?.is_ended {
        if frame::is_whole(&line) {
            return Ok(Head::read(&line).map(|head| head.sequence));
        }
    }
    Ok(None)
}

/// The number of a file's last whole record, or 0.
fn last_of(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let offset = length.saturating_sub(MOST_LINE as u64 + 4096);
    let (mut reader, mut line, mut last) = (BufReader::new(ReadAt { file, offset }), Vec::new(), 0);
    while read_line(&mut reader, &mut line)?.is_ended {
        last = Head::read(&line).map_or(last, |head| head.sequence);
    }
    Ok(last)
}

fn of_trail(name: &str, trail: &Trail, at: &Position, most: usize) -> io::Result<Batch> {
    let sources = sources(trail)?;
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
            batch.behind = match sources.last() {
                Some((_, Place::Opened(file))) => last_of(file)?,
                Some((_, Place::At(path))) => last_of(&File::open(path)?)?,
                None => 0,
            }
            .saturating_sub(batch.after.sequence);
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
        if let Some((sequence, record)) = record {
            if batch.records.len() >= most || (*bytes > 0 && *bytes + line.len() > MOST_BYTES) {
                return Ok(true);
            }
            *bytes += line.len();
            batch.records.push(record);
            batch.after.sequence = sequence;
        } else {
            batch.damaged += 1;
        }
        batch.after.offset += read.length;
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
    let record = Record { key: format!("{origin}:{seq}"), time: time.parse().ok()?, line: line.to_vec() };
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
