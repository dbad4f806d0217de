//! One connection: bytes out, every answer on it back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::http::{self, Answer};
use crate::support::upstream::Recorded;

/// How long an answer may take; a case that gets none waits this long.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long an open connection is watched for an answer too many.
const LINGER: Duration = Duration::from_millis(150);

/// Sends the bytes on a fresh connection; reads `wanted` answers, and whatever comes after them.
pub fn exchange(address: SocketAddr, bytes: &[u8], wanted: usize) -> Vec<Answer> {
    let to_head = bytes.starts_with(b"HEAD ");
    split(&read(address, bytes, |got| split(got, to_head).len() >= wanted), to_head)
}

/// The same, as bytes. `enough` says when only stragglers are still waited for.
pub fn read(address: SocketAddr, bytes: &[u8], enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    converse(&mut TcpStream::connect(address).expect("the gateway listens"), bytes, enough)
}

/// The same, on a connection that is there.
pub fn converse(stream: &mut TcpStream, bytes: &[u8], enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    // The other end may close while we still send; what it said before is what counts.
    let _ = stream.write_all(bytes);
    let mut got = Vec::new();
    let mut chunk = [0u8; 16384];
    loop {
        stream.set_read_timeout(Some(if enough(&got) { LINGER } else { PATIENCE })).expect("a timeout");
        match stream.read(&mut chunk) {
            Ok(0) => return got,
            Ok(count) => got.extend_from_slice(&chunk[..count]),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionReset
                ) =>
            {
                return got;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Takes the answers apart; an answer that is not whole is left out, interim ones are passed over; answers to
/// `HEAD` have no body.
pub fn split(mut bytes: &[u8], to_head: bool) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) {
        let Ok(answer) = http::parse(&bytes[..head]) else {
            // An interim answer, which `parse` looks behind.
            bytes = &bytes[head..];
            continue;
        };
        let length = if to_head {
            Some(0)
        } else if answer.header("transfer-encoding").is_some() {
            bytes[head..].windows(5).position(|window| window == b"0\r\n\r\n").map(|at| at + 5)
        } else if answer.status == 101 {
            Some(bytes.len() - head)
        } else {
            Some(answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0))
        };
        let Some(end) = length.map(|length| head + length).filter(|end| *end <= bytes.len()) else { break };
        answers.push(http::parse(&bytes[..end]).expect("its head was read before"));
        bytes = &bytes[end..];
    }
    answers
}

/// A recorded body without its chunk framing.
pub fn dechunked(request: &Recorded) -> Vec<u8> {
    if request.values("transfer-encoding").is_empty() {
        return request.body.clone();
    }
    let (mut body, mut rest) = (Vec::new(), request.body.as_slice());
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end])
            .ok()
            .and_then(|size| usize::from_str_radix(size, 16).ok())
            .unwrap_or(0);
        if size == 0 || rest.len() < end + 2 + size + 2 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    body
}
