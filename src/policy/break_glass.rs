//! Rights to break the glass: who may get beyond which refusals in an emergency, and what that asks for.

use std::time::Duration;

use crate::identity::Level;

/// A refusal that a right gets beyond. There is no word for any other: deny rules, revocation, an actor, a missing scope, a
/// patient that is not named and a condition that fails are refused whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Override {
    /// It is about another patient's record.
    NoRelation,
    /// No rule is for the caller's roles.
    RoleMissing,
    /// The `when` of the closest rule does not hold.
    ConditionNotMet,
}

impl Override {
    /// Each with its word in the configuration.
    pub const ALL: [(&'static str, Self); 3] = [
        ("no_relation", Self::NoRelation),
        ("role_missing", Self::RoleMissing),
        ("condition_not_met", Self::ConditionNotMet),
    ];
}

/// A right to break the glass. Routes refer to it by its position in [`super::Policy::break_glass`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakGlass {
    /// Its configured name.
    pub name: Box<str>,
    /// The position of the issuer that vouches for those who have it, and for those who review.
    pub issuer: usize,
    /// Who has it: anybody with one of these roles.
    pub roles: Vec<Box<str>>,
    /// What it gets beyond.
    pub overrides: Vec<Override>,
    /// Whether it is good for changes too, not for reading only.
    pub writes: bool,
    /// The level that must be shown to use it first.
    pub assurance: Level,
    /// The oldest authentication that will do then, in seconds.
    pub max_age: i64,
    /// Whether codes that were handed out stand in for that proof where the issuer can't be reached.
    pub offline_codes: bool,
    /// The reasons that can be given.
    pub reason_codes: Vec<Box<str>>,
    /// The fewest characters of the reason in one's own words.
    pub text_min: usize,
    /// How long one patient's record is open.
    pub lasts: Duration,
    /// How often one person may use it within a day.
    pub most_per_day: u64,
    /// Within what time somebody else must have looked at it.
    pub review_within: Duration,
    /// Who may do so: anybody with one of these roles, but the person themselves.
    pub reviewers: Vec<Box<str>>,
    /// Whether it is a drill: all is as it would be, and nothing opens.
    pub drill: bool,
}
