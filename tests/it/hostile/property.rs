//! What the tables say of chosen requests, for generated ones: nothing arrives that was not admitted, nothing is
//! admitted that a plain second reading would not have let in, and what arrives is what was sent.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use serde_json::json;

use super::forge::Forge;
use super::{Bench, exchange};
use crate::support::upstream::Recorded;
use crate::support::{Recorder, http};

/// Requests are sent in batches, since the journal is read after each.
const BATCHES: u32 = 26;
const BATCH: usize = 16;

/// Requests that are let in as they stand: method, path, JSON body.
#[rustfmt::skip]
const HONEST: &[(&str, &str, &str)] = &[
    ("GET", "/", ""),
    ("GET", "/open/x", ""),
    ("POST", "/open/x", "{}"),
    ("GET", "/patients/p1/results/1", ""),
    ("GET", "/fhir/Patient/p1/%24everything", ""),
    ("POST", "/patients/p1/notes", "{}"),
    ("PUT", "/patients/p1/profile", BODIES[3]),
];
#[rustfmt::skip]
const METHODS: &[&str] = &["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT", "get", "GETX"];
#[rustfmt::skip]
const OTHER_PATHS: &[&str] = &["/admin/x", "/patients/p1", "/patients/p2/results/1", "/patients/p2/notes", "/fhir/Patient/p2/$everything", "/nowhere", "*"];
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "/open", "/admin", "/patients", "/p1", "/p2", "/results", "/notes", "/$everything", "/a", "a", "/..", "/.", "//", "/", "..", "%2e%2e", "%2f", "%2F", "%5c", "\\", ";", "/..;", "%3b", "%61",
    "%41", "%25", "%252e", "%00", "%0d%0a", "%c3%a9", "%c0%ae", "%ef%bc%8e", "%", "%zz", "#", "@", ":", "*", "$", "%24", "~", " ", "\t", "\u{e9}", "|", "<", "http://staff.example", "\0",
];
/// What would lead elsewhere if anything behind the gateway folded it.
#[rustfmt::skip]
const DETOURS: &[&str] = &[
    "/..", "/../../admin/x", "/%2e%2e/admin/x", "/%2E%2e/%2e%2E/admin/x", "/.", "/./", "/%2e", "//", "//admin/x", "/..;/admin/x", ";x=1", "/x;y", "%2f..%2f", "%2F", "%5c..%5c", "\\..\\", "%00", "%00.json",
    "%252e%252e", "%25", "#", "#/../admin", "%23", "%3f", "?x#y", " ", "/a b", "%0d%0aX-Remote-User:%20spoofed", "%c0%ae", "%ef%bc%8e%ef%bc%8e", "%61", "/%70", "%", "%zz", "%c2%85", "/",
];
#[rustfmt::skip]
const QUERIES: &[&str] = &["", "?", "?a=1", "?a=%41&a=2", "?_method=DELETE", "?access_token=x", "?a=/../admin", "?a=%00", "?a#b", "?a=\\", "??", "?a=|[]", "?a=%", "?next=http://x"];
#[rustfmt::skip]
const LINES: &[&str] = &[
    "X-Custom: 1", "X-Remote-User: spoofed", "x-wardgate-assertion: spoofed", "X_Remote_User: spoofed", "X-Forwarded-For: spoofed", "X-Forwarded-Host: spoofed", "Forwarded: for=spoofed",
    "X-Original-URL: /spoofed", "X-HTTP-Method-Override: DELETE", "Connection: X-Custom", "Connection: X-Remote-User", "Connection: X-Wardgate-Assertion", "Connection: Host", "TE: trailers",
    "Upgrade: websocket", "Upgrade: h2c", "Expect: 100-continue", "Content-Type: application/json", "Content-Type: application/x-www-form-urlencoded", "Host: staff.example", "X-A: b\r\n c",
    "X-A : b", "X-A: b\nX-B: c", "X-A: b\rX-B: c", "Cookie: a=1", "Authorization: Basic dTpw", "X-A: \0", "Content-Length: 0", "Accept: */*",
];
#[rustfmt::skip]
const BODIES: &[&str] = &["", "{}", "a=1&_method=DELETE", "{\"language\":\"es\"}", "{\"address\":\"x\"}", "GET /admin/smuggled HTTP/1.1\r\nHost: portal.example\r\n\r\n", "0\r\n\r\n"];

