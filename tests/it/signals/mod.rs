//! Shared signals: security events of a transmitter end what was begun, and forged ones end nothing.

mod fetched;
pub mod forgeries;
mod logout;
mod pushed;
mod transmitter;

use std::time::Duration;

use serde_json::{Value, json};
use transmitter::Transmitter;

use crate::support::{Gateway, Recorder, Setup, Signer, http, tokens};

const SOON: Duration = Duration::from_secs(15);
const ALONE: &str = "state: { single_replica: true }";
const ROUTES: &str = r#"
  - { id: events, match: { path: "/patients/{patient}/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;
const PUSH_PATH: &str = "/_wardgate/shared-signals/patients";
const PUSH_AUTHORIZATION: &str = "Bearer push-to-me";

/// A gateway that takes the transmitter's events as `delivery` says.
fn setup(
    upstream: &Recorder,
    signer: &Signer,
    transmitter: &Transmitter,
    delivery: &str,
    state: &str,
) -> Setup {
    let issuer = transmitter.issuer();
    let signals =
        format!("    shared_signals: {{ transmitter: \"{issuer}\", audience: wardgate, {delivery} }}\n");
    let config = tokens::config(upstream.address, ROUTES)
        .replace(ALONE, state)
        .replace(
            "    jwks: { file: jwks.json }\n",
            "    jwks: { file: jwks.json, refresh: 1s, unknown_kid_interval: 1s }\n",
        )
        .replace("    claims: {", &format!("{signals}    claims: {{"))
        .replace("upstreams:", "insecure: { plain_http_issuers: [patients] }\nupstreams:");
    Setup::new(&config, |dir| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("writable");
        std::fs::write(dir.join("push"), format!("{PUSH_AUTHORIZATION}\n")).expect("writable");
        std::fs::write(dir.join("poll"), format!("{}\n", transmitter::POLL_AUTHORIZATION)).expect("writable");
    })
}

const PUSHED: &str = "push: { hosts: [portal.example], authorization_file: push }";

fn fetched(transmitter: &Transmitter) -> String {
    format!("poll: {{ url: \"{}/poll\", authorization_file: poll, wait: 2s }}", transmitter.issuer())
}

/// Pushes a token as its transmitter does.
fn push(gateway: &Gateway, token: &str) -> http::Answer {
    let headers = [("Content-Type", "application/secevent+jwt"), ("Authorization", PUSH_AUTHORIZATION)];
    http::send(gateway.address, "POST", PUSH_PATH, &headers, token.as_bytes()).expect("an answer")
}

fn someone(sub: &str) -> Value {
    json!({ "format": "iss_sub", "iss": tokens::ISSUER, "sub": sub })
}

/// A token of a subject's session, as a header value.
fn bearer(signer: &Signer, sub: &str, sid: &str) -> String {
    crate::revocation::session_token(signer, sub, sid).0
}

/// The same that was issued so many seconds ago.
fn earlier_bearer(signer: &Signer, sub: &str, age: i64) -> String {
    let mut claims = Signer::claims("p1", "aal1", age);
    (claims["sub"], claims["iat"]) = (sub.into(), (claims["iat"].as_i64().expect("a moment") - age).into());
    format!("Bearer {}", signer.sign(&claims))
}

fn ask(gateway: &Gateway, bearer: &str) -> u16 {
    let header = [("Authorization", bearer)];
    http::send(gateway.address, "GET", "/patients/p1/none", &header, b"").expect("an answer").status
}

/// What the audit trail says of security events: which, and what became of it.
fn signals(gateway: &Gateway) -> Vec<(String, String)> {
    let of = |record: &Value, key: &str| record[key].as_str().unwrap_or("none").to_owned();
    let records = gateway.audit();
    let of_signals = records.iter().filter(|record| record["event"] == "shared_signal");
    of_signals.map(|record| (of(record, "what"), of(record, "result"))).collect()
}

/// What `/readyz` says beside whether it is ready.
fn notices(gateway: &Gateway) -> (u16, String) {
    let page = gateway.telemetry_page("/readyz");
    (page.status, page.json()["notices"].to_string())
}
