//! What will be done is shown to the person, and done when they say so: once.

use super::super::BrowserSessions;
use super::Matter;
use super::intent::{self, Kept};
use crate::decision::Lookup;
use crate::enforce::sessions::{Answer, Page, Place, Visit, Visited};
use crate::enforce::step_up::{Confirmed, Taken, confirming};
use crate::request::fetch::From;
use crate::request::shown::{Shown, shown};

/// Where a request is confirmed.
pub(super) fn address(name: &str) -> String {
    format!("{}?intent={name}", Place::Confirm.path())
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
        let matter = match self.matter(visit).await {
            Ok(matter) => matter,
            Err(visited) => return visited,
        };
        let Matter { name, intent, .. } = &matter;
        if intent.is_read() {
            return Answer::GoTo(intent.back.clone().into()).into();
        }
        let Some(body) = intent.body() else { return Page::IntentGone(intent.back.clone().into()).into() };
        let headers = intent.headers();
        let media = headers.get(http::header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
        Page::Confirm {
            label: intent.label.clone(),
            shown: rows(&intent.target, media, &body),
            action: confirming(&intent.target, name),
            cancel: intent.back.clone().into(),
        }
        .into()
    }

    /// How far a step-up is, in a word for a script.
    pub(in crate::session) async fn progress(&self, visit: &Visit<'_>) -> Visited {
        let gone = || Answer::Progress("gone").into();
        let Some(name) = visit.facts.target.query_once("intent") else { return gone() };
        let owner = match self.owner_name(visit, &name).await {
            Lookup::Found(owner) => owner,
            Lookup::Absent => return gone(),
            Lookup::Unavailable => return Answer::Progress("waiting").into(),
        };
        match self.kept(&name).await {
            Lookup::Found(Kept::Waiting(intent)) if intent.session == owner => {
                Answer::Progress("waiting").into()
            }
            Lookup::Found(Kept::Released { session }) if session == owner => {
                Answer::Progress("proven").into()
            }
            // A moment's outage is no end.
            Lookup::Unavailable => Answer::Progress("waiting").into(),
            Lookup::Found(_) | Lookup::Absent => gone(),
        }
    }

    /// Takes a confirmed request out; whoever comes second is told so.
    pub(in crate::session) async fn taken(&self, name: &str, target: &str, visit: &Visit<'_>) -> Taken {
        // Only the gateway's own page confirms, by a person's click: another's could have the form sent too, and a script of
        // the application's own without anybody having seen the page.
        let is_by_script = visit.headers.contains_key("sec-fetch-mode") && !visit.facts.fetch.form;
        if visit.facts.fetch.from != From::Own || is_by_script {
            return Taken::Page(Page::Malformed, "not_its_own_page");
        }
        let owner = match self.owner_name(visit, name).await {
            Lookup::Found(owner) => owner,
            Lookup::Absent => return Taken::Page(self.unowned(name).await, "no_session"),
            Lookup::Unavailable => return Taken::Page(Page::Outage(address(name)), "store_unavailable"),
        };
        let host = visit.facts.host.as_str();
        let is_this_persons = |kept: &Kept| match kept {
            Kept::Waiting(intent) => intent.session == owner && *intent.host == *host,
            Kept::Sent { session, .. } | Kept::Released { session } => *session == owner,
        };
        let waiting = match self.kept(name).await {
            Lookup::Found(kept) if !is_this_persons(&kept) => {
                return Taken::Page(super::not_theirs(name), "other_session");
            }
            Lookup::Found(Kept::Sent { back, .. }) => {
                return Taken::Page(Page::AlreadySent(back.into()), "already_sent");
            }
            Lookup::Found(Kept::Waiting(intent)) if *intent.target == *target => intent,
            Lookup::Found(_) => return Taken::Page(Page::Malformed, "not_its_own_page"),
            Lookup::Absent => return Taken::Page(Page::IntentGone("/".to_owned()), "not_kept"),
            Lookup::Unavailable => return Taken::Page(Page::Outage(address(name)), "store_unavailable"),
        };
        // First, so that nobody who finds nothing any more is told that nothing was sent.
        let sent = Kept::Sent { session: waiting.session.clone(), back: waiting.back.clone() };
        if !self.keep_intent(name, &sent).await {
            return Taken::Page(Page::Outage(address(name)), "store_unavailable");
        }
        let intent = match self.take_intent(name).await {
            Lookup::Found(Kept::Waiting(intent)) => intent,
            // Another click was first, and says so in a moment.
            Lookup::Found(_) | Lookup::Absent => {
                return Taken::Page(Page::AlreadySent(waiting.back.into()), "already_sent");
            }
            Lookup::Unavailable => return Taken::Page(Page::Outage(address(name)), "store_unavailable"),
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
