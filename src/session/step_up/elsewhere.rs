//! Proof that is asked for elsewhere: on the person's phone, or by another service. The page waits, and looks again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::record::{keep, understood};
use super::super::{BrowserSessions, secret};
use super::owner::Owner;
use super::{Matter, address, confirm, person};
use crate::decision::Lookup;
use crate::enforce::prompts::{Answered, Ask, Asked, NOBODY, PromptFault};
use crate::enforce::sessions::{Answer, Page, Visit, Visited};
use crate::policy::Way;

/// More prompts than this in [`STORM_SPAN`], with no answer that proves anything, are no longer the person's own.
const STORM: u64 = 3;
const STORM_SPAN: Duration = Duration::from_secs(600);
/// Letters and digits that nobody takes for one another.
const CODE_LETTERS: &[u8; 24] = b"ACDEFHJKLMNPQRTUVWXY3479";
const CODE_LENGTH: usize = 4;

/// A question that was put.
#[derive(Serialize, Deserialize)]
pub(super) struct Prompt {
    pub(super) handle: Box<str>,
    code: Box<str>,
    pub(super) asked_at: i64,
    pub(super) interval: u64,
    /// Where the person proves who they are, where that is a page.
    page: Option<Box<str>>,
    /// What only the browser shows that comes back from that page; nobody else is told.
    #[serde(default)]
    returned: Box<str>,
}

impl Prompt {
    /// Whether the browser that asks is the one in which the person proved who they are: who began a step-up could send the
    /// address of the page to somebody else, who proves truthfully, and take the proof.
    fn may_be_taken_by(&self, visit: &Visit<'_>) -> bool {
        let shown = visit.facts.target.query_once("returned");
        self.page.is_none() || shown.is_some_and(|shown| secret::has_digest(&shown, &self.returned))
    }
}

pub(super) fn prompt_key(name: &str, way: &str) -> String {
    format!("prompt:{}:{way}", secret::digest(name))
}

/// A code that people can compare at a glance.
fn code() -> Option<Box<str>> {
    let letter =
        |byte: u8| CODE_LETTERS.get(usize::from(byte) % CODE_LETTERS.len()).map(|letter| char::from(*letter));
    let random = secret::bytes()?;
    random.into_iter().take(CODE_LENGTH).map(letter).collect::<Option<String>>().map(Into::into)
}

impl BrowserSessions {
    /// Puts the question, or looks for its answer.
    pub(super) async fn elsewhere(&self, visit: &Visit<'_>, matter: Matter, way: &Way) -> Visited {
        let key = prompt_key(&matter.name, &way.name);
        let (Some(prompts), Some(position)) =
            (&self.prompts, self.policy.ways.iter().position(|known| known.name == way.name))
        else {
            return self.way_down(&matter, &way.name, "way_unavailable");
        };
        let prompt = match understood::<Prompt>(self.state.peek(&key).await) {
            Lookup::Found(prompt) => prompt,
            Lookup::Absent
                if self.is_proven(&matter.name, &matter.intent).await || self.has_proof(&matter).await =>
            {
                // In another window, or at another gateway.
                return self.goes_on(&matter, visit.now).await;
            }
            Lookup::Absent => {
                let host = visit.facts.host.as_str();
                let Some(code) = code() else { return self.way_down(&matter, &way.name, "no_randomness") };
                return match self.put(&matter, (way, position), code, (host, visit.now)).await {
                    Ok(Prompt { page: Some(page), .. }) => Answer::GoTo(page.into()).into(),
                    Ok(prompt) => self.waiting(&matter, way, &prompt, Duration::from_secs(prompt.interval)),
                    Err(visited) => *visited,
                };
            }
            Lookup::Unavailable => return self.way_down(&matter, &way.name, "store_unavailable"),
        };
        if !prompt.may_be_taken_by(visit) {
            return self.waiting(&matter, way, &prompt, Duration::from_secs(prompt.interval));
        }
        if way.sends_word() && self.has_word(&prompt).await {
            prompts.hasten(position, &prompt.handle);
        }
        match prompts.answered(position, &prompt.handle, visit.now).await {
            Ok(Answered::Waiting(interval)) => self.waiting(&matter, way, &prompt, interval),
            Ok(Answered::Proven(proof)) => match self.state.unseal(&key).await {
                Lookup::Found(_) => {
                    self.accept(&matter, (&way.name, proof), (prompt.asked_at, visit.now)).await
                }
                // Another window of the same person was first.
                Lookup::Absent => Answer::GoTo(confirm::address(&matter.name, matter.closes)).into(),
                Lookup::Unavailable => self.way_down(&matter, &way.name, "store_unavailable"),
            },
            Ok(Answered::Declined) => self.over(&matter, way, "declined").await,
            Ok(Answered::Expired) => self.over(&matter, way, "prompt_expired").await,
            // Another gateway has the answer, and says so in a moment.
            Err(PromptFault::Refused("question_unknown")) => {
                self.waiting(&matter, way, &prompt, Duration::from_secs(prompt.interval))
            }
            Err(PromptFault::Refused(why)) => self.over(&matter, way, why).await,
            Err(PromptFault::NotReachable) => self.over(&matter, way, "person_not_reachable").await,
            Err(PromptFault::Unavailable) => self.way_down(&matter, &way.name, "way_unavailable"),
        }
    }

    /// A question that led to nothing: the next one is a new one.
    pub(super) async fn over(&self, matter: &Matter, way: &Way, result: &'static str) -> Visited {
        self.state.unseal(&prompt_key(&matter.name, &way.name)).await;
        self.refused(matter, &way.name, result)
    }

