//! Floor 1: judgement once more. What other rules would have made of the requests on record.
//!
//! ```text
//! line ──record──▶ Recorded ──compare──▶ Finding ──tally──▶ Forecast
//!                     │  every world that agrees with it
//!                     ▼
//!         places ▶ stage ▶ decision::step
//! ```
//!
//! A record holds no path, no body and no name, so a request can't simply be sent again. [`stage`] puts stand-ins before the
//! gateway's own rules; what is neither on record nor the same whichever way it was ([`world`]) is counted as open, and
//! never guessed. A record that does not come out as it did under the rules of its time is not used at all.

mod answers;
mod compare;
pub mod otherwise;
mod places;
mod props;
pub mod record;
mod stage;
mod tally;
pub mod world;

pub use compare::{Explained, Finding, Replay, Rules};
pub use stage::Outcome;
pub use tally::{Change, Counted, Decided, Forecast, Kind, Tally};
