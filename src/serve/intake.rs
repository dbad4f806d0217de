//! From a Pingora session to facts, or to the reason why there are none.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::edge;
use crate::enforce::{BodyFault, BodySource};
use crate::request::facts::{Hop, RawRequest, Reading, is_server_options};
use crate::request::framing::BodyLength;
use crate::request::{Facts, Unreadable};

/// Unread bodies up to this size are read before a refusal, so that the connection can go on.
const DRAIN_BYTES: u64 = 64 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// What kind of request arrived.
pub enum Intake {
    /// A request about some resource, or why it can't be read.
    Request(Box<Result<Facts, Unreadable>>),
    /// `OPTIONS *`.
    ServerOptions,
}

/// Reads the request at the head of a session.
pub fn read(session: &Session, reading: &Reading) -> Intake {
    let header = session.req_header();
    // The section's own bytes: the parser has already tidied what it parsed.
    let section = session.as_http1().map(|http1| http1.get_headers_raw_bytes()).unwrap_or_default();
    let raw = RawRequest {
        method: &header.method,
        version: header.version,
        target: header.raw_path(),
        headers: &header.headers,
        section: &section,
        peer: edge::client(session),
        hop: hop(session),
    };
    if edge::request_line_is_odd(session) {
        // Pingora has encoded what stood there, so the raw bytes are not to be seen any more.
        return Intake::Request(Box::new(Err(Unreadable::ForbiddenCharacter)));
    }
    if is_server_options(&raw) {
        Intake::ServerOptions
    } else {
        Intake::Request(Box::new(Facts::read(&raw, reading)))
    }
}

/// Reads a request that comes not from the wire, but by it: its person has confirmed it on this session.
pub fn resumed(session: &Session, header: &RequestHeader, reading: &Reading) -> Result<Facts, Unreadable> {
    let mut section = format!("{} ", header.method).into_bytes();
    section.extend_from_slice(header.raw_path());
    section.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &header.headers {
        section.extend_from_slice(name.as_str().as_bytes());
        section.extend_from_slice(b": ");
        section.extend_from_slice(value.as_bytes());
        section.extend_from_slice(b"\r\n");
    }
    section.extend_from_slice(b"\r\n");
    let (encrypted, certificate) = edge::encryption(session);
    let raw = RawRequest {
        method: &header.method,
        version: http::Version::HTTP_11,
        target: header.raw_path(),
        headers: &header.headers,
        section: &section,
        peer: edge::client(session),
        hop: Hop { encrypted, certificate, ..Hop::default() },
    };
    Facts::read(&raw, reading)
}

/// The address at the other end of the connection itself, whomever it speaks for.
pub fn direct_peer(session: &Session) -> Option<IpAddr> {
    session.client_addr().and_then(|address| address.as_inet()).map(|inet| inet.ip())
}

fn hop(session: &Session) -> Hop<'_> {
    let (encrypted, certificate) = edge::encryption(session);
    match session.as_http2() {
        None => Hop { encrypted, certificate, ..Hop::default() },
        Some(stream) => Hop {
            authority: session.req_header().uri.authority().map(http::uri::Authority::as_str),
            body_follows: !stream.is_body_done(),
            encrypted,
            certificate,
        },
    }
}

/// A session's body, kept once it was collected.
pub struct SessionBody<'s> {
    session: &'s mut Session,
    collected: Option<Bytes>,
}

impl<'s> SessionBody<'s> {
    /// A body that was not read yet.
    pub fn new(session: &'s mut Session) -> Self {
        Self { session, collected: None }
    }

    /// What was collected; `None` where the body was never asked for and can still be streamed.
    pub fn into_collected(self) -> Option<Bytes> {
        self.collected
    }
}

#[async_trait]
impl BodySource for SessionBody<'_> {
    async fn collect(&mut self, limit: usize) -> Result<Bytes, BodyFault> {
        if let Some(collected) = &self.collected {
            return if collected.len() <= limit { Ok(collected.clone()) } else { Err(BodyFault::TooLarge) };
        }
        // A client that waits for leave to send would wait for ever (RFC 9110 §10.1.1).
        if self
            .session
            .get_header(http::header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
        {
            self.session.write_continue_response().await.map_err(|_| BodyFault::Incomplete)?;
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = self.session.read_request_body().await.map_err(|_| {
            if edge::was_too_slow(self.session) { BodyFault::TooSlow } else { BodyFault::Incomplete }
        })? {
            if body.len() + chunk.len() > limit {
                return Err(BodyFault::TooLarge);
            }
            body.extend_from_slice(&chunk);
            edge::takes_up(self.session, chunk.len());
        }
        let body = body.freeze();
        self.collected = Some(body.clone());
        Ok(body)
    }
}

/// Reads what is left of a small body, so that the connection can go on after a refusal; says whether it can.
///
/// It must be read before the answer: a client that waits for leave to send (RFC 9110 §10.1.1) would wait for ever.
pub async fn drain(session: &mut Session, facts: Option<&Facts>, collected: Option<&Bytes>) -> bool {
    let length = match facts.map(|facts| facts.body.length) {
        _ if collected.is_some() => return true,
        Some(BodyLength::None) => return true,
        Some(BodyLength::Known(bytes)) => bytes,
        Some(BodyLength::Chunked) | None => return false,
    };
    let waits = session.get_header(http::header::EXPECT).is_some();
    length <= DRAIN_BYTES
        && !waits
        && tokio::time::timeout(DRAIN_TIME, session.drain_request_body()).await.is_ok_and(|read| read.is_ok())
}
