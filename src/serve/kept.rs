//! A browser's request that needs stronger proof: kept while its person gives it, and sent when they have confirmed it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::context::Context;
use super::intake::{self, SessionBody};
use super::live::Live;
use super::own::accepts;
use super::proxy::Gateway;
use super::reply::Reply;
use crate::decision::{Challenge, Denial, Reason};
use crate::enforce::action::whole_body;
use crate::enforce::sessions::{Page, Place, Sessions, Visit};
use crate::enforce::step_up::{Asker, Challenged, Confirmed, Offered, Taken, confirms, is_anonymous};
use crate::enforce::{Arrival, BodyFault, BodySource, Outcome, Settled};
use crate::request::Facts;
use crate::request::credentials::Presented;

/// What confirms holds nothing but a button.
const FORM_BYTES: usize = 4 * 1024;

/// What of the request that confirms goes on with the one that was kept: who asks, and from where.
const OF_THE_DAY: [header::HeaderName; 3] = [header::HOST, header::COOKIE, header::USER_AGENT];

const FETCH_SITE: &str = "sec-fetch-site";

/// A request that goes on in the place of the one that confirmed it.
pub(super) struct Resumed {
    /// Its head, as the upstream gets it before the gateway's own headers.
    pub(super) header: RequestHeader,
    /// Where the person goes back to, where the application's answer was meant for a script.
    pub(super) back: Option<String>,
}

/// What became of a request that was challenged.
pub(super) enum Kept {
    /// Its person is offered these ways.
    Offered(Offered),
    /// It can't be kept: the store does not answer.
    Unavailable,
    /// It was held, and the proof is there, but can't be recorded.
    Unrecorded,
    /// It was held, and the proof is there; the cookies of the session that is worth more.
    Proven(Vec<String>),
}

/// A body that is there already.
struct Whole(Bytes);

#[async_trait::async_trait]
impl BodySource for Whole {
    async fn collect(&mut self, limit: usize) -> Result<Bytes, BodyFault> {
        if self.0.len() <= limit { Ok(self.0.clone()) } else { Err(BodyFault::TooLarge) }
    }
}

/// The sessions, the target and the name of the kept request, where a request confirms one.
pub(super) fn confirmed<'l>(
    live: &'l Live,
    facts: &'l Facts,
) -> Option<(&'l Arc<dyn Sessions>, &'l str, &'l str)> {
    let (target, name) = confirms(facts.target.raw())?;
    let is_nobodys = is_anonymous(name);
    if !is_nobodys && !matches!(facts.presented, Presented::Session(_)) {
        return None;
    }
    let sessions = live.generation.sessions.as_ref()?;
    // From a host of the pages' own the browser comes back by a redirection.
    let comes_back = facts.method == Method::GET && sessions.pages_host().is_some() && !is_nobodys;
    let may = facts.method == Method::POST || comes_back;
    (may && sessions.serves(facts.host.as_str())).then_some((sessions, target, name))
}

