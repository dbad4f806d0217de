//! An HTTP/2 connection that asks for nothing is ended in time, in order and with its reason on record; of too many whose
//! bodies are slow, the slowest is ended.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;

use super::{Bench, bare, get};
use crate::support::{Gateway, Recorder, eventually};

const LONG: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(2);

fn closed(gateway: &Gateway, cause: &str) -> f64 {
    gateway.metric(&format!("wardgate_connections_closed_total{{cause=\"{cause}\""))
}

#[tokio::test]
async fn the_first_request_and_the_next_ones_have_their_time() {
    let upstream = Recorder::start();
    let bench = Bench::configured(upstream.address, ", limits: { header_deadline: 2s, keep_alive: 2s }");
    // Nothing but a preface.
    let begun = Instant::now();
    let silent = bench.open().await;
    silent.without_end().await;
    assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
    eventually("it is counted", LONG, || closed(&bench.gateway, "header_deadline") == 1.0);

    // Not even that.
    let socket = TcpStream::connect(bench.gateway.address).await.expect("a connection");
    let _stream = super::encrypt(socket, &bench.client).await.expect("a handshake");
    eventually("it is counted", LONG, || closed(&bench.gateway, "header_deadline") == 2.0);

    // A request, and then none.
    let mut idle = bench.open().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(idle.ask(bare(get("/open/x")), None).await.expect("an answer").status, 200);
    let begun = Instant::now();
    idle.without_end().await;
    assert!(begun.elapsed() >= LIMIT - Duration::from_millis(100), "{:?}", begun.elapsed());
    eventually("it is counted", LONG, || closed(&bench.gateway, "keep_alive") == 1.0);
    assert_eq!(closed(&bench.gateway, "header_deadline"), 2.0);
    let told = bench.gateway.metric(r#"wardgate_http2_goaways_total{code="no_error"}"#);
    assert_eq!(told, 2.0, "who spoke HTTP/2 was told in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_too_many_slow_bodies_the_slowest_goes() {
    let upstream = Recorder::start();
    let bench = Bench::configured(upstream.address, ", limits: { body_grace: 60s, slow_bodies: 1 }");
    // One that is streamed, and one that is read to decide.
    for (ended, target) in [(1.0, "/open/x"), (2.0, "/patients/p1/profile")] {
        let mut slow = Vec::new();
        for _ in 0..2 {
            let mut connection = bench.open().await;
            let put = get(target)
                .method(if target == "/open/x" { "POST" } else { "PUT" })
                .header("authorization", &bench.token)
                .header("content-type", "application/json");
            let (answer, mut body) = connection.send.send_request(bare(put), false).expect("sent");
            body.send_data(Bytes::from_static(br#"{"language""#), false).expect("sent");
            slow.push((connection, answer, body));
            // How far behind one is, is looked at once a second.
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let (connection, answer, _body) = slow.remove(0);
        connection.without_end().await;
        assert!(answer.await.is_err(), "{target}");
        eventually("it is counted", LONG, || closed(&bench.gateway, "slow_bodies") == ended);
        // The other one has all its time.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (_connection, answer, mut body) = slow.remove(0);
        body.send_data(Bytes::from_static(br#":"en"}"#), true).expect("sent");
        assert_eq!(answer.await.expect("an answer").status(), 200, "{target}");
        assert_eq!(closed(&bench.gateway, "slow_bodies"), ended);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_slow_upstream_is_not_one_of_too_many() {
    const BYTES: usize = 16 * 1024 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                super::super::backends::read_head(&mut stream)?;
                std::thread::sleep(Duration::from_secs(4));
                let mut body = vec![0; BYTES];
                stream.read_exact(&mut body).ok()?;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok()
            });
        }
    });
    let bench = Bench::configured(address, ", limits: { body_grace: 60s, slow_bodies: 1 }");
    let mut answers = Vec::new();
    for _ in 0..3 {
        let mut connection = bench.open().await;
        let post = get("/open/x").method("POST").header("content-length", BYTES);
        let (answer, mut body) = connection.send.send_request(bare(post), false).expect("sent");
        // As much of it as the windows let.
        body.send_data(Bytes::from(vec![b'x'; BYTES]), true).expect("sent");
        answers.push((answer, connection));
    }
    for (answer, _connection) in answers {
        assert_eq!(answer.await.expect("an answer").status(), 200);
    }
    assert_eq!(closed(&bench.gateway, "slow_bodies"), 0.0);
}
