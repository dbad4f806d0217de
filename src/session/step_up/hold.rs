//! A script's request that waits, while its person is asked on the phone: the page needs no change at all.
//!
//! Only where the way says so (`hold_request`), and never for an action that needs a proof of its own: who agrees to that
//! has to see what it is. A held request costs a connection, so there are few of them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::BrowserSessions;
use super::super::record;
use super::Matter;
use super::elsewhere::prompt_key;
use super::intent::Kept;
use super::owner::Owner;
use crate::decision::Lookup;
use crate::enforce::prompts::Answered;
use crate::enforce::sessions::{Use, Visited};
use crate::enforce::step_up::{Asker, Challenged};
use crate::policy::{Way, WayKind};

/// So many requests are held at a time, at one gateway; more are answered at once.
const MOST_HELD: usize = 200;

/// Whose requests are held: one of each person.
#[derive(Default)]
pub(in crate::session) struct Holding(Mutex<HashSet<Box<str>>>);

/// One held request; counts until it is dropped.
struct Held<'h> {
    holding: &'h Holding,
    person: Box<str>,
}

impl Holding {
    fn begin(&self, person: &str) -> Option<Held<'_>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = held.len() < MOST_HELD && held.insert(person.into());
        is_new.then(|| Held { holding: self, person: person.into() })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.holding.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.person);
    }
}

impl BrowserSessions {
    /// Asks the person and waits for as long as the way lets a request wait.
    pub(in crate::session) async fn held(&self, name: &str, challenged: &Challenged<'_>) -> Option<Visited> {
        let fetch = challenged.facts.fetch;
        let tier = self.policy.tier(challenged.tier);
        if fetch.navigation || fetch.form || tier.each_action_needs_new_proof {
            return None;
        }
        let Asker::Session(id) = challenged.asker else { return None };
        let shown = record::name_of(id.as_str());
        let Lookup::Found(live) = self.live(&shown, Use::Request, challenged.now).await else { return None };
        let Lookup::Found(Kept::Waiting(intent)) = self.kept(name).await else { return None };
        let (way, patience) = self.ways(&intent, live.position).find_map(holds)?;
        let position = self.policy.ways.iter().position(|known| known.name == way.name)?;
        let _held = self.holding.begin(&live.subject.qualified_id())?;
        // What was kept for a page must not be sent as well: the request itself goes on.
        let (name, device) = (name.to_owned(), challenged.facts.device.clone());
        let (intent, owner) = (*intent, Owner::SignedIn(live));
        let matter = Matter { name, intent, owner, closes: true, home: None, is_held: true, device };
        let (began, prompts) = (Instant::now(), self.prompts.as_ref()?);
        let host = challenged.facts.host.as_str();
        // There is no page that could show a code.
        let prompt = match self.put(&matter, (way, position), Box::default(), (host, challenged.now)).await {
            Ok(prompt) => prompt,
            Err(visited) => return Some(*visited),
        };
        let mut interval = Duration::from_secs(prompt.interval);
        let mut listens = way.sends_word();
        loop {
            let left = patience.saturating_sub(began.elapsed());
            if listens && self.hears(&prompt, interval.min(left)).await {
                prompts.hasten(position, &prompt.handle);
                // It is said once, and what is said again is worth no look.
                listens = false;
            } else if interval > left {
                return None;
            } else if !listens {
                sleep(interval).await;
            }
            let now = challenged.now.saturating_add(i64::try_from(began.elapsed().as_secs()).unwrap_or(0));
            match prompts.answered(position, &prompt.handle, now).await {
                Ok(Answered::Waiting(next)) => interval = next.max(Duration::from_secs(1)),
                Ok(Answered::Proven(proof)) => {
                    // Or the person has opened the page, which was first.
                    let Lookup::Found(_) = self.state.unseal(&prompt_key(&matter.name, &way.name)).await
                    else {
                        return None;
                    };
                    return Some(self.accept(&matter, (&way.name, proof), (prompt.asked_at, now)).await);
                }
                Ok(Answered::Declined) => return Some(self.over(&matter, way, "declined").await),
                Ok(Answered::Expired) => return Some(self.over(&matter, way, "prompt_expired").await),
                // The page that waits will say what is wrong.
                Err(_) => return None,
            }
        }
    }
}

/// For how long requests may wait on a way.
fn holds(way: &Way) -> Option<(&Way, Duration)> {
    match way.kind {
        WayKind::Ciba { hold: Some(patience), .. } => Some((way, patience)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_of_each_person_is_held_and_not_too_many() {
        let holding = Holding::default();
        let first = holding.begin("a").expect("free");
        assert!(holding.begin("a").is_none());
        let others: Vec<_> = (1..MOST_HELD).map(|n| holding.begin(&n.to_string()).expect("free")).collect();
        assert!(holding.begin("b").is_none(), "there are enough");
        drop(first);
        assert!(holding.begin("a").is_some());
        assert_eq!(others.len(), MOST_HELD - 1);
    }
}
