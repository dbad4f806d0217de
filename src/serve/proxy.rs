//! The proxy front: intake, gate, then either an upstream or a reply.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};
use uuid::Uuid;

use super::buffered::{self, Sent};
use super::context::Context;
use super::edge;
use super::intake::{self, Intake, SessionBody};
use super::proxy_status::{ProxyError, ProxyStatus};
use super::reply::{Reply, UpstreamFault, allow_origin};
use super::shutdown::Draining;
use super::trace::{self, Ended, Tracer};
use super::upstream::{DECISION_HEADER, Upstreams, WEBSOCKET_SILENCE, prepare_response};
use crate::audit::event::{OutcomeResult, method_name};
use crate::config::settings::ListenerSettings;
use crate::enforce::{Arrival, Ending, Gate, Outcome, Settled};
use crate::request::Facts;
use crate::request::framing::BodyLength;
use crate::telemetry::metrics;

/// How long an unused client connection is kept, in seconds.
const KEEP_ALIVE: u64 = 75;
/// Unread bodies up to this size are read before a refusal, so that the connection can go on.
const DRAIN_BYTES: u64 = 64 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// One listener's gateway.
pub struct Gateway {
    /// The listener.
    pub listener: ListenerSettings,
    /// What decides.
    pub gate: Arc<Gate>,
    /// Where requests go.
    pub upstreams: Arc<Upstreams>,
    /// Sends bodies that were read for classification.
    pub connector: Arc<Connector<()>>,
    /// Whether the gateway is stopping.
    pub draining: Draining,
    /// Who is told about traces.
    pub tracer: Tracer,
    /// How it names itself in answers.
    pub proxy_status: ProxyStatus,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new()
    }

    async fn early_request_filter(&self, session: &mut Session, _: &mut Context) -> pingora::Result<()> {
        edge::request_began(session);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> pingora::Result<bool> {
        session.set_keepalive(if self.draining.is_draining() { None } else { Some(KEEP_ALIVE) });
        let method = session.req_header().method.clone();
        let trusted = trace::is_trusted(intake::peer(session), &self.listener.reading.trusted_proxies);
        context.trace = Some(self.tracer.begin(&session.req_header().headers, context.id, trusted));
        let (settled, body) = match intake::read(session, &self.listener.reading) {
            Intake::ServerOptions => {
                let arrival = self.arrival(context, &method, Err(crate::request::Unreadable::NotOriginForm));
                (self.gate.server_options(&arrival).await, None)
            }
            Intake::Request(facts) => {
                let mut source = SessionBody::new(session);
                let arrival = self.arrival(context, &method, facts.as_ref().as_ref().map_err(|why| *why));
                let settled = self.gate.admit(&arrival, &mut source).await;
                let body = source.into_collected();
                context.facts = facts.ok();
                (settled, body)
            }
        };
        self.carry_out(session, context, settled, body).await
    }

    async fn upstream_peer(&self, _: &mut Session, context: &mut Context) -> pingora::Result<Box<HttpPeer>> {
        context.set_out();
        let departure = context.departure()?;
        match self.upstreams.peer(departure.admission, departure.upstream, departure.facts.websocket).await {
            Ok(peer) => Ok(Box::new(peer)),
            Err(_) => {
                context.fault = Some(ProxyError::DnsError);
                Error::e_explain(ErrorType::ConnectError, "the upstream's name can't be resolved")
                    .map_err(Error::into_up)
            }
        }
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> pingora::Result<()> {
        self.upstreams.prepare_request(request, &context.departure()?)?;
        context.mark(request)
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> pingora::Result<()> {
        if prepare_response(response, context.websocket()).is_err() {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "the upstream switched protocols unasked")
                .map_err(Error::into_up);
        }
        self.finish_response(response, context)
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        context: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("upstream {peer}"));
        let spends = context.admission.as_ref().is_some_and(|admission| admission.spent().is_some());
        let repeatable =
            session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
        if spends || !repeatable {
            // One proof pays for one request, and what may have taken effect is not sent twice.
            error.set_retry(false);
        } else {
            error.retry.decide_reuse(client_reused);
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        let dead =
            *error.esource() == ErrorSource::Downstream && *error.etype() != ErrorType::InvalidHTTPHeader;
        if dead {
            context.ending = Some(OutcomeResult::ClientGone);
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let fault = buffered::fault(error);
        // An error of our own comes before anything was sent.
        let before_sending = *error.etype() == ErrorType::InternalError;
        context.ending = Some(if before_sending { OutcomeResult::NotForwarded } else { ending(fault) });
        context.fault.get_or_insert_with(|| ProxyError::of(error));
        let error_code = self.reply_fault(session, context, fault).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        edge::request_ended(session);
        let Some(settled) = &context.settled else { return };
        metrics().request_duration.of(settled.verdict).observe(context.started.elapsed().as_secs_f64());
        let status = session.response_written().map(|response| response.status.as_u16());
        if let Some(intent) = &settled.intent {
            let result = match (context.ending, error) {
                (Some(ending), _) => ending,
                (None, None) => OutcomeResult::Completed,
                (None, Some(error)) if *error.esource() == ErrorSource::Downstream => {
                    OutcomeResult::ClientGone
                }
                (None, Some(_)) => OutcomeResult::Unknown,
            };
            if let (Some(index), Some(status)) = (context.upstream(), status) {
                self.upstreams.count_response(index, status);
            }
            let response_bytes = u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX);
            self.gate.close(intent, Ending { result, reason: None, status, response_bytes }).await;
        }
        self.end_trace(session, context, settled, status);
        tracing::debug!(decision = %context.id, verdict = settled.verdict, status, "request ended");
    }
}

impl Gateway {
    fn arrival<'a>(
        &'a self,
        context: &Context,
        method: &'a http::Method,
        facts: Result<&'a Facts, crate::request::Unreadable>,
    ) -> Arrival<'a> {
        Arrival { id: context.id, listener: &self.listener.name, method, facts, now: context.now }
    }

    /// Carries an outcome out; says whether the client has been answered.
    async fn carry_out(
        &self,
        session: &mut Session,
        context: &mut Context,
        settled: Settled,
        body: Option<Bytes>,
    ) -> pingora::Result<bool> {
        let Settled { policy, route, outcome, allow, intent, verdict } = settled;
        let settled =
            Settled { policy, route, outcome: Outcome::Preflight, allow: Vec::new(), intent, verdict };
        let (id, facts) = (context.id, context.facts.as_ref());
        let forwards = matches!(outcome, Outcome::Admitted(_));
        if !forwards && !drain(session, facts, body.as_ref()).await {
            // What follows on this connection can't be trusted, or is not worth reading.
            session.set_keepalive(None);
        }
        let reply = match outcome {
            Outcome::Admitted(admission) => {
                context.admission = Some(admission);
                context.settled = Some(settled);
                if context.websocket() {
                    session.set_read_timeout(Some(WEBSOCKET_SILENCE));
                }
                return match body {
                    None => Ok(false),
                    Some(body) => self.send_buffered(session, context, body).await.map(|()| true),
                };
            }
            Outcome::Challenged(challenge) => {
                context.reason = Some(challenge.reason.code());
                let label = settled.route().and_then(|route| route.label.as_deref());
                Reply::challenge(id, &challenge, label)?
            }
            Outcome::Refused(denial) => {
                context.reason = Some(denial.reason.code());
                Reply::refusal(id, &denial, &allow)?
            }
            Outcome::Preflight => Reply::preflight(id, settled.route(), facts)?,
        };
        let reply = reply.with_cors(settled.route(), facts)?.with_proxy_status(&self.proxy_status, None)?;
        tracing::debug!(decision = %id, verdict = settled.verdict, status = reply.status(), "answered");
        context.settled = Some(settled);
        reply.send(session).await?;
        Ok(true)
    }

    async fn send_buffered(
        &self,
        session: &mut Session,
        context: &mut Context,
        body: Bytes,
    ) -> pingora::Result<()> {
        let mut request = session.req_header().clone();
        self.upstreams.prepare_request(&mut request, &context.departure()?)?;
        context.set_out();
        context.mark(&mut request)?;
        let departure = context.departure()?;
        let sent = match self.upstreams.peer(departure.admission, departure.upstream, false).await {
            Ok(peer) => {
                let adjust = |response: &mut ResponseHeader| self.finish_response(response, context);
                buffered::send(&self.connector, &peer, request, body, session, adjust).await
            }
            Err(fault) => Sent::Failed(fault, ProxyError::DnsError),
        };
        match sent {
            Sent::Completed => context.ending = Some(OutcomeResult::Completed),
            Sent::ClientGone => {
                context.ending = Some(OutcomeResult::ClientGone);
                session.set_keepalive(None);
            }
            Sent::BrokenOff => {
                context.ending = Some(OutcomeResult::Unknown);
                self.count_fault(context, UpstreamFault::Broken);
                // The client must see that the answer is not whole: an error makes Pingora cut the connection.
                return Error::e_explain(ErrorType::ConnectionClosed, "the upstream broke off its answer");
            }
            Sent::Failed(fault, error) => {
                context.fault = Some(error);
                context.ending = Some(ending(fault));
                self.reply_fault(session, context, fault).await;
            }
        }
        Ok(())
    }

    /// The last touch to an upstream's answer.
    fn finish_response(&self, response: &mut ResponseHeader, context: &Context) -> pingora::Result<()> {
        self.proxy_status.clean(response);
        let mut buffer = Uuid::encode_buffer();
        response
            .insert_header(DECISION_HEADER, context.id.hyphenated().encode_lower(&mut buffer).as_bytes())?;
        allow_origin(response, context.settled.as_ref().and_then(Settled::route), context.facts.as_ref())
    }

    fn end_trace(&self, session: &Session, context: &Context, settled: &Settled, status: Option<u16>) {
        let Some(trace) = &context.trace else { return };
        let forwarded = context.upstream().filter(|_| context.admission.is_some());
        self.tracer.end(
            trace,
            &Ended {
                decision: context.id,
                verdict: settled.verdict,
                reason: context.reason,
                listener: &self.listener.name,
                method: method_name(&session.req_header().method),
                route: settled.route(),
                upstream: forwarded.map(|index| self.upstreams.name(index)),
                sent_after: context.sent_after,
                fault: context.fault.map(ProxyError::token),
                status,
                took: context.started.elapsed(),
            },
        );
    }

    fn count_fault(&self, context: &Context, fault: UpstreamFault) {
        let upstream = context.upstream().map_or("none", |index| self.upstreams.name(index));
        metrics().upstream_failures.with_label_values(&[upstream, fault.kind()]).inc();
        tracing::warn!(decision = %context.id, upstream, kind = fault.kind(), "the upstream gave no usable answer");
    }

    /// Tells the client that the service behind failed, unless an answer has begun; gives the status.
    async fn reply_fault(&self, session: &mut Session, context: &Context, fault: UpstreamFault) -> u16 {
        self.count_fault(context, fault);
        session.set_keepalive(None);
        if session.response_written().is_some_and(|response| !response.status.is_informational()) {
            return 0;
        }
        let reply = Reply::upstream_fault(context.id, fault).and_then(|reply| {
            let reply =
                reply.with_cors(context.settled.as_ref().and_then(Settled::route), context.facts.as_ref())?;
            reply.with_proxy_status(&self.proxy_status, Some(context.fault.unwrap_or(fault.into())))
        });
        match reply {
            Ok(reply) => {
                let status = reply.status();
                if let Err(error) = reply.send(session).await {
                    tracing::debug!(decision = %context.id, %error, "the client went away before its answer");
                }
                status
            }
            Err(_) => 0,
        }
    }
}

fn ending(fault: UpstreamFault) -> OutcomeResult {
    if fault == UpstreamFault::Unreachable {
        OutcomeResult::UpstreamUnreachable
    } else {
        OutcomeResult::Unknown
    }
}

/// Reads what is left of a small body, so that the connection can go on after a refusal; says whether it can.
///
/// It must be read before the answer: a client that waits for leave to send (RFC 9110 §10.1.1) would wait for ever.
async fn drain(session: &mut Session, facts: Option<&Facts>, collected: Option<&Bytes>) -> bool {
    let length = match facts.map(|facts| facts.body.length) {
        _ if collected.is_some() => return true,
        Some(BodyLength::None) => return true,
        Some(BodyLength::Known(bytes)) => bytes,
        Some(BodyLength::Chunked) | None => return false,
    };
    let waits = session.get_header(http::header::EXPECT).is_some();
    length <= DRAIN_BYTES
        && !waits
        && tokio::time::timeout(DRAIN_TIME, session.drain_request_body()).await.is_ok_and(|read| read.is_ok())
}
