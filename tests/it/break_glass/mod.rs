//! Breaking the glass, end to end: by programs, over a restart, at two gateways, and what each step leaves on record.

mod offline;
mod opened;
mod reviewed;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::{Gateway, Recorder, Setup, Signer, http, tokens};

const ROUTES: &str = r#"
  - { id: results.read, match: { path: "/patients/{patient}/results", methods: [GET, PUT] }, upstream: app, tier: low,
      patient: { from: path.patient }, break_glass: treatment, any_of: [{ roles: [nurse] }] }
  - { id: sealed.read, match: { path: "/patients/{patient}/sealed", methods: [GET] }, upstream: app, tier: low,
      patient: { from: path.patient }, break_glass: treatment, deny: [{ when: "true" }], any_of: [{ roles: [nurse] }] }
"#;

/// The words of somebody in a hurry, which nobody may find where they don't belong.
pub const WHY: &str = "Unconscious on arrival, Miller asks for allergies";

pub const RIGHT: &str = r#"break_glass:
  treatment:
    roles: [hospitalist]
    require: { assurance: aal2, max_age: 5m, reason_codes: [emergency, covering], text_min: 20 }
    grant: { ttl: 30m, most_per_day: 3 }
    review: { within: 72h, by: [privacy-office] }
"#;

pub struct World {
    pub setup: Setup,
    pub gateway: Gateway,
    pub upstream: Recorder,
    pub signer: Signer,
}

impl World {
    /// `change` is made to the configuration.
    pub fn start(change: impl Fn(String) -> String) -> Self {
        let (upstream, signer) = (Recorder::start(), Signer::new());
        let text = tokens::config(upstream.address, ROUTES)
            .replace(
                "\nupstreams:",
                &format!("\noperators: {{ address: \"unix:$DIR/operators.sock\" }}\n{RIGHT}upstreams:"),
            )
            .replace(
                "state: { single_replica: true }",
                "state: { single_replica: true, store: embedded, data_dir: ./state }",
            );
        let setup = Setup::new(&change(text), |dir| {
            std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        });
        let gateway = setup.start();
        gateway.wait_until_proofs_count();
        Self { setup, gateway, upstream, signer }
    }

    /// A member of the staff with a role.
    pub fn staff(&self, id: &str, role: &str, level: &str, age: i64) -> String {
        let mut claims = Signer::claims(id, level, age);
        claims["groups"] = json!([role]);
        format!("Bearer {}", self.signer.sign(&claims))
    }

    pub fn doctor(&self) -> String {
        self.staff("house", "hospitalist", "aal2", 30)
    }
}

pub fn get(address: SocketAddr, target: &str, authorization: &str) -> Answer {
    http::send(address, "GET", target, &[("Authorization", authorization)], b"").expect("an answer")
}

/// Sends an order to break the glass.
pub fn order(address: SocketAddr, authorization: &str, order: &Value) -> Answer {
    let headers = [("Authorization", authorization), ("Content-Type", "application/json")];
    http::send(address, "POST", "/_wardgate/break-glass", &headers, order.to_string().as_bytes())
        .expect("an answer")
}

pub fn results(patient: &str) -> Value {
    json!({ "target": format!("/patients/{patient}/results"), "code": "emergency", "text": WHY })
}

pub fn glass_records(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record["event"] == "break_glass").collect()
}
