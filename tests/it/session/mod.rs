//! Signing in by a browser, at a real OpenID Provider, and what becomes of the session.

mod attacks;
pub mod browser;
mod careless;
mod killed;
mod leaving;
mod outages;
mod replicas;
mod rotation;
mod signing_in;

use std::net::SocketAddr;

use browser::Browser;

use crate::support::{Gateway, Idp, Recorder};

const ROUTES: &str = r#"
  - { id: home, match: { path: "/", methods: [GET] }, upstream: app, access: public }
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ issuer: patients, patient: self }] }
  - { id: notes.write, match: { path: "/patients/{patient}/notes", methods: [POST] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ issuer: patients, patient: self }],
      cors: { origins: ["https://forms.example"] } }
  - { id: payment.pay, match: { path: "/patients/{patient}/payments", methods: [GET, POST] }, upstream: app,
      tier: high, patient: { from: path.patient }, any_of: [{ issuer: patients, patient: self }] }
  - { id: ward.list, match: { path: "/ward", methods: [GET] }, upstream: app, tier: low,
      any_of: [{ issuer: patients, roles: [nurse] }] }
  - { id: visit.join, match: { path: "/patients/{patient}/ws", upgrade: websocket }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ issuer: patients, patient: self }] }
"#;

pub const RESULTS: &str = "/patients/p1/results/1";

/// A gateway at which people sign in. `sign_in` is what else is to be said of that.
pub fn config(issuer: &str, client: &str, sign_in: &str, upstream: SocketAddr) -> String {
    format!(
        r#"version: 1
listeners: [{{ name: portal, address: "$LISTEN" }}]
telemetry: {{ address: "$TELEMETRY" }}
state: {{ single_replica: true }}
shutdown: {{ lame_duck: 0s, grace: 5s }}
issuers:
  - name: patients
    issuer: {issuer}
    audiences: [portal-es256]
    jwks: {{ refresh: 1s, stale_for: 60s, stale_for_critical: 30s, timeout: 2s }}
    assurance: {{ aal1: {{ any_of: {{ amr: [pwd] }} }}, aal2: {{ any_of: {{ acr: ["urn:clinic:loa:2"] }} }} }}
    claims: {{ patient: patient_id, roles: groups }}
    sign_in:
      client_id: {client}
      client_secret_file: $DIR/secret
      origins: [https://portal.example]
      backchannel_logout: true
{sign_in}
pages: {{ name: Clinic of St. Anna }}
insecure: {{ plain_http_issuers: [patients] }}
upstreams:
  app: {{ endpoints: ["{upstream}"], timeouts: {{ idle: 500ms }} }}
audit: {{ dir: ./audit }}
routes:
{ROUTES}
"#
    )
}

/// The same with a second issuer, for staff, at two hosts.
pub fn with_staff(config: &str, issuer: &str, label: &str) -> String {
    let more = format!(
        r#"  - name: workforce
    issuer: {issuer}
    audiences: [ehr]
    assurance: {{ aal1: {{ any_of: {{ amr: [pwd] }} }} }}
    claims: {{ roles: groups }}
    sign_in:
      client_id: desk
      client_secret_file: $DIR/secret
      origins: [https://portal.example, https://staff.example]
      label: {label}
pages:"#
    );
    let text = config.replacen("pages:", &more, 1);
    let text = text.replace("plain_http_issuers: [patients]", "plain_http_issuers: [patients, workforce]");
    text.replace("roles: [nurse] }]", "roles: [nurse] }, { issuer: workforce, roles: [nurse] }]")
}

fn start(idp: &Idp, client: &str, sign_in: &str) -> (Gateway, Recorder) {
    let upstream = Recorder::start();
    let text = config(&idp.issuer, client, sign_in, upstream.address);
    (running(&text), upstream)
}

pub fn running(text: &str) -> Gateway {
    Gateway::start(text, |dir| std::fs::write(dir.join("secret"), "desk-secret\n").expect("written"))
}

/// A browser in which somebody is signed in.
pub fn signed_in(gateway: &Gateway, account: &str) -> Browser {
    let mut browser = Browser::new(gateway.address, account);
    let arrived = browser.go(&browser::portal("/_wardgate/sign-in?to=%2F"));
    assert_eq!((arrived.answer.status, arrived.url.as_str()), (200, "https://portal.example/"));
    assert!(browser.session().is_some());
    browser
}

/// What the audit trail says of sessions: what, and how it went.
pub fn events(gateway: &Gateway) -> Vec<(String, String)> {
    let of = |record: &serde_json::Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let records = gateway.audit();
    let sessions = records.iter().filter(|record| record["event"] == "session");
    sessions.map(|record| (of(record, "what"), of(record, "result"))).collect()
}
