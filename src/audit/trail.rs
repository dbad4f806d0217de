//! The trails of a directory, as files to read: whoever reads changes nothing. Whether a gateway is writing is found out by
//! trying its lock, which is given back at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek as _};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::records::MOST_LINE;
use super::verify::{Fault, Verifier};

/// So often a directory is looked at in which files are just taking each other's place.
const LOOKS: usize = 50;
/// And so long is waited in between.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What one process after another has written, each going on after the one before.
#[derive(Debug, Default)]
pub struct Trail {
    /// Its files that were ended, the oldest first.
    pub files: Vec<PathBuf>,
    /// Files that held what the gateway did not write, and were put aside.
    pub put_aside: Vec<PathBuf>,
    /// What has the name of a file and is none.
    pub no_files: Vec<PathBuf>,
    /// The file that is written to, where it is there.
    pub active: Option<PathBuf>,
    /// That file, before the gateway could end it and give its name to the next.
    opened: Option<File>,
}

/// A line of a file.
#[derive(Debug, Clone, Copy)]
pub struct Line<'l> {
    /// From 1.
    pub number: u64,
    /// Without its end; of one that is longer than any record, no more than shows that.
    pub bytes: &'l [u8],
    /// Whether it has an end.
    pub is_ended: bool,
}

/// What came of going through files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Walked {
    /// Nothing was found to be wrong; the file that is written to ends with so many bytes of a record.
    Through {
        /// In bytes.
        torn: u64,
    },
    /// The first fault.
    Stopped {
        /// Which of the files, from 0.
        file: usize,
        /// The line there, from 1.
        line: u64,
        /// What is wrong.
        fault: Fault,
    },
}

/// How a line was read.
pub(in crate::audit) struct Read {
    /// How long it is with its end, in bytes; 0 where nothing is left.
    pub(in crate::audit) length: u64,
    pub(in crate::audit) is_ended: bool,
}

