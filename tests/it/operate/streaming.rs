//! Large bodies pass through in bounded memory, whole, and no faster than the other end takes them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

use super::{NOTES, READ, listen, setup};
use crate::support::{Connection, Gateway, Signer, eventually, wire};

const BYTES: usize = 64 * 1024 * 1024;
const CHUNK: usize = 64 * 1024;
/// A kind of body that is never read on its way.
const IMAGE: (&str, &str) = ("Content-Type", "application/dicom");
/// The most by which the gateway may grow.
const GROWTH: usize = 40 * 1024 * 1024;

/// The most memory that the gateway has ever had, in bytes.
fn peak(gateway: &Gateway) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}

/// A body's chunks, no two alike.
fn chunks() -> impl Iterator<Item = Vec<u8>> {
    let pattern: Vec<u8> = (0..CHUNK).map(|at| u8::try_from(at % 251).expect("small")).collect();
    (0..BYTES / CHUNK).map(move |number| {
        let mut chunk = pattern.clone();
        chunk[..8].copy_from_slice(&number.to_be_bytes());
        chunk
    })
}

fn expected() -> Vec<u8> {
    let mut digest = Context::new(&SHA256);
    chunks().for_each(|chunk| digest.update(&chunk));
    digest.finish().as_ref().to_vec()
}

