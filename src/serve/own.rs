//! Requests to the gateway's own pages, and pages in the place of refusals where a person is at the other end.

use std::sync::Arc;

use http::{HeaderMap, Method, header};
use pingora::proxy::Session;

use super::context::Context;
use super::intake::{self, SessionBody};
use super::live::Live;
use super::proxy::Gateway;
use super::reply::{Reply, UpstreamFault};
use crate::decision::{Denial, Reason};
use crate::enforce::sessions::{Answer, OWN_PATH, Page, Place, Sessions, Visit, Visited, is_own_path};
use crate::enforce::step_up::Offered;
use crate::enforce::{BodySource as _, VisitSettled};
use crate::identity::TokenFault;
use crate::policy::Route;
use crate::request::credentials::Presented;
use crate::request::{Facts, PathReading};

/// Forms are a token at most, beside a few letters.
const FORM_BYTES: usize = 64 * 1024;

/// The sessions, where a request is for one of the gateway's own pages.
pub(super) fn addressed<'l>(live: &'l Live, facts: &Facts) -> Option<&'l Arc<dyn Sessions>> {
    let sessions = live.generation.sessions.as_ref()?;
    if sessions.pages_host() == Some(facts.host.as_str()) {
        // Nothing else is there, whatever routes there are for any host.
        return Some(sessions);
    }
    let is_own = facts.target.raw().starts_with(OWN_PATH)
        && facts.target.path_as(PathReading::STRICT).is_ok_and(|path| is_own_path(&path));
    (is_own && sessions.serves(facts.host.as_str())).then_some(sessions)
}

impl Gateway {
    /// Answers a request to one of the gateway's own pages.
    pub(super) async fn own_page(
        &self,
        session: &mut Session,
        context: &mut Context,
        sessions: &dyn Sessions,
        facts: &Facts,
    ) -> pingora::Result<()> {
        let headers = session.req_header().headers.clone();
        let reply = match self.visited(session, context, sessions, (facts, &headers)).await {
            Ok(visited) => self.answer(context, visited, &headers)?,
            Err((denial, allow)) => {
                context.reason = Some(denial.reason.code());
                self.refusal(context, Some(facts), None, (&denial, &allow), &headers)?
                    .with_cookies(&context.cookies)?
            }
        };
        let reply = reply.with_proxy_status(&self.proxy_status, None)?;
        tracing::debug!(decision = %context.id, status = reply.status(), "answered a request to a page of its own");
        reply.send(session).await
    }

    async fn visited(
        &self,
        session: &mut Session,
        context: &mut Context,
        sessions: &dyn Sessions,
        (facts, headers): (&Facts, &HeaderMap),
    ) -> Result<Visited, (Denial, Vec<Method>)> {
        let arrival = self.arrival(context, &facts.method, Ok(facts));
        let path = facts.target.path_as(PathReading::STRICT).unwrap_or_default();
        let Some(place) = Place::find(&path) else {
            return Err((self.gate.refuse_visit(&arrival, Reason::NoRoute).await, Vec::new()));
        };
        if !place.takes(&facts.method) {
            let methods = [Method::GET, Method::POST].into_iter().filter(|method| place.takes(method));
            let denial = self.gate.refuse_visit(&arrival, Reason::MethodNotAllowed).await;
            return Err((denial, methods.collect()));
        }
        let form = if facts.method == Method::POST {
            let mut body = SessionBody::new(session);
            let collected = body.collect(FORM_BYTES).await;
            if let Some(running) = &mut context.running {
                running.has_body();
            }
            match collected {
                Ok(form) => Some(form),
                Err(fault) => {
                    session.set_keepalive(None);
                    return Err((self.gate.refuse_visit(&arrival, fault.into()).await, Vec::new()));
                }
            }
        } else {
            if !intake::drain(session, Some(facts), None).await {
                session.set_keepalive(None);
            }
            None
        };
        let visit = Visit { place, method: &facts.method, facts, headers, form, now: context.now };
        let policy = &context.live.generation.policy;
        match self.gate.visit(policy, sessions, &arrival, &visit).await {
            VisitSettled::Answered(visited) => Ok(visited),
            VisitSettled::Refused(denial) => Err((denial, Vec::new())),
            VisitSettled::Unrecorded(denial, cookies) => {
                context.cookies = cookies;
                Err((denial, Vec::new()))
            }
        }
    }

