//! As a plain proxy: what HTTP can say passes through unchanged, and a connection serves one request after another.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::{JSON, NOTES, PAY, PROFILE, READ, listen, setup, start};
use crate::support::upstream::Behaviour;
use crate::support::{Connection, Gateway, Recorder, Signer, wire};

fn answering(bytes: &'static str) -> Recorder {
    let behaviour: Behaviour = Arc::new(move |_, stream| stream.write_all(bytes.as_bytes()).is_ok());
    Recorder::behaving(behaviour)
}

fn connect(gateway: &Gateway) -> Connection {
    Connection::open(gateway.address).expect("a connection")
}

#[test]
fn one_connection_serves_many_requests_and_refusals_between() {
    let upstream = Recorder::start();
    let (gateway, signer) = start(&upstream);
    let (own, weak) = (signer.bearer("p1", "aal2", 5), signer.bearer("p2", "aal1", 5));
    let mut connection = connect(&gateway);
    let asked = [
        ("GET", READ, own.as_str(), "", 200),
        ("GET", READ, &weak, "", 403),
        ("GET", READ, &own, "", 200),
        ("GET", READ, "Bearer x", "", 401),
        ("GET", "/nowhere", &own, "", 404),
        ("PUT", PROFILE, &weak, r#"{"address":"x"}"#, 403),
        ("POST", NOTES, &own, "a note", 200),
        ("HEAD", READ, &weak, "", 403),
        ("GET", READ, &own, "", 200),
    ];
    for (method, target, token, body, status) in asked {
        let headers = [("Authorization", token), JSON];
        let answer = connection.ask(method, target, &headers, body.as_bytes()).expect("an answer");
        assert_eq!((answer.status, answer.closes()), (status, false), "{method} {target}: {answer:?}");
    }
    let bodies: Vec<Vec<u8>> = upstream.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [&b""[..], b"", b"a note", b""]);
}

#[test]
fn a_small_body_that_nobody_reads_does_not_cost_the_connection() {
    let upstream = Recorder::start();
    let (gateway, signer) = start(&upstream);
    let (own, weak) = (signer.bearer("p1", "aal1", 5), signer.bearer("p2", "aal1", 5));
    let mut connection = connect(&gateway);
    for (target, token, status) in
        [(NOTES, weak.as_str(), 403), (PAY, &own, 401), (NOTES, "Bearer x", 401), (NOTES, &own, 200)]
    {
        let answer =
            connection.ask("POST", target, &[("Authorization", token)], b"a small body").expect("an answer");
        assert_eq!((answer.status, answer.closes()), (status, false), "{target}: {answer:?}");
    }
    assert_eq!(upstream.count(), 1);
}

#[test]
fn a_refused_body_too_large_to_read_ends_the_connection() {
    let upstream = Recorder::start();
    let (gateway, signer) = start(&upstream);
    let weak = signer.bearer("p2", "aal1", 5);
    let mut connection = connect(&gateway);
    let headers = [("Authorization", weak.as_str()), ("Content-Type", "application/dicom")];
    let head = wire::head("POST", NOTES, &headers, Some(50_000_000));
    connection.stream.write_all(head.as_bytes()).expect("sent");
    let answer = connection.answer(false).expect("an answer before the body");
    assert_eq!((answer.status, answer.closes()), (403, true));
    assert_eq!(upstream.count(), 0);
}

#[test]
fn heads_ranges_and_answers_without_a_body_pass_through() {
    let ranged = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-5/10\r\nContent-Length: 4\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\n\r\ncdef";
    let unchanged = "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n";
    let empty = "HTTP/1.1 204 No Content\r\nX-App: 1\r\n\r\n";
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nContent-Type: text/plain\r\n\r\n";
    let cases = [
        ("GET", ("Range", "bytes=2-5"), ranged, 206, ("content-range", "bytes 2-5/10"), "cdef"),
        ("GET", ("If-None-Match", "\"a\""), unchanged, 304, ("etag", "\"a\""), ""),
        ("GET", ("Accept", "*/*"), empty, 204, ("x-app", "1"), ""),
        ("HEAD", ("Accept", "*/*"), head, 200, ("content-length", "1234"), ""),
    ];
    let behaviour: Behaviour = Arc::new(move |request, stream| {
        let number = request.target().rsplit('/').next().and_then(|number| number.parse::<usize>().ok());
        stream.write_all(cases[number.expect("a case")].2.as_bytes()).is_ok()
    });
    let upstream = Recorder::behaving(behaviour);
    let (gateway, signer) = start(&upstream);
    let token = signer.bearer("p1", "aal1", 5);
    // On one connection, so that an answer read wrongly spoils the next.
    let mut connection = connect(&gateway);
    for _ in 0..2 {
        for (number, (method, header, _, status, expected, body)) in cases.into_iter().enumerate() {
            let target = format!("/patients/p1/results/{number}");
            let answer = connection
                .ask(method, &target, &[("Authorization", &token), header], b"")
                .expect("an answer");
            assert_eq!((answer.status, answer.header(expected.0)), (status, Some(expected.1)), "{answer:?}");
            assert_eq!((answer.text().as_str(), answer.closes()), (body, false));
        }
    }
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2 * cases.len());
    for (number, (request, (method, header, ..))) in requests.iter().zip(cases).enumerate() {
        assert_eq!(request.line, format!("{method} /patients/p1/results/{number} HTTP/1.1"));
        assert_eq!(request.values(header.0), [header.1]);
    }
}

