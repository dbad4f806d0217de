//! Proof by somebody who has not signed in: for one request of theirs, and for nothing else. There is no session that it
//! could raise.

use super::super::BrowserSessions;
use super::super::callback::SKEW;
use super::super::record::{Raised, name_of};
use super::Matter;
use super::owner::Nobody;
use crate::decision::{Granted, Lookup};
use crate::enforce::prompts::Proof;
use crate::enforce::sessions::{Page, Visited};
use crate::request::credentials::SessionId;

impl BrowserSessions {
    /// Judges a proof by what the request that waits needs, and keeps it for that request.
    pub(super) async fn accept_anonymous(
        &self,
        (matter, nobody): (&Matter, &Nobody),
        (way, proof): (&str, Proof),
        (since, now): (i64, i64),
    ) -> Visited {
        let intent = &matter.intent;
        // Whoever it was must have been found to be the person of the very account that the request names.
        if self.account_name(way, nobody).is_none_or(|name| name != proof.subject) {
            return self.refused(matter, way, "other_subject");
        }
        let Some((index, route)) = self.rules_of(intent) else {
            return self.ended(matter, "policy_changed", Page::IntentGone(intent.back.clone().into()));
        };
        if !self.policy.requirement(route, index).proven_by(proof.level, &proof.methods) {
            return self.refused(matter, way, "proof_too_weak");
        }
        // Given for this question, never before it was put.
        let is_new = proof.authenticated_at.saturating_add(SKEW) >= since;
        if !is_new || proof.authenticated_at > now.saturating_add(SKEW) {
            return self.refused(matter, way, "proof_too_old");
        }
        let raised = Raised {
            level: self.policy.levels.name(proof.level).into(),
            methods: proof.methods,
            authenticated_at: proof.authenticated_at.min(now),
        };
        if !self.keep_grant(&matter.name, intent, &raised).await {
            return self.way_down(matter, way, "store_unavailable");
        }
        let answer = self.after_proof(matter).await;
        Visited { fact: Some(matter.owner.fact("step_up", "ok")), ..answer.into() }
    }

    /// By what the one who asks on a way knows the account.
    pub(super) fn account_name(&self, way: &str, nobody: &Nobody) -> Option<Box<str>> {
        let position = self.policy.ways.iter().position(|known| *known.name == *way)?;
        self.prompts.as_ref()?.account_name(position, &nobody.account)
    }

    /// The proof that was given for an action. Who may show it pays with it: it is for one request.
    pub(in crate::session) async fn anonymously_granted(
        &self,
        id: &SessionId,
        host: &str,
        action: &str,
    ) -> Lookup<Granted> {
        match self.nobody(id, host).await {
            Lookup::Found(()) => self.grant_of(&name_of(id.as_str()), action).await,
            Lookup::Absent => Lookup::Absent,
            Lookup::Unavailable => Lookup::Unavailable,
        }
    }
}
