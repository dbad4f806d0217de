//! Sends a request whose body was already read: the second back end of dispatch, on Pingora's own connector.
//!
//! Pingora's stream would have to replay the body from its retry buffer, which ends at 64 KiB; bodies that are
//! classified may be larger (`docs/decisions/0003-buffered-dispatch.md`).

use bytes::Bytes;
use http::header;
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;

use super::proxy_status::ProxyError;
use super::reply::UpstreamFault;
use super::upstream::prepare_response;

/// How sending ended.
pub enum Sent {
    /// The client got the whole answer.
    Completed,
    /// No answer came, and nothing was written to the client yet.
    Failed(UpstreamFault, ProxyError),
    /// The answer broke off after its head had been sent: the connection must be closed.
    BrokenOff,
    /// The client went away.
    ClientGone,
}

/// Sends `request` with `body` to `peer` and passes the answer on. Never retried.
///
/// `adjust` may change the answer's head before the client gets it.
pub async fn send(
    connector: &Connector,
    peer: &HttpPeer,
    mut request: RequestHeader,
    body: Bytes,
    session: &mut Session,
    adjust: impl Fn(&mut ResponseHeader) -> pingora::Result<()>,
) -> Sent {
    request.remove_header(&header::TRANSFER_ENCODING);
    request.remove_header(&header::EXPECT);
    if request.insert_header(header::CONTENT_LENGTH, body.len()).is_err() {
        return Sent::Failed(UpstreamFault::Broken, ProxyError::InternalError);
    }
    let mut upstream = match connector.get_http_session(peer).await {
        Ok((upstream, _)) => upstream,
        Err(error) => return Sent::Failed(UpstreamFault::Unreachable, ProxyError::of(&error)),
    };
    upstream.set_read_timeout(peer.options.read_timeout);
    upstream.set_write_timeout(peer.options.write_timeout);
    let exchanged = async {
        upstream.write_request_header(Box::new(request)).await?;
        upstream.write_request_body(body, true).await?;
        upstream.finish_request_body().await?;
        loop {
            upstream.read_response_header().await?;
            // Interim answers (RFC 9110 §15.2) are between this hop and the next.
            let interim =
                upstream.response_header().is_some_and(|response| response.status.is_informational());
            if !interim || upstream.response_header().is_some_and(|response| response.status.as_u16() == 101)
            {
                return Ok::<(), Box<pingora::Error>>(());
            }
        }
    };
    if let Err(error) = exchanged.await {
        return Sent::Failed(fault(&error), ProxyError::of(&error));
    }
    let Some(mut response) = upstream.response_header().cloned() else {
        return Sent::Failed(UpstreamFault::Broken, ProxyError::HttpProtocolError);
    };
    if let Err(fault) = prepare_response(&mut response, false) {
        return Sent::Failed(fault, fault.into());
    }
    if adjust(&mut response).is_err() {
        return Sent::Failed(UpstreamFault::Broken, ProxyError::HttpProtocolError);
    }
    if session.write_response_header(Box::new(response), false).await.is_err() {
        return Sent::ClientGone;
    }
    loop {
        match upstream.read_response_body().await {
            Ok(Some(chunk)) => {
                if session.write_response_body(Some(chunk), false).await.is_err() {
                    return Sent::ClientGone;
                }
            }
            Ok(None) => break,
            Err(_) => return Sent::BrokenOff,
        }
    }
    if session.write_response_body(None, true).await.is_err() {
        return Sent::ClientGone;
    }
    connector.release_http_session(upstream, peer, peer.options.idle_timeout).await;
    Sent::Completed
}

/// What an error of Pingora's means for the client.
pub fn fault(error: &pingora::Error) -> UpstreamFault {
    use pingora::ErrorType;
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::ConnectProxyFailure
        | ErrorType::BindError
        | ErrorType::SocketError
        | ErrorType::TLSHandshakeFailure
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::InvalidCert
        | ErrorType::HandshakeError
        | ErrorType::TLSWantX509Lookup => UpstreamFault::Unreachable,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => UpstreamFault::TimedOut,
        _ => UpstreamFault::Broken,
    }
}
