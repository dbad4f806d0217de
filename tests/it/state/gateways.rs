//! The whole program on stores that last: restarts, upgrades, two gateways, outages.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::AGAIN;
use crate::edge::upgrade::Line;
use crate::support::http::{self, Answer};
use crate::support::redis::Redis;
use crate::support::{Connection, Gateway, Recorder, Setup, Signer, eventually, tokens};

pub(super) const EXPORT: &str = "/patients/p1/export";
const READ: &str = "/patients/p1/results/1";
const ROUTES: &str = r#"
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: record.export, match: { path: "/patients/{patient}/export", methods: [PUT] }, upstream: app,
      tier: critical, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;
const EMBEDDED: &str = "state: { data_dir: state, single_replica: true }";

pub(super) fn setup(upstream: &Recorder, signer: &Signer, state: &str) -> Setup {
    let config = tokens::config(upstream.address, ROUTES).replace("state: { single_replica: true }", state);
    assert!(config.contains(state));
    Setup::new(&config, |dir| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("writable");
        std::fs::write(dir.join("k2"), format!("{}\n", "2".repeat(64))).expect("writable");
    })
}

/// One authentication event each, told apart by its subject's session.
pub(super) fn proof(signer: &Signer, client: &str) -> String {
    let mut claims = Signer::claims("p1", "aal2", 0);
    claims["client_id"] = client.into();
    format!("Bearer {}", signer.sign(&claims))
}

fn spend(gateway: &Gateway, proof: &str) -> Answer {
    http::send(gateway.address, "PUT", EXPORT, &[("Authorization", proof)], b"x").expect("an answer")
}

fn is_spent(answer: &Answer) -> bool {
    answer.status == 401 && answer.json()["reason"] == "proof_already_spent"
}

#[test]
fn after_a_kill_what_was_spent_is_spent_and_what_was_not_still_counts() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(&upstream, &signer, EMBEDDED);
    let gateway = setup.start();
    gateway.wait_until_proofs_count();
    let (spent, unspent) = (proof(&signer, "a"), proof(&signer, "b"));
    assert_eq!(spend(&gateway, &spent).status, 200);
    gateway.kill();
    let gateway = setup.start();
    assert!(is_spent(&spend(&gateway, &spent)));
    assert_eq!(spend(&gateway, &unspent).status, 200, "the memory reaches back before the restart");
    assert!(is_spent(&spend(&gateway, &unspent)));
}

#[test]
fn a_second_gateway_on_the_same_file_does_not_start() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(&upstream, &signer, EMBEDDED);
    let gateway = setup.start();
    let other = EMBEDDED.replace("data_dir: state", &format!("data_dir: {}/state", setup.dir().display()));
    let (code, said) = self::setup(&upstream, &signer, &other).refused();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("held by another process") && said.contains("store: redis"), "{said}");
    drop(gateway);
}

#[test]
fn an_upgrade_hands_the_file_over() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let line = Line::start(setup(&upstream, &signer, EMBEDDED));
    let spend = |connection: &mut Connection, proof: &str| {
        connection.ask("PUT", EXPORT, &[("Authorization", proof)], b"x").expect("an answer")
    };
    let (spent, unspent) = (proof(&signer, "a"), proof(&signer, "b"));
    let mut kept = Connection::open(line.gateway.address).expect("a connection");
    assert_eq!(spend(&mut kept, &spent).status, 200);
    let old = line.upgrade();
    // The old program has nothing to spend with any more, and sends its client to the new one.
    let mut refused = spend(&mut kept, &unspent);
    // It hears a moment after the new one has begun that it has an heir.
    for _ in 0..100 {
        assert_eq!(refused.status, 503, "{}", refused.text());
        if refused.closes() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        refused = spend(&mut kept, &unspent);
    }
    assert_eq!((refused.status, refused.closes()), (503, true), "{}", refused.text());
    let mut new = Connection::open(line.gateway.address).expect("a connection");
    assert_eq!(spend(&mut new, &spent).json()["reason"], "proof_already_spent");
    assert_eq!(spend(&mut new, &unspent).status, 200, "nothing was forgotten, so nobody is asked again");
    assert_eq!(spend(&mut new, &unspent).json()["reason"], "proof_already_spent");
    drop(kept);
    line.wait_for_end(old);
}

fn redis(server: &Redis) -> String {
    format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        server.address
    )
}

