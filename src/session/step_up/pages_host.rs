//! Pages on a host of their own, where no script of an application reaches them.
//!
//! A script that somebody has put into an old application can do at its host whatever a person can, and press every
//! button there. So what is to be confirmed is shown at another host, and confirmed there only: the application's host
//! hands the browser over (`handover`), and takes it back with a token that nobody has who has not confirmed. A proof has
//! no effect before that, so that a script can't send by itself what its person has given proof for.

use http::Method;
use serde::{Deserialize, Serialize};

use super::super::record::{Live, Raised, keep, understood};
use super::super::{BrowserSessions, secret};
use super::intent::Kept;
use super::{Matter, confirm};
use crate::decision::Lookup;
use crate::enforce::sessions::{Answer, Page, Place, SessionFact, Visit, Visited};
use crate::enforce::step_up::{Taken, confirming};
use crate::request::fetch::From;

/// Longer names of people are cut.
const MOST_ACCOUNT: usize = 100;

/// A proof that takes effect once what it is for has been confirmed.
#[derive(Serialize, Deserialize)]
struct Waiting {
    raised: Raised,
    /// The request's: one that is asked for again waits anew, under the same name.
    kept_at: i64,
}

/// A person has confirmed a request on the pages' host, or wants to go on reading.
#[derive(Serialize, Deserialize)]
struct Confirmed {
    session: Box<str>,
    intent: Box<str>,
    closes: bool,
}

fn proof_key(name: &str) -> String {
    format!("proof:{}", secret::digest(name))
}

fn confirmed_key(token: &str) -> String {
    format!("confirmed:{}", secret::digest(token))
}

/// What only the page on the pages' host holds, for one browser and one request.
fn mark(id: &str, name: &str) -> String {
    format!("confirm:{id}:{name}")
}

/// Where a browser comes back to the application's host.
pub(super) fn comes_back(token: &str) -> String {
    format!("{}?back={token}", Place::Confirm.path())
}

impl BrowserSessions {
    /// Answers a visit at the pages' own host.
    pub(in crate::session) async fn visit_pages(&self, visit: &Visit<'_>) -> Visited {
        let ticket = visit.facts.target.query_once("handover");
        match (visit.place, visit.method == Method::GET, ticket) {
            (Place::StepUp, true, Some(ticket)) => self.come_in(visit, &ticket).await,
            (Place::StepUp, true, None) => self.step_up(visit).await,
            (Place::Confirm, true, _) => self.confirm_here(visit).await,
            (Place::Confirm, false, _) => self.confirmed_here(visit).await,
            _ => Page::Malformed.into(),
        }
    }

    /// Whether a proof has to wait until the person has confirmed, or the browser is back where its session is. What is
    /// held has been agreed to on the phone.
    pub(super) fn waits_for_confirmation(&self, matter: &Matter) -> bool {
        let confirms = self.pages.is_some() && !matter.intent.is_read();
        (confirms || matter.home.is_some()) && !matter.is_held && matter.owner.live().is_some()
    }

    /// Shows on the pages' host what will be done, once there is a proof.
    async fn confirm_here(&self, visit: &Visit<'_>) -> Visited {
        let matter = match self.matter(visit).await {
            Ok(matter) => matter,
            Err(visited) => return visited,
        };
        if !self.may_be_confirmed(&matter).await {
            return self.asks_which(&matter);
        }
        if matter.intent.is_read() {
            return self.send_back(&matter).await;
        }
        let id = match self.guest(visit).await {
            Lookup::Found((id, _)) => id,
            Lookup::Absent => return Page::IntentGone(self.start_page(visit)).into(),
            Lookup::Unavailable => return Page::Outage(confirm::address(&matter.name, matter.closes)).into(),
        };
        let check = secret::digest(&mark(&id, &matter.name));
        let action = format!("{}&check={check}", confirm::address(&matter.name, matter.closes));
        self.shows(&matter, (matter.owner.live().and_then(|live| account(live)), action)).await
    }

