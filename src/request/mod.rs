//! Floor 0: what is asked.
//!
//! Turns bytes a client sent into [`Facts`], or into the one reason why they can be read in more than one way.
//! Nothing here rewrites a request: it is accepted as it stands or refused, so that what was classified is what
//! the upstream gets.

pub mod account;
pub mod body;
pub mod certificate;
pub mod changes;
pub mod client;
pub mod cookies;
pub mod credentials;
pub mod device;
pub mod facts;
pub mod fetch;
pub mod fhir;
pub mod framing;
pub mod headers;
pub mod host;
pub mod json;
pub mod media;
pub mod names;
pub mod reading;
pub mod shown;
pub mod target;
pub mod trace_context;
mod unreadable;
mod within;

pub use facts::Facts;
pub use reading::PathReading;
pub use unreadable::Unreadable;
