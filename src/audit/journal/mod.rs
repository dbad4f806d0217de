//! The journal: JSON lines in files, each with a number and a checksum, in exactly the bytes that the tree is over.
//!
//! One writer at a time (a file beside it is locked). A record is `written` when the operating system has it and
//! `synced` when the disk has it; `buffered` ones follow within [`FLUSH_EVERY`]. Checkpoints vouch for all of them.

mod beginning;
mod beside;
mod flushing;
mod location;
mod opening;
mod port;
mod retention;
mod room;
mod rotation;
mod sealing;
mod writer;

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use self::opening::OpenError;
pub use self::retention::Retention;

use self::sealing::Sealer;
use self::writer::Writer;
use super::event::Event;
use super::json;
use super::signing::{Key, Trusted};
use super::sinks::Remote;
use crate::policy::Durability;
use crate::telemetry::metrics;

/// How long a buffered record may stay in memory.
pub const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// A buffer of this size is written at once.
const FLUSH_BYTES: usize = 64 * 1024;
/// When so much waits, nothing new is recorded and so nothing new begins; outcomes may fill twice as much.
const MOST_PENDING: usize = 16 * FLUSH_BYTES;

/// A file of this length is ended, and the next begun, in bytes: little enough to be read through at each start.
pub const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// The journal's file name in its directory.
pub const FILE_NAME: &str = "audit.jsonl";

struct Shared {
    writer: Mutex<Writer>,
    wake: Condvar,
    /// Locked before `syncing` and `writer`, never after.
    sealer: Mutex<Sealer>,
    /// One thread syncs for all that wait, or ends the file. Locked before `writer`, never after.
    syncing: Mutex<()>,
    /// The last record that the disk is known to have; of those up to `doubtful` that says nothing.
    synced: AtomicU64,
    /// The last record of which nobody knows whether the disk has it, as it failed.
    doubtful: AtomicU64,
    path: PathBuf,
    /// A longer file is ended, and the next begun.
    most_bytes: u64,
    /// So much room is kept behind the file's end, in bytes.
    reserve: u64,
    /// What keeps an old file from being removed.
    unretired: Mutex<Option<String>>,
    watcher: OnceLock<Watcher>,
    /// Held as long as this lives.
    _lock: File,
}

/// A record that is not there as it should be.
struct Refused {
    error: io::Error,
    /// Its number, where its first bytes are on file, so that the rest must follow.
    written: Option<u64>,
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self { error, written: None }
    }
}

/// A journal in files of one directory.
pub struct FileJournal {
    shared: Arc<Shared>,
    flusher: Option<JoinHandle<()>>,
    had_records: bool,
    remote: OnceLock<Arc<Remote>>,
}

/// Whoever is shown every event once it is recorded.
type Watcher = Box<dyn Fn(&Event<'_>) + Send + Sync>;

/// How a journal is written.
#[derive(Debug, Clone, Copy)]
pub struct Options<'o> {
    /// What names this process in every record.
    pub origin: &'o str,
    /// What vouches for the key that signs checkpoints.
    pub key: &'o Key,
    /// A longer file is ended, and the next begun, in bytes.
    pub most_bytes: u64,
    /// So much room is kept on the disk for requests whose tier needs synced records, in bytes; 0 keeps none.
    pub reserve: u64,
}

impl FileJournal {
    /// Opens (or creates) the journal in `dir` and takes its lock.
    ///
    /// # Errors
    /// The directory or file can't be made, or another process holds it.
    pub fn open(dir: &Path, options: Options<'_>) -> Result<Self, OpenError> {
        Self::open_file(dir, FILE_NAME, options)
    }

