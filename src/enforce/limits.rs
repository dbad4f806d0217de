//! Limits on a request's size and rate: asked before anything costly is done for it.

use std::sync::LazyLock;
use std::time::Duration;

use super::gate::Gate;
use super::ports::RateKey;
use crate::decision::{Decision, Denial, Exceeded, Findings, Question, Reason};
use crate::identity::Subject;
use crate::policy::{Access, CountedBy, Policy, RateLimit, Route};
use crate::request::Facts;
use crate::request::framing::BodyLength;

/// Sign-ins that may begin from one address; each lies in the store for a while. A hospital may have one address for
/// everybody, and a shift begins for all at once.
static SIGN_INS: LazyLock<RateLimit> = LazyLock::new(|| RateLimit {
    name: "wardgate_sign_in".into(),
    per: CountedBy::Address,
    requests: 300,
    window: 60,
    burst: 300,
    everywhere: false,
});

impl Gate {
    /// The limit that holds for sign-ins where none is configured for addresses everywhere: anybody may begin one.
    pub(super) fn limit_sign_ins(&self, policy: &Policy, facts: &Facts) -> Result<(), Denial> {
        if policy.rate_limits.iter().any(|limit| limit.everywhere && limit.per == CountedBy::Address) {
            return Ok(());
        }
        self.rates.take(&SIGN_INS, RateKey::Address(facts.client)).map_err(|wait| exceeded(&SIGN_INS, wait))
    }

    /// The limits that hold whoever asks: before a token is looked at, so that guessing tokens is limited too.
    /// `route` is `None` where none matches.
    pub(super) fn limit_anybody(
        &self,
        policy: &Policy,
        route: Option<&Route>,
        facts: &Facts,
    ) -> Result<(), Denial> {
        let is_public = route.is_none_or(|route| route.access == Access::Public);
        self.take(policy, route, |limit| match limit.per {
            CountedBy::Address => Some(RateKey::Address(facts.client)),
            CountedBy::Route if is_public => Some(RateKey::Everybody),
            CountedBy::Route | CountedBy::Subject => None,
        })
    }

    /// The limits that hold for a subject, and those of a protected route, which strangers must not be able to use up.
    pub(super) fn limit_subject(
        &self,
        policy: &Policy,
        route: &Route,
        subject: &Subject,
    ) -> Result<(), Denial> {
        self.take(policy, Some(route), |limit| match limit.per {
            CountedBy::Subject => Some(RateKey::Subject { issuer: &subject.issuer, id: &subject.id }),
            CountedBy::Route => Some(RateKey::Everybody),
            CountedBy::Address => None,
        })
    }

    /// The limits that hold for a subject everywhere: at what the gateway itself answers.
    pub(super) fn limit_visitor(&self, policy: &Policy, subject: &Subject) -> Result<(), Denial> {
        self.take(policy, None, |limit| match limit.per {
            CountedBy::Subject => Some(RateKey::Subject { issuer: &subject.issuer, id: &subject.id }),
            CountedBy::Route | CountedBy::Address => None,
        })
    }

    /// The limits of the routes by which the entries of a Bundle were permitted: each counts as the request that it is.
    pub(super) fn limit_entries(
        &self,
        question: &Question<'_>,
        decision: &Decision,
        findings: &Findings,
    ) -> Result<(), Denial> {
        let (Decision::Permit(permit), Some(bundled)) = (decision, &findings.bundle) else { return Ok(()) };
        let (policy, Some(subject)) = (question.policy, permit.subject()) else { return Ok(()) };
        bundled.entries.iter().filter_map(|entry| policy.route(entry.route)).try_for_each(|route| {
            self.limit_anybody(policy, Some(route), question.facts)?;
            self.limit_subject(policy, route, subject)
        })
    }

    /// Counts the request under each limit that `key` gives a key for; each counts on its own.
    fn take<'k>(
        &self,
        policy: &Policy,
        route: Option<&Route>,
        key: impl Fn(&RateLimit) -> Option<RateKey<'k>>,
    ) -> Result<(), Denial> {
        let take = |limit: &RateLimit| match key(limit) {
            Some(key) => self.rates.take(limit, key).map_err(|wait| exceeded(limit, wait)),
            None => Ok(()),
        };
        match route {
            Some(route) => route
                .rate_limits
                .iter()
                .filter_map(|position| policy.rate_limits.get(*position))
                .try_for_each(take),
            None => policy.rate_limits.iter().filter(|limit| limit.everywhere).try_for_each(take),
        }
    }
}

fn exceeded(limit: &RateLimit, wait: Duration) -> Denial {
    Denial { exceeded: Some(Box::new(Exceeded::new(limit, wait))), ..Denial::new(Reason::RateLimited) }
}

/// Refuses a body that is announced to be larger than allowed (RFC 9110 §15.5.14).
pub(super) fn check_size(route: &Route, facts: &Facts, listener: u64) -> Result<(), Denial> {
    match facts.body.length {
        BodyLength::Known(bytes) if bytes > route.body_limit(listener) => Err(Reason::BodyTooLarge.into()),
        _ => Ok(()),
    }
}
