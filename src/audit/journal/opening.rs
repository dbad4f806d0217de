//! What is found where the journal is to be written: records to go on after, a last one that a crash cut short, or
//! something that the gateway did not write.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::beside::{self, Beside};
use super::sealing::Log;
use crate::audit::frame;
use crate::audit::records::MOST_LINE;
use crate::audit::signing::Trusted;
use crate::audit::trail::read_line;
use crate::audit::verify::Verifier;

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
    /// Whether the new log begins because records are damaged or missing.
    pub(super) is_quarantine: bool,
    pub(super) put_aside: Option<PutAside>,
    pub(super) had_records: bool,
}

/// Who only looks whether the lock is held has it for a moment.
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_AGAIN: Duration = Duration::from_millis(10);

/// Takes the lock beside the file; it is held as long as what is given back.
pub(super) fn lock(path: &Path) -> Result<File, OpenError> {
    let lock = path.with_extension("lock");
    let file =
        open_private(&lock).map_err(|cause| OpenError::new(&lock, &cause, "let this user write to it"))?;
    let mut attempts = 1;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if attempts < LOCK_ATTEMPTS => {
                attempts += 1;
                std::thread::park_timeout(LOCK_AGAIN);
            }
            Err(cause) => {
                return Err(OpenError {
                    is_held: matches!(cause, TryLockError::WouldBlock),
                    ..OpenError::new(
                        path,
                        &cause,
                        "another wardgate writes to it: give each process its own `audit.dir`",
                    )
                });
            }
        }
    }
}

/// Opens the file that is written to, and finds out where it stands: by what the key vouches for.
pub(super) fn open(path: &Path, key: &Trusted) -> Result<Opened, OpenError> {
    let fail = |cause: &dyn std::fmt::Display| OpenError::new(path, cause, "let this user read and write it");
    if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_file()) {
        // A pipe would be waited for; of a link only the link would be ended.
        return Err(OpenError::new(
            path,
            &"it is no regular file",
            "move it away; `audit.dir` may be a link",
        ));
    }
    beside::finish_rotation(path).map_err(|cause| fail(&cause))?;
    let beside = Beside::list(path).map_err(|cause| fail(&cause))?;
    let found = match File::open(path) {
        Ok(file) => Found::read(BufReader::with_capacity(1 << 20, file), key),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::default()),
        Err(error) => Err(error),
    };
    let found = found.map_err(|cause| fail(&cause))?;
    if let Some(line) = found.damage {
        // Before it has another name, which says nothing of where it stood.
        let last = beside.last_sequence(Some(path)).map_err(|cause| fail(&cause))?;
        let aside = beside::put_aside(path).map_err(|cause| fail(&cause))?;
        tracing::error!(
            file = aside,
            line,
            "the audit trail holds what the gateway did not write; it was put aside"
        );
        return quarantine(path, last, Some(PutAside { file: aside, line }), 0);
    }
    if found.log.is_none() && !beside.is_empty() {
        // Files were removed, or a process died after it put one aside.
        let last = beside.last_sequence(None).map_err(|cause| fail(&cause))?;
        let aside = beside.newest_damaged(|reader| Ok(Found::read(reader, key)?.damage));
        tracing::error!("the newest audit records are missing; a new log begins");
        return quarantine(path, last, aside.map_err(|cause| fail(&cause))?, found.torn);
    }
    let file = open_private(path).map_err(|cause| fail(&cause))?;
    if found.torn > 0 {
        tracing::warn!(bytes = found.torn, "the last audit record was cut short by a crash, and is cut off");
        file.set_len(found.bytes).map_err(|cause| fail(&cause))?;
    }
    let next_sequence = found.log.as_ref().map_or(1, |(_, next)| *next);
    Ok(Opened {
        file,
        bytes: found.bytes,
        first_sequence: found.first_sequence.unwrap_or(next_sequence),
        next_sequence,
        had_records: found.log.is_some(),
        log: found.log.map(|(log, _)| log),
        torn: found.torn,
        is_quarantine: false,
        put_aside: None,
    })
}

/// A new log behind all that was ever numbered.
fn quarantine(path: &Path, last: u64, put_aside: Option<PutAside>, torn: u64) -> Result<Opened, OpenError> {
    let fail = |cause: &dyn std::fmt::Display| OpenError::new(path, cause, "let this user read and write it");
    let file = open_private(path).map_err(|cause| fail(&cause))?;
    // At most a part of a record, of which nobody was told.
    file.set_len(0).map_err(|cause| fail(&cause))?;
    let next_sequence = last + 1;
    Ok(Opened {
        file,
        bytes: 0,
        first_sequence: next_sequence,
        next_sequence,
        log: None,
        torn,
        is_quarantine: true,
        put_aside,
        had_records: true,
    })
}

/// The ending of a file that is to take the place of the one that is written to.
pub(super) const NEXT: &str = "next";

pub(super) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// What a file holds.
#[derive(Default)]
struct Found {
    bytes: u64,
    torn: u64,
    first_sequence: Option<u64>,
    /// The log, and the number of its next record.
    log: Option<(Log, u64)>,
    /// The first line that is not as it was written.
    damage: Option<u64>,
}

impl Found {
    fn read(mut reader: impl io::BufRead, key: &Trusted) -> io::Result<Self> {
        let mut found = Self::default();
        let mut verifier = Verifier::new(key, None);
        let mut line = Vec::new();
        for number in 1.. {
            let read = read_line(&mut reader, &mut line)?;
            if read.length == 0 {
                break;
            }
            if !read.is_ended && line.len() <= MOST_LINE && !frame::is_whole(&line) {
                found.torn = read.length;
                break;
            }
            // What has no end and is more than a part of a record is not what a crash leaves.
            if !read.is_ended || verifier.record(&line).is_err() {
                found.damage = Some(number);
                return Ok(found);
            }
            if number == 1 {
                found.first_sequence = frame::Head::read(&line).map(|head| head.sequence);
            }
            found.bytes += read.length;
        }
        found.log = verifier
            .into_log()
            .map(|log| (Log { name: log.name, first: log.first, tree: log.tree }, log.next));
        Ok(found)
    }
}