#[test]
fn answers_of_every_framing_arrive_whole() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwhol\r\n1\r\ne\r\n0\r\n\r\n";
    for bytes in [chunked, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"] {
        let upstream = answering(bytes);
        let (gateway, signer) = start(&upstream);
        let token = signer.bearer("p1", "aal2", 5);
        for (method, target, body) in
            [("GET", READ, ""), ("POST", NOTES, "x"), ("PUT", PROFILE, r#"{"language":"es"}"#)]
        {
            let answer = wire::once(
                gateway.address,
                method,
                target,
                &[("Authorization", &token), JSON],
                body.as_bytes(),
            );
            assert_eq!(answer.expect("an answer").text(), "whole", "{bytes:?} {target}");
        }
    }
    // An upstream of HTTP/1.0 ends its answer by closing.
    let upstream = listen(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nwhole");
    });
    let signer = Signer::new();
    let gateway = setup(upstream, &signer, |text| text).start();
    let token = signer.bearer("p1", "aal1", 5);
    let answer =
        wire::once(gateway.address, "GET", READ, &[("Authorization", &token)], b"").expect("an answer");
    assert_eq!(answer.text(), "whole");
}

#[test]
fn a_chunked_upload_is_streamed_while_it_is_being_sent() {
    let (arrived, arrivals) = channel();
    let upstream = listen(move |mut stream| {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut chunk) {
            let text = String::from_utf8_lossy(&chunk[..count]).into_owned();
            let ends = text.ends_with("0\r\n\r\n");
            arrived.send(text).expect("the test listens");
            if ends {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        }
    });
    let signer = Signer::new();
    let gateway = setup(upstream, &signer, |text| text).start();
    let token = signer.bearer("p1", "aal1", 5);
    let mut connection = connect(&gateway);
    let mut send = |text: &str| connection.stream.write_all(text.as_bytes()).expect("sent");
    let until = |needle: &str| {
        let mut seen = String::new();
        while !seen.contains(needle) {
            seen.push_str(&arrivals.recv_timeout(Duration::from_secs(10)).expect("it arrives"));
        }
        seen
    };
    // Of a kind that is never read on its way.
    let headers =
        [("Authorization", token.as_str()), ("Content-Type", "text/csv"), ("Transfer-Encoding", "chunked")];
    send(&wire::head("POST", NOTES, &headers, None));
    send("5\r\nfirst\r\n");
    let seen = until("first");
    assert!(!seen.contains("second"));
    send("6\r\nsecond\r\n");
    until("second");
    send("0\r\n\r\n");
    assert_eq!(connection.answer(false).expect("an answer").text(), "ok");
}