impl Gateway {
    /// Keeps a request that was challenged, where it is a browser's; reads its body for that.
    pub(super) async fn keep(
        &self,
        session: &mut Session,
        context: &mut Context,
        (route, challenge): (Option<usize>, &Challenge),
        body: &mut Option<Bytes>,
    ) -> Option<Kept> {
        let facts = context.facts.as_ref()?;
        let sessions = context.live.generation.sessions.as_ref()?;
        let asker = match (&challenge.account, &facts.presented) {
            (Some(account), _) => Asker::Nobody { id: facts.anonymous.as_ref(), account },
            (None, Presented::Session(id)) => Asker::Session(id),
            (None, _) => return None,
        };
        if !sessions.serves(facts.host.as_str()) {
            return None;
        }
        let most = context.live.generation.policy.resume.most_body;
        let whole = match body.clone() {
            Some(body) => Some(body),
            None => {
                let mut source = SessionBody::new(session);
                // What does not arrive can't be kept; the answer is the same.
                let whole = whole_body(facts, most, &mut source).await.ok().flatten();
                *body = source.into_collected();
                // Else the connection would be taken for one that is slow with its body while the request is held.
                if let (Some(running), Some(_)) = (&mut context.running, &body) {
                    running.has_body();
                }
                whole
            }
        };
        let headers = match &context.resumed {
            Some(resumed) => resumed.header.headers.clone(),
            None => session.req_header().headers.clone(),
        };
        let challenged = Challenged {
            asker,
            facts,
            headers: &headers,
            body: whole,
            route: route?,
            tier: challenge.tier,
            now: context.now,
        };
        let Some(offered) = sessions.keep(&challenged).await else { return Some(Kept::Unavailable) };
        // Once: who has given proof and still lacks something would wait for ever.
        let is_first = context.cookies.is_empty() && context.resumed.is_none();
        let may_hold = is_first && challenged.body.is_some() && !facts.method.is_safe();
        if let (Some(name), true) = (&offered.name, may_hold) {
            let arrival = self.arrival(context, &facts.method, Ok(facts));
            if let Some(held) = self.gate.hold(&**sessions, &arrival, name, &challenged).await {
                if held.is_recorded {
                    return Some(Kept::Proven(held.cookies));
                }
                context.cookies = held.cookies;
                return Some(Kept::Unrecorded);
            }
        }
        Some(Kept::Offered(offered))
    }

    /// Judges a request again that was held until its person had given proof: with the facts that it came with. What it
    /// shows is the same, and worth more.
    pub(super) async fn judge_again(
        &self,
        context: &mut Context,
        body: Option<&Bytes>,
        cookies: Vec<String>,
    ) -> Option<Settled> {
        context.renew(cookies);
        let live = std::sync::Arc::clone(&context.live);
        let facts = context.facts.as_ref()?;
        let arrival = self.arrival(context, &facts.method, Ok(facts));
        Some(self.gate.admit(&live.generation, &arrival, &mut Whole(body.cloned().unwrap_or_default())).await)
    }

    /// Sends the request that another one confirms, once.
    ///
    /// # Errors
    /// The connection broke.
    pub(super) async fn go_on(
        &self,
        session: &mut Session,
        context: &mut Context,
        sessions: &dyn Sessions,
        (facts, target, name): (&Facts, &str, &str),
    ) -> pingora::Result<bool> {
        let headers = session.req_header().headers.clone();
        let mut source = SessionBody::new(session);
        let arrived = source.collect(FORM_BYTES).await;
        if let Some(running) = &mut context.running {
            running.has_body();
        }
        if let Err(fault) = arrived {
            session.set_keepalive(None);
            let arrival = self.arrival(context, &facts.method, Ok(facts));
            let denial = self.gate.refuse_visit(&arrival, fault.into()).await;
            return self.refuse_confirmation(session, context, facts, &denial, &headers).await;
        }
        let place = Place::Confirm;
        let visit =
            Visit { place, method: &facts.method, facts, headers: &headers, form: None, now: context.now };
        let arrival = self.arrival(context, &facts.method, Ok(facts));
        let policy = std::sync::Arc::clone(&context.live.generation.policy);
        let confirmed = match self.gate.confirm(&policy, sessions, &arrival, (name, target, &visit)).await {
            Ok(Taken::Request(confirmed)) => *confirmed,
            Ok(Taken::Page(page, _)) => {
                return self.show(session, context, &page, &headers).await.map(|()| true);
            }
            Err(denial) => return self.refuse_confirmation(session, context, facts, &denial, &headers).await,
        };
        let Confirmed { method, target, headers: kept, body, once, again, back } = confirmed;
        let header = head(&method, &target, &kept, &headers, facts, body.len())?;
        let reading = context.live.readings.get(self.position).unwrap_or(&self.listener.reading).clone();
        let resumed = intake::resumed(session, &header, &reading);
        let live = std::sync::Arc::clone(&context.live);
        let arrival = Arrival {
            resumes: Some(&once),
            ..self.arrival(context, &method, resumed.as_ref().map_err(|why| *why))
        };
        let settled = self.gate.admit(&live.generation, &arrival, &mut Whole(body.clone())).await;
        // Nothing was sent: who comes back when the store, the journal or the limit lets them finds what they filled in, also
        // where it can't be kept anew for another proof. Only what went on before stays where it is.
        let is_unsent = match &settled.outcome {
            Outcome::Refused(denial) => denial.reason != Reason::AlreadySent,
            Outcome::Challenged(_) => true,
            Outcome::Admitted(_) | Outcome::Preflight => false,
        };
        if is_unsent {
            sessions.keep_again(&again, &body, context.now).await;
        }
        context.facts = resumed.ok();
        context.resumed = Some(Box::new(Resumed { header, back }));
        self.carry_out(session, context, settled, Some(body)).await
    }

