//! The interim journal: JSON lines in one file, each with a sequence number, in exactly the bytes that were hashed out.
//!
//! One writer at a time (the file is locked). A record is `written` when the operating system has it and `synced`
//! when the disk has it; `buffered` ones follow within [`FLUSH_EVERY`].

use std::cell::RefCell;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;

mod location;
mod writer;

use super::event::Event;
use super::json;
use location::Location;
use writer::{Clock, Writer};

use super::receipt::Receipt;
use crate::enforce::ports::{Journal, JournalUnavailable};
use crate::policy::Durability;
use crate::telemetry::metrics;

/// How long a buffered record may stay in memory.
pub const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// A buffer of this size is written at once.
const FLUSH_BYTES: usize = 64 * 1024;
/// When so much waits, nothing new is recorded and so nothing new begins; outcomes may fill twice as much.
const MOST_PENDING: usize = 16 * FLUSH_BYTES;
/// How often the file is looked for where it should be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The journal's file name in its directory.
pub const FILE_NAME: &str = "audit.jsonl";

/// Why the journal can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("the audit file `{path}` can't be used: {cause}; {remedy}")]
pub struct OpenError {
    path: PathBuf,
    cause: String,
    remedy: &'static str,
    is_held: bool,
}

struct Shared {
    writer: Mutex<Writer>,
    wake: Condvar,
    /// Bytes of the file that the disk is known to have; its lock makes one thread sync for all that wait.
    synced: Mutex<u64>,
    sync_handle: File,
    location: Location,
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

/// A journal in one file.
pub struct FileJournal {
    shared: Arc<Shared>,
    flusher: Option<JoinHandle<()>>,
    had_records: bool,
}

impl FileJournal {
    /// Opens (or creates) the journal in `dir` and takes its lock. `origin` names this process in every record.
    ///
    /// # Errors
    /// The directory or file can't be made, or another process holds it.
    pub fn open(dir: &Path, origin: &str) -> Result<Self, OpenError> {
        Self::open_file(dir, FILE_NAME, origin)
    }

    /// The same for a process that takes over from another, which may still write its last records: then this one's
    /// go to a file of its own, `audit-<origin>.jsonl`, and are numbered from 1.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_beside(dir: &Path, origin: &str) -> Result<Self, OpenError> {
        match Self::open_file(dir, FILE_NAME, origin) {
            Err(error) if error.is_held => Self::open_file(dir, &format!("audit-{origin}.jsonl"), origin),
            opened => opened,
        }
    }

    fn open_file(dir: &Path, name: &str, origin: &str) -> Result<Self, OpenError> {
        let path = dir.join(name);
        let fail = |cause: &dyn std::fmt::Display, remedy| OpenError {
            path: path.clone(),
            cause: cause.to_string(),
            remedy,
            is_held: false,
        };
        std::fs::create_dir_all(dir)
            .map_err(|cause| fail(&cause, "create the directory and let this user write to it"))?;
        let file = open_private(&path).map_err(|cause| fail(&cause, "let this user write to it"))?;
        file.try_lock().map_err(|cause| OpenError {
            is_held: matches!(cause, TryLockError::WouldBlock),
            ..fail(&cause, "another wardgate writes to it: give each process its own `audit.dir`")
        })?;
        let next_sequence = last_sequence(&path).map_err(|cause| fail(&cause, "let this user read it"))? + 1;
        let sync_handle = file.try_clone().map_err(|cause| fail(&cause, "raise the limit on open files"))?;
        let writer = Writer {
            file,
            pending: Vec::with_capacity(FLUSH_BYTES),
            next_sequence,
            written_sequence: 0,
            origin: origin.into(),
            clock: Clock::default(),
            closed: false,
            trouble: None,
            moved: None,
        };
        let location = Location::of(&path, &writer.file)
            .map_err(|cause| fail(&cause, "let this user read the directory"))?;
        let shared = Arc::new(Shared {
            writer: Mutex::new(writer),
            wake: Condvar::new(),
            synced: Mutex::new(0),
            sync_handle,
            location,
        });
        let flushed = Arc::clone(&shared);
        let flusher = std::thread::Builder::new()
            .name("audit-flush".to_owned())
            .spawn(move || flushed.flush_for_ever())
            .map_err(|cause| fail(&cause, "raise the limit on threads"))?;
        Ok(Self { shared, flusher: Some(flusher), had_records: next_sequence > 1 })
    }
}

