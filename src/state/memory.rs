//! The state of a single gateway, in its own memory.
//!
//! It forgets everything when the process ends, and shares nothing: two replicas would each let a proof be
//! spent once. Every table is bounded. A table that is full of entries that still count answers "unknown", so
//! the gateway refuses; it never makes room by forgetting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::expiring::{Entry, Expiring, Full, Key};
use super::revised::Revised;
use super::spent::{ProofKey, Spent};
use super::window::Window;
use crate::decision::evidence::Lookup;
use crate::enforce::ports::{Consumed, RevocationClaim, RevocationKey, State};

/// How much is kept at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimits {
    /// Spent proofs; one takes about 100 bytes.
    pub proofs: usize,
    /// Revoked names; one takes about 100 bytes.
    pub revocations: usize,
    /// Counters; one takes about 200 bytes, a very busy one 4 KiB.
    pub windows: usize,
    /// Sealed pieces of work.
    pub sealed: usize,
    /// Bytes in all sealed pieces together.
    pub sealed_bytes: usize,
    /// Words that are held; one takes about 150 bytes.
    pub held: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            proofs: 1_000_000,
            revocations: 500_000,
            windows: 100_000,
            sealed: 20_000,
            sealed_bytes: 64 * 1024 * 1024,
            held: 200_000,
        }
    }
}

/// A [`State`] in memory, for a single replica.
pub struct MemoryState {
    /// Proofs up to this moment (Unix seconds) may have been spent before this memory began.
    epoch: AtomicI64,
    /// Proofs after this moment are another process's to spend.
    last: AtomicI64,
    anything_revoked: AtomicBool,
    revised: Revised,
    proofs: Expiring<()>,
    revoked: Expiring<i64>,
    windows: Expiring<Window>,
    sealed: Expiring<Sealed>,
    sealed_bytes: Arc<AtomicUsize>,
    most_sealed_bytes: usize,
    held: Expiring<Box<str>>,
}

impl MemoryState {
    /// An empty state with the usual limits.
    pub fn new() -> Self {
        Self::with_limits(MemoryLimits::default())
    }

    /// An empty state that keeps at most this much.
    pub fn with_limits(limits: MemoryLimits) -> Self {
        Self {
            epoch: AtomicI64::new(jiff::Timestamp::now().as_second()),
            last: AtomicI64::new(i64::MAX),
            anything_revoked: AtomicBool::new(false),
            revised: Revised::default(),
            proofs: Expiring::new(limits.proofs),
            revoked: Expiring::new(limits.revocations),
            windows: Expiring::new(limits.windows),
            sealed: Expiring::new(limits.sealed),
            sealed_bytes: Arc::default(),
            most_sealed_bytes: limits.sealed_bytes,
            held: Expiring::new(limits.held),
        }
    }

    /// Leaves every proof after `moment` (Unix seconds) to the process that takes over, which begins there
    /// ([`Self::begin_after`]): so two processes that serve at the same time never spend one proof twice.
    pub fn end_at(&self, moment: i64) {
        self.last.store(moment, Ordering::SeqCst);
    }

    /// Takes proofs after `moment` (Unix seconds) only, and all of those: what others did up to it is not known here.
    pub fn begin_after(&self, moment: i64) {
        self.epoch.fetch_max(moment, Ordering::SeqCst);
        self.last.store(i64::MAX, Ordering::SeqCst);
    }

    /// Revokes a name, as [`State::revoke`].
    pub(super) fn revoke_name(&self, name: Key, moment: i64, remember: Duration) -> Result<(), Full> {
        self.anything_revoked.store(true, Ordering::Release);
        let now = Instant::now();
        let done = self.revoked.change(name, now, |entry| {
            let new = Entry::new(moment, now, remember);
            *entry = Some(match entry.take() {
                // Neither an earlier moment nor a shorter memory undoes what was revoked before.
                Some(old) => Entry { value: old.value.max(moment), ends: old.ends.max(new.ends) },
                None => new,
            });
        });
        self.revised.note();
        done
    }

    /// Room for `bytes`, if need be after what has ended was thrown away.
    fn reserve(&self, bytes: usize, now: Instant) -> Option<Reservation> {
        self.try_reserve(bytes).or_else(|| {
            self.sealed.sweep(now);
            self.try_reserve(bytes)
        })
    }

    fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let most = self.most_sealed_bytes;
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= most);
        self.sealed_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Reservation { total: Arc::clone(&self.sealed_bytes), bytes })
    }
}

impl Default for MemoryState {
    fn default() -> Self {
        Self::new()
    }
}

/// Sealed bytes and the room they take.
struct Sealed {
    bytes: Vec<u8>,
    _room: Reservation,
}