    /// Answers with one of the gateway's own pages.
    pub(super) async fn show(
        &self,
        session: &mut Session,
        context: &Context,
        page: &Page,
        headers: &HeaderMap,
    ) -> pingora::Result<()> {
        let rendered = context.live.pages.page(page, accepts(headers), context.id);
        let reply = Reply::page(context.id, rendered)?.with_proxy_status(&self.proxy_status, None)?;
        reply.send(session).await
    }

    /// Answers that it is not certain whether what was sent was done.
    pub(super) async fn show_uncertain(
        &self,
        session: &mut Session,
        context: &Context,
        headers: &HeaderMap,
    ) -> pingora::Result<()> {
        let rendered = context.live.pages.uncertain(502, accepts(headers), context.id);
        let reply = Reply::page(context.id, rendered)?.with_proxy_status(&self.proxy_status, None)?;
        reply.send(session).await
    }

    async fn refuse_confirmation(
        &self,
        session: &mut Session,
        context: &mut Context,
        facts: &Facts,
        denial: &Denial,
        headers: &HeaderMap,
    ) -> pingora::Result<bool> {
        context.reason = Some(denial.reason.code());
        let reply = self.refusal(context, Some(facts), None, (denial, &[]), headers)?;
        reply.with_proxy_status(&self.proxy_status, None)?.send(session).await.map(|()| true)
    }
}

/// The head of the request that goes on: its own headers, and from the one that confirms who asks.
fn head(
    method: &Method,
    target: &str,
    kept: &HeaderMap,
    of_the_day: &HeaderMap,
    facts: &Facts,
    body: usize,
) -> pingora::Result<RequestHeader> {
    let mut header = RequestHeader::build(method.clone(), target.as_bytes(), Some(kept.len() + 8))?;
    for (name, value) in of_the_day {
        let is_of_the_day = OF_THE_DAY.contains(name)
            || name.as_str().starts_with("sec-fetch-")
            || name.as_str().starts_with("x-forwarded-");
        if is_of_the_day {
            header.append_header(name.clone(), value.clone())?;
        }
    }
    if !header.headers.contains_key(header::HOST) {
        let host = facts
            .port
            .map_or(facts.host.as_str().to_owned(), |port| format!("{}:{port}", facts.host.as_str()));
        header.insert_header(header::HOST, host)?;
    }
    if facts.method == Method::GET && header.headers.contains_key(FETCH_SITE) {
        // It comes by way of the pages' host. What goes on is what was kept, and nothing is kept but for the
        // application's own pages.
        header.insert_header(FETCH_SITE, "same-origin")?;
    }
    super::http1::join_cookies(&mut header)?;
    for (name, value) in kept {
        header.append_header(name.clone(), value.clone())?;
    }
    if body > 0 {
        header.insert_header(header::CONTENT_LENGTH, body)?;
    }
    Ok(header)
}
