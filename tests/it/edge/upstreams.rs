//! Several endpoints behind one upstream: who serves, who is left out, what is sent again, and how long it may take.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::backends::{
    Named, ROUTES, answer_h2, answer_h2_once, ask, ask_for_websocket, gateway, read_head, serve_async, setup,
};
use crate::support::{Connection, Gateway, Recorder, Signer, eventually, free_address, http, wire};

const LIMIT: Duration = Duration::from_secs(10);

fn three() -> [Named; 3] {
    [Named::start("a"), Named::start("b"), Named::start("c")]
}

fn endpoints(named: &[Named]) -> String {
    let list: Vec<String> = named.iter().map(|named| format!("\"{}\"", named.address)).collect();
    format!("[{}]", list.join(", "))
}

fn names(gateway: &Gateway, count: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..count {
        let answer = ask(gateway, "GET", "/r/x", "");
        assert_eq!(answer.status, 200, "{answer:?}");
        *counts.entry(answer.body).or_default() += 1;
    }
    counts
}

fn healthy(gateway: &Gateway, named: &Named) -> f64 {
    let endpoint = named.address;
    gateway.metric(&format!(r#"wardgate_upstream_endpoint_healthy{{endpoint="{endpoint}",upstream="app"}}"#))
}

#[test]
fn each_endpoint_gets_its_turn() {
    let named = three();
    let gateway = gateway(&format!("  app: {{ endpoints: {} }}", endpoints(&named)));
    let counts = names(&gateway, 30);
    assert_eq!([counts["a"], counts["b"], counts["c"]], [10, 10, 10]);
    assert!(named.iter().all(|named| healthy(&gateway, named) == 1.0));
}

#[test]
fn a_busy_endpoint_gets_less() {
    let named = three();
    let gateway =
        gateway(&format!("  app: {{ endpoints: {}, balance: least_connections }}", endpoints(&named)));
    let address = gateway.address;
    let slow = std::thread::spawn(move || http::get(address, "/r/slow").expect("an answer").body);
    eventually("one is busy", LIMIT, || named.iter().map(Named::served).sum::<usize>() == 1);
    let busy = ["a", "b", "c"][named.iter().position(|named| named.served() == 1).expect("one")];
    let counts = names(&gateway, 12);
    assert_eq!((counts.get(busy), counts.len()), (None, 2), "{counts:?}");
    assert_eq!(slow.join().expect("done"), busy);
}

#[test]
fn a_subject_stays_with_one_endpoint() {
    let mut named = three();
    let signer = Signer::new();
    let upstreams = format!(
        "  app: {{ endpoints: {}, balance: consistent_hash, timeouts: {{ connect: 1s, read: 5s }} }}",
        endpoints(&named)
    );
    let gateway = setup(&upstreams, ROUTES, &signer, |_| ()).start();
    let place = |patient: &str| {
        let token = signer.bearer(patient, "aal1", 5);
        let target = format!("/patients/{patient}/notes");
        http::send(gateway.address, "GET", &target, &[("Authorization", &token)], b"")
            .expect("an answer")
            .body
    };
    let patients: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    let before: Vec<String> = patients.iter().map(|patient| place(patient)).collect();
    assert!(before.iter().any(|name| *name != before[0]), "all are with {}", before[0]);
    assert_eq!(before, patients.iter().map(|patient| place(patient)).collect::<Vec<_>>());
    named[0].stop();
    for (patient, before) in patients.iter().zip(&before) {
        let now = place(patient);
        assert!(if before == "a" { now != "a" } else { now == *before }, "{patient}: {before} then {now}");
    }
}

#[test]
fn an_endpoint_that_dies_is_left_out_and_comes_back() {
    let mut named = three();
    let gateway = gateway(&format!(
        "  app: {{ endpoints: {}, ejection: {{ after: 3, time: 1s, max_time: 2s }} }}",
        endpoints(&named)
    ));
    assert_eq!(names(&gateway, 6).len(), 3);
    named[1].stop();
    // Nobody notices: nothing was sent to it, so each request goes to another at once.
    assert_eq!(names(&gateway, 20).len(), 2);
    assert_eq!(healthy(&gateway, &named[1]), 0.0);
    assert!(gateway.metric("wardgate_upstream_ejections_total") >= 1.0);
    let connects = || gateway.metric(r#"wardgate_upstream_retries_total{kind="connect""#);
    assert!(connects() >= 3.0);
    assert_eq!(
        ask(&gateway, "POST", "/w/x", "text").status,
        200,
        "nothing was sent, so nothing is sent again"
    );
    named[1].restart();
    eventually("it serves again", LIMIT, || names(&gateway, 3).contains_key("b"));
    assert_eq!(healthy(&gateway, &named[1]), 1.0);
}

#[test]
fn health_checks_decide_who_serves() {
    let named = three();
    let gateway = gateway(&format!(
        "  app: {{ endpoints: {}, health_check: {{ path: /health, interval: 100ms, timeout: 1s, healthy_after: 2, unhealthy_after: 2 }} }}",
        endpoints(&named)
    ));
    assert_eq!(names(&gateway, 9).len(), 3);
    let set = |at: usize, healthy: bool| named[at].healthy.store(healthy, Ordering::SeqCst);
    set(2, false);
    eventually("it is left out", LIMIT, || healthy(&gateway, &named[2]) == 0.0);
    let counts = names(&gateway, 10);
    assert_eq!((counts.len(), counts.get("c")), (2, None));
    set(0, false);
    set(1, false);
    eventually("nobody is left", LIMIT, || ask(&gateway, "GET", "/r/x", "").status == 503);
    let served: usize = named.iter().map(Named::served).sum();
    let answer = ask(&gateway, "POST", "/w/x", "text");
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    assert_eq!(answer.json()["type"], "urn:wardgate:problem:upstream_unavailable");
    assert_eq!(answer.header("proxy-status"), Some("gateway; error=destination_unavailable"));
    assert_eq!(named.iter().map(Named::served).sum::<usize>(), served, "nobody was asked");
    let ready = gateway.telemetry_page("/readyz");
    assert_eq!(
        (ready.status, ready.json()["notices"][0].as_str()),
        (200, Some("upstream `app` has no healthy endpoint"))
    );
    let records = gateway.audit();
    let outcome =
        records.iter().find(|record| record["decision"] == answer.decision() && record["event"] == "outcome");
    assert_eq!(outcome.expect("an outcome")["result"], "upstream_unreachable");
    set(1, true);
    eventually("it serves again", LIMIT, || ask(&gateway, "GET", "/r/x", "").body == "b");
    assert_eq!(gateway.telemetry_page("/readyz").json()["notices"][0].as_str(), None);
}

#[test]
fn a_name_is_looked_up_and_all_its_addresses_are_used() {
    // `localhost` has an address of IPv6 too on most systems; nobody listens there, and nobody notices.
    let named = Named::start("a");
    let port = named.address.port();
    let gateway = gateway(&format!(
        "  app: {{ endpoints: [\"localhost:{port}\"] }}\n  gone: {{ endpoints: [\"gone.invalid:80\"] }}"
    ));
    assert_eq!(names(&gateway, 8)["a"], 8);
    assert_eq!(ask(&gateway, "POST", "/w/x", "text").status, 200);
    eventually("the look-up failed", LIMIT, || {
        gateway.metric(r#"wardgate_upstream_lookups_total{result="failed",upstream="gone"}"#) >= 1.0
    });
}

#[test]
fn unix_sockets_serve() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                while let Some(head) = read_head(&mut stream) {
                    let line = head.lines().next().unwrap_or_default().to_owned();
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{line}", line.len());
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let signer = Signer::new();
    let upstreams =
        format!("  app: {{ endpoints: [\"unix:{}\"], health_check: {{ path: /health }} }}", path.display());
    let gateway = setup(&upstreams, ROUTES, &signer, |_| ()).start();
    assert_eq!(ask(&gateway, "GET", "/r/x", "").body, "GET /r/x HTTP/1.1");
    // A handshake, which it declines, goes there by a connection of its own.
    assert_eq!(ask_for_websocket(&gateway, "/ws").text(), "GET /ws HTTP/1.1");
    // This one is read first, and sent on the other way.
    let token = signer.bearer("p1", "aal1", 5);
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    let answer =
        http::send(gateway.address, "POST", "/patients/p1/notes", &headers, b"a=b").expect("an answer");
    assert_eq!(answer.body, "POST /patients/p1/notes HTTP/1.1");
}

/// Cuts so many connections after a request came, then answers; counts the requests.
fn cutting(times: usize) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            if read_head(&mut stream).is_some() && counted.fetch_add(1, Ordering::SeqCst) >= times {
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            }
        }
    });
    (address, count)
}

