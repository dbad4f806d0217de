//! gRPC from end to end: a real client, the gateway with HTTP/2 on both sides, a real server.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::backends::setup;
use super::pki::Authority;
use crate::support::{Gateway, Signer, eventually};

const LONG: Duration = Duration::from_secs(30);
const ROUTES: &str = r#"
  - { id: results, match: { path: "/clinic.Results/{call}", methods: [POST] }, upstream: app, tier: moderate,
      any_of: [{ roles: [clinician] }] }
  - { id: secret, match: { path: "/clinic.Results/Secret", methods: [POST] }, upstream: app, tier: moderate,
      any_of: [{ roles: [admin] }] }
"#;

fn python(what: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join(".tools/grpcio/bin/python"));
    command
        .arg(root.join("tests/it/edge/grpc_peers.py"))
        .arg(what)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// The service; ends with the value.
struct Service {
    child: Child,
    port: u16,
    /// What it said of each call.
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Service {
    fn start() -> Self {
        let mut child = python("serve").spawn().expect("grpcio: `scripts/setup.sh test` installs it");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let first: Value = serde_json::from_str(&lines.next().expect("a line")).expect("JSON");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let calls = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in lines {
                calls.lock().expect("whole").push(serde_json::from_str(&line).expect("JSON"));
            }
        });
        let port = first["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
        Self { child, port, seen }
    }

