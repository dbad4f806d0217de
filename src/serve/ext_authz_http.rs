//! External authorization by HTTP: Envoy sends the head of a request here, and forwards the request where the answer is
//! exactly 200.
//!
//! Method, target and host are the request's own. Its body stays with Envoy.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::context::Context;
use super::described::{Described, Word};
use super::edge;
use super::proxy::Gateway;
use super::reply::Reply;
use crate::request::Unreadable;

/// The address of Envoy's client. `X-Forwarded-For` names Envoy itself at its end.
const CLIENT: &str = "x-wardgate-client";
const SCHEME: &str = "x-forwarded-proto";
/// What Envoy is to take out of the request.
const REMOVE: &str = "x-envoy-auth-headers-to-remove";

impl Gateway {
    /// Answers whether a request may be forwarded: 200, or what the client is to get.
    pub(super) async fn ext_authz_http(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<()> {
        let is_odd = edge::request_line_is_odd(session);
        let asked = session.req_header();
        let headers = asked.headers.clone();
        let line = session.as_http1().map(|http1| http1.get_headers_raw_bytes());
        let target = line.as_deref().map_or_else(|| asked.raw_path(), target);
        let described = if is_odd { Err(Unreadable::ForbiddenCharacter) } else { described(asked, target) };
        let is_framed = headers.contains_key(header::TRANSFER_ENCODING)
            || headers.get_all(header::CONTENT_LENGTH).iter().any(|length| length != "0");
        if is_framed {
            // A body is of no use here; what follows on the connection is not read.
            session.set_keepalive(None);
        }
        let reply = match self.judge(context, described, None).await? {
            Word::Leave(mut told) => {
                let without = context.live.upstreams.changes(&context.departure()?, &headers, &mut told)?;
                let without: Vec<&str> = without.iter().map(HeaderName::as_str).collect();
                let reply = Reply::leave(context.id, &told)?;
                match HeaderValue::from_str(&without.join(",")) {
                    Ok(names) if !names.is_empty() => reply.with_header(REMOVE, names)?,
                    _ => reply,
                }
            }
            Word::Instead(reply, _) => reply,
        };
        tracing::debug!(decision = %context.id, status = reply.status(), "answered Envoy");
        reply.send(session).await
    }
}

/// The target of a request line, byte for byte; the parser leaves a fragment out.
fn target(section: &[u8]) -> &[u8] {
    section.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
}

/// Finds the request that a question is about.
fn described(asked: &RequestHeader, target: &[u8]) -> Result<Described, Unreadable> {
    let authority = asked.uri.authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    let host = match once(&asked.headers, header::HOST.as_str())? {
        Some(host) => host.clone(),
        None => authority.ok_or(Unreadable::MissingHost)?,
    };
    let (client, scheme) = (once(&asked.headers, CLIENT)?, once(&asked.headers, SCHEME)?);
    let mut told = HeaderMap::new();
    for (name, value) in &asked.headers {
        let is_of_the_way = name.as_str().starts_with("x-forwarded-") || name == CLIENT;
        if !is_of_the_way {
            told.append(name.clone(), value.clone());
        }
    }
    for (name, value) in [("x-forwarded-for", client), (SCHEME, scheme)] {
        if let Some(value) = value {
            told.insert(name, value.clone());
        }
    }
    // Nothing that comes here says whether the request has a body: a length is that of the question.
    Described::new((asked.method.clone(), target), &host, &told, false)
}

fn once<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h HeaderValue>, Unreadable> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() { Err(Unreadable::DuplicateHeader) } else { Ok(value) }
}
