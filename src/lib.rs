//! Wardgate: an authorization gateway for health care that asks for proof in proportion to the risk of the action.
//!
//! # The walk of a request
//! 1. [`serve::proxy`] takes it from Pingora; [`request::Facts`] says what is asked, or why that can't be said.
//! 2. [`enforce::Gate::admit`] takes one snapshot of the [`policy::Policy`] and finds the route ([`policy::Index`]).
//! 3. [`decision::step`] judges, and names what it still needs; the gate gathers that through [`enforce::ports`].
//! 4. The gate settles a permit: it records the intent ([`audit`]), spends the proof ([`state`]), and only then makes
//!    an [`enforce::Admission`], the one key to an upstream.
//! 5. [`serve::proxy`] opens the way to the upstream, or the reply writer answers; the outcome is recorded.
//!
//! # The floors
//! Stairs go down only; `tests/architecture.rs` watches them.
//! - Floor 0, pure: [`request`] (what is asked), [`identity`] (who asks).
//! - Floor 1, pure: [`policy`] (the rules), [`decision`] (judgement), [`replay`] (judgement once more), the events, pseudonyms and receipts of [`audit`].
//! - Floor 2, against traits: [`enforce`] (the order of events), [`config`] (text to policy), [`tls`] (certificates), [`outgoing`] (HTTP
//!   clients).
//! - Floor 3, the world: [`access`], [`keys`], [`state`], [`audit::journal`], [`session`], [`serve`]. They never import each other.
//! - The roof: [`app`] puts the parts together, [`cli`] is the command line.

pub mod access;
pub mod app;
pub mod audit;
pub mod cli;
pub mod config;
pub mod decision;
pub mod enforce;
pub mod identity;
pub mod keys;
pub mod outgoing;
pub mod policy;
pub mod replay;
pub mod request;
pub mod serve;
pub mod session;
pub mod state;
pub mod telemetry;
pub mod tls;