#[test]
fn two_gateways_forward_an_action_once() {
    let (upstream, signer, server) = (Recorder::start(), Signer::new(), Redis::start(&[]));
    let state = redis(&server);
    let setups = [setup(&upstream, &signer, &state), setup(&upstream, &signer, &state)];
    let gateways = [setups[0].start(), setups[1].start()];
    for number in 0..40 {
        let proof = proof(&signer, &format!("client-{number}"));
        let forwarded = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for gateway in gateways.iter().cycle().take(32) {
                scope.spawn(|| {
                    let answer = spend(gateway, &proof);
                    assert!(answer.status == 200 || is_spent(&answer), "{}: {}", answer.status, answer.body);
                    forwarded.fetch_add(usize::from(answer.status == 200), Ordering::SeqCst);
                });
            }
        });
        assert_eq!(forwarded.into_inner(), 1);
    }
    assert_eq!(upstream.count(), 40);
}

#[test]
fn an_outage_of_redis_is_told_once_and_heals() {
    let (upstream, signer, mut server) = (Recorder::start(), Signer::new(), Redis::start(&[]));
    let gateway = setup(&upstream, &signer, &redis(&server)).start();
    let read = || {
        let token = signer.bearer("p1", "aal1", 0);
        http::send(gateway.address, "GET", READ, &[("Authorization", &token)], b"").expect("an answer")
    };
    assert_eq!(read().status, 200);
    assert_eq!(gateway.metric("wardgate_store_up"), 1.0);
    server.kill();
    for _ in 0..20 {
        assert_eq!(read().status, 503);
    }
    let refused = spend(&gateway, &proof(&signer, "during"));
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true));
    let notices = || gateway.telemetry_page("/readyz").json()["notices"].to_string();
    eventually("it is told", AGAIN, || notices().contains("state store: it can't be reached"));
    assert_eq!(gateway.telemetry_page("/readyz").status, 200, "every gateway has the same trouble");
    assert_eq!(gateway.metric("wardgate_store_up"), 0.0);
    assert!(
        gateway.metric("wardgate_store_operations_total{operation=\"not_before\",result=\"unavailable\"}")
            >= 20.0
    );
    server.restart();
    eventually("it heals", AGAIN, || read().status == 200);
    eventually("it is told", AGAIN, || !notices().contains("state store"));
    assert_eq!(gateway.metric("wardgate_store_outages_total"), 1.0);
    let told = gateway.logs().iter().filter(|line| line.contains("the state store can't be used")).count();
    assert_eq!(told, 1, "once, not with every request");
}

#[test]
fn a_gateway_that_never_reached_redis_is_not_ready() {
    let (upstream, signer, mut server) = (Recorder::start(), Signer::new(), Redis::start(&[]));
    server.kill();
    let gateway = setup(&upstream, &signer, &redis(&server)).start_unready();
    eventually("it says why", AGAIN, || {
        let page = gateway.telemetry_page("/readyz");
        page.status == 503 && page.body.contains("state store: it can't be reached")
    });
    server.restart();
    eventually("it is ready", AGAIN, || gateway.telemetry_page("/readyz").status == 200);
}

#[test]
fn keys_are_rotated_by_a_reload_without_a_lost_request() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let one = "state: { data_dir: state, encryption_keys: [{ id: k1, file: k1 }], single_replica: true }";
    let gateway = setup(&upstream, &signer, one).start();
    let path = gateway.dir.path().join("gateway.yaml");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !over.load(Ordering::SeqCst) {
                number += 1;
                assert_eq!(spend(&gateway, &proof(&signer, &format!("load-{number}"))).status, 200);
            }
        });
        let keys =
            ["{ id: k1, file: k1 }, { id: k2, file: k2 }", "{ id: k2, file: k2 }, { id: k1, file: k1 }"];
        let mut before = "{ id: k1, file: k1 }";
        for (reloads, now) in (1..).zip(keys) {
            let text = std::fs::read_to_string(&path).expect("readable").replace(before, now);
            std::fs::write(&path, text).expect("writable");
            gateway.signal("HUP");
            eventually("it is taken", AGAIN, || {
                gateway.metric("wardgate_config_reloads_total{result=\"accepted\"}") >= f64::from(reloads)
            });
            before = now;
        }
        over.store(true, Ordering::SeqCst);
    });
    // A key file that was cut short is refused, and the ring in force stays.
    std::fs::write(gateway.dir.path().join("k2"), "2222").expect("writable");
    gateway.signal("HUP");
    eventually("it is refused", AGAIN, || gateway.metric("wardgate_config_last_reload_successful") == 0.0);
    assert!(gateway.logs().iter().any(|line| line.contains("holds no key of 256 bits")));
    std::thread::sleep(Duration::from_millis(10));
    assert_eq!(spend(&gateway, &proof(&signer, "after")).status, 200);
}
