//! Floor 3: the fronts, on Pingora.
//!
//! [`proxy`] reads a request ([`intake`]), asks the gate, and either opens the way to an upstream or lets [`reply`]
//! answer. Only [`reply`] writes answers of the gateway's own.

pub mod assertion;
mod authzen;
mod break_glass;
mod buffered;
mod checked;
mod context;
mod crowd;
mod delegation;
mod delivery;
mod described;
pub mod door;
pub mod edge;
mod ext_authz;
mod ext_authz_http;
mod faults;
mod finish;
mod forward_auth;
mod framing;
mod goodbye;
mod h2;
mod h2_frames;
mod h2_watch;
mod http1;
mod intake;
mod kept;
mod limits;
mod linger;
mod live;
pub mod operators;
pub mod otlp;
mod outcome;
mod own;
mod pace;
pub mod pages;
mod peers;
pub mod proxy;
mod proxy_header;
pub mod proxy_status;
mod reply;
mod request_line;
mod running;
pub mod shutdown;
mod signals;
pub mod sockets;
pub mod telemetry_listener;
pub mod tls;
mod tls_stream;
pub mod trace;
mod upstream;
mod watched;

pub use delivery::MOST_TRIES;
pub use live::{Current, Live};
pub use proxy::Gateway;
pub use upstream::Upstreams;
