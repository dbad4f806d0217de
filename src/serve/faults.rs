//! What is counted, logged and answered where the service behind fails, and what the trace says of it.

use std::time::Duration;

use http::StatusCode;
use pingora::proxy::Session;

use super::context::Context;
use super::proxy::Gateway;
use super::proxy_status::ProxyError;
use super::reply::{Reply, UpstreamFault};
use super::trace::Ended;
use crate::audit::event::{OutcomeResult, method_name};
use crate::decision::{Denial, Reason};
use crate::enforce::Settled;
use crate::telemetry::metrics;

/// What a client got, and how long it took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub status: Option<u16>,
    pub took: Duration,
}

impl Gateway {
    /// Tells the trace collector about a request that has ended.
    pub(super) fn end_trace(
        &self,
        session: &Session,
        context: &Context,
        settled: &Settled,
        answered: Answered,
    ) {
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
                upstream: forwarded.map(|index| context.live.upstreams.name(index)),
                sent_after: context.sent_after,
                fault: context.fault.map(ProxyError::token),
                status: answered.status,
                took: answered.took,
            },
        );
    }

    pub(super) fn count_retry(&self, context: &Context, kind: &str) {
        let upstream = context.upstream().map_or("none", |index| context.live.upstreams.name(index));
        metrics().upstream_retries.with_label_values(&[upstream, kind]).inc();
    }

    pub(super) fn count_fault(&self, context: &Context, fault: UpstreamFault) {
        if fault == UpstreamFault::Unsendable {
            tracing::error!(decision = %context.id, "the caller's identity can't be written as the upstream's headers ask; nothing was sent");
            return;
        }
        let upstream = context.upstream().map_or("none", |index| context.live.upstreams.name(index));
        metrics().upstream_failures.with_label_values(&[upstream, fault.kind()]).inc();
        tracing::warn!(decision = %context.id, upstream, kind = fault.kind(), "the upstream gave no usable answer");
    }

    /// Tells the client that the service behind failed, unless an answer has begun; gives the status.
    pub(super) async fn reply_fault(
        &self,
        session: &mut Session,
        context: &Context,
        fault: UpstreamFault,
    ) -> u16 {
        self.count_fault(context, fault);
        session.set_keepalive(None);
        if session.response_written().is_some_and(|response| !response.status.is_informational()) {
            return 0;
        }
        let headers = &session.req_header().headers;
        let reply = Reply::upstream_fault(context.id, fault).and_then(|reply| {
            let reply = self.fault_page(context, reply, fault, headers)?.with_cookies(&context.cookies)?;
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

impl Gateway {
    /// Answers in the place of a reply that is not shown: with a reason of the gateway's, or with the server's status.
    pub(super) async fn reply_unshown(
        &self,
        session: &mut Session,
        context: &Context,
        why: Result<Reason, StatusCode>,
    ) -> pingora::Result<()> {
        let (facts, route) = (context.facts.as_ref(), context.settled.as_ref().and_then(Settled::route));
        let headers = &session.req_header().headers;
        let reply = match why {
            Ok(reason) => self.refusal(context, facts, route, (&Denial::new(reason), &[]), headers)?,
            Err(status) => Reply::declined(context.id, status)?,
        };
        let key_bound = facts.is_some_and(|facts| facts.presented.is_key_bound());
        let reply = if key_bound { reply.for_key_holder(self.gate.nonce(context.now))? } else { reply };
        let reply = reply.with_cookies(&context.cookies)?.with_cors(route, facts)?;
        reply.with_proxy_status(&self.proxy_status, None)?.send(session).await
    }
}

pub(super) fn ending(fault: UpstreamFault) -> OutcomeResult {
    match fault {
        UpstreamFault::Unsendable => OutcomeResult::NotForwarded,
        UpstreamFault::Unreachable | UpstreamFault::NoneHealthy => OutcomeResult::UpstreamUnreachable,
        UpstreamFault::TimedOut | UpstreamFault::Broken => OutcomeResult::Unknown,
    }
}
