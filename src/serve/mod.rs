//! Floor 3: the fronts, on Pingora.
//!
//! [`proxy`] reads a request ([`intake`]), asks the gate, and either opens the way to an upstream or lets [`reply`]
//! answer. Only [`reply`] writes answers of the gateway's own.

pub mod assertion;
mod buffered;
mod context;
pub mod edge;
mod intake;
pub mod otlp;
pub mod proxy;
pub mod proxy_status;
mod reply;
pub mod shutdown;
pub mod telemetry_listener;
pub mod trace;
mod upstream;

pub use proxy::Gateway;
pub use upstream::Upstreams;
