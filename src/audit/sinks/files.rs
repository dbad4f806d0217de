//! The files of a trail as a sink reads them: by the numbers of their first records, and each by whatever handle is at hand.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::audit::frame::{self, Head};
use crate::audit::records::{MOST_LINE, MOST_SEQUENCE};
use crate::audit::trail::{Trail, read_line};

/// A line that a crash has cut is looked for in blocks of this size, in bytes.
const BLOCK: u64 = 1 << 16;

/// Where a file of a trail is.
pub(super) enum Place<'t> {
    At(&'t Path),
    Opened(&'t File),
}

/// The files of a trail by the numbers of their first records, one for each: of several the one that the journal named, then
/// the one that is written to, then the longest of those that were put aside (also as somebody's copy). What is whole in
/// those was recorded.
///
/// # Errors
/// One can't be read, and what follows it must not be taken for all there is.
pub(super) fn sources(trail: &Trail) -> io::Result<Vec<(u64, Place<'_>)>> {
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

/// Reads a file from a place on, whoever else reads it through the same handle.
pub(super) struct ReadAt<'f> {
    pub(super) file: &'f File,
    pub(super) offset: u64,
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

impl Place<'_> {
    /// Does something with the file.
    ///
    /// # Errors
    /// It can't be opened, or what is done fails.
    pub(super) fn with<T>(&self, work: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Opened(file) => work(file),
            Self::At(path) => work(&File::open(path)?),
        }
    }
}

/// The number of a trail's last whole record, or 0.
///
/// # Errors
/// Its last file can't be read.
pub(super) fn newest(sources: &[(u64, Place<'_>)]) -> io::Result<u64> {
    sources.last().map_or(Ok(0), |(_, place)| place.with(last_of))
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

/// Where the last line ends, in a file of this length.
///
/// # Errors
/// It can't be read.
pub(super) fn end_of_lines(file: &File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut block = vec![0; BLOCK as usize];
    while end > 0 {
        let begin = end.saturating_sub(BLOCK);
        let part = block.get_mut(..usize::try_from(end - begin).unwrap_or_default()).unwrap_or_default();
        file.read_exact_at(part, begin)?;
        if let Some(last) = memchr::memrchr(b'\n', part) {
            return Ok(begin + last as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_lines_is_found_over_blocks() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        for (text, end) in [
            (String::new(), 0),
            ("abc".to_owned(), 0),
            (format!("a\n{}", "b".repeat(200_000)), 2),
            (format!("{}\n", "b".repeat(200_000)), 200_001),
        ] {
            std::fs::write(&path, &text).expect("written");
            let file = File::open(&path).expect("opened");
            assert_eq!(end_of_lines(&file, text.len() as u64).expect("read"), end);
        }
    }
}
