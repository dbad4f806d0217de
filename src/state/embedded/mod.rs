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

    async fn peek(&self, key: &str) -> Lookup<Vec<u8>> {
        match self.ask(Change::Peek(Key::of(&[key.as_bytes()]))).await {
            Done::Taken(bytes) => counted("peek", true, Lookup::Found(bytes)),
            Done::Absent => counted("peek", true, Lookup::Absent),
            _ => counted("peek", false, Lookup::Unavailable),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    // Far beyond any lifetime, and far from overflowing when it is added to the time.
    const LONGEST: i64 = 30 * 365 * 24 * 3_600 * 1_000;
    i64::try_from(duration.as_millis()).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::ports::RevocationClaim;
    use crate::state::conformance;

    const HOUR: Duration = Duration::from_secs(3600);

    fn opened(dir: &std::path::Path, limits: EmbeddedLimits) -> EmbeddedState {
        let state = EmbeddedState::new(dir.to_owned(), limits).expect("a thread");
        state.open().expect("opens");
        state
    }

    fn proof(name: &str) -> ProofKey {
        ProofKey::new(&["people", name], i64::MAX)
    }

    fn alice() -> RevocationKey<'static> {
        RevocationKey { issuer: "people", claim: RevocationClaim::Subject, value: "alice" }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn conforms() {
        let dir = tempfile::tempdir().expect("a directory");
        conformance::run(Arc::new(opened(&dir.path().join("new"), EmbeddedLimits::default()))).await;
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_known_after_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = opened(dir.path(), EmbeddedLimits::default());
        assert!(matches!(state.consume(&proof("a"), HOUR).await, Consumed::Done(_)));
        assert_eq!(state.revoke(&alice(), 100, HOUR).await, Lookup::Found(()));
        assert_eq!(state.revoke(&alice(), 90, Duration::from_millis(1)).await, Lookup::Found(()));
        assert_eq!(state.seal("kept", b"bytes", HOUR).await, Lookup::Found(()));
        assert_eq!(state.seal("taken", b"bytes", HOUR).await, Lookup::Found(()));
        assert_eq!(state.unseal("taken").await, Lookup::Found(b"bytes".to_vec()));
        state.close();
        assert!(matches!(state.consume(&proof("b"), HOUR).await, Consumed::Unknown));
        assert_eq!(state.not_before(&[alice()]).await, Lookup::Found(100), "still known");

        let again = opened(dir.path(), EmbeddedLimits::default());
        assert!(matches!(again.consume(&proof("a"), HOUR).await, Consumed::Already));
        assert!(matches!(again.consume(&proof("b"), HOUR).await, Consumed::Done(_)));
        assert_eq!(again.not_before(&[alice()]).await, Lookup::Found(100));
        assert_eq!(again.unseal("kept").await, Lookup::Found(b"bytes".to_vec()));
        assert_eq!(again.unseal("taken").await, Lookup::Absent);
    }

    #[tokio::test]
    async fn a_file_belongs_to_one_process_and_can_be_handed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = opened(dir.path(), EmbeddedLimits::default());
        let second = EmbeddedState::new(dir.path().to_owned(), EmbeddedLimits::default()).expect("a thread");
        let refused = second.open().expect_err("it is held").to_string();
        assert!(refused.contains("held by another process") && refused.contains("store: redis"), "{refused}");
        assert!(matches!(second.consume(&proof("a"), HOUR).await, Consumed::Unknown));
        assert_eq!(second.not_before(&[alice()]).await, Lookup::Unavailable);
        assert!(matches!(first.consume(&proof("a"), HOUR).await, Consumed::Done(_)));
        first.close();
        second.open().expect("it was left");
        assert!(matches!(second.consume(&proof("a"), HOUR).await, Consumed::Already));
        // The second gives up, and the first goes on.
        second.close();
        first.open().expect("it was left again");
        assert!(matches!(first.consume(&proof("b"), HOUR).await, Consumed::Done(_)));
    }

    #[tokio::test]
    async fn a_fresh_file_takes_no_proof_from_before_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let old = ProofKey::new(&["people", "old"], jiff::Timestamp::now().as_second() - 1);
        let state = opened(dir.path(), EmbeddedLimits::default());
        assert!(matches!(state.consume(&old, HOUR).await, Consumed::Already));
        state.close();
        // A restart with the file begins no new epoch.
        let epoch = state.epoch.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let again = opened(dir.path(), EmbeddedLimits::default());
        assert_eq!(again.epoch.load(Ordering::SeqCst), epoch);
        again.close();
        // Without it, one.
        std::fs::remove_file(dir.path().join("state.redb")).expect("removed");
        let fresh = opened(dir.path(), EmbeddedLimits::default());
        assert!(fresh.epoch.load(Ordering::SeqCst) > epoch);
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_hangs_or_has_ended_is_told() {
        let (sender, receiver) = sync_channel(1);
        let state = EmbeddedState {
            writer: sender,
            health: Arc::default(),
            memory: MemoryState::new(),
            epoch: AtomicI64::new(0),
            is_loaded: AtomicBool::new(true),
        };
        let refused = async |words: &str| {
            assert!(matches!(state.consume(&proof("a"), HOUR).await, Consumed::Unknown));
            let why = state.trouble().expect("told");
            assert!(why.contains(words), "{why}");
        };
        // It takes nothing out of its queue, which has room for one.
        refused("no answer from the disk").await;
        refused("more waits to be written").await;
        drop(receiver);
        refused("has ended").await;
    }

    #[test]
    fn what_another_process_has_begun_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        // In another container, with the same process id.
        let begun = dir.path().join(format!("state.redb.{}", std::process::id()));
        std::fs::write(&begun, "begun").expect("written");
        opened(dir.path(), EmbeddedLimits::default()).close();
        assert_eq!(std::fs::read(&begun).expect("still there"), b"begun");
        assert_eq!(
            std::fs::read_dir(dir.path()).expect("a directory").count(),
            2,
            "nothing of its own is left"
        );
    }

    #[tokio::test]
    async fn what_is_full_refuses_and_what_has_ended_makes_room() {
        let dir = tempfile::tempdir().expect("a directory");
        let limits = EmbeddedLimits { proofs: 2, revocations: 1, sealed: 2, sealed_bytes: 100 };
        let state = opened(dir.path(), limits);
        let short = Duration::from_millis(200);
        assert!(matches!(state.consume(&proof("a"), short).await, Consumed::Done(_)));
        assert!(matches!(state.consume(&proof("b"), HOUR).await, Consumed::Done(_)));
        assert!(matches!(state.consume(&proof("c"), HOUR).await, Consumed::Unknown));
        assert!(matches!(state.consume(&proof("b"), HOUR).await, Consumed::Already));
        assert_eq!(state.revoke(&alice(), 1, HOUR).await, Lookup::Found(()));
        let bob = RevocationKey { value: "bob", ..alice() };
        assert_eq!(state.revoke(&bob, 1, HOUR).await, Lookup::Unavailable);
        assert_eq!(state.not_before(&[bob]).await, Lookup::Found(1), "in force all the same");
        assert_eq!(state.seal("a", &[0; 60], short).await, Lookup::Found(()));
        assert_eq!(state.seal("a", &[0; 70], short).await, Lookup::Found(()), "it replaces the first");
        assert_eq!(state.seal("b", &[0; 60], HOUR).await, Lookup::Unavailable);
        tokio::time::sleep(short).await;
        assert!(matches!(state.consume(&proof("c"), HOUR).await, Consumed::Done(_)));
        assert_eq!(state.seal("b", &[0; 60], HOUR).await, Lookup::Found(()));
        assert_eq!(state.unseal("b").await, Lookup::Found(vec![0; 60]));
    }

    #[test]
    fn what_has_ended_is_removed_from_every_table() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut file = file::StateFile::open(dir.path(), EmbeddedLimits::default(), 0).expect("opens");
        let key = |number: u32| Key::of(&[&number.to_be_bytes()]);
        let changes = (0..1_500).map(|number| Change::Consume(key(number), 1_000));
        let others = [Change::Revoke(key(0), 5, 1_000), Change::Seal(key(0), vec![1; 50], 1_000)];
        let kept = [Change::Consume(key(9_999), 5_000), Change::Revoke(key(9_999), 5, 5_000)];
        file.commit(changes.chain(others).chain(kept).collect(), 0).expect("committed");
        assert!(!file.prune(999).expect("looked"), "nothing has ended");
        assert_eq!(file.lengths(), [1_501, 2, 1, 1_504]);
        assert!(file.prune(1_000).expect("pruned"), "there is more");
        assert!(!file.prune(1_000).expect("pruned"));
        assert_eq!(file.lengths(), [1, 1, 0, 2]);
        let again = file.commit(vec![Change::Consume(key(9_999), 1), Change::Unseal(key(0))], 1_000);
        assert_eq!(again.expect("committed"), [Done::Already, Done::Absent]);
    }
}
