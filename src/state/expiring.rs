//! A bounded table whose entries end by themselves, and never before.
//!
//! Entries go when their time is up, lazily: on the next look at the same key, or in a sweep when their shard
//! has grown. A full shard refuses new entries rather than giving up one that still counts: forgetting that a
//! proof was spent, or that a session was revoked, would let it be used again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::time::Instant;

/// A power of two, so that a byte of the key picks a shard evenly. Requests on different keys rarely meet.
const SHARDS: usize = 64;

/// A shard smaller than this is not worth sweeping.
const SMALLEST_SWEEP: usize = 64;

/// The longest time an entry is kept, 30 years: keeps the arithmetic of instants from overflowing.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The digest of an entry's name: entries have one size, and no names of people stay in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// The key whose digest was kept elsewhere.
    pub(super) fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest, to be kept elsewhere.
    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.0
    }

    /// Digests the parts of a name, length-prefixed so that no two names share a key.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            // `usize` has at most 64 bits wherever this runs.
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

/// The table is full of entries that still count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// An entry's value and when it ends.
pub(super) struct Entry<V> {
    pub(super) value: V,
    pub(super) ends: Instant,
}

impl<V> Entry<V> {
    /// An entry that ends `keep` after `now`.
    pub(super) fn new(value: V, now: Instant, keep: Duration) -> Self {
        Self { value, ends: now + keep.min(LONGEST) }
    }
}

/// The table.
pub(super) struct Expiring<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    most_per_shard: usize,
}

struct Shard<V> {
    entries: HashMap<Key, Entry<V>>,
    sweep_at: usize,
    /// No entry ends before this, so a full shard need not be searched again until then.
    first_end: Option<Instant>,
}

impl<V> Expiring<V> {
    /// A table for about `capacity` entries; the bound is kept per shard.
    pub(super) fn new(capacity: usize) -> Self {
        let shard = || Shard { entries: HashMap::new(), sweep_at: SMALLEST_SWEEP, first_end: None };
        Self {
            shards: std::iter::repeat_with(|| Mutex::new(shard())).take(SHARDS).collect(),
            most_per_shard: capacity.div_ceil(SHARDS).max(1),
        }
    }

    /// Changes the entry of a key, atomically: `change` gets what is there and still counts, and leaves what
    /// shall be.
    ///
    /// # Errors
    /// There is no room for the new entry; nothing was changed.
    pub(super) fn change<R>(
        &self,
        key: Key,
        now: Instant,
        change: impl FnOnce(&mut Option<Entry<V>>) -> R,
    ) -> Result<R, Full> {
        let Some(shard) = self.shards.get(usize::from(key.0[0]) % SHARDS) else {
            return Err(Full);
        };
        // A panic while the lock is held can't leave a shard half changed, so a poisoned lock is as good as a
        // whole one.
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entry = shard.entries.remove(&key).filter(|entry| entry.ends > now);
        let was_there = entry.is_some();
        let answer = change(&mut entry);
        if let Some(entry) = entry {
            if !was_there && !shard.has_room(now, self.most_per_shard) {
                return Err(Full);
            }
            shard.first_end = Some(shard.first_end.map_or(entry.ends, |first| first.min(entry.ends)));
            shard.entries.insert(key, entry);
        }
        Ok(answer)
    }

    /// Removes everything that has ended.
    pub(super) fn sweep(&self, now: Instant) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).sweep(now);
        }
    }
}

impl<V> Shard<V> {
    /// Whether one more entry fits, after a sweep where the shard has grown.
    fn has_room(&mut self, now: Instant, most: usize) -> bool {
        let may_have_ended = self.first_end.is_some_and(|first| first <= now);
        if self.entries.len() >= self.sweep_at.min(most) && may_have_ended {
            self.sweep(now);
        }
        self.entries.len() < most
    }

    fn sweep(&mut self, now: Instant) {
        self.entries.retain(|_, entry| entry.ends > now);
        self.first_end = self.entries.values().map(|entry| entry.ends).min();
        // Doubling makes the cost of sweeps constant per insertion.
        self.sweep_at = self.entries.len().saturating_mul(2).max(SMALLEST_SWEEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn key(number: usize) -> Key {
        Key::of(&[&number.to_be_bytes()])
    }

    fn put(table: &Expiring<usize>, number: usize, now: Instant, keep: Duration) -> Result<bool, Full> {
        table.change(key(number), now, |entry| {
            let is_new = entry.is_none();
            entry.get_or_insert_with(|| Entry::new(number, now, keep));
            is_new
        })
    }

    fn len<V>(table: &Expiring<V>) -> usize {
        table.shards.iter().map(|shard| shard.lock().expect("lock").entries.len()).sum()
    }

    #[test]
    fn no_two_names_share_a_key() {
        assert!(Key::of(&[b"a", b"bc"]) != Key::of(&[b"ab", b"c"]));
        assert!(Key::of(&[b"a"]) != Key::of(&[b"a", b""]));
        assert!(Key::of(&[b"a", b"bc"]) == Key::of(&[b"a", b"bc"]));
    }

    #[test]
    fn an_entry_ends_when_its_time_is_up_and_not_before() {
        let (table, now) = (Expiring::new(1000), Instant::now());
        assert_eq!(put(&table, 1, now, MINUTE), Ok(true));
        assert_eq!(put(&table, 1, now + MINUTE - Duration::from_nanos(1), MINUTE), Ok(false));
        assert_eq!(put(&table, 1, now + MINUTE, MINUTE), Ok(true));
        assert_eq!(put(&table, 2, now, Duration::MAX), Ok(true));
    }

    #[test]
    fn a_full_table_refuses_the_new_and_keeps_the_old() {
        let (table, now) = (Expiring::new(SHARDS * 4), Instant::now());
        let kept: Vec<usize> =
            (0..10_000).filter(|number| put(&table, *number, now, MINUTE) == Ok(true)).collect();
        assert!(kept.len() <= SHARDS * 4 && len(&table) == kept.len());
        assert!(kept.iter().all(|number| put(&table, *number, now, MINUTE) == Ok(false)));
        assert!((10_000..20_000).all(|number| put(&table, number, now, MINUTE) == Err(Full)));
        // When the old have ended, there is room again.
        assert_eq!(put(&table, 20_000, now + MINUTE, MINUTE), Ok(true));
    }

    #[test]
    fn what_has_ended_is_swept_out_as_the_table_grows() {
        let (table, start) = (Expiring::new(1_000_000), Instant::now());
        for number in 0..200_000_usize {
            // One entry a millisecond, each kept for a second: about a thousand count at any time.
            let now = start + Duration::from_millis(u64::try_from(number).expect("small"));
            assert_eq!(put(&table, number, now, Duration::from_secs(1)), Ok(true));
        }
        assert!(len(&table) < SHARDS * SMALLEST_SWEEP * 2, "{}", len(&table));
        table.sweep(start + Duration::from_secs(10_000));
        assert_eq!(len(&table), 0);
    }
}
