//! The facts of one request: everything a decision may know about what is asked.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, header};
use ipnet::IpNet;

use super::body::{BodyShape, ReadAs};
use super::certificate::ClientCertificate;
use super::credentials::{self, Presented, SessionId};
use super::device::DeviceId;
use super::fetch::Fetch;
use super::host::Host;
use super::names::names_method;
use super::target::Target;
use super::{Unreadable, framing, headers};

/// What the listener knows and allows, for reading a request.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The most bytes the header section may have.
    pub header_bytes: usize,
    /// The most headers a request may have.
    pub header_count: usize,
}

/// A request as it came, before it is read.
#[derive(Debug, Clone, Copy)]
pub struct RawRequest<'r> {
    /// The method.
    pub method: &'r Method,
    /// The version of HTTP.
    pub version: http::Version,
    /// The request target, byte for byte.
    pub target: &'r [u8],
    /// The headers as parsed.
    pub headers: &'r HeaderMap,
    /// The header section's bytes, with the request line and the empty line; none in HTTP/2.
    pub section: &'r [u8],
    /// The peer's address; `None` on a Unix socket.
    pub peer: Option<IpAddr>,
    /// What else the connection says.
    pub hop: Hop<'r>,
}

/// What is known of a request beside its text: from its connection, and from HTTP/2's framing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hop<'r> {
    /// `:authority` in HTTP/2 (RFC 9113 §8.3.1).
    pub authority: Option<&'r str>,
    /// In HTTP/2: whether the header section did not end the stream.
    pub body_follows: bool,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The client's verified certificate.
    pub certificate: Option<&'r Arc<ClientCertificate>>,
}

/// A cross-origin preflight (Fetch standard, CORS protocol).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// The method the page wants to use.
    pub method: Method,
}

/// A request that has one reading.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The method, in upper case.
    pub method: Method,
    /// Path and query.
    pub target: Target,
    /// The host asked for.
    pub host: Host,
    /// The port asked for, where the client named one.
    pub port: Option<u16>,
    /// Where the client is, if that can be known.
    pub client: Option<IpAddr>,
    /// Whether the client came by TLS: to this listener, or as a trusted proxy says.
    pub secure: bool,
    /// The verified certificate of the peer.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// The token, if any.
    pub presented: Presented,
    /// By what the browser is known of somebody who has not signed in.
    pub anonymous: Option<SessionId>,
    /// The name by which a browser shows that it was recognised before.
    pub device: Option<DeviceId>,
    /// What a browser says of why it asks.
    pub fetch: Fetch,
    /// What the headers say of the body.
    pub body: BodyShape,
    /// How the body is to be read, as the client says.
    pub read_as: ReadAs,
    /// Whether this is a well-formed WebSocket handshake (RFC 6455 §4.1).
    pub websocket: bool,
    /// The `Origin` header, where it is readable.
    pub origin: Option<Box<str>>,
    /// Set where this is a preflight.
    pub preflight: Option<Preflight>,
    /// What a FHIR server is to look for before it makes a resource (`If-None-Exist`, FHIR R4 §3.1.0.8.1).
    pub if_none_exist: Option<Box<str>>,
    /// Whether a FHIR server is asked to make a second resource, of its origin (`X-Provenance`, FHIR R4 §6.3.8).
    pub has_provenance: bool,
    /// Whether headers or query ask for another method than the one sent.
    pub method_override: bool,
}