/// Room that is given back however its holder goes: taken out, replaced, ended.
struct Reservation {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[async_trait]
impl State for MemoryState {
    async fn consume(&self, key: &ProofKey, remember: Duration) -> Consumed {
        if key.moment() <= self.epoch.load(Ordering::SeqCst) {
            // Whoever was here before may have spent it, and nobody remembers.
            return Consumed::Already;
        }
        if key.moment() > self.last.load(Ordering::SeqCst) {
            // Asked again, on a new connection, it comes to the process that has taken over.
            return Consumed::Unknown;
        }
        let now = Instant::now();
        let is_first = self.proofs.change(Key::of(&[key.as_str().as_bytes()]), now, |entry| {
            let is_first = entry.is_none();
            entry.get_or_insert_with(|| Entry::new((), now, remember));
            is_first
        });
        match is_first {
            Ok(true) => Consumed::Done(Spent::new(key.clone())),
            Ok(false) => Consumed::Already,
            Err(Full) => Consumed::Unknown,
        }
    }

    async fn not_before(&self, keys: &[RevocationKey<'_>]) -> Lookup<i64> {
        // Asked on every request; nearly always nobody is revoked.
        if !self.anything_revoked.load(Ordering::Acquire) {
            return Lookup::Absent;
        }
        let now = Instant::now();
        let mut latest = None;
        for key in keys {
            let Ok(moment) = self
                .revoked
                .change(revocation_name(key), now, |entry| entry.as_ref().map(|entry| entry.value))
            else {
                return Lookup::Unavailable;
            };
            latest = latest.max(moment);
        }
        latest.map_or(Lookup::Absent, Lookup::Found)
    }

    async fn revoke(&self, key: &RevocationKey<'_>, moment: i64, remember: Duration) -> Lookup<()> {
        found_if(self.revoke_name(revocation_name(key), moment, remember))
    }

    async fn revised(&self, seen: u64) -> u64 {
        self.revised.since(seen).await
    }

    async fn window(&self, key: &str, span: Duration) -> Lookup<u64> {
        let now = Instant::now();
        // The span is part of the name: counters of two spans never cut each other short.
        let name = Key::of(&[key.as_bytes(), &span.as_nanos().to_be_bytes()]);
        let counted = self.windows.change(name, now, |entry| {
            let entry = entry.get_or_insert_with(|| Entry::new(Window::default(), now, span));
            entry.ends = Entry::new((), now, span).ends;
            entry.value.count(now, span)
        });
        counted.map_or(Lookup::Unavailable, Lookup::Found)
    }

    async fn seal(&self, key: &str, bytes: &[u8], ttl: Duration) -> Lookup<()> {
        let now = Instant::now();
        let Some(room) = self.reserve(bytes.len(), now) else {
            return Lookup::Unavailable;
        };
        let sealed = Sealed { bytes: bytes.to_vec(), _room: room };
        let stored = self
            .sealed
            .change(Key::of(&[key.as_bytes()]), now, |entry| *entry = Some(Entry::new(sealed, now, ttl)));
        found_if(stored)
    }

    async fn unseal(&self, key: &str) -> Lookup<Vec<u8>> {
        match self.sealed.change(Key::of(&[key.as_bytes()]), Instant::now(), Option::take) {
            Ok(Some(entry)) => Lookup::Found(entry.value.bytes),
            Ok(None) => Lookup::Absent,
            Err(Full) => Lookup::Unavailable,
        }
    }

    async fn hold(&self, key: &str, word: &str, keep: Duration) -> Lookup<Box<str>> {
        let now = Instant::now();
        let held = self.held.change(Key::of(&[key.as_bytes()]), now, |entry| {
            let ends = Entry::new((), now, keep).ends;
            let entry = entry.get_or_insert_with(|| Entry { value: word.into(), ends });
            if *entry.value == *word {
                entry.ends = entry.ends.max(ends);
            }
            entry.value.clone()
        });
        held.map_or(Lookup::Unavailable, Lookup::Found)
    }

    async fn held(&self, key: &str) -> Lookup<Box<str>> {
        let read = |entry: &mut Option<Entry<Box<str>>>| entry.as_ref().map(|entry| entry.value.clone());
        let held = self.held.change(Key::of(&[key.as_bytes()]), Instant::now(), read);
        held.map_or(Lookup::Unavailable, |held| held.map_or(Lookup::Absent, Lookup::Found))
    }

    async fn peek(&self, key: &str) -> Lookup<Vec<u8>> {
        let read = |entry: &mut Option<Entry<Sealed>>| entry.as_ref().map(|entry| entry.value.bytes.clone());
        match self.sealed.change(Key::of(&[key.as_bytes()]), Instant::now(), read) {
            Ok(Some(bytes)) => Lookup::Found(bytes),
            Ok(None) => Lookup::Absent,
            Err(Full) => Lookup::Unavailable,
        }
    }
}

/// The digest of a name in the revocation table.
pub(super) fn revocation_name(key: &RevocationKey<'_>) -> Key {
    let claim: &[u8] = match key.claim {
        RevocationClaim::Subject => b"sub",
        RevocationClaim::Session => b"sid",
        RevocationClaim::TokenId => b"jti",
        RevocationClaim::Client => b"client",
    };
    Key::of(&[key.issuer.as_bytes(), claim, key.value.as_bytes()])
}

fn found_if(stored: Result<(), Full>) -> Lookup<()> {
    stored.map_or(Lookup::Unavailable, Lookup::Found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::conformance;

    const HOUR: Duration = Duration::from_secs(3600);

    fn tiny() -> MemoryState {
        MemoryState::with_limits(MemoryLimits {
            proofs: 64,
            revocations: 64,
            windows: 64,
            sealed: 640,
            sealed_bytes: 100,
            held: 64,
        })
    }

    #[tokio::test]
    async fn a_proof_from_before_this_memory_pays_for_nothing() {
        let store = MemoryState::new();
        let key = ProofKey::new(&["people", "alice"], jiff::Timestamp::now().as_second() - 1);
        assert!(matches!(store.consume(&key, Duration::from_secs(60)).await, Consumed::Already));
    }

    #[tokio::test]
    async fn a_proof_belongs_to_one_of_two_processes() {
        let (old, new) = (MemoryState::new(), MemoryState::new());
        let now = jiff::Timestamp::now().as_second() + 10;
        let remember = Duration::from_secs(60);
        old.end_at(now);
        new.begin_after(now);
        let (before, after) = (ProofKey::new(&["a"], now), ProofKey::new(&["b"], now + 1));
        assert!(matches!(old.consume(&before, remember).await, Consumed::Done(_)));
        assert!(matches!(new.consume(&before, remember).await, Consumed::Already));
        assert!(matches!(old.consume(&after, remember).await, Consumed::Unknown));
        assert!(matches!(new.consume(&after, remember).await, Consumed::Done(_)));
        // The new one failed after all: what it may have spent is worth nothing.
        old.begin_after(now + 5);
        assert!(matches!(old.consume(&after, remember).await, Consumed::Already));
        let later = ProofKey::new(&["c"], now + 6);
        assert!(matches!(old.consume(&later, remember).await, Consumed::Done(_)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn conforms() {
        conformance::run(Arc::new(MemoryState::new())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_spent_proof_is_remembered_to_the_last_moment() {
        let state = MemoryState::new();
        let key = ProofKey::new(&["people", "alice", "1"], i64::MAX);
        assert!(matches!(state.consume(&key, HOUR).await, Consumed::Done(_)));
        tokio::time::advance(HOUR - Duration::from_nanos(1)).await;
        assert!(matches!(state.consume(&key, HOUR).await, Consumed::Already));
        tokio::time::advance(Duration::from_nanos(1)).await;
        assert!(matches!(state.consume(&key, HOUR).await, Consumed::Done(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_table_fails_closed_and_forgets_nothing() {
        let state = tiny();
        let key = |number: usize| ProofKey::new(&["people", &number.to_string()], i64::MAX);
        let mut spent = Vec::new();
        for number in 0..1000 {
            match state.consume(&key(number), HOUR).await {
                Consumed::Done(_) => spent.push(number),
                Consumed::Unknown => {}
                Consumed::Already => panic!("{number} was never spent"),
            }
        }
        assert!((1..=64).contains(&spent.len()));
        for number in spent {
            assert!(matches!(state.consume(&key(number), HOUR).await, Consumed::Already), "{number}");
        }
        let mut refused = 0;
        for number in 0..1000 {
            let id = number.to_string();
            let name = RevocationKey { issuer: "people", claim: RevocationClaim::Subject, value: &id };
            match state.revoke(&name, 5, HOUR).await {
                Lookup::Found(()) => assert_eq!(state.not_before(&[name]).await, Lookup::Found(5)),
                _ => refused += 1,
            }
        }
        assert!(refused >= 936);
    }

    #[tokio::test(start_paused = true)]
    async fn sealed_bytes_are_bounded_and_given_back() {
        let state = tiny();
        assert_eq!(state.seal("a", &[1; 60], HOUR).await, Lookup::Found(()));
        assert_eq!(state.seal("b", &[2; 60], HOUR).await, Lookup::Unavailable);
        assert_eq!(state.unseal("b").await, Lookup::Absent);
        assert_eq!(state.unseal("a").await, Lookup::Found(vec![1; 60]));
        assert_eq!(state.seal("b", &[2; 60], HOUR).await, Lookup::Found(()));
        tokio::time::advance(HOUR).await;
        assert_eq!(state.seal("c", &[3; 100], HOUR).await, Lookup::Found(()), "what has ended makes room");
        assert_eq!(state.unseal("b").await, Lookup::Absent);
        assert_eq!(state.unseal("c").await, Lookup::Found(vec![3; 100]));
        assert_eq!(state.sealed_bytes.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_or_shorter_revocation_undoes_nothing() {
        let state = MemoryState::new();
        let name = RevocationKey { issuer: "people", claim: RevocationClaim::Session, value: "s" };
        state.revoke(&name, 100, HOUR).await;
        state.revoke(&name, 50, Duration::from_secs(1)).await;
        tokio::time::advance(HOUR - Duration::from_secs(1)).await;
        assert_eq!(state.not_before(&[name]).await, Lookup::Found(100));
    }
}