    fn seen(&self, call: &str) -> Vec<Value> {
        let seen = self.seen.lock().expect("whole");
        seen.iter().filter(|seen| seen["call"] == call).cloned().collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Bench {
    service: Service,
    gateway: Gateway,
    authority: Authority,
    token: String,
}

impl Bench {
    fn start() -> Self {
        let (service, signer, authority) = (Service::start(), Signer::new(), Authority::new("servers"));
        let upstream = format!(
            "  app: {{ protocol: h2, endpoints: [\"127.0.0.1:{}\"], timeouts: {{ connect: 1s, read: 3s }},
      inject: {{ X-Remote-User: \"{{subject.id}}\" }} }}",
            service.port
        );
        let mut text = setup(&upstream, ROUTES, &signer, |dir: &Path| {
            authority.issue(&["portal.example"]).write(dir, "tls");
        });
        text.change(|text| {
            let plain = r#"address: "$LISTEN" }"#;
            assert!(text.contains(plain));
            text.replace(plain, r#"address: "$LISTEN", tls: { cert_file: tls.crt, key_file: tls.key } }"#)
        });
        let mut claims = Signer::claims("p1", "aal1", 5);
        claims["groups"] = json!(["clinician"]);
        Self { service, gateway: text.start(), authority, token: format!("Bearer {}", signer.sign(&claims)) }
    }

    /// Makes these calls one after the other on one channel.
    fn call(&self, calls: &[Value]) -> Vec<Value> {
        let mut child = python("call").spawn().expect("grpcio: `scripts/setup.sh test` installs it");
        let task = json!({
            "target": self.gateway.address.to_string(), "ca": self.authority.pem, "calls": calls,
        });
        child.stdin.take().expect("piped").write_all(task.to_string().as_bytes()).expect("read");
        let output = child.wait_with_output().expect("it ends");
        serde_json::from_slice(&output.stdout).expect("an answer")
    }

    fn authorized(&self, mut call: Value) -> Value {
        call["metadata"] = json!([["authorization", self.token], ["x-remote-user", "spoofed"]]);
        call
    }

    /// The results of all requests that were admitted.
    fn outcomes(&self) -> Vec<String> {
        let records = self.gateway.audit();
        let outcomes = records.iter().filter(|record| record["event"] == "outcome");
        outcomes.map(|record| record["result"].as_str().expect("a word").to_owned()).collect()
    }
}

#[test]
fn calls_of_every_kind_come_through_with_their_trailers() {
    let bench = Bench::start();
    let large = "x".repeat(1000);
    let calls = [
        json!({ "method": "Read", "kind": "unary_unary", "messages": ["p1"], "timeout": 20 }),
        json!({ "method": "Watch", "kind": "unary_stream", "messages": ["500"] }),
        json!({ "method": "Upload", "kind": "stream_unary", "messages": [large], "times": 500 }),
        json!({ "method": "Chat", "kind": "stream_stream", "messages": ["a", "b"] }),
        json!({ "method": "Fail", "kind": "unary_unary" }),
        json!({ "method": "FailLate", "kind": "unary_stream" }),
        json!({ "method": "Unknown", "kind": "unary_unary" }),
    ];
    let said = bench.call(&calls.map(|call| bench.authorized(call)));
    let (status, answers): (Vec<_>, Vec<_>) =
        said.iter().map(|said| (said["status"].as_str().expect("a word"), &said["answers"])).unzip();
    assert_eq!(
        status,
        ["OK", "OK", "OK", "OK", "FAILED_PRECONDITION", "DATA_LOSS", "UNIMPLEMENTED"],
        "{said:#?}"
    );
    assert_eq!(answers[0], &json!(["read:p1"]));
    assert_eq!(answers[1], &json!(500));
    assert_eq!(answers[2], &json!(["500000"]));
    assert_eq!(answers[3], &json!(["echo:a", "echo:b"]));
    assert_eq!(said[4]["details"], "der Befund ist \u{e4}lter: 100%");
    assert_eq!(answers[5], &json!(["one", "two"]));
    assert_eq!(said[5]["details"], "after two");
    for (at, checksum) in [(0, "c1"), (1, "c2"), (4, "c3")] {
        assert_eq!(said[at]["trailers"]["x-checksum"], checksum, "{said:#?}");
    }
    assert!(!said[0].to_string().contains("forged"), "{}", said[0]);

    let seen = bench.service.seen("Read");
    let [read] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(read["metadata"]["x-remote-user"], "user-p1");
    assert!(
        read["metadata"]["authorization"].is_null() && read["metadata"]["x-wardgate-decision"].is_string()
    );
    // The deadline goes along.
    let remaining = read["remaining"].as_f64().expect("a deadline");
    assert!(remaining > 5.0 && remaining <= 20.0, "{remaining}");
    assert_eq!(bench.outcomes(), ["completed"; 7]);
}

#[test]
fn what_the_gateway_refuses_has_a_status_of_grpc() {
    let bench = Bench::start();
    let call = |method: &str| json!({ "method": method, "kind": "unary_unary" });
    let mut stranger = call("Read");
    stranger["metadata"] = json!([["authorization", "Bearer x.y.z"]]);
    let said = bench.call(&[call("Read"), stranger, bench.authorized(call("Secret"))]);
    let status: Vec<_> = said.iter().map(|said| said["status"].as_str().expect("a word")).collect();
    assert_eq!(status, ["UNAUTHENTICATED", "UNAUTHENTICATED", "PERMISSION_DENIED"], "{said:#?}");
    assert!(bench.service.seen.lock().expect("whole").is_empty());
}

#[test]
fn deadlines_end_a_call_on_both_sides() {
    let bench = Bench::start();
    let hang = |timeout: u32| {
        bench.authorized(json!({ "method": "Hang", "kind": "unary_unary", "timeout": timeout }))
    };
    // The client's own, and then the gateway's.
    let said = bench.call(&[hang(1), hang(20)]);
    assert_eq!(said[0]["status"], "DEADLINE_EXCEEDED", "{said:#?}");
    assert_eq!(said[1]["status"], "UNAVAILABLE", "{said:#?}");
    assert!(said[1]["took"].as_f64().expect("seconds") < 10.0, "{said:#?}");
    eventually("the service is told that nobody waits", LONG, || {
        bench.service.seen("Hang").iter().filter(|seen| seen["told"] == true).count() == 2
    });
    eventually("no request is left", LONG, || bench.gateway.metric("wardgate_requests_in_flight") == 0.0);
    assert_eq!(bench.outcomes().len(), 2);
    // The connection to the service still serves.
    let read = bench.authorized(json!({ "method": "Read", "kind": "unary_unary" }));
    assert_eq!(bench.call(&[read])[0]["status"], "OK");
}