#[test]
fn only_what_may_be_is_sent_again_and_no_more_often_than_allowed() {
    for (retries, method, body, cuts, status, sent) in [
        ("", "GET", "", 9, 502, 1),
        ("retries: { max: 2 },", "GET", "", 2, 200, 3),
        ("retries: { max: 2 },", "GET", "", 9, 502, 3),
        ("retries: { max: 2 },", "DELETE", "", 9, 502, 1),
        ("retries: { max: 1, methods: [DELETE] },", "DELETE", "", 1, 200, 2),
        ("retries: { max: 2, methods: [PUT] },", "PUT", "text", 9, 502, 1),
        ("retries: { max: 0 },", "GET", "", 9, 502, 1),
        ("retries: { max: 5, methods: [GET, PUT, DELETE] },", "POST", "text", 9, 502, 1),
    ] {
        let (address, count) = cutting(cuts);
        let gateway = gateway(&format!("  app: {{ {retries} endpoints: [\"{address}\"] }}"));
        let target = if method == "POST" { "/w/x" } else { "/r/x" };
        let answer = ask(&gateway, method, target, body);
        let case = format!("{retries} {method}");
        assert_eq!((answer.status, count.load(Ordering::SeqCst)), (status, sent), "{case}");
        let again = gateway.metric(r#"wardgate_upstream_retries_total{kind="resend""#);
        assert_eq!(again, f64::from(u32::try_from(sent - 1).expect("small")), "{case}");
    }
}

#[test]
fn what_cost_a_proof_is_not_sent_again() {
    let (address, count) = cutting(9);
    let signer = Signer::new();
    let upstreams =
        format!("  app: {{ retries: {{ max: 3, methods: [GET, PUT] }}, endpoints: [\"{address}\"] }}");
    let gateway = setup(&upstreams, ROUTES, &signer, |_| ()).start();
    gateway.wait_until_proofs_count();
    let token = signer.bearer("p1", "aal2", 0);
    let answer = http::send(gateway.address, "PUT", "/patients/p1/export", &[("Authorization", &token)], b"");
    assert_eq!(answer.expect("an answer").status, 502);
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[test]
fn a_retry_goes_to_another_endpoint() {
    let (address, count) = cutting(99);
    let named = Named::start("a");
    let gateway = gateway(&format!(
        "  app: {{ retries: {{ max: 1 }}, endpoints: [\"{address}\", \"{}\"] }}",
        named.address
    ));
    assert_eq!(names(&gateway, 10)["a"], 10);
    assert!((1..=5).contains(&count.load(Ordering::SeqCst)));
}

#[test]
fn a_route_may_take_its_own_time() {
    let named = Named::start("a");
    let routes = r#"
  - { id: read, match: { path: "/r/**", methods: [GET] }, upstream: app, access: public }
  - { id: report, match: { path: "/report/**", methods: [GET] }, upstream: app, access: public, timeouts: { read: 5s } }
"#;
    let upstreams =
        format!("  app: {{ endpoints: [\"{}\"], timeouts: {{ connect: 1s, read: 500ms }} }}", named.address);
    let gateway = setup(&upstreams, routes, &Signer::new(), |_| ()).start();
    let answer = ask(&gateway, "GET", "/r/slow", "");
    assert_eq!(
        (answer.status, answer.json()["type"].as_str()),
        (504, Some("urn:wardgate:problem:upstream_timeout"))
    );
    assert_eq!(ask(&gateway, "GET", "/report/slow", "").status, 200);
}

#[test]
fn events_may_come_for_longer_than_one_may_take() {
    let upstream = Recorder::behaving(Arc::new(|_, stream| {
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(300));
            if stream.write_all(b"8\r\ndata: x\n\r\n").is_err() {
                return false;
            }
        }
        std::thread::sleep(Duration::from_secs(5));
        false
    }));
    let gateway = gateway(&format!(
        "  app: {{ endpoints: [\"{}\"], timeouts: {{ connect: 1s, read: 900ms }} }}",
        upstream.address
    ));
    let mut connection = Connection::open(gateway.address).expect("a connection");
    let request = wire::head("GET", "/r/events", &[], None);
    connection.stream.write_all(request.as_bytes()).expect("sent");
    let (began, head) = (Instant::now(), connection.answer_head().expect("a head"));
    let mut got = Vec::new();
    let end = connection.body(&head, |bytes| got.extend_from_slice(bytes));
    assert!(end.is_err(), "silence ends it, visibly");
    assert_eq!(String::from_utf8_lossy(&got).matches("data: x").count(), 8);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_handshake_that_is_not_answered_ends_in_time() {
    let heads = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&heads);
    let silent = Recorder::behaving(Arc::new(move |_, _| {
        *counted.lock().expect("whole") += 1;
        std::thread::sleep(Duration::from_secs(8));
        false
    }));
    let upstreams =
        format!("  app: {{ endpoints: [\"{}\"], timeouts: {{ connect: 1s, read: 700ms }} }}", silent.address);
    let gateway = setup(&upstreams, ROUTES, &Signer::new(), |_| ()).start();
    let began = Instant::now();
    let answer = ask_for_websocket(&gateway, "/ws");
    assert_eq!(
        (answer.status, answer.json()["type"].as_str()),
        (504, Some("urn:wardgate:problem:upstream_timeout"))
    );
    assert!((Duration::from_millis(600)..Duration::from_secs(5)).contains(&began.elapsed()));
    assert_eq!(*heads.lock().expect("whole"), 1, "it was asked once");
    eventually("nothing is left", LIMIT, || gateway.metric("wardgate_requests_in_flight") == 0.0);
}