    fn answer(&self, context: &Context, visited: Visited, headers: &HeaderMap) -> pingora::Result<Reply> {
        let id = context.id;
        let reply = match &visited.answer {
            Answer::GoTo(address) => Reply::go_to(id, address),
            Answer::Progress(word) => Reply::progress(id, word),
            Answer::Script => Reply::script(id),
            Answer::Page(page) => Reply::page(id, context.live.pages.page(page, accepts(headers), id)),
            Answer::Word(heard) => Reply::heard(id, *heard),
            Answer::LogoutTaken => Reply::bare(id, 200),
            Answer::LogoutRefused => Reply::bare(id, 400),
            Answer::LogoutUnavailable => Reply::bare(id, 503),
        };
        let reply = reply?.with_cookies(&visited.cookies)?;
        if visited.clears_browser { reply.clearing_browser() } else { Ok(reply) }
    }

    /// A refusal: for people, where this host has pages, the way to sign in, or a page; else a problem (RFC 9457).
    pub(super) fn refusal(
        &self,
        context: &Context,
        facts: Option<&Facts>,
        route: Option<&Route>,
        (denial, allow): (&Denial, &[Method]),
        headers: &HeaderMap,
    ) -> pingora::Result<Reply> {
        let (id, live) = (context.id, &context.live);
        let reply = Reply::refusal(id, denial, allow)?;
        let is_fhir = facts.is_some_and(|facts| live.generation.policy.index.fhir().is_below_base(facts));
        let reply = if is_fhir { reply.into_operation_outcome(id, denial)? } else { reply };
        let Some((facts, sessions)) = person(context, facts) else { return Ok(reply) };
        let host = facts.host.as_str();
        if denial.reason == Reason::AlreadySent {
            let page = Page::AlreadySent(page_of_form(host, headers).to_owned());
            return reply.shown_as(live.pages.page(&page, accepts(headers), id));
        }
        let back = if facts.fetch.form || context.resumed.is_some() {
            page_of_form(host, headers)
        } else {
            facts.target.raw()
        };
        if reply.status() == 401 && is_cured_by_signing_in(denial.reason, &facts.presented) {
            let mut issuers = route.into_iter().flat_map(|route| &route.any_of).map(|entry| entry.issuer);
            if let Some(link) = sessions.sign_in(host, &mut issuers, back) {
                return if facts.fetch.form || context.resumed.is_some() {
                    // A redirection would lose what was sent, and nobody would be told.
                    reply.shown_as(live.pages.ended(&link, accepts(headers), id))
                } else {
                    Reply::go_to(id, &link)
                };
            }
        }
        let is_signed_in = matches!(facts.presented, Presented::Session(_));
        let page = if reply.status() == 403 && is_signed_in {
            let other = format!("{}?change=1&to={}", Place::SignIn.path(), encoded(back));
            let may = denial.break_glass.is_some() && facts.method == Method::GET;
            let glass = may.then(|| super::break_glass::link(facts.target.raw()));
            live.pages.denied(&other, glass, accepts(headers), id)
        } else {
            live.pages.refusal(reply.status(), back, accepts(headers), id)
        };
        reply.shown_as(page)
    }

