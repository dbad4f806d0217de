//! A store that sees neither contents nor the names of people.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::ring::{KeyRing, OpenFailure};
use super::spent::ProofKey;
use crate::decision::evidence::Lookup;
use crate::enforce::ports::{Consumed, RevocationKey, State};
use crate::telemetry::metrics;

/// A store whose sealed pieces are sealed with a ring; everything else goes through as it is.
///
/// Every caller of [`State::seal`] is covered by this one place.
pub struct SealedState {
    inner: Arc<dyn State>,
    ring: Arc<ArcSwap<KeyRing>>,
}

impl SealedState {
    /// Seals what goes to `inner`. Whoever else holds `ring` may put another in its place.
    pub fn new(inner: Arc<dyn State>, ring: Arc<ArcSwap<KeyRing>>) -> Self {
        Self { inner, ring }
    }
}

#[async_trait]
impl State for SealedState {
    async fn consume(&self, key: &ProofKey, remember: Duration) -> Consumed {
        self.inner.consume(key, remember).await
    }

    async fn not_before(&self, keys: &[RevocationKey<'_>]) -> Lookup<i64> {
        self.inner.not_before(keys).await
    }

    async fn revoke(&self, key: &RevocationKey<'_>, moment: i64, remember: Duration) -> Lookup<()> {
        self.inner.revoke(key, moment, remember).await
    }

    async fn revised(&self, seen: u64) -> u64 {
        self.inner.revised(seen).await
    }

    async fn window(&self, key: &str, span: Duration) -> Lookup<u64> {
        let name = self.ring.load().blinded(key);
        self.inner.window(&name, span).await
    }

    async fn distinct(&self, key: &str, member: &str, span: Duration, most: usize) -> Lookup<usize> {
        let (name, mut member) = {
            let ring = self.ring.load();
            (ring.blinded(key), ring.blinded(&format!("{}:{key}:{member}", key.len())))
        };
        // 96 bits tell them apart; there are many of them.
        member.truncate(16);
        self.inner.distinct(&name, &member, span, most).await
    }

    async fn seal(&self, key: &str, bytes: &[u8], ttl: Duration) -> Lookup<()> {
        let (sealed, places) = {
            let ring = self.ring.load();
            (ring.seal(key, bytes), ring.places(key))
        };
        match (sealed, places.first()) {
            (Some(sealed), Some(place)) => self.inner.seal(place, &sealed, ttl).await,
            _ => Lookup::Unavailable,
        }
    }

    async fn unseal(&self, key: &str) -> Lookup<Vec<u8>> {
        let places = self.ring.load().places(key);
        let mut found = Lookup::Absent;
        // Under the key before lies what was sealed before a rotation, and is overtaken by what was sealed since.
        for place in places.iter() {
            match self.opened(key, self.inner.unseal(place).await) {
                Lookup::Unavailable => return Lookup::Unavailable,
                Lookup::Found(bytes) if found == Lookup::Absent => found = Lookup::Found(bytes),
                Lookup::Found(_) | Lookup::Absent => {}
            }
        }
        found
    }

    async fn hold(&self, key: &str, word: &str, keep: Duration) -> Lookup<Box<str>> {
        let places = self.ring.load().places(key);
        let Some((first, before)) = places.split_first() else { return Lookup::Unavailable };
        // What was held before a rotation is held.
        for place in before {
            match self.inner.held(place).await {
                Lookup::Found(held) if *held != *word => return Lookup::Found(held),
                Lookup::Unavailable => return Lookup::Unavailable,
                Lookup::Found(_) | Lookup::Absent => {}
            }
        }
        self.inner.hold(first, word, keep).await
    }

    async fn held(&self, key: &str) -> Lookup<Box<str>> {
        let places = self.ring.load().places(key);
        for place in places.iter() {
            match self.inner.held(place).await {
                Lookup::Absent => {}
                other => return other,
            }
        }
        Lookup::Absent
    }

    async fn peek(&self, key: &str) -> Lookup<Vec<u8>> {
        let places = self.ring.load().places(key);
        for place in places.iter() {
            match self.opened(key, self.inner.peek(place).await) {
                Lookup::Absent => {}
                other => return other,
            }
        }
        Lookup::Absent
    }
}

impl SealedState {
    fn opened(&self, key: &str, found: Lookup<Vec<u8>>) -> Lookup<Vec<u8>> {
        let sealed = match found {
            Lookup::Found(sealed) => sealed,
            Lookup::Absent => return Lookup::Absent,
            Lookup::Unavailable => return Lookup::Unavailable,
        };
        match self.ring.load().open(key, &sealed) {
            Ok(plain) => Lookup::Found(plain),
            // It counts as gone: whoever it belongs to begins anew. Nobody could open it later either.
            Err(failure) => {
                let why = match failure {
                    OpenFailure::UnknownKey => "unknown_key",
                    OpenFailure::Forged => "forged",
                };
                metrics().store_unopened.with_label_values(&[why]).inc();
                tracing::debug!(why, "a sealed piece does not open");
                Lookup::Absent
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::ports::PRIVATE;
    use crate::state::conformance;
    use crate::state::memory::MemoryState;

    const HOUR: Duration = Duration::from_secs(3600);

    fn ring(ids: &[&str]) -> KeyRing {
        let keys = ids.iter().map(|id| ((*id).into(), [id.as_bytes()[1]; 32]));
        KeyRing::new(&keys.collect::<Vec<_>>()).expect("a ring")
    }

    fn sealed_state() -> (Arc<MemoryState>, Arc<ArcSwap<KeyRing>>, SealedState) {
        let (inner, ring) = (Arc::new(MemoryState::new()), Arc::new(ArcSwap::from_pointee(ring(&["k1"]))));
        (Arc::clone(&inner), Arc::clone(&ring), SealedState::new(inner, ring))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn conforms() {
        conformance::run(Arc::new(sealed_state().2)).await;
    }

    #[tokio::test]
    async fn the_store_sees_nobodys_name_and_a_rotation_finds_what_lay_there() {
        let (inner, ring_of, state) = sealed_state();
        let name = format!("{PRIVATE}held:mia:p1");
        assert_eq!(state.seal(&name, b"old", HOUR).await, Lookup::Found(()));
        assert_eq!(inner.peek(&name).await, Lookup::Absent, "not under a name that says whose it is");
        let before = ring(&["k1"]).places(&name);
        assert!(matches!(inner.peek(&before[0]).await, Lookup::Found(_)));
        ring_of.store(Arc::new(ring(&["k2", "k1"])));
        assert_eq!(state.peek(&name).await, Lookup::Found(b"old".to_vec()));
        assert_eq!(state.seal(&name, b"new", HOUR).await, Lookup::Found(()));
        assert_eq!(state.peek(&name).await, Lookup::Found(b"new".to_vec()));
        assert_eq!(state.unseal(&name).await, Lookup::Found(b"new".to_vec()));
        assert_eq!(state.peek(&name).await, Lookup::Absent, "what was sealed before does not come back");
    }

    #[tokio::test]
    async fn what_is_held_is_held_through_a_rotation() {
        let (inner, ring_of, state) = sealed_state();
        let name = format!("{PRIVATE}duty:mia:p1");
        assert_eq!(state.hold(&name, "one", HOUR).await, Lookup::Found("one".into()));
        assert_eq!(inner.held(&name).await, Lookup::Absent, "not under a name that says whose it is");
        ring_of.store(Arc::new(ring(&["k2", "k1"])));
        assert_eq!(state.hold(&name, "other", HOUR).await, Lookup::Found("one".into()));
        assert_eq!(state.held(&name).await, Lookup::Found("one".into()));
        assert_eq!(state.hold(&name, "one", HOUR).await, Lookup::Found("one".into()));
        ring_of.store(Arc::new(ring(&["k2"])));
        assert_eq!(state.held(&name).await, Lookup::Found("one".into()), "under the new key, too");
    }

    #[tokio::test]
    async fn the_store_sees_no_contents_and_can_forge_none() {
        let (inner, _, state) = sealed_state();
        state.seal("a", b"secret", HOUR).await;
        let Lookup::Found(seen) = inner.unseal("a").await else { panic!("not kept") };
        assert!(!seen.windows(6).any(|part| part == b"secret"));
        inner.seal("b", &seen, HOUR).await;
        assert_eq!(state.unseal("b").await, Lookup::Absent, "moved");
        inner.seal("a", b"forged", HOUR).await;
        assert_eq!(state.unseal("a").await, Lookup::Absent, "made up");
    }

    #[tokio::test]
    async fn counters_have_names_that_nobody_can_guess() {
        let (inner, current, state) = sealed_state();
        assert_eq!(state.window("alice", HOUR).await, Lookup::Found(1));
        assert_eq!(inner.window("alice", HOUR).await, Lookup::Found(1), "not by its name");
        assert_eq!(inner.window(&ring(&["k1"]).blinded("alice"), HOUR).await, Lookup::Found(2));
        // Gateways with one key count together, also while a key is on its way out.
        assert_eq!(ring(&["k1"]).blinded("alice"), ring(&["k1", "k2"]).blinded("alice"));
        current.store(Arc::new(ring(&["k2", "k1"])));
        assert_eq!(state.window("alice", HOUR).await, Lookup::Found(1), "another key comes first");
    }

    #[tokio::test]
    async fn a_rotation_under_way_loses_nothing() {
        let (_, current, state) = sealed_state();
        state.seal("old", b"1", HOUR).await;
        current.store(Arc::new(ring(&["k2", "k1"])));
        state.seal("new", b"2", HOUR).await;
        assert_eq!(state.unseal("old").await, Lookup::Found(b"1".to_vec()));
        current.store(Arc::new(ring(&["k2"])));
        assert_eq!(state.unseal("new").await, Lookup::Found(b"2".to_vec()));
    }
}