impl FileJournal {
    /// Hands everything that waits to the operating system, before the process ends; tries again for `patience`.
    ///
    /// # Errors
    /// Records are lost; which, is logged.
    pub fn flush(&self, patience: Duration) -> Result<(), Lost> {
        let start = Instant::now();
        loop {
            {
                let mut writer = self.shared.lock();
                let Err(error) = writer.write_out() else { return Ok(()) };
                if start.elapsed() >= patience {
                    let (first, last) = (writer.written_sequence + 1, writer.next_sequence - 1);
                    tracing::error!(%error, first, last, "the last audit records could not be written and are lost");
                    return Err(Lost);
                }
            }
            std::thread::park_timeout(FLUSH_EVERY);
        }
    }

    /// Whether the file held records when it was opened.
    pub fn has_earlier_records(&self) -> bool {
        self.had_records
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
        // The thread holds the file, and with it the lock that the next process waits for.
        if let Some(flusher) = self.flusher.take()
            && flusher.join().is_err()
        {
            tracing::error!("the thread that writes buffered audit records has failed");
        }
    }
}

#[async_trait]
impl Journal for FileJournal {
    async fn append(&self, event: &Event<'_>, durability: Durability) -> Result<Receipt, JournalUnavailable> {
        let sequence = self.shared.append(event, durability).map_err(|Refused { error, written }| {
            metrics().audit_failures.inc();
            tracing::error!(%error, event = event.name(), decision = %event.decision(), "an audit record could not be written");
            JournalUnavailable { written }
        })?;
        if durability == Durability::Synced {
            let shared = Arc::clone(&self.shared);
            let synced = tokio::task::spawn_blocking(move || shared.sync(sequence)).await;
            if !matches!(synced, Ok(Ok(()))) {
                metrics().audit_failures.inc();
                tracing::error!(
                    event = event.name(),
                    decision = %event.decision(),
                    "an audit record could not be brought to disk; the request it belongs to is refused"
                );
                return Err(JournalUnavailable { written: Some(sequence) });
            }
        }
        metrics().audit_records.of(event.name()).inc();
        Ok(Receipt::new(sequence, event.decision()))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Writer> {
        // Nothing that can panic runs under the lock, and a buffer is whole between any two statements of it.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, event: &Event<'_>, durability: Durability) -> Result<u64, Refused> {
        thread_local! { static SCRATCH: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(2048)); }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            json::write(event, scratch).map_err(io::Error::other)?;
            // The record is the event with a head, which needs the lock: `{` is replaced, not parsed again.
            let body = scratch.get(1..).unwrap_or_default();
            let mut writer = self.lock();
            // What has happened already is recorded as long as memory allows; nothing new begins meanwhile.
            let has_happened = matches!(event, Event::Outcome(_));
            if !has_happened {
                writer.refuse_while_in_trouble()?;
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

    /// Waits until the disk has everything up to and including `sequence`; one waiter syncs for all before it.
    fn sync(&self, sequence: u64) -> io::Result<()> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if *synced >= sequence {
            return Ok(());
        }
        let written = self.lock().written_sequence;
        self.sync_handle.sync_data()?;
        *synced = written.max(sequence);
        Ok(())
    }

    fn flush_for_ever(&self) {
        let mut writer = self.lock();
        let mut looked_at = Instant::now();
        loop {
            if writer.closed {
                return;
            }
            // A failure is told once, when it begins; the records are kept and tried again.
            let _ = writer.write_out();
            if looked_at.elapsed() >= LOOK_EVERY {
                looked_at = Instant::now();
                let checked = self.location.check(&writer.file).err().map(|error| error.to_string());
                if let (Some(error), None) = (&checked, &writer.moved) {
                    metrics().audit_failures.inc();
                    tracing::error!(error, "nothing that must be recorded is admitted any more");
                }
                writer.moved = checked;
            }
            let waited = self.wake.wait_timeout(writer, FLUSH_EVERY);
            writer = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// The sequence number of the last record, 0 for an empty file. A last line that a crash cut short is ended, so that
/// the next record stands on its own, and its number counts as taken.
fn last_sequence(path: &Path) -> io::Result<u64> {
    const TAIL: u64 = 256 * 1024;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let torn = tail.last().is_some_and(|byte| *byte != b'\n');
    if torn {
        OpenOptions::new().append(true).open(path)?.write_all(b"\n")?;
    }
    #[derive(serde::Deserialize)]
    struct Head {
        seq: u64,
    }
    let whole = tail.rsplit(|byte| *byte == b'\n').find_map(|line| serde_json::from_slice::<Head>(line).ok());
    Ok(whole.map_or(0, |head| head.seq) + u64::from(torn))
}

#[cfg(test)]
mod tests;
