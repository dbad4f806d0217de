//! Redis with Sentinels: what holds when another server takes over.

use super::*;
use crate::support::eventually;
use crate::support::redis::{Redis, Watched, file_in};

/// Both sides of a partition try every proof: a gateway that is cut off with the old master, and one that has followed
/// the Sentinels to the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_with_failover_spends_no_proof_twice() {
    const PROOFS: usize = 600;
    let servers = Watched::start();
    let cut_off = RedisSettings { min_replicas: 1, ..servers.master.settings() };
    let cut_off = RedisSettings { timeout: Duration::from_millis(400), ..cut_off };
    let (old_side, new_side) = (connected(cut_off).await, connected(servers.settings()).await);
    next_second().await;
    let before = ProofKey::new(&["before"], now());
    assert!(matches!(old_side.consume(&before, HOUR).await, Consumed::Done(_)));

    let wins: Arc<Vec<AtomicUsize>> = Arc::new((0..PROOFS).map(|_| AtomicUsize::new(0)).collect());
    let attempt = |state: &Arc<RedisState>, numbers: Vec<usize>| {
        let (wins, state) = (Arc::clone(&wins), Arc::clone(state));
        tokio::spawn(async move {
            for number in numbers {
                let proof = timeless(&format!("partition {number}"));
                if let Consumed::Done(_) = state.consume(&proof, HOUR).await {
                    wins[number].fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    };
    let mut running: Vec<_> = [(&old_side, 0), (&old_side, 1), (&new_side, 0), (&new_side, 1)]
        .map(|(state, from)| attempt(state, (from..PROOFS).step_by(2).collect()))
        .into();
    tokio::time::sleep(Duration::from_millis(20)).await;
    servers.wire.cut();
    // While the Sentinels have not decided yet, and after it.
    running.push(attempt(&old_side, (0..PROOFS).rev().collect()));
    tokio::task::block_in_place(|| servers.wait_for_failover());
    assert!(servers.master.say(&["ROLE"]).starts_with("master"), "two masters at the same time");
    // The new one has nobody who could confirm what it writes; so that it can spend, it gets somebody.
    let port = servers.replica.address.port().to_string();
    let third = Redis::start(&["--replicaof", "127.0.0.1", &port]);
    tokio::task::block_in_place(|| {
        eventually("it follows", AGAIN, || servers.replica.say(&["WAIT", "1", "100"]) == "1");
    });
    usable(&new_side).await;
    running.push(attempt(&new_side, (0..PROOFS).collect()));
    running.push(attempt(&old_side, (0..PROOFS).collect()));
    for task in running {
        task.await.expect("racer");
    }
    let wins: Vec<usize> = wins.iter().map(|won| won.load(Ordering::SeqCst)).collect();
    let twice = wins.iter().filter(|won| **won > 1).count();
    assert_eq!(twice, 0, "proofs were spent on both sides");
    assert!(wins.iter().sum::<usize>() > PROOFS / 2, "hardly anything was spent at all");

    // What was spent before is spent on the new side; what is revoked there is not unknown on the old one.
    stays_spent(&new_side, &before).await;
    assert_eq!(new_side.revoke(&alice(), 7, HOUR).await, Lookup::Found(()));
    soon("a master that nobody follows is not believed", AGAIN, async || {
        old_side.not_before(&[alice()]).await == Lookup::Unavailable
    })
    .await;
    assert!(is_out(&old_side).await);

    // The wire is mended: the old master becomes a replica, which the gateway beside it notices.
    servers.wire.mend();
    tokio::task::block_in_place(|| {
        eventually("the old master follows", AGAIN, || servers.master.say(&["ROLE"]).starts_with("slave"));
    });
    assert!(matches!(new_side.consume(&timeless("after"), HOUR).await, Consumed::Done(_)));
    assert!(is_out(&old_side).await);
    drop(third);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_follow_the_sentinels_when_the_master_hangs() {
    let servers = Watched::start();
    // One signs in at the Sentinels, as the documentation says.
    let line = include_str!("../../../docs/state.md").lines().find(|line| line.contains("+sentinel|master"));
    let words: Vec<&str> = line.expect("the line").split_whitespace().collect();
    for sentinel in &servers.sentinels {
        assert_eq!(sentinel.say(&words), "OK");
    }
    let signing_in = |password: &str| RedisSettings {
        sentinel_username: Some("wardgate".into()),
        sentinel_password_file: Some(file_in(servers.master.dir(), password, password)),
        ..servers.settings()
    };
    let (one, two) = (connected(servers.settings()).await, connected(signing_in("YOUR-PASSWORD")).await);
    let stranger = RedisState::start(signing_in("another"), &Handle::current());
    soon("it is refused", AGAIN, async || {
        stranger.trouble().is_some_and(|why| why.contains("Sentinel") && why.contains("password"))
    })
    .await;
    next_second().await;
    let before = ProofKey::new(&["before"], now());
    assert!(matches!(one.consume(&before, HOUR).await, Consumed::Done(_)));
    assert_eq!(one.revoke(&alice(), 7, HOUR).await, Lookup::Found(()));
    servers.master.freeze();
    assert!(matches!(one.consume(&timeless("a"), HOUR).await, Consumed::Unknown));
    tokio::task::block_in_place(|| servers.wait_for_failover());
    servers.master.thaw();
    // The old master follows the new one, and both gateways find it.
    for state in [&one, &two] {
        stays_spent(state, &before).await;
        soon("it is usable", AGAIN, async || state.not_before(&[alice()]).await != Lookup::Unavailable).await;
        assert_eq!(state.not_before(&[alice()]).await, Lookup::Found(7), "no revocation was lost");
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
    stays_spent(&state, &spent).await;
    soon(
        "everything from before is revoked",
        AGAIN,
        async || matches!(state.not_before(&[alice()]).await, Lookup::Found(moment) if moment > revoked_at),
    )
    .await;
}
