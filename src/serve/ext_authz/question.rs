//! What Envoy tells of a request, as a request.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::messages::{AttributeContext, HttpRequest};
use crate::request::Unreadable;
use crate::serve::described::Described;

/// Envoy's word on a body that it sends along: `false` where it is not cut. Envoy removes a client's own.
const PARTIAL: &str = "x-envoy-auth-partial-body";

/// One request that Envoy has.
pub struct Question {
    /// The request, or why it can't be read.
    pub request: Result<Described, Unreadable>,
    /// All headers that Envoy has for the application.
    pub headers: HeaderMap,
}

/// What is known of a body.
#[derive(Debug, PartialEq)]
enum Body {
    Absent,
    Unseen,
    Whole(Bytes),
}

impl Question {
    /// Reads one; `None` where it is about no request of HTTP. `most` is Envoy's `max_request_bytes`, where it is set up to
    /// send bodies.
    pub fn read(attributes: AttributeContext, most: Option<usize>) -> Option<Self> {
        let http = attributes.request?.http?;
        let address = attributes.source.and_then(|source| source.address);
        let address = address.and_then(|address| address.socket_address).map(|socket| socket.address);
        let (headers, request) = match headers(&http) {
            Ok(headers) => {
                let request = described(&http, &headers, address.as_deref(), most);
                (headers, request)
            }
            Err(why) => (HeaderMap::new(), Err(why)),
        };
        Some(Self { request, headers })
    }
}

fn described(
    http: &HttpRequest,
    headers: &HeaderMap,
    address: Option<&str>,
    most: Option<usize>,
) -> Result<Described, Unreadable> {
    let method = Method::from_bytes(http.method.as_bytes()).map_err(|_| Unreadable::BadMethod)?;
    if http.host.is_empty() {
        return Err(Unreadable::MissingHost);
    }
    let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Unreadable::ForbiddenCharacter);
    let host = value(&http.host)?;
    let body = body(http, headers, most);
    // What Envoy knows of its client counts, not what stands in headers.
    let mut told = HeaderMap::new();
    for (name, value) in headers {
        if !name.as_str().starts_with("x-forwarded-") && name != PARTIAL {
            told.append(name.clone(), value.clone());
        }
    }
    if let Some(address) = address {
        told.insert("x-forwarded-for", value(address)?);
    }
    told.insert("x-forwarded-proto", value(&http.scheme)?);
    let is_absent = body == Body::Absent;
    let described = Described::new((method, http.path.as_bytes()), &host, &told, is_absent)?;
    match body {
        Body::Whole(bytes) => described.with_body(bytes),
        Body::Absent | Body::Unseen => Ok(described),
    }
}

/// The headers without HTTP/2's pseudo-headers, which are told apart from them.
fn headers(http: &HttpRequest) -> Result<HeaderMap, Unreadable> {
    let mut headers = HeaderMap::new();
    let mut put = |name: &str, value: &[u8]| {
        if name.starts_with(':') {
            return Ok(());
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unreadable::ForbiddenCharacter)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Unreadable::ForbiddenCharacter)?;
        headers.try_append(name, value).map(drop).map_err(|_| Unreadable::ForbiddenCharacter)
    };
    match &http.header_map {
        Some(map) => {
            for one in &map.headers {
                let value = if one.raw_value.is_empty() { one.value.as_bytes() } else { &one.raw_value };
                put(&one.key, value)?;
            }
        }
        None => {
            for (name, value) in &http.headers {
                put(name, value.as_bytes())?;
            }
        }
    }
    Ok(headers)
}

