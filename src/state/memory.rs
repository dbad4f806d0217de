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

use super::distinct::Distinct;
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
    /// Those of whom different things are counted; one takes 24 bytes for each of them.
    pub distinct: usize,
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
            distinct: 100_000,
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
    distinct: Expiring<Distinct>,
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
            distinct: Expiring::new(limits.distinct),
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

    async fn distinct(&self, key: &str, member: &str, span: Duration, most: usize) -> Lookup<usize> {
        let now = Instant::now();
        let name = Key::of(&[key.as_bytes(), &span.as_nanos().to_be_bytes()]);
        let noted = self.distinct.change(name, now, |entry| {
            let entry = entry.get_or_insert_with(|| Entry::new(Distinct::default(), now, span));
            entry.ends = Entry::new((), now, span).ends;
            entry.value.note(member, now, span, most)
        });
        noted.map_or(Lookup::Unavailable, Lookup::Found)
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
mod tests;
