//! Floor 3: the fronts, on Pingora.
//!
//! [`proxy`] reads a request ([`intake`]), asks the gate, and either opens the way to an upstream or lets [`reply`]
//! answer. Only [`reply`] writes answers of the gateway's own.

pub mod assertion;
mod buffered;
mod context;
pub mod edge;
mod h2;
mod h2_frames;
mod http1;
mod intake;
pub mod proxy;
mod reply;
pub mod shutdown;
pub mod telemetry_listener;
pub mod tls;
mod tls_stream;
mod upstream;

pub use proxy::Gateway;
pub use upstream::Upstreams;
