//! The forward-auth front: another proxy describes a request in headers, and forwards it or not.
//!
//! nginx (`auth_request`), Traefik (ForwardAuth) and Caddy (`forward_auth`) ask so. What they tell is read as strictly as
//! a request on the wire. They have its body and see its end; nobody here does.

use std::net::{IpAddr, Ipv4Addr};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::context::Context;
use super::edge;
use super::proxy::Gateway;
use super::reply::Reply;
use crate::audit::event::OutcomeResult;
use crate::decision::{Denial, Reason};
use crate::enforce::{BodyFault, BodySource, Ending, Outcome, Settled};
use crate::request::facts::{Hop, RawRequest, Reading};
use crate::request::{Facts, Unreadable};

const METHOD: &str = "x-forwarded-method";
const TARGET: &str = "x-forwarded-uri";
const HOST: &str = "x-forwarded-host";
/// `no` where the request has no body; whatever else it says, there may be one.
const BODY: &str = "x-forwarded-body";

/// What is about the question itself, not about the request that it describes.
const OF_THE_QUESTION: [HeaderName; 8] = [
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
struct Described {
    header: RequestHeader,
    /// The header section as it would be on the wire, with the target byte for byte.
    section: Vec<u8>,
}

/// A body that goes past the gateway.
struct Unseen;

#[async_trait]
impl BodySource for Unseen {
    async fn collect(&mut self, _: usize) -> Result<Bytes, BodyFault> {
        Err(BodyFault::Unseen)
    }
}

impl Gateway {
    /// Answers whether a request may be forwarded: 200 with what the application is told, or what the client is.
    pub(super) async fn forward_auth(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<()> {
        let live = std::sync::Arc::clone(&context.live);
        let reading = live.readings.get(self.position).unwrap_or(&self.listener.reading);
        let is_odd = edge::request_line_is_odd(session);
        let asked = session.req_header();
        if asked.headers.contains_key(header::CONTENT_LENGTH)
            || asked.headers.contains_key(header::TRANSFER_ENCODING)
        {
            // A question has no body; what follows on the connection is not read.
            session.set_keepalive(None);
        }
        let peer = edge::client(session).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let described = if is_odd {
            Err(Unreadable::ForbiddenCharacter)
        } else {
            described(&session.req_header().headers)
        };
        let method = described.as_ref().map_or(Method::GET, |described| described.header.method.clone());
        let facts = described.and_then(|described| described.read(peer, reading));
        let arrival = self.arrival(context, &method, facts.as_ref().map_err(|why| *why));
        let settled = self.gate.admit(&live.generation, &arrival, &mut Unseen).await;
        context.facts = facts.ok();
        let reply = self.answered(context, settled).await?;
        let reply = match &context.facts {
            Some(facts) if facts.presented.is_key_bound() && reply.status() != 200 => {
                reply.for_key_holder(self.gate.nonce(context.now))?
            }
            _ => reply,
        };
        let reply =
            if reply.status() == 200 { reply } else { reply.with_proxy_status(&self.proxy_status, None)? };
        tracing::debug!(decision = %context.id, status = reply.status(), "answered another proxy");
        reply.send(session).await
    }

    async fn answered(&self, context: &mut Context, settled: Settled) -> pingora::Result<Reply> {
        let Settled { policy, route, outcome, allow, intent, verdict } = settled;
        let id = context.id;
        let settled =
            Settled { policy, route, outcome: Outcome::Preflight, allow: Vec::new(), intent, verdict };
        let label = settled.route().and_then(|route| route.label.clone());
        context.settled = Some(settled);
        match outcome {
            Outcome::Admitted(admission) => {
                context.admission = Some(admission);
                let told = context.live.upstreams.told(&context.departure()?)?;
                // On record before anybody acts on it.
                if let Some(intent) = context.settled.as_mut().and_then(|settled| settled.intent.take()) {
                    let result = OutcomeResult::NotObserved;
                    let took = context.started.elapsed();
                    let ending = Ending { result, reason: None, status: None, response_bytes: 0, took };
                    self.gate.close(&intent, ending).await;
                }
                Reply::leave(id, &told)
            }
            Outcome::Challenged(challenge) => {
                context.reason = Some(challenge.reason.code());
                Reply::challenge(id, &challenge, label.as_deref(), None)
            }
            Outcome::Refused(denial) => {
                context.reason = Some(denial.reason.code());
                Reply::refusal(id, &denial, &allow)
            }
            // Its answer is a 204, which the other proxy would take for leave to forward.
            Outcome::Preflight => Reply::refusal(id, &Denial::new(Reason::PreflightRefused), &[]),
        }
    }
}

impl Described {
    fn read(&self, peer: IpAddr, reading: &Reading) -> Result<Facts, Unreadable> {
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

/// Finds the request that a question is about.
fn described(asked: &HeaderMap) -> Result<Described, Unreadable> {
    let method = Method::from_bytes(once(asked, METHOD)?.ok_or(Unreadable::BadMethod)?.as_bytes())
        .map_err(|_| Unreadable::BadMethod)?;
    let target = once(asked, TARGET)?.ok_or(Unreadable::NotOriginForm)?.as_bytes();
    let host = once(asked, HOST)?.ok_or(Unreadable::MissingHost)?;
    let has_no_body = once(asked, BODY)?.is_some_and(|value| value == "no");
    // Several could be the client's own and the proxy's.
    for name in ["x-forwarded-proto", "x-forwarded-for"] {
        once(asked, name)?;
    }
    let build = || -> pingora::Result<RequestHeader> {
        let mut header = RequestHeader::build(method.clone(), target, Some(asked.len()))?;
        for (name, value) in asked {
            if !OF_THE_QUESTION.contains(name) && ![METHOD, TARGET, HOST, BODY].contains(&name.as_str()) {
                header.append_header(name.clone(), value.clone())?;
            }
        }
        header.insert_header(header::HOST, host.clone())?;
        if !has_no_body {
            // However long: what said so was for the other proxy's own connection.
            header.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        if asked.contains_key("sec-websocket-key") {
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
    Ok(Described { header, section })
}

fn once<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h HeaderValue>, Unreadable> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() { Err(Unreadable::DuplicateHeader) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::framing::BodyLength;

    fn read(headers: &[(&str, &str)]) -> Result<Facts, Unreadable> {
        let mut map = HeaderMap::new();
        let usual = [
            ("host", "auth"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "192.0.2.7"),
            ("content-length", "0"),
        ];
        for (name, value) in usual.iter().chain(headers) {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        let reading = Reading { trusted_proxies, header_bytes: 8192, header_count: 50 };
        described(&map)?.read(IpAddr::V4(Ipv4Addr::LOCALHOST), &reading)
    }

    fn asked<'a>(method: &'a str, target: &'a str) -> [(&'a str, &'a str); 3] {
        [(METHOD, method), (TARGET, target), (HOST, "portal.example")]
    }

    #[test]
    fn the_request_is_the_one_described() {
        let facts = read(&asked("DELETE", "/a?b=1")).expect("readable");
        assert_eq!((facts.method.as_str(), facts.target.raw()), ("DELETE", "/a?b=1"));
        assert_eq!((facts.host.as_str(), facts.secure), ("portal.example", true));
        assert_eq!(facts.client, "192.0.2.7".parse().ok());
        assert_eq!(facts.body.length, BodyLength::Chunked, "nobody knows whether it has a body");
        for (said, length) in
            [("no", BodyLength::None), ("yes", BodyLength::Chunked), ("NO", BodyLength::Chunked)]
        {
            let mut headers = asked("GET", "/a").to_vec();
            headers.push((BODY, said));
            assert_eq!(read(&headers).expect("readable").body.length, length, "{said}");
        }
    }

    #[test]
    fn what_is_not_told_once_is_refused() {
        let whole = asked("GET", "/a");
        for (left_out, why) in [Unreadable::BadMethod, Unreadable::NotOriginForm, Unreadable::MissingHost]
            .into_iter()
            .enumerate()
        {
            let mut headers = whole.to_vec();
            headers.remove(left_out);
            assert_eq!(read(&headers).err(), Some(why));
        }
        for name in [METHOD, TARGET, HOST, BODY, "x-forwarded-proto", "x-forwarded-for"] {
            let mut headers = whole.to_vec();
            headers.extend([(name, "GET"), (name, "GET")]);
            assert_eq!(read(&headers).err(), Some(Unreadable::DuplicateHeader), "{name}");
        }
    }

    #[test]
    fn targets_are_read_as_on_the_wire() {
        for target in ["/a/../b", "/a%2fb", "//a", "http://other.example/a", "/a b", "/a#b", "*", "a", ""] {
            assert!(read(&asked("GET", target)).is_err(), "{target}");
        }
    }

    #[test]
    fn a_websocket_is_known_by_its_key() {
        let mut headers = asked("GET", "/ws").to_vec();
        headers.push(("sec-websocket-version", "13"));
        assert!(!read(&headers).expect("readable").websocket);
        headers.push(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(read(&headers).expect("readable").websocket);
    }
}
