//! In operation: under load, with its dependencies failing, as a plain proxy, while it stops, and what it never tells.

mod browsers;
mod cases;
mod deliveries;
mod dependencies;
mod detections;
mod doctor;
mod durability;
mod flood;
mod formats;
mod identity;
mod journal;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_tunnel;
mod load;
mod proxying;
mod pseudonyms;
mod quota;
mod replay;
mod resources;
mod retries;
mod room;
mod secrets;
pub mod sinks;
mod stopping;
mod streaming;
mod syslog;
mod trail;
pub mod websocket;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use crate::support::{Gateway, Recorder, Setup, Signer, tokens};

/// One route for each way that a request can take: streamed, read for its risk, single use.
const ROUTES: &str = r#"
  - { id: home, match: { path: "/", methods: [GET] }, upstream: app, access: public }
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: notes.write, match: { path: "/patients/{patient}/notes", methods: [POST, PUT, DELETE] }, upstream: app,
      tier: moderate, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: payment.pay, match: { path: "/patients/{patient}/payments", methods: [POST] }, upstream: app,
      tier: high, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: record.export, match: { path: "/patients/{patient}/export", methods: [PUT] }, upstream: app,
      tier: critical, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: profile.update, match: { path: "/patients/{patient}/profile", methods: [PUT] }, upstream: app, tier: critical,
      patient: { from: path.patient }, any_of: [{ patient: self }],
      lower_risk_if_only: { fields: [language], tier: moderate, id: profile.preferences } }
"#;

const READ: &str = "/patients/p1/results/1";
const NOTES: &str = "/patients/p1/notes";
const PAY: &str = "/patients/p1/payments";
const EXPORT: &str = "/patients/p1/export";
const PROFILE: &str = "/patients/p1/profile";
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A gateway that is not started yet, with the routes above; `change` may change the configuration.
fn setup(upstream: SocketAddr, signer: &Signer, change: impl FnOnce(String) -> String) -> Setup {
    Setup::new(&change(tokens::config(upstream, ROUTES)), |dir| write_keys(dir, signer))
}

fn write_keys(dir: &Path, signer: &Signer) {
    std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
}

/// A gateway in front of this upstream.
fn start(upstream: &Recorder) -> (Gateway, Signer) {
    let signer = Signer::new();
    (setup(upstream.address, &signer, |text| text).start(), signer)
}

/// Proofs for so many single-use actions of patient p1: one authentication at as many clients.
fn proofs(gateway: &Gateway, signer: &Signer, count: usize) -> Vec<String> {
    gateway.wait_until_proofs_count();
    let proof = |number| {
        let mut claims = Signer::claims("p1", "aal2", 0);
        claims["client_id"] = format!("portal-{number}").into();
        format!("Bearer {}", signer.sign(&claims))
    };
    (0..count).map(proof).collect()
}

/// An upstream that does with each connection whatever the test wants.
fn listen(handler: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let handler = handler.clone();
            std::thread::spawn(move || handler(stream));
        }
    });
    address
}
