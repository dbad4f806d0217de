//! A proof takes effect: the session is worth more, shows another name, and the request that waits has its grant.

use super::super::callback::SKEW;
use super::super::record::{
    self, Live, Named, Raise, Raised, Record, ShownAs, keep, raise_key, session_key, understood,
};
use super::super::{BrowserSessions, cookie, secret};
use super::intent::{Intent, Kept};
use super::owner::Owner;
use super::{Matter, address, proven};
use crate::decision::Lookup;
use crate::enforce::ports::Consumed;
use crate::enforce::prompts::Proof;
use crate::enforce::sessions::{Answer, Page, Visited};
use crate::policy::tier::MOST_PROOF_AGE;
use crate::request::device::DeviceId;
use crate::state::spent::ProofKey;

impl BrowserSessions {
    /// Judges a proof by what the request that waits needs, and lets it take effect. `way` is the one it was given on;
    /// `since` is when it was asked for.
    pub(super) async fn accept(
        &self,
        matter: &Matter,
        (way, proof): (&str, Proof),
        (since, now): (i64, i64),
    ) -> Visited {
        let (intent, live) = match &matter.owner {
            Owner::SignedIn(live) => (&matter.intent, live),
            Owner::Nobody(nobody) => {
                return self.accept_anonymous((matter, nobody), (way, proof), (since, now)).await;
            }
        };
        if live.record.claim("sub") != Some(&*proof.subject) {
            return self.refused(matter, way, "other_subject");
        }
        let Some((index, route)) = self.rules_of(intent) else {
            // The rules have changed: what is asked for may be something else now.
            return self.ended(matter, "policy_changed", Page::IntentGone(matter.back()));
        };
        let (tier, requirement) = (self.policy.tier(index), self.policy.requirement(route, index));
        if !requirement.proven_by(proof.level, &proof.methods) {
            return self.refused(matter, way, "proof_too_weak");
        }
        let age = now.saturating_sub(proof.authenticated_at);
        let is_new = proof.authenticated_at.saturating_add(SKEW) >= since;
        let is_recent = tier.max_age.is_none_or(|most| age <= most.saturating_add(SKEW));
        if age < -SKEW || !(is_new || (is_recent && !tier.each_action_needs_new_proof)) {
            return self.refused(matter, way, "proof_too_old");
        }
        if tier.each_action_needs_new_proof {
            // One authentication makes one grant, whatever flow shows it.
            match self.spend_event(&live.record.issuer, &proof, now).await {
                Consumed::Done(_) => {}
                Consumed::Already => return self.refused(matter, way, "proof_already_used"),
                Consumed::Unknown => return self.way_down(matter, way, "store_unavailable"),
            }
        }
        let raised = Raised {
            level: self.policy.levels.name(proof.level).into(),
            methods: proof.methods,
            authenticated_at: proof.authenticated_at.min(now),
        };
        if self.waits_for_confirmation(matter) {
            if !self.keep_proof(matter, &raised).await {
                return self.way_down(matter, way, "store_unavailable");
            }
            self.calmed(matter).await;
            return Visited { fact: Some(proven(live)), ..self.goes_on(matter, now).await };
        }
        let whose = (&**live, matter.device.as_ref());
        let (cookies, is_done) = self.takes_effect(whose, (&matter.name, intent), &raised, now).await;
        if !is_done {
            return Visited { cookies, ..self.way_down(matter, way, "store_unavailable") };
        }
        self.calmed(matter).await;
        let answer = self.after_proof(matter).await;
        Visited { cookies, fact: Some(proven(live)), ..answer.into() }
    }

    /// Lets a proof take effect, for a session and for what waits in it. Gives the cookies that say so, and whether all of it
    /// is done: what is not done for want of the store can be done again.
    pub(super) async fn takes_effect(
        &self,
        (live, device): (&Live, Option<&DeviceId>),
        (name, intent): (&str, &Intent),
        raised: &Raised,
        now: i64,
    ) -> (Vec<String>, bool) {
        // First what counts for little: a grant that is there is as good as spent.
        let Some(cookie) = self.raise(&live.name, raised.clone(), now).await else {
            return (Vec::new(), false);
        };
        if !self.keep_grant(name, intent, raised).await {
            return (vec![cookie], false);
        }
        let mut cookies = vec![cookie];
        // Here and nowhere else: signing in alone makes no browser known.
        if let Some(level) = self.policy.levels.find(&raised.level) {
            let whose = (live.subject.as_ref(), &*live.record.host);
            cookies.extend(self.recognise(whose, level, device, now).await);
        }
        (cookies, true)
    }

    async fn spend_event(&self, issuer: &str, proof: &Proof, now: i64) -> Consumed {
        let moment = proof.authenticated_at.min(now);
        let key =
            ProofKey::new(&["grant", issuer, &proof.subject, &proof.authenticated_at.to_string()], moment);
        let remember = std::time::Duration::from_secs(u64::try_from(2 * MOST_PROOF_AGE).unwrap_or(0));
        self.state.consume(&key, remember).await
    }

    /// Writes what was proven beside the session and gives it another name in the browser; the cookie, where that is done.
    pub(super) async fn raise(&self, name: &str, raised: Raised, now: i64) -> Option<String> {
        let id = secret::new()?;
        let shown = record::name_of(&id);
        let Lookup::Found(newest) = understood::<Record>(self.state.peek(&session_key(name)).await) else {
            return None;
        };
        let (position, _) = self.issuer(&newest.issuer)?;
        let limits = self.issuers.get(position)?.sign_in.as_ref()?.session;
        let before = match self.raise_of(name).await {
            Lookup::Found(before) => Some(before.shown_as.since),
            Lookup::Absent => None,
            Lookup::Unavailable => return None,
        };
        // Later than the name before, whatever the clocks of two gateways say.
        let since = before.map_or(now, |before| now.max(before.saturating_add(1)));
        let ttl = limits.absolute + record::MARGIN;
        let other = Named::Other { stands_for: name.into(), since };
        if !keep(self.state.as_ref(), &session_key(&shown), &other, ttl).await {
            return None;
        }
        let raise = Raise { raised, shown_as: ShownAs { name: shown, since } };
        if !keep(self.state.as_ref(), &raise_key(name), &raise, ttl).await {
            return None;
        }
        self.remember(name, newest, Some(raise), now)?;
        Some(cookie::session(&id))
    }

    /// Where the person goes once the proof is there.
    pub(super) async fn after_proof(&self, matter: &Matter) -> Answer {
        let here = address(&matter.name, None, matter.closes);
        match self.without_confirming((&matter.name, &matter.intent), matter.closes, here).await {
            Some(answer) => answer,
            None => Answer::GoTo(super::confirm::address(&matter.name, false)),
        }
    }

    /// The same, where there is nothing (more) to be confirmed here; `here` is where one tries again after an outage.
    pub(super) async fn without_confirming(
        &self,
        (name, intent): (&str, &Intent),
        closes: bool,
        here: String,
    ) -> Option<Answer> {
        if closes {
            // Who asked asks again: what was kept must not be sent as well.
            let released = Kept::Released { session: intent.session.clone() };
            if !self.keep_intent(name, &released).await {
                return Some(Answer::Page(Page::Outage(here)));
            }
            self.drop_body(name, intent).await;
            return Some(Answer::Page(Page::Proven));
        }
        let to = if intent.by_script || !intent.is_whole { &intent.back } else { &intent.target };
        intent.is_read().then(|| Answer::GoTo(super::super::target::safe(Some(to)).to_owned()))
    }
}
