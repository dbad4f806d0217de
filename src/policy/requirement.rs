//! What a tier and a data class ask of the caller's authentication, and what of it is unmet.

use smallvec::SmallVec;

use super::Tier;
use crate::identity::{Caller, Level, Subject};

/// Why an authentication does not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unmet {
    /// The level is too low.
    Level,
    /// It is too long ago, or the issuer did not say when it was.
    Age,
    /// None of the required methods was used.
    Methods,
    /// The token does not name this action (RFC 9396).
    OtherAction,
    /// What the token names can't be understood.
    UnreadableDetails,
    /// A machine asks at a tier that takes none.
    ServiceNotAllowed,
    /// A machine's token is too old.
    ServiceTokenAge,
    /// A machine's token is bound to nothing.
    ServiceNotSenderConstrained,
}

/// The combined demand on one request.
#[derive(Debug, Clone, Copy)]
pub struct Requirement<'p> {
    tier: &'p Tier,
    level: Level,
}

impl<'p> Requirement<'p> {
    /// The tier's demand, raised to the data class's floor.
    pub fn new(tier: &'p Tier, data_floor: Level) -> Self {
        Self { tier, level: tier.assurance.max(data_floor) }
    }

    /// The level of assurance asked for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether level and methods are reached, whatever their age: what is checked before anything about the resource.
    pub fn floor_met(&self, subject: &Subject) -> bool {
        subject.caller == Caller::Service || (subject.level >= self.level && self.methods_met(subject))
    }

    fn methods_met(&self, subject: &Subject) -> bool {
        self.takes_one_of(&subject.methods)
    }

    fn takes_one_of(&self, shown: &[Box<str>]) -> bool {
        let methods = &self.tier.require_methods;
        methods.is_empty() || shown.iter().any(|method| methods.contains(method))
    }

    /// Whether a proof of this level by these methods is enough, when it was given for the very action: then its age is
    /// not asked for.
    pub fn proven_by(&self, level: Level, methods: &[Box<str>]) -> bool {
        level >= self.level && self.takes_one_of(methods)
    }

    /// Everything unmet, so that one challenge can name it all (RFC 9470 §3). `now` is in Unix seconds.
    pub fn unmet(&self, subject: &Subject, now: i64) -> SmallVec<[Unmet; 3]> {
        let mut unmet = SmallVec::new();
        if subject.caller == Caller::Service {
            match self.tier.service {
                None => unmet.push(Unmet::ServiceNotAllowed),
                Some(rule) if rule.sender_constrained && !subject.is_sender_constrained() => {
                    unmet.push(Unmet::ServiceNotSenderConstrained)
                }
                Some(rule) if now.saturating_sub(subject.issued_at) > rule.max_token_age => {
                    unmet.push(Unmet::ServiceTokenAge)
                }
                Some(_) => {}
            }
            return unmet;
        }
        if subject.level < self.level {
            unmet.push(Unmet::Level);
        }
        let needs_time = self.tier.max_age.is_some() || self.tier.each_action_needs_new_proof;
        let most = self.tier.max_age.unwrap_or(i64::MAX);
        if needs_time && subject.age(now).is_none_or(|age| age > most) {
            unmet.push(Unmet::Age);
        }
        if !self.methods_met(subject) {
            unmet.push(Unmet::Methods);
        }
        unmet
    }
}
