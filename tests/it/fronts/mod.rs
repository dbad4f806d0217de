//! Every front of the gateway, asked by the proxies for which it is made, with the shipped configurations: through each
//! of them the verdicts are those of `mode: proxy`.

mod authzen;
mod authzen_examples;
mod ext_authz;
mod matrix;
mod passing;
mod peers;
mod rows;
mod servers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Gateway, Setup, Signer, free_address, tokens};

/// Routes of every tier, and what else decides.
const ROUTES: &str = r#"
  - { id: read, match: { path: "/r/**", methods: [GET, PUT, DELETE] }, upstream: app, access: public }
  - { id: write, match: { path: "/w/**", methods: [POST] }, upstream: app, access: public }
  - { id: visit, match: { path: "/patients/{patient}/visit", upgrade: websocket }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: low, match: { path: "/patients/{patient}/low", methods: [GET, PUT] }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: moderate, match: { path: "/patients/{patient}/moderate", methods: [GET, PUT, POST] }, upstream: app,
      tier: moderate, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: high, match: { path: "/patients/{patient}/high", methods: [GET, PUT] }, upstream: app, tier: high,
      patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: critical, label: "Änderung bestätigen", match: { path: "/patients/{patient}/critical", methods: [GET, PUT] }, upstream: app,
      tier: critical, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: ward, match: { path: "/ward/**", methods: [GET] }, upstream: app, tier: moderate,
      any_of: [{ roles: [nurse], scopes: [ward.read] }] }
  - { id: closed, match: { path: "/closed/{patient}", methods: [GET] }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ patient: self }], deny: [{ when: "true" }] }
  - { id: rare, match: { path: "/rare", methods: [GET] }, upstream: app, tier: low, any_of: [{ issuer: patients }] }
  - { id: counted, match: { path: /counted, methods: [GET] }, upstream: app, access: public }
  - { id: named, match: { host: other.example, path: /named, methods: [GET] }, upstream: app, access: public }
"#;

/// A gateway with a listener of each mode.
pub struct World {
    gateway: Gateway,
    signer: Signer,
    /// What is behind the gateway and the other proxies.
    application: SocketAddr,
    /// A listener of `mode: forward_auth`.
    ask: SocketAddr,
    /// A listener of `mode: authzen`.
    pdp: SocketAddr,
}

impl World {
    /// `change` is made to the configuration.
    fn start(application: SocketAddr, change: impl FnOnce(String) -> String) -> Self {
        let signer = Signer::new();
        let (ask, pdp) = (free_address(), free_address());
        let listeners = format!(
            r#"address: "$LISTEN" }}, {{ name: socket, address: "unix:$DIR/auth.sock", mode: forward_auth }},
  {{ name: envoy-grpc, address: "unix:$DIR/grpc.sock", mode: ext_authz }},
  {{ name: envoy-http, address: "unix:$DIR/http.sock", mode: ext_authz_http }},
  {{ name: ask, address: "{ask}", mode: forward_auth }}, {{ name: pdp, address: "{pdp}", mode: authzen }}]
operators: {{ address: "unix:$DIR/operators.sock" }}
rate_limits:
  - {{ name: rare, per: subject, requests: 1, in: 1h, routes: [rare] }}
  - {{ name: counted, per: address, requests: 1, in: 1h, routes: [counted] }}"#
        );
        let text = tokens::config(application, ROUTES);
        let changed = text.replace(r#"address: "$LISTEN" }]"#, &listeners);
        assert_ne!(changed, text);
        let gateway = Setup::new(&change(changed), |dir| {
            std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
            std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("writable");
        })
        .start();
        Self { gateway, signer, application, ask, pdp }
    }

    /// The listener of `mode: forward_auth` on a Unix socket.
    fn socket(&self) -> PathBuf {
        self.gateway.dir.path().join("auth.sock")
    }

    /// The listener of `mode: ext_authz` or `ext_authz_http`.
    fn ext_authz_socket(&self, protocol: &str) -> PathBuf {
        self.gateway.dir.path().join(format!("{protocol}.sock"))
    }

    /// Refuses what was issued until now to a client.
    fn revoke_client(&self, client: &str) {
        let revoked = Command::new(env!("CARGO_BIN_EXE_wardgate"))
            .args(["revoke", "--issuer", "patients", "--client", client, "--socket"])
            .arg(self.gateway.dir.path().join("operators.sock"))
            .status();
        assert!(revoked.expect("the program runs").success());
    }
}

/// Applications of which it is said that they take no method from a body: Traefik can't say whether there is one.
fn without_hidden_methods(config: String) -> String {
    let changed = config.replace("    timeouts: {", "    method_override: never\n    timeouts: {");
    assert_ne!(changed, config);
    changed
}