    /// Takes a person's click on the page that the pages' host has shown.
    async fn confirmed_here(&self, visit: &Visit<'_>) -> Visited {
        let is_by_script = visit.headers.contains_key("sec-fetch-mode") && !visit.facts.fetch.form;
        if visit.facts.fetch.from != From::Own || is_by_script {
            return self.unconfirmed("not_its_own_page", Page::Malformed);
        }
        let matter = match self.matter(visit).await {
            Ok(matter) => matter,
            Err(visited) => {
                let fact = SessionFact { what: "confirm", result: "not_waiting", ..SessionFact::default() };
                return Visited { fact: Some(fact), ..visited };
            }
        };
        let check = visit.facts.target.query_once("check");
        let is_its_form = match (self.guest(visit).await, check) {
            (Lookup::Found((id, _)), Some(check)) => secret::has_digest(&mark(&id, &matter.name), &check),
            _ => false,
        };
        if !is_its_form {
            return self.unconfirmed("not_its_own_page", Page::Malformed);
        }
        if !self.may_be_confirmed(&matter).await {
            return Visited {
                fact: self.unconfirmed("no_proof", Page::Malformed).fact,
                ..self.asks_which(&matter)
            };
        }
        let fact = matter.owner.fact("confirm", "ok");
        let sent = self.send_back(&matter).await;
        if matches!(sent.answer, Answer::GoTo(_)) { Visited { fact: Some(fact), ..sent } } else { sent }
    }

    /// Sends the browser back to the application's host, with the token by which the matter goes on there.
    async fn send_back(&self, matter: &Matter) -> Visited {
        let confirmed = Confirmed {
            session: matter.owner.name().into(),
            intent: matter.name.as_str().into(),
            closes: matter.closes,
        };
        let ttl = self.policy.resume.ttl;
        match secret::new() {
            Some(token) if keep(self.state.as_ref(), &confirmed_key(&token), &confirmed, ttl).await => {
                Answer::GoTo(matter.at_home(&comes_back(&token))).into()
            }
            _ => {
                let here = confirm::address(&matter.name, matter.closes);
                self.unconfirmed("store_unavailable", Page::Outage(here))
            }
        }
    }

    /// The browser is back at the application's host: now the proof takes effect, and what was confirmed goes on.
    pub(super) async fn come_back(&self, visit: &Visit<'_>, token: &str) -> Visited {
        if !visit.facts.fetch.navigation {
            return self.unconfirmed("not_a_navigation", Page::Malformed);
        }
        let again = || self.unconfirmed("store_unavailable", Page::Outage(comes_back(token)));
        let live = match self.alive(visit).await {
            Lookup::Found(live) => live,
            Lookup::Absent => {
                return self.unconfirmed("no_session", Page::IntentGone(self.start_page(visit)));
            }
            Lookup::Unavailable => return again(),
        };
        let gone = || self.unconfirmed("not_kept", Page::IntentGone("/".to_owned()));
        let confirmed = match understood::<Confirmed>(self.state.peek(&confirmed_key(token)).await) {
            Lookup::Found(confirmed) if confirmed.session == live.name => confirmed,
            Lookup::Found(_) => {
                return self.unconfirmed("other_session", Page::OtherPerson("/".to_owned()));
            }
            Lookup::Absent => return gone(),
            Lookup::Unavailable => return again(),
        };
        let intent = match self.kept(&confirmed.intent).await {
            Lookup::Found(Kept::Waiting(intent)) if intent.session == live.name => *intent,
            Lookup::Found(Kept::Sent { back, .. }) => {
                return self.unconfirmed("already_sent", Page::AlreadySent(back.into()));
            }
            Lookup::Found(Kept::Released { .. }) => return Page::Proven.into(),
            Lookup::Found(Kept::Waiting(_)) | Lookup::Absent => return gone(),
            Lookup::Unavailable => return again(),
        };
        let mut cookies = Vec::new();
        let name = &*confirmed.intent;
        match understood::<Waiting>(self.state.peek(&proof_key(name)).await) {
            Lookup::Found(proof) if proof.kept_at == intent.kept_at => {
                let whose = (&*live, visit.facts.device.as_ref());
                let effect = self.takes_effect(whose, (name, &intent), &proof.raised, visit.now).await;
                cookies = effect.0;
                if !effect.1 {
                    return Visited { cookies, ..again() };
                }
                self.state.unseal(&proof_key(name)).await;
            }
            // It has taken effect before: the page was loaded again.
            Lookup::Found(_) | Lookup::Absent => {}
            Lookup::Unavailable => return again(),
        }
        let done = self.without_confirming((name, &intent), confirmed.closes, comes_back(token)).await;
        let answer = done.unwrap_or_else(|| Answer::GoTo(confirming(&intent.target, token)));
        Visited { cookies, ..answer.into() }
    }

