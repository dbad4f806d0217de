//! A request that another proxy has: never on this wire, and read as strictly as if it had been.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use pingora::http::RequestHeader;

use super::context::Context;
use super::proxy::Gateway;
use super::reply::Reply;
use crate::audit::event::OutcomeResult;
use crate::decision::{Challenge, Denial, Reason};
use crate::enforce::{Admission, Arrival, BodyFault, BodySource, Ending, Outcome, Settled};
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

/// Who may ask is believed about its client as if it were on this machine, wherever it is.
const SPOKESMAN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A request that another proxy has.
pub(super) struct Described {
    header: RequestHeader,
    /// Byte for byte.
    target: Box<[u8]>,
    /// All of its body; `None` where it goes past the gateway.
    body: Option<Bytes>,
}

/// The body of a request that another proxy has.
struct Told(Option<Bytes>);

#[async_trait]
impl BodySource for Told {
    async fn collect(&mut self, limit: usize) -> Result<Bytes, BodyFault> {
        match &self.0 {
            None => Err(BodyFault::Unseen),
            Some(body) if body.len() > limit => Err(BodyFault::TooLarge),
            Some(body) => Ok(body.clone()),
        }
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
        Ok(Self { header, target: target.into(), body: None })
    }

    /// The same request with its whole body.
    ///
    /// # Errors
    /// Its length can't be written.
    pub(super) fn with_body(mut self, body: Bytes) -> Result<Self, Unreadable> {
        self.header.remove_header(&header::TRANSFER_ENCODING);
        self.header
            .insert_header(header::CONTENT_LENGTH, body.len())
            .map_err(|_| Unreadable::ForbiddenCharacter)?;
        self.body = Some(body);
        Ok(self)
    }

    /// The header section as it would be on the wire, with the target byte for byte.
    fn section(&self) -> Vec<u8> {
        // Not from `header`, which leaves a fragment out: it would be judged, and served, without one.
        let method = self.header.method.as_str().as_bytes();
        let mut section = [method, b" ", &self.target, b" HTTP/1.1\r\n"].concat();
        for (name, value) in &self.header.headers {
            section.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        section.extend_from_slice(b"\r\n");
        section
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
            section: &self.section(),
            peer: Some(peer),
            hop: Hop::default(),
        };
        Facts::read(&raw, reading)
    }
}

/// What another proxy is told of a request that it has.
pub(super) enum Word {
    /// It may forward it, with these headers.
    Leave(RequestHeader),
    /// The client is to get this; for want of stronger proof, where there is a challenge.
    Instead(Reply, Option<Challenge>),
}

impl Gateway {
    /// Judges a request as if it had come to this listener; who asks may say whose it is.
    ///
    /// # Errors
    /// The application can't be told who the caller is.
    pub(super) async fn judge(
        &self,
        context: &mut Context,
        described: Result<Described, Unreadable>,
        subject: Option<&str>,
    ) -> pingora::Result<Word> {
        let live = Arc::clone(&context.live);
        let reading = live.readings.get(self.position).unwrap_or(&self.listener.reading);
        let method = described.as_ref().map_or(Method::GET, |described| described.header.method.clone());
        let mut body = Told(described.as_ref().ok().and_then(|described| described.body.clone()));
        let facts = described.and_then(|described| described.read(SPOKESMAN, reading));
        let arrival =
            Arrival { subject, ..self.arrival(context, &method, facts.as_ref().map_err(|why| *why)) };
        let settled = self.gate.admit(&live.generation, &arrival, &mut body).await;
        context.facts = facts.ok();
        let word = self.word(context, settled).await?;
        let proves_key = context.facts.as_ref().is_some_and(|facts| facts.presented.is_key_bound());
        match word {
            Word::Leave(_) => Ok(word),
            Word::Instead(reply, challenge) => {
                let reply =
                    if proves_key { reply.for_key_holder(self.gate.nonce(context.now))? } else { reply };
                Ok(Word::Instead(reply.with_proxy_status(&self.proxy_status, None)?, challenge))
            }
        }
    }

    async fn word(&self, context: &mut Context, settled: Settled) -> pingora::Result<Word> {
        let Settled { policy, route, outcome, allow, intent, verdict } = settled;
        let id = context.id;
        let settled =
            Settled { policy, route, outcome: Outcome::Preflight, allow: Vec::new(), intent, verdict };
        let label = settled.route().and_then(|route| route.label.clone());
        context.settled = Some(settled);
        match outcome {
            Outcome::Admitted(admission) => self.give_leave(context, admission).await.map(Word::Leave),
            Outcome::Challenged(challenge) => {
                context.reason = Some(challenge.reason.code());
                let reply = Reply::challenge(id, &challenge, label.as_deref(), None)?;
                Ok(Word::Instead(reply, Some(challenge)))
            }
            Outcome::Refused(denial) => {
                context.reason = Some(denial.reason.code());
                Ok(Word::Instead(Reply::refusal(id, &denial, &allow)?, None))
            }
            // Its answer is a 204, which the other proxy would take for leave to forward.
            Outcome::Preflight => {
                Ok(Word::Instead(Reply::refusal(id, &Denial::new(Reason::PreflightRefused), &[])?, None))
            }
        }
    }

    /// What the application is to be told about the caller. That nobody here sees the request's end is on record before
    /// anybody acts on the answer.
    async fn give_leave(
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
