//! The audit trail: every decision before it takes effect, and what came of it.
//!
//! [`journal`] writes, [`trail`] and [`left_behind`] read, [`sinks`] deliver and [`pseudonym_keys`] keeps keys (floor 3); all others
//! are pure (floor 1): what stands out ([`detections`]), what is recorded ([`event`], [`pseudonym`], [`epoch`], [`json`], [`frame`],
//! [`records`]), what it is to others ([`formats`]), what proves it ([`receipt`], [`tree`], [`signing`], [`proof`]) and who checks that
//! ([`verify`]).

pub mod detections;
pub mod epoch;
pub mod event;
pub mod formats;
pub mod frame;
pub mod journal;
pub mod json;
pub mod left_behind;
pub mod proof;
pub mod pseudonym;
pub mod pseudonym_keys;
pub mod receipt;
pub mod records;
pub mod signing;
pub mod sinks;
pub mod trail;
pub mod tree;
pub mod verify;
