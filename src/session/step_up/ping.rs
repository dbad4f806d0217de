//! An issuer sends word that a person has answered on the phone (ping, OpenID Connect CIBA Core 1.0 §10.2): whoever waits
//! for the answer looks at once. The word itself proves nothing, and leads to one look at most.
//!
//! A question is known by the token that the issuer was given for it, and lies where every gateway finds it. Who waits
//! may wait at another one: the word is left for them in the store.

use std::time::Duration;

use http::header;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::super::record::{keep, understood};
use super::super::{BrowserSessions, secret};
use super::Matter;
use super::elsewhere::{Prompt, prompt_key};
use crate::decision::Lookup;
use crate::enforce::sessions::{Answer, Heard, SessionFact, Visit, Visited};
use crate::policy::Way;
use crate::request::credentials::Presented;
use crate::request::json;

/// A notification is one name.
const MOST_BYTES: usize = 4 * 1024;
/// How often a held request looks whether there is word.
const LISTEN: Duration = Duration::from_millis(500);
/// An issuer may send word before its own acknowledgement has been kept: so often it is looked for again.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Nobody asks for longer (`wire`), and clocks differ.
const REMEMBER: Duration = Duration::from_secs(620);

/// A question of which word is awaited; it lies under the token's digest.
#[derive(Serialize, Deserialize)]
struct Awaited {
    /// The name of the request that waits for the proof.
    intent: Box<str>,
    way: Box<str>,
}

fn awaited_key(token: &str) -> String {
    format!("ping:{}", secret::digest(token))
}

fn word_key(prompt: &Prompt) -> String {
    format!("pinged:{}", secret::digest(&prompt.handle))
}

impl BrowserSessions {
    /// The token by which the issuer is known when it sends word; none where it does not. Kept before it is given away:
    /// issuers are fast.
    pub(super) async fn awaits_word(&self, matter: &Matter, way: &Way) -> Result<Option<String>, ()> {
        if !way.sends_word() {
            return Ok(None);
        }
        let token = secret::new().ok_or(())?;
        let awaited = Awaited { intent: matter.name.as_str().into(), way: way.name.clone() };
        let is_kept = keep(self.state.as_ref(), &awaited_key(&token), &awaited, REMEMBER).await;
        is_kept.then_some(Some(token)).ok_or(())
    }

    /// Whether there is word of a question's answer.
    pub(super) async fn has_word(&self, prompt: &Prompt) -> bool {
        matches!(self.state.peek(&word_key(prompt)).await, Lookup::Found(_))
    }

    /// Waits so long for word; whether it came.
    pub(super) async fn hears(&self, prompt: &Prompt, patience: Duration) -> bool {
        let began = Instant::now();
        loop {
            if self.has_word(prompt).await {
                return true;
            }
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                return false;
            }
            sleep(LISTEN.min(left)).await;
        }
    }

    /// Takes the word of an issuer.
    pub(in crate::session) async fn word(&self, visit: &Visit<'_>) -> Visited {
        let (heard, result) = match named(visit) {
            None => (Heard::Malformed, "malformed"),
            Some(name) => match &visit.facts.presented {
                Presented::Bearer(token) => self.word_of(token.as_str(), &name).await,
                _ => (Heard::Refused, "no_token"),
            },
        };
        let fact = SessionFact { what: "ciba_ping", result, ..SessionFact::default() };
        Visited { fact: Some(fact), ..Answer::Word(heard).into() }
    }

    async fn word_of(&self, token: &str, name: &str) -> (Heard, &'static str) {
        let (unknown, down) = ((Heard::Refused, "unknown"), (Heard::Unavailable, "store_unavailable"));
        let key = awaited_key(token);
        let awaited = match understood::<Awaited>(self.state.peek(&key).await) {
            Lookup::Found(awaited) => awaited,
            Lookup::Absent => return unknown,
            Lookup::Unavailable => return down,
        };
        let prompt = match self.put_by_now(&awaited).await {
            Lookup::Found(prompt) => prompt,
            Lookup::Absent => return unknown,
            Lookup::Unavailable => return down,
        };
        let position = self.policy.ways.iter().position(|way| way.name == awaited.way);
        let (Some(position), Some(prompts)) = (position, &self.prompts) else { return unknown };
        if !prompts.is_named(position, &prompt.handle, name) {
            return unknown;
        }
        if self.state.seal(&word_key(&prompt), b"1", REMEMBER).await != Lookup::Found(()) {
            return down;
        }
        // It is said once.
        self.state.unseal(&key).await;
        (Heard::Taken, "ok")
    }

    /// The question, as soon as it is kept. Only who knows its token has anybody wait for that.
    async fn put_by_now(&self, awaited: &Awaited) -> Lookup<Prompt> {
        let key = prompt_key(&awaited.intent, &awaited.way);
        for _ in 0..LOOKS {
            match understood(self.state.peek(&key).await) {
                Lookup::Absent => sleep(BETWEEN_LOOKS).await,
                found => return found,
            }
        }
        Lookup::Absent
    }
}

/// The name of the question in a notification: JSON with an `auth_req_id`, and whatever else.
fn named(visit: &Visit<'_>) -> Option<String> {
    let media = visit.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let is_json = media.split(';').next()?.trim().eq_ignore_ascii_case("application/json");
    let body = visit.form.as_ref().filter(|body| is_json && body.len() <= MOST_BYTES)?;
    match json::parse(body).ok()? {
        Value::Object(members) => members.get("auth_req_id")?.as_str().map(str::to_owned),
        _ => None,
    }
}
