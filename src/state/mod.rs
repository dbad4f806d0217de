//! Floor 3: what replicas must agree on: spent proofs, revocations, counters, sealed work in progress.
//!
//! Every store implements [`crate::enforce::ports::State`] and passes the same conformance suite.

pub mod conformance;
mod distinct;
pub mod embedded;
mod expiring;
pub mod health;
pub mod memory;
pub mod rates;
pub mod redis;
mod revised;
pub mod ring;
pub mod sealed;
pub mod spent;
mod window;
