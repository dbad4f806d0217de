//! What is done with each fuzzed input, and what must hold of it. One function for each parser on a request's path.
//!
//! Without libFuzzer, so that `tests/corpus.rs` replays the corpora with the ordinary tests.

use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use ipnet::IpNet;
use serde_json::{Value, json};
use wardgate::config;
use wardgate::identity::dpop::{Asked, KeyProof};
use wardgate::identity::jwt::UnverifiedJwt;
use wardgate::policy::Condition;
use wardgate::policy::condition::Inputs;
use wardgate::request::PathReading;
use wardgate::request::body::{self, BodyFacts};
use wardgate::request::client;
use wardgate::request::credentials::{Presented, presented};
use wardgate::request::host::Host;
use wardgate::request::media::ContentType;
use wardgate::request::shown::{MAX_LETTERS, MAX_ROWS, ShownValue, shown};
use wardgate::request::target::{MAX_SEGMENTS, Target};

/// A request target.
pub fn target(input: &[u8]) {
    let Ok(target) = Target::receive(input) else {
        assert!(Target::parse(input).is_err(), "received by nobody, but parsed");
        return;
    };
    assert_eq!(target.raw().as_bytes(), input, "what is forwarded is what came");
    let raw_path = target.raw().split('?').next().unwrap_or_default();
    let strict = target.path_as(PathReading::STRICT);
    assert_eq!(Target::parse(input).is_ok(), strict.is_ok());
    for bits in 0..8u8 {
        let reading = PathReading {
            ignores_case: bits & 1 != 0,
            drops_parameters: bits & 2 != 0,
            latin1: bits & 4 != 0,
        };
        let Ok(path) = target.path_as(reading) else { continue };
        assert!(path.starts_with('/') && path.split('/').count() <= MAX_SEGMENTS + 1);
        let mut segments = path[1..].split('/').rev();
        let last = segments.next().unwrap_or_default();
        for segment in segments.chain([last]) {
            assert!(segment != "." && segment != "..", "{raw_path} reads {path}");
        }
        assert!(!path.contains("//") && !path.contains(['\\', '\0', '\r', '\n']), "{raw_path} reads {path}");
        assert!(!reading.drops_parameters || !path.contains(';'), "{raw_path} reads {path}");
        let folded = reading.fold(path.clone()).into_owned();
        assert_eq!(reading.fold(folded.as_str().into()), folded, "folding again changes nothing");
        assert_eq!(path.split('/').count(), folded.split('/').count());
        if !raw_path.contains(['%', ';']) {
            assert_eq!(path, raw_path, "plain bytes are their own reading");
        }
        if let (Ok(strict), false) = (&strict, reading.latin1) {
            assert_eq!(strict, &path, "a relaxation changes nothing where it is not needed");
        }
    }
    let _ = target.query_once("patient");
}

/// A `Host` field value.
pub fn host(input: &[u8]) {
    if let Ok(host) = Host::parse(input) {
        let name = host.as_str();
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase() || b"/@?# \\".contains(&byte)), "{name}");
        assert_eq!(Host::parse(name.as_bytes()).as_ref(), Ok(&host), "its own name means the same host");
        assert!(name.len() <= input.len());
    }
}

/// A chain of `X-Forwarded-For` lines; the first byte says whether the peer is a trusted proxy.
pub fn forwarded(input: &[u8]) {
    static TRUSTED: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
        ["10.40.0.7/32", "10.40.1.0/24", "fd00::/8"].iter().filter_map(|text| text.parse().ok()).collect()
    });
    let Some((first, rest)) = input.split_first() else { return };
    let trusted = first % 2 == 0;
    let peer: IpAddr = if trusted { [10, 40, 0, 7].into() } else { [192, 0, 2, 9].into() };
    let mut headers = HeaderMap::new();
    for line in rest.split(|byte| *byte == b'\n').take(64) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("x-forwarded-for", value);
        }
    }
    let found = client::address(Some(peer), &headers, &TRUSTED);
    let is_proxy = |address: &IpAddr| TRUSTED.iter().any(|network| network.contains(address));
    match found {
        _ if !trusted => assert_eq!(found, Some(peer), "who is not trusted speaks for nobody"),
        Some(address) => assert!(!is_proxy(&address), "a proxy is nobody's client"),
        None => {}
    }
}

