//! The audit trail is delivered to a real HTTP collector that fails in every way it can: nothing is lost, what comes twice is
//! known by its key, and the order is kept.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use wardgate::audit::event::Event;
use wardgate::audit::formats::Format;
use wardgate::audit::journal::{FileJournal, Options};
use wardgate::audit::signing::Key;
use wardgate::audit::sinks::Sinks;
use wardgate::config::settings::{
    BatchShape, HttpEndpoint, HttpSinkSettings, RecordFormat, SinkKind, SinkSettings,
};
use wardgate::enforce::ports::Journal;
use wardgate::policy::Durability;

use super::{JSON, PAY, READ, proofs, setup};
use crate::edge::pki::Authority;
use crate::support::{Recorder, Signer, eventually, free_address, http};

pub(super) const LONG: Duration = Duration::from_secs(60);

pub struct Collector {
    process: Child,
    pub address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Collector {
    pub fn start(mode: &str) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), mode, &[])
    }

    /// With the files of its certificate and key, where it speaks TLS.
    fn start_in(dir: tempfile::TempDir, mode: &str, certificate: &[&str]) -> Self {
        let address = free_address();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/operate/collector.py");
        let mut python = Command::new("python3");
        python.arg(script).arg(dir.path()).arg(address.port().to_string());
        python.args(certificate.iter().map(|name| dir.path().join(name)));
        let collector = Self { process: python.spawn().expect("python3 runs"), address, dir };
        collector.becomes(mode);
        eventually("the collector listens", LONG, || std::net::TcpStream::connect(address).is_ok());
        collector
    }

    /// A part of a configuration: what is recorded comes here, and how durable it is first with the tiers `moderate` and `high`.
    pub fn audit(&self, [moderate, high]: [&str; 2]) -> String {
        format!(
            "audit: {{ dir: ./audit, sinks: [{{ name: siem, type: http, url: \"http://{}/audit\" }}] }}
tiers:
  - {{ name: low, assurance: aal1, audit: buffered }}
  - {{ name: moderate, assurance: aal1, audit: {moderate} }}
  - {{ name: high, assurance: aal1, audit: {high} }}
  - {{ name: critical, assurance: aal2, audit: synced, max_age: 60s, each_action_needs_new_proof: true }}",
            self.address
        )
    }

    pub fn becomes(&self, mode: &str) {
        std::fs::write(self.dir.path().join("unfinished"), mode).expect("written");
        std::fs::rename(self.dir.path().join("unfinished"), self.dir.path().join("mode")).expect("renamed");
    }

    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The records it has, each once, with what came twice taken out by key; in their order.
    pub fn kept(&self) -> Vec<Value> {
        let mut seen = HashSet::new();
        let records = self.lines("kept").into_iter().map(|line| {
            let value: Value = serde_json::from_str(&line).expect("JSON");
            value.get("event").filter(|event| event.is_object()).cloned().unwrap_or(value)
        });
        records.filter(|record| seen.insert(key(record))).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn key(record: &Value) -> String {
    format!("{}:{}", record["origin"].as_str().expect("an origin"), record["seq"])
}

/// Every record in the files of a directory, by key.
pub fn recorded(dir: &Path) -> HashSet<String> {
    events(dir).into_keys().collect()
}

/// Every record in the files of a directory: its event, by key.
pub(super) fn events(dir: &Path) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(dir).expect("readable").map(|entry| entry.expect("an entry").path());
    let files = files.filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"));
    let text: String = files.map(|path| std::fs::read_to_string(path).expect("text")).collect();
    let event = |line: &str| {
        let record: Value = serde_json::from_str(line).expect("JSON");
        (key(&record), record["event"].as_str().expect("an event").to_owned())
    };
    text.lines().map(event).collect()
}

/// Everything recorded came, and in its order.
pub fn assert_all_came(dir: &Path, kept: &[Value]) {
    let came: HashSet<String> = kept.iter().map(key).collect();
    let missing: Vec<_> = recorded(dir).difference(&came).cloned().collect();
    assert!(
        missing.is_empty(),
        "{} are lost: {:?}",
        missing.len(),
        missing.iter().take(5).collect::<Vec<_>>()
    );
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for record in kept {
        let (origin, number) =
            (record["origin"].as_str().expect("text"), record["seq"].as_u64().expect("a number"));
        assert!(
            last.insert(origin, number).is_none_or(|before| before < number),
            "{origin}:{number} is late"
        );
    }
}

