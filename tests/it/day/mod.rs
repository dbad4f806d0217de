//! A day of two gateways that share a Redis with Sentinels, behind a real Envoy, with a real identity provider and a collector of
//! audit records: everything that is changed or fails on such a day does so under a steady load.
//!
//! Nobody gets what they may not have, no record of what was done is lost, and requests fail only while the store's master is
//! replaced, where the configuration says so.

mod clients;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;

use crate::edge::{journals, reloads, rewrite};
use crate::operate::sinks::{Collector, assert_all_came, recorded};
use crate::support::redis::Watched;
use crate::support::{Gateway, Idp, Recorder, Setup, eventually, free_address};
use clients::{LONG, People, get, notes};

/// Two ways to read: one that needs to know who is revoked, and one that goes on without.
const ROUTES: &str = r#"
  - { id: home, match: { path: "/", methods: [GET] }, upstream: app, access: public }
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: notices.read, match: { path: "/patients/{patient}/notices/**", methods: [GET] }, upstream: app,
      tier: notice, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: notes.write, match: { path: "/patients/{patient}/notes/**", methods: [POST] }, upstream: app,
      tier: moderate, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: record.export, match: { path: "/patients/{patient}/export/**", methods: [PUT] }, upstream: app,
      tier: critical, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;
const AS_EVER: &str = "methods: [POST] }, upstream: app,\n      tier: moderate";
const STRICTER: &str = "methods: [POST] }, upstream: app,\n      tier: high";

fn setup(idp: &Idp, store: &Watched, collector: &Collector, upstream: &Recorder) -> Setup {
    let sentinels: Vec<String> =
        store.sentinels.iter().map(|it| format!("\"redis://{}\"", it.address)).collect();
    let config = format!(
        r#"version: 1
listeners: [{{ name: portal, address: "$LISTEN", trusted_proxies: [127.0.0.1] }}]
telemetry: {{ address: "$TELEMETRY" }}
operators: {{ address: "unix:$DIR/operators.sock" }}
shutdown: {{ lame_duck: 2s, grace: 10s }}
state:
  store: redis
  redis: {{ urls: [{sentinels}], topology: sentinel, service: wardgate, min_replicas: 1, timeout: 500ms }}
  encryption_keys: [{{ id: k1, file: k1 }}]
assurance_levels: [aal1, aal2]
issuers:
  - name: clinic
    issuer: {issuer}
    audiences: [portal-es256]
    algorithms: [ES256]
    assurance: {{ aal1: {{ any_of: {{ amr: [pwd] }} }}, aal2: {{ any_of: {{ acr: ["urn:clinic:loa:2"] }} }} }}
    claims: {{ patient: patient_id, roles: groups }}
insecure: {{ plain_http_issuers: [clinic] }}
tiers:
  - {{ name: low, assurance: aal1, audit: buffered }}
  - {{ name: notice, assurance: aal1, audit: buffered, when_store_down: allow_without_revocation_check }}
  - {{ name: moderate, assurance: aal1, audit: written }}
  - {{ name: high, assurance: aal2, audit: synced }}
  - {{ name: critical, assurance: aal2, audit: synced, max_age: 60s, each_action_needs_new_proof: true }}
upstreams:
  app: {{ endpoints: ["{upstream}"] }}
audit: {{ dir: ./audit, sinks: [{{ name: siem, type: http, url: "http://{collector}/audit" }}] }}
routes:
{ROUTES}
"#,
        sentinels = sentinels.join(", "),
        issuer = idp.issuer,
        upstream = upstream.address,
        collector = collector.address,
    );
    let setup = Setup::new(&config, |dir| std::fs::write(dir.join("k1"), "1".repeat(64)).expect("writable"));
    setup.at(free_address(), free_address())
}