    /// The name of the request that was confirmed by this token.
    pub(super) async fn confirmed_on_pages(&self, token: &str, visit: &Visit<'_>) -> Result<Box<str>, Taken> {
        if visit.method != Method::GET || !visit.facts.fetch.navigation {
            return Err(Taken::Page(Page::Malformed, "not_its_own_page"));
        }
        match understood::<Confirmed>(self.state.peek(&confirmed_key(token)).await) {
            Lookup::Found(confirmed) => Ok(confirmed.intent),
            Lookup::Absent => Err(Taken::Page(Page::IntentGone("/".to_owned()), "not_kept")),
            Lookup::Unavailable => Err(Taken::Page(Page::Outage(comes_back(token)), "store_unavailable")),
        }
    }

    /// Keeps a proof until what it is for has been confirmed.
    pub(super) async fn keep_proof(&self, matter: &Matter, raised: &Raised) -> bool {
        let waiting = Waiting { raised: raised.clone(), kept_at: matter.intent.kept_at };
        keep(self.state.as_ref(), &proof_key(&matter.name), &waiting, self.policy.resume.ttl).await
    }

    /// Whether there is a proof: one that waits, or that has taken effect at the application's host, where the browser lost
    /// its way after that.
    async fn may_be_confirmed(&self, matter: &Matter) -> bool {
        self.has_proof(matter).await || self.is_proven(&matter.name, &matter.intent).await
    }

    /// Whether there is one that waits.
    pub(super) async fn has_proof(&self, matter: &Matter) -> bool {
        let found = understood::<Waiting>(self.state.peek(&proof_key(&matter.name)).await);
        matches!(found, Lookup::Found(waiting) if waiting.kept_at == matter.intent.kept_at)
    }

    /// Where the person goes once the proof is there.
    pub(super) async fn goes_on(&self, matter: &Matter, now: i64) -> Visited {
        if !self.waits_for_confirmation(matter) {
            self.after_proof(matter).await.into()
        } else if matter.intent.is_read() {
            self.send_back(matter).await
        } else if matter.home.is_some() {
            Answer::GoTo(confirm::address(&matter.name, matter.closes)).into()
        } else {
            self.hand_over(matter, confirm::address(&matter.name, matter.closes), now).await
        }
    }

    /// Nothing was confirmed, and why.
    pub(in crate::session) fn unconfirmed(&self, result: &'static str, page: Page) -> Visited {
        let fact = SessionFact { what: "confirm", result, ..SessionFact::default() };
        Visited { fact: Some(fact), ..page.into() }
    }
}

/// What people call the one who is signed in, as the issuer does.
fn account(live: &Live) -> Option<Box<str>> {
    let claims = ["name", "preferred_username", "email", "sub"];
    let name =
        claims.into_iter().find_map(|claim| live.record.claim(claim).filter(|name| !name.is_empty()))?;
    Some(name.chars().filter(|letter| !letter.is_control()).take(MOST_ACCOUNT).collect::<String>().into())
}