pub(super) struct Running {
    pub(super) journal: Arc<FileJournal>,
    pub(super) sinks: Sinks,
    runtime: tokio::runtime::Runtime,
    pub(super) dir: tempfile::TempDir,
}

/// A journal with small files, and a sink.
fn run(collector: &Collector, batch: BatchShape, format: RecordFormat) -> Running {
    let url = format!("http://{}/audit", collector.address).parse().expect("a URL");
    let server = HttpEndpoint { url, authorization_file: None, ca_file: None };
    run_with(SinkKind::Http(HttpSinkSettings { server, batch }), format)
}

pub(super) fn run_with(kind: SinkKind, format: RecordFormat) -> Running {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = tempfile::tempdir().expect("a directory");
    let key = Key::kept(&[3; 32]).expect("a key");
    let options = Options { origin: "o", key: &key, most_bytes: 40_000, reserve: 0 };
    let journal = Arc::new(FileJournal::open(dir.path(), options).expect("opens"));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let settings = [SinkSettings { name: "siem".into(), format, kind }];
    let port = Arc::clone(&journal) as Arc<dyn Journal>;
    let sinks = Sinks::start(dir.path(), &settings, None, None, &port, runtime.handle()).expect("starts");
    Running { journal, sinks, runtime, dir }
}

impl Running {
    /// All is delivered, and the sink has ended.
    pub(super) fn finish(&self) {
        self.journal.flush(LONG).expect("written");
        self.sinks.finish(LONG);
    }

    pub(super) fn append(&self, count: usize) {
        let event = Event::OperatorRefused { action: "revoke", uid: None, why: "peer" };
        for _ in 0..count {
            self.runtime.block_on(self.journal.append(&event, Durability::Buffered)).expect("recorded");
        }
    }
}

fn outage(count: usize) {
    let collector = Collector::start("ok");
    let running = run(&collector, BatchShape::Splunk, RecordFormat::Wardgate);
    running.append(count / 5);
    eventually("some came", LONG, || collector.kept().len() > 10);
    for mode in ["500", "lost", "429", "400"] {
        collector.becomes(mode);
        running.append(count / 5);
        let asked = || collector.lines("asked").iter().filter(|line| line.starts_with(mode)).count();
        eventually("it failed more than once", LONG, || asked() > 1);
    }
    eventually("it is told", LONG, || !running.sinks.trouble().is_empty());
    collector.becomes("ok");
    eventually("it recovers", LONG * 10, || {
        collector.kept().iter().any(|record| record["event"] == "sink_up")
    });
    assert!(running.sinks.trouble().is_empty());
    running.journal.flush(LONG).expect("written");
    running.sinks.finish(LONG);
    let kept = collector.kept();
    assert_all_came(running.dir.path(), &kept);
    assert!(kept.len() >= count / 5 * 5);
    assert!(collector.lines("kept").len() > kept.len(), "what was acknowledged by nobody came twice");
    let names =
        std::fs::read_dir(running.dir.path()).expect("readable").map(|entry| entry.expect("one").file_name());
    assert!(
        names.filter(|name| name.to_string_lossy().starts_with("audit.0")).count() > 1,
        "files were ended meanwhile"
    );
    let of = |event: &str| kept.iter().filter(|record| record["event"] == event).count();
    assert_eq!((of("sink_down"), of("sink_up")), (1, 1), "one outage is told once");
}

#[test]
fn nothing_is_lost_in_an_outage_and_what_comes_twice_is_known() {
    outage(3_000);
}

/// 10 minutes at 200 records a second.
#[test]
#[ignore = "a soak: `make soak`"]
fn nothing_is_lost_in_a_long_outage() {
    outage(120_000);
}

#[test]
fn a_record_that_is_refused_is_named_and_nothing_behind_it_is_lost() {
    let collector = Collector::start("bulk");
    std::fs::write(collector.dir.path().join("poison"), "40").expect("written");
    let running = run(&collector, BatchShape::Bulk, RecordFormat::Wardgate);
    running.append(100);
    eventually("the record is named", LONG, || {
        running.sinks.trouble().iter().any(|why| why.contains("o:40") && why.contains("400"))
    });
    std::fs::write(collector.dir.path().join("poison"), "none").expect("written");
    eventually("the rest comes", LONG, || collector.kept().len() > 100);
    running.journal.flush(LONG).expect("written");
    running.sinks.finish(LONG);
    let downs = collector.kept().iter().filter(|record| record["event"] == "sink_down").count();
    assert_eq!(downs, 1, "what gets through meanwhile ends no outage");
    let kept: HashSet<String> = collector.kept().iter().map(key).collect();
    assert_eq!(recorded(running.dir.path()).difference(&kept).count(), 0);
}

