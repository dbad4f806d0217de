//! Answers to calls of gRPC: the status of a call stands in trailers.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is no message, or not such a one.
    Malformed,
    /// There is no such call.
    Unimplemented,
}

impl Fault {
    /// The code of `grpc-status`, and words for whoever has set up what calls.
    const fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed => ("3", "this is no CheckRequest about a request of HTTP"),
            Self::Unimplemented => {
                ("12", "this listener answers envoy.service.auth.v3.Authorization/Check only")
            }
        }
    }
}

/// Sends the one message of an answer, or says why there is none.
///
/// # Errors
/// The connection does not take it.
pub async fn send(session: &mut Session, answer: Result<Bytes, Fault>) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(StatusCode::OK, Some(1))?;
    head.insert_header(header::CONTENT_TYPE, "application/grpc")?;
    session.write_response_header(Box::new(head), false).await?;
    let mut trailers = HeaderMap::new();
    let (status, message) = match answer {
        Ok(message) => {
            session.write_response_body(Some(message), false).await?;
            ("0", None)
        }
        Err(fault) => {
            let (status, message) = fault.told();
            (status, Some(message))
        }
    };
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    if let Some(message) = message {
        trailers.insert("grpc-message", HeaderValue::from_static(message));
    }
    session.as_downstream_mut().write_response_trailers(trailers).await
}
