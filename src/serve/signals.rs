//! The path to which transmitters push security events (RFC 8935).

use std::sync::Arc;

use http::{HeaderMap, Method, header};
use pingora::proxy::Session;

use super::context::Context;
use super::intake::{self, SessionBody};
use super::live::Live;
use super::proxy::Gateway;
use super::reply::Reply;
use crate::decision::{Denial, Reason};
use crate::enforce::BodySource as _;
use crate::enforce::shared_signals::{PUSH_PATH, Push, Received, Streams};
use crate::request::credentials::MAX_TOKEN_BYTES;
use crate::request::{Facts, PathReading};

/// A token, and room for one that is too long: that is for the judge to say.
const BODY_BYTES: usize = 2 * MAX_TOKEN_BYTES;

/// The stream that a request brings an event of.
pub(super) fn addressed<'l>(live: &'l Live, facts: &Facts) -> Option<(&'l Arc<Streams>, usize)> {
    let streams = live.generation.signals.as_ref()?;
    if !facts.target.raw().starts_with(PUSH_PATH) {
        return None;
    }
    let path = facts.target.path_as(PathReading::STRICT).ok()?;
    Some((streams, streams.addressed(facts.host.as_str(), &path)?))
}

impl Gateway {
    /// Answers a push.
    pub(super) async fn pushed(
        &self,
        session: &mut Session,
        context: &mut Context,
        (streams, position): (&Streams, usize),
        facts: &Facts,
    ) -> pingora::Result<()> {
        let headers = session.req_header().headers.clone();
        let reply = match self.taken(session, context, (streams, position), (facts, &headers)).await {
            Ok(Received::Taken) => Reply::bare(context.id, 202)?,
            Ok(Received::Refused(refusal)) => Reply::event_refused(context.id, refusal)?,
            Ok(Received::Later) => Reply::try_later(context.id)?,
            Err(denial) => {
                context.reason = Some(denial.reason.code());
                let methods =
                    [Method::POST].into_iter().filter(|_| denial.reason == Reason::MethodNotAllowed);
                let allow: Vec<Method> = methods.collect();
                self.refusal(context, None, None, (&denial, &allow), &headers)?
            }
        };
        let reply = reply.with_proxy_status(&self.proxy_status, None)?;
        tracing::debug!(decision = %context.id, status = reply.status(), "answered a push of a security event");
        reply.send(session).await
    }

    async fn taken(
        &self,
        session: &mut Session,
        context: &mut Context,
        (streams, position): (&Streams, usize),
        (facts, headers): (&Facts, &HeaderMap),
    ) -> Result<Received, Denial> {
        let arrival = self.arrival(context, &facts.method, Ok(facts));
        if facts.method != Method::POST {
            if !intake::drain(session, Some(facts), None).await {
                session.set_keepalive(None);
            }
            return Err(self.gate.refuse_visit(&arrival, Reason::MethodNotAllowed).await);
        }
        let collected = SessionBody::new(session).collect(BODY_BYTES).await;
        if let Some(running) = &mut context.running {
            running.has_body();
        }
        let body = match collected {
            Ok(body) => body,
            Err(fault) => {
                session.set_keepalive(None);
                return Err(self.gate.refuse_visit(&arrival, fault.into()).await);
            }
        };
        let push = Push {
            position,
            facts,
            authorization: headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes),
            content_type: headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()),
            body: &body,
        };
        self.gate.push_signal(&context.live.generation.policy, streams, &arrival, &push).await
    }
}