    /// The same for a process that takes over from another, which may still write its last records: then this one's
    /// go to a file of its own, `audit-<origin>.jsonl`, and are numbered from 1.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_beside(dir: &Path, options: Options<'_>) -> Result<Self, OpenError> {
        match Self::open_file(dir, FILE_NAME, options) {
            Err(error) if error.is_held => {
                Self::open_file(dir, &format!("audit-{}.jsonl", options.origin), options)
            }
            opened => opened,
        }
    }

    fn open_file(dir: &Path, name: &str, options: Options<'_>) -> Result<Self, OpenError> {
        let path = dir.join(name);
        let fail = |cause: &dyn std::fmt::Display, remedy| OpenError::new(&path, cause, remedy);
        std::fs::create_dir_all(dir)
            .map_err(|cause| fail(&cause, "create the directory and let this user write to it"))?;
        let lock = opening::lock(&path)?;
        let trusted = Trusted::read(options.key.public());
        let trusted = trusted.ok_or_else(|| fail(&"its key is none", "make another key of checkpoints"))?;
        let opened = opening::open(&path, &trusted)?;
        let had_records = opened.had_records;
        let (writer, sealer) = beginning::first_records(&path, opened, options)?;
        let shared = Arc::new(Shared {
            writer: Mutex::new(writer),
            wake: Condvar::new(),
            sealer: Mutex::new(sealer),
            syncing: Mutex::new(()),
            synced: AtomicU64::new(0),
            doubtful: AtomicU64::new(0),
            path: path.clone(),
            most_bytes: options.most_bytes,
            reserve: options.reserve,
            unretired: Mutex::default(),
            watcher: OnceLock::new(),
            _lock: lock,
        });
        shared.keep_room();
        let flushed = Arc::clone(&shared);
        let flusher = std::thread::Builder::new()
            .name("audit-flush".to_owned())
            .spawn(move || flushed.flush_for_ever())
            .map_err(|cause| fail(&cause, "raise the limit on threads"))?;
        Ok(Self { shared, flusher: Some(flusher), had_records, remote: OnceLock::new() })
    }

    /// Hands everything that waits to the operating system, before the process ends; tries again for `patience`. Nothing
    /// is recorded any more then. All is vouched for and brought to disk; where that fails, it is logged.
    ///
    /// # Errors
    /// Records are lost; which, is logged.
    pub fn flush(&self, patience: Duration) -> Result<(), Lost> {
        let start = Instant::now();
        while let Err(error) = self.shared.close() {
            if start.elapsed() >= patience {
                let writer = self.shared.lock();
                let (first, last) = (writer.written_sequence + 1, writer.next_sequence - 1);
                tracing::error!(%error, first, last, "the last audit records could not be written and are lost");
                return Err(Lost);
            }
            std::thread::park_timeout(FLUSH_EVERY);
        }
        if let Err(error) = self.shared.seal(true) {
            tracing::error!(%error, "the last checkpoint could not be written: the next process's vouches for the last audit records");
        }
        let _one = self.shared.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, is_doubtful) = {
            let writer = self.shared.lock();
            (Arc::clone(&writer.file), writer.is_doubtful)
        };
        let synced = if is_doubtful { Err(io::Error::other("it failed before")) } else { file.sync_data() };
        if let Err(error) = synced {
            tracing::error!(%error, "the last audit records could not be brought to disk; the system has them");
        }
        room::give_back(&file);
        Ok(())
    }

    /// Shows every event to `watcher`, once it is as durable as was asked for; the first one who asks is shown them. It is on
    /// the way of whoever records, and must take no time. Of the journal's own events it is shown that an outage began, also
    /// where that can't be put on record.
    pub fn watch(&self, watcher: impl Fn(&Event<'_>) + Send + Sync + 'static) {
        let _ = self.shared.watcher.set(Box::new(watcher));
    }

    /// Whether the file held records when it was opened.
    pub fn has_earlier_records(&self) -> bool {
        self.had_records
    }

    /// What keeps some records from being taken now, or old ones from being removed, in plain words.
    pub fn notices(&self) -> impl Iterator<Item = String> {
        let scarcity = self.shared.lock().scarcity().map(str::to_owned);
        let unretired = self.shared.unretired.lock().unwrap_or_else(PoisonError::into_inner).clone();
        scarcity.into_iter().chain(unretired)
    }

    /// What keeps records from being written now, in plain words.
    pub fn trouble(&self) -> Option<String> {
        let writer = self.shared.lock();
        writer.moved.clone().or_else(|| writer.trouble.as_ref().map(|trouble| trouble.what.clone()))
    }
}

/// The last records were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost;

impl Drop for FileJournal {
    fn drop(&mut self) {
        // Whoever ends the process has flushed already, and knows what was lost.
        let _ = self.flush(Duration::ZERO);
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        // The thread holds what the next process waits for: the lock.
        if let Some(flusher) = self.flusher.take()
            && flusher.join().is_err()
        {
            tracing::error!("the thread that writes buffered audit records has failed");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Writer> {
        // Nothing that can panic runs under the lock, and a buffer is whole between any two statements of it.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over what waits; then nothing is taken any more. What came in between, the next file's first records
    /// among them, would be neither written nor vouched for.
    fn close(&self) -> io::Result<()> {
        let mut writer = self.lock();
        writer.write_out()?;
        writer.closed = true;
        Ok(())
    }

    fn append(&self, event: &Event<'_>, durability: Durability) -> Result<u64, Refused> {
        thread_local! { static SCRATCH: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(2048)); }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            json::write(event, scratch).map_err(io::Error::other)?;
            // The record is the event with a head, which needs the lock: `{` is replaced, not parsed again.
            let body = scratch.get(1..).unwrap_or_default();
            let mut writer = self.lock();
            if writer.closed {
                return Err(io::Error::other("the process is ending, and its journal with it").into());
            }
            // What has happened already is recorded as long as memory allows; nothing new begins meanwhile.
            let has_happened = matches!(event, Event::Outcome(_));
            if !has_happened {
                writer.refuse_while_in_trouble()?;
                writer.refuse_for_want_of_room(event, durability)?;
            }
            let before = writer.pending.len();
            let sequence = writer.push(body, if has_happened { 2 * MOST_PENDING } else { MOST_PENDING })?;
            let length = writer.pending.len() - before;
            if durability > Durability::Buffered {
                if let Err(error) = writer.write_out()
                    && !has_happened
                {
                    let written = if writer.take_back(length) { None } else { Some(sequence) };
                    return Err(Refused { error, written });
                }
            } else if writer.pending.len() >= FLUSH_BYTES {
                // What may be written later is kept; the flusher tries again and says so.
                let _ = writer.write_out();
            }
            metrics().audit_sequence.set(i64::try_from(sequence).unwrap_or(i64::MAX));
            Ok(sequence)
        })
    }
}

#[cfg(test)]
mod changes;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod forgery;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod retiring;
#[cfg(test)]
mod tests;
