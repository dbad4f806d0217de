//! Delegation: who may act for a patient, in which relation, and how long that holds without somebody looking at it again.

use std::time::Duration;

use crate::identity::Level;

/// What the configuration says of people who act for patients.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Delegations {
    /// The relations; rules refer to them by position.
    pub relations: Vec<Relation>,
    /// Whoever grants and reviews; nobody where there are no relations.
    pub grantors: Option<Grantors>,
}

impl Delegations {
    /// A relation by its name.
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|relation| *relation.name == *name)
    }
}

/// Those who grant delegations and look at them again.
#[derive(Debug, PartialEq, Eq)]
pub struct Grantors {
    /// The position of the issuer that vouches for them.
    pub issuer: usize,
    /// Anybody with one of these roles.
    pub roles: Vec<Box<str>>,
    /// The level that they must have shown.
    pub assurance: Level,
}

/// In what relation somebody acts for a patient: a parent, a caregiver.
#[derive(Debug, PartialEq, Eq)]
pub struct Relation {
    /// Its configured name.
    pub name: Box<str>,
    /// The position of the issuer that vouches for those who act.
    pub issuer: usize,
    /// How long it may go without somebody looking at it; beyond that it does not hold.
    pub review_every: Duration,
    /// How long it holds at most, reviewed or not.
    pub lasts: Duration,
    /// The patient's age in years at which it ends.
    pub until_age: Option<u8>,
    /// The actions that it is good for; any that names the relation, where there are none.
    pub actions: Vec<Box<str>>,
}

impl Relation {
    /// Whether it is good for an action.
    pub fn covers(&self, action: &str) -> bool {
        self.actions.is_empty() || self.actions.iter().any(|known| **known == *action)
    }
}
