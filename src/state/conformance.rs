//! What every state store must do: one suite for all of them.
//!
//! It sleeps for parts of a second where things must end; stores whose clock is coarser than 100 ms can't
//! pass.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "it is a test, kept where every store's tests find it"
)]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::spent::ProofKey;
use crate::decision::evidence::Lookup;
use crate::enforce::ports::{Consumed, RevocationClaim, RevocationKey, State};

const RACERS: usize = 16;
const KEYS: usize = 200;
const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(300);
const LONGER_THAN_SHORT: Duration = Duration::from_millis(400);

/// Runs the suite on an empty store. Wants a runtime with more than one thread, so that racers really meet.
///
/// # Panics
/// Where the store does not conform.
pub async fn run(store: Arc<dyn State>) {
    a_proof_is_spent_exactly_once(&store).await;
    proofs_are_told_apart_and_end(store.as_ref()).await;
    the_latest_revocation_counts(store.as_ref()).await;
    revocations_end(store.as_ref()).await;
    windows_count_and_slide(store.as_ref()).await;
    windows_lose_no_event(&store).await;
    different_members_are_counted(&store).await;
    sealed_bytes_are_taken_once(&store).await;
    sealed_bytes_end(store.as_ref()).await;
    the_first_word_is_held(&store).await;
    words_end(store.as_ref()).await;
}

/// Calls `attempt` from many tasks at once for each key and gives how many were successful, per key.
async fn race<F, A>(attempt: F) -> Vec<usize>
where
    F: Fn(usize) -> A,
    A: Future<Output = bool> + Send + 'static,
{
    let mut racers = JoinSet::new();
    for key in 0..KEYS {
        for _ in 0..RACERS {
            let attempt = attempt(key);
            racers.spawn(async move { (key, attempt.await) });
        }
    }
    let mut winners = vec![0; KEYS];
    while let Some(finished) = racers.join_next().await {
        let (key, won) = finished.expect("racer");
        winners[key] += usize::from(won);
    }
    winners
}

async fn a_proof_is_spent_exactly_once(store: &Arc<dyn State>) {
    let winners = race(|key| {
        let store = Arc::clone(store);
        async move {
            let proof = ProofKey::new(&["race", &key.to_string()], i64::MAX);
            match store.consume(&proof, HOUR).await {
                Consumed::Done(spent) => {
                    assert_eq!(spent.key(), &proof);
                    true
                }
                Consumed::Already => false,
                Consumed::Unknown => panic!("the store did not answer"),
            }
        }
    });
    assert_eq!(winners.await, vec![1; KEYS], "each proof has one winner");
}

async fn the_first_word_is_held(store: &Arc<dyn State>) {
    let mut racers = JoinSet::new();
    for key in 0..KEYS {
        for racer in 0..RACERS {
            let (store, word) = (Arc::clone(store), if racer % 2 == 0 { "even" } else { "odd" });
            racers.spawn(async move {
                match store.hold(&format!("private:race {key}"), word, HOUR).await {
                    Lookup::Found(held) => (key, *held == *word, held),
                    other => panic!("{other:?}"),
                }
            });
        }
    }
    let mut held: Vec<Option<Box<str>>> = vec![None; KEYS];
    let mut winners = vec![0; KEYS];
    while let Some(finished) = racers.join_next().await {
        let (key, won, word) = finished.expect("racer");
        assert!(held[key].as_ref().is_none_or(|known| *known == word), "everybody is told the same");
        held[key] = Some(word);
        winners[key] += usize::from(won);
    }
    assert_eq!(winners, vec![RACERS / 2; KEYS], "one half wins, all of it");
    assert_eq!(store.held("private:race 0").await, Lookup::Found(held[0].clone().expect("a word")));
    assert_eq!(store.held("private:nobody's").await, Lookup::Absent);
}

