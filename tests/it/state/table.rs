//! Whole gateways while Redis fails in one way after the other: what is refused, what goes on, what is told, and that
//! nobody has to restart anything.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::gateways::{EXPORT, proof, setup};
use super::*;
use crate::support::http::{self, Answer};
use crate::support::redis::{Redis, Watched};
use crate::support::{Gateway, Recorder, Signer, eventually};

const READ: &str = "/patients/p1/results/1";
const LENIENT: &str = "/patients/p1/notices/1";
const LENIENT_TIER: &str = r#"
tiers:
  - { name: low, assurance: aal1, audit: buffered }
  - { name: notice, assurance: aal1, audit: buffered, when_store_down: allow_without_revocation_check }
  - { name: critical, assurance: aal2, each_action_needs_new_proof: true, max_age: 60s, audit: synced }
assurance_levels: [aal1, aal2]
"#;
const LENIENT_ROUTE: &str = r#"  - { id: notices, match: { path: "/patients/{patient}/notices/**", methods: [GET] }, upstream: app,
      tier: notice, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;

fn get(gateway: &Gateway, signer: &Signer, target: &str) -> Answer {
    let token = signer.bearer("p1", "aal1", 0);
    http::send(gateway.address, "GET", target, &[("Authorization", &token)], b"").expect("an answer")
}

fn spend(gateway: &Gateway, proof: &str) -> Answer {
    http::send(gateway.address, "PUT", EXPORT, &[("Authorization", proof)], b"x").expect("an answer")
}

/// What low, lenient and critical requests get while Redis is like this.
struct Row<'r> {
    what: &'r str,
    begin: &'r dyn Fn(),
    end: &'r dyn Fn(),
    low: u16,
    lenient: u16,
    says: &'r str,
}

#[test]
fn the_table_of_outages_holds_and_each_heals_by_itself() {
    let (upstream, signer, server) = (Recorder::start(), Signer::new(), Redis::start(&[]));
    let words: Vec<&str> = include_str!("../../../docs/state.md")
        .lines()
        .find(|line| line.starts_with("ACL SETUSER"))
        .expect("the line")
        .split_whitespace()
        .collect();
    assert_eq!(server.say(&words), "OK");
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 500ms, username: wardgate, \
         password_file: $DIR/password }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        server.address
    );
    let mut setup = setup(&upstream, &signer, &state);
    setup.change(|text| {
        format!("{text}{LENIENT_ROUTE}").replace("upstreams:", &format!("{LENIENT_TIER}upstreams:"))
    });
    std::fs::write(setup.dir().join("password"), "YOUR-PASSWORD\n").expect("writable");
    let gateway = setup.start();
    let set = |words: &[&str]| assert_eq!(server.say(words), "OK", "{words:?}");
    let rows = [
        Row {
            what: "slow, or hung",
            begin: &|| server.freeze(),
            end: &|| server.thaw(),
            low: 503,
            lenient: 200,
            says: "no answer",
        },
        Row {
            what: "out of memory",
            begin: &|| set(&["CONFIG", "SET", "maxmemory", "1mb"]),
            end: &|| set(&["CONFIG", "SET", "maxmemory", "0"]),
            low: 200,
            lenient: 200,
            says: "out of memory",
        },
        Row {
            what: "a wrong password",
            begin: &|| {
                set(&["ACL", "SETUSER", "wardgate", "resetpass", ">another"]);
                server.say(&["CLIENT", "KILL", "USER", "wardgate"]);
            },
            end: &|| set(&["ACL", "SETUSER", "wardgate", ">YOUR-PASSWORD"]),
            low: 503,
            lenient: 200,
            says: "password",
        },
        Row {
            what: "a right that was taken away",
            begin: &|| set(&["ACL", "SETUSER", "wardgate", "-mget"]),
            end: &|| set(&["ACL", "SETUSER", "wardgate", "+mget"]),
            low: 503,
            lenient: 200,
            says: "permission",
        },
    ];
    for (number, row) in rows.iter().enumerate() {
        let what = row.what;
        let fresh = |when: &str| proof(&signer, &format!("{when}-{number}"));
        eventually("all is well", AGAIN, || {
            std::thread::sleep(Duration::from_millis(100));
            get(&gateway, &signer, READ).status == 200 && spend(&gateway, &fresh("before")).status != 503
        });
        (row.begin)();
        eventually(&format!("it begins: {what}"), AGAIN, || {
            let notices = gateway.telemetry_page("/readyz").json()["notices"].to_string();
            let refused = spend(&gateway, &fresh("begin"));
            refused.status == 503 && notices.contains(row.says)
        });
        for _ in 0..3 {
            assert_eq!(get(&gateway, &signer, READ).status, row.low, "{what}");
            assert_eq!(get(&gateway, &signer, LENIENT).status, row.lenient, "{what}");
            let refused = spend(&gateway, &fresh("during"));
            assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true), "{what}");
        }
        assert_eq!(gateway.metric("wardgate_store_up"), 0.0, "{what}");
        (row.end)();
        // A server that went on may have begun a new epoch; a proof from after it counts.
        eventually(&format!("it ends: {what}"), AGAIN, || {
            std::thread::sleep(Duration::from_millis(200));
            let spent = spend(&gateway, &fresh("after"));
            get(&gateway, &signer, READ).status == 200 && spent.status == 200
        });
        eventually("it is told", AGAIN, || gateway.metric("wardgate_store_up") == 1.0);
    }
    let records = gateway.audit();
    let phases: Vec<&str> = records
        .iter()
        .filter(|record| record["event"] == "store_outage")
        .map(|record| record["phase"].as_str().expect("a phase"))
        .collect();
    assert!(phases.len() >= 2 * rows.len() && phases.len().is_multiple_of(2), "{phases:?}");
    assert!(phases.chunks(2).all(|pair| pair == ["begun", "ended"]), "{phases:?}");
    let outages = records.iter().filter(|record| record["event"] == "store_outage");
    let said: Vec<&str> = outages.clone().filter_map(|record| record["why"].as_str()).collect();
    for row in &rows {
        assert!(said.iter().any(|why| why.contains(row.says)), "{}: {said:?}", row.what);
    }
    let pairs: Vec<u64> = outages.clone().filter_map(|record| record["number"].as_u64()).collect();
    assert!(pairs.chunks(2).all(|pair| pair[0] == pair[1]) && pairs.is_sorted(), "{pairs:?}");
    let mut ended = outages.filter(|record| record["phase"] == "ended");
    assert!(ended.all(|record| record["seconds"].is_u64()));
}

