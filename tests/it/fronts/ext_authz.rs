//! Envoy asks, and forwards: what its bodies are worth.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
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

/// A field of a message that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = content.len();
    while length > 127 {
        bytes.push(u8::try_from(length & 127).expect("seven bits") | 128);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).expect("seven bits"));
    bytes.extend_from_slice(content);
    bytes
}

/// A `CheckRequest` about a request of GET.
fn question(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    described("GET", path, headers, b"")
}

fn described(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let texts = [(2, method), (4, path), (5, "portal.example"), (6, "https"), (10, "HTTP/1.1")];
    let mut http: Vec<u8> = texts.iter().flat_map(|(number, text)| field(*number, text.as_bytes())).collect();
    for (name, value) in headers {
        http.extend(field(3, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat()));
    }
    http.extend(field(12, body));
    field(1, &field(4, &field(2, &http)))
}

fn framed(compressed: u8, length: usize, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).expect("short").to_be_bytes();
    [&[compressed][..], &length, message].concat()
}

/// What a call comes to: its head, its message and its trailers.
fn call(world: &World, path: &str, kind: &str, body: &[u8]) -> String {
    let mut child = Command::new("curl")
        .args(["--http2-prior-knowledge", "--silent", "--max-time", "20", "--dump-header", "-"])
        .args(["--data-binary", "@-", "--header", &format!("Content-Type: {kind}")])
        .args(["--header", "X-Wardgate-Body-Bytes: 8", "--unix-socket"])
        .arg(world.ext_authz_socket("grpc"))
        .arg(format!("http://wardgate{path}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl");
    child.stdin.take().expect("piped").write_all(body).expect("written");
    let output = child.wait_with_output().expect("an end");
    String::from_utf8_lossy(&output.stdout).to_lowercase()
}

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

#[test]
fn a_call_that_is_no_question_is_an_error_on_record() {
    let world = World::start(Recorder::start().address, |text| text);
    let asked = |body: &[u8]| call(&world, CHECK, "application/grpc", body);
    let sound = question("/r/a", &[]);
    let answer = asked(&framed(0, sound.len(), &sound));
    assert!(answer.contains("grpc-status: 0") && answer.contains("x-wardgate-decision"), "{answer}");
    let no_request = field(1, &field(4, b""));
    let malformed = [
        Vec::new(),
        vec![0; 4],
        framed(0, 0, b""),
        framed(1, sound.len(), &sound),
        framed(0, sound.len() + 1, &sound),
        framed(0, sound.len() - 1, &sound),
        [framed(0, sound.len(), &sound), framed(0, sound.len(), &sound)].concat(),
        framed(0, 4, &[0xff; 4]),
        framed(0, no_request.len(), &no_request),
    ];
    for body in &malformed {
        let answer = asked(body);
        assert!(answer.contains("grpc-status: 3"), "{body:?}: {answer}");
        assert!(!answer.contains("x-wardgate-decision"), "{body:?}: {answer}");
    }
    let whole = framed(0, sound.len(), &sound);
    for (path, kind) in [("/r/a", "application/grpc"), (CHECK, "application/json")] {
        let answer = call(&world, path, kind, &whole);
        assert!(answer.contains("grpc-status: 12"), "{path}: {answer}");
    }
    let records = world.gateway.audit();
    let of = |reason: &str| records.iter().filter(|record| record["reason"] == reason).count();
    assert_eq!((of("evaluation_malformed"), of("no_route")), (malformed.len(), 2), "{records:?}");
}

#[test]
fn what_fills_all_that_envoy_sends_may_go_on() {
    let world = World::start(Recorder::start().address, |text| text);
    let token = world.signer.bearer("p1", "aal1", 5);
    let ask = |partial: &str, body: &[u8]| {
        let headers = [
            ("authorization", token.as_str()),
            ("content-type", "application/x-www-form-urlencoded"),
            ("transfer-encoding", "chunked"),
            ("x-envoy-auth-partial-body", partial),
        ];
        let message = described("POST", "/patients/p1/moderate", &headers, body);
        call(&world, CHECK, "application/grpc", &framed(0, message.len(), &message))
    };
    let answer = ask("false", b"text=hi");
    assert!(answer.contains("x-wardgate-assertion"), "{answer}");
    for (partial, body) in [("false", b"text=hel"), ("true", b"text=hel")] {
        let answer = ask(partial, body);
        assert!(answer.contains("\"status\":413") && !answer.contains("x-wardgate-assertion"), "{answer}");
    }
}

#[test]
fn envoy_is_told_what_to_take_out() {
    let world = World::start(Recorder::start().address, |text| text);
    let token = world.signer.bearer("p1", "aal1", 5);
    let headers = [
        ("authorization", token.as_str()),
        ("dpop", "x"),
        ("remote-user", "root"),
        ("x-wardgate-assertion", "forged"),
        ("x-wardgate-peer-secret", "guessed"),
        ("accept", "text/html"),
    ];
    let message = question("/r/a", &headers);
    let answer = call(&world, CHECK, "application/grpc", &framed(0, message.len(), &message));
    assert!(answer.contains("grpc-status: 0"), "{answer}");
    // Names to take out are fields of `OkHttpResponse` by themselves: number 5.
    let taken_out =
        |name: &str| answer.contains(&String::from_utf8(field(5, name.as_bytes())).expect("text"));
    for (name, _) in &headers[..5] {
        assert!(taken_out(name), "{name}: {answer:?}");
    }
    assert!(!taken_out("accept") && !answer.contains("forged"), "{answer:?}");
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