async fn words_end(store: &dyn State) {
    let found = |word: &str| Lookup::Found(Box::from(word));
    assert_eq!(store.hold("ends", "one", SHORT).await, found("one"));
    assert_eq!(store.hold("ends", "other", HOUR).await, found("one"));
    assert_eq!(store.hold("lasts", "one", HOUR).await, found("one"));
    assert_eq!(store.hold("lasts", "one", SHORT).await, found("one"), "no shorter than it was");
    sleep(LONGER_THAN_SHORT).await;
    assert_eq!(store.held("ends").await, Lookup::Absent);
    assert_eq!(store.hold("ends", "other", HOUR).await, found("other"));
    assert_eq!(store.held("lasts").await, found("one"));
}

async fn proofs_are_told_apart_and_end(store: &dyn State) {
    let spend = async |parts: &[&str], remember| {
        matches!(store.consume(&ProofKey::new(parts, i64::MAX), remember).await, Consumed::Done(_))
    };
    assert!(spend(&["apart", "ab", "c"], HOUR).await && spend(&["apart", "a", "bc"], HOUR).await);
    assert!(spend(&["ends"], SHORT).await && !spend(&["ends"], SHORT).await);
    sleep(LONGER_THAN_SHORT).await;
    assert!(spend(&["ends"], SHORT).await, "after its time it may be forgotten");
    assert!(!spend(&["apart", "ab", "c"], HOUR).await, "the others are not");
}

fn name(claim: RevocationClaim, value: &str) -> RevocationKey<'_> {
    RevocationKey { issuer: "people", claim, value }
}

async fn the_latest_revocation_counts(store: &dyn State) {
    let (alice, session) = (name(RevocationClaim::Subject, "alice"), name(RevocationClaim::Session, "s-1"));
    let both = [alice, session];
    assert_eq!(store.not_before(&both).await, Lookup::Absent);
    assert_eq!(store.not_before(&[]).await, Lookup::Absent);
    assert_eq!(store.revoke(&alice, 100, HOUR).await, Lookup::Found(()));
    assert_eq!(store.revoke(&alice, 50, HOUR).await, Lookup::Found(()));
    assert_eq!(store.not_before(&both).await, Lookup::Found(100), "an earlier moment changes nothing");
    assert_eq!(store.revoke(&session, 200, HOUR).await, Lookup::Found(()));
    assert_eq!(store.not_before(&both).await, Lookup::Found(200), "the latest of all names counts");
    assert_eq!(store.not_before(&[alice]).await, Lookup::Found(100));
    // The same value under another claim or issuer is another name.
    for other in [
        name(RevocationClaim::Client, "alice"),
        name(RevocationClaim::TokenId, "alice"),
        name(RevocationClaim::Session, "alice"),
        RevocationKey { issuer: "staff", ..name(RevocationClaim::Subject, "alice") },
    ] {
        assert_eq!(store.not_before(std::slice::from_ref(&other)).await, Lookup::Absent, "{other:?}");
    }
}

async fn revocations_end(store: &dyn State) {
    let token = name(RevocationClaim::TokenId, "t-1");
    assert_eq!(store.revoke(&token, 1, SHORT).await, Lookup::Found(()));
    assert_eq!(store.not_before(std::slice::from_ref(&token)).await, Lookup::Found(1));
    sleep(LONGER_THAN_SHORT).await;
    assert_eq!(store.not_before(&[token]).await, Lookup::Absent);
}

async fn windows_count_and_slide(store: &dyn State) {
    for expected in 1..=5 {
        assert_eq!(store.window("slides", SHORT).await, Lookup::Found(expected));
    }
    assert_eq!(store.window("other", SHORT).await, Lookup::Found(1));
    assert_eq!(store.window("slides", HOUR).await, Lookup::Found(1), "each span has its own count");
    sleep(LONGER_THAN_SHORT).await;
    assert_eq!(store.window("slides", SHORT).await, Lookup::Found(1));
}

