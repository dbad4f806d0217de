//! How far a sink has come, kept beside the journal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A place in a trail. A file is known by its first record, whatever its name has become; that the place is still the same is
/// seen by what stands before it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The number of the file's first record; 0 before any file.
    pub(super) first: u64,
    /// So many bytes of the file are delivered.
    pub(super) offset: u64,
    /// The checksum (CRC-32) of the last of them.
    pub(super) before: u32,
    /// The number of the last record that was delivered.
    pub(super) sequence: u64,
}

/// So many bytes before a place are looked at: the checksum of its last record is among them.
const LOOK_BACK: u64 = 64;

impl Position {
    /// What stands before the place in a file; `None` where the file is shorter.
    fn look_back(&self, file: &File) -> io::Result<Option<u32>> {
        let length = self.offset.min(LOOK_BACK);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        match file.read_exact_at(&mut bytes, self.offset - length) {
            Ok(()) => Ok(Some(crc32fast::hash(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the file is still the one that it was up to here. After a loss of power it may hold other records than those
    /// that were delivered.
    pub(super) fn fits(&self, file: &File) -> io::Result<bool> {
        Ok(self.offset == 0 || self.look_back(file)? == Some(self.before))
    }

    /// Remembers what stands before the place.
    pub(super) fn seal(&mut self, file: &File) -> io::Result<()> {
        self.before = self.look_back(file)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(())
    }
}

/// The places in all trails of a directory, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) trails: BTreeMap<String, Position>,
}

/// The directory of cursors, in that of the journal.
const DIR: &str = "sinks";

/// Where a sink's cursor is kept.
pub(super) fn path(dir: &Path, sink: &str) -> PathBuf {
    dir.join(DIR).join(format!("{sink}.cursor"))
}

/// The lock of a sink: of two processes of an upgrade only one delivers.
///
/// # Errors
/// The directory can't be written.
pub(super) fn lock_file(dir: &Path, sink: &str) -> io::Result<File> {
    let dir = dir.join(DIR);
    std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700).create(&dir)?;
    std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(dir.join(format!("{sink}.lock")))
}

/// The last record of a trail that every one of these sinks has: 0 where one has none, and where its place is in a file that is not
/// there, so that its trail may be another one.
///
/// # Errors
/// A cursor can't be read.
pub fn delivered(
    dir: &Path,
    sinks: &[Box<str>],
    trail: &str,
    is_there: impl Fn(u64) -> bool,
) -> io::Result<u64> {
    let mut last = u64::MAX;
    for sink in sinks {
        let cursor = Cursor::load(&path(dir, sink))?;
        let place = cursor.trails.get(trail).filter(|place| is_there(place.first));
        last = last.min(place.map_or(0, |place| place.sequence));
    }
    Ok(last)
}

impl Cursor {
    /// Reads a cursor; an empty one where none was written.
    ///
    /// # Errors
    /// It can't be read, or is none.
    pub(super) fn load(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes it so that the old or the new one is there, whenever the power fails.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let unfinished = path.with_extension("cursor-unfinished");
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_data()?;
        std::fs::rename(&unfinished, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_kept_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        lock_file(dir.path(), "siem").expect("made");
        let path = path(dir.path(), "siem");
        assert_eq!(Cursor::load(&path).expect("none yet"), Cursor::default());
        let place = Position { first: 1, offset: 9, before: 7, sequence: 3 };
        let cursor = Cursor { trails: [("audit".to_owned(), place)].into() };
        cursor.save(&path).expect("saved");
        assert_eq!(Cursor::load(&path).expect("loaded"), cursor);
        std::fs::write(&path, "{").expect("written");
        Cursor::load(&path).expect_err("not a cursor");
    }
}
