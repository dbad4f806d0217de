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
use std::time::Duration;

use async_trait::async_trait;

use super::event::{Event, VERSION};
use super::receipt::Receipt;
use crate::enforce::ports::{Journal, JournalUnavailable};
use crate::policy::Durability;
use crate::telemetry::metrics;

/// How long a buffered record may stay in memory.
pub const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// A buffer of this size is written at once.
const FLUSH_BYTES: usize = 64 * 1024;

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

struct Writer {
    file: File,
    pending: Vec<u8>,
    next_sequence: u64,
    /// The last record that the operating system has.
    written_sequence: u64,
    origin: Box<str>,
    clock: Clock,
    closed: bool,
}

/// Writes moments; most records share their second with the one before.
#[derive(Default)]
struct Clock {
    second: i64,
    /// That second down to the point, as in `2026-11-22T03:58:01.`
    text: String,
}

impl Clock {
    /// Appends a moment in UTC with six decimals (RFC 3339).
    fn write(&mut self, now: jiff::Timestamp, to: &mut Vec<u8>) -> io::Result<()> {
        if self.text.is_empty() || self.second != now.as_second() {
            self.second = now.as_second();
            self.text = now.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
        }
        write!(to, "{}{:06}Z", self.text, now.subsec_microsecond().unsigned_abs())
    }
}

struct Shared {
    writer: Mutex<Writer>,
    wake: Condvar,
    /// Bytes of the file that the disk is known to have; its lock makes one thread sync for all that wait.
    synced: Mutex<u64>,
    sync_handle: File,
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
        };
        let shared = Arc::new(Shared {
            writer: Mutex::new(writer),
            wake: Condvar::new(),
            synced: Mutex::new(0),
            sync_handle,
        });
        let flushed = Arc::clone(&shared);
        let flusher = std::thread::Builder::new()
            .name("audit-flush".to_owned())
            .spawn(move || flushed.flush_for_ever())
            .map_err(|cause| fail(&cause, "raise the limit on threads"))?;
        Ok(Self { shared, flusher: Some(flusher) })
    }
}

impl FileJournal {
    /// Hands everything that waits to the operating system: called before the process ends.
    pub fn flush(&self) {
        if let Err(error) = self.shared.lock().write_out() {
            tracing::error!(%error, "the last audit records could not be written");
        }
    }
}

impl Drop for FileJournal {
    fn drop(&mut self) {
        self.flush();
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
            tracing::error!(%error, "an audit record could not be written; the request it belongs to is refused");
            JournalUnavailable { written }
        })?;
        if durability == Durability::Synced {
            let shared = Arc::clone(&self.shared);
            let synced = tokio::task::spawn_blocking(move || shared.sync(sequence)).await;
            if !matches!(synced, Ok(Ok(()))) {
                metrics().audit_failures.inc();
                tracing::error!(
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
            serde_json::to_writer(&mut *scratch, event).map_err(io::Error::other)?;
            // The record is the event with a head, which needs the lock: `{` is replaced, not parsed again.
            let body = scratch.get(1..).unwrap_or_default();
            let mut writer = self.lock();
            let before = writer.pending.len();
            let sequence = writer.push(body)?;
            let length = writer.pending.len() - before;
            if durability > Durability::Buffered {
                if let Err(error) = writer.write_out() {
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
        loop {
            if writer.closed {
                return;
            }
            if let Err(error) = writer.write_out() {
                metrics().audit_failures.inc();
                tracing::error!(%error, "buffered audit records can't be written; they are kept and tried again");
            }
            let waited = self.wake.wait_timeout(writer, FLUSH_EVERY);
            writer = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
    }
}

impl Writer {
    /// Puts one record behind those that wait; on a full buffer the record is refused, never half kept.
    fn push(&mut self, body: &[u8]) -> io::Result<u64> {
        if self.pending.len() > 16 * FLUSH_BYTES {
            return Err(io::Error::other("too many records wait to be written"));
        }
        let sequence = self.next_sequence;
        write!(self.pending, r#"{{"seq":{sequence},"origin":"{}","time":""#, self.origin)?;
        self.clock.write(jiff::Timestamp::now(), &mut self.pending)?;
        write!(self.pending, r#"","v":{VERSION},"#)?;
        self.pending.extend_from_slice(body);
        self.pending.push(b'\n');
        self.next_sequence += 1;
        Ok(sequence)
    }

    /// Forgets the newest record, which its caller was told is not recorded. Once its first bytes are on file it stays,
    /// since a line is never torn.
    ///
    /// Says whether it could.
    fn take_back(&mut self, length: usize) -> bool {
        let Some(rest) = self.pending.len().checked_sub(length) else { return false };
        self.pending.truncate(rest);
        self.next_sequence -= 1;
        true
    }

    /// Hands what waits to the operating system. After an error the unwritten rest stays, so no line is torn: the
    /// next attempt goes on at the very byte where this one stopped.
    fn write_out(&mut self) -> io::Result<()> {
        let mut done = 0;
        let result = loop {
            match self.pending.get(done..) {
                None | Some([]) => break Ok(()),
                Some(rest) => match self.file.write(rest) {
                    Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                    Ok(bytes) => done += bytes,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Err(error),
                },
            }
        };
        self.pending.drain(..done);
        if result.is_ok() {
            self.written_sequence = self.next_sequence - 1;
        }
        result
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
