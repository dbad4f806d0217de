//! Redis slow, stopped, full, closed to us: nothing fails open, it is told, and it heals by itself.

use super::*;
use crate::support::redis::{Redis, Wire, file_in};

/// What the outage looks like from inside, and that it is over without a restart.
async fn outage(state: &RedisState, words: &str, begin: impl FnOnce(), end: impl FnOnce()) {
    begin();
    soon("the outage is noticed", AGAIN, async || {
        is_out(state).await && state.trouble().is_some_and(|why| why.contains(words))
    })
    .await;
    end();
    usable(state).await;
    let proof = timeless(&format!("after {words}"));
    soon("it can be used again", AGAIN, async || {
        matches!(state.consume(&proof, HOUR).await, Consumed::Done(_) | Consumed::Already)
    })
    .await;
    assert_ne!(state.not_before(&[]).await, Lookup::Unavailable, "and read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_and_started() {
    let server = std::cell::RefCell::new(Redis::start(&[]));
    let settings = server.borrow().settings();
    let state = connected(settings).await;
    outage(&state, "can't be reached", || server.borrow_mut().kill(), || server.borrow_mut().restart()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_and_slow() {
    let server = Redis::start(&[]);
    let settings = RedisSettings { timeout: Duration::from_millis(300), ..server.settings() };
    let state = connected(settings).await;
    let spent = timeless("sent into the ice");
    server.freeze();
    assert!(matches!(state.consume(&spent, HOUR).await, Consumed::Unknown), "no answer is no proof");
    outage(&state, "no answer", || (), || server.thaw()).await;
    assert!(matches!(state.consume(&spent, HOUR).await, Consumed::Already), "it had arrived: it is spent");
    // Every answer comes, but too late.
    let slow = || assert_eq!(server.say(&["CLIENT", "PAUSE", "3000", "ALL"]), "OK");
    outage(&state, "no answer", slow, || ()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_answers_at_once_when_it_is_known() {
    let mut server = Redis::start(&[]);
    let state = connected(server.settings()).await;
    server.kill();
    soon("it is noticed", AGAIN, async || state.trouble().is_some() && is_out(&state).await).await;
    // No attempt to connect and no time limit for each: so many would take hours with either.
    for _ in 0..10_000 {
        assert_eq!(state.not_before(&[alice()]).await, Lookup::Unavailable);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_memory() {
    let server = Redis::start(&[]);
    runs_out_of_memory(&server, server.settings()).await;
}

/// There the answers come in one piece with the replicas' confirmation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_memory_with_a_replica() {
    let (server, _replica) = with_replica();
    runs_out_of_memory(&server, confirmed(&server)).await;
}

fn with_replica() -> (Redis, Redis) {
    let master = Redis::start(&[]);
    let port = master.address.port().to_string();
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &port]);
    (master, replica)
}

/// A write counts once a replica has it.
fn confirmed(master: &Redis) -> RedisSettings {
    RedisSettings { min_replicas: 1, ..master.settings() }
}

async fn runs_out_of_memory(server: &Redis, settings: RedisSettings) {
    let state = connected(settings.clone()).await;
    assert_eq!(state.revoke(&alice(), 7, HOUR).await, Lookup::Found(()));
    assert_eq!(server.say(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "OK");
    assert_eq!(server.say(&["CONFIG", "SET", "maxmemory", "1mb"]), "OK");
    soon("it is noticed", AGAIN, async || {
        is_out(&state).await && state.trouble().is_some_and(|why| why.contains("maxmemory"))
    })
    .await;
    assert_eq!(state.not_before(&[alice()]).await, Lookup::Found(7), "what it knows is still true");
    // A gateway that starts now can at least read.
    let late = RedisState::start(settings, &Handle::current());
    soon("it reads", AGAIN, async || late.not_before(&[alice()]).await == Lookup::Found(7)).await;
    assert!(is_out(&late).await);
    assert_eq!(server.say(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    usable(&state).await;
    assert!(matches!(state.consume(&timeless("after"), HOUR).await, Consumed::Done(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_may_forget_is_refused() {
    let server = Redis::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let state = RedisState::start(server.settings(), &Handle::current());
    soon("it is refused", AGAIN, async || {
        state.trouble().is_some_and(|why| why.contains("maxmemory-policy noeviction"))
    })
    .await;
    assert!(is_out(&state).await && !state.was_reached());
    assert_eq!(server.say(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "OK");
    usable(&state).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_begins_to_forget_is_given_up_and_what_it_forgot_stays_spent_and_revoked() {
    let server = Redis::start(&[]);
    let state = connected(server.settings()).await;
    next_second().await;
    let (spent, before) = (ProofKey::new(&["spent"], now()), now());
    assert!(matches!(state.consume(&spent, HOUR).await, Consumed::Done(_)));
    assert_eq!(state.revoke(&alice(), before, HOUR).await, Lookup::Found(()));
    // It forgets what has an end, and keeps the epoch.
    let begin = || {
        assert_eq!(server.say(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]), "OK");
        assert_eq!(server.say(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
        server.say(&["SET", "anything", "else"]);
        assert_eq!(server.say(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
        assert!(!server.say(&["INFO", "stats"]).contains("evicted_keys:0\r"), "something was evicted");
    };
    let end = || assert_eq!(server.say(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "OK");
    outage(&state, "maxmemory-policy noeviction", begin, end).await;
    assert!(matches!(state.consume(&spent, HOUR).await, Consumed::Already), "it is not remembered, but old");
    let Lookup::Found(moment) = state.not_before(&[alice()]).await else { panic!("she is forgotten") };
    assert!(moment > before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_without_replicas_says_so() {
    let (master, replica) = with_replica();
    let state = connected(confirmed(&master)).await;
    let set = |count| assert_eq!(master.say(&["CONFIG", "SET", "min-replicas-to-write", count]), "OK");
    outage(&state, "min-replicas-to-write", || set("2"), || set("1")).await;
    drop(replica);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_two_servers_is_refused() {
    let servers = [Redis::start(&[]), Redis::start(&[])];
    let balancer = Wire::to_each(servers.iter().map(|server| server.address).collect());
    let nodes = vec![("127.0.0.1".to_owned(), balancer.address.port())];
    let state = RedisState::start(RedisSettings { nodes, ..servers[0].settings() }, &Handle::current());
    soon("it is refused", AGAIN, async || {
        state.trouble().is_some_and(|why| why.contains("more than one server"))
    })
    .await;
    assert!(is_out(&state).await && !state.was_reached());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_password() {
    let server = Redis::start(&["--requirepass", "first"]);
    let path = file_in(server.dir(), "password", "first\n");
    let settings = RedisSettings { password_file: Some(path.clone()), ..server.settings() };
    let state = connected(settings).await;
    // The server takes another one, and ends every connection.
    let as_admin = |password, words: &[&str]| server.say_as(&["-a", password, "--no-auth-warning"], words);
    let change = || {
        assert_eq!(as_admin("first", &["CONFIG", "SET", "requirepass", "second"]), "OK");
        as_admin("second", &["CLIENT", "KILL", "TYPE", "normal"]);
    };
    let follow = || std::fs::write(&path, "second\n").expect("writable");
    outage(&state, "password", change, follow).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_becomes_a_replica() {
    let (server, other) = (Redis::start(&[]), Redis::start(&[]));
    let state = connected(server.settings()).await;
    let port = other.address.port().to_string();
    let begin = || assert_eq!(server.say(&["REPLICAOF", "127.0.0.1", &port]), "OK");
    let end = || assert_eq!(server.say(&["REPLICAOF", "NO", "ONE"]), "OK");
    outage(&state, "replica", begin, end).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_replicas_are_an_outage() {
    let (master, replica) = with_replica();
    let settings = RedisSettings { timeout: Duration::from_millis(600), ..confirmed(&master) };
    let state = connected(settings).await;
    let proof = timeless("unconfirmed");
    replica.freeze();
    assert!(matches!(state.consume(&proof, HOUR).await, Consumed::Unknown));
    outage(&state, "replicas", || (), || replica.thaw()).await;
    assert!(matches!(state.consume(&proof, HOUR).await, Consumed::Already), "never given back");
}
