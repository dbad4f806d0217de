//! The embedded store: what it keeps over restarts, what it refuses when it is full, and whose its file is.

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
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 2, "nothing of its own is left");
}

#[tokio::test]
async fn what_is_full_refuses_and_what_has_ended_makes_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = EmbeddedLimits { proofs: 2, revocations: 1, sealed: 2, sealed_bytes: 100 };
    let state = opened(dir.path(), limits);
    // Long enough for a slow machine to come to the sleep below.
    let short = Duration::from_secs(3);
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
    assert_eq!(state.seal("a", &[0; 101], HOUR).await, Lookup::Unavailable);
    assert_eq!(state.peek("a").await, Lookup::Found(vec![0; 70]), "what does not fit takes nothing away");
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
