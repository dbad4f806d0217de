//! A request that another proxy has: never on this wire, and read as strictly as if it had been.

use std::net::IpAddr;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use pingora::http::RequestHeader;

use super::context::Context;
use super::proxy::Gateway;
use crate::audit::event::OutcomeResult;
use crate::enforce::{Admission, BodyFault, BodySource, Ending};
use crate::request::facts::{Hop, RawRequest, Reading};
use crate::request::{Facts, Unreadable};

/// What was about a connection of the other proxy's, or is told in another way.
const OF_A_CONNECTION: [HeaderName; 8] = [
    header::HOST,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::EXPECT,
];

/// A request that another proxy has.
pub(super) struct Described {
    pub(super) header: RequestHeader,
    /// The header section as it would be on the wire, with the target byte for byte.
    section: Vec<u8>,
}

/// A body that goes past the gateway.
pub(super) struct Unseen;

#[async_trait]
impl BodySource for Unseen {
    async fn collect(&mut self, _: usize) -> Result<Bytes, BodyFault> {
        Err(BodyFault::Unseen)
    }
}

impl Described {
    /// Puts a request together; unless it `has_no_body` there may be one, of any length.
    ///
    /// # Errors
    /// The target can't stand in a request.
    pub(super) fn new(
        (method, target): (Method, &[u8]),
        host: &HeaderValue,
        headers: &HeaderMap,
        has_no_body: bool,
    ) -> Result<Self, Unreadable> {
        let build = || -> pingora::Result<RequestHeader> {
            let mut header = RequestHeader::build(method, target, Some(headers.len()))?;
            for (name, value) in headers.iter().filter(|(name, _)| !OF_A_CONNECTION.contains(name)) {
                header.append_header(name.clone(), value.clone())?;
            }
            header.insert_header(header::HOST, host.clone())?;
            if !has_no_body {
                // However long: what said so was for the other proxy's own connection.
                header.insert_header(header::TRANSFER_ENCODING, "chunked")?;
            }
            if headers.contains_key("sec-websocket-key") {
                // What asks for a WebSocket does not pass the other proxy either, but no service takes it without this key.
                header.insert_header(header::CONNECTION, "Upgrade")?;
                header.insert_header(header::UPGRADE, "websocket")?;
            }
            Ok(header)
        };
        let header = build().map_err(|_| Unreadable::NotOriginForm)?;
        let mut section = [header.method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"].concat();
        for (name, value) in &header.headers {
            section.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        section.extend_from_slice(b"\r\n");
        Ok(Self { header, section })
    }

    /// Reads it, as told by the proxy at `peer`.
    ///
    /// # Errors
    /// As [`Facts::read`].
    pub(super) fn read(&self, peer: IpAddr, reading: &Reading) -> Result<Facts, Unreadable> {
        let raw = RawRequest {
            method: &self.header.method,
            version: Version::HTTP_11,
            target: self.header.raw_path(),
            headers: &self.header.headers,
            section: &self.section,
            peer: Some(peer),
            hop: Hop::default(),
        };
        Facts::read(&raw, reading)
    }
}

impl Gateway {
    /// What the application is to be told about the caller of an admitted request, which goes on elsewhere: that nobody
    /// here sees its end is on record before anybody acts on the answer.
    ///
    /// # Errors
    /// As [`super::upstream::Upstreams::told`].
    pub(super) async fn give_leave(
        &self,
        context: &mut Context,
        admission: Box<Admission>,
    ) -> pingora::Result<RequestHeader> {
        context.admission = Some(admission);
        let told = context.live.upstreams.told(&context.departure()?)?;
        if let Some(intent) = context.settled.as_mut().and_then(|settled| settled.intent.take()) {
            let (result, took) = (OutcomeResult::NotObserved, context.started.elapsed());
            let ending = Ending { result, reason: None, status: None, response_bytes: 0, took };
            self.gate.close(&intent, ending).await;
        }
        Ok(told)
    }
}