/// An `Authorization` value, and the token in it or the input as a token.
pub fn token(input: &[u8]) {
    let Ok(target) = Target::parse(b"/") else { return };
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(input) {
        headers.insert(header::AUTHORIZATION, value);
    }
    if let Presented::Bearer(token) = presented(&headers, &target) {
        assert!(!token.as_str().is_empty() && token.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!format!("{token:?}").contains(token.as_str()) || "Token(hidden)".contains(token.as_str()));
        unverified(token.as_str());
    }
    if let Ok(text) = std::str::from_utf8(input) {
        unverified(text);
    }
}

fn unverified(token: &str) {
    if UnverifiedJwt::parse(token).is_ok() {
        assert_eq!(token.split('.').count(), 3);
        assert!(token.is_ascii(), "base64url has one spelling");
    }
}

/// A condition in the first line, the body as JSON in the rest.
pub fn condition(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (source, body) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(condition) = Condition::compile(source) else { return };
    // No body is null, one that can't be read is none at all.
    let body = if body.is_empty() {
        Some(Value::Null)
    } else {
        wardgate::request::json::parse(body.as_bytes()).ok()
    };
    let subject = json!({ "id": "someone", "issuer": "patients", "client": null, "caller": "person", "roles": ["nurse"],
        "scopes": [], "patient": "p1", "methods": ["pwd"], "level": "aal1", "claims": { "age": 7, "tags": ["a"] } });
    let request = json!({ "method": "POST", "host": "portal", "path": "/patients/p1",
        "parameters": { "patient": "p1" }, "query": { "q": "1" } });
    let inputs = Inputs::new(subject, request, body, false);
    let first = condition.holds(&inputs);
    assert_eq!(first, condition.holds(&inputs), "the same question has the same answer");
}

/// A `Content-Type` in the first line, the body in the rest: what is read of it, and what people are shown of it.
pub fn body(input: &[u8]) {
    let at = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (kind, body) = (&input[..at], input.get(at + 1..).unwrap_or_default());
    let media = ContentType::read(Some(kind)).media;
    if let Some(facts) = BodyFacts::read(media, body) {
        for name in facts.field_names().unwrap_or_default() {
            assert!(facts.every_name().contains(&name), "a field that the search for methods does not see");
        }
        if facts.hides_method() {
            assert!(body::hides_method(media, body), "what one reading finds, the search finds");
        }
    }
    let rows = shown(std::str::from_utf8(kind).ok(), body);
    assert!(rows.len() <= MAX_ROWS + 1);
    for row in rows {
        let text = match &row.value {
            ShownValue::Text(text) => text,
            ShownValue::File { name, bytes } => {
                assert!(*bytes <= body.len());
                name
            }
            ShownValue::Hidden | ShownValue::More(_) | ShownValue::Unread => continue,
        };
        for text in [&row.name, text] {
            assert!(text.chars().count() <= MAX_LETTERS + 1);
            assert!(
                !text.chars().any(|letter| letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}'))
            );
        }
    }
}

/// A DPoP proof, as three parts that are encoded here: else hardly an input gets past base64url.
pub fn proof(input: &[u8]) {
    let asked = Asked {
        method: "GET",
        scheme: "https",
        host: "portal.example",
        port: None,
        path: "/patients/p1/results",
        token: "t",
        now: 1_700_000_000,
    };
    if let Ok(text) = std::str::from_utf8(input) {
        assert!(KeyProof::verify(text, &asked).is_err(), "nobody guesses a signature");
    }
    let parts: Vec<String> =
        input.split(|byte| *byte == b'\n').map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
    assert!(KeyProof::verify(&parts.join("."), &asked).is_err(), "nobody guesses a signature");
}

/// A configuration.
pub fn config(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match config::load("gateway.yaml", text, Path::new("/nonexistent")) {
        Ok((compiled, warnings)) => {
            assert!(
                compiled.policy.routes.iter().all(|route| route.upstream < compiled.policy.upstreams.len())
            );
            warnings.iter().for_each(|warning| drop(warning.to_string()));
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "a refusal says why");
            errors.iter().for_each(|error| drop(error.to_string()));
        }
    }
}
