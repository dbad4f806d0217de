//! The way of a browser to the pages' own host: by a ticket for one session and one page, taken once, within moments. There
//! it is known by a cookie of its own, which says whose session it is and lets nobody do anything at the application's.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::record::{Live, keep, understood};
use super::super::{BrowserSessions, cookie, resume, secret, start};
use super::{Matter, address, confirm};
use crate::decision::{Lookup, Revocation};
use crate::enforce::revocation;
use crate::enforce::sessions::{Answer, Page, Place, SessionFact, Use, Visit, Visited};
use crate::request::cookies;

/// How long a browser may be on its way to the pages' host.
const TICKET: Duration = Duration::from_secs(30);
/// So many times within a minute a person's browser is sent there.
const MOST_TICKETS: u64 = 60;
const TICKETS_SPAN: Duration = Duration::from_secs(60);

/// A browser on its way to the pages' host; taken once.
#[derive(Serialize, Deserialize)]
struct Ticket {
    /// The session's first name.
    session: Box<str>,
    /// The page that it goes to.
    to: Box<str>,
    /// In Unix seconds.
    ends_at: i64,
}

/// Whose browser it is that came to the pages' host.
#[derive(Serialize, Deserialize)]
struct Guest {
    session: Box<str>,
}

fn ticket_key(ticket: &str) -> String {
    format!("handover:{}", secret::digest(ticket))
}

fn guest_key(id: &str) -> String {
    format!("pages:{}", secret::digest(id))
}

impl BrowserSessions {
    /// Whether a visit is at the pages' own host.
    pub(in crate::session) fn is_at_pages(&self, visit: &Visit<'_>) -> bool {
        self.pages.as_ref().is_some_and(|pages| *pages.host == *visit.facts.host.as_str())
    }

    /// The session of the browser that makes a visit: at the application's host by its own cookie, at the pages' host by
    /// the one it was given there.
    pub(super) async fn visitor(&self, visit: &Visit<'_>) -> Lookup<Arc<Live>> {
        if !self.is_at_pages(visit) {
            return self.alive(visit).await;
        }
        match self.guest(visit).await {
            Lookup::Found((_, live)) => Lookup::Found(live),
            Lookup::Absent => Lookup::Absent,
            Lookup::Unavailable => Lookup::Unavailable,
        }
    }

    /// The browser's name at the pages' host, and whose session it stands for.
    pub(super) async fn guest(&self, visit: &Visit<'_>) -> Lookup<(String, Arc<Live>)> {
        let mut ids = cookies::values(visit.headers, cookie::PAGES);
        let (Some(id), None) = (ids.next(), ids.next()) else { return Lookup::Absent };
        let guest = match understood::<Guest>(self.state.peek(&guest_key(id)).await) {
            Lookup::Found(guest) => guest,
            Lookup::Absent => return Lookup::Absent,
            Lookup::Unavailable => return Lookup::Unavailable,
        };
        // By its first name, and whatever name the application's host knows it by now. That it is looked at here is no use
        // of it.
        let live = match self.live(&guest.session, Use::Stream, visit.now).await {
            Lookup::Found(live) => live,
            Lookup::Absent => return Lookup::Absent,
            Lookup::Unavailable => return Lookup::Unavailable,
        };
        let sign_in = self.issuers.get(live.position).and_then(|issuer| issuer.sign_in.as_ref());
        if sign_in.is_none_or(|sign_in| resume::has_ended(&live.record, sign_in.session, visit.now)) {
            return Lookup::Absent;
        }
        match revocation(self.state.as_ref(), &live.subject).await {
            Revocation::Valid => Lookup::Found((id.to_owned(), live)),
            Revocation::Revoked => Lookup::Absent,
            Revocation::Unknown => Lookup::Unavailable,
        }
    }

    /// The application's origin, for a visit at the pages' host.
    pub(super) fn home(&self, visit: &Visit<'_>, live: &Live) -> Option<Box<str>> {
        let offer = self.is_at_pages(visit).then(|| self.offer(&live.record.host, &live.record.issuer))?;
        Some(offer?.origin.text.clone())
    }

    /// Where somebody goes on of whom nothing is known.
    pub(super) fn start_page(&self, visit: &Visit<'_>) -> String {
        let origins = || self.issuers.iter().filter_map(|issuer| issuer.sign_in.as_ref()?.origins.first());
        match origins().next().filter(|_| self.is_at_pages(visit)) {
            Some(origin) => format!("{}/", origin.text),
            None => start::link(None, "/", false),
        }
    }

