//! Sends a request whose body was already read: the second back end of dispatch, on Pingora's own connector.
//!
//! Pingora's stream would have to replay the body from its retry buffer, which ends at 64 KiB; bodies that are
//! classified may be larger (`docs/decisions/0003-buffered-dispatch.md`). What is sent again, and to whom, is decided by
//! the rules of what is streamed: [`super::delivery`].

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::client::HttpSession;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};

use super::checked::{Check, Looked};
use super::context::Context;
use super::delivery::Failure;
use super::faults::ending;
use super::framing;
use super::http1;
use super::proxy::Gateway;
use super::proxy_status::ProxyError;
use super::reply::UpstreamFault;
use super::upstream::{Destination, HEAD_PATIENCE, address_h2, prepare_response};
use crate::audit::event::OutcomeResult;
use crate::decision::Reason;
use crate::enforce::sessions::Page;

/// How sending ended.
enum Sent {
    /// The client got the whole answer.
    Completed,
    /// The client was told of the answer, which was not read.
    Told,
    /// The server refused the request; what it said of it stays behind.
    Declined(StatusCode),
    /// The answer must not be shown.
    Unfit(Reason),
    /// No answer came, and nothing was written to the client yet.
    Failed(UpstreamFault, ProxyError),
    /// The answer broke off after its head had been sent: the connection must be closed.
    BrokenOff,
    /// The client went away.
    ClientGone,
}

/// Sends the admitted request with `body`, and passes the answer on.
///
/// # Errors
/// The client must see that the answer is not whole; an error makes Pingora cut the connection.
pub async fn deliver(
    gateway: &Gateway,
    session: &mut Session,
    context: &mut Context,
    body: Bytes,
) -> pingora::Result<()> {
    match send(gateway, session, context, body).await? {
        Sent::Completed | Sent::Told => context.ending = Some(OutcomeResult::Completed),
        Sent::ClientGone => {
            context.ending = Some(OutcomeResult::ClientGone);
            session.set_keepalive(None);
        }
        Sent::Declined(status) => {
            context.ending = Some(OutcomeResult::Completed);
            // Nobody learns from the difference whether an id is another's.
            let told =
                if status == StatusCode::NOT_FOUND { Ok(Reason::FhirReplyForeign) } else { Err(status) };
            gateway.reply_unshown(session, context, told).await?;
        }
        Sent::Unfit(reason) => {
            context.stopped = Some(reason);
            tracing::warn!(decision = %context.id, reason = reason.code(), "the reply to a patient was not shown");
            gateway.reply_unshown(session, context, Ok(reason)).await?;
        }
        Sent::BrokenOff => {
            // Pingora tells of it: then it is counted, and the outcome set.
            return Error::e_explain(ErrorType::ConnectionClosed, "the upstream broke off its answer");
        }
        Sent::Failed(fault, error) => {
            context.fault = Some(error);
            context.ending = Some(ending(fault));
            gateway.reply_fault(session, context, fault).await;
        }
    }
    Ok(())
}

async fn send(
    gateway: &Gateway,
    session: &mut Session,
    context: &mut Context,
    body: Bytes,
) -> pingora::Result<Sent> {
    let mut request = match &context.resumed {
        Some(resumed) => resumed.header.clone(),
        None => session.req_header().clone(),
    };
    http1::from_http2(&mut request)?;
    context.live.upstreams.prepare_request(&mut request, &context.departure()?)?;
    context.set_out();
    context.mark(&mut request)?;
    if let Some(check) = Check::of(context) {
        check.ask(&mut request)?;
    }
    let (mut upstream, peer, answer) = loop {
        let (mut upstream, reused, peer) = match connect(gateway, context).await? {
            Ok(connected) => connected,
            Err((fault, error)) => return Ok(Sent::Failed(fault, error)),
        };
        upstream.set_read_timeout(peer.options.read_timeout);
        upstream.set_write_timeout(peer.options.write_timeout);
        match exchange(&mut upstream, &request, &body, &peer, context).await {
            Err(mut error) => {
                error.as_up();
                if !may_send_again(context, &mut error, reused, &request.method, body.is_empty()) {
                    break (upstream, peer, Err(error));
                }
                gateway.count_retry(context, "resend");
                give_back(gateway, upstream, &peer, false).await;
            }
            answer => break (upstream, peer, answer),
        }
    };
    let sent = match answer {
        Err(error) => Sent::Failed(fault(&error), ProxyError::of(&error)),
        Ok(response) if context.resumed.as_ref().is_some_and(|resumed| resumed.back.is_some()) => {
            tell(gateway, session, context, response.status).await?
        }
        Ok(response) => match Check::of(context) {
            Some(check) => {
                let patience = peer.options.read_timeout.unwrap_or(Duration::MAX);
                let looking = (check, patience.saturating_mul(HEAD_PATIENCE));
                look_through(gateway, session, context, (&mut upstream, looking), response).await
            }
            None => pass_on(gateway, session, context, &mut upstream, response).await,
        },
    };
    if let HttpSession::H2(h2) = &upstream
        && matches!(sent, Sent::Failed(UpstreamFault::TimedOut, _))
    {
        // It may hang as a whole: no further request goes there.
        h2.conn.mark_shutdown();
    }
    give_back(gateway, upstream, &peer, matches!(sent, Sent::Completed)).await;
    Ok(sent)
}