    /// The answer where the service behind failed: for people a page, which says so where it is not known what was done.
    pub(super) fn fault_page(
        &self,
        context: &Context,
        reply: Reply,
        fault: UpstreamFault,
        headers: &HeaderMap,
    ) -> pingora::Result<Reply> {
        let Some((facts, _)) = person(context, context.facts.as_ref()) else { return Ok(reply) };
        let is_form = facts.fetch.form || context.resumed.is_some();
        let (pages, accepts, id) = (&context.live.pages, accepts(headers), context.id);
        let was_sent = matches!(fault, UpstreamFault::TimedOut | UpstreamFault::Broken);
        let page = if is_form && was_sent {
            pages.uncertain(reply.status(), accepts, id)
        } else if is_form {
            pages.refusal(reply.status(), page_of_form(facts.host.as_str(), headers), accepts, id)
        } else {
            pages.refusal(reply.status(), facts.target.raw(), accepts, id)
        };
        reply.shown_as(page)
    }

    /// A challenge: for people a page, else as the standard has it (RFC 9470).
    pub(super) fn challenge_page(
        &self,
        context: &Context,
        reply: Reply,
        (label, offered): (Option<&str>, Option<&Offered>),
        headers: &HeaderMap,
    ) -> pingora::Result<Reply> {
        let Some((facts, _)) = person(context, context.facts.as_ref()) else { return Ok(reply) };
        // Of what was kept: the page that confirms is the gateway's own.
        let came_with = context.resumed.as_ref().map_or(headers, |resumed| &resumed.header.headers);
        let back = known_page(facts.host.as_str(), came_with);
        let page = Page::StepUp {
            label: label.map(Into::into),
            ways: offered.map(|offered| offered.ways.clone()).unwrap_or_default(),
            kept: offered.is_some_and(|offered| offered.kept == Some(true)),
            lost: offered.is_some_and(|offered| offered.kept == Some(false)),
            back: back.filter(|back| *back != facts.target.raw()).map(Into::into),
        };
        reply.shown_as(context.live.pages.page(&page, accepts(headers), context.id))
    }
}

/// Whether a new session would be let in; else the browser would be sent back and forth.
fn is_cured_by_signing_in(reason: Reason, presented: &Presented) -> bool {
    let has_ended = matches!(reason, Reason::TokenRevoked | Reason::TokenRefused(TokenFault::SessionEnded));
    has_ended || !matches!(presented, Presented::Session(_))
}

/// Whether a person waits for the answer, at a host where people sign in: also for what was kept, and goes on because they
/// have pressed a button. Who shows a token is a program.
fn person<'l>(context: &'l Context, facts: Option<&'l Facts>) -> Option<(&'l Facts, &'l Arc<dyn Sessions>)> {
    let (facts, sessions) = facts.zip(context.live.generation.sessions.as_ref())?;
    let fetch = facts.fetch;
    let is_person = (fetch.navigation || fetch.form || context.resumed.is_some())
        && matches!(facts.presented, Presented::Nothing | Presented::Session(_));
    (is_person && sessions.serves(facts.host.as_str())).then_some((facts, sessions))
}

/// The page from which a form was sent, where it is one of this host's, at whatever port: its path and query.
///
/// Whoever signs in goes on to it only after it was read as strictly as any other target.
fn page_of_form<'h>(host: &str, headers: &'h HeaderMap) -> &'h str {
    known_page(host, headers).unwrap_or("/")
}

/// The same where it is known, and none of the gateway's own.
fn known_page<'h>(host: &str, headers: &'h HeaderMap) -> Option<&'h str> {
    let page = headers.get(header::REFERER).and_then(|page| page.to_str().ok());
    let path = page.and_then(|page| {
        let named = page.strip_prefix("https://").or_else(|| page.strip_prefix("http://"))?;
        let rest = named.strip_prefix(host)?;
        let path =
            rest.strip_prefix(':').map_or(rest, |rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
        path.starts_with('/').then_some(path)
    });
    path.filter(|path| !path.starts_with("//") && !path.contains('\\') && !path.starts_with(OWN_PATH))
}

pub(super) fn encoded(target: &str) -> String {
    form_urlencoded::byte_serialize(target.as_bytes()).collect()
}

pub(super) fn accepts(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ACCEPT_LANGUAGE)?.to_str().ok()
}