async fn different_members_are_counted(store: &Arc<dyn State>) {
    let note = async |key: &str, member: &str, span| store.distinct(key, member, span, 10).await;
    for (member, expected) in [("a", 1), ("b", 2), ("a", 2), ("c", 3)] {
        assert_eq!(note("seen", member, SHORT).await, Lookup::Found(expected), "{member}");
    }
    assert_eq!(note("seen", "a", HOUR).await, Lookup::Found(1), "each span has its own");
    assert_eq!(note("other", "d", SHORT).await, Lookup::Found(1));
    sleep(LONGER_THAN_SHORT).await;
    assert_eq!(note("seen", "d", SHORT).await, Lookup::Found(1));
    // No more are kept than are asked for, and all at once none is lost.
    let mut racers = JoinSet::new();
    for member in 0..50 {
        let store = Arc::clone(store);
        racers.spawn(async move { store.distinct("race", &(member % 30).to_string(), HOUR, 100).await });
    }
    let mut most = 0;
    while let Some(Ok(counted)) = racers.join_next().await {
        let Lookup::Found(counted) = counted else { panic!("{counted:?}") };
        most = most.max(counted);
    }
    assert_eq!(most, 30);
    for member in 0..20 {
        assert_eq!(note("many", &member.to_string(), HOUR).await, Lookup::Found(10.min(member + 1)));
    }
}

async fn windows_lose_no_event(store: &Arc<dyn State>) {
    let mut racers = JoinSet::new();
    for _ in 0..KEYS {
        let store = Arc::clone(store);
        racers.spawn(async move { store.window("busy", HOUR).await });
    }
    let mut counts = HashSet::new();
    while let Some(finished) = racers.join_next().await {
        let Lookup::Found(count) = finished.expect("racer") else { panic!("the store did not answer") };
        assert!(counts.insert(count), "two events got the same number {count}");
    }
    assert_eq!(counts.into_iter().max(), u64::try_from(KEYS).ok());
}

async fn sealed_bytes_are_taken_once(store: &Arc<dyn State>) {
    for key in 0..KEYS {
        assert_eq!(store.seal(&format!("race {key}"), &[7; 100], HOUR).await, Lookup::Found(()));
    }
    let winners = race(|key| {
        let store = Arc::clone(store);
        async move {
            match store.unseal(&format!("race {key}")).await {
                Lookup::Found(bytes) => {
                    assert_eq!(bytes, [7; 100]);
                    true
                }
                Lookup::Absent => false,
                Lookup::Unavailable => panic!("the store did not answer"),
            }
        }
    });
    assert_eq!(winners.await, vec![1; KEYS], "each sealed piece has one taker");
}

async fn sealed_bytes_end(store: &dyn State) {
    assert_eq!(store.unseal("never sealed").await, Lookup::Absent);
    assert_eq!(store.seal("empty", b"", HOUR).await, Lookup::Found(()));
    assert_eq!(store.peek("never sealed").await, Lookup::Absent);
    assert_eq!(store.peek("empty").await, Lookup::Found(Vec::new()), "looking takes nothing");
    assert_eq!(store.unseal("empty").await, Lookup::Found(Vec::new()));
    assert_eq!(store.peek("empty").await, Lookup::Absent, "what was taken out is gone");
    assert_eq!(store.seal("again", b"first", HOUR).await, Lookup::Found(()));
    assert_eq!(store.seal("again", b"second", HOUR).await, Lookup::Found(()));
    assert_eq!(store.peek("again").await, Lookup::Found(b"second".to_vec()), "the last bytes are seen");
    assert_eq!(store.unseal("again").await, Lookup::Found(b"second".to_vec()), "the last bytes count");
    assert_eq!(store.seal("lines", b"\na\nb", HOUR).await, Lookup::Found(()));
    assert_eq!(store.peek("lines").await, Lookup::Found(b"\na\nb".to_vec()), "to the byte");
    assert_eq!(store.seal("ends", b"x", SHORT).await, Lookup::Found(()));
    sleep(LONGER_THAN_SHORT).await;
    assert_eq!(store.peek("ends").await, Lookup::Absent);
    assert_eq!(store.unseal("ends").await, Lookup::Absent);
}