impl Facts {
    /// Reads a request, or says why it can't be read in one way only.
    ///
    /// # Errors
    /// The first reason found; the order is fixed, so the same request always gives the same reason.
    pub fn read(raw: &RawRequest<'_>, reading: &Reading) -> Result<Self, Unreadable> {
        let is_http2 = raw.version == http::Version::HTTP_2;
        let size = if is_http2 { header_list_size(raw) } else { raw.section.len() };
        if size > reading.header_bytes {
            return Err(Unreadable::HeadersTooLarge);
        }
        if raw.headers.len() > reading.header_count {
            return Err(Unreadable::TooManyHeaders);
        }
        check_method(raw.method)?;
        // The parser leaves a fragment out of the target that it hands over.
        if target_on_the_wire(raw.section).is_some_and(|wire| wire != raw.target) {
            return Err(Unreadable::Fragment);
        }
        let target = Target::receive(raw.target)?;
        let length = if is_http2 {
            headers::check_http2(raw.headers)?;
            framing::of_fields(raw.headers, raw.hop.body_follows)?
        } else {
            framing::read(raw.section)?
        };
        headers::check(raw.headers)?;
        let host = if is_http2 { http2_host(raw)? } else { host(raw.headers)? };
        let authority = raw.hop.authority.filter(|_| is_http2).map(str::as_bytes);
        let port = authority
            .or_else(|| raw.headers.get(header::HOST).map(http::HeaderValue::as_bytes))
            .and_then(super::host::port);
        let websocket = is_websocket(raw)?;
        let method_override = headers::overrides_method(raw.headers)
            || (!target.query().is_empty() && target.query_names().any(|name| names_method(&name)));
        let presented = credentials::presented(raw.headers, &target);
        Ok(Self {
            method: raw.method.clone(),
            client: super::client::address(raw.peer, raw.headers, &reading.trusted_proxies),
            secure: super::client::is_secure(raw, &reading.trusted_proxies),
            certificate: raw.hop.certificate.cloned(),
            anonymous: credentials::anonymous(raw.headers),
            device: DeviceId::read(raw.headers, &presented),
            presented,
            fetch: Fetch::read(raw.method, raw.headers, raw.hop.authority),
            body: BodyShape::new(length, raw.headers),
            read_as: ReadAs::new(raw.headers),
            websocket,
            origin: raw.headers.get(header::ORIGIN).and_then(|value| value.to_str().ok()).map(Into::into),
            preflight: preflight(raw),
            if_none_exist: headers::if_none_exist(raw.headers)?,
            has_provenance: headers::has_provenance(raw.headers),
            method_override,
            target,
            host,
            port,
        })
    }
}

/// Whether this is the server-wide `OPTIONS *`, which is answered without asking any upstream (RFC 9110 §9.3.7).
pub fn is_server_options(raw: &RawRequest<'_>) -> bool {
    *raw.method == Method::OPTIONS && raw.target == b"*"
}

/// The target in the request line (RFC 9112 §3): what stands between the first space and the last.
fn target_on_the_wire(section: &[u8]) -> Option<&[u8]> {
    let line = section.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    let start = line.iter().position(|byte| *byte == b' ')? + 1;
    let end = line.iter().rposition(|byte| *byte == b' ')?;
    line.get(start..end)
}

fn check_method(method: &Method) -> Result<(), Unreadable> {
    let plain = method.as_str().bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if !plain || *method == Method::TRACE || *method == Method::CONNECT {
        Err(Unreadable::BadMethod)
    } else {
        Ok(())
    }
}

fn host(headers: &HeaderMap) -> Result<Host, Unreadable> {
    let mut values = headers.get_all(header::HOST).iter();
    let value = values.next().ok_or(Unreadable::MissingHost)?;
    if values.next().is_some() {
        return Err(Unreadable::DuplicateHost);
    }
    Host::parse(value.as_bytes())
}

/// The host of an HTTP/2 request: `:authority`, or `Host` where a gateway before this one had only that; where both
/// are sent they must say the same (RFC 9113 §8.3.1).
fn http2_host(raw: &RawRequest<'_>) -> Result<Host, Unreadable> {
    let Some(authority) = raw.hop.authority else {
        return host(raw.headers);
    };
    if raw.headers.contains_key(header::HOST) {
        let mut values = raw.headers.get_all(header::HOST).iter();
        let same =
            values.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(authority.as_bytes()));
        if !same || values.next().is_some() {
            return Err(Unreadable::DuplicateHost);
        }
    }
    Host::parse(authority.as_bytes())
}

