//! WebSockets outlive listeners, and end with a word of the gateway's at the end of the grace period.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use super::upgrade::Line;
use crate::support::{Setup, Signer, eventually, http, tokens};

const LONG: Duration = Duration::from_secs(30);
const VISIT: &str = "/patients/p1/visits/v1/ws";
const ROUTES: &str = r#"
  - { id: visit.join, match: { path: "/patients/{patient}/visits/{visit}/ws", upgrade: websocket },
      upstream: app, tier: moderate, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;
const GRACE: Duration = Duration::from_secs(4);

/// A path ending in `stream` is sent large messages without pause; other sockets are echoed.
async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = accept_async(stream).await.expect("a handshake");
                match socket.next().await {
                    Some(Ok(Message::Text(text))) if text == "stream" => {
                        let message = Message::binary(vec![0x88; 100_000]);
                        while socket.send(message.clone()).await.is_ok() {}
                    }
                    Some(Ok(first)) => {
                        let mut next = Some(first);
                        while let Some(message) = next {
                            if (message.is_text() || message.is_binary())
                                && socket.send(message).await.is_err()
                            {
                                return;
                            }
                            next = socket.next().await.and_then(Result::ok);
                        }
                    }
                    _ => {}
                }
            });
        }
    });
    address
}

fn setup(upstream: SocketAddr, signer: &Signer) -> Setup {
    let config = tokens::config(upstream, ROUTES).replace("grace: 10s", "grace: 4s");
    Setup::new(&config, |dir| std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable"))
}

async fn join(address: SocketAddr, signer: &Signer) -> WebSocketStream<TcpStream> {
    let mut request = format!("ws://portal.example{VISIT}").into_client_request().expect("a request");
    let token = signer.bearer("p1", "aal1", 5);
    request.headers_mut().insert("authorization", token.parse().expect("a value"));
    let stream = TcpStream::connect(address).await.expect("a connection");
    client_async(request, stream).await.expect("a handshake").0
}

async fn say(socket: &mut WebSocketStream<TcpStream>, word: &str) {
    socket.send(Message::text(word)).await.expect("sent");
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Message {
    let message = tokio::time::timeout(LONG, socket.next()).await;
    message.expect("in time").expect("a message").expect("whole")
}

fn assert_going_away(message: &Message) {
    match message {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Away),
        other => panic!("{other:?}"),
    }
}

/// The rest of a socket ends in order.
async fn assert_ends(mut socket: WebSocketStream<TcpStream>) {
    let end = tokio::time::timeout(LONG, async {
        while let Some(message) = socket.next().await {
            assert!(
                !matches!(message, Ok(Message::Text(_) | Message::Binary(_))),
                "after the close: {message:?}"
            );
        }
    });
    end.await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_go_on_until_the_deadline_and_are_told_then() {
    let signer = Signer::new();
    let mut gateway = setup(upstream().await, &signer).start();
    let (mut quiet, mut busy) = (join(gateway.address, &signer).await, join(gateway.address, &signer).await);
    let mut streamed = join(gateway.address, &signer).await;
    for socket in [&mut quiet, &mut busy] {
        say(socket, "hello").await;
        assert_eq!(next(socket).await, Message::text("hello"));
    }
    say(&mut streamed, "stream").await;
    assert!(next(&mut streamed).await.is_binary());
    let reader = tokio::spawn(async move {
        let mut whole = 0;
        loop {
            match next(&mut streamed).await {
                Message::Binary(bytes) => {
                    assert!(bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == 0x88));
                    whole += 1;
                }
                end => {
                    assert_going_away(&end);
                    return whole;
                }
            }
        }
    });

    gateway.signal("TERM");
    let asked = Instant::now();
    let mut is_closed = false;
    while asked.elapsed() < GRACE {
        is_closed |= TcpStream::connect(gateway.address).await.is_err();
        say(&mut busy, "still here").await;
        assert_eq!(next(&mut busy).await, Message::text("still here"), "before the deadline");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(is_closed, "after the lame duck nobody can connect any more");
    assert_going_away(&next(&mut quiet).await);
    assert!(asked.elapsed() >= GRACE, "told before the deadline");
    loop {
        match next(&mut busy).await {
            Message::Text(_) => {}
            end => break assert_going_away(&end),
        }
    }
    assert_ends(quiet).await;
    assert_ends(busy).await;
    assert!(reader.await.expect("joined") > 10, "large messages arrived whole");
    assert_eq!(gateway.wait(LONG), Some(0));
    let records = gateway.audit();
    assert_eq!(records.iter().filter(|record| record["event"] == "outcome").count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_the_old_program_go_on_after_an_upgrade() {
    let signer = Signer::new();
    let line = Line::start(setup(upstream().await, &signer));
    let mut old_socket = join(line.gateway.address, &signer).await;
    say(&mut old_socket, "hello").await;
    assert_eq!(next(&mut old_socket).await, Message::text("hello"));
    let old = line.upgrade();
    let mut new_socket = join(line.gateway.address, &signer).await;
    say(&mut new_socket, "new").await;
    assert_eq!(next(&mut new_socket).await, Message::text("new"));
    say(&mut old_socket, "old").await;
    assert_eq!(next(&mut old_socket).await, Message::text("old"));
    assert_going_away(&next(&mut old_socket).await);
    assert_ends(old_socket).await;
    line.wait_for_end(old);
    // For a moment both programs take connections: this one may have been the old one's.
    let is_open = new_socket.send(Message::text("still")).await.is_ok();
    if !is_open || next(&mut new_socket).await != Message::text("still") {
        new_socket = join(line.gateway.address, &signer).await;
        say(&mut new_socket, "still").await;
        assert_eq!(next(&mut new_socket).await, Message::text("still"));
    }
    new_socket.close(None).await.expect("closed");
    eventually("it is counted", LONG, || line.gateway.metric("wardgate_requests_in_flight") == 0.0);
    assert_eq!(http::get(line.gateway.telemetry, "/readyz").expect("an answer").status, 200);
}