/// Whether a request that failed after it went out may go out again.
fn may_send_again(
    context: &mut Context,
    error: &mut Error,
    reused: bool,
    method: &Method,
    bodiless: bool,
) -> bool {
    let spends = context.admission.as_ref().is_some_and(|admission| admission.spent().is_some());
    // One proof pays for one request. What was classified by its body changes something, and is not sent twice either.
    let repeatable = !spends && context.resumed.is_none() && method.is_safe();
    let retries = context.upstream().and_then(|index| context.live.upstreams.retries(index));
    let failure = Failure::of(error, reused, repeatable, retries.filter(|_| bodiless), method);
    context.delivery.may_send_again(failure)
}

/// Puts a connection that may serve again into the pool. Pingora counts the streams of one of HTTP/2, so it must get
/// each of them back.
async fn give_back(gateway: &Gateway, upstream: HttpSession, peer: &HttpPeer, usable: bool) {
    if usable || matches!(upstream, HttpSession::H2(_)) {
        gateway.connector.release_http_session(upstream, peer, peer.options.idle_timeout).await;
    }
}

type Connected = (HttpSession, bool, HttpPeer);

/// Connects to one of the servers; the flag says that the connection served before.
async fn connect(
    gateway: &Gateway,
    context: &mut Context,
) -> pingora::Result<Result<Connected, (UpstreamFault, ProxyError)>> {
    loop {
        let destination =
            context.live.upstreams.destination(&context.departure()?, context.delivery.tried()).await;
        let Destination { peer, attempt, .. } = match destination {
            Ok(destination) => destination,
            Err(undeliverable) => return Ok(Err(undeliverable)),
        };
        context.delivery.begin(attempt, None);
        match gateway.connector.get_http_session(&peer).await {
            Ok((upstream, reused)) => {
                let only =
                    context.upstream().is_some_and(|index| context.live.upstreams.is_http2_only(index));
                if only && !matches!(upstream, HttpSession::H2(_)) {
                    let fault = UpstreamFault::Unreachable;
                    return Ok(Err((fault, fault.into())));
                }
                return Ok(Ok((upstream, reused, peer)));
            }
            Err(error) if context.delivery.may_connect_again(&error) => {
                gateway.count_retry(context, "connect")
            }
            Err(error) => return Ok(Err((UpstreamFault::Unreachable, ProxyError::of(&error)))),
        }
    }
}

/// Sends the request and reads the head of its answer.
async fn exchange(
    upstream: &mut HttpSession,
    request: &RequestHeader,
    body: &Bytes,
    peer: &HttpPeer,
    context: &mut Context,
) -> pingora::Result<ResponseHeader> {
    let mut request = request.clone();
    request.remove_header(&header::TRANSFER_ENCODING);
    request.remove_header(&header::EXPECT);
    if !body.is_empty() || !request.method.is_safe() {
        request.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    if matches!(upstream, HttpSession::H2(_)) {
        address_h2(&mut request, peer.is_tls())?;
    }
    upstream.write_request_header(Box::new(request)).await?;
    upstream.write_request_body(body.clone(), true).await?;
    upstream.finish_request_body().await?;
    let patience = peer.options.read_timeout.unwrap_or(Duration::MAX).saturating_mul(HEAD_PATIENCE);
    match tokio::time::timeout(patience, read_head(upstream, context)).await {
        Ok(head) => head,
        Err(_) => Error::e_explain(ErrorType::ReadTimedout, "the head of the answer did not come in time"),
    }
}

/// Reads heads until one is no interim answer's.
async fn read_head(upstream: &mut HttpSession, context: &mut Context) -> pingora::Result<ResponseHeader> {
    loop {
        upstream.read_response_header().await?;
        let Some(response) = upstream.response_header() else {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "no head of an answer");
        };
        let status = response.status.as_u16();
        if !context.delivery.head(status) {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "too many interim answers");
        }
        if response.status.is_informational() && matches!(upstream, HttpSession::H2(_)) {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "an interim answer as the last");
        }
        // Interim answers (RFC 9110 §15.2) are between this hop and the next.
        if !response.status.is_informational() || status == 101 {
            return Ok(response.clone());
        }
    }
}