/// The size of an HTTP/2 header section as its limit is defined: names, values, and 32 bytes for each field (RFC 9113
/// §6.5.2).
fn header_list_size(raw: &RawRequest<'_>) -> usize {
    const OVERHEAD: usize = 32;
    let authority = raw.hop.authority.unwrap_or_default();
    let pseudo = raw.method.as_str().len() + raw.target.len() + authority.len() + 4 * OVERHEAD;
    raw.headers.iter().fold(pseudo, |size, (name, value)| size + name.as_str().len() + value.len() + OVERHEAD)
}

fn is_websocket(raw: &RawRequest<'_>) -> Result<bool, Unreadable> {
    let Some(upgrade) = raw.headers.get(header::UPGRADE) else {
        return Ok(false);
    };
    let connection_says_so = raw.headers.get_all(header::CONNECTION).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")))
    });
    let once = |name: &str| {
        let mut values = raw.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    let well_formed = upgrade.as_bytes().eq_ignore_ascii_case(b"websocket")
        && connection_says_so
        && *raw.method == Method::GET
        && raw.version == http::Version::HTTP_11
        && once("sec-websocket-version").is_some_and(|value| value == "13")
        && once("sec-websocket-key").is_some();
    if well_formed { Ok(true) } else { Err(Unreadable::BadUpgrade) }
}

