//! At a stop an HTTP/2 client is told in two steps (RFC 9113 §6.8): nothing that it sent is lost, and what it sends
//! later it may send elsewhere.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpSocket;

use super::{Bench, bare, get};
use crate::support::{Recorder, eventually};

const LONG: Duration = Duration::from_secs(30);
/// What an answer consists of that comes in two halves.
const HALF: usize = 50_000;

/// An upstream whose answers the test sends: a half when the request has come, and one when it is told.
struct Halves {
    address: std::net::SocketAddr,
    /// What each request said, and the means to finish its answer.
    arrived: mpsc::Receiver<(String, mpsc::Sender<()>)>,
}

impl Halves {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (tell, arrived) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell = tell.clone();
                std::thread::spawn(move || answer(stream, &tell));
            }
        });
        Self { address, arrived }
    }

    fn next(&self) -> (String, mpsc::Sender<()>) {
        self.arrived.recv_timeout(LONG).expect("a request")
    }
}

fn answer(mut stream: StdStream, tell: &mpsc::Sender<(String, mpsc::Sender<()>)>) {
    let Some(head) = super::super::backends::read_head(&mut stream) else { return };
    let mut body = vec![0; if head.starts_with("POST") { 5 } else { 0 }];
    let _ = stream.read_exact(&mut body);
    let (finish, finished) = mpsc::channel();
    let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 2 * HALF).as_bytes());
    let _ = stream.write_all(&[b'a'; HALF]);
    let _ = tell.send((head, finish));
    if finished.recv().is_ok() {
        let _ = stream.write_all(&[b'b'; HALF]);
        let _ = stream.shutdown(Shutdown::Write);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_under_way_are_finished_and_no_more_are_taken() {
    let upstream = Halves::start();
    let mut bench = Bench::to(upstream.address);
    let mut connection = bench.open().await;
    let mut answers = Vec::new();
    let mut finish = Vec::new();
    for path in ["/open/1", "/open/2"] {
        connection.send = connection.send.clone().ready().await.expect("open");
        let answer = connection.send.send_request(bare(get(path)), true).expect("sent").0;
        // They share one window.
        answers.push(tokio::spawn(super::whole(answer)));
        finish.push(upstream.next());
    }
    // One whose body is still to come, and one that nobody uses.
    connection.send = connection.send.clone().ready().await.expect("open");
    let post = get("/open/3").method("POST").header("content-length", "5");
    let (posted, mut body) = connection.send.send_request(bare(post), false).expect("sent");
    body.send_data("12".into(), false).expect("sent");
    let idle = bench.open().await;

    bench.gateway.signal("TERM");
    let asked = Instant::now();
    eventually("nobody listens any more", LONG, || StdStream::connect(bench.gateway.address).is_err());
    while connection.send.clone().ready().await.is_ok() {
        assert!(asked.elapsed() < LONG, "new streams are taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(connection.send.send_request(bare(get("/open/late")), true).is_err());
    idle.without_end().await;

    // Long after the last moment for new requests: what runs is waited for.
    tokio::time::sleep(Duration::from_secs(4).saturating_sub(asked.elapsed())).await;
    body.send_data("345".into(), true).expect("the stream is open");
    finish.push(upstream.next());
    assert!(finish[2].0.starts_with("POST /open/3 "));
    for (_, finish) in &finish {
        finish.send(()).expect("waiting");
    }
    answers.push(tokio::spawn(super::whole(posted)));
    for answer in answers {
        let answer = tokio::time::timeout(LONG, answer).await.expect("in time");
        let (status, body) = answer.expect("no panic").expect("an answer");
        assert_eq!((status, body.len()), (StatusCode::OK, 2 * HALF));
    }
    connection.without_end().await;
    assert!(upstream.arrived.try_recv().is_err(), "nothing came after the goodbye");
    // It leaves as soon as it can.
    assert_eq!(bench.gateway.wait(Duration::from_secs(8)), Some(0));
    let records = bench.gateway.audit();
    let completed = records.iter().filter(|record| record["result"] == "completed").count();
    assert_eq!((completed, bench.gateway.admitted_intents()), (3, 3));
}

/// Whether a [`Gated`] stream may be read.
#[derive(Default)]
struct Gate {
    open: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Gate {
    fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.lock().expect("whole").take() {
            reader.wake();
        }
    }
}

/// A stream of which nothing is read until its gate is open.
struct Gated<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Gated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        *self.gate.reader.lock().expect("whole") = Some(context.waker().clone());
        if !self.gate.open.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gated<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// An answer is over for its request when the library has it all; the client may not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_not_yet_taken_are_waited_for() {
    const STREAMS: usize = 90;
    const BYTES: usize = 60_000;
    let upstream = Recorder::behaving(Arc::new(|_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&[b'a'; BYTES])).is_ok()
    }));
    let mut bench = Bench::before(upstream);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("set");
    let socket = socket.connect(bench.gateway.address).await.expect("a connection");
    let inner = super::encrypt(socket, &bench.client).await.expect("a handshake");
    let gate = Arc::new(Gate::default());
    let mut builder = h2::client::Builder::new();
    // All that is asked for may be sent at once.
    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 26);
    let (mut send, connection) =
        builder.handshake::<_, Bytes>(Gated { inner, gate: Arc::clone(&gate) }).await.expect("begun");
    let driver = tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..STREAMS {
        send = send.ready().await.expect("open");
        answers.push(send.send_request(bare(get("/open/x")), true).expect("sent").0);
    }
    eventually("they have come", LONG, || bench.upstream.count() == STREAMS);
    eventually("they are over", LONG, || bench.gateway.metric("wardgate_requests_in_flight") == 0.0);
    bench.gateway.signal("TERM");
    eventually("nobody listens any more", LONG, || StdStream::connect(bench.gateway.address).is_err());
    // Long after the last moment for new requests.
    tokio::time::sleep(Duration::from_secs(4)).await;
    gate.open();
    drop(send);
    for answer in answers {
        let answer = tokio::time::timeout(LONG, super::whole(answer)).await.expect("in time");
        let (status, body) = answer.expect("an answer");
        assert_eq!((status, body.len()), (StatusCode::OK, BYTES));
    }
    let _ = tokio::time::timeout(LONG, driver).await.expect("the connection ends");
    assert_eq!(bench.gateway.wait(Duration::from_secs(8)), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_at_the_end_of_the_grace_does_not_look_whole() {
    let upstream = Halves::start();
    let mut bench = Bench::to(upstream.address);
    let mut connection = bench.open().await;
    let response = connection.send.send_request(bare(get("/open/1")), true).expect("sent").0;
    let _unfinished = upstream.next();
    let answer = tokio::spawn(super::whole(response));
    bench.gateway.signal("TERM");
    let asked = Instant::now();
    let answer = tokio::time::timeout(LONG, answer).await.expect("in time").expect("no panic");
    assert!(answer.is_err(), "{answer:?}");
    assert!(asked.elapsed() >= Duration::from_secs(10), "before the deadline");
    assert_eq!(bench.gateway.wait(LONG), Some(0));
    let records = bench.gateway.audit();
    let outcomes = records.iter().filter(|record| record["event"] == "outcome").collect::<Vec<_>>();
    assert!(outcomes.len() == 1 && outcomes[0]["result"] != "completed", "{outcomes:?}");
}
