//! What the benchmarks work on: a small policy, tokens that its issuer signed, requests as they come.

pub mod routes;
pub mod tokens;

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use wardgate::config::{Compiled, load};
use wardgate::enforce::{BodyFault, BodySource};
use wardgate::request::Facts;
use wardgate::request::facts::{Hop, RawRequest, Reading};

use tokens::{ISSUER, Signer};

const ROUTES: &str = r#"
  - id: results.read
    match: { path: "/patients/{patient}/results/**", methods: [GET] }
    upstream: ehr
    data_class: phi
    patient: { from: path.patient }
    tier: low
    any_of: [{ patient: self }]
  - id: payment.pay
    match: { path: "/patients/{patient}/payments", methods: [POST] }
    upstream: ehr
    patient: { from: path.patient }
    tier: high
    any_of: [{ patient: self }]
  - id: schedule.read
    match: { path: /schedule, methods: [GET] }
    upstream: ehr
    tier: low
    any_of: [{ when: "'manager' in subject.roles && request.query.ward != ''" }]
  - id: fhir.read
    match: { fhir: { service: ehr-fhir, interactions: [read, vread, search-type, search-compartment] } }
    data_class: phi
    tier: low
    any_of: [{ patient: self }]
  - id: fhir.write
    match: { fhir: { service: ehr-fhir, types: [Observation], interactions: [create, update, patch] } }
    data_class: phi
    tier: low
    any_of: [{ patient: self }]
"#;

/// A policy in a directory of its own, with its issuer's keys.
pub struct Clinic {
    /// The directory.
    pub dir: tempfile::TempDir,
    /// The issuer.
    pub signer: Signer,
    /// The policy.
    pub compiled: Compiled,
}

impl Clinic {
    /// Makes the keys and loads the policy.
    pub fn open() -> Self {
        let (dir, signer) = (tempfile::tempdir().expect("a directory"), Signer::new());
        std::fs::write(dir.path().join("jwks.json"), signer.jwks()).expect("keys");
        let compiled = compile(dir.path());
        Self { dir, signer, compiled }
    }

    /// The same policy once more, for what takes one.
    pub fn compiled(&self) -> Compiled {
        compile(self.dir.path())
    }
}

fn compile(dir: &Path) -> Compiled {
    let text = format!(
        r#"version: 1
listeners: [{{ name: portal, address: "127.0.0.1:8080" }}]
issuers:
  - name: patients
    issuer: {ISSUER}
    audiences: [portal-api]
    algorithms: [ES256, RS256]
    jwks: {{ file: jwks.json }}
    assurance: {{ aal1: {{ any_of: {{ acr: [weak], amr: [pwd] }} }}, aal2: {{ any_of: {{ acr: [strong] }} }} }}
    claims: {{ patient: patient_id, roles: groups }}
upstreams: {{ ehr: {{ endpoints: ["127.0.0.1:9001"] }} }}
fhir_services: [{{ name: ehr-fhir, base: /fhir, version: R4, upstream: ehr }}]
routes:{ROUTES}"#
    );
    match load("gateway.yaml", &text, dir) {
        Ok((compiled, _)) => compiled,
        Err(found) => panic!("{}", found[0]),
    }
}

/// A request as a browser's application sends it, before it is read.
pub struct Sent {
    method: Method,
    target: &'static str,
    headers: HeaderMap,
    section: String,
}

impl Sent {
    /// A request with this token.
    pub fn new(method: Method, target: &'static str, token: &str) -> Self {
        let authorization = format!("Bearer {token}");
        let mut section = format!("{method} {target} HTTP/1.1\r\n");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "portal.clinic.example"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
            ("accept", "application/json"),
            ("accept-language", "de,en;q=0.7"),
            ("accept-encoding", "gzip, deflate, br, zstd"),
            ("referer", "https://portal.clinic.example/overview"),
            ("sec-fetch-mode", "cors"),
            ("authorization", &authorization),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
            section.push_str(&format!("{name}: {value}\r\n"));
        }
        section.push_str("\r\n");
        Self { method, target, headers, section }
    }

    /// Reads it.
    pub fn read(&self, reading: &Reading) -> Facts {
        let raw = RawRequest {
            method: &self.method,
            version: http::Version::HTTP_11,
            target: self.target.as_bytes(),
            headers: &self.headers,
            section: self.section.as_bytes(),
            peer: None,
            hop: Hop::default(),
        };
        Facts::read(&raw, reading).expect("a readable request")
    }
}

/// The usual limits.
pub fn reading() -> Reading {
    Reading { trusted_proxies: Vec::new(), header_bytes: 32 * 1024, header_count: 100 }
}

/// A request without a body.
pub struct NoBody;

#[async_trait]
impl BodySource for NoBody {
    async fn collect(&mut self, _: usize) -> Result<Bytes, BodyFault> {
        Ok(Bytes::new())
    }
}
