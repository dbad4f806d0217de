//! `/_wardgate/delegations`: a patient sees who acts for them, and ends it. Programs get JSON, people in a browser a page.

mod page;

use http::Method;
use pingora::proxy::Session;
use serde::Deserialize;
use serde_json::{Value, json};

use super::break_glass;
use super::context::Context;
use super::intake::{self, SessionBody};
use super::live::Live;
use super::proxy::Gateway;
use super::reply::Reply;
use crate::decision::Reason;
use crate::enforce::BodySource as _;
use crate::enforce::delegation::{Grant, Own};
use crate::enforce::sessions::DELEGATIONS as PATH;
use crate::request::{Facts, PathReading, json as strict};

/// The longest order.
const MOST_BYTES: usize = 1024;

/// Which one is to end.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    end: String,
}

/// Whether a request is for a patient's own delegations.
pub(super) fn addressed(live: &Live, facts: &Facts) -> bool {
    !live.generation.policy.delegations.relations.is_empty()
        && facts.target.raw().starts_with(PATH)
        && facts.target.path_as(PathReading::STRICT).is_ok_and(|path| path == PATH)
}

impl Gateway {
    /// Answers a patient.
    pub(super) async fn own_delegations(
        &self,
        session: &mut Session,
        context: &mut Context,
        facts: &Facts,
    ) -> pingora::Result<()> {
        if let Some(sessions) = break_glass::page::wanted(context, session, facts) {
            return Box::pin(self.delegations_page(session, context, facts, &*sessions)).await;
        }
        let order = match facts.method {
            Method::GET | Method::HEAD => Ok(None),
            Method::POST => order(session, context).await.map(Some),
            _ => Err(Reason::MethodNotAllowed),
        };
        let arrival = self.arrival(context, &facts.method, Ok(facts));
        let done = match &order {
            Ok(order) => {
                let wanted = order.as_ref().map_or(Own::See, |order| Own::End(&order.end));
                self.gate.own_delegations(&context.live.generation, &arrival, facts, wanted).await
            }
            Err(reason) => Err(self.gate.refuse_visit(&arrival, *reason).await),
        };
        if order.is_err() && !intake::drain(session, Some(facts), None).await {
            session.set_keepalive(None);
        }
        let reply = match done {
            Ok(grants) => Reply::json(Some(context.id), &told(&grants, context.now))?,
            Err(denial) => Reply::refusal(context.id, &denial, &[Method::GET, Method::POST])?,
        };
        let reply = reply.with_proxy_status(&self.proxy_status, None)?;
        tracing::debug!(decision = %context.id, status = reply.status(), "answered a patient about delegations");
        reply.send(session).await
    }
}

async fn order(session: &mut Session, context: &mut Context) -> Result<Order, Reason> {
    let mut body = SessionBody::new(session);
    let collected = body.collect(MOST_BYTES).await;
    if let Some(running) = &mut context.running {
        running.has_body();
    }
    let bytes = collected.map_err(|fault| {
        session.set_keepalive(None);
        Reason::from(fault)
    })?;
    strict::parse_as(&bytes).map_err(|_| Reason::DelegationMalformed)
}

fn told(grants: &[Grant], now: i64) -> Value {
    let moment = |seconds| jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string();
    let told: Vec<Value> = grants
        .iter()
        .map(|grant| {
            json!({
                "id": grant.id, "relation": grant.relation, "person": grant.person, "name": grant.name, "actions": grant.actions,
                "granted": moment(grant.granted), "until": moment(grant.until),
                "waits_for_review": now >= grant.review_due,
            })
        })
        .collect();
    json!({ "delegations": told })
}