fn preflight(raw: &RawRequest<'_>) -> Option<Preflight> {
    if *raw.method != Method::OPTIONS || !raw.headers.contains_key(header::ORIGIN) {
        return None;
    }
    let wanted = raw.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(wanted.as_bytes()).ok().map(|method| Preflight { method })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Facts, Unreadable> {
        let mut map = HeaderMap::new();
        let mut section = format!("{method} {target} HTTP/1.1\r\n");
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("name");
            map.append(name.clone(), value.parse().expect("value"));
            section.push_str(&format!("{name}: {value}\r\n"));
        }
        section.push_str("\r\n");
        let reading = Reading { trusted_proxies: Vec::new(), header_bytes: 1024, header_count: 10 };
        let method = Method::from_bytes(method.as_bytes()).expect("method");
        let raw = RawRequest {
            method: &method,
            version: http::Version::HTTP_11,
            target: target.as_bytes(),
            headers: &map,
            section: section.as_bytes(),
            peer: None,
            hop: Hop::default(),
        };
        Facts::read(&raw, &reading)
    }

    #[test]
    fn methods_hosts_and_sizes() {
        assert!(read("GET", "/a", &[("host", "a")]).is_ok());
        for method in ["get", "TRACE", "CONNECT", "Get"] {
            assert_eq!(read(method, "/a", &[("host", "a")]).err(), Some(Unreadable::BadMethod), "{method}");
        }
        assert_eq!(read("GET", "/a", &[]).err(), Some(Unreadable::MissingHost));
        assert_eq!(read("GET", "/a", &[("host", "a"), ("host", "a")]).err(), Some(Unreadable::DuplicateHost));
        assert_eq!(
            read("GET", "/a", &[("host", "a"), ("x", &"x".repeat(1024))]).err(),
            Some(Unreadable::HeadersTooLarge)
        );
        let many: Vec<_> = (0..11).map(|_| ("x", "y")).collect();
        assert_eq!(read("GET", "/a", &many).err(), Some(Unreadable::TooManyHeaders));
    }

    #[test]
    fn upgrades_are_websocket_or_nothing() {
        let good = [
            ("host", "a"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "x"),
        ];
        assert!(read("GET", "/a", &good).expect("readable").websocket);
        assert_eq!(read("POST", "/a", &good).err(), Some(Unreadable::BadUpgrade));
        assert_eq!(
            read("GET", "/a", &[("host", "a"), ("connection", "upgrade"), ("upgrade", "h2c")]).err(),
            Some(Unreadable::BadUpgrade)
        );
    }

    #[test]
    fn overrides_are_seen() {
        assert!(read("POST", "/a?_method=DELETE", &[("host", "a")]).expect("readable").method_override);
        for target in ["/a?%5Fmethod=DELETE", "/a?x=1;_method=DELETE", "/a?_HttpMethod=DELETE"] {
            assert!(read("POST", target, &[("host", "a")]).expect("readable").method_override, "{target}");
        }
        assert!(!read("POST", "/a?x=_method;y=1", &[("host", "a")]).expect("readable").method_override);
        let header = [("host", "a"), ("x-http-method-override", "PUT")];
        assert!(read("POST", "/a", &header).expect("readable").method_override);
    }

    fn read_http2(
        target: &str,
        headers: &[(&str, &str)],
        authority: Option<&str>,
        body_follows: bool,
    ) -> Result<Facts, Unreadable> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (http::HeaderName::from_bytes(name.as_bytes()).expect("name"), value.parse().expect("value"))
            })
            .collect();
        let reading = Reading { trusted_proxies: Vec::new(), header_bytes: 1024, header_count: 10 };
        let raw = RawRequest {
            method: &Method::POST,
            version: http::Version::HTTP_2,
            target: target.as_bytes(),
            headers: &headers,
            section: b"",
            peer: None,
            hop: Hop { authority, body_follows, encrypted: true, certificate: None },
        };
        Facts::read(&raw, &reading)
    }

    #[test]
    fn http2_is_read_as_strictly() {
        let fault = |headers: &[(&str, &str)]| read_http2("/a", headers, Some("a"), true).err();
        assert_eq!(fault(&[]), None);
        assert_eq!(fault(&[("te", "trailers")]), None);
        assert_eq!(fault(&[("host", "A")]), None);
        for (headers, expected) in [
            (&[("connection", "close")][..], Unreadable::ConnectionHeader),
            (&[("keep-alive", "5")], Unreadable::ConnectionHeader),
            (&[("proxy-connection", "close")], Unreadable::ConnectionHeader),
            (&[("upgrade", "websocket")], Unreadable::ConnectionHeader),
            (&[("transfer-encoding", "chunked")], Unreadable::ConnectionHeader),
            (&[("te", "gzip")], Unreadable::ConnectionHeader),
            (&[("x", " y")], Unreadable::BadHeaderValue),
            (&[("x", "y\t")], Unreadable::BadHeaderValue),
            (&[("x_user", "y")], Unreadable::BadHeaderName),
            (&[("content-length", "005")], Unreadable::BadContentLength),
            (&[("content-length", "5, 5")], Unreadable::BadContentLength),
            (&[("content-length", "5"), ("content-length", "5")], Unreadable::BadContentLength),
            (&[("authorization", "a"), ("authorization", "a")], Unreadable::DuplicateHeader),
            (&[("host", "b")], Unreadable::DuplicateHost),
            (&[("host", "a"), ("host", "a")], Unreadable::DuplicateHost),
        ] {
            assert_eq!(fault(headers), Some(expected), "{headers:?}");
        }
        let long = "x".repeat(900);
        assert_eq!(fault(&[("x", &long)]), Some(Unreadable::HeadersTooLarge));
        assert_eq!(read_http2("/a", &[], None, false).err(), Some(Unreadable::MissingHost));
        assert_eq!(read_http2("/a", &[], Some("u@a"), false).err(), Some(Unreadable::BadHost));
        assert_eq!(read_http2("/a/../b", &[], Some("a"), false).err(), Some(Unreadable::DotSegment));
        assert!(read_http2("/a", &[("host", "a")], None, false).is_ok());
    }

    #[test]
    fn an_http2_body_is_as_long_as_its_frames_say() {
        use crate::request::framing::BodyLength;
        let length = |headers: &[(&str, &str)], follows: bool| {
            read_http2("/a", headers, Some("a"), follows).map(|facts| facts.body.length)
        };
        assert_eq!(length(&[], false), Ok(BodyLength::None));
        assert_eq!(length(&[], true), Ok(BodyLength::Chunked));
        assert_eq!(length(&[("content-length", "5")], true), Ok(BodyLength::Known(5)));
        assert_eq!(length(&[("content-length", "0")], true), Ok(BodyLength::None));
        assert_eq!(length(&[("content-length", "5")], false), Err(Unreadable::BadContentLength));
    }
}
