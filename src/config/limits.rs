//! What a listener allows, compiled: where it listens, how long and how much it takes, who announces its clients.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket's absolute path.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// How much and how long a listener lets its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// How long a PROXY header, a TLS handshake, and a whole header section may each take.
    pub header_deadline: Duration,
    /// The most bytes of a request's body, where its route does not say otherwise.
    pub body_bytes: u64,
    /// The fewest bytes per second of a body, in either direction.
    pub body_min_rate: u32,
    /// How long a body may be slower than that.
    pub body_grace: Duration,
    /// The most bodies at once that come more slowly than they should.
    pub slow_bodies: usize,
    /// How long a connection may be without a request.
    pub keep_alive: Duration,
    /// The most connections at once.
    pub connections: usize,
    /// The most connections at once of one client address (IPv6: of one /64).
    pub connections_per_client: usize,
    /// The most requests at once on one HTTP/2 connection.
    pub h2_streams: u32,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            header_deadline: Duration::from_secs(10),
            body_bytes: 1024 * 1024 * 1024,
            body_min_rate: 500,
            body_grace: Duration::from_secs(20),
            slow_bodies: 1_000,
            keep_alive: Duration::from_secs(75),
            connections: 20_000,
            connections_per_client: 1_000,
            h2_streams: 100,
        }
    }
}

/// The peers that must begin each connection with a PROXY protocol header; nobody else may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announcers {
    /// Addresses of load balancers.
    pub networks: Vec<IpNet>,
    /// Whoever may open the Unix socket.
    pub unix: bool,
}

impl Announcers {
    /// Whether a peer is one of them; `None` is a peer on a Unix socket.
    pub fn include(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(peer) => self.networks.iter().any(|network| network.contains(&peer.to_canonical())),
            None => self.unix,
        }
    }
}
