//! What one gateway revokes is announced to the others; and where it is not, they find it by looking.

use super::*;
use crate::support::redis::{Cluster, Redis, Watched, file_in};

fn name(value: &str) -> RevocationKey<'_> {
    RevocationKey { value, ..alice() }
}

async fn subscribed(state: &RedisState) {
    soon("it is subscribed", AGAIN, async || state.is_subscribed() && state.notice().is_none()).await;
}

/// Revokes at one gateway until the other has heard of one before it looked by itself.
async fn is_announced(from: &RedisState, to: &RedisState) {
    let before = to.announcements();
    let mut number = 0;
    soon("an announcement is heard", AGAIN, async || {
        number += 1;
        // Servers that were just away may take a moment.
        from.revoke(&name(&number.to_string()), 5, HOUR).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        to.announcements() > before
    })
    .await;
}

/// An idle gateway finds what another one revokes, whatever becomes of announcements.
async fn is_noticed(from: &RedisState, to: &RedisState, what: &str) {
    let mut seen = to.revised(0).await;
    // What was revoked earlier may still be on its way.
    while let Ok(later) = tokio::time::timeout(Duration::from_millis(1_500), to.revised(seen)).await {
        seen = later;
    }
    assert_eq!(from.revoke(&name(what), 5, HOUR).await, Lookup::Found(()));
    tokio::time::timeout(AGAIN, to.revised(seen)).await.expect("noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_announces_and_a_broken_subscription_is_opened_again() {
    let mut server = Redis::start(&[]);
    let (one, two) = (connected(server.settings()).await, connected(server.settings()).await);
    subscribed(&one).await;
    subscribed(&two).await;
    assert_eq!(server.say(&["PUBSUB", "NUMSUB", "wardgate:revised"]), "wardgate:revised\n2");
    is_announced(&one, &two).await;
    // The connection is cut, and nothing else.
    assert_eq!(server.say(&["CLIENT", "KILL", "TYPE", "pubsub"]), "2");
    is_noticed(&one, &two, "unheard").await;
    subscribed(&two).await;
    is_announced(&one, &two).await;
    // Nonsense on the channel is nobody's business.
    for nonsense in ["", "x", "\u{1}", "wardgate", "a 99999999999999999999999999"] {
        assert_ne!(server.say(&["PUBLISH", "wardgate:revised", nonsense]), "0");
    }
    // Neither is a table that nobody has.
    let before = two.announcements();
    server.say(&["PUBLISH", "wardgate:revised", "ffffffff 99999999"]);
    is_announced(&one, &two).await;
    assert_eq!(two.not_before(&[name("nobody")]).await, Lookup::Absent);
    assert!(two.is_subscribed() && two.announcements() > before);
    server.kill();
    soon("the end is noticed", AGAIN, async || !two.is_subscribed()).await;
    server.restart();
    subscribed(&two).await;
    usable(&one).await;
    is_announced(&one, &two).await;
}

/// A network that swallows everything ends no connection; the subscription must not be believed to stand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_no_subscription() {
    let server = Redis::start(&[]);
    let state = connected(server.settings()).await;
    subscribed(&state).await;
    server.freeze();
    soon("it is noticed", AGAIN, async || !state.is_subscribed()).await;
    server.thaw();
    subscribed(&state).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_the_channel_it_is_told_and_gateways_look() {
    let server = Redis::start(&[]);
    let line = include_str!("../../../docs/state.md").lines().find(|line| line.starts_with("ACL SETUSER"));
    let words: Vec<&str> = line.expect("the line").split_whitespace().collect();
    assert_eq!(server.say(&words), "OK");
    let settings = RedisSettings {
        username: Some("wardgate".into()),
        password_file: Some(file_in(server.dir(), "password", "YOUR-PASSWORD\n")),
        ..server.settings()
    };
    let (one, two) = (connected(settings.clone()).await, connected(settings.clone()).await);
    subscribed(&two).await;
    is_announced(&one, &two).await;
    // Redis itself ends the subscriptions of those who may not any more.
    assert_eq!(server.say(&["ACL", "SETUSER", "wardgate", "resetchannels"]), "OK");
    soon("it is told", AGAIN, async || two.notice().is_some_and(|why| why.contains("permission"))).await;
    assert!(!two.is_subscribed());
    is_noticed(&one, &two, "without a word").await;
    soon("who revokes is told", AGAIN, async || one.notice().is_some_and(|why| why.contains("ACL"))).await;
    for state in [&one, &two] {
        assert_eq!(
            (state.trouble(), state.not_before(&[name("without a word")]).await),
            (None, Lookup::Found(5))
        );
    }
    // Who may listen, but not speak.
    assert_eq!(server.say(&["ACL", "SETUSER", "wardgate", "&wardgate:revised", "-publish"]), "OK");
    soon("it hears again", AGAIN, async || one.is_subscribed() && two.is_subscribed()).await;
    is_noticed(&one, &two, "mute").await;
    assert!(one.notice().is_some_and(|why| why.contains("can't be announced")), "{:?}", one.notice());
    assert_eq!(server.say(&["ACL", "SETUSER", "wardgate", "+publish"]), "OK");
    is_announced(&one, &two).await;
    assert_eq!((one.notice(), two.notice()), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_follows_a_failover() {
    let servers = Watched::start();
    let (one, two) = (connected(servers.settings()).await, connected(servers.settings()).await);
    subscribed(&two).await;
    is_announced(&one, &two).await;
    // The old master hangs, with the subscriptions at it.
    servers.master.freeze();
    tokio::task::block_in_place(|| servers.wait_for_failover());
    servers.master.thaw();
    usable(&one).await;
    usable(&two).await;
    soon("both are at the new master", AGAIN, async || {
        servers.replica.say(&["PUBSUB", "NUMSUB", "wardgate:revised"]) == "wardgate:revised\n2"
    })
    .await;
    is_announced(&one, &two).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_carries_announcements_from_node_to_node() {
    let mut cluster = Cluster::start();
    let one = connected(cluster.settings()).await;
    // It subscribes at the first that is named, whichever node the table is on.
    for first in 0..2 {
        let mut settings = cluster.settings();
        settings.nodes.rotate_left(first);
        let two = connected(settings).await;
        subscribed(&two).await;
        is_announced(&one, &two).await;
    }
    // One that does not answer is passed over.
    let mut settings = cluster.settings();
    settings.nodes.insert(0, ("127.0.0.1".to_owned(), crate::support::free_address().port()));
    let two = connected(settings).await;
    subscribed(&two).await;
    is_announced(&one, &two).await;
    // One that hangs, where no connection breaks, is left for another. It is none of the cluster's, which goes on.
    let stranger = Redis::start(&[]);
    let mut settings = cluster.settings();
    settings.nodes.insert(0, ("127.0.0.1".to_owned(), stranger.address.port()));
    let two = connected(settings).await;
    subscribed(&two).await;
    assert_eq!(stranger.say(&["PUBSUB", "NUMSUB", "wardgate:revised"]), "wardgate:revised\n1");
    stranger.freeze();
    is_announced(&one, &two).await;
    stranger.thaw();
    // The node where it is subscribed goes, and comes back.
    let hears = |node: &Redis| !node.say(&["PUBSUB", "NUMSUB", "wardgate:revised"]).ends_with("\n0");
    let three = connected(RedisSettings {
        nodes: vec![("127.0.0.1".to_owned(), cluster.nodes[1].address.port())],
        ..cluster.settings()
    })
    .await;
    subscribed(&three).await;
    assert!(hears(&cluster.nodes[1]));
    cluster.nodes[1].kill();
    soon("it is noticed", AGAIN, async || !three.is_subscribed()).await;
    cluster.nodes[1].restart();
    subscribed(&three).await;
    usable(&one).await;
    usable(&three).await;
    is_announced(&one, &three).await;
}