/// How the request says who asks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    Nobody,
    Patient,
    Another,
    Garbage,
    Expired,
    Unsigned,
}

/// How the request says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Framing {
    Nothing,
    Length,
    Short,
    Chunked,
    Both,
    Odd,
}

#[derive(Debug, Clone)]
struct Request {
    method: &'static str,
    path: String,
    query: &'static str,
    host: &'static str,
    who: Who,
    lines: Vec<&'static str>,
    framing: Framing,
    body: &'static str,
}

/// One thing about an honest request that is changed.
#[derive(Debug, Clone)]
enum Change {
    Method(&'static str),
    Path(String),
    Longer(String),
    Query(&'static str),
    Host(&'static str),
    Who(Who),
    Lines(Vec<&'static str>),
    Framing(Framing),
    Body(&'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let pieces = || prop::collection::vec(select(PIECES), 1..5).prop_map(|pieces| pieces.concat());
    prop_oneof![
        2 => select(METHODS).prop_map(Change::Method),
        1 => prop_oneof![select(OTHER_PATHS).prop_map(str::to_owned), pieces(), pieces().prop_map(|pieces| format!("/{pieces}"))].prop_map(Change::Path),
        2 => pieces().prop_map(Change::Longer),
        6 => select(DETOURS).prop_map(|detour| Change::Longer(detour.to_owned())),
        2 => select(QUERIES).prop_map(Change::Query),
        1 => select(&["staff.example", "PORTAL.EXAMPLE:80", "a/b", "a,b", ""][..]).prop_map(Change::Host),
        2 => select(&[Who::Nobody, Who::Another, Who::Garbage, Who::Expired, Who::Unsigned][..]).prop_map(Change::Who),
        4 => prop::collection::vec(select(LINES), 1..3).prop_map(Change::Lines),
        2 => select(&[Framing::Nothing, Framing::Length, Framing::Short, Framing::Chunked, Framing::Both, Framing::Odd][..]).prop_map(Change::Framing),
        2 => select(BODIES).prop_map(Change::Body),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    (select(HONEST), prop::collection::vec(change(), 0..3)).prop_map(|((method, path, body), changes)| {
        let framing = if body.is_empty() { Framing::Nothing } else { Framing::Length };
        let lines = if body.is_empty() { Vec::new() } else { vec!["Content-Type: application/json"] };
        let mut request = Request {
            method,
            path: path.to_owned(),
            query: "",
            host: "portal.example",
            who: Who::Patient,
            lines,
            framing,
            body,
        };
        for change in changes {
            match change {
                Change::Method(method) => request.method = method,
                Change::Path(path) => request.path = path,
                Change::Longer(pieces) => request.path.push_str(&pieces),
                Change::Query(query) => request.query = query,
                Change::Host(host) => request.host = host,
                Change::Who(who) => request.who = who,
                Change::Lines(lines) => request.lines.extend(lines),
                Change::Framing(framing) => request.framing = framing,
                Change::Body(body) => request.body = body,
            }
        }
        request
    })
}

impl Request {
    fn bytes(&self, forge: &Forge) -> Vec<u8> {
        let now = jiff::Timestamp::now().as_second();
        let token = match self.who {
            Who::Nobody => None,
            Who::Patient => Some(forge.with_claims(|_| {})),
            Who::Another => Some(forge.with_claims(|claims| claims["patient_id"] = "p2".into())),
            Who::Garbage => Some("e30.e30.e30".to_owned()),
            Who::Expired => Some(forge.with_claims(|claims| claims["exp"] = json!(now - 5))),
            Who::Unsigned => Some(format!("{}.", Forge::input("none"))),
        };
        let mut text = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.method,
            self.target(),
            self.host
        );
        if let Some(token) = token {
            text.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for line in &self.lines {
            text.push_str(&format!("{line}\r\n"));
        }
        let (body, length) = (self.body, self.body.len());
        let chunks = if body.is_empty() {
            "0\r\n\r\n".to_owned()
        } else {
            format!("{length:x}\r\n{body}\r\n0\r\n\r\n")
        };
        text.push_str(&match self.framing {
            Framing::Nothing => "\r\n".to_owned(),
            Framing::Length => format!("Content-Length: {length}\r\n\r\n{body}"),
            Framing::Short => format!("Content-Length: {}\r\n\r\n{body}", length / 2),
            Framing::Chunked => format!("Transfer-Encoding: chunked\r\n\r\n{chunks}"),
            Framing::Both => {
                format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
            }
            Framing::Odd => format!("Content-Length: +{length}\r\n\r\n{body}"),
        });
        text.into_bytes()
    }

    fn target(&self) -> String {
        format!("{}{}", self.path, self.query)
    }

    /// The template that a second, plainer reading finds, where it finds any and would let the request in.
    fn admissible(&self) -> Option<&'static str> {
        let target = self.target();
        let path = target.split('?').next().unwrap_or_default();
        let mut decoded = path.to_owned();
        // As often as any server might: nothing in it may ever become syntax.
        for _ in 0..4 {
            let again = percent_encoding::percent_decode_str(&decoded).decode_utf8().ok()?.into_owned();
            let odd = |letter: char| letter.is_control() || ";\\#%".contains(letter);
            let dots = again.split('/').any(|segment| segment == "." || segment == "..");
            if dots
                || again.contains(odd)
                || again.contains("//")
                || again.matches('/').count() != path.matches('/').count()
            {
                return None;
            }
            decoded = again;
        }
        let segments: Vec<&str> = decoded.strip_prefix('/')?.split('/').collect();
        let reads = ["GET", "HEAD"].contains(&self.method);
        let own = |patient: &str| self.who == Who::Patient && patient == "p1";
        if self.host.eq_ignore_ascii_case("staff.example") {
            return None;
        }
        match segments.as_slice() {
            [""] if reads => Some("/"),
            ["open", ..] if reads || ["POST", "OPTIONS"].contains(&self.method) => Some("/open/**"),
            ["patients", patient, "results", ..] if reads && own(patient) => {
                Some("/patients/{patient}/results/**")
            }
            ["fhir", "Patient", patient, "$everything"] if reads && own(patient) => {
                Some("/fhir/Patient/{patient}/$everything")
            }
            ["patients", patient, "notes"] if self.method == "POST" && own(patient) => {
                Some("/patients/{patient}/notes")
            }
            ["patients", patient, "profile"]
                if self.method == "PUT" && own(patient) && self.body == BODIES[3] =>
            {
                Some("/patients/{patient}/profile")
            }
            _ => None,
        }
    }
}

/// Where the bench stands, between batches.
struct Watch {
    arrived: usize,
    records: usize,
    forwarded: usize,
}

#[test]
fn generated_requests_arrive_as_sent_or_not_at_all() {
    let forge = Forge::new();
    let bench = Bench::with(Recorder::start(), &forge.jwks(), "");
    let watch =
        std::cell::RefCell::new(Watch { arrived: 0, records: bench.gateway.audit().len(), forwarded: 0 });
    let config =
        Config { cases: BATCHES, failure_persistence: None, max_shrink_iters: 64, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&prop::collection::vec(request(), BATCH), |batch| {
        check(&bench, &forge, &batch, &mut watch.borrow_mut()).map_err(TestCaseError::fail)
    });
    if let Err(TestError::Fail(reason, _) | TestError::Abort(reason)) = outcome {
        // The reason names the one request; the whole batch would only bury it.
        panic!("{reason}");
    }
    let forwarded = watch.borrow().forwarded;
    let all = BATCHES as usize * BATCH;
    assert!(
        (all / 10..all / 2).contains(&forwarded),
        "{forwarded} of {all} were forwarded: the generator is lopsided"
    );
    assert_eq!(bench.upstream.count(), bench.gateway.admitted_intents());
}

fn check(bench: &Bench, forge: &Forge, batch: &[Request], watch: &mut Watch) -> Result<(), String> {
    let mut sent = Vec::new();
    for request in batch {
        let answers = exchange::exchange(bench.gateway.address, &request.bytes(forge), 1);
        if answers.len() != 1 {
            return Err(format!("{} answers to {request:?}", answers.len()));
        }
        sent.push((request, answers));
    }
    let records = bench.gateway.audit();
    let all = bench.upstream.requests();
    let (new, arrived) = (&records[watch.records..], &all[watch.arrived..]);
    (watch.records, watch.arrived) = (records.len(), all.len());
    watch.forwarded += arrived.len();
    let of_requests = new
        .iter()
        .filter(|record| {
            ["intent", "decision", "unparsed"].contains(&record["event"].as_str().unwrap_or_default())
        })
        .count();
    if of_requests != batch.len() {
        return Err(format!("{} requests left {of_requests} records", batch.len()));
    }
    let intents = new.iter().filter(|record| record["event"] == "intent").count();
    if intents != arrived.len() {
        return Err(format!("{intents} intents, {} upstream requests", arrived.len()));
    }
    for request in arrived {
        let decision = request.values("x-wardgate-decision").concat();
        let asked =
            sent.iter().find(|(_, answers)| answers[0].header("x-wardgate-decision") == Some(&decision));
        let (from, answers) = asked.ok_or(format!("nobody asked for {request:?}"))?;
        let intent =
            new.iter().find(|record| record["event"] == "intent" && record["decision"] == decision.as_str());
        let intent = intent.ok_or("no intent")?;
        judge(from, &answers[0], request, intent["template"].as_str().unwrap_or_default())
            .map_err(|why| format!("{why}\n  sent {from:?}\n  arrived {request:?}"))?;
    }
    Ok(())
}

fn judge(from: &Request, answer: &http::Answer, request: &Recorded, template: &str) -> Result<(), String> {
    let must = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    must(request.line == format!("{} {} HTTP/1.1", from.method, from.target()), "the request line changed")?;
    must(
        from.admissible() == Some(template),
        &format!("a plain reading says {:?}, the gateway {template:?}", from.admissible()),
    )?;
    let protected = template != "/" && template != "/open/**";
    let identities: &[&str] = if protected { &["patients:user-p1"] } else { &[] };
    must(request.values("x-remote-user") == identities, "the identity is not the gateway's")?;
    must(
        request.values("x-wardgate-assertion").len() == identities.len(),
        "the assertion is not the gateway's",
    )?;
    must(request.values("x-forwarded-for") == ["127.0.0.1"], "the address is not the gateway's")?;
    must(request.values("authorization").is_empty(), "the token went upstream")?;
    must(
        !request.headers.iter().any(|(name, value)| name.contains('_') || value.contains("spoofed")),
        "a forged header went upstream",
    )?;
    must(
        [Framing::Nothing, Framing::Length, Framing::Short, Framing::Chunked].contains(&from.framing),
        "the framing has two readings",
    )?;
    let body = match from.framing {
        Framing::Length | Framing::Chunked => from.body,
        Framing::Short => &from.body[..from.body.len() / 2],
        _ => "",
    };
    must(answer.status != 200 || exchange::dechunked(request) == body.as_bytes(), "the body changed")
}
