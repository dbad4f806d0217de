//! What a store in memory keeps, and for how long.

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
        distinct: 64,
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