#[test]
fn http2_without_tls_is_spoken_by_prior_knowledge() {
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let address = serve_async(move |stream| {
        let served = Arc::clone(&counted);
        async move { answer_h2(stream, "h2", &served).await }
    });
    let signer = Signer::new();
    let upstreams = format!(
        "  app: {{ protocol: h2, endpoints: [\"{address}\"], health_check: {{ path: /health, interval: 500ms }} }}"
    );
    let gateway = setup(&upstreams, ROUTES, &signer, |_| ()).start();
    let text = |answer: http::Answer| (answer.status, answer.body);
    let target = "http://portal.example";
    assert_eq!(
        text(ask(&gateway, "GET", "/r/x?y=%20", "")),
        (200, format!("h2 {target}/r/x?y=%20 0 - false"))
    );
    assert_eq!(text(ask(&gateway, "POST", "/w/x", "text")), (200, format!("h2 {target}/w/x 4 - false")));
    let token = signer.bearer("p1", "aal1", 5);
    let headers = [("Authorization", token.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    for _ in 0..3 {
        let read_first = http::send(gateway.address, "POST", "/patients/p1/notes", &headers, b"a=b");
        let expected = (200, format!("h2 {target}/patients/p1/notes 3 - false"));
        assert_eq!(text(read_first.expect("an answer")), expected);
    }
    assert_eq!(healthy_of(&gateway, &address.to_string()), 1.0);
    // Nobody takes a server of HTTP/1.1 for one of HTTP/2.
    let named = Named::start("a");
    let other =
        super::backends::gateway(&format!("  app: {{ protocol: h2, endpoints: [\"{}\"] }}", named.address));
    assert_eq!(ask(&other, "GET", "/r/x", "").status, 502);
}

#[test]
fn a_kept_connection_of_http2_that_ends_in_peace_costs_nothing() {
    let served = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&served);
    let address = serve_async(move |stream| {
        let served = Arc::clone(&counted);
        async move { answer_h2_once(stream, &served).await }
    });
    let signer = Signer::new();
    let upstreams = format!("  app: {{ protocol: h2, endpoints: [\"{address}\"] }}");
    let gateway = setup(&upstreams, ROUTES, &signer, |_| ()).start();
    let token = signer.bearer("p1", "aal1", 5);
    let form = [("Authorization", token.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    for _ in 0..5 {
        assert_eq!(ask(&gateway, "POST", "/w/x", "text").status, 200);
        std::thread::sleep(Duration::from_millis(100));
        let read_first = http::send(gateway.address, "POST", "/patients/p1/notes", &form, b"a=b");
        assert_eq!(read_first.expect("an answer").status, 200);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(served.load(Ordering::SeqCst), 10, "each was sent once");
}

fn healthy_of(gateway: &Gateway, endpoint: &str) -> f64 {
    gateway.metric(&format!(r#"wardgate_upstream_endpoint_healthy{{endpoint="{endpoint}",upstream="app"}}"#))
}

#[test]
fn nobody_listens_anywhere() {
    let (one, other) = (free_address(), free_address());
    let gateway = gateway(&format!("  app: {{ endpoints: [\"{one}\", \"{other}\"] }}"));
    let answer = ask(&gateway, "POST", "/w/x", "text");
    assert_eq!(
        (answer.status, answer.json()["type"].as_str()),
        (502, Some("urn:wardgate:problem:upstream_unreachable"))
    );
    assert_eq!(gateway.metric(r#"wardgate_upstream_retries_total{kind="connect""#), 1.0);
}
