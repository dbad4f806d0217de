//! `Proxy-Status` (RFC 9209): says that an answer comes from the gateway and what kind of failure it is about, under a
//! pseudonym, and nothing of what stands behind.

use http::StatusCode;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType};

use super::reply::UpstreamFault;
use crate::config::settings::ProxyStatusSettings;

/// The header's name.
const PROXY_STATUS: &str = "proxy-status";

/// The registered error types (RFC 9209 §2.3) that the gateway has a use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyError {
    /// The upstream's name could not be resolved.
    DnsError,
    /// No endpoint could be connected to, for a reason with no word of its own.
    DestinationUnavailable,
    /// There is no way to the upstream's address.
    DestinationUnroutable,
    /// The upstream refused the connection.
    ConnectionRefused,
    /// No connection in the time allowed.
    ConnectionTimeout,
    /// The connection ended before any byte of an answer.
    ConnectionTerminated,
    /// No byte of the answer came in the time allowed.
    ConnectionReadTimeout,
    /// The request could not be sent in the time allowed.
    ConnectionWriteTimeout,
    /// The TLS handshake failed.
    TlsProtocolError,
    /// The upstream's certificate is not accepted.
    TlsCertificateError,
    /// The answer ended too soon.
    HttpResponseIncomplete,
    /// The answer was not HTTP as it has to be.
    HttpProtocolError,
    /// The client's request is not acceptable as HTTP.
    HttpRequestError,
    /// The gateway's policy refuses the request.
    HttpRequestDenied,
    /// The gateway answers for itself, by design.
    InternalResponse,
    /// Something that the gateway needs is missing.
    InternalError,
}

impl ProxyError {
    /// The registered token.
    pub const fn token(self) -> &'static str {
        match self {
            Self::DnsError => "dns_error",
            Self::DestinationUnavailable => "destination_unavailable",
            Self::DestinationUnroutable => "destination_ip_unroutable",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionTerminated => "connection_terminated",
            Self::ConnectionReadTimeout => "connection_read_timeout",
            Self::ConnectionWriteTimeout => "connection_write_timeout",
            Self::TlsProtocolError => "tls_protocol_error",
            Self::TlsCertificateError => "tls_certificate_error",
            Self::HttpResponseIncomplete => "http_response_incomplete",
            Self::HttpProtocolError => "http_protocol_error",
            Self::HttpRequestError => "http_request_error",
            Self::HttpRequestDenied => "http_request_denied",
            Self::InternalResponse => "proxy_internal_response",
            Self::InternalError => "proxy_internal_error",
        }
    }

    /// What went wrong on the way to the upstream.
    pub fn of(error: &Error) -> Self {
        match error.etype() {
            ErrorType::ConnectRefused => Self::ConnectionRefused,
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Self::ConnectionTimeout,
            ErrorType::ConnectNoRoute => Self::DestinationUnroutable,
            ErrorType::InvalidCert => Self::TlsCertificateError,
            ErrorType::TLSHandshakeFailure | ErrorType::HandshakeError | ErrorType::TLSWantX509Lookup => {
                Self::TlsProtocolError
            }
            ErrorType::ConnectError
            | ErrorType::ConnectProxyFailure
            | ErrorType::BindError
            | ErrorType::SocketError => Self::DestinationUnavailable,
            ErrorType::ReadTimedout => Self::ConnectionReadTimeout,
            ErrorType::WriteTimedout => Self::ConnectionWriteTimeout,
            ErrorType::WriteError => Self::ConnectionTerminated,
            // Pingora tells only in words whether a part of the answer had come.
            ErrorType::ConnectionClosed | ErrorType::ReadError
                if error.to_string().contains("bytes already read: 0") =>
            {
                Self::ConnectionTerminated
            }
            ErrorType::ConnectionClosed | ErrorType::ReadError => Self::HttpResponseIncomplete,
            ErrorType::InternalError => Self::InternalError,
            _ => Self::HttpProtocolError,
        }
    }

    /// What an answer of the gateway's own is about. Only the status counts, so nothing is told that it does not tell.
    pub fn of_own_answer(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::InternalResponse,
            400 | 413 | 431 => Self::HttpRequestError,
            500..=599 => Self::InternalError,
            _ => Self::HttpRequestDenied,
        }
    }
}

impl From<UpstreamFault> for ProxyError {
    fn from(fault: UpstreamFault) -> Self {
        match fault {
            UpstreamFault::Unsendable => Self::InternalError,
            UpstreamFault::Unreachable | UpstreamFault::NoneHealthy => Self::DestinationUnavailable,
            UpstreamFault::TimedOut => Self::ConnectionReadTimeout,
            UpstreamFault::Broken => Self::HttpProtocolError,
        }
    }
}

/// How the gateway names itself, and what it does with what others say.
#[derive(Debug, Clone)]
pub struct ProxyStatus {
    name: Box<str>,
    passes_upstream: bool,
}

impl ProxyStatus {
    /// Takes the settings.
    pub fn new(settings: &ProxyStatusSettings) -> Self {
        // A token (RFC 9651 §3.3.4) begins with a letter; other names are written as strings.
        let name = if settings.name.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            settings.name.clone()
        } else {
            format!("\"{}\"", settings.name).into()
        };
        Self { name, passes_upstream: settings.passes_upstream }
    }

    /// Marks an answer of the gateway's own.
    pub fn mark(&self, header: &mut ResponseHeader, error: ProxyError) -> pingora::Result<()> {
        header.insert_header(PROXY_STATUS, format!("{}; error={}", self.name, error.token()))
    }

    /// Cleans an upstream's answer: what its own proxies are called, and what they met, stays inside.
    pub fn clean(&self, header: &mut ResponseHeader) {
        if !self.passes_upstream {
            header.remove_header(PROXY_STATUS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_token_or_a_string() {
        for (name, expected) in [("edge-1", "edge-1; error=dns_error"), ("1st", "\"1st\"; error=dns_error")] {
            let status = ProxyStatus::new(&ProxyStatusSettings { name: name.into(), passes_upstream: false });
            let mut header = ResponseHeader::build(502, None).expect("a header");
            status.mark(&mut header, ProxyError::DnsError).expect("a value");
            assert_eq!(header.headers[PROXY_STATUS], expected);
        }
    }

    #[test]
    fn a_broken_connection_says_whether_an_answer_had_begun() {
        let closed = |read: usize| {
            let context = format!("while reading response headers, bytes already read: {read}");
            ProxyError::of(&Error::explain(ErrorType::ConnectionClosed, context).more_context("upstream"))
        };
        assert_eq!(closed(0), ProxyError::ConnectionTerminated);
        assert_eq!(closed(17), ProxyError::HttpResponseIncomplete);
    }

    #[test]
    fn refusals_look_alike() {
        let of = |status| ProxyError::of_own_answer(StatusCode::from_u16(status).expect("a status"));
        for status in [401, 403, 404, 405] {
            assert_eq!(of(status), ProxyError::HttpRequestDenied);
        }
        assert_eq!(of(503), ProxyError::InternalError);
        assert_eq!(of(400), ProxyError::HttpRequestError);
    }
}
