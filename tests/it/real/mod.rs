//! Against the real things: an OpenID Provider and an imaging archive, as other people wrote them.

mod ciba;
mod fhir;
mod fhir_definitions;
mod fhir_replies;
mod fhir_writes;
mod idp;
mod introspection;
mod named_actions;
mod orthanc;
mod outages;
mod step_up_service;

use std::net::SocketAddr;

use crate::support::{Gateway, Idp, http};

/// Routes of a portal: reading is low, paying high, exporting critical.
const ROUTES: &str = r#"
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: payment.pay, match: { path: "/patients/{patient}/payments", methods: [POST] }, upstream: app,
      tier: high, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: record.export, match: { path: "/patients/{patient}/export", methods: [POST] }, upstream: app,
      tier: critical, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: ward.list, match: { path: "/ward", methods: [GET] }, upstream: app, tier: low, any_of: [{ roles: [nurse] }] }
"#;

const READ: (&str, &str) = ("GET", "/patients/p1/results/1");
const PAY: (&str, &str) = ("POST", "/patients/p1/payments");

/// A gateway's configuration for the provider's tokens. `more` is what else is to be said of the issuer.
fn config(issuer: &str, more: &str, upstream: SocketAddr, routes: &str) -> String {
    format!(
        r#"version: 1
listeners: [{{ name: portal, address: "$LISTEN" }}]
telemetry: {{ address: "$TELEMETRY" }}
state: {{ single_replica: true }}
shutdown: {{ lame_duck: 0s, grace: 5s }}
issuers:
  - name: clinic
    issuer: {issuer}
    assurance: {{ aal1: {{ any_of: {{ amr: [pwd] }} }}, aal2: {{ any_of: {{ acr: ["urn:clinic:loa:2"] }} }} }}
    claims: {{ patient: patient_id, roles: groups }}
{more}
insecure: {{ plain_http_issuers: [clinic] }}
upstreams:
  app: {{ endpoints: ["{upstream}"], timeouts: {{ idle: 500ms }} }}
audit: {{ dir: ./audit }}
routes:
{routes}
"#
    )
}

/// Sends a request with a token.
fn ask(gateway: &Gateway, (method, target): (&str, &str), token: &str) -> http::Answer {
    let bearer = format!("Bearer {token}");
    http::send(gateway.address, method, target, &[("Authorization", &bearer)], b"").expect("an answer")
}

/// What `/readyz` says is missing; empty where it is ready.
fn not_ready(gateway: &Gateway) -> String {
    let answer = gateway.telemetry_page("/readyz");
    let missing = answer.json()["not_ready"].to_string();
    if answer.status == 200 { String::new() } else { missing }
}

/// Fails where the gateway panicked: a request may fail closed, the program may not.
fn assert_no_panic(gateway: &Gateway) {
    let said = gateway.logs().join("\n");
    assert!(!said.contains("panicked"), "{said}");
}

/// A token of alice, who is patient p1.
fn alice(idp: &Idp, level: &str, audience: &str) -> String {
    idp.sign_in("alice", level, audience).access().to_owned()
}
