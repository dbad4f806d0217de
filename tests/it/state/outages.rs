//! Redis slow, stopped, full, closed to us: nothing fails open, it is told, and it heals by itself.

use super::*;
use crate::support::redis::{Redis, file_in};

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
    let state = connected(server.settings()).await;
    assert_eq!(state.revoke(&alice(), 7, HOUR).await, Lookup::Found(()));
    assert_eq!(server.say(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]), "OK");
    assert_eq!(server.say(&["CONFIG", "SET", "maxmemory", "1mb"]), "OK");
    soon("it is noticed", AGAIN, async || {
        is_out(&state).await && state.trouble().is_some_and(|why| why.contains("maxmemory"))
    })
    .await;
    assert_eq!(state.not_before(&[alice()]).await, Lookup::Found(7), "what it knows is still true");
    // A gateway that starts now can at least read.
    let late = RedisState::start(server.settings(), &Handle::current());
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
    let master = Redis::start(&[]);
    let port = master.address.port().to_string();
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &port]);
    let settings =
        RedisSettings { min_replicas: 1, timeout: Duration::from_millis(600), ..master.settings() };
    let state = connected(settings).await;
    let proof = timeless("unconfirmed");
    replica.freeze();
    assert!(matches!(state.consume(&proof, HOUR).await, Consumed::Unknown));
    outage(&state, "replicas", || (), || replica.thaw()).await;
    assert!(matches!(state.consume(&proof, HOUR).await, Consumed::Already), "never given back");
}
