//! The audit trail is delivered to a real FHIR server and, as OpenTelemetry's logs, to a reader of the official definitions.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use serde_json::Value;
use wardgate::audit::formats::Format;
use wardgate::config::settings::{FhirSinkSettings, HttpEndpoint, RecordFormat, SinkKind};

use super::sinks::{LONG, Running, events, run_with};
use crate::support::{FhirServer, eventually, free_address, http};

/// A server of `formats/`, which does what the file `mode` in its directory says.
struct Server {
    process: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Server {
    fn start(program: &Path, script: &str) -> Self {
        let (address, dir) = (free_address(), tempfile::tempdir().expect("a directory"));
        std::fs::write(dir.path().join("mode"), "ok").expect("written");
        std::fs::write(dir.path().join("poison"), "none").expect("written");
        let script = file(&format!("tests/it/operate/formats/{script}"));
        let mut command = Command::new(program);
        command.arg(script).arg(dir.path()).arg(address.port().to_string());
        let server = Self { process: command.spawn().expect("it runs: scripts/setup.sh test"), address, dir };
        eventually("the server listens", LONG, || std::net::TcpStream::connect(address).is_ok());
        server
    }

    fn becomes(&self, mode: &str) {
        self.write("mode", mode);
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join("unfinished"), text).expect("written");
        std::fs::rename(self.dir.path().join("unfinished"), self.dir.path().join(name)).expect("renamed");
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn endpoint(&self, path: &str) -> HttpEndpoint {
        let url = format!("http://{}{path}", self.address).parse().expect("a URL");
        HttpEndpoint { url, authorization_file: None, ca_file: None }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn fhir_server() -> Server {
    let own = file(".tools/bin/node");
    Server::start(if own.exists() { &own } else { Path::new("node") }, "fhir_server.mjs")
}

/// A FHIR sink without the base's last slash, or with.
fn to_fhir(server: &Server, is_bundled: bool) -> Running {
    let server = server.endpoint(if is_bundled { "/r4/" } else { "/r4" });
    let kind = SinkKind::Fhir(FhirSinkSettings { server, is_bundled });
    run_with(kind, RecordFormat::Converted(Format::Fhir))
}

/// The keys of the events that the server holds, in the order in which it got them.
fn held(server: &Server) -> Vec<String> {
    let mut kept = None;
    // It does one thing after the other, and checks whole bundles.
    eventually("it says what it has", LONG, || {
        let answer = http::send(server.address, "GET", "/kept", &[], b"");
        kept = answer.ok().and_then(|answer| serde_json::from_str(&answer.body).ok());
        kept.is_some()
    });
    kept.expect("said")
}

/// Each record that has a place in FHIR is held once.
fn assert_held_once(held: &[String], running: &Running) {
    let keys: HashSet<&String> = held.iter().collect();
    assert_eq!(keys.len(), held.len(), "none is there twice");
    let missing: Vec<String> =
        recorded_events(running.dir.path()).into_iter().filter(|key| !keys.contains(key)).collect();
    assert!(
        missing.is_empty(),
        "{} are lost: {:?}",
        missing.len(),
        missing.iter().take(5).collect::<Vec<_>>()
    );
}

/// The keys of what is not the journal's own business.
fn recorded_events(dir: &Path) -> Vec<String> {
    let own = ["segment", "signer", "checkpoint"];
    events(dir).into_iter().filter(|(_, event)| !own.contains(&event.as_str())).map(|(key, _)| key).collect()
}

fn fhir_outage(is_bundled: bool, count: usize) {
    let server = fhir_server();
    let running = to_fhir(&server, is_bundled);
    running.append(count / 3);
    eventually("some came", LONG, || held(&server).len() > 10);
    for mode in ["500", "lost"] {
        server.becomes(mode);
        running.append(count / 3);
        let asked = || server.lines("asked").iter().filter(|line| line.starts_with(mode)).count();
        eventually("it failed more than once", LONG, || asked() > 1);
    }
    eventually("it is told", LONG, || !running.sinks.trouble().is_empty());
    server.becomes("ok");
    eventually("all come", LONG * 20, || held(&server).len() > count / 3 * 3);
    running.finish();
    assert_held_once(&held(&server), &running);
    assert!(
        server.lines("asked").iter().any(|line| line.starts_with("ok GET")),
        "what was there already was shown"
    );
}

#[test]
fn a_fhir_server_holds_every_event_once_after_an_outage() {
    fhir_outage(false, 300);
}

#[test]
fn a_fhir_server_holds_every_event_once_after_an_outage_in_bundles() {
    fhir_outage(true, 1_200);
}

/// The keys of the events that a server has kept on its disk, page by page.
fn kept(server: &FhirServer) -> Vec<String> {
    const PAGE: usize = 1_000;
    let mut keys = Vec::new();
    for page in 0.. {
        let target = format!("/fhir/AuditEvent?_count={PAGE}&_offset={}", page * PAGE);
        let answer = http::get(server.address, &target).expect("an answer");
        let bundle: Value = serde_json::from_str(&answer.body).expect("a Bundle");
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        if entries.is_empty() {
            break;
        }
        keys.extend(entries.iter().filter_map(|entry| {
            let mut tags = entry["resource"]["meta"]["tag"].as_array()?.iter();
            let tag = tags.find(|tag| tag["system"] == "urn:wardgate:record")?;
            tag["code"].as_str().map(str::to_owned)
        }));
    }
    keys
}

/// One that keeps what it has on a disk is killed, comes back, hangs, and goes on.
fn outage_of_a_kept_one(count: usize) {
    let mut server = FhirServer::start();
    let url = format!("http://{}/fhir", server.address).parse().expect("a URL");
    let endpoint = HttpEndpoint { url, authorization_file: None, ca_file: None };
    let kind = SinkKind::Fhir(FhirSinkSettings { server: endpoint, is_bundled: true });
    let running = run_with(kind, RecordFormat::Converted(Format::Fhir));
    let is_told = |why: &str| running.sinks.trouble().iter().any(|trouble| trouble.contains(why));
    let total = |server: &FhirServer| {
        let answer = http::get(server.address, "/fhir/AuditEvent?_summary=count").ok()?;
        serde_json::from_str::<Value>(&answer.body).ok()?["total"].as_u64()
    };
    running.append(count / 3);
    eventually("some came", LONG, || total(&server).is_some_and(|total| total > 10));
    server.kill();
    running.append(count / 3);
    eventually("it is told", LONG, || is_told("can't be reached"));
    server.restart();
    server.freeze();
    running.append(count / 3);
    eventually("it is told", LONG, || is_told("does not answer in time"));
    server.thaw();
    let wanted = u64::try_from(count / 3 * 3).expect("a number");
    let mut asked = Instant::now();
    eventually("all come", LONG * 30, || {
        // It counts all it has, and does nothing else meanwhile.
        let is_due = asked.elapsed() > if count > 10_000 { LONG / 4 } else { LONG / 60 };
        is_due && {
            asked = Instant::now();
            total(&server).is_some_and(|total| total >= wanted)
        }
    });
    running.finish();
    assert_held_once(&kept(&server), &running);
}

#[test]
fn a_fhir_server_that_was_killed_and_hung_holds_every_event_once() {
    outage_of_a_kept_one(1_200);
}

/// 10 minutes at 200 records a second.
#[test]
#[ignore = "a soak: `make soak`"]
fn soak_a_fhir_server_that_was_killed_and_hung_holds_every_event_once() {
    outage_of_a_kept_one(120_000);
}

#[test]
fn an_event_that_a_fhir_server_refuses_is_named_without_what_the_server_says() {
    for is_bundled in [false, true] {
        let server = fhir_server();
        server.write("poison", "40");
        let running = to_fhir(&server, is_bundled);
        running.append(100);
        eventually("the record is named", LONG, || {
            let trouble = running.sinks.trouble().join("\n");
            assert!(!trouble.contains("canary"), "{trouble}");
            trouble.contains("o:40 with 400")
        });
        server.write("poison", "none");
        eventually("the rest comes", LONG, || held(&server).len() > 100);
        running.finish();
        assert_held_once(&held(&server), &running);
    }
}

#[test]
fn a_fhir_server_that_only_says_that_it_has_an_event_has_not_taken_it() {
    let server = fhir_server();
    server.becomes("blind");
    let running = to_fhir(&server, false);
    running.append(5);
    eventually("it is told", LONG, || {
        running.sinks.trouble().iter().any(|why| why.contains("is not that of such a collector"))
    });
    server.becomes("ok");
    eventually("all come", LONG, || held(&server).len() > 5);
    running.finish();
    assert_held_once(&held(&server), &running);
}

fn otlp_collector() -> Server {
    Server::start(&file(".tools/formats/bin/python"), "otlp_collector.py")
}

/// The log records by key, in the order in which each first came.
fn logged(server: &Server) -> (Vec<String>, HashMap<String, Value>) {
    let (mut order, mut found) = (Vec::new(), HashMap::new());
    for line in server.lines("kept") {
        let log: Value = serde_json::from_str(&line).expect("JSON");
        let key = log["key"].as_str().expect("a key").to_owned();
        match found.get(&key) {
            Some(first) => assert_eq!(*first, log, "it is the same however often it comes"),
            None => {
                order.push(key.clone());
                found.insert(key, log);
            }
        }
    }
    (order, found)
}

fn otlp_outage(count: usize) {
    let server = otlp_collector();
    let running = run_with(SinkKind::Otlp(server.endpoint("/v1/logs")), RecordFormat::Wardgate);
    running.append(count / 4);
    eventually("some came", LONG, || logged(&server).0.len() > 10);
    for (mode, told) in [("503", "answers 503"), ("lost", "can't be reached"), ("partial", "it refuses")] {
        server.becomes(mode);
        running.append(count / 4);
        eventually("it is told", LONG, || {
            let trouble = running.sinks.trouble().join("\n");
            assert!(!trouble.contains("canary"), "{trouble}");
            trouble.contains(told)
        });
    }
    server.becomes("ok");
    eventually("all come", LONG * 4, || logged(&server).0.len() > count / 4 * 4);
    running.finish();
    let (order, logs) = logged(&server);
    let numbers: Vec<u64> = order
        .iter()
        .map(|key| key.rsplit(':').next().and_then(|text| text.parse().ok()).expect("o:1"))
        .collect();
    assert!(numbers.is_sorted(), "in their order");
    for (key, event) in events(running.dir.path()) {
        let log = logs.get(&key).unwrap_or_else(|| panic!("{key} is lost"));
        assert_eq!(log["event"], format!("wardgate.{event}"));
        let body: Value = serde_json::from_str(log["body"].as_str().expect("text")).expect("the record");
        let time: jiff::Timestamp = body["time"].as_str().and_then(|text| text.parse().ok()).expect("a time");
        assert_eq!(log["time"].as_i64().map(i128::from), Some(time.as_nanosecond()));
        assert!(event != "sink_down" || log["severity"] == 17, "{log}");
    }
}

#[test]
fn nothing_is_lost_on_the_way_to_an_opentelemetry_collector() {
    otlp_outage(1_200);
}

/// 10 minutes at 200 records a second.
#[test]
#[ignore = "a soak: `make soak`"]
fn soak_nothing_is_lost_in_a_long_outage_of_an_opentelemetry_collector() {
    otlp_outage(120_000);
}
