//! The proxy front: intake, gate, then either an upstream or a reply.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::connectors::http::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType};

use super::break_glass;
use super::buffered;
use super::context::Context;
use super::delegation;
use super::delivery::Failure;
use super::edge;
use super::faults::{Answered, ending};
use super::framing;
use super::http1;
use super::intake::{self, Intake, SessionBody};
use super::kept;
use super::limits;
use super::live::Current;
use super::own;
use super::proxy_status::{ProxyError, ProxyStatus};
use super::reply::UpstreamFault;
use super::running::Open;
use super::shutdown::Draining;
use super::signals;
use super::trace::{self, Tracer};
use super::upstream::{Destination, Line, prepare_response, prepare_trailers};
use crate::audit::event::OutcomeResult;
use crate::config::settings::{ListenerMode, ListenerSettings};
use crate::decision::Reason;
use crate::enforce::{Arrival, Ending, Gate};
use crate::request::Facts;
use crate::request::framing::BodyLength;
use crate::telemetry::metrics;

/// One listener's gateway.
pub struct Gateway {
    /// The listener, as it was when it was opened.
    pub listener: ListenerSettings,
    /// The listener's position in the configuration.
    pub position: usize,
    /// What decides.
    pub gate: Arc<Gate>,
    /// The version of the configuration that requests begin under.
    pub current: Arc<Current>,
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
        Context::new(self.current.load(), self.gate.streams().changes())
    }

    async fn early_request_filter(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<()> {
        context.running = edge::request_began(session);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> pingora::Result<bool> {
        let is_old = session.req_header().version == http::Version::HTTP_10;
        limits::set_times(session, &self.listener.limits, is_old || self.draining.is_draining());
        // A client of HTTP/1.0 knows no interim answers (RFC 9110 §15.2).
        session.as_downstream_mut().set_ignore_info_resp(is_old);
        let method = session.req_header().method.clone();
        let live = Arc::clone(&context.live);
        let reading = live.readings.get(self.position).unwrap_or(&self.listener.reading);
        let trusted = trace::is_trusted(intake::direct_peer(session), &reading.trusted_proxies);
        context.trace = Some(self.tracer.begin(&session.req_header().headers, context.id, trusted));
        if !self.may_ask(session, &live) {
            return Box::pin(self.refuse_peer(session, context)).await.map(|()| true);
        }
        match self.listener.mode {
            ListenerMode::Proxy => {}
            ListenerMode::ForwardAuth => {
                return Box::pin(self.forward_auth(session, context)).await.map(|()| true);
            }
            ListenerMode::Authzen => {
                return Box::pin(self.authzen(session, context)).await.map(|()| true);
            }
            ListenerMode::ExtAuthz => {
                return Box::pin(self.ext_authz(session, context)).await.map(|()| true);
            }
            ListenerMode::ExtAuthzHttp => {
                return Box::pin(self.ext_authz_http(session, context)).await.map(|()| true);
            }
        }
        let (settled, body) = match intake::read(session, reading) {
            Intake::ServerOptions => {
                let arrival = self.arrival(context, &method, Err(crate::request::Unreadable::NotOriginForm));
                (Box::pin(self.gate.server_options(&live.generation, &arrival)).await, None)
            }
            Intake::Request(facts) => {
                limits::expect_body(session, context, facts.as_ref().as_ref().ok());
                if let Ok(facts) = facts.as_ref()
                    && let Some((streams, position)) = signals::addressed(&live, facts)
                {
                    let pushed = self.pushed(session, context, (streams, position), facts);
                    return Box::pin(pushed).await.map(|()| true);
                }
                if let Ok(facts) = facts.as_ref()
                    && break_glass::addressed(&live, facts)
                {
                    return Box::pin(self.break_glass(session, context, facts)).await.map(|()| true);
                }
                if let Ok(facts) = facts.as_ref()
                    && delegation::addressed(&live, facts)
                {
                    return Box::pin(self.own_delegations(session, context, facts)).await.map(|()| true);
                }
                if let Ok(facts) = facts.as_ref()
                    && let Some(sessions) = own::addressed(&live, facts)
                {
                    return Box::pin(self.own_page(session, context, &**sessions, facts))
                        .await
                        .map(|()| true);
                }
                if let Ok(facts) = facts.as_ref()
                    && let Some((sessions, target, name)) = kept::confirmed(&live, facts)
                {
                    let asked = (facts, target, name);
                    return Box::pin(self.go_on(session, context, &**sessions, asked)).await;
                }
                let mut source = SessionBody::new(session);
                let arrival = self.arrival(context, &method, facts.as_ref().as_ref().map_err(|why| *why));
                let settled = self.gate.admit(&live.generation, &arrival, &mut source).await;
                let body = source.into_collected();
                if let (Some(running), Some(_)) = (&mut context.running, &body) {
                    running.has_body();
                }
                context.facts = facts.ok();
                (settled, body)
            }
        };
        self.carry_out(session, context, settled, body).await
    }

    async fn upstream_peer(&self, _: &mut Session, context: &mut Context) -> pingora::Result<Box<HttpPeer>> {
        if self.tracer.exports() {
            context.set_out();
        }
        let departure = context.departure()?;
        match context.live.upstreams.destination(&departure, context.delivery.tried()).await {
            Ok(Destination { peer, attempt, handshake }) => {
                context.delivery.begin(attempt, handshake);
                Ok(Box::new(peer))
            }
            Err((fault, error)) => {
                context.fault = Some(error);
                Err(buffered::error(fault).into_up())
            }
        }
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let again = context.delivery.may_connect_again(&error);
        error.set_retry(again);
        if again {
            self.count_retry(context, "connect");
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _reused: bool,
        peer: &HttpPeer,
        socket: i32,
        digest: Option<&Digest>,
        context: &mut Context,
    ) -> pingora::Result<()> {
        context.delivery.connected(Line::new(socket, digest, peer.options.read_timeout));
        Ok(())
    }

    /// Every piece of a body that is streamed passes here. What is decided on it is only whether it is too long: the
    /// head has gone upstream already.
    async fn request_body_filter(
        &self,
        session: &mut Session,
        _: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> pingora::Result<()> {
        if end_of_stream {
            context.delivery.awaits_head();
        }
        limits::pass_body(session, end_of_stream, context)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> pingora::Result<()> {
        if session.is_http2() && request.version != http::Version::HTTP_2 {
            http1::join_cookies(request)?;
        }
        let departure = context.departure()?;
        if context.live.upstreams.is_http2_only(departure.upstream)
            && request.version != http::Version::HTTP_2
        {
            return Err(buffered::error(UpstreamFault::Unreachable).into_up());
        }
        context.live.upstreams.prepare_request(request, &departure)?;
        if request.version == http::Version::HTTP_2 {
            context.delivery.speaks_http2();
        } else if context.facts.as_ref().is_some_and(|facts| facts.body.length == BodyLength::None) {
            context.delivery.awaits_head();
        }
        context.mark(request)
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> pingora::Result<()> {
        if !context.delivery.head(response.status.as_u16()) {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "too many interim answers")
                .map_err(Error::into_up);
        }
        if prepare_response(response, context.websocket()).is_err() {
            return Error::e_explain(ErrorType::InvalidHTTPHeader, "the upstream switched protocols unasked")
                .map_err(Error::into_up);
        }
        self.finish_response(response, context)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Context,
    ) -> pingora::Result<()> {
        framing::suit_client(response, session.req_header())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        context: &mut Context,
    ) -> pingora::Result<Option<Duration>> {
        if let (Some(open), Some(body)) = (&context.open, body) {
            open.passes(body.len());
        }
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut http::HeaderMap,
        _: &mut Context,
    ) -> pingora::Result<()> {
        prepare_trailers(trailers);
        Ok(())
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
        if context.delivery.answer_is_late() {
            error.etype = ErrorType::ReadTimedout;
            error.set_retry(false);
            return error;
        }
        let method = &session.req_header().method;
        let spends = context.admission.as_ref().is_some_and(|admission| admission.spent().is_some());
        // One proof pays for one request, and what may have taken effect is not sent twice.
        let repeatable = !spends && method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
        let bodiless = context.facts.as_ref().is_some_and(|facts| facts.body.length == BodyLength::None);
        let retries = context.upstream().and_then(|index| context.live.upstreams.retries(index));
        let failure =
            Failure::of(&mut error, client_reused, repeatable, retries.filter(|_| bodiless), method);
        let again = context.delivery.may_send_again(failure);
        error.set_retry(again);
        if again {
            self.count_retry(context, "resend");
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        if context.stopped.is_none() && edge::was_too_slow(session) {
            context.stopped = Some(Reason::ClientTooSlow);
        }
        if let Some(reason) = context.stopped {
            let error_code = limits::reply_stopped(session, context, &self.proxy_status, reason).await;
            return FailToProxy { error_code, can_reuse_downstream: false };
        }
        let dead =
            *error.esource() == ErrorSource::Downstream && *error.etype() != ErrorType::InvalidHTTPHeader;
        if dead {
            context.ending = Some(OutcomeResult::ClientGone);
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let fault = buffered::fault(error);
        context.ending = Some(ending(fault));
        context.fault.get_or_insert_with(|| ProxyError::of(error));
        let error_code = self.reply_fault(session, context, fault).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        let ended = context.open.take().and_then(Open::close);
        let Some(settled) = &context.settled else { return };
        let took = context.started.elapsed();
        metrics().request_duration.of(settled.verdict).observe(took.as_secs_f64());
        let status = session.response_written().map(|response| response.status.as_u16());
        if let Some(intent) = &settled.intent {
            let too_slow = edge::was_too_slow(session).then_some(Reason::ClientTooSlow);
            let stopped = context.stopped.or(ended).or(too_slow);
            let result = match (context.ending, error) {
                _ if stopped.is_some() => OutcomeResult::NotCompleted,
                (Some(ending), _) => ending,
                (None, None) => OutcomeResult::Completed,
                (None, Some(error)) if *error.esource() == ErrorSource::Downstream => {
                    OutcomeResult::ClientGone
                }
                (None, Some(_)) => OutcomeResult::Unknown,
            };
            if result == OutcomeResult::Completed {
                context.delivery.succeeded();
            }
            if let (Some(index), Some(status)) = (context.upstream(), status) {
                context.live.upstreams.count_response(index, status);
            }
            let response_bytes = u64::try_from(session.body_bytes_sent()).unwrap_or(u64::MAX);
            self.gate.close(intent, Ending { result, reason: stopped, status, response_bytes, took }).await;
        }
        self.end_trace(session, context, settled, Answered { status, took });
        tracing::debug!(decision = %context.id, verdict = settled.verdict, status, "request ended");
    }
}

impl Gateway {
    pub(super) fn arrival<'a>(
        &'a self,
        context: &Context,
        method: &'a http::Method,
        facts: Result<&'a Facts, crate::request::Unreadable>,
    ) -> Arrival<'a> {
        Arrival {
            id: context.id,
            listener: &self.listener.name,
            method,
            facts,
            subject: None,
            now: context.now,
            at: context.started,
            resumes: None,
            body_bytes: self.listener.limits.body_bytes,
        }
    }
}
