//! What is found where the journal is to be written: records to go on after, a last one that a crash cut short, or
//! something that the gateway did not write.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tlog_tiles::tlog::Hash;

use super::sealing::Log;
use crate::audit::frame::{self, Head};
use crate::audit::tree::Tree;

/// Why the journal can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("the audit file `{path}` can't be used: {cause}; {remedy}")]
pub struct OpenError {
    path: PathBuf,
    cause: String,
    remedy: &'static str,
    /// Whether another process writes to it.
    pub(super) is_held: bool,
}

impl OpenError {
    pub(super) fn new(path: &Path, cause: &dyn std::fmt::Display, remedy: &'static str) -> Self {
        Self { path: path.to_owned(), cause: cause.to_string(), remedy, is_held: false }
    }
}

/// A file that was put aside.
pub(super) struct PutAside {
    /// Its name, without the directory.
    pub(super) file: String,
    /// The first line that is not as it was written, from 1.
    pub(super) line: u64,
}

/// Where the journal goes on.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) bytes: u64,
    /// The number of the file's first record.
    pub(super) first_sequence: u64,
    pub(super) next_sequence: u64,
    /// The log to go on with; `None` where a new one begins.
    pub(super) log: Option<Log>,
    /// So many bytes of a last record were cut off.
    pub(super) torn: u64,
    pub(super) put_aside: Option<PutAside>,
    pub(super) had_records: bool,
}

/// Takes the lock beside the file; it is held as long as what is given back.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let lock = path.with_extension("lock");
    let file =
        open_private(&lock).map_err(|cause| OpenError::new(&lock, &cause, "let this user write to it"))?;
    file.try_lock().map_err(|cause| OpenError {
        is_held: matches!(cause, TryLockError::WouldBlock),
        ..OpenError::new(path, &cause, "another wardgate writes to it: give each process its own `audit.dir`")
    })?;
    Ok(file)
}

/// Opens the file that is written to, and finds out where it stands.
pub(super) fn open(path: &Path) -> Result<Opened, OpenError> {
    let fail = |cause: &dyn std::fmt::Display| OpenError::new(path, cause, "let this user read and write it");
    // A file that was about to take this one's place when the process died, and holds no more than its beginning.
    let next = path.with_extension(NEXT);
    match (path.exists(), next.exists()) {
        (false, true) => std::fs::rename(&next, path).map_err(|cause| fail(&cause))?,
        (true, true) => std::fs::remove_file(&next).map_err(|cause| fail(&cause))?,
        (_, false) => {}
    }
    let file = open_private(path).map_err(|cause| fail(&cause))?;
    let found =
        Found::read(BufReader::with_capacity(1 << 20, File::open(path).map_err(|cause| fail(&cause))?))
            .map_err(|cause| fail(&cause))?;
    if let Some(line) = found.damage {
        let aside = put_aside(path).map_err(|cause| fail(&cause))?;
        tracing::error!(
            file = aside,
            line,
            "the audit trail holds what the gateway did not write; it was put aside"
        );
        return Ok(Opened {
            file: open_private(path).map_err(|cause| fail(&cause))?,
            bytes: 0,
            first_sequence: found.last_sequence + 1,
            next_sequence: found.last_sequence + 1,
            log: None,
            torn: 0,
            put_aside: Some(PutAside { file: aside, line }),
            had_records: true,
        });
    }
    if found.torn > 0 {
        tracing::warn!(bytes = found.torn, "the last audit record was cut short by a crash, and is cut off");
        file.set_len(found.bytes).map_err(|cause| fail(&cause))?;
    }
    Ok(Opened {
        file,
        bytes: found.bytes,
        first_sequence: found.first_sequence.unwrap_or(found.last_sequence + 1),
        next_sequence: found.last_sequence + 1,
        had_records: found.log.is_some(),
        log: found.log,
        torn: found.torn,
        put_aside: None,
    })
}

/// The ending of a file that is to take the place of the one that is written to.
pub(super) const NEXT: &str = "next";

pub(super) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Gives the file another name, under which nothing writes to it.
fn put_aside(path: &Path) -> io::Result<String> {
    for number in 1.. {
        let aside = path.with_extension(format!("damaged-{number}.jsonl"));
        if !aside.exists() {
            std::fs::rename(path, &aside)?;
            let name = aside.file_name().map(|name| name.to_string_lossy().into_owned());
            return Ok(name.unwrap_or_default());
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// What a file holds.
#[derive(Default)]
struct Found {
    bytes: u64,
    torn: u64,
    first_sequence: Option<u64>,
    last_sequence: u64,
    log: Option<Log>,
    /// The first line that is not as it was written.
    damage: Option<u64>,
}

#[derive(Deserialize)]
struct Segment {
    log: String,
    tree_first: u64,
    size: u64,
    edge: Vec<Hash>,
}

impl Segment {
    fn read(line: &[u8]) -> Option<Log> {
        let segment: Self = serde_json::from_slice(line).ok()?;
        let tree = Tree::resume(segment.size, segment.edge)?;
        Some(Log { name: segment.log, first: segment.tree_first, tree })
    }
}

impl Found {
    fn read(mut reader: impl io::BufRead) -> io::Result<Self> {
        let mut found = Self::default();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)? as u64;
            if length == 0 {
                break;
            }
            if line.pop_if(|byte| *byte == b'\n').is_none() {
                found.torn = length;
                break;
            }
            // After damage only the numbers are of interest: none must be given twice.
            let head = Head::read(&line);
            let expected = found.log.as_ref().map(|_| found.last_sequence + 1);
            let sequence = head.map(|head| head.sequence);
            if number == 1 {
                found.log = Segment::read(&line);
                found.first_sequence = sequence;
            }
            let fits = frame::is_whole(&line) && (number == 1 || sequence == expected);
            if found.damage.is_none() && !(fits && found.log.is_some()) {
                found.damage = Some(number);
            }
            found.last_sequence = found.last_sequence.max(sequence.unwrap_or_default());
            found.bytes += length;
            if let Some(log) = &mut found.log {
                log.tree.push(&line);
            }
        }
        Ok(found)
    }
}
