//! Separation of duties: who did one action on something may not do the other.

use std::time::Duration;

/// What two actions must be about for one person not to do both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DutyObject {
    /// The same patient.
    Patient,
    /// The same value of a `{parameter}` of the path.
    Parameter(Box<str>),
}

/// One action's part in a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duty {
    /// The other action: a route's id.
    pub other: Box<str>,
    /// The pair, by a name that is the same from both sides.
    pub pair: Box<str>,
    /// What both are about.
    pub on: DutyObject,
    /// How long it is remembered who did which.
    pub within: Duration,
}

impl Duty {
    /// The part of `this` route in a pair with `other`.
    pub fn new(this: &str, other: &str, on: DutyObject, within: Duration) -> Self {
        let (first, second) = if this <= other { (this, other) } else { (other, this) };
        // No id holds a space.
        Self { other: other.into(), pair: format!("{first} {second}").into(), on, within }
    }
}