/// A body counts as whole only where nothing can follow. Envoy calls one whole that fills what it sends to the last byte,
/// though more may be on its way.
fn body(http: &HttpRequest, headers: &HeaderMap, most: Option<usize>) -> Body {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next().and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let is_framed = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get_all(header::CONTENT_LENGTH).iter().any(|length| length != "0");
    let mut said = headers.get_all(PARTIAL).iter();
    match (said.next(), said.next()) {
        (Some(partial), None) if partial == "false" => {
            let body = &http.raw_body;
            let ends = length == Some(body.len()) || most.is_some_and(|most| body.len() < most);
            let is_exact = !body.is_empty() || http.body.is_empty();
            if ends && is_exact { Body::Whole(body.clone()) } else { Body::Unseen }
        }
        (None, _) if !is_framed && (most.is_some() || http.protocol.starts_with("HTTP/1.")) => Body::Absent,
        _ => Body::Unseen,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::messages::{self, Address, Peer, Request, SocketAddress};
    use super::*;
    use crate::request::Facts;
    use crate::request::facts::Reading;
    use crate::request::framing::BodyLength;

    fn http(path: &str, headers: &[(&str, &str)]) -> HttpRequest {
        let headers = headers.iter().map(|(name, value)| messages::HeaderValue {
            key: (*name).to_owned(),
            raw_value: Bytes::copy_from_slice(value.as_bytes()),
            ..Default::default()
        });
        HttpRequest {
            method: "POST".into(),
            path: path.into(),
            host: "portal.example".into(),
            scheme: "https".into(),
            protocol: "HTTP/2".into(),
            header_map: Some(messages::HeaderMap { headers: headers.collect() }),
            ..Default::default()
        }
    }

    fn read(http: HttpRequest, most: Option<usize>) -> Result<Facts, Unreadable> {
        let address = SocketAddress { address: "192.0.2.7".into() };
        let source = Peer { address: Some(Address { socket_address: Some(address) }) };
        let attributes =
            AttributeContext { source: Some(source), request: Some(Request { http: Some(http) }) };
        let trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        let reading = Reading { trusted_proxies, header_bytes: 8192, header_count: 50 };
        let question = Question::read(attributes, most).expect("about HTTP");
        question.request?.read(IpAddr::V4(Ipv4Addr::LOCALHOST), &reading)
    }

    #[test]
    fn the_request_is_the_one_that_envoy_has() {
        let headers = [(":path", "/other"), ("host", "other.example"), ("x-forwarded-for", "198.51.100.1")];
        let facts = read(http("/a?b=1", &headers), None).expect("readable");
        assert_eq!((facts.method.as_str(), facts.target.raw()), ("POST", "/a?b=1"));
        assert_eq!((facts.host.as_str(), facts.secure), ("portal.example", true));
        assert_eq!(facts.client, "192.0.2.7".parse().ok());
        for target in ["/a/../b", "/a%2fb", "//a", "http://other.example/a", "/a b", "/a#b", "*", "a", ""] {
            assert!(read(http(target, &[]), None).is_err(), "{target}");
        }
        assert!(read(HttpRequest { host: String::new(), ..http("/a", &[]) }, None).is_err());
        let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert!(read(http("/a", &twice), None).is_err(), "as on the wire");
        assert!(Question::read(AttributeContext::default(), None).is_none());
    }

    #[test]
    fn only_a_body_that_has_ended_is_read() {
        let length = |headers: &[(&str, &str)], body: &'static [u8], most| {
            let http = HttpRequest { raw_body: Bytes::from_static(body), ..http("/a", headers) };
            read(http, most).expect("readable").body.length
        };
        let whole = (PARTIAL, "false");
        assert_eq!(length(&[whole], b"a=b", Some(4)), BodyLength::Known(3));
        assert_eq!(length(&[whole], b"a=bc", Some(4)), BodyLength::Chunked, "more may follow");
        assert_eq!(length(&[whole], b"a=b", None), BodyLength::Chunked);
        assert_eq!(length(&[whole, ("content-length", "4")], b"a=bc", Some(4)), BodyLength::Known(4));
        assert_eq!(length(&[whole, ("content-length", "9")], b"a=bc", Some(4)), BodyLength::Chunked);
        assert_eq!(length(&[(PARTIAL, "true")], b"a=b", Some(4)), BodyLength::Chunked);
        assert_eq!(length(&[whole, whole], b"a=b", Some(4)), BodyLength::Chunked);
        assert_eq!(length(&[("content-length", "3")], b"a=b", Some(4)), BodyLength::Chunked, "nothing said");
        assert_eq!(length(&[], b"", Some(4)), BodyLength::None);
        assert_eq!(length(&[], b"", None), BodyLength::Chunked, "HTTP/2 needs no header to have one");
        assert_eq!(length(&[("transfer-encoding", "chunked")], b"", Some(4)), BodyLength::Chunked);
        let text = HttpRequest { body: "a=!".into(), ..http("/a", &[whole]) };
        let length = read(text, Some(4)).expect("readable").body.length;
        assert_eq!(length, BodyLength::Chunked, "not byte for byte");
    }
}
