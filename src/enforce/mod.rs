//! Floor 2: the order of events, against traits only.
//!
//! [`Gate::admit`] takes a request from its facts to an [`Outcome`]: gather what the decision asks for, decide, then
//! settle: record, spend, admit. The fronts in `serve` only read requests and render outcomes.

pub mod action;
mod admission;
mod attempts;
pub mod break_glass;
pub mod delegation;
mod duties;
mod evaluation;
pub mod flight;
pub mod flood;
mod gate;
mod gather;
mod generation;
mod limits;
mod page;
mod place;
pub mod ports;
mod possession;
pub mod prompts;
pub mod pseudonyms;
mod record;
mod register;
pub mod revoke;
pub mod sessions;
mod settle;
pub mod shared_signals;
mod signals;
pub mod staff;
pub mod step_up;
pub mod streams;
mod upkeep;
mod visit;
mod watch;

pub use admission::Admission;
pub use gate::{Arrival, Gate, Outcome, Settled};
pub use gather::{BodyFault, BodySource, revocation};
pub use generation::Generation;
pub use record::{Ending, OpenIntent};
pub use visit::{HeldUntilProven, VisitSettled};
