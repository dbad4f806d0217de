//! Slow and greedy clients end on schedule, each with a decided answer, and others do not notice.

use std::io::{self, Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::{LONG, closed, curl, outcome, records, rest, setup, start};
use crate::support::{Connection, Gateway, Recorder, Signer, eventually, http, wire};

/// Limits that are soon reached.
const SHORT: &str = "limits: { header_deadline: 1s, keep_alive: 1s, body_min_rate: 1000B, body_grace: 1s, body_bytes: 100KiB }";

/// Sends byte after byte until the other end has had enough; what it said.
fn drip(connection: &mut Connection, bytes: &[u8]) -> String {
    connection.stream.set_read_timeout(Some(Duration::from_millis(20))).expect("set");
    let mut said = Vec::new();
    let mut chunk = [0; 4_096];
    let deadline = Instant::now() + LONG;
    for byte in bytes.iter().cycle() {
        assert!(Instant::now() < deadline, "it may drip for ever");
        let sent = connection.stream.write_all(std::slice::from_ref(byte));
        match connection.stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && sent.is_ok() => {}
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// A healthy client, and the gateway's own health.
fn all_is_well(gateway: &Gateway) {
    assert_eq!(http::get(gateway.address, "/").expect("an answer").status, 200);
    assert_eq!(gateway.telemetry_page("/healthz").status, 200);
}

#[test]
fn a_header_that_drips_is_answered_408_and_audited() {
    let upstream = Recorder::start();
    let gateway = start(&upstream, SHORT, "");
    let mut silent = Connection::open(gateway.address).expect("open");
    let mut slow = Connection::open(gateway.address).expect("open");
    slow.stream.write_all(b"GET / HTTP/1.1\r\nHost: portal.example\r\nX: ").expect("sent");
    let said = drip(&mut slow, b"x");
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("urn:wardgate:problem:too_slow"), "{said}");
    assert_eq!(rest(&mut silent), "", "who said nothing is told nothing");
    eventually("both are counted", LONG, || closed(&gateway, "header_deadline") >= 2.0);
    eventually("the drip is audited", LONG, || records(&gateway, "unparsed").len() == 1);
    all_is_well(&gateway);
    assert_eq!(upstream.count(), 1);
}

#[test]
fn an_idle_connection_is_closed_and_the_next_request_has_a_deadline_again() {
    let upstream = Recorder::start();
    let gateway = start(&upstream, SHORT, "");
    let mut idle = Connection::open(gateway.address).expect("open");
    assert_eq!(idle.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    assert_eq!(rest(&mut idle), "");
    eventually("it is counted", LONG, || closed(&gateway, "keep_alive") >= 1.0);
    let mut second = Connection::open(gateway.address).expect("open");
    assert_eq!(second.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    let said = drip(&mut second, b"G");
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    all_is_well(&gateway);
}

#[test]
fn a_body_that_drips_is_answered_408_and_its_outcome_says_why() {
    let upstream = Recorder::start();
    let signer = Signer::new();
    let gateway = setup(upstream.address, &signer, SHORT, "").start();
    let length = ("Content-Length", "50000");
    // gRPC may rest between two messages, but there is no gRPC on HTTP/1.
    for kind in ["application/dicom", "application/grpc"] {
        let mut streamed = Connection::open(gateway.address).expect("open");
        let head = wire::head("POST", "/upload", &[length, ("Content-Type", kind)], None);
        streamed.stream.write_all(head.as_bytes()).expect("sent");
        let said = drip(&mut streamed, b"x");
        assert!(said.starts_with("HTTP/1.1 408 "), "{kind}: {said}");
    }
    assert_eq!(outcome(&gateway, "not_completed"), "client_too_slow");
    eventually("both are counted", LONG, || closed(&gateway, "slow_body") >= 2.0);

    // One that is read to decide never gets as far as an upstream.
    let token = signer.bearer("p1", "aal1", 0);
    let headers =
        [("Content-Length", "15"), ("Content-Type", "application/json"), ("Authorization", token.as_str())];
    let before = upstream.count();
    let mut decided = Connection::open(gateway.address).expect("open");
    decided
        .stream
        .write_all(wire::head("POST", "/patients/p1/form", &headers, None).as_bytes())
        .expect("sent");
    let said = rest(&mut decided);
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("too_slow"), "{said}");
    assert_eq!(upstream.count(), before);
    assert!(records(&gateway, "decision").iter().any(|record| record["reason"] == "client_too_slow"));
    all_is_well(&gateway);
}

#[test]
fn of_too_many_slow_bodies_the_slowest_goes() {
    let upstream = Recorder::start();
    let gateway = start(&upstream, "limits: { body_grace: 60s, body_min_rate: 1000B, slow_bodies: 2 }", "");
    let headers = [("Content-Length", "5"), ("Content-Type", "application/dicom")];
    let mut slow: Vec<_> = (0..4)
        .map(|_| {
            let mut connection = Connection::open(gateway.address).expect("open");
            connection
                .stream
                .write_all(wire::head("POST", "/upload", &headers, None).as_bytes())
                .expect("sent");
            std::thread::sleep(Duration::from_millis(300));
            connection
        })
        .collect();
    for slowest in &mut slow[..2] {
        let answer = slowest.answer(false).expect("an answer");
        assert_eq!((answer.status, answer.closes()), (408, true));
    }
    assert_eq!(outcome(&gateway, "not_completed"), "client_too_slow");
    eventually("both are counted", LONG, || closed(&gateway, "slow_bodies") == 2.0);
    // The others have all their time.
    std::thread::sleep(Duration::from_secs(3));
    for connection in &mut slow[2..] {
        connection.stream.write_all(b"12345").expect("sent");
        assert_eq!(connection.answer(false).expect("an answer").status, 200);
    }
    assert_eq!((closed(&gateway, "slow_bodies"), closed(&gateway, "slow_body")), (2.0, 0.0));
    all_is_well(&gateway);
}

#[test]
fn a_client_that_does_not_take_its_answer_is_cut_off() {
    let upstream = Recorder::behaving(std::sync::Arc::new(|_, stream| {
        let length = 64 * 1024 * 1024;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let mut whole = stream.write_all(head.as_bytes());
        for _ in 0..length / 65_536 {
            whole = whole.and_then(|()| stream.write_all(&[b'x'; 65_536]));
        }
        whole.is_ok()
    }));
    let gateway = start(&upstream, SHORT, "");
    let mut stalled = Connection::open(gateway.address).expect("open");
    stalled.stream.write_all(wire::head("GET", "/", &[], None).as_bytes()).expect("sent");
    assert_eq!(stalled.answer_head().expect("an answer").status, 200);
    assert_eq!(outcome(&gateway, "not_completed"), "client_too_slow");
    assert!(closed(&gateway, "slow_reader") >= 1.0);
    // Who reads, gets all of it.
    let whole = wire::once(gateway.address, "GET", "/", &[], b"").expect("an answer");
    assert_eq!(whole.body.len(), 64 * 1024 * 1024);
    drop(stalled);
}

#[test]
fn a_slow_upstream_is_no_fault_of_the_client() {
    let upstream = Recorder::behaving(std::sync::Arc::new(|_, stream| {
        std::thread::sleep(Duration::from_secs(3));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_ok()
    }));
    let gateway = start(&upstream, SHORT, "");
    let image = [("Content-Type", "application/dicom")];
    let answer = wire::once(gateway.address, "POST", "/upload", &image, b"all of it").expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
}

#[test]
fn one_client_can_not_take_every_place() {
    let upstream = Recorder::start();
    let gateway = start(&upstream, "limits: { connections: 6, connections_per_client: 3 }", "");
    let open = || {
        let mut connection = Connection::open(gateway.address).expect("open");
        connection.ask("GET", "/", &[], b"").map(|answer| (connection, answer.status))
    };
    // The harness may still be giving its own place back.
    eventually("no place is taken", LONG, || gateway.metric("wardgate_connections{") == 0.0);
    let held: Vec<_> = (0..3).map(|_| open().expect("a place")).collect();
    assert!(held.iter().all(|(_, status)| *status == 200));
    assert!(open().is_err(), "the fourth is closed without an answer");
    assert_eq!(closed(&gateway, "connections_per_client"), 1.0);
    assert_eq!(curl("127.0.0.2", gateway.address, "/", &[]), "200", "another client is let in");
    assert_eq!(gateway.telemetry_page("/healthz").status, 200);
    eventually("its number is audited", LONG, || {
        records(&gateway, "aggregated").iter().any(|record| {
            record["cause"] == "connections_per_client"
                && record["count"] == 1
                && record["listener"] == "portal"
        })
    });
    drop(held);
    eventually("places are given back", LONG, || open().is_ok());
}

#[test]
fn there_are_no_more_connections_than_allowed_in_all() {
    let upstream = Recorder::start();
    let gateway = start(&upstream, "limits: { connections: 2, connections_per_client: 2 }", "");
    eventually("no place is taken", LONG, || gateway.metric("wardgate_connections{") == 0.0);
    let mut held: Vec<_> = (0..2).map(|_| Connection::open(gateway.address).expect("open")).collect();
    for connection in &mut held {
        assert_eq!(connection.ask("GET", "/", &[], b"").expect("an answer").status, 200);
    }
    assert_eq!(curl("127.0.0.2", gateway.address, "/", &[]), "000");
    assert_eq!(closed(&gateway, "connections"), 1.0);
    assert_eq!(gateway.telemetry_page("/healthz").status, 200);
    held.pop();
    eventually("the place is given back", LONG, || curl("127.0.0.2", gateway.address, "/", &[]) == "200");
}

#[test]
fn a_body_that_is_too_long_is_refused_before_any_of_it_goes_upstream() {
    let upstream = Recorder::start();
    let signer = Signer::new();
    let gateway = setup(upstream.address, &signer, SHORT, "").start();
    let image = ("Content-Type", "application/dicom");
    let post = |path: &str, bytes: usize| {
        wire::once(gateway.address, "POST", path, &[image], &vec![b'x'; bytes])
            .map(|answer| answer.status)
            .ok()
    };
    assert_eq!(post("/small", 10), Some(200));
    assert_eq!(post("/small", 11), Some(413));
    assert_eq!(post("/upload", 100 * 1024), Some(200));
    assert_eq!(post("/large", 1024 * 1024), Some(200), "the route's own limit counts, not the listener's");
    let before = upstream.count();
    // Only the head is sent: the answer does not wait for the body.
    let mut large = Connection::open(gateway.address).expect("open");
    let headers = [("Content-Length", "102401"), image];
    large.stream.write_all(wire::head("POST", "/upload", &headers, None).as_bytes()).expect("sent");
    let answer = large.answer(false).expect("an answer");
    assert_eq!((answer.status, answer.closes()), (413, true));
    assert_eq!(answer.json()["type"], "urn:wardgate:problem:too_large");
    let token = signer.bearer("p1", "aal1", 0);
    let headers = [("Content-Type", "application/json"), ("Authorization", token.as_str())];
    let form = |body: &[u8]| {
        wire::once(gateway.address, "POST", "/patients/p1/form", &headers, body).expect("an answer").status
    };
    assert_eq!(form(b"{\"a\":1}"), 200);
    assert_eq!(form(b"{\"a\":1,\"b\":\"0123456789\"}"), 413);
    let chunked =
        [("Content-Type", "application/json"), ("Authorization", &token), ("Transfer-Encoding", "chunked")];
    let mut unknown = Connection::open(gateway.address).expect("open");
    let body = b"18\r\n{\"a\":1,\"b\":\"0123456789\"}\r\n0\r\n\r\n";
    let head = wire::head("POST", "/patients/p1/form", &chunked, None);
    unknown.stream.write_all(&[head.as_bytes(), body].concat()).expect("sent");
    assert_eq!(unknown.answer(false).expect("an answer").status, 413);
    assert_eq!(upstream.count(), before + 1);
    let reasons =
        records(&gateway, "decision").into_iter().filter(|record| record["reason"] == "body_too_large");
    assert_eq!(reasons.count(), 4);
}

#[test]
fn a_chunked_body_is_cut_where_it_passes_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (heard, bodies) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let heard = heard.clone();
            std::thread::spawn(move || {
                let mut all = Vec::new();
                // To the end of the connection: it must end, whatever was sent.
                let _ = stream.read_to_end(&mut all);
                let _ = heard.send(all);
            });
        }
    });
    let gateway = setup(address, &Signer::new(), SHORT, "").start_unready();
    let headers = [("Content-Type", "application/dicom"), ("Transfer-Encoding", "chunked")];
    let mut client = Connection::open(gateway.address).expect("open");
    client.stream.write_all(wire::head("POST", "/upload", &headers, None).as_bytes()).expect("sent");
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4_096], b"\r\n"].concat();
    // 100 KiB are allowed.
    for _ in 0..25 {
        client.stream.write_all(&chunk).expect("sent");
    }
    client.stream.write_all(b"1\r\nx\r\n").expect("sent");
    let answer = client.answer(false).expect("an answer");
    assert_eq!((answer.status, answer.closes()), (413, true));
    assert_eq!(answer.header("proxy-status"), Some("gateway; error=http_request_error"));
    let body = bodies.recv_timeout(LONG).expect("the upstream's connection is ended, not kept");
    assert!(!body.ends_with(b"0\r\n\r\n"), "it must not look whole");
    assert_eq!(outcome(&gateway, "not_completed"), "body_too_large");
}