#[test]
fn in_another_format_every_record_comes_as_the_same_bytes_however_often() {
    let collector = Collector::start("ok");
    let running = run(&collector, BatchShape::Ndjson, RecordFormat::Converted(Format::Ocsf));
    running.append(500);
    eventually("some came", LONG, || !collector.lines("kept").is_empty());
    collector.becomes("lost");
    running.append(500);
    eventually("it fails", LONG, || !running.sinks.trouble().is_empty());
    collector.becomes("ok");
    running.journal.flush(LONG).expect("written");
    running.sinks.finish(LONG);
    let lines = collector.lines("kept");
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for line in &lines {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let uid = event["metadata"]["uid"].as_str().expect("a key").to_owned();
        let first = seen.entry(uid).or_insert(line);
        assert_eq!(*first, line, "it is the same bytes");
    }
    assert!(lines.len() > seen.len(), "some came twice");
    let recorded = recorded(running.dir.path());
    assert!(recorded.iter().all(|key| seen.contains_key(key)), "{} of {}", seen.len(), recorded.len());
}

#[test]
fn a_collector_that_never_answers_is_an_outage_and_gets_everything_later() {
    let collector = Collector::start("hang");
    let running = run(&collector, BatchShape::Ndjson, RecordFormat::Wardgate);
    running.append(50);
    eventually("it is told", LONG, || {
        running.sinks.trouble().iter().any(|why| why.contains("does not answer in time"))
    });
    collector.becomes("ok");
    eventually("the rest comes", LONG, || collector.kept().len() > 50);
    running.journal.flush(LONG).expect("written");
    running.sinks.finish(LONG);
    assert_all_came(running.dir.path(), &collector.kept());
}

#[test]
fn a_collector_is_left_alone_for_as_long_as_it_asks() {
    let collector = Collector::start("later");
    let running = run(&collector, BatchShape::Ndjson, RecordFormat::Wardgate);
    running.append(5);
    let times = || -> Vec<f64> {
        let time = |line: &String| line.rsplit(' ').next().and_then(|word| word.parse().ok());
        collector.lines("asked").iter().filter_map(time).collect()
    };
    eventually("it is asked again", LONG, || times().len() > 2);
    let times = times();
    // By itself it would be asked again after 0.2 and 0.4 seconds.
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 2.9), "{times:?}");
    collector.becomes("ok");
    eventually("all comes", LONG, || collector.kept().len() > 5);
    running.sinks.finish(LONG);
}

#[test]
fn only_a_collector_that_the_authority_vouches_for_gets_anything() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("foreign"));
    let dir = tempfile::tempdir().expect("a directory");
    ours.issue(&["localhost"]).write(dir.path(), "collector");
    let (authorities, authorization) = (dir.path().join("ca.pem"), dir.path().join("authorization"));
    std::fs::write(&authorities, &foreign.pem).expect("written");
    std::fs::write(&authorization, "Bearer sesame-canary").expect("written");
    let collector = Collector::start_in(dir, "ok", &["collector.crt", "collector.key"]);
    let server = HttpEndpoint {
        url: format!("https://localhost:{}/audit", collector.address.port()).parse().expect("a URL"),
        authorization_file: Some(authorization),
        ca_file: Some(authorities.clone()),
    };
    let http = HttpSinkSettings { server, batch: BatchShape::Ndjson };
    let running = run_with(SinkKind::Http(http.clone()), RecordFormat::Wardgate);
    running.append(5);
    eventually("it is told", LONG, || {
        running.sinks.trouble().iter().any(|why| why.contains("TLS certificate"))
    });
    assert!(collector.lines("asked").is_empty(), "not even the credentials were sent");
    running.sinks.finish(LONG);
    std::fs::write(&authorities, &ours.pem).expect("written");
    let running = run_with(SinkKind::Http(http), RecordFormat::Wardgate);
    running.append(5);
    eventually("all comes", LONG, || collector.kept().len() > 5);
    running.journal.flush(LONG).expect("written");
    running.sinks.finish(LONG);
    assert_all_came(running.dir.path(), &collector.kept());
}

