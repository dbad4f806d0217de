//! What has been found out about one request so far.

use std::sync::Arc;

use super::break_glass::Opened;
use super::delegation::Delegated;
use crate::identity::{DpopFault, Level, Subject, TokenFault};
use crate::policy::TierIndex;
use crate::request::body::BodyFacts;
use crate::state::spent::ProofKey;

/// The answer of something outside: an outage is data that must be answered, never an absent value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It answered that there is nothing.
    Absent,
    /// It answered.
    Found(T),
    /// It did not answer, or not in time.
    Unavailable,
}

/// Who the request turned out to be from.
#[derive(Debug, Clone)]
pub enum Identity {
    /// Nothing was presented.
    Nobody,
    /// Something was presented that can't be used; why, for operators.
    Malformed(&'static str),
    /// A token was presented and refused.
    Refused(TokenFault),
    /// A verified subject.
    Known(Arc<Subject>),
    /// The issuer's keys, or the issuer itself, can't be reached.
    Unavailable,
    /// The session can't be read.
    SessionUnavailable,
}

/// Whether the token's session, subject or client was revoked after it was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// No.
    Valid,
    /// Yes.
    Revoked,
    /// The state store did not answer.
    Unknown,
}

/// What became of the proof that the caller holds the token's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Possession {
    /// It was shown, for the first time, with the key that the token is bound to.
    Proven,
    /// It was refused.
    Refused(DpopFault),
    /// The state store did not say whether it was shown before.
    Unknown,
}

/// What could be read of the body.
#[derive(Debug, Clone, PartialEq)]
pub enum BodyReading {
    /// There is none.
    Absent,
    /// It has one meaning.
    Read(BodyFacts),
    /// It was only searched for a field that overrides the method: multipart, or without one meaning.
    Searched {
        /// Whether one was found.
        hides_method: bool,
    },
    /// It is compressed, too large, of another type or ambiguous: the route's highest tier.
    Unreadable,
}

/// How often somebody who has not signed in has tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// No more often than the route allows.
    Within,
    /// More often: about this account, or from this network.
    Beyond,
}

/// A step-up that was finished for one action and no other: of this session, subject and client, by this route, with this
/// target and body, at this tier, under this version of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The level that was proven.
    pub level: Level,
    /// The methods by which it was.
    pub methods: Vec<Box<str>>,
    /// What the action is paid with, where its tier asks for a proof of its own.
    pub proof: ProofKey,
}

/// What a policy decision point says (OpenID AuthZEN Authorization API 1.0, access evaluation).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evaluation {
    /// `"decision": true`.
    Permitted,
    /// `"decision": false`.
    Denied,
    /// `"decision": false`, with what it would want to see.
    StepUp(StepUpHint),
    /// Anything else, or obligations that nobody here can carry out: it counts as a refusal, never as an outage.
    NotUnderstood,
}

/// The proof that would change a refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepUpHint {
    /// The issuer's words for a sufficient level; any one of them will do.
    pub acr_values: Vec<Box<str>>,
    /// The oldest authentication that will do, in seconds.
    pub max_age: Option<i64>,
}

/// The evidence; `None` means not looked for yet.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// From the token.
    pub identity: Option<Identity>,
    /// Whether the keys behind it are too old for the riskier tiers.
    pub keys_too_stale: bool,
    /// From the `DPoP` header.
    pub possession: Option<Possession>,
    /// From the state store.
    pub revocation: Option<Revocation>,
    /// From the client.
    pub body: Option<BodyReading>,
    /// Whether the browser is one that was recognised as the subject's: from the state store.
    pub device: Option<Lookup<()>>,
    /// From the state store, for requests of browsers.
    pub grant: Option<Lookup<Granted>>,
    /// From the state store, for requests of somebody who has not signed in; this one is counted.
    pub attempts: Option<Lookup<Tried>>,
    /// The digest of the body's bytes as `Content-Digest` has it (RFC 9530); absent where the body is longer than what is
    /// read, or does not say how long it is.
    pub content: Option<Lookup<Box<str>>>,
    /// Whose record it is: from the look-up of the route.
    pub record: Option<Lookup<Box<str>>>,
    /// What each signal of the policy says, by its position; `None` in it is what can't be told.
    pub signals: Option<Vec<Option<bool>>>,
    /// Whether the patient consents: from the service that the route names; `Absent` is an answer that can't be believed.
    pub consent: Option<Lookup<bool>>,
    /// Whether the caller has done what nobody may do together with this: from the state store.
    pub duties: Option<Lookup<bool>>,
    /// From the policy decision point of the route.
    pub evaluation: Option<Lookup<Evaluation>>,
    /// What the caller has opened of this patient's record: from the state store, for those who have the right to.
    pub break_glass: Option<Lookup<Opened>>,
    /// By what the caller acts for this patient: from the state store, where a rule lets somebody.
    pub delegation: Option<Lookup<Delegated>>,
    /// What is spent in any case: set where a request that was kept goes on, so that it goes on once.
    pub resumes: Option<ProofKey>,
}

/// What `step` still needs; it asks for one thing at a time, identity before body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// The caller's identity.
    Identity,
    /// Whether the caller holds the token's key.
    Possession,
    /// Whether it was revoked.
    Revocation,
    /// The body.
    Body,
    /// Whether the browser was recognised before.
    Device,
    /// A step-up that was finished for this very action, at this tier.
    Grant(TierIndex),
    /// Whose record it is, where the route has that looked up.
    Patient,
    /// Whether the patient consents.
    Consent {
        /// Whether the action has its other, less risky name.
        lowered: bool,
    },
    /// Whether the caller has done what nobody may do together with this.
    Duties,
    /// What the policy decision point of the route says of the action at this tier.
    Evaluation {
        /// The tier, before its answer.
        tier: TierIndex,
        /// Whether the action has its other, less risky name.
        lowered: bool,
    },
    /// What the signals say.
    Signals,
    /// How often it was tried, this time included.
    Attempts,
    /// Whether the caller has broken the glass before this patient's record.
    BreakGlass,
    /// Whether somebody has granted the caller to act for this patient.
    Delegation,
    /// The digest of the body's bytes, for callers whose token names actions, or who are told how to get one.
    Content,
}
