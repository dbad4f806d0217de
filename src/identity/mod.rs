//! Floor 0: who asks.
//!
//! Turns a token's bytes, the issuer's rules and keys, and the time into a [`Subject`]. Everything is an argument:
//! no clock, no network, no file. Fetching keys and introspecting live in `keys`.

pub mod algorithm;
pub mod assurance;
mod claims;
pub mod dpop;
pub mod id_token;
pub mod issuer;
pub mod jwk;
pub mod jwt;
pub mod named_action;
pub mod nonce;
pub mod security_event;
pub mod smart;
pub mod step_up_result;
pub mod subject;
#[cfg(test)]
pub mod testing;

pub use assurance::Level;
pub use dpop::DpopFault;
pub use issuer::IssuerRules;
pub use jwt::TokenFault;
pub use named_action::{NamedAction, NamedActions};
pub use subject::{Caller, Subject};
