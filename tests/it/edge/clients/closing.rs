//! A connection that the gateway closes first: what is on its way to the client arrives.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpSocket;

use super::{LONG, start};
use crate::support::{Recorder, eventually};

/// More than the client's system takes at once, and less than the gateway's does.
const BYTES: usize = 300_000;

/// A client whose own buffer is small.
fn slow_reader(address: std::net::SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("set");
        socket.connect(address).await.expect("a connection").into_std().expect("a socket")
    });
    stream.set_nonblocking(false).expect("set");
    stream.set_read_timeout(Some(LONG)).expect("set");
    stream
}

/// Who still sends when the gateway has said its last would make a closed socket throw away what is not delivered yet.
#[test]
fn an_answer_arrives_whole_whatever_the_client_still_sends() {
    let upstream = Recorder::behaving(Arc::new(|_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&[b'a'; BYTES])).is_ok()
    }));
    let gateway = start(&upstream, "", "");
    let mut client = slow_reader(gateway.address);
    client.write_all(b"GET / HTTP/1.1\r\nHost: portal.example\r\nConnection: close\r\n\r\n").expect("sent");
    eventually("it was asked", LONG, || upstream.count() == 1);
    eventually("it is over", LONG, || gateway.metric("wardgate_requests_in_flight") == 0.0);
    for _ in 0..10 {
        // Whether it is still taken is the gateway's affair.
        let _ = client.write_all(b"more");
        std::thread::sleep(Duration::from_millis(30));
    }
    let mut said = Vec::new();
    let read = client.read_to_end(&mut said);
    assert!(read.is_ok() && said.len() > BYTES, "{read:?} after {} bytes", said.len());
    drop(client);
    eventually("its place is free", LONG, || gateway.metric("wardgate_connections") == 0.0);
}
