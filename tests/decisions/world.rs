//! The policy under test, and what its requests are made of: callers, bodies, evidence.

use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Map, json};
use wardgate::config::{Compiled, load};
use wardgate::decision::Question;
use wardgate::decision::evidence::{BodyReading, Evaluation, Evidence, Identity, Lookup, Revocation};
use wardgate::identity::{Caller, Level, NamedActions, Subject, TokenFault};
use wardgate::policy::Policy;
use wardgate::request::facts::{Hop, RawRequest, Reading};
use wardgate::request::{Facts, Unreadable};

/// The moment of every decision here: far ahead, since a store takes no proof that is older than its own memory.
pub const NOW: i64 = 4_000_000_000;

/// The policy's text.
pub const POLICY: &str = include_str!("policy.yaml");

/// Loads a policy, which must have nothing to complain of.
pub fn compile(text: &str) -> Compiled {
    match load("policy.yaml", text, Path::new("")) {
        Ok((compiled, warnings)) => {
            assert!(warnings.is_empty(), "{}", warnings[0]);
            compiled
        }
        Err(found) => panic!("{}\n{text}", found[0]),
    }
}

/// A body as a client sends it.
#[derive(Debug, Clone, Default)]
pub struct Body {
    pub media_type: String,
    pub gzip: bool,
    pub bytes: Vec<u8>,
}

/// A request line, with the two words that stand for headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    pub target: String,
    pub overrides: bool,
    pub handshake: bool,
}

impl Request {
    /// Reads `METHOD /target +override +handshake`.
    pub fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let method = words.next().expect("a method").parse().expect("a method");
        let target = words.next().expect("a target").to_owned();
        let mut request = Self { method, target, overrides: false, handshake: false };
        for word in words {
            match word {
                "+override" => request.overrides = true,
                "+handshake" => request.handshake = true,
                other => panic!("`{other}` in `{text}`"),
            }
        }
        request
    }

    /// What the gateway reads of it.
    pub fn facts(
        &self,
        body: Option<&Body>,
        authorization: Option<&'static str>,
    ) -> Result<Facts, Unreadable> {
        let length = body.map(|body| body.bytes.len().to_string());
        let mut headers = vec![("host", "portal.clinic.example")];
        headers.extend(authorization.map(|value| ("authorization", value)));
        headers.extend(self.overrides.then_some(("x-http-method-override", "DELETE")));
        if self.handshake {
            headers.extend([
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "x"),
            ]);
        }
        if let (Some(body), Some(length)) = (body, &length) {
            headers.extend([("content-length", length.as_str()), ("content-type", body.media_type.as_str())]);
            headers.extend(body.gzip.then_some(("content-encoding", "gzip")));
        }
        let mut map = HeaderMap::new();
        let mut section = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
            section.push_str(&format!("{name}: {value}\r\n"));
        }
        section.push_str("\r\n");
        assert!(!map.contains_key(header::TRANSFER_ENCODING));
        let raw = RawRequest {
            method: &self.method,
            version: http::Version::HTTP_11,
            target: self.target.as_bytes(),
            headers: &map,
            section: section.as_bytes(),
            peer: None,
            hop: Hop::default(),
        };
        Facts::read(
            &raw,
            &Reading { trusted_proxies: Vec::new(), header_bytes: 32 * 1024, header_count: 100 },
        )
    }
}

/// What the gateway makes of a body; `enforce` does the same, which the matrix checks against a real gate.
pub fn reading(question: &Question<'_>, body: Option<&Body>) -> BodyReading {
    let Some(body) = body else {
        return BodyReading::Absent;
    };
    if question.may_be_read() { question.reading(&body.bytes) } else { BodyReading::Unreadable }
}