/// Tells a person what came of what a script had asked for: the application's own answer means nothing to them. The
/// connection is not used again, since that answer is still on it.
async fn tell(
    gateway: &Gateway,
    session: &mut Session,
    context: &Context,
    status: StatusCode,
) -> pingora::Result<Sent> {
    let back = context.resumed.as_ref().and_then(|resumed| resumed.back.clone()).unwrap_or_default();
    let headers = session.req_header().headers.clone();
    let shown = if status.is_redirection() {
        // Where to, nobody can tell here: to the result, or to a page that says that nothing was done.
        gateway.show_uncertain(session, context, &headers).await
    } else {
        gateway.show(session, context, &Page::Sent { ok: status.is_success(), back }, &headers).await
    };
    match shown {
        Ok(()) => Ok(Sent::Told),
        Err(_) => Ok(Sent::ClientGone),
    }
}

/// Reads an answer that must be looked through, and sends what may be shown.
async fn look_through(
    gateway: &Gateway,
    session: &mut Session,
    context: &Context,
    (upstream, (check, patience)): (&mut HttpSession, (Check<'_>, Duration)),
    mut response: ResponseHeader,
) -> Sent {
    if let Err(fault) = prepare_response(&mut response, false) {
        return Sent::Failed(fault, fault.into());
    }
    let (mut head, body) = match tokio::time::timeout(patience, check.look(upstream, response)).await {
        Ok(Ok(Looked::Fit(head, body))) => (head, body),
        Ok(Ok(Looked::Failed(status))) => return Sent::Declined(status),
        Ok(Ok(Looked::Refused(reason))) => return Sent::Unfit(reason),
        Ok(Err(error)) => return Sent::Failed(fault(&error), ProxyError::of(&error)),
        // One that drips would hold the connection for ever.
        Err(_) => return Sent::Failed(UpstreamFault::TimedOut, UpstreamFault::TimedOut.into()),
    };
    if framing::suit_client(&mut head, session.req_header()).is_err()
        || gateway.finish_response(&mut head, context).is_err()
    {
        return Sent::Failed(UpstreamFault::Broken, ProxyError::HttpProtocolError);
    }
    let is_bodiless = session.req_header().method == Method::HEAD || body.is_empty();
    if let Some(open) = context.open.as_ref().filter(|_| !is_bodiless) {
        open.passes(body.len());
    }
    if session.write_response_header(head, is_bodiless).await.is_err() {
        return Sent::ClientGone;
    }
    if !is_bodiless && session.write_response_body(Some(body), true).await.is_err() {
        return Sent::ClientGone;
    }
    Sent::Completed
}

async fn pass_on(
    gateway: &Gateway,
    session: &mut Session,
    context: &Context,
    upstream: &mut HttpSession,
    mut response: ResponseHeader,
) -> Sent {
    if let Err(fault) = prepare_response(&mut response, false) {
        return Sent::Failed(fault, fault.into());
    }
    if framing::suit_client(&mut response, session.req_header()).is_err()
        || gateway.finish_response(&mut response, context).is_err()
    {
        return Sent::Failed(UpstreamFault::Broken, ProxyError::HttpProtocolError);
    }
    if session.write_response_header(Box::new(response), false).await.is_err() {
        return Sent::ClientGone;
    }
    loop {
        match upstream.read_response_body().await {
            Ok(Some(chunk)) => {
                if let Some(open) = &context.open {
                    open.passes(chunk.len());
                }
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
    Sent::Completed
}

/// The error by which Pingora is told of a fault that comes before any connection.
pub fn error(fault: UpstreamFault) -> Box<Error> {
    let kind = match fault {
        UpstreamFault::NoneHealthy => ErrorType::Custom(NONE_HEALTHY),
        _ => ErrorType::ConnectError,
    };
    Error::explain(kind, "no server was reached")
}

/// The name of that error where every server is known not to be well.
const NONE_HEALTHY: &str = "NoneHealthy";

/// What an error of Pingora's means for the client.
pub fn fault(error: &pingora::Error) -> UpstreamFault {
    match error.etype() {
        ErrorType::Custom(NONE_HEALTHY) => UpstreamFault::NoneHealthy,
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
        // An error of our own comes before anything was sent.
        ErrorType::InternalError => UpstreamFault::Unsendable,
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => UpstreamFault::TimedOut,
        _ => UpstreamFault::Broken,
    }
}
