//! What will be done is shown to the person, and done when they say so: once.

use std::time::Duration;

use super::super::BrowserSessions;
use super::Matter;
use super::intent::{self, Intent, Kept};
use super::pages_host::comes_back;
use crate::decision::Lookup;
use crate::enforce::ports::Consumed;
use crate::enforce::sessions::{Answer, Page, Place, Visit, Visited};
use crate::enforce::step_up::{Again, Confirmed, Taken, confirming, is_anonymous};
use crate::request::fetch::From;
use crate::request::shown::{Shown, shown};

/// For so long a click that takes a request out has it for itself: longer than the store may take for that, and short, so
/// that where the gateway was killed meanwhile the person may click again.
const CLICK: Duration = Duration::from_secs(30);

/// Who clicks twice is told what became of the first: so often it is looked at, and so long is waited between.
const LOOKS: u32 = 5;
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// What is refused again and again after its confirmation waits on for so many times `resume.ttl`: it must end some day.
const MOST_LIVES: i64 = 3;

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
        self.shows(&matter, (None, confirming(&intent.target, name))).await
    }

    /// The page that asks whether to do it. `action` is where its form leads.
    pub(super) async fn shows(
        &self,
        matter: &Matter,
        (account, action): (Option<Box<str>>, String),
    ) -> Visited {
        let Matter { name, intent, .. } = matter;
        let body = match self.body_of(name, intent).await {
            Lookup::Found(body) => body,
            Lookup::Absent => return self.without_body(name, matter.back()).await.into(),
            Lookup::Unavailable => return Page::Outage(address(name, matter.closes)).into(),
        };
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

    /// The body is not there (any more): who takes a request out takes that first, and has noted it before.
    async fn without_body(&self, name: &str, back: String) -> Page {
        match self.kept(name).await {
            Lookup::Found(Kept::Sent { .. }) => Page::AlreadySent(back),
            Lookup::Unavailable => Page::Outage(address(name, false)),
            Lookup::Found(_) | Lookup::Absent => Page::IntentGone(back.to_owned()),
        }
    }

    /// How far a step-up is, in a word for a script.
    pub(in crate::session) async fn progress(&self, visit: &Visit<'_>) -> Visited {
        let gone = || Answer::Progress("gone").into();
        let Some(name) = visit.facts.target.query_once("intent") else { return gone() };
        let owner = match self.owner_name(visit, &name).await {
            Lookup::Found(owner) => owner,
            Lookup::Absent => return gone(),
            // A moment's outage is no end.
            Lookup::Unavailable => return Answer::Progress("waiting").into(),
        };
        match self.kept(&name).await {
            Lookup::Found(Kept::Waiting(intent)) if intent.session == owner => {
                Answer::Progress("waiting").into()
            }
            Lookup::Found(Kept::Released { session }) if session == owner => {
                Answer::Progress("proven").into()
            }
            Lookup::Unavailable => Answer::Progress("waiting").into(),
            Lookup::Found(_) | Lookup::Absent => gone(),
        }
    }

    /// Takes a confirmed request out; whoever comes second is told so.
    pub(in crate::session) async fn taken(&self, name: &str, target: &str, visit: &Visit<'_>) -> Taken {
        if self.pages.is_some() && !is_anonymous(name) {
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
        let owner = match self.owner_name(visit, name).await {
            Lookup::Found(owner) => owner,
            Lookup::Absent => return Taken::Page(self.unowned(visit, name).await, "no_session"),
            Lookup::Unavailable => return Taken::Page(Page::Outage(here), "store_unavailable"),
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
            Lookup::Found(Kept::Sent { .. }) => return self.after_another(name, here).await,
            Lookup::Found(Kept::Waiting(intent)) if *intent.target == *target => intent,
            Lookup::Found(_) => return Taken::Page(Page::Malformed, "not_its_own_page"),
            Lookup::Absent => return Taken::Page(Page::IntentGone("/".to_owned()), "not_kept"),
            Lookup::Unavailable => return Taken::Page(Page::Outage(here), "store_unavailable"),
        };
        let body = match self.body_of(name, &waiting).await {
            Lookup::Found(body) => body,
            Lookup::Absent => {
                return Taken::Page(self.without_body(name, waiting.back.to_string()).await, "not_kept");
            }
            Lookup::Unavailable => return Taken::Page(Page::Outage(here), "store_unavailable"),
        };
        // Of clicks at the same moment one goes on: what it finds missing, nobody else is about to send.
        match self.state.consume(&intent::click(name, waiting.returns), CLICK).await {
            Consumed::Done(_) => {}
            Consumed::Already => return self.after_another(name, here).await,
            Consumed::Unknown => return Taken::Page(Page::Outage(here), "store_unavailable"),
        }
        // First, so that nobody who finds nothing any more is told that nothing was sent.
        let sent = Kept::Sent { session: waiting.session.clone(), back: waiting.back.clone() };
        if !self.keep_intent(name, &sent).await {
            return Taken::Page(Page::Outage(here), "store_unavailable");
        }
        let intent = match self.take_intent(name).await {
            Lookup::Found(Kept::Waiting(intent)) => intent,
            // The store has another memory since it was kept: it can be read, and nobody can know whether it was taken out.
            Lookup::Found(_) | Lookup::Absent => {
                self.not_sent(name).await;
                return Taken::Page(Page::IntentGone(waiting.back.into()), "not_kept");
            }
            Lookup::Unavailable => {
                // It may have been taken out all the same.
                self.kept_again(&waiting.again(name), &body, visit.now).await;
                return Taken::Page(Page::Outage(here), "store_unavailable");
            }
        };
        self.drop_body(name, &intent).await;
        let again = intent.again(name);
        let Some(method) = intent::method(&intent.method) else {
            return Taken::Page(Page::IntentGone(intent.back.into()), "not_kept");
        };
        Taken::Request(Box::new(Confirmed {
            method,
            target: intent.target.to_string(),
            headers: intent.headers(),
            body,
            once: intent::once(name, intent.kept_at),
            again,
            back: intent.by_script.then(|| intent.back.to_string()),
        }))
    }

    /// What one is told whose click came after another's. That it was sent is said only where it still looks so a moment
    /// later: the other's may be refused yet, and then the request waits again.
    async fn after_another(&self, name: &str, here: String) -> Taken {
        let mut noted = None;
        for _ in 0..LOOKS {
            match self.kept(name).await {
                Lookup::Found(Kept::Sent { back, .. }) if noted.is_some() => {
                    return Taken::Page(Page::AlreadySent(back.into()), "already_sent");
                }
                Lookup::Found(Kept::Sent { back, .. }) => noted = Some(back),
                Lookup::Found(_) | Lookup::Absent => noted = None,
                Lookup::Unavailable => break,
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Taken::Page(Page::Outage(here), "store_unavailable")
    }

    /// Keeps a request once more that was taken out and refused: its person has not lost it, and may try again. It goes on
    /// once all the same.
    pub(in crate::session) async fn kept_again(&self, again: &Again, body: &[u8], now: i64) {
        let Ok(intent) = serde_json::from_str::<Intent>(&again.kept) else { return };
        let intent = Intent { returns: intent.returns.saturating_add(1), ..intent };
        let name = &again.name;
        // First, whatever comes of the rest: nothing was sent. And while nobody can have taken it out once more, whose note
        // this would be.
        self.not_sent(name).await;
        let ttl = i64::try_from(self.policy.resume.ttl.as_secs()).unwrap_or(i64::MAX);
        let is_young = now.saturating_sub(intent.kept_at) <= ttl.saturating_mul(MOST_LIVES);
        if is_young && self.keep_body(name, if intent.has_body { body } else { &[] }).await {
            self.keep_intent(name, &Kept::Waiting(Box::new(intent))).await;
        }
    }
}
