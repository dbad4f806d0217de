//! WebSocket through the gateway: the handshake is judged like any request, then frames pass both ways.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use super::{NOTES, READ, setup};
use crate::support::{Gateway, Recorder, Setup, Signer, eventually, wire};

const VISIT: &str = "/patients/p1/visits/v1/ws";
const ROUTE: &str = r#"  - { id: visit.join, match: { path: "/patients/{patient}/visits/{visit}/ws", upgrade: websocket },
      upstream: app, tier: moderate, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;

fn with_visits(upstream: SocketAddr, signer: &Signer) -> Setup {
    setup(upstream, signer, |text| format!("{text}{ROUTE}"))
}

/// Greets, then echoes; keeps the handshakes' headers.
pub async fn echoing(handshakes: Arc<Mutex<Vec<Request>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handshakes = Arc::clone(&handshakes);
            tokio::spawn(async move {
                #[expect(clippy::result_large_err, reason = "the library's own type")]
                let keep = |request: &Request, response: Response| {
                    handshakes.lock().expect("whole").push(request.clone());
                    Ok(response)
                };
                let mut socket = accept_hdr_async(stream, keep).await.expect("a handshake");
                socket.send(Message::text("welcome")).await.expect("sent");
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() || message.is_binary() {
                        socket.send(message).await.expect("sent");
                    }
                }
            });
        }
    });
    address
}

async fn join(gateway: &Gateway, target: &str, token: &str) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://portal.example{target}").into_client_request().expect("a request");
    request.headers_mut().insert("authorization", token.parse().expect("a value"));
    request.headers_mut().insert("x-remote-user", "forged".parse().expect("a value"));
    let stream = TcpStream::connect(gateway.address).await.expect("a connection");
    Ok(client_async(request, stream).await?.0)
}

pub async fn next(socket: &mut WebSocketStream<TcpStream>) -> Message {
    let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
    message.expect("in time").expect("a message").expect("whole")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_pass_both_ways() {
    let handshakes = Arc::default();
    let upstream = echoing(Arc::clone(&handshakes)).await;
    let signer = Signer::new();
    let gateway = with_visits(upstream, &signer).start();
    let token = signer.bearer("p1", "aal1", 5);
    let mut socket = join(&gateway, VISIT, &token).await.expect("joined");
    assert_eq!(next(&mut socket).await, Message::text("welcome"), "the first word may be the upstream's");
    let large = Message::binary((0..1_000_000_u32).map(|at| at.to_be_bytes()[3]).collect::<Vec<u8>>());
    for message in [Message::text("hello"), large, Message::text("")] {
        socket.send(message.clone()).await.expect("sent");
        assert!(next(&mut socket).await == message);
    }
    socket.send(Message::Ping(b"p"[..].into())).await.expect("sent");
    assert_eq!(next(&mut socket).await, Message::Pong(b"p"[..].into()));
    let mut others = Vec::new();
    for number in 0..20 {
        let mut other = join(&gateway, VISIT, &token).await.expect("joined");
        other.send(Message::text(number.to_string())).await.expect("sent");
        others.push(other);
    }
    for (number, mut other) in others.into_iter().enumerate() {
        assert_eq!(next(&mut other).await, Message::text("welcome"));
        assert_eq!(next(&mut other).await, Message::text(number.to_string()));
        other.close(None).await.expect("closed");
        while other.next().await.is_some_and(|message| message.is_ok()) {}
    }
    socket.close(None).await.expect("closed");
    while socket.next().await.is_some_and(|message| message.is_ok()) {}

    let handshakes: Vec<Request> = handshakes.lock().expect("whole").clone();
    assert_eq!(handshakes.len(), 21);
    let header = |name| handshakes[0].headers().get(name).and_then(|value| value.to_str().ok());
    assert_eq!((header("x-remote-user"), header("authorization")), (Some("patients:user-p1"), None));
    assert!(header("x-wardgate-assertion").is_some());
    eventually("no request is left", Duration::from_secs(10), || {
        gateway.metric("wardgate_requests_in_flight") == 0.0
    });
    let records = gateway.audit();
    let outcomes = records.iter().filter(|record| record["event"] == "outcome" && record["status"] == 101);
    assert_eq!(outcomes.clone().count(), 21);
    assert!(
        outcomes.clone().all(|record| record["result"] == "completed"),
        "{:?}",
        outcomes.collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_is_judged_like_any_request() {
    let upstream = Recorder::start();
    let signer = Signer::new();
    let gateway = with_visits(upstream.address, &signer).start();
    let (own, other) = (signer.bearer("p1", "aal1", 5), signer.bearer("p2", "aal1", 5));
    let old = signer.bearer("p1", "aal1", 9 * 3600);
    let refused =
        [(VISIT, "Bearer x", 401), (VISIT, &other, 403), (VISIT, &old, 401), ("/nowhere", &own, 404)];
    for (target, token, status) in refused {
        match join(&gateway, target, token).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), status, "{target}"),
            other => panic!("{target}: {other:?}"),
        }
    }
    // Neither way round: a handshake where none is expected, a plain request where one is.
    for target in [READ, NOTES] {
        assert!(
            matches!(join(&gateway, target, &own).await, Err(Error::Http(answer)) if answer.status().is_client_error())
        );
    }
    let plain =
        wire::once(gateway.address, "GET", VISIT, &[("Authorization", &own)], b"").expect("an answer");
    assert!((400..500).contains(&plain.status), "{plain:?}");
    assert_eq!(upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_may_decline() {
    let upstream = Recorder::behaving(Arc::new(|_, stream| {
        stream.write_all(b"HTTP/1.1 409 Conflict\r\nContent-Length: 4\r\n\r\nfull").is_ok()
    }));
    let signer = Signer::new();
    let gateway = with_visits(upstream.address, &signer).start();
    let token = signer.bearer("p1", "aal1", 5);
    match join(&gateway, VISIT, &token).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 409),
        other => panic!("{other:?}"),
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_on_either_side_ends_the_other() {
    let handshakes = Arc::default();
    let upstream = echoing(Arc::clone(&handshakes)).await;
    let signer = Signer::new();
    let gateway = with_visits(upstream, &signer).start();
    let socket = join(&gateway, VISIT, &signer.bearer("p1", "aal1", 5)).await.expect("joined");
    drop(socket);
    eventually("the gateway lets go", Duration::from_secs(10), || {
        gateway.metric("wardgate_requests_in_flight") == 0.0
    });

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let accepted = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        // Gone without a word.
        drop(tokio_tungstenite::accept_async(stream).await.expect("a handshake"));
    });
    let gateway = with_visits(address, &signer).start();
    let mut socket = join(&gateway, VISIT, &signer.bearer("p1", "aal1", 5)).await.expect("joined");
    accepted.await.expect("done");
    let end = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.expect("in time");
    assert!(end.is_none_or(|message| message.is_err()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_visit_outlasts_the_time_an_answer_may_take() {
    let upstream = echoing(Arc::default()).await;
    let signer = Signer::new();
    let setup = setup(upstream, &signer, |text| format!("{text}{ROUTE}").replace("read: 5s", "read: 500ms"));
    let gateway = setup.start();
    let mut socket = join(&gateway, VISIT, &signer.bearer("p1", "aal1", 5)).await.expect("joined");
    assert_eq!(next(&mut socket).await, Message::text("welcome"));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    socket.send(Message::text("still here")).await.expect("sent");
    assert_eq!(next(&mut socket).await, Message::text("still here"));
}