/// Takes uploads, slowly, and tells the digest of each.
fn taking() -> (SocketAddr, Receiver<Vec<u8>>) {
    let (taken, digests) = channel();
    let address = listen(move |mut stream| {
        let mut pending = Vec::new();
        let mut chunk = vec![0; CHUNK];
        let end = loop {
            let Ok(count @ 1..) = stream.read(&mut chunk) else { return };
            pending.extend_from_slice(&chunk[..count]);
            if let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let (mut digest, mut got) = (Context::new(&SHA256), pending.len() - end);
        digest.update(&pending[end..]);
        while got < BYTES {
            let Ok(count @ 1..) = stream.read(&mut chunk) else { return };
            digest.update(&chunk[..count]);
            got += count;
            // A gateway that takes more than it can pass on has it in memory now.
            std::thread::sleep(Duration::from_micros(500));
        }
        taken.send(digest.finish().as_ref().to_vec()).expect("the test listens");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    (address, digests)
}

#[test]
fn a_large_upload_is_streamed() {
    let (upstream, digests) = taking();
    let signer = Signer::new();
    let gateway = setup(upstream, &signer, |text| text).start();
    let token = signer.bearer("p1", "aal1", 5);
    let before = peak(&gateway);
    let mut connection = Connection::open(gateway.address).expect("a connection");
    let headers = [("Authorization", token.as_str()), IMAGE];
    connection.stream.write_all(wire::head("POST", NOTES, &headers, Some(BYTES)).as_bytes()).expect("sent");
    for chunk in chunks() {
        connection.stream.write_all(&chunk).expect("sent");
    }
    assert_eq!(connection.answer(false).expect("an answer").status, 200);
    assert_eq!(digests.recv_timeout(Duration::from_secs(5)).expect("a digest"), expected());
    let growth = peak(&gateway) - before;
    assert!(growth < GROWTH, "the gateway grew by {growth} bytes");
}

fn giving(stream: &mut TcpStream) -> std::io::Result<()> {
    let _ = stream.read(&mut [0; 4096])?;
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n").as_bytes())?;
    chunks().try_for_each(|chunk| stream.write_all(&chunk))
}

#[test]
fn a_large_download_is_streamed() {
    let upstream = listen(|mut stream| {
        let _ = giving(&mut stream);
    });
    let signer = Signer::new();
    let gateway = setup(upstream, &signer, |text| text).start();
    let token = signer.bearer("p1", "aal1", 5);
    let before = peak(&gateway);
    let mut connection = Connection::open(gateway.address).expect("a connection");
    let head = wire::head("GET", READ, &[("Authorization", &token)], None);
    connection.stream.write_all(head.as_bytes()).expect("sent");
    let answer = connection.answer_head().expect("an answer");
    let (mut digest, mut got) = (Context::new(&SHA256), 0);
    let whole = connection.body(&answer, |bytes| {
        digest.update(bytes);
        got += bytes.len();
        std::thread::sleep(Duration::from_micros(500));
    });
    whole.expect("the whole body");
    assert_eq!((got, digest.finish().as_ref()), (BYTES, expected().as_slice()));
    let growth = peak(&gateway) - before;
    assert!(growth < GROWTH, "the gateway grew by {growth} bytes");
}

#[test]
fn a_client_that_goes_away_ends_the_request_upstream() {
    let (ended, ends) = channel();
    let upstream = listen(move |mut stream| {
        let result = giving(&mut stream);
        ended.send(result.is_err()).expect("the test listens");
    });
    let signer = Signer::new();
    let gateway = setup(upstream, &signer, |text| text).start();
    let token = signer.bearer("p1", "aal1", 5);
    let mut connection = Connection::open(gateway.address).expect("a connection");
    let head = wire::head("GET", READ, &[("Authorization", &token)], None);
    connection.stream.write_all(head.as_bytes()).expect("sent");
    let answer = connection.answer_head().expect("an answer");
    let decision = answer.header("x-wardgate-decision").expect("a decision").to_owned();
    drop(connection);
    assert!(ends.recv_timeout(Duration::from_secs(10)).expect("it ends"), "the upstream went on sending");
    eventually("the outcome is recorded", Duration::from_secs(10), || {
        let outcome = |record: &serde_json::Value| {
            record["event"] == "outcome"
                && record["decision"] == decision.as_str()
                && record["result"] == "client_gone"
        };
        gateway.audit().iter().any(outcome)
    });
    assert_eq!(gateway.metric("wardgate_requests_in_flight"), 0.0);
}

#[test]
fn an_upload_that_breaks_off_does_not_look_whole_upstream() {
    for chunked in [false, true] {
        let (ended, ends) = channel();
        let upstream = listen(move |mut stream| {
            let mut got = Vec::new();
            let end = stream.read_to_end(&mut got).is_ok();
            ended.send((end, String::from_utf8_lossy(&got).into_owned())).expect("the test listens");
        });
        let signer = Signer::new();
        let gateway = setup(upstream, &signer, |text| text).start();
        let token = signer.bearer("p1", "aal1", 5);
        let mut connection = Connection::open(gateway.address).expect("a connection");
        let mut headers = vec![("Authorization", token.as_str()), IMAGE];
        headers.extend(chunked.then_some(("Transfer-Encoding", "chunked")));
        let head = wire::head("POST", NOTES, &headers, (!chunked).then_some(1000));
        let body = if chunked { "4\r\nhalf\r\n" } else { "half" };
        connection.stream.write_all(format!("{head}{body}").as_bytes()).expect("sent");
        std::thread::sleep(Duration::from_millis(200));
        drop(connection);
        let (_, got) = ends.recv_timeout(Duration::from_secs(10)).expect("the upstream sees the end");
        assert!(got.contains("half") && !got.contains("\r\n0\r\n"), "{got:?}");
        eventually("the outcome is recorded", Duration::from_secs(10), || {
            gateway
                .audit()
                .iter()
                .any(|record| record["event"] == "outcome" && record["result"] == "client_gone")
        });
    }
}

#[test]
fn an_upload_that_the_upstream_declines_early_is_answered() {
    let upstream = listen(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig",
        );
        // As servers do: they read on for a moment, so that the answer is not lost.
        let _ = stream.set_read_timeout(Some(Duration::from_millis(500)));
        while stream.read(&mut [0; CHUNK]).is_ok_and(|count| count > 0) {}
    });
    let signer = Signer::new();
    let gateway = setup(upstream, &signer, |text| text).start();
    let token = signer.bearer("p1", "aal1", 5);
    let mut connection = Connection::open(gateway.address).expect("a connection");
    let head = wire::head("POST", NOTES, &[("Authorization", &token), IMAGE], Some(BYTES));
    connection.stream.write_all(head.as_bytes()).expect("sent");
    connection.stream.write_all(&[0; CHUNK]).expect("sent");
    let answer = connection.answer(false).expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
}