/// The Envoy that is shipped, with these gateways for its own.
struct Envoy {
    process: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Envoy {
    fn start(gateways: &[Gateway; 2]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (dir, address) = (tempfile::tempdir().expect("a directory"), free_address());
        let mut text = include_str!("../../../deploy/envoy/load-balancer.yaml").to_owned();
        let mut put = |old: &str, new: String| {
            assert!(text.contains(old), "{old}");
            text = text.replacen(old, &new, 1);
        };
        put("0.0.0.0, port_value: 8080", format!("127.0.0.1, port_value: {}", address.port()));
        for (number, gateway) in gateways.iter().enumerate() {
            let old = format!(
                "wardgate-{number}, port_value: 8443 }} }}\n                  health_check_config: {{ port_value: 9901 }}"
            );
            let (port, telemetry) = (gateway.address.port(), gateway.telemetry.port());
            put(
                &old,
                format!(
                    "127.0.0.1, port_value: {port} }} }}\n                  health_check_config: {{ port_value: {telemetry} }}"
                ),
            );
        }
        let path = dir.path().join("envoy.yaml");
        std::fs::write(&path, text).expect("writable");
        let process = Command::new(root.join(".tools/envoy"))
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "error", "-c"])
            .arg(&path)
            .stdout(Stdio::null())
            .spawn()
            .expect("Envoy runs: scripts/setup.sh test gets it");
        eventually("Envoy leads to the gateways", LONG, || {
            get(address, "/").is_some_and(|it| it.status == 200)
        });
        Self { process, address, _dir: dir }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Refuses everything of a subject's, at one gateway.
fn revoke(gateway: &Gateway, subject: &str) {
    let told = Command::new(env!("CARGO_BIN_EXE_wardgate"))
        .arg("revoke")
        .arg("--socket")
        .arg(gateway.dir.path().join("operators.sock"))
        .args(["--issuer", "clinic", "--subject", subject])
        .output()
        .expect("it runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
}

/// Rolls a configuration out; a broken one is refused by each, and the one before goes on.
fn roll_out(gateways: &[Gateway; 2], result: &str, change: impl Fn(String) -> String) {
    for gateway in gateways {
        let before = reloads(gateway, result);
        rewrite(gateway, &change);
        eventually("the file is judged", LONG, || reloads(gateway, result) > before);
    }
}

/// Replaces one gateway after the other by a new process in its place.
fn restart(gateways: &mut [Gateway; 2], setups: &[Setup; 2], people: &People) {
    for (gateway, setup) in gateways.iter_mut().zip(setups) {
        people.now("a gateway stops");
        gateway.signal("TERM");
        assert_eq!(gateway.wait(LONG), Some(0));
        people.now("a gateway starts");
        *gateway = setup.start();
        people.now("a gateway has started");
        // Envoy asks twice a second.
        people.live_on(60);
    }
}

fn a_day(hours: usize) {
    let (idp, store, collector) = (Idp::start(), Watched::start(), Collector::start("ok"));
    let upstream = Recorder::start();
    idp.set_claims("mallory", &serde_json::json!({"patient_id": "p1", "groups": []}));
    let setups = [0, 1].map(|_| setup(&idp, &store, &collector, &upstream));
    let mut gateways = [setups[0].start(), setups[1].start()];
    let envoy = Envoy::start(&gateways);
    let revoked = format!("Bearer {}", idp.sign_in("mallory", "aal2", "portal-es256").access());
    revoke(&gateways[0], "mallory");

    let people = People::new(envoy.address, &idp);
    std::thread::scope(|scope| {
        scope.spawn(|| people.read("read", "results"));
        scope.spawn(|| people.read("notice", "notices"));
        scope.spawn(|| people.write());
        scope.spawn(|| people.act());
        scope.spawn(|| people.trespass(&revoked));
        let events = || {
            for hour in 0..hours {
                // A stricter configuration, a broken one, and the way back.
                people.now("a configuration is rolled out");
                people.live_on(60);
                people.notes.store(notes::CHANGING, Ordering::SeqCst);
                roll_out(&gateways, "accepted", |text| text.replace(AS_EVER, STRICTER));
                people.notes.store(notes::STRICTER, Ordering::SeqCst);
                people.live_on(60);
                roll_out(&gateways, "refused", |text| text.replace("tier: low", "tier: lwo"));
                people.live_on(30);
                people.notes.store(notes::CHANGING, Ordering::SeqCst);
                roll_out(&gateways, "accepted", |text| {
                    text.replace("tier: lwo", "tier: low").replace(STRICTER, AS_EVER)
                });
                people.notes.store(notes::AS_EVER, Ordering::SeqCst);
                people.live_on(60);

                people.now("the issuer's keys are changed");
                idp.rotate(false);
                people.live_on(120);

                // The collector fails in two ways, and the gateways are replaced meanwhile.
                people.now("the collector fails");
                collector.becomes(if hour % 2 == 0 { "500" } else { "hang" });
                restart(&mut gateways, &setups, &people);
                collector.becomes("lost");
                people.live_on(60);
                collector.becomes("ok");

                // The store's master hangs, and another takes over.
                let (master, other) = if hour % 2 == 0 {
                    (&store.master, &store.replica)
                } else {
                    (&store.replica, &store.master)
                };
                people.now("the store's master hangs");
                people.failover.store(true, Ordering::SeqCst);
                master.freeze();
                eventually("another takes over", LONG, || other.say(&["ROLE"]).starts_with("master"));
                master.thaw();
                eventually("it has its replica", LONG, || other.say(&["WAIT", "1", "100"]) == "1");
                let mut well = 0;
                let is_well = |gateway: &Gateway| gateway.metric("wardgate_store_up") == 1.0;
                eventually("both gateways have found it, and stay with it", LONG, || {
                    well = if gateways.iter().all(is_well) { well + 1 } else { 0 };
                    well == 40
                });
                people.failover.store(false, Ordering::SeqCst);
                people.now("the store has another master");
                people.live_on(120);
                restart(&mut gateways, &setups, &people);
                if !people.is_well() {
                    break;
                }
            }
        };
        // However it ends, the people go home.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(events));
        people.go_home();
        if let Err(panic) = ended {
            println!("{:?}", people.wrong());
            std::panic::resume_unwind(panic);
        }
    });
    assert!(people.wrong().is_empty(), "{:#?}; outages: {:#?}", people.wrong(), outages(&gateways));
    assert_nothing_is_lost(&gateways, &collector, &upstream, &people);
    let counts = people.counts.lock().expect("whole").clone();
    println!(
        "{hours} days: {counts:?}; from the first failed request to the last: {:?}",
        people.failed_for()
    );
}

/// What the gateways recorded of the store's outages.
fn outages(gateways: &[Gateway; 2]) -> Vec<String> {
    let records = gateways.iter().flat_map(|gateway| journals(gateway.dir.path())).flatten();
    records.filter(|record| record["event"] == "store_outage").map(|record| record.to_string()).collect()
}

/// What was done was done once, is on record, and the records are at the collector.
fn assert_nothing_is_lost(
    gateways: &[Gateway; 2],
    collector: &Collector,
    upstream: &Recorder,
    people: &People,
) {
    let requests = upstream.requests();
    assert!(requests.iter().all(|request| !request.target().contains("stolen")), "a trespass came through");
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for request in &requests {
        *seen.entry(request.target()).or_default() += 1;
    }
    let permitted = people.permitted.lock().expect("whole").clone();
    assert!(permitted.iter().all(|target| seen.get(target.as_str()) == Some(&1)), "each once");
    let records: Vec<_> =
        gateways.iter().flat_map(|gateway| journals(gateway.dir.path())).flatten().collect();
    let decided = |event: &str| -> HashSet<String> {
        let of = records.iter().filter(|record| record["event"] == event);
        of.map(|record| record["decision"].as_str().expect("an id").to_owned()).collect()
    };
    let (intents, outcomes) = (decided("intent"), decided("outcome"));
    for request in &requests {
        let decision = request.values("x-wardgate-decision")[0];
        assert!(intents.contains(decision) && outcomes.contains(decision), "{}: {decision}", request.line);
    }
    for gateway in gateways {
        let dir = gateway.dir.path().join("audit");
        eventually("everything is delivered", LONG, || {
            let kept: HashSet<String> = collector.kept().iter().map(crate::operate::sinks::key).collect();
            recorded(&dir).is_subset(&kept)
        });
        assert_all_came(&dir, &collector.kept());
    }
}

#[test]
fn a_day_goes_by_and_nothing_is_lost() {
    a_day(1);
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn soak_six_days() {
    a_day(6);
}
