//! Hostile inputs by the hundred: what is admitted is what arrives, byte for byte, and nothing else does.
//!
//! Each table has one gateway and one recording upstream. A case is raw bytes and what must come of each request in
//! them. After every table: as many upstream requests as admitted intents, each of them with the id of its own intent.

mod answers;
mod exchange;
pub mod forge;
mod judge;
mod property;

// Tables: one case, one line.
#[rustfmt::skip]
mod framing;
#[rustfmt::skip]
mod headers;
#[rustfmt::skip]
mod methods;
#[rustfmt::skip]
mod targets;
#[rustfmt::skip]
mod tokens;

use std::collections::HashSet;

use serde_json::Value;

use crate::support::http::Answer;
use crate::support::{Gateway, Recorder, Signer, tokens as issuer};

/// One kind of route each: public, protected by a role, by relation, classified by its body, a WebSocket, by host.
pub const ROUTES: &str = r#"
  - { id: home, match: { path: "/", methods: [GET] }, upstream: app, access: public }
  - { id: open, match: { path: "/open/**", methods: [GET, POST, OPTIONS] }, upstream: app, access: public }
  - { id: admin, match: { path: "/admin/**", methods: [GET, POST, PUT, DELETE] }, upstream: app, tier: low, any_of: [{ roles: [admin] }] }
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: everything, match: { path: "/fhir/Patient/{patient}/$everything", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: notes.write, match: { path: "/patients/{patient}/notes", methods: [POST] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: profile.update, match: { path: "/patients/{patient}/profile", methods: [PUT] }, upstream: app, tier: critical,
      patient: { from: path.patient }, any_of: [{ patient: self }],
      lower_risk_if_only: { fields: [language], tier: low, id: profile.preferences } }
  - { id: live, match: { path: "/patients/{patient}/live", upgrade: websocket }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: staff, match: { host: staff.example, path: "/**", methods: [GET] }, upstream: app, tier: low, any_of: [{ roles: [staff] }] }
"#;

/// The reason of requests that the HTTP parser refuses before there is a decision.
const UNPARSED: &str = "unparsed";
/// Where any reason will do, since parser and gateway may each be the first to see it.
const ANY: &str = "any";

/// What must come of one request.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// This status, for this reason in the audit record, and nothing upstream.
    Refused(u16, &'static str),
    /// It goes upstream like this, and the client gets 200.
    Forwarded(Box<Departure>),
    /// It is admitted by its head, but its body breaks: no 2xx, and at most the one request upstream.
    Broken,
}

/// How a forwarded request must look upstream.
#[derive(Debug, Clone, Default)]
pub struct Departure {
    line: Option<String>,
    body: Option<Vec<u8>>,
    headers: Vec<(&'static str, Vec<&'static str>)>,
    nobody: bool,
    websocket: bool,
}

/// The table's word for a refusal.
pub fn refused(status: u16, reason: &'static str) -> Wanted {
    Wanted::Refused(status, reason)
}

/// The HTTP parser gives up: 400, and no decision.
pub fn unparsed() -> Wanted {
    Wanted::Refused(400, UNPARSED)
}

/// Forwarded, with the target exactly as sent and the gateway's identity headers.
pub fn forwarded() -> Wanted {
    Wanted::Forwarded(Box::default())
}

/// Forwarded for nobody in particular: on a public route, without identity.
pub fn public() -> Wanted {
    Wanted::Forwarded(Box::new(Departure { nobody: true, ..Departure::default() }))
}

impl Wanted {
    fn departure(mut self, change: impl FnOnce(&mut Departure)) -> Self {
        if let Self::Forwarded(departure) = &mut self {
            change(departure);
        }
        self
    }

    /// The request line, where it is not the first line sent.
    pub fn line(self, line: &str) -> Self {
        self.departure(|departure| departure.line = Some(line.to_owned()))
    }

    /// With the gateway's own handshake for a WebSocket.
    pub fn websocket(self) -> Self {
        self.departure(|departure| departure.websocket = true)
            .header("upgrade", &["websocket"])
            .header("connection", &["upgrade"])
    }

    /// The body.
    pub fn body(self, body: &[u8]) -> Self {
        self.departure(|departure| departure.body = Some(body.to_vec()))
    }

    /// All values of a header.
    pub fn header(self, name: &'static str, values: &[&'static str]) -> Self {
        self.departure(|departure| departure.headers.push((name, values.to_vec())))
    }
}

/// One hostile input; `$TOKEN` in its bytes becomes a patient's bearer token.
pub struct Case {
    name: String,
    bytes: Vec<u8>,
    wanted: Vec<Wanted>,
}

impl Case {
    /// A connection with one request.
    pub fn new(name: &str, bytes: impl AsRef<[u8]>, wanted: Wanted) -> Self {
        Self { name: name.to_owned(), bytes: bytes.as_ref().to_vec(), wanted: vec![wanted] }
    }

