//! Frames that no client library lets a client send, made by another library: `hyperframe`, under Python.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::h2::Bench;

/// `PROTOCOL_ERROR` and `ENHANCE_YOUR_CALM` (RFC 9113 §7).
const PROTOCOL_ERROR: u64 = 1;
const ENHANCE_YOUR_CALM: u64 = 11;

/// Names and values as they go out.
type Section = Vec<(String, String)>;

/// Sends these steps on one connection; see `frames.py`.
fn exchange(bench: &Bench, steps: Vec<Value>) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new(root.join(".tools/h2/bin/python"))
        .arg(root.join("tests/it/edge/frames.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python with hyperframe: `scripts/setup.sh test` installs it");
    let task = json!({ "address": bench.gateway.address.to_string(), "do": steps }).to_string();
    child.stdin.take().expect("piped").write_all(task.as_bytes()).expect("read");
    let output = child.wait_with_output().expect("it ends");
    serde_json::from_slice(&output.stdout).expect("an answer")
}

/// The pseudo-headers of a GET, then these headers.
fn request(path: &str, more: &[(&str, &str)]) -> Section {
    let pseudo =
        [(":method", "GET"), (":scheme", "https"), (":authority", "portal.example"), (":path", path)];
    pseudo.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The same with one pseudo-header changed, or taken out.
fn with(name: &str, value: Option<&str>) -> Section {
    let mut headers = request("/open/x", &[]);
    match value {
        Some(value) => {
            headers.iter_mut().filter(|(known, _)| known == name).for_each(|(_, old)| *old = value.to_owned())
        }
        None => headers.retain(|(known, _)| known != name),
    }
    headers
}

#[test]
fn malformed_requests_are_refused_and_counted() {
    let bench = Bench::start();
    let reset = json!({ "reset": PROTOCOL_ERROR });
    let status = |status: u16| json!({ "status": status });
    let open = |more: &[(&str, &str)]| request("/open/x", more);
    let mut late = open(&[("x-a", "b")]);
    late.rotate_right(1);
    let mut twice = with("none", None);
    twice.insert(0, (":method".to_owned(), "POST".to_owned()));
    let mut protocol = with(":method", Some("CONNECT"));
    protocol.push((":protocol".to_owned(), "websocket".to_owned()));
    let cases: Vec<(&str, Section, Value)> = vec![
        ("connection", open(&[("connection", "close")]), reset.clone()),
        ("connection names identity", open(&[("connection", "x-remote-user")]), reset.clone()),
        ("keep-alive", open(&[("keep-alive", "5")]), reset.clone()),
        ("proxy-connection", open(&[("proxy-connection", "close")]), reset.clone()),
        ("upgrade", open(&[("upgrade", "websocket")]), reset.clone()),
        ("transfer-encoding", open(&[("transfer-encoding", "chunked")]), reset.clone()),
        ("te", open(&[("te", "gzip")]), reset.clone()),
        ("capitals", open(&[("X-Remote-User", "admin")]), reset.clone()),
        ("a line break in a value", open(&[("x-a", "b\r\nx-remote-user: admin")]), reset.clone()),
        ("NUL in a value", open(&[("x-a", "b\0")]), reset.clone()),
        ("a colon in a name", open(&[("x:a", "b")]), reset.clone()),
        ("a pseudo-header behind others", late, reset.clone()),
        ("an unknown pseudo-header", open(&[(":user", "admin")]), reset.clone()),
        ("two methods", twice, reset.clone()),
        ("no method", with(":method", None), reset.clone()),
        ("no path", with(":path", None), reset.clone()),
        ("an empty path", with(":path", Some("")), reset.clone()),
        ("a blank in the path", with(":path", Some("/open/x HTTP/1.1")), reset.clone()),
        ("a line break in the path", with(":path", Some("/open/x\r\nx-a: b")), reset.clone()),
        ("no slash", with(":path", Some("admin")), reset.clone()),
        ("another address", with(":path", Some("http://staff.example/open/x")), reset.clone()),
        ("a WebSocket by CONNECT", protocol, reset.clone()),
        ("no authority", with(":authority", None), status(400)),
        ("user information", with(":authority", Some("admin@portal.example")), status(400)),
        ("a path in the authority", with(":authority", Some("portal.example/x")), reset.clone()),
        ("another host", open(&[("host", "staff.example")]), status(400)),
        ("a question only", with(":path", Some("?x=1")), status(400)),
        ("a star", with(":path", Some("*")), status(400)),
    ];
    for (name, headers, wanted) in &cases {
        let seen = exchange(&bench, vec![json!({ "stream": 1, "headers": headers })]);
        // Names that are none end the connection: whoever can't encode them can't be followed further.
        let gone = *wanted == reset && seen["goaway"] == PROTOCOL_ERROR;
        assert!(seen["streams"]["1"] == *wanted || gone, "{name}: wanted {wanted}, got {seen}");
    }
    assert_eq!(bench.upstream.count(), 0);
    // `a star` and `a question only` have decisions; all others were refused by the parser, and each is counted.
    let decided =
        bench.gateway.metric(r#"wardgate_unreadable_requests_total{reason="target_not_origin_form"}"#);
    crate::support::eventually("each is counted", std::time::Duration::from_secs(20), || {
        bench.gateway.metric(r#"wardgate_unreadable_requests_total{reason="unparsed"}"#) as usize
            + decided as usize
            >= cases.len()
    });

    // What is about the server as a whole, what is cut off before it is read, and a host without an authority.
    let options =
        vec![(":method", "OPTIONS"), (":scheme", "https"), (":authority", "portal.example"), (":path", "*")];
    let fragment = with(":path", Some("/open/x#/../admin"));
    let mut host = with(":authority", None);
    host.push(("host".to_owned(), "portal.example".to_owned()));
    let seen = exchange(
        &bench,
        vec![
            json!({ "stream": 1, "headers": options }),
            json!({ "stream": 3, "headers": fragment }),
            json!({ "stream": 5, "headers": host }),
        ],
    );
    assert_eq!(seen["streams"], json!({ "1": status(204), "3": status(200), "5": status(200) }), "{seen}");
    let arrived = bench.upstream.requests();
    assert_eq!(arrived.len(), 2);
    for request in &arrived {
        assert_eq!(request.line, "GET /open/x HTTP/1.1");
        assert_eq!(request.values("host"), ["portal.example"]);
    }
    bench.reconcile();
}

#[test]
fn floods_of_frames_end_in_goaway() {
    let bench = Bench::start();
    let open = json!({ "stream": 1, "headers": request("/open/x", &[]), "more": true });
    let mut post = request("/open/x", &[]);
    post[0].1 = "POST".to_owned();
    for (name, steps) in [
        (
            "endless header section",
            vec![open.clone(), json!({ "stream": 1, "continuation": 100_000, "bytes": 100 })],
        ),
        ("empty continuations", vec![open, json!({ "stream": 1, "continuation": 100_000, "bytes": 0 })]),
        (
            "empty data",
            vec![
                json!({ "stream": 1, "headers": post, "end": false }),
                json!({ "stream": 1, "data": 100_000, "bytes": 0 }),
            ],
        ),
    ] {
        let seen = exchange(&bench, steps);
        let calm = || bench.gateway.metric(r#"wardgate_http2_goaways_total{code="enhance_your_calm"}"#);
        // Sometimes the socket is gone before its last words are read: the metric has them.
        assert!(seen["goaway"].is_null() || seen["goaway"] == ENHANCE_YOUR_CALM, "{name}: {seen}");
        crate::support::eventually(name, std::time::Duration::from_secs(20), || calm() >= 1.0);
    }
    assert_eq!(bench.gateway.metric(r#"wardgate_http2_goaways_total{code="enhance_your_calm"}"#), 3.0);
    assert!(bench.upstream.count() <= 1);
    assert_eq!(bench.gateway.telemetry_page("/healthz").status, 200);
}
