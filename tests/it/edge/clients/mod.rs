//! At the edge of the network: slow, many, greedy and lying clients.

mod closing;
mod limits;
mod proxy_protocol;
mod rates;
mod unix;

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Connection, Gateway, Recorder, Setup, Signer, eventually, tokens};

/// Longer than any limit in these tests; what has not happened by then does not happen.
const LONG: Duration = Duration::from_secs(30);

const ROUTES: &str = r#"
  - { id: home, match: { path: "/", methods: [GET] }, upstream: app, access: public }
  - { id: upload, match: { path: /upload, methods: [POST] }, upstream: app, access: public }
  - { id: small, match: { path: /small, methods: [POST] }, upstream: app, access: public, body_bytes: 10B }
  - { id: large, match: { path: /large, methods: [POST] }, upstream: app, access: public, body_bytes: 1MiB }
  - { id: notes, match: { path: "/patients/{patient}/notes", methods: [GET, POST] }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: form, match: { path: "/patients/{patient}/form", methods: [POST] }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ patient: self, when: "body.a == 1" }], body_bytes: 20B }
"#;

/// A gateway whose listener has these keys beside its name and address, and with more at the end of the file.
fn setup(upstream: SocketAddr, signer: &Signer, listener: &str, more: &str) -> Setup {
    let address = r#"address: "$LISTEN""#;
    let config = tokens::config(upstream, ROUTES).replace(address, &format!("{address}, {listener}")) + more;
    Setup::new(&config, |dir| std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable"))
}

fn start(upstream: &Recorder, listener: &str, more: &str) -> Gateway {
    setup(upstream.address, &Signer::new(), listener, more).start_unready()
}

/// How many connections were closed for this cause.
fn closed(gateway: &Gateway, cause: &str) -> f64 {
    gateway.metric(&format!("wardgate_connections_closed_total{{cause=\"{cause}\""))
}

/// The audit records of one event.
fn records(gateway: &Gateway, event: &str) -> Vec<Value> {
    gateway.audit().into_iter().filter(|record| record["event"] == event).collect()
}

/// Waits until a forwarded request has ended in this way; gives the reason.
fn outcome(gateway: &Gateway, result: &str) -> Value {
    let find = || records(gateway, "outcome").into_iter().find(|record| record["result"] == result);
    eventually(result, LONG, || find().is_some());
    find().expect("an outcome")["reason"].clone()
}

/// What else comes until the other end closes; to be called where it is going to.
fn rest(connection: &mut Connection) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = connection.stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A real client at another address of this machine: the status, or 000 where there was no answer.
fn curl(from: &str, address: SocketAddr, path: &str, options: &[&str]) -> String {
    let url = format!("http://{address}{path}");
    let output = Command::new("curl")
        .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", "--interface", from])
        .args(options)
        .arg(url)
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
