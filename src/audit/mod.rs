//! The audit trail: every decision before it takes effect, and what came of it.
//!
//! [`event`], [`json`], [`receipt`] and [`pseudonym`] are pure (floor 1); [`file`] writes (floor 3).

pub mod event;
pub mod file;
pub mod json;
pub mod pseudonym;
pub mod receipt;
