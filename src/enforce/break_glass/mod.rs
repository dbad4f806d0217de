//! Breaking the glass: what it takes to open one patient's record in an emergency, and what becomes of that.
//!
//! [`open`] gives a grant, which the decision takes as evidence from then on; [`queue`] keeps what somebody else has to
//! look at afterwards, and [`review`] is that look. All of it lies sealed in the state store.

mod asked;
mod codes;
mod grants;
mod open;
mod overdue;
mod queue;
mod review;

pub use asked::{Asked, Form, Given, Wanted};
pub use open::Broken;
pub use queue::{Case, Entry};
pub use review::Finding;

use crate::telemetry::metrics;

/// Counts what became of a right.
fn count(right: &str, what: &'static str) {
    metrics().break_glass.with_label_values(&[right, what]).inc();
}
