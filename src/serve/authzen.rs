//! The AuthZEN front: a policy decision point (Authorization API 1.0) for gateways that forward requests themselves.
//!
//! A gateway describes the request that it has, with the token that came with it; whom the token speaks for is found out
//! here. An answer is leave for that one request: it is recorded, and may spend a proof.

mod question;

use std::sync::Arc;

use http::Method;
use pingora::proxy::Session;
use serde_json::{Value, json};

use self::question::{Batch, Question};
use super::context::Context;
use super::described::Word;
use super::intake::{self, Intake, SessionBody};
use super::limits;
use super::proxy::Gateway;
use super::reply::{Reply, evaluation};
use crate::decision::{Denial, Reason};
use crate::enforce::BodySource as _;
use crate::request::media::Media;
use crate::request::{Facts, Unreadable};

const EVALUATION: &str = "/access/v1/evaluation";
const EVALUATIONS: &str = "/access/v1/evaluations";
const CONFIGURATION: &str = "/.well-known/authzen-configuration";
/// The longest body, in bytes.
const MOST_BYTES: usize = 256 * 1024;
/// By it whoever asks finds its question again (§10.1.3).
const REQUEST_ID: &str = "x-request-id";

impl Gateway {
    /// Answers what is asked of a policy decision point.
    pub(super) async fn authzen(&self, session: &mut Session, context: &mut Context) -> pingora::Result<()> {
        let request_id = session.req_header().headers.get(REQUEST_ID).cloned();
        let reply = self.asked(session, context).await?;
        let reply =
            if reply.status() == 200 { reply } else { reply.with_proxy_status(&self.proxy_status, None)? };
        let reply = match request_id {
            Some(request_id) => reply.with_header(REQUEST_ID, request_id)?,
            None => reply,
        };
        tracing::debug!(id = %context.id, status = reply.status(), "answered an evaluation request");
        reply.send(session).await
    }

    async fn asked(&self, session: &mut Session, context: &mut Context) -> pingora::Result<Reply> {
        let live = Arc::clone(&context.live);
        let reading = live.readings.get(self.position).unwrap_or(&self.listener.reading);
        let method = session.req_header().method.clone();
        let facts = match intake::read(session, reading) {
            Intake::Request(facts) => *facts,
            Intake::ServerOptions => Err(Unreadable::NotOriginForm),
        };
        limits::expect_body(session, context, facts.as_ref().ok());
        let path = facts.as_ref().map_or("", |facts| facts.target.raw());
        let takes = match path {
            EVALUATION | EVALUATIONS => Ok(Method::POST),
            CONFIGURATION => Ok(Method::GET),
            _ => Err(Reason::NoRoute),
        };
        let facts = match (facts, takes) {
            (Ok(facts), Ok(takes)) if method == takes => facts,
            (facts, takes) => {
                if !intake::drain(session, facts.as_ref().ok(), None).await {
                    session.set_keepalive(None);
                }
                let reason = match (&facts, &takes) {
                    (Err(why), _) => Reason::Unreadable(*why),
                    (_, Ok(_)) => Reason::MethodNotAllowed,
                    (_, Err(reason)) => *reason,
                };
                let allow = if reason == Reason::MethodNotAllowed { takes.ok() } else { None };
                let arrival = self.arrival(context, &method, facts.as_ref().map_err(|why| *why));
                let denial = self.gate.refuse_visit(&arrival, reason).await;
                return Reply::refusal(context.id, &denial, allow.as_slice());
            }
        };
        if facts.target.raw() == CONFIGURATION {
            if !intake::drain(session, Some(&facts), None).await {
                session.set_keepalive(None);
            }
            return Reply::json(None, &configuration(&facts));
        }
        let mut body = SessionBody::new(session);
        let collected = body.collect(MOST_BYTES).await;
        if let Some(running) = &mut context.running {
            running.has_body();
        }
        let arrival = self.arrival(context, &method, Ok(&facts));
        let body = match collected {
            Ok(body) => body,
            Err(fault) => {
                session.set_keepalive(None);
                let denial = self.gate.refuse_visit(&arrival, fault.into()).await;
                return Reply::refusal(context.id, &denial, &[]);
            }
        };
        let batch = if facts.body.media == Media::Json && !facts.body.encoded {
            Batch::read(&body, facts.target.raw() == EVALUATIONS)
        } else {
            Err("The body is not said to be `application/json`.")
        };
        match batch {
            Ok(batch) => self.decide(context, batch).await,
            Err(wrong) => {
                let denial: Denial = self.gate.refuse_visit(&arrival, Reason::EvaluationMalformed).await;
                Reply::refusal_because(context.id, &denial, wrong)
            }
        }
    }

    async fn decide(&self, context: &mut Context, batch: Batch) -> pingora::Result<Reply> {
        let mut told = Vec::new();
        for evaluation in batch.evaluations {
            let (decision, answer) = match evaluation {
                Ok(question) if batch.is_list => {
                    // Each is a decision with an id of its own.
                    let mut context = Context::new(Arc::clone(&context.live), self.gate.streams().changes());
                    self.evaluate(&mut context, question).await?
                }
                Ok(question) => self.evaluate(context, question).await?,
                Err(wrong) => (false, evaluation::malformed(wrong)),
            };
            told.push(answer);
            if batch.until.is_reached(decision) {
                break;
            }
        }
        if batch.is_list {
            return Reply::json(None, &json!({ "evaluations": told }));
        }
        Reply::json(Some(context.id), &told.pop().unwrap_or_else(|| json!({ "decision": false })))
    }

    async fn evaluate(&self, context: &mut Context, question: Question) -> pingora::Result<(bool, Value)> {
        let word = self.judge(context, question.request, Some(&question.subject)).await?;
        Ok(match word {
            Word::Leave(told) => (true, evaluation::permit(context.id, &told)),
            Word::Instead(reply, challenge) => (false, reply.into_evaluation(context.id, challenge.as_ref())),
        })
    }
}

/// Where to ask (§9.2): under the address at which this was asked for.
fn configuration(facts: &Facts) -> Value {
    let scheme = if facts.secure { "https" } else { "http" };
    let port = facts.port.map(|port| format!(":{port}")).unwrap_or_default();
    let base = format!("{scheme}://{}{port}", facts.host.as_str());
    json!({
        "policy_decision_point": base,
        "access_evaluation_endpoint": format!("{base}{EVALUATION}"),
        "access_evaluations_endpoint": format!("{base}{EVALUATIONS}"),
    })
}
