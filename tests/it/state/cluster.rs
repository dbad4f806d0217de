//! A Redis Cluster of three masters with a replica each.

use super::*;
use crate::support::eventually;
use crate::support::redis::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_conforms_and_survives_the_loss_of_a_master() {
    let mut cluster = Cluster::start();
    let state = connected(cluster.settings()).await;
    wardgate::state::conformance::run(Arc::clone(&state) as _).await;

    let two = connected(cluster.settings()).await;
    let handles = [Arc::clone(&state), Arc::clone(&two)];
    let (wins, unknown) = race(&handles, 100, 4).await;
    assert_eq!((wins, unknown), (vec![1; 100], 0));
    let used = cluster.masters().into_iter().filter(|at| cluster.nodes[*at].say(&["DBSIZE"]) != "0").count();
    assert_eq!(used, 3, "every master has some");

    // Proofs from before the failover, on every node.
    next_second().await;
    let moment = now();
    let proof = |number: usize| ProofKey::new(&["before", &number.to_string()], moment);
    for number in 0..60 {
        assert!(matches!(state.consume(&proof(number), HOUR).await, Consumed::Done(_)), "{number}");
    }
    let lost = cluster.masters()[0];
    cluster.nodes[lost].kill();
    tokio::task::block_in_place(|| {
        eventually("its replica takes over", AGAIN, || cluster.masters().len() == 3);
    });
    // That one has no replica itself, so nothing on it can be confirmed until the old master follows it.
    for number in 0..60 {
        assert!(!matches!(two.consume(&proof(number), HOUR).await, Consumed::Done(_)), "{number}");
    }
    cluster.nodes[lost].restart();
    usable(&state).await;
    usable(&two).await;
    for number in 0..60 {
        stays_spent(&two, &proof(number)).await;
    }
    let (wins, _) = race(&handles, 100, 2).await;
    assert_eq!(wins, vec![0; 100], "what was spent before stays spent");
}
