//! From what was decided to what the client gets: the request goes upstream, or the gateway answers by itself.

use bytes::Bytes;
use pingora::proxy::Session;

use super::buffered;
use super::checked::Check;
use super::context::Context;
use super::edge;
use super::intake::{self, SessionBody};
use super::kept::Kept;
use super::limits;
use super::proxy::Gateway;
use super::reply::Reply;
use super::running::{self, Open};
use super::upstream::WEBSOCKET_SILENCE;
use crate::decision::{Denial, Reason};
use crate::enforce::sessions::Ticket;
use crate::enforce::{BodySource, Outcome, Settled};
use crate::request::Facts;
use crate::request::credentials::Presented;

impl Gateway {
    /// Carries an outcome out; says whether the client has been answered.
    pub(super) async fn carry_out(
        &self,
        session: &mut Session,
        context: &mut Context,
        settled: Settled,
        body: Option<Bytes>,
    ) -> pingora::Result<bool> {
        let Settled { policy, route, outcome, allow, intent, verdict } = settled;
        context.body_bytes =
            route.and_then(|index| policy.route(index)).map_or(self.listener.limits.body_bytes, |route| {
                route.body_limit(self.listener.limits.body_bytes)
            });
        let settled =
            Settled { policy, route, outcome: Outcome::Preflight, allow: Vec::new(), intent, verdict };
        let (mut body, mut outcome) = (body, outcome);
        let offered = match &outcome {
            Outcome::Challenged(challenge) => {
                match Box::pin(self.keep(session, context, (settled.route, challenge), &mut body)).await {
                    Some(Kept::Proven(cookies)) => {
                        if let Some(settled) = self.judge_again(context, body.as_ref(), cookies).await {
                            return Box::pin(self.carry_out(session, context, settled, body)).await;
                        }
                        None
                    }
                    Some(Kept::Offered(mut offered)) => {
                        context.cookies.extend(offered.cookie.take());
                        Some(offered)
                    }
                    Some(Kept::Unrecorded) => {
                        outcome = Outcome::Refused(Denial::new(Reason::AuditUnavailable));
                        None
                    }
                    Some(Kept::Unavailable) => {
                        outcome = Outcome::Refused(Denial::new(Reason::StoreUnavailable));
                        None
                    }
                    None => None,
                }
            }
            _ => None,
        };
        let (id, facts) = (context.id, context.facts.as_ref());
        let forwards = matches!(outcome, Outcome::Admitted(_));
        if !forwards && !Box::pin(intake::drain(session, facts, body.as_ref())).await {
            // What follows on this connection can't be trusted, or is not worth reading.
            session.set_keepalive(None);
        }
        let reply = match outcome {
            Outcome::Admitted(admission) => {
                let (line, websocket) = ((running::line(), context.changes), context.websocket());
                let subject = admission.permit().subject();
                let record = (settled.intent, context.started);
                let ticket = facts.and_then(|facts| self.ticket(facts));
                context.open = Some(Open::begin(&self.gate, line, (subject, ticket), websocket, record));
                context.admission = Some(admission);
                context.settled = Some(settled);
                if context.websocket() {
                    session.set_read_timeout(Some(WEBSOCKET_SILENCE));
                    edge::websocket_may_begin(session);
                }
                let is_looked_through = Check::of(context).is_some();
                if is_looked_through && body.is_none() {
                    body = match whole_body(session, context.body_bytes).await {
                        Ok(body) => Some(body),
                        Err(reason) => {
                            context.stopped = Some(reason);
                            limits::reply_stopped(session, context, &self.proxy_status, reason).await;
                            return Ok(true);
                        }
                    };
                }
                return match body {
                    None => Ok(false),
                    // Boxed, so that requests that stream need not carry room for it.
                    Some(body) => {
                        Box::pin(buffered::deliver(self, session, context, body)).await.map(|()| true)
                    }
                };
            }
            Outcome::Challenged(challenge) => {
                context.reason = Some(challenge.reason.code());
                let label = settled.route().and_then(|route| route.label.as_deref());
                let link = offered.as_ref().and_then(|offered| offered.link.as_deref());
                let reply = Reply::challenge(id, &challenge, label, link)?;
                self.challenge_page(context, reply, (label, offered.as_ref()), &session.req_header().headers)?
            }
            Outcome::Refused(denial) => {
                context.reason = Some(denial.reason.code());
                let headers = &session.req_header().headers;
                self.refusal(context, facts, settled.route(), (&denial, &allow), headers)?
            }
            Outcome::Preflight => Reply::preflight(id, settled.route(), facts)?,
        };
        let proves_key = facts.is_some_and(|facts| facts.presented.is_key_bound());
        let reply = if proves_key { reply.for_key_holder(self.gate.nonce(context.now))? } else { reply };
        let reply = reply
            .with_cookies(&context.cookies)?
            .with_cors(settled.route(), facts)?
            .with_proxy_status(&self.proxy_status, None)?;
        tracing::debug!(decision = %id, verdict = settled.verdict, status = reply.status(), "answered");
        context.settled = Some(settled);
        Box::pin(reply.send(session)).await?;
        Ok(true)
    }

    /// The session by which a request was shown to be somebody's.
    fn ticket(&self, facts: &Facts) -> Option<Ticket> {
        let Presented::Session(id) = &facts.presented else { return None };
        Some(Ticket {
            id: id.clone(),
            host: facts.host.as_str().into(),
            listener: self.listener.name.as_ref().into(),
        })
    }
}

/// The body of a request whose reply is looked through: Pingora streams both or neither.
async fn whole_body(session: &mut Session, most: u64) -> Result<Bytes, Reason> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    SessionBody::new(session).collect(most).await.map_err(Reason::from)
}