/// A gateway that is cut off with the old master, and one that follows the Sentinels; both are asked for every action.
#[test]
fn under_a_partition_with_failover_no_action_is_forwarded_twice() {
    const ACTIONS: usize = 120;
    let (upstream, signer, servers) = (Recorder::start(), Signer::new(), Watched::start());
    let urls: Vec<String> =
        servers.sentinels.iter().map(|it| format!("\"redis://{}\"", it.address)).collect();
    let keys = "encryption_keys: [{ id: k1, file: k1 }]";
    let cut_off = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 400ms, min_replicas: 1 }}, {keys} }}",
        servers.master.address
    );
    let following = format!(
        "state: {{ store: redis, redis: {{ urls: [{}], topology: sentinel, service: wardgate, timeout: 1s }}, {keys} }}",
        urls.join(", ")
    );
    let gateways = [&cut_off, &following].map(|state| setup(&upstream, &signer, state).start());
    let proofs: Vec<String> =
        (0..ACTIONS).map(|number| proof(&signer, &format!("action-{number}"))).collect();
    let forwarded = AtomicUsize::new(0);
    let attempt = |gateway: &Gateway, numbers: &mut dyn Iterator<Item = usize>| {
        for number in numbers {
            let target = format!("{EXPORT}?action={number}");
            let headers = [("Authorization", proofs[number].as_str())];
            let answer = http::send(gateway.address, "PUT", &target, &headers, b"x").expect("an answer");
            assert!([200, 401, 503].contains(&answer.status), "{}", answer.status);
            forwarded.fetch_add(usize::from(answer.status == 200), Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        // Some are spent before the partition, at both.
        for gateway in &gateways {
            scope.spawn(|| attempt(gateway, &mut (0..ACTIONS / 4)));
        }
    });
    servers.wire.cut();
    std::thread::scope(|scope| {
        scope.spawn(|| attempt(&gateways[0], &mut (0..ACTIONS).rev()));
        scope.spawn(|| attempt(&gateways[1], &mut (0..ACTIONS)));
        servers.wait_for_failover();
    });
    assert!(servers.master.say(&["ROLE"]).starts_with("master"), "two masters at the same time");
    let port = servers.replica.address.port().to_string();
    let third = Redis::start(&["--replicaof", "127.0.0.1", &port]);
    eventually("it follows", AGAIN, || servers.replica.say(&["WAIT", "1", "100"]) == "1");
    eventually("the new side can be used", AGAIN, || get(&gateways[1], &signer, READ).status == 200);
    std::thread::scope(|scope| {
        for gateway in &gateways {
            scope.spawn(|| attempt(gateway, &mut (0..ACTIONS)));
        }
    });
    // New sign-ins are honoured on the side that is alive, and only there.
    eventually("life goes on", AGAIN, || {
        std::thread::sleep(Duration::from_millis(100));
        spend(&gateways[1], &proof(&signer, "after")).status == 200
    });
    let refused = spend(&gateways[0], &proof(&signer, "cut-off"));
    assert_eq!(refused.status, 503, "{}", refused.body);
    let requests = upstream.requests();
    for number in 0..ACTIONS {
        let wanted = format!("{EXPORT}?action={number}");
        let times = requests.iter().filter(|request| request.target() == wanted).count();
        assert!(times <= 1, "action {number} was forwarded {times} times");
    }
    assert!(forwarded.into_inner() >= ACTIONS / 8, "hardly anything was done at all");
    drop(third);
}