#[test]
fn a_chunked_body_that_is_read_for_its_risk_arrives_whole() {
    let upstream = Recorder::start();
    let (gateway, signer) = start(&upstream);
    let token = signer.bearer("p1", "aal1", 5);
    let mut connection = connect(&gateway);
    let head = wire::head(
        "PUT",
        PROFILE,
        &[("Authorization", &token), JSON, ("Transfer-Encoding", "chunked")],
        None,
    );
    connection.stream.write_all(format!("{head}9\r\n{{\"languag\r\n").as_bytes()).expect("sent");
    std::thread::sleep(Duration::from_millis(50));
    connection.stream.write_all(b"8\r\ne\":\"es\"}\r\n0\r\n\r\n").expect("sent");
    assert_eq!(connection.answer(false).expect("an answer").status, 200);
    let request = &upstream.requests()[0];
    assert_eq!(request.body, br#"{"language":"es"}"#);
    assert_eq!((request.values("content-length"), request.values("transfer-encoding")), (vec!["17"], vec![]));
    assert_eq!(
        connection.ask("GET", READ, &[("Authorization", &token)], b"").expect("an answer").status,
        200
    );
}

#[test]
fn a_client_that_asks_first_gets_leave_from_the_upstream_or_a_refusal() {
    let upstream = listen(|mut stream| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
            head.push(byte[0]);
        }
        // It has seen no byte of the body yet.
        let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
        let length = if head.starts_with(b"PUT") { 17 } else { 5 };
        let mut body = vec![0; length];
        let _ = stream.read_exact(&mut body);
        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
        let _ = stream.write_all(&body);
    });
    let signer = Signer::new();
    let gateway = setup(upstream, &signer, |text| text).start();
    let (own, other) = (signer.bearer("p1", "aal1", 5), signer.bearer("p2", "aal1", 5));
    let ask_first = |method: &str, target: &str, token: &str, length| {
        let mut connection = connect(&gateway);
        let headers = [("Authorization", token), JSON, ("Expect", "100-continue")];
        let head = wire::head(method, target, &headers, Some(length));
        connection.stream.write_all(head.as_bytes()).expect("sent");
        // It comes without the body, for which nobody may wait.
        connection.stream.set_read_timeout(Some(Duration::from_secs(3))).expect("a socket");
        let first = connection.answer_head().expect("a first word");
        (connection, first)
    };
    let (mut connection, leave) = ask_first("POST", NOTES, &own, 5);
    assert_eq!(leave.status, 100);
    connection.stream.write_all(b"hello").expect("sent");
    assert_eq!(connection.answer(false).expect("an answer").text(), "hello");
    // Where the body is read for its risk, the gateway itself gives leave, and only to those it knows.
    let (mut connection, leave) = ask_first("PUT", PROFILE, &own, 17);
    assert_eq!(leave.status, 100);
    connection.stream.write_all(br#"{"language":"es"}"#).expect("sent");
    assert_eq!(connection.answer(false).expect("an answer").status, 200);
    assert_eq!(ask_first("POST", NOTES, &other, 5).1.status, 403);
    assert_eq!(ask_first("PUT", PROFILE, "Bearer x", 5).1.status, 401);
}

#[test]
fn a_body_that_ends_early_is_not_judged_by_its_beginning() {
    let upstream = Recorder::start();
    let (gateway, signer) = start(&upstream);
    let token = signer.bearer("p1", "aal1", 5);
    let mut connection = connect(&gateway);
    let head = wire::head("PUT", PROFILE, &[("Authorization", &token), JSON], Some(100));
    connection.stream.write_all(format!("{head}{{\"language\":\"es\"}}").as_bytes()).expect("sent");
    connection.stream.shutdown(std::net::Shutdown::Write).expect("half closed");
    let answer = connection.answer(false);
    assert!(answer.as_ref().map_or(true, |answer| answer.status == 400), "{answer:?}");
    assert_eq!(upstream.count(), 0);
}

#[test]
fn a_client_of_http_1_0_gets_neither_chunks_nor_interim_answers() {
    let upstream = answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let (gateway, signer) = start(&upstream);
    let token = signer.bearer("p1", "aal2", 5);
    for (method, target, body) in [("GET", READ, ""), ("PUT", PROFILE, r#"{"language":"de"}"#)] {
        let head = format!(
            "{method} {target} HTTP/1.0\r\nHost: a\r\nAuthorization: {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut connection = connect(&gateway);
        connection.stream.write_all(head.as_bytes()).expect("sent");
        let mut all = Vec::new();
        connection.stream.read_to_end(&mut all).expect("the gateway closes");
        let all = String::from_utf8_lossy(&all).to_ascii_lowercase();
        assert!(all.starts_with("http/1.1 200") && all.ends_with("\r\n\r\nhello"), "{all}");
        assert!(!all.contains("transfer-encoding") && !all.contains("early"), "{all}");
    }
}

#[test]
fn an_answer_that_breaks_off_is_seen_to_be_broken_off() {
    let behaviour: Behaviour = Arc::new(move |_, stream| {
        let begun = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[1,");
        std::thread::sleep(Duration::from_secs(3));
        begun.is_ok()
    });
    let (upstream, signer) = (Recorder::behaving(behaviour), Signer::new());
    let gateway = setup(upstream.address, &signer, |text| text.replace("read: 5s", "read: 700ms")).start();
    let token = signer.bearer("p1", "aal2", 5);
    for (method, target, body) in [("GET", READ, ""), ("PUT", PROFILE, r#"{"language":"de"}"#)] {
        let mut connection = connect(&gateway);
        let head = wire::head(method, target, &[("Authorization", &token), JSON], Some(body.len()));
        connection.stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
        let answer = connection.answer_head().expect("a head");
        assert_eq!(answer.status, 200, "{method}");
        assert!(connection.body(&answer, |_| {}).is_err(), "{method}: half an answer reads as a whole one");
    }
}
