//! Staff at the operators' socket: people who show a token of their own there, since a user of the machine is no issuer's
//! subject, and who says their own name can say another's.

use std::sync::Arc;

use super::{Gate, Generation, revocation};
use crate::decision::{Identity, Revocation};
use crate::identity::{Caller, Level, Subject};
use crate::request::credentials::Token;

/// Why something is not done, or not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// Nothing of this name is kept.
    Unknown,
    /// It was done before.
    Done(&'static str),
    /// What was asked for can't be; why, for whoever asked.
    Malformed(&'static str),
    /// Whoever asks may not; why, for them.
    NotAllowed(&'static str),
    /// The store, the journal or the issuer can't be used.
    Unavailable(&'static str),
}

/// Who asks: their own token, and the operator's process through which it comes.
#[derive(Clone, Copy)]
pub struct Staff<'s> {
    /// An access token.
    pub token: &'s Token,
    /// The user id of the process.
    pub uid: u32,
    /// Now, in Unix seconds.
    pub now: i64,
}

/// Whom a thing is for.
#[derive(Clone, Copy)]
pub(super) struct Office<'o> {
    /// The position of the issuer that vouches for them.
    pub(super) issuer: usize,
    /// One of these roles is needed.
    pub(super) roles: &'o [Box<str>],
    /// At least this level.
    pub(super) level: Level,
    /// What is said to anybody else.
    pub(super) otherwise: &'static str,
}

/// The store does not answer.
pub(super) const STORE: Withheld = Withheld::Unavailable("the state store does not answer");
/// The journal can't record.
pub(super) const JOURNAL: Withheld = Withheld::Unavailable("the audit journal can't be written");

impl Gate {
    /// The person behind a token, verified and not revoked.
    pub(super) async fn staff(
        &self,
        generation: &Generation,
        by: Staff<'_>,
    ) -> Result<Arc<Subject>, Withheld> {
        let identified = generation.identities.identify(by.token, by.now).await;
        let subject = match identified.identity {
            Identity::Known(subject) => subject,
            Identity::Unavailable | Identity::SessionUnavailable => {
                return Err(Withheld::Unavailable("the issuer of the token can't be reached"));
            }
            Identity::Nobody | Identity::Malformed(_) | Identity::Refused(_) => {
                return Err(Withheld::NotAllowed("the token is not accepted"));
            }
        };
        match revocation(self.state.as_ref(), &subject).await {
            Revocation::Valid => Ok(subject),
            Revocation::Revoked => Err(Withheld::NotAllowed("the token was revoked")),
            Revocation::Unknown => Err(STORE),
        }
    }
}

impl Office<'_> {
    /// # Errors
    /// This person does not hold it, or shows a token that another could have.
    pub(super) fn check(&self, subject: &Subject) -> Result<(), Withheld> {
        let holds = subject.caller == Caller::Person
            && subject.actor.is_none()
            && subject.bound_key.is_none()
            && subject.issuer_index == self.issuer
            && subject.level >= self.level
            && self.roles.iter().any(|role| subject.roles.contains(role));
        if holds { Ok(()) } else { Err(Withheld::NotAllowed(self.otherwise)) }
    }
}
