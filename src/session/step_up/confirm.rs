//! What will be done is shown to the person, and done when they say so: once.

use super::super::BrowserSessions;
use super::Matter;
use super::intent::{self, Kept};
use super::pages_host::comes_back;
use crate::decision::Lookup;
use crate::enforce::sessions::{Answer, Page, Place, Visit, Visited};
use crate::enforce::step_up::{Confirmed, Taken, confirming};
use crate::request::fetch::From;
use crate::request::shown::{Shown, shown};

/// Where a request is confirmed.
pub(super) fn address(name: &str, closes: bool) -> String {
    let then = if closes { "&then=close" } else { "" };
    format!("{}?intent={name}{then}", Place::Confirm.path())
}

/// What will be sent, for a person to read: what stands in the address belongs to it.
fn rows(target: &str, media: Option<&str>, body: &[u8]) -> Vec<Shown> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let mut rows = shown(Some("application/x-www-form-urlencoded"), query.as_bytes());
    rows.extend(shown(media, body));
    rows
}

impl BrowserSessions {
    /// Shows what will be done.
    pub(in crate::session) async fn confirm(&self, visit: &Visit<'_>) -> Visited {
        if let Some(token) = visit.facts.target.query_once("back").filter(|_| self.pages.is_some()) {
            return self.come_back(visit, &token).await;
        }
        let matter = match self.matter(visit).await {
            Ok(matter) => matter,
            Err(visited) => return visited,
        };
        let Matter { name, intent, .. } = &matter;
        if intent.is_read() {
            return Answer::GoTo(matter.back()).into();
        }
        if self.leads_to_pages(&matter) {
            return self.to_pages(visit, &matter, None).await;
        }
        self.shows(&matter, (None, confirming(&intent.target, name)))
    }

    /// The page that asks whether to do it. `action` is where its form leads.
    pub(super) fn shows(&self, matter: &Matter, (account, action): (Option<Box<str>>, String)) -> Visited {
        let intent = &matter.intent;
        let Some(body) = intent.body() else { return Page::IntentGone(matter.back()).into() };
        let headers = intent.headers();
        let media = headers.get(http::header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
        Page::Confirm {
            label: intent.label.clone(),
            shown: rows(&intent.target, media, &body),
            account,
            action,
            cancel: matter.back(),
        }
        .into()
    }

    /// How far a step-up is, in a word for a script.
    pub(in crate::session) async fn progress(&self, visit: &Visit<'_>) -> Visited {
        let gone = || Answer::Progress("gone").into();
        let Some(name) = visit.facts.target.query_once("intent") else { return gone() };
        let Some(live) = self.alive(visit).await else { return gone() };
        match self.kept(&name).await {
            Lookup::Found(Kept::Waiting(intent)) if intent.session == live.name => {
                Answer::Progress("waiting").into()
            }
            Lookup::Found(Kept::Released { session }) if session == live.name => {
                Answer::Progress("proven").into()
            }
            // A moment's outage is no end.
            Lookup::Unavailable => Answer::Progress("waiting").into(),
            Lookup::Found(_) | Lookup::Absent => gone(),
        }
    }

    /// Takes a confirmed request out; whoever comes second is told so.
    pub(in crate::session) async fn taken(&self, name: &str, target: &str, visit: &Visit<'_>) -> Taken {
        if self.pages.is_some() {
            return match self.confirmed_on_pages(name, visit).await {
                Ok(intent) => self.taken_out((&intent, comes_back(name)), target, visit).await,
                Err(taken) => taken,
            };
        }
        // Only the gateway's own page confirms, by a person's click: another's could have the form sent too, and a script of
        // the application's own without anybody having seen the page.
        let is_by_script = visit.headers.contains_key("sec-fetch-mode") && !visit.facts.fetch.form;
        if visit.facts.fetch.from != From::Own || is_by_script {
            return Taken::Page(Page::Malformed, "not_its_own_page");
        }
        self.taken_out((name, address(name, false)), target, visit).await
    }

    /// `here` is where one tries again after an outage.
    async fn taken_out(&self, (name, here): (&str, String), target: &str, visit: &Visit<'_>) -> Taken {
        let Some(live) = self.alive(visit).await else {
            return Taken::Page(Page::IntentGone(self.start_page(visit)), "no_session");
        };
        let is_this_persons = |kept: &Kept| match kept {
            Kept::Waiting(intent) => intent.session == live.name,
            Kept::Sent { session, .. } | Kept::Released { session } => *session == live.name,
        };
        let waiting = match self.kept(name).await {
            Lookup::Found(kept) if !is_this_persons(&kept) => {
                return Taken::Page(Page::OtherPerson("/".to_owned()), "other_session");
            }
            Lookup::Found(Kept::Sent { back, .. }) => {
                return Taken::Page(Page::AlreadySent(back.into()), "already_sent");
            }
            Lookup::Found(Kept::Waiting(intent)) if *intent.target == *target => intent,
            Lookup::Found(_) => return Taken::Page(Page::Malformed, "not_its_own_page"),
            Lookup::Absent => return Taken::Page(Page::IntentGone("/".to_owned()), "not_kept"),
            Lookup::Unavailable => return Taken::Page(Page::Outage(here), "store_unavailable"),
        };
        // First, so that nobody who finds nothing any more is told that nothing was sent.
        let sent = Kept::Sent { session: waiting.session.clone(), back: waiting.back.clone() };
        if !self.keep_intent(name, &sent).await {
            return Taken::Page(Page::Outage(here), "store_unavailable");
        }
        let intent = match self.take_intent(name).await {
            Lookup::Found(Kept::Waiting(intent)) => intent,
            // Another click was first, and says so in a moment.
            Lookup::Found(_) | Lookup::Absent => {
                return Taken::Page(Page::AlreadySent(waiting.back.into()), "already_sent");
            }
            Lookup::Unavailable => return Taken::Page(Page::Outage(here), "store_unavailable"),
        };
        let (Some(method), Some(body)) = (intent::method(&intent.method), intent.body()) else {
            return Taken::Page(Page::IntentGone(intent.back.into()), "not_kept");
        };
        Taken::Request(Box::new(Confirmed {
            method,
            target: intent.target.to_string(),
            headers: intent.headers(),
            body,
            once: intent::once(name, intent.kept_at),
            back: intent.by_script.then(|| intent.back.to_string()),
        }))
    }
}
