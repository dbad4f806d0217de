//! Where the glass is broken: `/_wardgate/break-glass`, for programs and, in `page`, for people.
//!
//! Which patient it is about is not for the caller to say: they name the request that was refused, and the routes find the
//! patient in it. It is judged as that request would be, with the same credentials.

pub(super) mod page;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use serde::Deserialize;

use super::context::Context;
use super::intake::{self, SessionBody};
use super::live::Live;
use super::own::encoded;
use super::proxy::Gateway;
use super::reply::Reply;
use crate::decision::{Denial, Reason};
use crate::enforce::break_glass::{Asked, Broken};
use crate::enforce::{BodyFault, BodySource};
use crate::request::credentials::Presented;
use crate::request::fetch::From;
use crate::request::{Facts, PathReading, json};

/// Where it is, at every host of a configuration with such rights.
pub(in crate::serve) const PATH: &str = "/_wardgate/break-glass";
/// The longest order.
const MOST_BYTES: usize = 16 * 1024;

/// What was about the order itself, not about the request that it names.
const OF_THE_ORDER: [HeaderName; 10] = [
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    header::HOST,
];

/// Why somebody wants to break the glass, and before what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// The method of the request that was refused; `GET` where it is not said.
    method: Option<String>,
    /// Its path and query.
    target: String,
    /// One of the reason codes.
    code: String,
    /// Why, in the person's own words.
    text: String,
    /// A code that was handed out for when the issuer can't be reached.
    offline_code: Option<String>,
}

/// A request without a body.
struct Nothing;

#[async_trait::async_trait]
impl BodySource for Nothing {
    async fn collect(&mut self, _: usize) -> Result<Bytes, BodyFault> {
        Ok(Bytes::new())
    }
}

/// The page at which the glass is broken before a target.
pub(super) fn link(target: &str) -> String {
    format!("{PATH}?to={}", encoded(target))
}

/// Whether a request is an order to break the glass.
pub(super) fn addressed(live: &Live, facts: &Facts) -> bool {
    !live.generation.policy.break_glass.is_empty()
        && facts.target.raw().starts_with(PATH)
        && facts.target.path_as(PathReading::STRICT).is_ok_and(|path| path == PATH)
}

impl Gateway {
    /// Answers an order to break the glass.
    pub(super) async fn break_glass(
        &self,
        session: &mut Session,
        context: &mut Context,
        facts: &Facts,
    ) -> pingora::Result<()> {
        if let Some(sessions) = page::wanted(context, session, facts) {
            return Box::pin(self.break_glass_page(session, context, facts, &*sessions)).await;
        }
        let is_key_bound = facts.presented.is_key_bound();
        let reply = if facts.method == Method::POST {
            match self.order(session, context, facts).await {
                Ok(order) => self.carry_out_order(session, context, facts, &order).await?,
                Err(reason) => {
                    let arrival = self.arrival(context, &facts.method, Ok(facts));
                    let denial = self.gate.refuse_visit(&arrival, reason).await;
                    Reply::refusal(context.id, &denial, &[])?
                }
            }
        } else {
            let arrival = self.arrival(context, &facts.method, Ok(facts));
            let denial = self.gate.refuse_visit(&arrival, Reason::MethodNotAllowed).await;
            if !intake::drain(session, Some(facts), None).await {
                session.set_keepalive(None);
            }
            Reply::refusal(context.id, &denial, &[Method::POST])?
        };
        let reply = if is_key_bound { reply.for_key_holder(self.gate.nonce(context.now))? } else { reply };
        let reply = reply.with_proxy_status(&self.proxy_status, None)?;
        tracing::debug!(decision = %context.id, status = reply.status(), "answered an order to break the glass");
        reply.send(session).await
    }

    async fn order(
        &self,
        session: &mut Session,
        context: &mut Context,
        facts: &Facts,
    ) -> Result<Order, Reason> {
        let mut body = SessionBody::new(session);
        let collected = body.collect(MOST_BYTES).await;
        if let Some(running) = &mut context.running {
            running.has_body();
        }
        let bytes = collected.map_err(|fault| {
            session.set_keepalive(None);
            Reason::from(fault)
        })?;
        // Browsers send a session's cookie whoever's page asks them to.
        if matches!(facts.presented, Presented::Session(_)) && facts.fetch.from != From::Own {
            return Err(Reason::CrossSite);
        }
        json::parse_as(&bytes).map_err(|_| Reason::BreakGlassMalformed)
    }

    async fn carry_out_order(
        &self,
        session: &Session,
        context: &Context,
        facts: &Facts,
        order: &Order,
    ) -> pingora::Result<Reply> {
        let offline_code = order.offline_code.as_deref();
        let asked = Asked { code: &order.code, text: &order.text, offline_code };
        let method = order.method.as_deref().unwrap_or("GET");
        match self.before(session, context, facts, (method, &order.target), Some(asked)).await {
            Broken::Open(opened) => Reply::glass_broken(context.id, &opened),
            Broken::Challenged(challenge) => Reply::challenge(context.id, &challenge, None, None),
            Broken::Offered(_) => Reply::refusal(context.id, &Reason::BreakGlassMalformed.into(), &[]),
            Broken::Refused(denial) => {
                let denial = Denial { break_glass: None, ..denial };
                Reply::refusal(context.id, &denial, &[])
            }
        }
    }

    /// What comes of breaking the glass before a request, with the credentials of the one that is here.
    async fn before(
        &self,
        session: &Session,
        context: &Context,
        facts: &Facts,
        (method, target): (&str, &str),
        asked: Option<Asked<'_>>,
    ) -> Broken {
        let reading = context.live.readings.get(self.position).unwrap_or(&self.listener.reading);
        let described = Method::from_bytes(method.as_bytes())
            .ok()
            .and_then(|method| describe(&session.req_header().headers, facts, method, target).ok());
        let Some(described) = described else {
            let arrival = self.arrival(context, &facts.method, Ok(facts));
            return Broken::Refused(self.gate.refuse_visit(&arrival, Reason::BreakGlassMalformed).await);
        };
        let read = intake::resumed(session, &described, reading);
        let arrival = self.arrival(context, &described.method, read.as_ref().map_err(|why| *why));
        self.gate.break_glass(&context.live.generation, &arrival, asked, &mut Nothing).await
    }
}

/// The request that an order names, as its caller would send it.
fn describe(
    headers: &HeaderMap,
    facts: &Facts,
    method: Method,
    target: &str,
) -> pingora::Result<RequestHeader> {
    let mut described = RequestHeader::build(method, target.as_bytes(), Some(headers.len()))?;
    let host = match facts.port {
        Some(port) => format!("{}:{port}", facts.host.as_str()),
        None => facts.host.as_str().to_owned(),
    };
    described.insert_header(header::HOST, host)?;
    for (name, value) in headers.iter().filter(|(name, _)| !OF_THE_ORDER.contains(name)) {
        described.append_header(name.clone(), value.clone())?;
    }
    Ok(described)
}
