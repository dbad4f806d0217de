//! Upstreams that answer wrongly: what belongs to one connection or to the gateway stays away from the client, and no
//! answer spills into the next one.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;

use super::{Bench, exchange};
use crate::support::{Recorder, Signer};

/// An answer of the upstream's: its name, its bytes, the statuses that the client may see (0: none), whether the
/// connection ends behind it.
type Answer = (&'static str, &'static str, &'static [u16], bool);

#[rustfmt::skip]
const ANSWERS: &[Answer] = &[
    ("an honest one", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", &[200], false),
    ("101 that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsmuggled bytes", &[502], true),
    ("101 without an upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled", &[502], true),
    ("hop-by-hop headers", "HTTP/1.1 200 OK\r\nKeep-Alive: smuggled\r\n\
        Proxy-Authenticate: smuggled\r\nProxy-Connection: smuggled\r\nTE: smuggled\r\nTrailer: smuggled\r\nUpgrade: smuggled\r\nContent-Length: 2\r\n\r\n{}", &[200], false),
    ("a nominated header", "HTTP/1.1 200 OK\r\nConnection: X-Inner, keep-alive\r\nX-Inner: smuggled\r\nContent-Length: 2\r\n\r\n{}", &[200], false),
    ("the gateway's own headers", "HTTP/1.1 200 OK\r\nX-Wardgate-Decision: smuggled\r\nx-wardgate-anything: smuggled\r\nContent-Length: 2\r\n\r\n{}", &[200], false),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 10\r\n\r\n{}smuggled", &[502], true),
    ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 10\r\n\r\n{}smuggled", &[502], true),
    ("a length with a plus", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}smuggled", &[502], true),
    ("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}smuggled", &[502], true),
    ("length and coding", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", &[200, 502], false),
    ("more than its length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled", &[200], false),
    ("more than its last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled", &[200], false),
    ("a body behind 204", "HTTP/1.1 204 No Content\r\nContent-Length: 8\r\n\r\nsmuggled", &[204], false),
    ("a body behind 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 8\r\n\r\nsmuggled", &[304], false),
    ("a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Wardgate-Decision: smuggled\r\n\r\n", &[200], false),
    ("chunk extensions", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;smuggled\r\n{}\r\n0\r\n\r\n", &[200], false),
    ("a broken chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\nsmuggled", &[200, 502], true),
    ("a coding that nobody knows", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n8\r\nsmuggled\r\n0\r\n\r\n", &[502], true),
    ("two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", &[200, 502], false),
    ("a fold", "HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\nContent-Length: 2\r\n\r\n{}", &[200, 502], false),
    ("a space before a colon", "HTTP/1.1 200 OK\r\nX-Wardgate-Anything : smuggled\r\nContent-Length: 2\r\n\r\n{}", &[200, 502], false),
    ("a bare CR", "HTTP/1.1 200 OK\r\nX-A: b\rX-Wardgate-Decision: smuggled\r\nContent-Length: 2\r\n\r\n{}", &[502], true),
    ("a NUL", "HTTP/1.1 200 OK\r\nX-A: b\0smuggled\r\nContent-Length: 2\r\n\r\n{}", &[502], true),
    ("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 8\r\n\r\nsmuggled", &[502], true),
    ("a status that is none", "HTTP/1.1 abc OK\r\nContent-Length: 8\r\n\r\nsmuggled", &[502], true),
    ("status zero", "HTTP/1.1 000 OK\r\nContent-Length: 8\r\n\r\nsmuggled", &[502], true),
    ("another protocol", "ICY 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled", &[502], true),
    ("HTTP/0.9", "smuggled", &[502], true),
    ("interim answers first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\
        X-Wardgate-Decision: smuggled\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", &[200], false),
    ("only interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", &[502], true),
    ("a header that breaks off", "HTTP/1.1 200 OK\r\nX-A: smuggled", &[502], true),
];

fn start() -> Bench {
    let upstream = Recorder::behaving(Arc::new(|request, stream| {
        let at = request.values("x-answer").first().and_then(|at| at.parse::<usize>().ok());
        let (_, bytes, _, ends) = at.map_or(
            ("", "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"served\":true}", &[200][..], false),
            |at| ANSWERS[at],
        );
        stream.write_all(bytes.as_bytes()).is_ok() && !ends
    }));
    let signer = Signer::new();
    Bench::with(upstream, signer.jwks(), &signer.bearer("p1", "aal1", 30))
}

/// Asks for every answer in turn, and after each for an honest one.
fn run(request: &str) {
    let bench = start();
    let mut faults = Vec::new();
    for (at, (name, _, wanted, _)) in ANSWERS.iter().enumerate() {
        let ask = |extra: &str| bench.fill(request.replacen("\r\n", &format!("\r\n{extra}"), 1).as_bytes());
        let got = exchange::read(bench.gateway.address, &ask(&format!("X-Answer: {at}\r\n")), |_| false);
        let text = String::from_utf8_lossy(&got);
        let answers = exchange::split(&got, false);
        let status = got
            .strip_prefix(b"HTTP/1.1 ")
            .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok())
            .unwrap_or(0);
        let last = answers.last().map_or(status, |answer| answer.status);
        if !wanted.contains(&last) {
            faults.push(format!("{name}: wanted {wanted:?}, got {text:?}"));
        }
        if text.contains("smuggled") {
            faults.push(format!("{name}: the client got {text:?}"));
        }
        if answers.len() > 1
            || answers.iter().any(|answer| {
                answer.headers.iter().filter(|(name, _)| name == "x-wardgate-decision").count() != 1
            })
        {
            faults.push(format!("{name}: not one answer with one decision: {text:?}"));
        }
        let after = exchange::exchange(bench.gateway.address, &ask(""), 1);
        if after.len() != 1 || after[0].status != 200 || after[0].body != "{\"served\":true}" {
            faults.push(format!("{name}: spoilt the next answer: {after:?}"));
        }
    }
    assert!(faults.is_empty(), "{} answers, and these faults:\n{}", ANSWERS.len(), faults.join("\n"));
    let requests = bench.upstream.requests();
    let ids: HashSet<&str> =
        requests.iter().flat_map(|request| request.values("x-wardgate-decision")).collect();
    assert_eq!((ids.len(), bench.gateway.admitted_intents()), (2 * ANSWERS.len(), 2 * ANSWERS.len()));
    // What changes nothing may be sent again where a connection from the pool turned out to be dead.
    let most = if request.starts_with("GET") { 3 * ANSWERS.len() } else { 2 * ANSWERS.len() };
    assert!(requests.len() <= most, "{} requests for {} intents", requests.len(), ids.len());
}

#[test]
fn to_requests_that_are_streamed() {
    run(
        "GET /patients/p1/results/1 HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\nConnection: close\r\n\r\n",
    );
}

#[test]
fn to_requests_that_were_read() {
    run(
        "PUT /patients/p1/profile HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\nConnection: close\r\n\
        Content-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"language\":\"es\"}",
    );
}

#[test]
fn to_handshakes() {
    let ask = "GET /patients/p1/live HTTP/1.1\r\nHost: portal.example\r\nAuthorization: $TOKEN\r\n\
        Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (name, answer, taken) in [
        (
            "an honest one",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Wardgate-Anything: smuggled\r\n\r\nframes",
            true,
        ),
        (
            "to another protocol",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nsmuggled",
            false,
        ),
        ("to nothing", "HTTP/1.1 101 Switching Protocols\r\n\r\nsmuggled", false),
    ] {
        let upstream = Recorder::behaving(Arc::new(move |_, stream| {
            let _ = stream.write_all(answer.as_bytes());
            false
        }));
        let signer = Signer::new();
        let bench = Bench::with(upstream, signer.jwks(), &signer.bearer("p1", "aal1", 30));
        let got = exchange::read(bench.gateway.address, &bench.fill(ask.as_bytes()), |_| false);
        let text = String::from_utf8_lossy(&got);
        assert_eq!(
            (text.starts_with("HTTP/1.1 101 "), text.ends_with("frames")),
            (taken, taken),
            "{name}: {text:?}"
        );
        assert!(!text.contains("smuggled"), "{name}: {text:?}");
        assert_eq!((bench.upstream.count(), bench.gateway.admitted_intents()), (1, 1), "{name}");
    }
}
