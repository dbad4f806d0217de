//! One Redis server: the suite, exactly once for two gateways, and what a lost memory leads to.

use super::*;
use crate::edge::pki::Authority;
use crate::support::redis::{Redis, file_in};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let server = Redis::start(&[]);
    wardgate::state::conformance::run(connected(server.settings()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_spend_each_proof_once() {
    let server = Redis::start(&[]);
    let handles = [connected(server.settings()).await, connected(server.settings()).await];
    let (wins, unknown) = race(&handles, 1_000, 16).await;
    assert_eq!(unknown, 0, "Redis was there all the time");
    assert_eq!(wins, vec![1; 1_000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_with_one_prefix_share_and_with_two_do_not() {
    let server = Redis::start(&[]);
    let (one, two) = (connected(server.settings()).await, connected(server.settings()).await);
    let other = connected(RedisSettings { prefix: "other".into(), ..server.settings() }).await;
    assert_eq!(one.revoke(&alice(), 100, HOUR).await, Lookup::Found(()));
    assert_eq!(two.not_before(&[alice()]).await, Lookup::Found(100));
    assert_eq!(other.not_before(&[alice()]).await, Lookup::Absent);
    assert_eq!(one.seal("work", b"sealed", HOUR).await, Lookup::Found(()));
    assert_eq!(other.unseal("work").await, Lookup::Absent);
    assert_eq!(two.unseal("work").await, Lookup::Found(b"sealed".to_vec()));
    assert_eq!(one.unseal("work").await, Lookup::Absent);
    assert_eq!(one.window("w", HOUR).await, Lookup::Found(1));
    assert_eq!(two.window("w", HOUR).await, Lookup::Found(2));
    let keys = server.say(&["KEYS", "*"]);
    assert!(keys.lines().all(|key| key.starts_with("wardgate:") || key.starts_with("other:")), "{keys}");
    assert!(!keys.contains("alice") && !keys.contains("work"), "{keys}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_revives_nothing() {
    let server = Redis::start(&[]);
    let (one, two) = (connected(server.settings()).await, connected(server.settings()).await);
    next_second().await;
    let (spent, unspent) = (ProofKey::new(&["spent"], now()), ProofKey::new(&["unspent"], now()));
    assert!(matches!(one.consume(&spent, HOUR).await, Consumed::Done(_)));
    assert_eq!(one.revoke(&alice(), now(), HOUR).await, Lookup::Found(()));
    assert_eq!(one.seal("work", b"sealed", HOUR).await, Lookup::Found(()));
    // The other one has seen that somebody was revoked.
    assert!(matches!(two.not_before(&[alice()]).await, Lookup::Found(_)));
    let issued_before = now();
    assert_eq!(server.say(&["FLUSHALL"]), "OK");
    for state in [&one, &two] {
        assert!(matches!(state.consume(&spent, HOUR).await, Consumed::Already));
        assert!(matches!(state.consume(&unspent, HOUR).await, Consumed::Already), "nobody can know");
        assert_eq!(state.unseal("work").await, Lookup::Absent);
        // Unavailable while it is mended; never as if nobody had been revoked.
        let mut answer = state.not_before(&[alice()]).await;
        while answer == Lookup::Unavailable {
            answer = state.not_before(&[alice()]).await;
        }
        let Lookup::Found(moment) = answer else { panic!("{answer:?}") };
        assert!(moment > issued_before, "every token from before is refused");
    }
    next_second().await;
    next_second().await;
    let new = ProofKey::new(&["new"], now());
    assert!(matches!(one.consume(&new, HOUR).await, Consumed::Done(_)), "life goes on");
    assert!(matches!(two.consume(&new, HOUR).await, Consumed::Already));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_does_the_next_flush() {
    let server = Redis::start(&[]);
    let state = connected(server.settings()).await;
    assert_eq!(state.revoke(&alice(), 5, HOUR).await, Lookup::Found(()));
    let revoked_at = now();
    for flush in 1..=3 {
        assert_eq!(server.say(&["FLUSHALL"]), "OK");
        // Unavailable while it is mended.
        let mut answer = state.not_before(&[alice()]).await;
        while answer == Lookup::Unavailable {
            answer = state.not_before(&[alice()]).await;
        }
        let Lookup::Found(moment) = answer else { panic!("flush {flush}: {answer:?}") };
        assert!(moment > revoked_at, "flush {flush}: every token from before is refused");
        usable(&state).await;
    }
}

/// Neither the epoch nor the floor ever goes back: what a wrong clock made of them would stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_whose_clock_is_wrong_is_not_believed() {
    let server = Redis::start(&[]);
    let years_ahead = || now() + 100_000_000;
    let wrong = RedisState::with_clock(server.settings(), &Handle::current(), years_ahead);
    usable(&wrong).await;
    assert_eq!(wrong.revoke(&alice(), 5, HOUR).await, Lookup::Found(()));
    assert_eq!(server.say(&["FLUSHALL"]), "OK");
    soon(
        "the loss is found",
        AGAIN,
        async || matches!(wrong.not_before(&[alice()]).await, Lookup::Found(moment) if moment > 5),
    )
    .await;
    usable(&wrong).await;
    drop(wrong);
    let right = connected(server.settings()).await;
    let bob = RevocationKey { value: "bob", ..alice() };
    let Lookup::Found(floor) = right.not_before(&[bob]).await else { panic!("there is a floor") };
    assert!(floor <= now() + 10, "people can sign in again soon: {floor}");
    let proof = ProofKey::new(&["soon"], now() + 10);
    assert!(matches!(right.consume(&proof, HOUR).await, Consumed::Done(_)), "and their proofs count");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_from_an_old_snapshot_revives_nothing() {
    let mut server = Redis::start(&[]);
    let state = connected(server.settings()).await;
    next_second().await;
    assert_eq!(state.revoke(&alice(), 5, HOUR).await, Lookup::Found(()));
    assert_eq!(state.seal("taken", b"sealed", HOUR).await, Lookup::Found(()));
    assert_eq!(server.say(&["SAVE"]), "OK");
    // After the snapshot.
    let spent = ProofKey::new(&["spent"], now());
    assert!(matches!(state.consume(&spent, HOUR).await, Consumed::Done(_)));
    assert_eq!(state.unseal("taken").await, Lookup::Found(b"sealed".to_vec()));
    let bob = RevocationKey { value: "bob", ..alice() };
    let revoked_at = now();
    assert_eq!(state.revoke(&bob, revoked_at, HOUR).await, Lookup::Found(()));
    server.kill();
    server.restart();
    assert_ne!(server.say(&["DBSIZE"]), "0", "the snapshot was loaded");
    soon("the store answers again", AGAIN, async || {
        matches!(state.not_before(&[alice()]).await, Lookup::Found(_) | Lookup::Absent)
    })
    .await;
    usable(&state).await;
    assert!(matches!(state.consume(&spent, HOUR).await, Consumed::Already));
    assert_eq!(state.unseal("taken").await, Lookup::Absent, "it was taken before");
    let Lookup::Found(moment) = state.not_before(&[bob]).await else { panic!("bob is forgotten") };
    assert!(moment > revoked_at);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_is_noticed_by_a_gateway_that_nobody_asks_anything() {
    let server = Redis::start(&[]);
    let (one, idle) = (connected(server.settings()).await, connected(server.settings()).await);
    assert_eq!(one.revoke(&alice(), 5, HOUR).await, Lookup::Found(()));
    // Longer than it takes to look round.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    drop(one);
    assert_eq!(server.say(&["FLUSHALL"]), "OK");
    let fresh = connected(server.settings()).await;
    soon(
        "the idle one has noticed",
        AGAIN,
        async || matches!(fresh.not_before(&[alice()]).await, Lookup::Found(moment) if moment > 5),
    )
    .await;
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_an_authority_of_ones_own() {
    let authority = Authority::new("clinic");
    let issued = authority.issue(&["127.0.0.1"]);
    let dir = tempfile::TempDir::new().expect("a directory");
    let certificate = file_in(dir.path(), "cert.pem", &issued.pem);
    let key = file_in(dir.path(), "key.pem", &issued.key_pem);
    let ca = file_in(dir.path(), "ca.pem", &authority.pem);
    let other = file_in(dir.path(), "other.pem", &Authority::new("other").pem);
    let address = crate::support::free_address();
    let port = address.port().to_string();
    let [certificate, key, ca_text] = [&certificate, &key, &ca].map(|path| path.to_str().expect("utf-8"));
    let mut options = vec!["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"];
    options.extend(["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", ca_text]);
    let server = Redis::start_in(dir, &options, address);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = RedisSettings { tls: true, ca_file: Some(ca.clone()), ..server.settings() };
    let state = connected(settings.clone()).await;
    assert!(matches!(state.consume(&timeless("tls"), HOUR).await, Consumed::Done(_)));
    soon("it is subscribed", AGAIN, async || state.is_subscribed()).await;
    // Somebody else's authority, and none but the system's.
    for ca_file in [Some(other), None] {
        let stranger = RedisState::start(RedisSettings { ca_file, ..settings.clone() }, &Handle::current());
        soon("it is refused", AGAIN, async || stranger.trouble().is_some()).await;
        assert!(!stranger.was_reached() && is_out(&stranger).await);
        let why = stranger.trouble().expect("told");
        assert!(why.contains("certificates"), "{why}");
    }
}

/// The ACL line of the documentation is enough, and not more than is needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_acl_is_enough() {
    let text = include_str!("../../../docs/state.md");
    let line = text.lines().find(|line| line.starts_with("ACL SETUSER wardgate ")).expect("the line");
    let server = Redis::start(&[]);
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(server.say(&words), "OK");
    let password = file_in(server.dir(), "password", "YOUR-PASSWORD\n");
    let settings = RedisSettings {
        username: Some("wardgate".into()),
        password_file: Some(password),
        ..server.settings()
    };
    let state = connected(settings).await;
    wardgate::state::conformance::run(Arc::clone(&state) as _).await;
    soon("it is subscribed", AGAIN, async || state.is_subscribed()).await;
    assert_eq!(state.notice(), None, "and announces");
    let as_user = ["--user", "wardgate", "--pass", "YOUR-PASSWORD", "--no-auth-warning"];
    for words in [&["FLUSHALL"][..], &["CONFIG", "GET", "*"], &["GET", "other:key"], &["KEYS", "*"]] {
        let said = server.say_as(&as_user, words);
        assert!(said.contains("NOPERM"), "{words:?}: {said}");
    }
}
