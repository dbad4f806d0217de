//! The forward-auth front: another proxy describes a request in headers, and forwards it or not.
//!
//! nginx (`auth_request`), Traefik (ForwardAuth) and Caddy (`forward_auth`) ask so. What they tell is read as strictly as
//! a request on the wire. They have its body and see its end; nobody here does.

use http::{HeaderMap, HeaderValue, Method, header};
use pingora::proxy::Session;

use super::context::Context;
use super::described::{Described, Word};
use super::edge;
use super::proxy::Gateway;
use super::reply::Reply;
use crate::request::Unreadable;

const METHOD: &str = "x-forwarded-method";
const TARGET: &str = "x-forwarded-uri";
const HOST: &str = "x-forwarded-host";
/// `no` where the request has no body; whatever else it says, there may be one.
const BODY: &str = "x-forwarded-body";
/// `in-headers` where the other proxy passes on neither the status nor the body of a refusal.
const REFUSAL: &str = "x-forwarded-refusal";

impl Gateway {
    /// Answers whether a request may be forwarded: 200 with what the application is told, or what the client is.
    pub(super) async fn forward_auth(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<()> {
        let is_odd = edge::request_line_is_odd(session);
        let headers = &session.req_header().headers;
        let has_body =
            headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING);
        let in_headers = headers.get(REFUSAL).is_some_and(|value| value == "in-headers");
        let described = if is_odd { Err(Unreadable::ForbiddenCharacter) } else { described(headers) };
        if has_body {
            // A question has no body; what follows on the connection is not read.
            session.set_keepalive(None);
        }
        let reply = match self.judge(context, described, None).await? {
            Word::Leave(told) => Reply::leave(context.id, &told)?,
            Word::Instead(reply, _) if in_headers => reply.in_headers()?,
            Word::Instead(reply, _) => reply,
        };
        tracing::debug!(decision = %context.id, status = reply.status(), "answered another proxy");
        reply.send(session).await
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
    for name in ["x-forwarded-proto", "x-forwarded-for", REFUSAL] {
        once(asked, name)?;
    }
    let mut headers = asked.clone();
    for name in [METHOD, TARGET, HOST, BODY, REFUSAL] {
        headers.remove(name);
    }
    Described::new((method, target), host, &headers, has_no_body)
}

fn once<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h HeaderValue>, Unreadable> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() { Err(Unreadable::DuplicateHeader) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::HeaderName;

    use super::*;
    use crate::request::Facts;
    use crate::request::facts::Reading;
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