#[test]
fn a_gateway_that_is_killed_goes_on_where_it_was() {
    let collector = Collector::start("ok");
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(upstream.address, &signer, |text| {
        let sink = format!(
            "audit: {{ dir: ./audit, sinks: [{{ name: siem, type: http, url: \"http://{}/audit\", authorization_file: ./jwt }}] }}",
            collector.address
        );
        text.replace("audit: { dir: ./audit }", &sink)
    });
    std::fs::write(setup.dir().join("jwt"), "Bearer sesame-canary\n").expect("written");
    let gateway = setup.start();
    let token = proofs(&gateway, &signer, 1).remove(0);
    let ask = |gateway: &crate::support::Gateway, count: usize| {
        for _ in 0..count {
            let answer = http::send(gateway.address, "GET", READ, &[("Authorization", &token)], b"")
                .expect("an answer");
            assert_eq!(answer.status, 200);
        }
    };
    ask(&gateway, 20);
    eventually("it is delivered", LONG, || gateway.metric("wardgate_audit_sink_delivered_total") > 40.0);
    collector.becomes("lost");
    ask(&gateway, 20);
    eventually("it fails", LONG, || gateway.metric("wardgate_audit_sink_up{sink=\"siem\"}") == 0.0);
    assert!(gateway.metric("wardgate_audit_sink_lag_records") > 0.0);
    assert!(
        gateway.telemetry_page("/readyz").body.contains("audit sink `siem`"),
        "and that is no reason to be unready"
    );
    let logs = gateway.logs().join("\n");
    gateway.kill();
    let before = collector.lines("kept").len();
    collector.becomes("ok");
    let mut gateway = setup.start();
    ask(&gateway, 5);
    gateway.signal("TERM");
    gateway.wait(LONG);
    let kept = collector.kept();
    assert_all_came(&gateway.dir.path().join("audit"), &kept);
    let stopping = kept.iter().filter(|record| record["event"] == "stopping").count();
    assert_eq!(stopping, 1, "the last records are delivered before the end");
    let first = kept.first().map(key).expect("records");
    let lines = collector.lines("kept");
    assert!(
        lines.iter().skip(before).all(|line| key(&serde_json::from_str(line).expect("JSON")) != first),
        "what was acknowledged came again"
    );
    assert!(collector.lines("asked").iter().all(|line| line.contains("Bearer sesame-canary")));
    let logs = logs + &gateway.logs().join("\n");
    assert!(!logs.contains("sesame-canary"));
}

#[test]
fn a_tier_whose_records_must_be_elsewhere_waits_for_the_collector() {
    let collector = Collector::start("ok");
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(upstream.address, &signer, |text| {
        text.replace("audit: { dir: ./audit }", &collector.audit(["written", "remote"]))
    });
    let gateway = setup.start();
    let token = proofs(&gateway, &signer, 1).remove(0);
    let ask = |method: &str, target: &str| {
        http::send(gateway.address, method, target, &[("Authorization", &token), JSON], b"{}")
            .expect("an answer")
    };
    let intents = || {
        let kept = collector.kept().into_iter();
        kept.filter(|record| record["event"] == "intent" && record["action"] == "payment.pay").count()
    };
    let begun = Instant::now();
    for count in 1..=10 {
        assert_eq!(ask("POST", PAY).status, 200);
        assert_eq!(intents(), count, "it is there before the answer");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "the courier does not wait for its next look");
    assert_eq!(upstream.count(), 10);

    collector.becomes("500");
    let asked = Instant::now();
    let refused = ask("POST", PAY);
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert!(asked.elapsed() < Duration::from_secs(5), "it does not wait for long");
    assert_eq!(ask("GET", READ).status, 200, "the others go on");
    assert_eq!(upstream.count(), 11);
    eventually("what became of it is on record", LONG, || {
        gateway
            .audit()
            .iter()
            .any(|record| record["event"] == "outcome" && record["result"] == "not_forwarded")
    });
    collector.becomes("ok");
    eventually("it goes on by itself", LONG, || ask("POST", PAY).status == 200);
}