/// Reads the next line, without its end; of one that is too long no more than shows that it is.
pub(in crate::audit) fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Read> {
    line.clear();
    let mut length = 0;
    loop {
        let there = match reader.fill_buf() {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = memchr::memchr(b'\n', there);
        let part = there.get(..end.unwrap_or(there.len())).unwrap_or_default();
        let room = (MOST_LINE + 1).saturating_sub(line.len());
        line.extend_from_slice(part.get(..room).unwrap_or(part));
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        length += used as u64;
        if end.is_some() || used == 0 {
            return Ok(Read { length, is_ended: end.is_some() });
        }
    }
}

/// Shows every line of a file, and at last what stands behind the last one.
fn lines_of<B>(
    mut reader: impl BufRead,
    mut each: impl FnMut(Line<'_>) -> ControlFlow<B>,
) -> io::Result<ControlFlow<B>> {
    let mut bytes = Vec::new();
    for number in 1.. {
        let Read { length, is_ended } = read_line(&mut reader, &mut bytes)?;
        if length == 0 {
            break;
        }
        if let ControlFlow::Break(end) = each(Line { number, bytes: &bytes, is_ended }) {
            return Ok(ControlFlow::Break(end));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Goes through files, each with whether it is the one that is written to.
///
/// # Errors
/// One can't be read.
pub fn walk<R: BufRead>(
    files: impl IntoIterator<Item = io::Result<(R, bool)>>,
    verifier: &mut Verifier<'_>,
) -> io::Result<Walked> {
    let mut torn = 0;
    for (file, reader) in files.into_iter().enumerate() {
        let (reader, is_active) = reader?;
        verifier.next_file();
        let stopped = lines_of(reader, |line| {
            let checked = match (line.is_ended, is_active) {
                (true, _) => verifier.record(line.bytes),
                (false, true) => {
                    torn = line.bytes.len() as u64;
                    Ok(())
                }
                (false, false) => Err(Fault::NoEnd),
            };
            checked.map_or_else(|fault| ControlFlow::Break((line.number, fault)), ControlFlow::Continue)
        })?;
        if let ControlFlow::Break((line, fault)) = stopped {
            return Ok(Walked::Stopped { file, line, fault });
        }
    }
    Ok(Walked::Through { torn })
}

impl Trail {
    /// Whether a gateway is writing to it now. Its lock is tried for a moment; a gateway that starts just then tries again.
    pub fn is_written(&self) -> bool {
        let lock = self.active.as_ref().map(|active| active.with_extension("lock"));
        let lock = lock.filter(|lock| lock.symlink_metadata().is_ok_and(|metadata| metadata.is_file()));
        let lock = lock.and_then(|lock| File::open(lock).ok());
        lock.is_some_and(|lock| matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    }

    /// The file that is written to, as it was when the directory was listed.
    pub(in crate::audit) fn opened(&self) -> Option<&File> {
        self.opened.as_ref().filter(|_| self.active.is_some())
    }

    /// Its files from the oldest to the newest, each with whether it is the one that is written to.
    pub fn readers(&self) -> impl Iterator<Item = io::Result<(BufReader<File>, bool)>> {
        let buffered = |file| BufReader::with_capacity(1 << 20, file);
        let ended = self.files.iter().map(move |path| Ok((buffered(File::open(path)?), false)));
        let active = self.active.iter().map(move |path| {
            let mut file = match &self.opened {
                Some(opened) => opened.try_clone()?,
                None => File::open(path)?,
            };
            file.rewind()?;
            Ok((buffered(file), true))
        });
        ended.chain(active)
    }

    /// The path of one of them, by its place.
    pub fn path(&self, place: usize) -> Option<&Path> {
        self.files.iter().chain(&self.active).nth(place).map(PathBuf::as_path)
    }

    /// Shows every line with its file, until told to stop.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn lines<B>(&self, mut each: impl FnMut(&Path, Line<'_>) -> ControlFlow<B>) -> io::Result<Option<B>> {
        for (path, reader) in self.files.iter().chain(&self.active).zip(self.readers()) {
            if let ControlFlow::Break(end) = lines_of(reader?.0, |line| each(path, line))? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }
}

/// The trails of a directory, by their names.
///
/// A gateway may end a file meanwhile: each that is written to is opened, and counts if the directory is then as it was.
///
/// # Errors
/// The directory can't be read.
pub fn trails(dir: &Path) -> io::Result<BTreeMap<String, Trail>> {
    for look in 1..=LOOKS {
        if let Some(trails) = settled(dir, &list(dir)?, look == LOOKS)? {
            return Ok(trails);
        }
        std::thread::park_timeout(LOOK_AGAIN);
    }
    Err(io::Error::other("its files change faster than they can be listed: try again"))
}

/// The trails of a directory as it was listed, with the files that are written to opened; `None` where it is another now.
fn settled(dir: &Path, before: &Listed, is_last_look: bool) -> io::Result<Option<BTreeMap<String, Trail>>> {
    let mut trails = named(before);
    let identity =
        |path: &Option<PathBuf>| path.as_ref().and_then(|path| before.get(path).copied().flatten());
    let mut is_settled = true;
    for trail in trails.values_mut() {
        trail.opened = trail.active.as_ref().and_then(|active| File::open(active).ok());
        // Where it can't be opened, whoever reads it is told why.
        let opened = trail.opened.as_ref().map(|file| file.metadata().ok().and_then(|it| inode(&it)));
        is_settled &= opened.is_none_or(|opened| opened == identity(&trail.active));
        let own = identity(&trail.active);
        if own.is_some() && trail.files.iter().any(|file| before.get(file).copied().flatten() == own) {
            // It is just being ended. Where a gateway has died over that, it has both names until the next one starts.
            is_settled &= is_last_look;
            trail.active = None;
        }
    }
    Ok((is_settled && *before == list(dir)?).then_some(trails))
}

/// What has the name of a trail's file, each with what identifies the file; `None` for what is none.
type Listed = BTreeMap<PathBuf, Option<(u64, u64)>>;

fn inode(metadata: &std::fs::Metadata) -> Option<(u64, u64)> {
    metadata.is_file().then(|| (metadata.dev(), metadata.ino()))
}

fn list(dir: &Path) -> io::Result<Listed> {
    let mut found = Listed::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if stem(&path).is_none() {
            continue;
        }
        match path.symlink_metadata() {
            Ok(metadata) => {
                found.insert(path, inode(&metadata));
            }
            // It has another name now, or none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The name of the trail, and what comes behind it in the file's.
fn stem(path: &Path) -> Option<(&str, Option<&str>)> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    let (stem, part) = stem.split_once('.').map_or((stem, None), |(stem, part)| (stem, Some(part)));
    (stem == "audit" || stem.starts_with("audit-")).then_some((stem, part))
}

/// Whether a file's name says that it was ended: the number of its first record.
fn is_number(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

fn named(found: &Listed) -> BTreeMap<String, Trail> {
    let mut trails: BTreeMap<String, Trail> = BTreeMap::new();
    // The names hold the number of the first record, with zeros in front: their order is that of the records.
    for (path, inode) in found {
        let Some((stem, part)) = stem(path) else { continue };
        let trail = trails.entry(stem.to_owned()).or_default();
        let path = path.clone();
        match (inode, part) {
            (None, _) => trail.no_files.push(path),
            (Some(_), None) => trail.active = Some(path),
            (Some(_), Some(part)) if is_number(part) => trail.files.push(path),
            (Some(_), Some(_)) => trail.put_aside.push(path),
        }
    }
    trails
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_counts_only_while_no_file_takes_the_place_of_another() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let look = |before: &Listed, is_last| settled(dir.path(), before, is_last).expect("readable");
        std::fs::write(path("audit.jsonl"), "").expect("written");
        let before = list(dir.path()).expect("readable");
        assert!(look(&before, false).is_some());
        // It has a second name, then the next file takes the first one.
        std::fs::hard_link(path("audit.jsonl"), path("audit.1.jsonl")).expect("linked");
        assert!(look(&before, true).is_none(), "there is more than was listed");
        let both = list(dir.path()).expect("readable");
        assert!(look(&both, false).is_none(), "it is just being ended");
        assert!(
            look(&both, true).expect("a gateway has died").remove("audit").expect("a trail").active.is_none()
        );
        std::fs::write(path("audit.next"), "").expect("written");
        std::fs::rename(path("audit.next"), path("audit.jsonl")).expect("renamed");
        assert!(look(&both, true).is_none(), "the name is another file's");
        assert!(look(&list(dir.path()).expect("readable"), false).is_some());
    }
}