    /// A connection with something for each of several requests.
    pub fn several(name: &str, bytes: impl AsRef<[u8]>, wanted: Vec<Wanted>) -> Self {
        Self { wanted, ..Self::new(name, bytes, Wanted::Broken) }
    }
}

/// A gateway with its upstream, and the patient who asks.
pub struct Bench {
    pub gateway: Gateway,
    pub upstream: Recorder,
    token: String,
}

impl Bench {
    /// Starts both.
    pub fn start() -> Self {
        let signer = Signer::new();
        Self::with(Recorder::start(), signer.jwks(), &signer.bearer("p1", "aal1", 30))
    }

    /// Starts a gateway before this upstream, for these keys and this token.
    pub fn with(upstream: Recorder, jwks: &str, token: &str) -> Self {
        let gateway = Gateway::start(&issuer::config(upstream.address, ROUTES), |dir| {
            std::fs::write(dir.join("jwks.json"), jwks).expect("writable");
        });
        Self { gateway, upstream, token: token.to_owned() }
    }

    /// Puts the token in.
    pub fn fill(&self, bytes: &[u8]) -> Vec<u8> {
        let mut filled = Vec::new();
        let mut rest = bytes;
        while let Some(at) = rest.windows(6).position(|window| window == b"$TOKEN") {
            filled.extend_from_slice(&rest[..at]);
            filled.extend_from_slice(self.token.as_bytes());
            rest = &rest[at + 6..];
        }
        filled.extend_from_slice(rest);
        filled
    }

    /// Runs a table. Every fault of it is listed, not only the first.
    pub fn run(&self, cases: &[Case]) {
        let exchanged: Vec<(Vec<u8>, Vec<Answer>)> = cases
            .iter()
            .map(|case| {
                let sent = self.fill(&case.bytes);
                let answers = exchange::exchange(self.gateway.address, &sent, case.wanted.len());
                (sent, answers)
            })
            .collect();
        let mut faults = Vec::new();
        let mut answered = Vec::new();
        let mut arrived =
            judge::Arrivals::new(self.upstream.requests(), exchanged.iter().flat_map(|(_, answers)| answers));
        for (case, (sent, answers)) in cases.iter().zip(exchanged) {
            let before = faults.len();
            judge::compare(case, &sent, &answers, &arrived.of(case, &answers), &mut faults);
            if faults.len() > before {
                let start = &case.bytes[..case.bytes.len().min(240)];
                faults.push(format!("    sent {}", start.escape_ascii()));
            }
            answered.extend(
                case.wanted.iter().zip(answers).map(|(wanted, answer)| (case.name.as_str(), wanted, answer)),
            );
        }
        faults.extend(arrived.strays().map(|request| format!("nobody asked for {:?}", request.line)));
        self.reconcile(&answered, &mut faults);
        let names: HashSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len(), "two cases have one name");
        assert!(faults.is_empty(), "{} cases, and these faults:\n{}", cases.len(), faults.join("\n"));
    }

    /// Holds the journal against what the client and the upstream saw.
    fn reconcile(&self, answered: &[(&str, &Wanted, Answer)], faults: &mut Vec<String>) {
        let records = self.gateway.audit();
        let of =
            |event: &str| records.iter().filter(|record| record["event"] == event).collect::<Vec<&Value>>();
        for (name, wanted, answer) in answered {
            let Wanted::Refused(_, reason) = wanted else { continue };
            let Some(decision) = answer.header("x-wardgate-decision") else {
                if ![UNPARSED, ANY].contains(reason) {
                    faults
                        .push(format!("{name}: wanted {reason}, but the parser answered {}", answer.status));
                }
                continue;
            };
            let record = of("decision").into_iter().find(|record| record["decision"] == decision);
            let recorded = record.and_then(|record| record["reason"].as_str()).unwrap_or("not recorded");
            if recorded != *reason && (*reason != ANY || record.is_none()) {
                faults.push(format!("{name}: wanted {reason}, recorded {recorded}"));
            }
        }
        let by_parser =
            answered.iter().filter(|(.., answer)| answer.header("x-wardgate-decision").is_none()).count();
        let (records_unparsed, metric) = (
            of(UNPARSED).len(),
            self.gateway.metric(r#"wardgate_unreadable_requests_total{reason="unparsed"}"#),
        );
        if (records_unparsed, metric as usize) != (by_parser, by_parser) {
            faults.push(format!("{by_parser} answers of the parser, {records_unparsed} records of them, {metric} in the metric"));
        }
        let arrived = self.upstream.requests();
        let admitted = self.gateway.admitted_intents();
        if arrived.len() != admitted {
            faults.push(format!("{} upstream requests, {admitted} admitted intents", arrived.len()));
        }
        let intents: HashSet<&str> =
            of("intent").iter().filter_map(|record| record["decision"].as_str()).collect();
        let ids: HashSet<&str> =
            arrived.iter().flat_map(|request| request.values("x-wardgate-decision")).collect();
        if ids.len() != arrived.len() || !ids.is_subset(&intents) {
            faults.push("an upstream request does not have the id of an intent of its own".to_owned());
        }
    }
}
