//! What the integration tests stand on: the real program, a recording upstream, raw sockets, tokens, real servers.

pub mod gateway;
pub mod http;
pub mod tokens;
pub mod upstream;

pub use gateway::Gateway;
pub use tokens::Signer;
pub use upstream::Recorder;

use std::net::{SocketAddr, TcpListener};

/// An address on loopback that was free a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address")
}
