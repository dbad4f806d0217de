//! The files beside the one that is written to: those that were ended, those that were put aside, and what a process that
//! died has left half done.

use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::opening::{NEXT, PutAside};
use crate::audit::frame::{self, Head};
use crate::audit::records::MOST_SEQUENCE;
use crate::audit::trail::read_line;

/// Files that belong to the same trail.
#[derive(Default)]
pub(super) struct Beside {
    /// The oldest first, each with the number of its first record.
    ended: Vec<(u64, PathBuf)>,
    /// In the order in which they were put aside.
    damaged: Vec<(u64, PathBuf)>,
}

impl Beside {
    pub(super) fn list(path: &Path) -> io::Result<Self> {
        let mut beside = Self::default();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        for entry in std::fs::read_dir(path.parent().unwrap_or(Path::new(".")))? {
            let other = entry?.path();
            let name = other.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let part =
                name.strip_suffix(".jsonl").and_then(|name| name.strip_prefix(stem)?.strip_prefix('.'));
            let Some(part) = part.filter(|_| other.symlink_metadata().is_ok_and(|it| it.is_file())) else {
                continue;
            };
            if let Ok(first) = part.parse() {
                beside.ended.push((first, other));
            } else if let Some(number) = part.strip_prefix("damaged-").and_then(|part| part.parse().ok()) {
                beside.damaged.push((number, other));
            }
        }
        beside.ended.sort();
        beside.damaged.sort();
        Ok(beside)
    }

    /// The oldest file that was ended, with the number of its first record, and the one behind it.
    pub(super) fn front<'b>(&'b self, active: &'b Path) -> Option<(u64, &'b Path, &'b Path)> {
        let mut ended = self.ended.iter();
        let (first, front) = ended.next()?;
        Some((*first, front, ended.next().map_or(active, |(_, next)| next)))
    }

    /// Whether a file that was ended begins with the record of this number.
    pub(super) fn has(&self, first: u64) -> bool {
        self.ended.iter().any(|(other, _)| *other == first)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.damaged.is_empty()
    }

    /// The highest number that any record here may have, or one in a further file: none is ever given twice.
    pub(super) fn last_sequence(&self, also: Option<&Path>) -> io::Result<u64> {
        let mut last = 0;
        if let Some((first, newest)) = self.ended.last() {
            last = last_of(newest, first.saturating_sub(1).min(MOST_SEQUENCE))?;
        }
        for path in self.damaged.iter().map(|(_, path)| path.as_path()).chain(also) {
            last = last.max(last_of(path, 0)?);
        }
        Ok(last)
    }

    /// The file that was put aside last, with its first line that is not as it was written.
    pub(super) fn newest_damaged(
        &self,
        damage: impl FnOnce(BufReader<File>) -> io::Result<Option<u64>>,
    ) -> io::Result<Option<PutAside>> {
        let Some((_, path)) = self.damaged.last() else { return Ok(None) };
        let line = damage(BufReader::with_capacity(1 << 20, File::open(path)?))?.unwrap_or(1);
        Ok(Some(PutAside { file: name(path), line }))
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The highest number in a file whose first record's is higher than `before`. A line whose checksum does not fit may say
/// anything: it counts as one record.
fn last_of(path: &Path, before: u64) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path)?);
    let (mut last, mut line) = (before, Vec::new());
    while read_line(&mut reader, &mut line)?.length > 0 {
        let said = Head::read(&line).filter(|_| frame::is_whole(&line)).map(|head| head.sequence);
        last = match said.filter(|sequence| *sequence < MOST_SEQUENCE) {
            Some(sequence) => last.max(sequence),
            None => last.saturating_add(1),
        };
    }
    Ok(last)
}

/// Gives the file another name, under which nothing writes to it.
pub(super) fn put_aside(path: &Path) -> io::Result<String> {
    for number in 1.. {
        let aside = path.with_extension(format!("damaged-{number}.jsonl"));
        if aside.symlink_metadata().is_err() {
            std::fs::rename(path, &aside)?;
            return Ok(name(&aside));
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Ends what a process has begun that died while it put the next file in place of one that was full: that had two names
/// then.
pub(super) fn finish_rotation(path: &Path) -> io::Result<()> {
    let next = path.with_extension(NEXT);
    let has_next = next.symlink_metadata().is_ok();
    let twin = Beside::list(path)?.ended.into_iter().find(|(_, ended)| is_same(path, ended));
    if twin.is_some() && has_next && follows(&next, path)? {
        // It was on disk before the other got its second name.
        return std::fs::rename(&next, path);
    }
    // Nothing has taken its place: it goes on, under the name that it had. Of the next there is one record at most, and
    // that says only where a file would have begun.
    if has_next {
        std::fs::remove_file(&next)?;
    }
    twin.map_or(Ok(()), |(_, ended)| std::fs::remove_file(ended))
}

/// Whether both are names of one file.
pub(super) fn is_same(path: &Path, other: &Path) -> bool {
    let inode = |path: &Path| {
        let metadata = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some((metadata.dev(), metadata.ino()))
    };
    inode(path).is_some_and(|own| inode(other) == Some(own))
}

/// Whether the next file begins with the record behind the last one: a process that could not put it in place goes on
/// with the file before.
fn follows(next: &Path, path: &Path) -> io::Result<bool> {
    let mut line = Vec::new();
    let read = read_line(&mut BufReader::new(File::open(next)?), &mut line)?;
    let first =
        Head::read(&line).filter(|_| read.is_ended && frame::is_whole(&line)).map(|head| head.sequence);
    Ok(first.is_some() && first == last_of(path, 0)?.checked_add(1))
}
