//! Delegation: who was granted to act for which patient, and what becomes of that.
//!
//! [`grants`] keeps the grants, of which the decision takes one as evidence; [`office`] is where staff grant them and look at
//! them again, [`own`] where patients see and end them. All of it lies sealed in the state store.

mod grants;
mod office;
mod own;

pub use grants::Grant;
pub use office::Order;
pub use own::Own;

use crate::telemetry::metrics;

/// Counts what became of grants in a relation.
fn count(relation: &str, what: &'static str) {
    metrics().delegations.with_label_values(&[relation, what]).inc();
}
