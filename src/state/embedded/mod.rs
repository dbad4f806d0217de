//! The state of a single gateway in one file that outlasts it.
//!
//! Writes go through one thread that commits whatever waits together; each is answered when it is on the disk. The
//! revocation table is read from memory, where all of it is: nobody else can write the file, since it is locked. Only
//! counters are not kept: after a restart they begin anew.

mod file;
mod opening;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use self::file::{Change, Done};
pub use self::opening::OpenError;
use self::writer::{Message, Writer};
use super::expiring::Key;
use super::health::{Health, Outages, counted};
use super::memory::{MemoryLimits, MemoryState, revocation_name};
use super::spent::{ProofKey, Spent};
use crate::decision::evidence::Lookup;
use crate::enforce::ports::{Consumed, RevocationKey, State};

/// So many changes may wait; more are refused at once.
const MOST_WAITING: usize = 8 * 1024;
/// How long a change may take until it counts as unknown: a healthy disk needs a hundredth of it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to close the file.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// How much is kept at most. What is full refuses; it never makes room by forgetting what still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedLimits {
    /// Spent proofs; one takes about 150 bytes on the disk.
    pub proofs: usize,
    /// Revoked names; one takes about 150 bytes on the disk and 100 in memory.
    pub revocations: usize,
    /// Sealed pieces of work.
    pub sealed: usize,
    /// Bytes in all sealed pieces together.
    pub sealed_bytes: usize,
}

impl Default for EmbeddedLimits {
    fn default() -> Self {
        Self { proofs: 1_000_000, revocations: 500_000, sealed: 100_000, sealed_bytes: 256 * 1024 * 1024 }
    }
}

/// A [`State`] in a file, for a single replica.
pub struct EmbeddedState {
    writer: SyncSender<Message>,
    health: Arc<Health>,
    /// The revocation table, and the counters.
    memory: MemoryState,
    /// Proofs up to this moment (Unix seconds) may have been spent before the file began.
    epoch: AtomicI64,
    /// Whether the revocation table has been read.
    is_loaded: AtomicBool,
}

impl EmbeddedState {
    /// The state in a directory; nothing is opened yet.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(dir: PathBuf, limits: EmbeddedLimits) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(MOST_WAITING);
        let health = Arc::new(Health::default());
        let writer =
            Writer { dir, limits, health: Arc::clone(&health), file: None, ours: None, failed_at: None };
        std::thread::Builder::new().name("state".to_owned()).spawn(move || writer.run(&receiver))?;
        // The file's own limit is exact; this one is per part of the table, and must never be the first to say no.
        let memory =
            MemoryLimits { revocations: limits.revocations.saturating_mul(2), ..MemoryLimits::default() };
        Ok(Self {
            writer: sender,
            health,
            memory: MemoryState::with_limits(memory),
            epoch: AtomicI64::new(i64::MAX),
            is_loaded: AtomicBool::new(false),
        })
    }

    /// Opens the file, or makes it, and loads what must be in memory. Waits for the disk.
    ///
    /// # Errors
    /// It is held by another process, damaged, or can't be written.
    pub fn open(&self) -> Result<(), OpenError> {
        let (answer, answered) = std::sync::mpsc::channel();
        let gone = || OpenError::Unusable {
            path: PathBuf::new(),
            error: "the thread that writes it has ended".to_owned(),
        };
        self.writer.send(Message::Open(answer)).map_err(|_| gone())?;
        let opened = answered.recv().map_err(|_| gone())??;
        for (name, moment, left) in opened.revocations {
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            // There is twice the room that the file has.
            let _ = self.memory.revoke_name(name, moment, left);
        }
        self.epoch.store(opened.epoch, Ordering::SeqCst);
        self.is_loaded.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Finishes what has begun and leaves the file to another process. From then on nothing can be spent, revoked or
    /// sealed here; what is revoked is still known. Waits for the disk, but not for one that hangs.
    pub fn close(&self) {
        let (answer, answered) = std::sync::mpsc::channel();
        if self.writer.send(Message::Close(answer)).is_ok() {
            // An error says that the thread has ended, and with it the hold on the file; or that the disk hangs: then
            // nobody else gets the file, and will say so.
            let _ = answered.recv_timeout(CLOSES_WITHIN);
        }
    }

    /// Tells when an outage begins or ends.
    pub fn outages(&self) -> watch::Receiver<Outages> {
        self.health.outages()
    }

    /// What is wrong with it, in words for the operator.
    pub fn trouble(&self) -> Option<String> {
        self.health.trouble()
    }

    /// What became of a change; [`Done::Failed`] where nobody can tell.
    async fn ask(&self, change: Change) -> Done {
        let (answer, answered) = oneshot::channel();
        let ended = || self.health.ill("the thread that writes its file has ended; restart the gateway");
        match self.writer.try_send(Message::Change(change, answer)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.health.overloaded("more waits to be written than the disk of `state.data_dir` can take");
                return Done::Failed;
            }
            Err(TrySendError::Disconnected(_)) => {
                ended();
                return Done::Failed;
            }
        }
        match timeout(PATIENCE, answered).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => {
                ended();
                Done::Failed
            }
            Err(_) => {
                let text = format!("no answer from the disk of `state.data_dir` within {PATIENCE:?}");
                self.health.overloaded(&text);
                Done::Failed
            }
        }
    }
}

