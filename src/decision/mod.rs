//! Floor 1: judgement. Pure: the same policy, facts, evidence and time always give the same decision.
//!
//! [`step`] is called again and again with more evidence until it decides. It asks for one thing at a time, identity
//! before body, and only for what the route needs.

mod anonymous;
mod assure;
mod authorize;
mod break_glass;
mod bundle;
mod candidate;
mod classify;
mod consent;
mod content;
pub mod cors;
mod delegation;
mod duties;
mod evaluation;
pub mod evidence;
mod fhir;
pub mod input;
mod inputs;
mod named;
mod outcome;
mod possession;
mod presentation;
pub mod reason;
mod signals;
mod step;
pub mod trace;

pub use anonymous::account;
pub use authorize::{is_patient, patient};
pub use break_glass::{Glass, Opened, unproven};
pub use candidate::try_out;
pub use delegation::{Delegated, Mandate, who_acts};
pub use duties::{Claim, Claims, claims};
pub use evidence::{
    BodyReading, Evaluation, Evidence, Granted, Identity, Lookup, Need, Possession, Revocation, StepUpHint,
    Tried,
};
pub use outcome::{
    Bundled, BundledEntry, Candidate, Challenge, Confinement, Decision, Denial, Exceeded, Findings, Offer,
    PdpWord, Permit,
};
pub use reason::Reason;
pub use step::{Question, Step, step};
