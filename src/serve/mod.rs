//! Floor 3: the fronts, on Pingora.
//!
//! [`proxy`] reads a request ([`intake`]), asks the gate, and either opens the way to an upstream or lets [`reply`]
//! answer. Only [`reply`] writes answers of the gateway's own.

pub mod assertion;
mod buffered;
mod context;
mod delivery;
pub mod edge;
mod intake;
pub mod proxy;
mod reply;
pub mod shutdown;
pub mod telemetry_listener;
mod upstream;

pub use delivery::MOST_TRIES;
pub use proxy::Gateway;
pub use upstream::Upstreams;