    /// Whether a matter goes on at the pages' host, and the visit is not there yet. Who has not signed in is known nowhere
    /// but at the application's.
    pub(super) fn leads_to_pages(&self, matter: &Matter) -> bool {
        self.pages.is_some() && matter.home.is_none() && matter.owner.live().is_some()
    }

    /// Sends the browser to where a way is chosen or taken.
    pub(super) async fn to_pages(&self, visit: &Visit<'_>, matter: &Matter, way: Option<&str>) -> Visited {
        // Nobody but a person who goes there is given a ticket.
        if !visit.facts.fetch.navigation {
            return self.refused_at_handover("not_a_navigation", Page::Malformed);
        }
        let to = match visit.place {
            Place::Confirm => confirm::address(&matter.name, matter.closes),
            _ => address(&matter.name, way, matter.closes),
        };
        self.hand_over(matter, to, visit.now).await
    }

    /// Sends the browser to a page on the pages' host.
    pub(super) async fn hand_over(&self, matter: &Matter, to: String, now: i64) -> Visited {
        let outage = || {
            let again = address(&matter.name, None, matter.closes);
            self.refused_at_handover("store_unavailable", Page::Outage(again))
        };
        let (Some(pages), Some(ticket)) = (&self.pages, secret::new()) else { return outage() };
        match self.state.window(&format!("handovers:{}", matter.owner.person()), TICKETS_SPAN).await {
            Lookup::Found(count) if count <= MOST_TICKETS => {}
            Lookup::Found(_) => return self.refused_at_handover("too_many", Page::LinkGone(matter.back())),
            Lookup::Absent | Lookup::Unavailable => return outage(),
        }
        let ends_at = now.saturating_add(resume::seconds(TICKET));
        let kept = Ticket { session: matter.owner.name().into(), to: to.into(), ends_at };
        if !keep(self.state.as_ref(), &ticket_key(&ticket), &kept, TICKET).await {
            return outage();
        }
        Answer::GoTo(format!("{}{}?handover={ticket}", pages.text, Place::StepUp.path())).into()
    }

    /// Lets a browser in that comes with a ticket.
    pub(super) async fn come_in(&self, visit: &Visit<'_>, ticket: &str) -> Visited {
        // Before it is taken: no script uses it up, to say nothing of being let in.
        if !visit.facts.fetch.navigation {
            return self.refused_at_handover("not_a_navigation", Page::Malformed);
        }
        let gone = || self.refused_at_handover("unknown", Page::LinkGone(self.start_page(visit)));
        let outage = || self.refused_at_handover("store_unavailable", Page::Outage(self.start_page(visit)));
        let ticket = match understood::<Ticket>(self.state.unseal(&ticket_key(ticket)).await) {
            Lookup::Found(ticket) if visit.now <= ticket.ends_at => ticket,
            Lookup::Found(_) | Lookup::Absent => return gone(),
            Lookup::Unavailable => return outage(),
        };
        let live = match self.live(&ticket.session, Use::Stream, visit.now).await {
            Lookup::Found(live) => live,
            Lookup::Absent => return gone(),
            Lookup::Unavailable => return outage(),
        };
        // Several windows of one session are one guest, so that each page's form stays good.
        let known = match self.guest(visit).await {
            Lookup::Found((id, live)) if live.name == ticket.session => Some(id),
            _ => None,
        };
        let Some(id) = known.or_else(secret::new) else { return outage() };
        let (guest, ttl) = (Guest { session: ticket.session }, self.policy.resume.ttl);
        if !keep(self.state.as_ref(), &guest_key(&id), &guest, ttl).await {
            return outage();
        }
        let fact = live.record.fact("handover", "ok", live.name.clone());
        let cookies = vec![cookie::pages(&id, ttl.as_secs())];
        Visited { cookies, fact: Some(fact), ..Answer::GoTo(ticket.to.into()).into() }
    }

    fn refused_at_handover(&self, result: &'static str, page: Page) -> Visited {
        let fact = SessionFact { what: "handover", result, ..SessionFact::default() };
        Visited { fact: Some(fact), ..page.into() }
    }
}
