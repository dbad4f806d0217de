//! The listener's limits on one request: what Pingora is told of them, and what becomes of a request that breaks one.

use std::time::Duration;

use http::header;
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use super::context::Context;
use super::proxy_status::ProxyStatus;
use super::reply::Reply;
use crate::config::settings::ListenerLimits;
use crate::decision::{Denial, Reason};
use crate::request::Facts;
use crate::request::framing::BodyLength;

/// How much later than the listener's own limits those of Pingora take hold.
const BEHIND: Duration = Duration::from_secs(60);
/// The largest piece of an answer that is written at once, in bytes.
const H2_PIECE: u32 = 64 * 1024;

/// Sets Pingora's own times. They are for each read, so the stream watches over the whole: those for a body stand behind
/// it, and one for the wait between two requests would only cost every request a timer.
pub fn set_times(session: &mut Session, limits: &ListenerLimits, is_last: bool) {
    // Zero is "without a limit" to Pingora.
    session.set_keepalive(if is_last { None } else { Some(0) });
    session.set_read_timeout(Some(limits.body_grace + BEHIND));
    if session.as_http2().is_some() {
        // A client that opens no window keeps nobody waiting at the socket, but here it does.
        let piece = Duration::from_secs(u64::from(H2_PIECE / limits.body_min_rate));
        session.set_write_timeout(Some(limits.body_grace + piece));
    }
}

/// From here on the client may be too slow with its body. Streams in both directions may rest: gRPC has them, and only
/// HTTP/2 has gRPC. Whoever names it on HTTP/1 would otherwise be free of every limit.
pub fn expect_body(session: &Session, context: &mut Context, facts: Option<&Facts>) {
    let is_grpc = session.as_http2().is_some()
        && session
            .get_header(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let has_body = facts.is_some_and(|facts| facts.body.length != BodyLength::None && !facts.websocket);
    if let (true, false, Some(running)) = (has_body, is_grpc, &mut context.running) {
        running.awaits_body();
    }
}

/// Looks at a body that is streamed, piece by piece.
///
/// # Errors
/// It is longer than allowed: what had come is upstream already, so that the outcome is not known.
pub fn pass_body(session: &Session, is_last: bool, context: &mut Context) -> pingora::Result<()> {
    if context.websocket() {
        return Ok(());
    }
    let read = u64::try_from(session.body_bytes_read()).unwrap_or(u64::MAX);
    if read > context.body_bytes {
        context.stopped = Some(Reason::BodyTooLarge);
        return Error::e_explain(ErrorType::Custom("body_too_large"), "the body is longer than allowed")
            .map_err(Error::into_down);
    }
    if let Some(running) = &mut context.running {
        running.takes_up(session.body_bytes_read());
        if is_last {
            running.has_body();
        }
    }
    Ok(())
}

/// Tells the client why the gateway stopped its request, unless an answer has begun; gives the status.
pub async fn reply_stopped(
    session: &mut Session,
    context: &Context,
    proxy_status: &ProxyStatus,
    reason: Reason,
) -> u16 {
    session.set_keepalive(None);
    if session.response_written().is_some_and(|response| !response.status.is_informational()) {
        return 0;
    }
    let denial = Denial::new(reason);
    let fhir = context.live.generation.policy.index.fhir();
    let is_fhir = context.facts.as_ref().is_some_and(|facts| fhir.is_below_base(facts));
    let reply = Reply::refusal(context.id, &denial, &[]).and_then(|reply| {
        if is_fhir { reply.into_operation_outcome(context.id, &denial) } else { Ok(reply) }
    });
    let reply =
        reply.and_then(|reply| reply.with_cookies(&context.cookies)?.with_proxy_status(proxy_status, None));
    let Ok(reply) = reply else { return 0 };
    let status = reply.status();
    if let Err(error) = reply.send(session).await {
        tracing::debug!(decision = %context.id, %error, "the client went away before its answer");
    }
    status
}