#[async_trait]
impl State for EmbeddedState {
    async fn consume(&self, key: &ProofKey, remember: Duration) -> Consumed {
        if !self.is_loaded.load(Ordering::SeqCst) {
            return counted("consume", false, Consumed::Unknown);
        }
        if key.moment() <= self.epoch.load(Ordering::SeqCst) {
            // Another file may have been here before, and nobody remembers.
            return counted("consume", true, Consumed::Already);
        }
        let name = Key::of(&[key.as_str().as_bytes()]);
        match self.ask(Change::Consume(name, millis(remember))).await {
            Done::Stored => counted("consume", true, Consumed::Done(Spent::new(key.clone()))),
            Done::Already => counted("consume", true, Consumed::Already),
            _ => counted("consume", false, Consumed::Unknown),
        }
    }

    async fn not_before(&self, keys: &[RevocationKey<'_>]) -> Lookup<i64> {
        if !self.is_loaded.load(Ordering::Acquire) {
            return counted("not_before", false, Lookup::Unavailable);
        }
        self.memory.not_before(keys).await
    }

    async fn revoke(&self, key: &RevocationKey<'_>, moment: i64, remember: Duration) -> Lookup<()> {
        // In force at once, whether or not it can be kept.
        let in_memory = self.memory.revoke(key, moment, remember).await;
        let kept = self.ask(Change::Revoke(revocation_name(key), moment, millis(remember))).await;
        let stored = in_memory == Lookup::Found(()) && kept == Done::Stored;
        counted("revoke", stored, if stored { Lookup::Found(()) } else { Lookup::Unavailable })
    }

    async fn revised(&self, seen: u64) -> u64 {
        self.memory.revised(seen).await
    }

    async fn window(&self, key: &str, span: Duration) -> Lookup<u64> {
        self.memory.window(key, span).await
    }

    async fn distinct(&self, key: &str, member: &str, span: Duration, most: usize) -> Lookup<usize> {
        self.memory.distinct(key, member, span, most).await
    }

    async fn seal(&self, key: &str, bytes: &[u8], ttl: Duration) -> Lookup<()> {
        let change = Change::Seal(Key::of(&[key.as_bytes()]), bytes.to_vec(), millis(ttl));
        let stored = self.ask(change).await == Done::Stored;
        counted("seal", stored, if stored { Lookup::Found(()) } else { Lookup::Unavailable })
    }

    async fn unseal(&self, key: &str) -> Lookup<Vec<u8>> {
        match self.ask(Change::Unseal(Key::of(&[key.as_bytes()]))).await {
            Done::Taken(bytes) => counted("unseal", true, Lookup::Found(bytes)),
            Done::Absent => counted("unseal", true, Lookup::Absent),
            _ => counted("unseal", false, Lookup::Unavailable),
        }
    }

    async fn hold(&self, key: &str, word: &str, keep: Duration) -> Lookup<Box<str>> {
        let change = Change::Hold(held_name(key), word.into(), millis(keep));
        match self.ask(change).await {
            Done::Taken(bytes) => counted("hold", true, word_of(&bytes)),
            _ => counted("hold", false, Lookup::Unavailable),
        }
    }

    async fn held(&self, key: &str) -> Lookup<Box<str>> {
        match self.ask(Change::Peek(held_name(key))).await {
            Done::Taken(bytes) => counted("held", true, word_of(&bytes)),
            Done::Absent => counted("held", true, Lookup::Absent),
            _ => counted("held", false, Lookup::Unavailable),
        }
    }

    async fn peek(&self, key: &str) -> Lookup<Vec<u8>> {
        match self.ask(Change::Peek(Key::of(&[key.as_bytes()]))).await {
            Done::Taken(bytes) => counted("peek", true, Lookup::Found(bytes)),
            Done::Absent => counted("peek", true, Lookup::Absent),
            _ => counted("peek", false, Lookup::Unavailable),
        }
    }
}

/// Words lie among the sealed pieces, under names that those can't have.
fn held_name(key: &str) -> Key {
    Key::of(&[b"held", key.as_bytes()])
}

fn word_of(bytes: &[u8]) -> Lookup<Box<str>> {
    std::str::from_utf8(bytes).map_or(Lookup::Unavailable, |word| Lookup::Found(word.into()))
}

fn millis(duration: Duration) -> i64 {
    // Far beyond any lifetime, and far from overflowing when it is added to the time.
    const LONGEST: i64 = 30 * 365 * 24 * 3_600 * 1_000;
    i64::try_from(duration.as_millis()).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests;