/// Reads a caller from its description: `patient aal1 30s otp`.
pub fn identity(policy: &Policy, text: &str) -> Identity {
    match text {
        "nobody" => return Identity::Nobody,
        "malformed" => return Identity::Malformed("only the Bearer scheme is accepted"),
        "refused:expired" => return Identity::Refused(TokenFault::Expired),
        "refused:bad-signature" => return Identity::Refused(TokenFault::BadSignature),
        "refused:unknown-issuer" => return Identity::Refused(TokenFault::UnknownIssuer),
        "unavailable" => return Identity::Unavailable,
        _ => {}
    }
    let mut words = text.split(' ');
    let mut subject = match words.next() {
        Some("patient") => Subject { patient: Some("p1".into()), ..person(policy, 0, "u1", "portal") },
        Some("staff") => person(policy, 1, "s1", "ehr"),
        Some("feed") => Subject {
            caller: Caller::Service,
            scopes: vec!["system/Observation.c".into()],
            auth_time: None,
            ..person(policy, 2, "lab", "lab-feed")
        },
        _ => panic!("`{text}` is no caller"),
    };
    let defaults = std::mem::take(&mut subject.scopes);
    for word in words {
        let seconds = |unit: char, factor: i64| Some(word.strip_suffix(unit)?.parse::<i64>().ok()? * factor);
        let age = seconds('s', 1).or_else(|| seconds('m', 60)).or_else(|| seconds('h', 3600));
        match (word.split_once(':'), subject.caller) {
            (Some(("role", role)), _) => subject.roles.push(role.into()),
            (Some(("scope", scope)), _) => subject.scopes.push(scope.into()),
            (Some(("client", client)), _) => subject.client = Some(client.into()),
            (Some(("record", patient)), _) => subject.patient = Some(patient.into()),
            (Some(_), _) => panic!("`{word}` in `{text}`"),
            (None, Caller::Service) if word == "ageless" => subject.issued_at = i64::MIN,
            (None, Caller::Person) if word == "ageless" => subject.auth_time = None,
            (None, Caller::Service) if age.is_some() => subject.issued_at = NOW - age.expect("age"),
            (None, Caller::Person) if age.is_some() => subject.auth_time = age.map(|age| NOW - age),
            (None, _) => match word {
                "recordless" => subject.patient = None,
                "actor" => subject.actor = Some("somebody".into()),
                "nameless" => subject.token_id = None,
                "npi" => subject.claims = Arc::new(Map::from_iter([("npi".to_owned(), json!("1234567893"))])),
                "pwd" | "otp" | "hwk" | "sms" => subject.methods.push(word.into()),
                level => {
                    subject.level =
                        policy.levels.find(level).unwrap_or_else(|| panic!("`{level}` in `{text}`"))
                }
            },
        }
    }
    if subject.scopes.is_empty() {
        subject.scopes = defaults;
    }
    Identity::Known(Arc::new(subject))
}

/// A person who has shown nothing yet.
pub fn person(policy: &Policy, issuer: usize, id: &str, client: &str) -> Subject {
    Subject {
        issuer: Arc::clone(&policy.issuers[issuer].name),
        issuer_index: issuer,
        id: id.into(),
        caller: Caller::Person,
        client: Some(client.into()),
        actor: None,
        patient: None,
        roles: Vec::new(),
        scopes: Vec::new(),
        level: Level::NONE,
        methods: Vec::new(),
        auth_time: None,
        issued_at: NOW,
        expires_at: NOW + 300,
        token_id: Some("j1".into()),
        session: None,
        bound_to: None,
        bound_key: None,
        names: NamedActions::Nothing,
        changes_at: None,
        claims: Arc::default(),
    }
}

/// Everything that can be found out about a request, before anybody asked for it.
#[derive(Debug, Clone)]
pub struct Known {
    pub identity: Identity,
    pub keys_too_stale: bool,
    pub revocation: Revocation,
    pub body: BodyReading,
    pub evaluation: Lookup<Evaluation>,
    pub record: Lookup<Box<str>>,
}

impl Known {
    /// All of it at once.
    pub fn evidence(&self) -> Evidence {
        Evidence {
            identity: Some(self.identity.clone()),
            keys_too_stale: self.keys_too_stale,
            possession: None,
            revocation: Some(self.revocation),
            body: Some(self.body.clone()),
            evaluation: Some(self.evaluation.clone()),
            record: Some(self.record.clone()),
            ..Evidence::default()
        }
    }

    /// A part of it: identity, revocation, body.
    pub fn part(&self, identity: bool, revocation: bool, body: bool) -> Evidence {
        let all = self.evidence();
        Evidence {
            identity: all.identity.filter(|_| identity),
            keys_too_stale: identity && self.keys_too_stale,
            possession: None,
            revocation: all.revocation.filter(|_| revocation),
            body: all.body.filter(|_| body),
            evaluation: all.evaluation,
            record: all.record,
            ..Evidence::default()
        }
    }
}
