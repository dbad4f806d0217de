//! The page on which patients see who acts for them, and end it.

use http::{HeaderMap, Method};
use pingora::proxy::Session;

use super::super::context::Context;
use super::super::intake;
use super::super::own::accepts;
use super::super::proxy::Gateway;
use super::super::reply::Reply;
use super::PATH;
use crate::decision::Reason;
use crate::enforce::delegation::{Grant, Own};
use crate::enforce::sessions::{ActsForYou, Choice, Page, Sessions};
use crate::request::Facts;
use crate::request::credentials::Presented;

impl Gateway {
    /// Shows the page, asks before something ends, or ends it. What ends stands in the query: the form has one button and
    /// nothing to fill in.
    pub(super) async fn delegations_page(
        &self,
        session: &mut Session,
        context: &mut Context,
        facts: &Facts,
        sessions: &dyn Sessions,
    ) -> pingora::Result<()> {
        if !intake::drain(session, Some(facts), None).await {
            session.set_keepalive(None);
        }
        let headers = session.req_header().headers.clone();
        let reply = self.delegations_reply(context, facts, sessions, &headers).await?;
        reply.with_proxy_status(&self.proxy_status, None)?.send(session).await
    }

    async fn delegations_reply(
        &self,
        context: &Context,
        facts: &Facts,
        sessions: &dyn Sessions,
        headers: &HeaderMap,
    ) -> pingora::Result<Reply> {
        let id = context.id;
        let page = |page: Page| Reply::page(id, context.live.pages.page(&page, accepts(headers), id));
        let sign_in = || sessions.sign_in(facts.host.as_str(), &mut std::iter::once(None), PATH);
        if matches!(facts.presented, Presented::Nothing)
            && let Some(link) = sign_in()
        {
            return Reply::go_to(id, &link);
        }
        let arrival = self.arrival(context, &facts.method, Ok(facts));
        let ends = facts.target.query_once("end").map(|name| name.into_owned());
        let wanted = match (&ends, &facts.method) {
            (Some(name), &Method::POST) => Own::End(name),
            (None, &Method::POST) => {
                let denial = self.gate.refuse_visit(&arrival, Reason::DelegationMalformed).await;
                return self.refusal_page(context, &denial, headers);
            }
            _ => Own::See,
        };
        let generation = &context.live.generation;
        let grants = match self.gate.own_delegations(generation, &arrival, facts, wanted).await {
            Ok(grants) => grants,
            Err(denial) => {
                // The session is over: nothing was done, and whoever signs in again sees that.
                let link = sign_in().filter(|_| denial.reason == Reason::CredentialsMissing);
                return match link {
                    Some(link) => Reply::go_to(id, &link),
                    None => self.refusal_page(context, &denial, headers),
                };
            }
        };
        if wanted != Own::See {
            // Whoever loads the page again sees it, and ends nothing twice.
            return Reply::go_to(id, PATH);
        }
        match ends.and_then(|name| grants.iter().find(|grant| *grant.id == *name)) {
            Some(grant) => page(Page::EndDelegation { name: called(grant), action: link(grant), back: PATH }),
            None => page(Page::Delegations {
                people: grants.iter().map(|grant| acts_for_you(grant, context.now)).collect(),
                ends: grants.iter().map(|grant| Choice { label: called(grant), link: link(grant) }).collect(),
            }),
        }
    }
}

fn called(grant: &Grant) -> Box<str> {
    grant.name.clone().unwrap_or_else(|| grant.person.clone())
}

fn link(grant: &Grant) -> String {
    format!("{PATH}?end={}", grant.id)
}

fn acts_for_you(grant: &Grant, now: i64) -> ActsForYou {
    let until = jiff::Timestamp::from_second(grant.until).unwrap_or_default();
    ActsForYou {
        name: called(grant),
        relation: grant.relation.clone(),
        until: until.to_zoned(jiff::tz::TimeZone::UTC).date().to_string(),
        waits: now >= grant.review_due,
    }
}