    /// Puts the question, where the person was not asked too often. `code` stands on the page; empty where there is none.
    pub(super) async fn put(
        &self,
        matter: &Matter,
        (way, position): (&Way, usize),
        code: Box<str>,
        (host, now): (&str, i64),
    ) -> Result<Prompt, Box<Visited>> {
        let down = |why| Box::new(self.way_down(matter, &way.name, why));
        let Some(prompts) = &self.prompts else { return Err(down("way_unavailable")) };
        if !self.may_try(matter).await {
            return Err(Box::new(self.too_often(matter)));
        }
        match self.prompts_so_far(matter).await {
            Lookup::Found(count) if count > STORM => {
                tracing::warn!(way = %way.name, "a person is asked again and again: pushes to them stop for a while");
                let others = self.choices(matter, &[&way.name]);
                return Err(Box::new(self.ended(matter, "prompt_storm", Page::TooManyPrompts(others))));
            }
            Lookup::Found(_) => {}
            Lookup::Absent | Lookup::Unavailable => return Err(down("store_unavailable")),
        }
        let returned = secret::new().ok_or_else(|| down("no_randomness"))?;
        let here = format!("{}&returned={returned}", address(&matter.name, Some(&way.name), matter.closes));
        let own = self.pages.as_ref().filter(|pages| *pages.host == *host);
        let origin = own.or_else(|| match &matter.owner {
            Owner::SignedIn(live) => Some(self.offer(host, &live.record.issuer)?.origin),
            Owner::Nobody(_) => Some(self.offers(host).next()?.origin),
        });
        let Some(origin) = origin else { return Err(Box::new(Page::IntentGone(matter.back()).into())) };
        let Ok(notification_token) = self.awaits_word(matter, way).await else {
            return Err(down("store_unavailable"));
        };
        let acr_values = self.acr_values(matter);
        let rules = self.policy.issuers.get(matter.owner.issuer());
        let account = match &matter.owner {
            Owner::SignedIn(_) => None,
            Owner::Nobody(nobody) => match self.account_name(&way.name, nobody) {
                Some(name) => Some(name),
                None => return Err(down("way_unavailable")),
            },
        };
        let live = matter.owner.live();
        let subject = live.and_then(|live| live.record.claim("sub"));
        let ask = Ask {
            issuer: account.as_ref().map_or_else(|| rules.map_or("", |rules| &*rules.issuer), |_| NOBODY),
            subject: account.as_deref().or(subject).unwrap_or_default(),
            id_token: live.map(|live| &*live.record.id_token),
            label: matter.intent.label.as_deref().unwrap_or(&matter.intent.route),
            code: &code,
            acr_values: &acr_values,
            language: matter.intent.language.as_deref().unwrap_or("en"),
            come_back: &format!("{}{here}", origin.text),
            notification_token: notification_token.as_deref(),
        };
        let asked = match prompts.ask(position, &ask).await {
            Ok(asked) => asked,
            Err(PromptFault::Unavailable) => return Err(down("way_unavailable")),
            Err(PromptFault::NotReachable) => {
                return Err(Box::new(self.refused(matter, &way.name, "person_not_reachable")));
            }
            Err(PromptFault::Refused(why)) => return Err(Box::new(self.refused(matter, &way.name, why))),
        };
        let Asked { handle, interval, expires_in, page } = asked;
        let interval = interval.as_secs().max(1);
        let returned = secret::digest(&returned).into();
        let prompt = Prompt { handle, code, asked_at: now, interval, page, returned };
        let ttl = expires_in.min(self.policy.resume.ttl);
        if !keep(self.state.as_ref(), &prompt_key(&matter.name, &way.name), &prompt, ttl).await {
            prompts.take_back(position, &prompt.handle).await;
            return Err(down("store_unavailable"));
        }
        Ok(prompt)
    }

    fn waiting(&self, matter: &Matter, way: &Way, prompt: &Prompt, interval: Duration) -> Visited {
        let seconds = interval.as_secs().max(prompt.interval);
        Page::Waiting {
            label: matter.intent.label.clone(),
            code: prompt.code.clone(),
            seconds: u32::try_from(seconds).unwrap_or(5),
            here: address(&matter.name, Some(&way.name), matter.closes),
            others: self.choices(matter, &[&way.name]),
            cancel: matter.back(),
        }
        .into()
    }

    /// How often this person was asked since they last gave proof, this time included.
    async fn prompts_so_far(&self, matter: &Matter) -> Lookup<u64> {
        let person = matter.owner.person();
        let Some(_) = matter.owner.live() else {
            return self.state.window(&format!("prompts:{person}"), STORM_SPAN).await;
        };
        let since = match self.state.peek(&format!("calm:{person}")).await {
            Lookup::Found(since) => String::from_utf8(since).unwrap_or_default(),
            Lookup::Absent => String::new(),
            Lookup::Unavailable => return Lookup::Unavailable,
        };
        self.state.window(&format!("prompts:{person}:{since}"), STORM_SPAN).await
    }

    /// The person has given proof: what they were asked before counts no more.
    pub(super) async fn calmed(&self, matter: &Matter) {
        let Some(live) = matter.owner.live() else { return };
        let since = secret::new().unwrap_or_default();
        // Where it can't be kept they may be taken for pestered, and use another way.
        let _ = self.state.seal(&format!("calm:{}", person(live)), since.as_bytes(), STORM_SPAN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_short_clear_and_differ() {
        let codes: std::collections::HashSet<Box<str>> = (0..100).filter_map(|_| code()).collect();
        assert!(codes.len() > 90, "{}", codes.len());
        assert!(codes.iter().all(|code| code.len() == CODE_LENGTH && !code.contains(['0', 'O', '1', 'I'])));
    }
}
