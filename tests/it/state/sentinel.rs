//! Redis with Sentinels: what holds when another server takes over.

use super::*;
use crate::support::eventually;
use crate::support::redis::Watched;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_with_failover_spends_no_proof_twice_and_heals() {
    const PROOFS: usize = 3_000;
    let servers = Watched::start();
    let (one, two) = (connected(servers.settings()).await, connected(servers.settings()).await);
    next_second().await;
    let before = ProofKey::new(&["before"], now());
    assert!(matches!(one.consume(&before, HOUR).await, Consumed::Done(_)));
    assert_eq!(one.revoke(&alice(), i64::from(u32::MAX), HOUR).await, Lookup::Found(()));

    // Both gateways try every proof, in opposite order, while the master is cut off, replaced, and comes back.
    let wins: Arc<Vec<AtomicUsize>> = Arc::new((0..PROOFS).map(|_| AtomicUsize::new(0)).collect());
    let mut running = JoinSet::new();
    for (backwards, state) in [(false, &one), (true, &two)] {
        for _ in 0..4 {
            let (wins, state) = (Arc::clone(&wins), Arc::clone(state));
            running.spawn(async move {
                for at in 0..PROOFS {
                    let number = if backwards { PROOFS - 1 - at } else { at };
                    let proof = timeless(&format!("partition {number}"));
                    if let Consumed::Done(_) = state.consume(&proof, HOUR).await {
                        wins[number].fetch_add(1, Ordering::SeqCst);
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    servers.master.freeze();
    tokio::task::block_in_place(|| servers.wait_for_failover());
    // The old master is back before it has heard that it is one no more.
    servers.master.thaw();
    while let Some(done) = running.join_next().await {
        done.expect("racer");
    }
    let wins: Vec<usize> = wins.iter().map(|won| won.load(Ordering::SeqCst)).collect();
    let twice = wins.iter().filter(|won| **won > 1).count();
    assert_eq!(twice, 0, "proofs were spent twice");
    assert!(wins.contains(&1), "nothing was spent at all");

    // The old master follows the new one, and both gateways have found it.
    for state in [&one, &two] {
        usable(state).await;
        assert!(matches!(state.consume(&before, HOUR).await, Consumed::Already));
        assert!(matches!(state.not_before(&[alice()]).await, Lookup::Found(moment) if moment > now()));
    }
    assert!(matches!(one.consume(&timeless("after"), HOUR).await, Consumed::Done(_)));
    assert!(matches!(two.consume(&timeless("after"), HOUR).await, Consumed::Already));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_an_empty_replica_revives_nothing() {
    let mut servers = Watched::start();
    let state = connected(servers.settings()).await;
    next_second().await;
    let spent = ProofKey::new(&["spent"], now());
    assert!(matches!(state.consume(&spent, HOUR).await, Consumed::Done(_)));
    let revoked_at = now();
    assert_eq!(state.revoke(&alice(), revoked_at, HOUR).await, Lookup::Found(()));
    // The master goes, and who takes over has lost its memory.
    servers.master.kill();
    tokio::task::block_in_place(|| servers.wait_for_failover());
    assert_eq!(servers.replica.say(&["FLUSHALL"]), "OK");
    // Alone it has nobody who could confirm a write. The old master comes back as its replica.
    servers.master.restart();
    let port = servers.replica.address.port().to_string();
    tokio::task::block_in_place(|| {
        eventually("the old master follows", AGAIN, || {
            servers.master.say(&["REPLICAOF", "127.0.0.1", &port]);
            servers.replica.say(&["WAIT", "1", "100"]) == "1"
        });
    });
    usable(&state).await;
    assert!(matches!(state.consume(&spent, HOUR).await, Consumed::Already));
    soon(
        "everything from before is revoked",
        AGAIN,
        async || matches!(state.not_before(&[alice()]).await, Lookup::Found(moment) if moment > revoked_at),
    )
    .await;
}
