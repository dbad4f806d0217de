//! Revoked while it runs: sockets, streams and downloads end, at every gateway; and what is shown again is refused.

mod everywhere;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as PlainStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use crate::support::{Gateway, Recorder, Setup, Signer, eventually, http, tokens};

const VISIT: &str = "/patients/p1/visits/v1/ws";
const EVENTS: &str = "/patients/p1/events";
const ROUTES: &str = r#"
  - { id: visit.join, match: { path: "/patients/{patient}/visits/{visit}/ws", upgrade: websocket },
      upstream: video, tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: events, match: { path: "/patients/{patient}/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;
const ALONE: &str = "state: { single_replica: true }";
/// How soon everything must have ended, on a busy machine.
const SOON: Duration = Duration::from_secs(15);

fn setup(upstream: SocketAddr, video: SocketAddr, signer: &Signer, state: &str) -> Setup {
    let config = tokens::config(upstream, ROUTES)
        .replace(ALONE, state)
        .replace("audit: {", &format!("  video: {{ endpoints: [\"{video}\"] }}\naudit: {{"))
        .replace("telemetry: {", "operators: { address: \"unix:$DIR/operators.sock\" }\ntelemetry: {");
    Setup::new(&config, |dir| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("writable");
    })
}

/// Says a word every now and then, for ever, as events; as one long download below `/download`.
fn talkative() -> Recorder {
    Recorder::behaving(Arc::new(|request, stream: &mut PlainStream| {
        let (kind, length) = match request.target().ends_with("/download") {
            true => ("application/dicom", "Content-Length: 100000000\r\n"),
            false => ("text/event-stream", ""),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{length}Connection: close\r\n\r\n");
        let mut going = stream.write_all(head.as_bytes()).is_ok();
        while going {
            going = stream.write_all(b"data: still here\n\n").is_ok();
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }))
}

/// Echoes what it is told.
async fn echoing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() && socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

async fn join(gateway: &Gateway, bearer: &str) -> WebSocketStream<TcpStream> {
    let mut request = format!("ws://portal.example{VISIT}").into_client_request().expect("a request");
    request.headers_mut().insert("authorization", bearer.parse().expect("a value"));
    let stream = TcpStream::connect(gateway.address).await.expect("a connection");
    client_async(request, stream).await.expect("joined").0
}

async fn hears_itself(socket: &mut WebSocketStream<TcpStream>) {
    socket.send(Message::text("hello")).await.expect("sent");
    let heard = tokio::time::timeout(SOON, socket.next()).await.expect("in time").expect("a message");
    assert_eq!(heard.expect("whole"), Message::text("hello"));
}

/// The code that a socket is closed with.
async fn close_code(socket: &mut WebSocketStream<TcpStream>) -> CloseCode {
    let limit = tokio::time::Instant::now() + SOON;
    loop {
        let message = tokio::time::timeout_at(limit, socket.next()).await.expect("closed in time");
        match message.expect("a close frame comes before the end").expect("whole") {
            Message::Close(frame) => return frame.expect("a code").code,
            _ => continue,
        }
    }
}

pub fn session_token(signer: &Signer, sub: &str, sid: &str) -> (String, Value) {
    let mut claims = Signer::claims("p1", "aal1", 5);
    (claims["sub"], claims["sid"]) = (sub.into(), sid.into());
    (format!("Bearer {}", signer.sign(&claims)), claims)
}

fn revoke(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_wardgate"))
        .args(["revoke", "--socket"])
        .arg(gateway.dir.path().join("operators.sock"))
        .args(arguments)
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.code(), said)
}

fn ask(gateway: &Gateway, bearer: &str) -> http::Answer {
    http::send(gateway.address, "GET", "/patients/p1/none", &[("Authorization", bearer)], b"")
        .expect("an answer")
}

/// Begins to read; the stream after its first words.
pub fn begin(gateway: &Gateway, target: &str, bearer: &str) -> PlainStream {
    let mut stream = PlainStream::connect(gateway.address).expect("a connection");
    stream.set_read_timeout(Some(SOON)).expect("a socket");
    let request = format!("GET {target} HTTP/1.1\r\nHost: portal.example\r\nAuthorization: {bearer}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut said = Vec::new();
    while !said.windows(4).any(|part| part == b"data") {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).expect("an answer");
        assert!(count > 0, "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&bytes[..count]);
    }
    assert!(said.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said));
    stream
}

/// Reads to the end; whether there was one in time.
pub fn ends(mut stream: PlainStream) -> bool {
    let (limit, mut bytes) = (Instant::now() + SOON, [0; 4096]);
    while Instant::now() < limit {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_runs_for_a_revoked_subject_ends_and_nothing_else() {
    let (upstream, signer, video) = (talkative(), Signer::new(), echoing().await);
    let gateway = setup(upstream.address, video, &signer, ALONE).start();
    let (alice, _) = session_token(&signer, "alice", "s1");
    let (bob, _) = session_token(&signer, "bob", "s2");
    let (mut hers, mut his) = (join(&gateway, &alice).await, join(&gateway, &bob).await);
    hears_itself(&mut hers).await;
    hears_itself(&mut his).await;
    let (events, download) =
        (begin(&gateway, EVENTS, &alice), begin(&gateway, "/patients/p1/download", &alice));
    let others = begin(&gateway, EVENTS, &bob);

    let (code, said) = revoke(&gateway, &["--issuer", "patients", "--subject", "alice"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(close_code(&mut hers).await, CloseCode::Policy);
    assert!(tokio::task::spawn_blocking(move || ends(events) && ends(download)).await.expect("read"));
    let refused = ask(&gateway, &alice);
    assert_eq!((refused.status, refused.header("www-authenticate").is_some()), (401, true));
    hears_itself(&mut his).await;
    let mut others = others;
    assert!(others.read(&mut [0; 10]).expect("still there") > 0);
    // She signs in again, which is a new token.
    std::thread::sleep(Duration::from_millis(1_500));
    drop(begin(&gateway, EVENTS, &session_token(&signer, "alice", "s3").0));

    eventually("the outcomes are recorded", SOON, || {
        let records = gateway.audit();
        let stopped = records.iter().filter(|record| record["reason"] == "token_revoked");
        stopped.filter(|record| record["event"] == "outcome" && record["result"] == "not_completed").count()
            == 3
    });
    let records = gateway.audit();
    let [event] = &records.iter().filter(|record| record["event"] == "revocation").collect::<Vec<_>>()[..]
    else {
        panic!("one revocation")
    };
    assert_eq!(
        (&event["source"], &event["claim"], &event["result"]),
        (&json!("operator"), &json!("sub"), &json!("stored"))
    );
    assert!(
        event["uid"].is_u64() && event["name"].as_str().is_some_and(|name| name.starts_with("s_")),
        "{event}"
    );
    assert!(
        records.iter().any(|record| record["event"] == "decision" && record["reason"] == "token_revoked")
    );
    assert_eq!(gateway.metric("wardgate_streams_ended_total{why=\"revoked\"}"), 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ends_with_its_token_and_a_download_does_not() {
    let (upstream, signer, video) = (talkative(), Signer::new(), echoing().await);
    let gateway = setup(upstream.address, video, &signer, ALONE).start();
    let (_, mut claims) = session_token(&signer, "alice", "s1");
    claims["exp"] = (jiff::Timestamp::now().as_second() + 8).into();
    let bearer = format!("Bearer {}", signer.sign(&claims));
    let mut socket = join(&gateway, &bearer).await;
    let (events, mut download) =
        (begin(&gateway, EVENTS, &bearer), begin(&gateway, "/patients/p1/download", &bearer));
    hears_itself(&mut socket).await;
    assert_eq!(close_code(&mut socket).await, CloseCode::Policy);
    assert!(jiff::Timestamp::now().as_second() >= claims["exp"].as_i64().expect("a moment"));
    assert!(tokio::task::spawn_blocking(move || ends(events)).await.expect("read"));
    assert_eq!(ask(&gateway, &bearer).status, 401);
    assert!(download.read(&mut [0; 10]).expect("still there") > 0);
    eventually("the outcomes are recorded", SOON, || {
        let records = gateway.audit();
        let ended = |record: &&Value| record["event"] == "outcome" && record["reason"] == "token_ended";
        records.iter().filter(ended).count() == 2
    });
}

fn call(gateway: &Gateway, request: &str) -> http::Answer {
    let mut stream = UnixStream::connect(gateway.dir.path().join("operators.sock")).expect("a connection");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    http::parse(&answer).expect("an answer")
}

fn post(gateway: &Gateway, body: &str) -> http::Answer {
    let length = body.len();
    call(
        gateway,
        &format!("POST /v1/revocations HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"),
    )
}

#[test]
fn the_operators_socket_takes_only_what_it_understands() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let gateway = setup(upstream.address, upstream.address, &signer, ALONE).start();
    let mode =
        std::fs::metadata(gateway.dir.path().join("operators.sock")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let healthy = call(&gateway, "GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((healthy.status, &healthy.json()["ready"]), (200, &json!(true)));
    for (body, why) in [
        ("", "not a revocation"),
        ("[]", "not a revocation"),
        (r#"{"issuer":"patients","subject":"a","subject":"b"}"#, "not a revocation"),
        (r#"{"issuer":"patients","subject":"a","all":true}"#, "not a revocation"),
        (r#"{"issuer":"patients"}"#, "exactly one"),
        (r#"{"issuer":"patients","subject":"a","client":"b"}"#, "exactly one"),
        (r#"{"issuer":"patients","subject":""}"#, "empty"),
        (r#"{"issuer":"patients","subject":"a","not_before":-1}"#, "Unix seconds"),
        (r#"{"issuer":"staff","subject":"a"}"#, "there is: patients"),
    ] {
        let refused = post(&gateway, body);
        assert_eq!(refused.status, 400, "{body}");
        assert!(
            refused.json()["error"].as_str().is_some_and(|said| said.contains(why)),
            "{body}: {}",
            refused.body
        );
    }
    let too_long = format!(r#"{{"issuer":"patients","subject":"{}"}}"#, "a".repeat(20_000));
    assert_eq!(post(&gateway, &too_long).status, 400);
    for (request, status) in
        [("GET /v1/revocations", 405), ("POST /v1/health", 405), ("GET /", 404), ("GET /v1/health?x", 404)]
    {
        assert_eq!(
            call(&gateway, &format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")).status,
            status,
            "{request}"
        );
    }
    let moment = jiff::Timestamp::now().as_second() - 100;
    let done =
        post(&gateway, &format!(r#"{{"issuer":"patients","subject":"user-p1","not_before":{moment}}}"#));
    assert_eq!(
        done.json(),
        json!({"issuer": "patients", "claim": "sub", "not_before": moment, "recorded": true})
    );
    assert_eq!(ask(&gateway, &signer.bearer("p1", "aal1", 5)).status, 200, "it was issued later");
    let (code, said) = revoke(&gateway, &["--issuer", "staff", "--subject", "a"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("there is: patients"), "{said}");
    let records = gateway.audit();
    let refused = records.iter().filter(|record| record["event"] == "operator_refused");
    assert_eq!(
        refused.filter(|record| record["action"] == "revoke" && record["why"] == "malformed").count(),
        11
    );
    let socket = gateway.dir.path().join("operators.sock");
    let dir = Arc::clone(&gateway.dir);
    gateway.signal("TERM");
    eventually("the socket is removed", Duration::from_secs(30), || !socket.exists());
    drop(dir);
}
