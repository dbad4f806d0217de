//! People who act for patients, end to end: granted by staff, used with tokens of their own, seen and ended by the patient, at
//! two gateways, over a restart and outages, and what each step leaves on record.

mod abuse;
mod granted;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::{Gateway, Recorder, Setup, Signer, http, tokens};

const ROUTES: &str = r#"
  - { id: results.read, match: { path: "/patients/{patient}/results", methods: [GET] }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ patient: self }, { delegate: [parent, caregiver] }] }
  - { id: letters.read, match: { path: "/patients/{patient}/letters", methods: [GET] }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ patient: self }, { delegate: [caregiver] }] }
  - { id: payment.pay, match: { path: "/patients/{patient}/payments", methods: [POST] }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;

const RELATIONS: &str = r#"delegation:
  by: { roles: [records-office], assurance: aal2 }
  relations:
    parent: { until_age: 13, actions: [results.read] }
    caregiver: { review_every: 90d }
  never: [payment.pay]
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
        let setup = setup(upstream.address, &signer, change);
        let gateway = setup.start();
        gateway.wait_until_proofs_count();
        Self { setup, gateway, upstream, signer }
    }

    /// Another gateway for the same people and application.
    pub fn another(&self, change: impl Fn(String) -> String) -> (Setup, Gateway) {
        let setup = setup(self.upstream.address, &self.signer, change);
        let gateway = setup.start();
        (setup, gateway)
    }

    /// Somebody with a portal account, whose own record is `patient`.
    pub fn person(&self, id: &str) -> String {
        self.signer.bearer(id, "aal1", 30)
    }

    /// A file with the token of a member of the staff.
    pub fn staff(&self, id: &str, role: &str, level: &str) -> PathBuf {
        let mut claims = Signer::claims(id, level, 30);
        claims["groups"] = json!([role]);
        let path = self.gateway.dir.path().join(format!("token-{id}-{role}-{level}"));
        std::fs::write(&path, self.signer.sign(&claims)).expect("written");
        path
    }

    /// Of the office that grants.
    pub fn office(&self) -> PathBuf {
        self.staff("pam", "records-office", "aal2")
    }

    /// `wardgate delegation …` on the gateway's socket.
    pub fn ask(&self, words: &[&str]) -> Output {
        let socket = self.gateway.dir.path().join("operators.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardgate"));
        command.arg("delegation").args(words).arg("--socket").arg(socket).output().expect("it runs")
    }

    pub fn ask_with(&self, token: &Path, words: &[&str]) -> Output {
        let mut all = words.to_vec();
        all.extend(["--token-file", token.to_str().expect("a path")]);
        self.ask(&all)
    }

    /// Grants somebody to act, and gives the name of that.
    pub fn grant(&self, relation: &str, person: &str, patient: &str, more: &[&str]) -> String {
        let words = ["grant", "--relation", relation, "--person", person, "--patient", patient];
        let told = lines(&self.ask_with(&self.office(), &[&words[..], more].concat()));
        told[0]["id"].as_str().expect("a name").to_owned()
    }

    pub fn get(&self, target: &str, authorization: &str) -> u16 {
        http::send(self.gateway.address, "GET", target, &[("Authorization", authorization)], b"")
            .expect("an answer")
            .status
    }

    /// A patient asks about their own: with `end`, for one of them to end.
    pub fn own(&self, authorization: &str, end: Option<&str>) -> Answer {
        let headers = [("Authorization", authorization), ("Content-Type", "application/json")];
        let (method, body) = match end {
            Some(id) => ("POST", json!({ "end": id }).to_string()),
            None => ("GET", String::new()),
        };
        http::send(self.gateway.address, method, "/_wardgate/delegations", &headers, body.as_bytes())
            .expect("an answer")
    }
}

fn setup(upstream: SocketAddr, signer: &Signer, change: impl Fn(String) -> String) -> Setup {
    let text = tokens::config(upstream, ROUTES)
        .replace(
            "\nupstreams:",
            &format!("\noperators: {{ address: \"unix:$DIR/operators.sock\" }}\n{RELATIONS}upstreams:"),
        )
        .replace(
            "state: { single_replica: true }",
            "state: { single_replica: true, store: embedded, data_dir: ./state }",
        );
    Setup::new(&change(text), |dir| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        std::fs::write(dir.join("k1"), "1".repeat(64)).expect("writable");
    })
}

pub fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

pub fn refused(output: &Output, why: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains(why), "{output:?}");
}

pub fn records(records: &[Value]) -> Vec<&Value> {
    records.iter().filter(|record| record["event"] == "delegation").collect()
}
