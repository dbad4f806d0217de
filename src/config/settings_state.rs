//! The compiled configuration of the state store.

use std::path::PathBuf;
use std::time::Duration;

/// What is remembered between requests, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSettings {
    /// Where.
    pub store: StoreSettings,
    /// The operator has said that this gateway is alone.
    pub single_replica: bool,
    /// The keys that seal what leaves the process: the first one seals, all open. Where there is none, an embedded store
    /// makes one of its own.
    pub encryption_keys: Vec<EncryptionKeySettings>,
}

/// A key that seals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionKeySettings {
    /// What sealed pieces call it.
    pub id: Box<str>,
    /// The file that holds it; see [`super::encryption_keys`].
    pub file: PathBuf,
}

/// A state store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSettings {
    /// The process's own memory: forgotten when it ends.
    Memory,
    /// One file in this directory.
    Embedded(PathBuf),
    /// Redis, shared.
    Redis(RedisSettings),
}

/// How to reach Redis, and what to ask of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Servers or, with Sentinels, those: host and port.
    pub nodes: Vec<(String, u16)>,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// The authority that vouches for the servers; without one the system's do.
    pub ca_file: Option<PathBuf>,
    /// The number of the database on the server.
    pub database: i64,
    /// How the servers are arranged.
    pub topology: RedisTopology,
    /// The ACL user.
    pub username: Option<Box<str>>,
    /// The file with its password, read with each new connection.
    pub password_file: Option<PathBuf>,
    /// The ACL user at the Sentinels.
    pub sentinel_username: Option<Box<str>>,
    /// The file with its password.
    pub sentinel_password_file: Option<PathBuf>,
    /// How long one operation may take.
    pub timeout: Duration,
    /// How many replicas must have a write before it counts.
    pub min_replicas: u8,
    /// What the names of all keys begin with.
    pub prefix: Box<str>,
}

impl RedisSettings {
    /// Whether every server is on this machine.
    pub fn is_local(&self) -> bool {
        self.nodes.iter().all(|(host, _)| {
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        })
    }
}

/// How the servers are arranged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisTopology {
    /// One server.
    Standalone,
    /// Sentinels that know the master.
    Sentinel {
        /// What they call it.
        service: String,
    },
    /// A cluster.
    Cluster,
}
