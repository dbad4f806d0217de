//! Envoy asks, and forwards: what its bodies are worth.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::World;
use super::servers::Server;
use crate::support::{Recorder, http};

/// As in the shipped configuration.
const MOST: usize = 262_144;

fn form(address: SocketAddr, token: &str, framing: &str, pieces: &[&[u8]]) -> http::Answer {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    let head = format!(
        "POST /patients/p1/moderate HTTP/1.1\r\nHost: portal.example\r\nAuthorization: {token}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n{framing}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("written");
    for piece in pieces {
        // Envoy may have answered already.
        let _ = stream.write_all(piece);
        let _ = stream.flush();
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    http::parse(&answer).expect("an answer")
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[test]
fn a_form_is_searched_where_all_of_it_was_seen() {
    let upstream = Recorder::start();
    let world = World::start(upstream.address, |text| text);
    let envoy = Server::envoy(&world, "grpc");
    let token = world.signer.bearer("p1", "aal1", 42);
    let ask = |framing: &str, pieces: &[&[u8]]| form(envoy.address, &token, framing, pieces).status;
    assert_eq!(ask("Content-Length: 10", &[b"text=hello"]), 200);
    assert_eq!(ask("Transfer-Encoding: chunked", &[&chunk(b"text=hello"), b"0\r\n\r\n"]), 200);
    let hidden = b"_method=DELETE";
    let due = form(world.gateway.address, &token, "Content-Length: 14", &[hidden]).status;
    assert_eq!(ask("Content-Length: 14", &[hidden]), due, "a method in it");
    assert!((400..500).contains(&due));
    assert_eq!(ask("Transfer-Encoding: chunked", &[&chunk(hidden), b"0\r\n\r\n"]), due);
    // What fills all that Envoy sends may have gone on: `Content-Length` says whether.
    let mut full = b"text=".to_vec();
    full.resize(MOST, b'a');
    assert_eq!(ask(&format!("Content-Length: {MOST}"), &[&full]), 200);
    let rest = chunk(b"&_method=DELETE");
    let pieces: [&[u8]; 3] = [&chunk(&full), &rest, b"0\r\n\r\n"];
    assert_eq!(ask("Transfer-Encoding: chunked", &pieces), 413, "more came");
    let mut longer = full.clone();
    longer.extend_from_slice(hidden);
    assert_eq!(ask(&format!("Content-Length: {}", longer.len()), &[&longer]), 413);
    assert_eq!(upstream.count(), 3);
    for request in upstream.requests() {
        assert!(!request.body.windows(7).any(|part| part == b"_method"));
    }
}

#[test]
fn what_is_no_question_gets_an_error_and_a_record() {
    let world = World::start(Recorder::start().address, |text| text);
    let envoy = Server::envoy(&world, "grpc");
    let nothing = http::get(envoy.address, "/nowhere").expect("an answer");
    assert_eq!(nothing.status, 404);
    let records = world.gateway.audit();
    let asked = records.iter().filter(|record| record["listener"] == "envoy-grpc").count();
    assert!(asked > 0, "{records:?}");
    // A client of the listener of HTTP can't speak gRPC to it: every path is a request's.
    let call = "POST /envoy.service.auth.v3.Authorization/Check HTTP/1.1\r\nHost: portal.example\r\n\
                Content-Type: application/grpc\r\nContent-Length: 5\r\nConnection: close\r\n\r\n\0\0\0\0\0";
    // A fragment is left out by parsers.
    let fragment = "GET /r/a#b HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\r\n";
    for (question, status) in [(call, 404), (fragment, 400)] {
        let stream = std::os::unix::net::UnixStream::connect(world.ext_authz_socket("http"));
        let mut stream = stream.expect("a connection");
        stream.write_all(question.as_bytes()).expect("written");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert_eq!(http::parse(&answer).expect("an answer").status, status, "{question}");
    }
}
