//! The compiled settings of the upstreams.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::Method;

use super::settings::{AssertionSettings, InjectTemplate};
use crate::request::PathReading;

/// One upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Its name.
    pub name: Box<str>,
    /// Where it listens.
    pub endpoints: Vec<Endpoint>,
    /// Which of them gets the next request.
    pub balance: Balance,
    /// How they are asked whether they are well; `None` takes them for well.
    pub health_check: Option<HealthCheckSettings>,
    /// When one that fails is left out.
    pub ejection: EjectionSettings,
    /// How long one that comes back gets less than its share; zero is none.
    pub slow_start: Duration,
    /// What is sent again.
    pub retries: RetrySettings,
    /// Which HTTP is spoken.
    pub protocol: Protocol,
    /// TLS; `None` is plain text.
    pub tls: Option<UpstreamTlsSettings>,
    /// How long to wait for a connection.
    pub connect: Duration,
    /// How long to wait for the next bytes of an answer.
    pub read: Duration,
    /// How long to wait to send the next bytes of a request.
    pub write: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// A signed assertion about the caller.
    pub identity: Option<AssertionSettings>,
    /// Plain headers, by name.
    pub inject: BTreeMap<Box<str>, InjectTemplate>,
    /// Whether the caller's token is passed on.
    pub pass_bearer: bool,
    /// Whether forms are searched for a `_method` field.
    pub refuse_hidden_method: bool,
    /// How it reads paths.
    pub path_reading: PathReading,
}

/// Where an upstream listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `host:port`: an address, or a name that is looked up again and again.
    Network(Box<str>),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// As it stands in the file.
    pub fn name(&self) -> String {
        match self {
            Self::Network(place) => place.to_string(),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// The host without its port; empty for a Unix socket.
    pub fn host(&self) -> &str {
        match self {
            Self::Network(place) => {
                let host = place.rsplit_once(':').map_or(place.as_ref(), |(host, _)| host);
                host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
            }
            Self::Unix(_) => "",
        }
    }
}

/// Which endpoint gets the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastConnections,
    /// The same one for the same subject, or for the same client address where there is no subject.
    ConsistentHash,
}

/// How endpoints are asked whether they are well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheckSettings {
    /// The path that is asked for.
    pub path: Box<str>,
    /// The time between two questions.
    pub interval: Duration,
    /// How long an answer may take, the connection included.
    pub timeout: Duration,
    /// How many good answers in a row bring an endpoint back.
    pub healthy_after: u32,
    /// How many bad ones take it out.
    pub unhealthy_after: u32,
    /// The statuses that are good answers, as ranges with both ends.
    pub expect: Vec<(u16, u16)>,
}

/// When an endpoint that fails requests is left out for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EjectionSettings {
    /// After how many connections in a row that failed or were cut.
    pub after: u32,
    /// For how long the first time; twice as long each time after.
    pub time: Duration,
    /// For how long at most.
    pub max_time: Duration,
    /// How many of the endpoints at most, in percent; one is always left.
    pub max_percent: u32,
}

/// What is sent again when it may not have arrived.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetrySettings {
    /// How often a request is sent again at most.
    pub max: u32,
    /// The idempotent methods (RFC 9110 §9.2.2) for which it is.
    pub methods: Vec<Method>,
}

/// Which HTTP an upstream is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN with TLS, by prior knowledge (RFC 9113 §3.3) without.
    Http2,
    /// What the upstream chooses by ALPN.
    Auto,
}

/// TLS towards an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTlsSettings {
    /// Who may vouch for the upstream; `None` is the system's list.
    pub ca_file: Option<PathBuf>,
    /// The certificate and key that the gateway shows.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that the certificate must have; `None` is the endpoint's host.
    pub server_name: Option<Box<str>>,
    /// Whether the name is checked at all, beside who signed.
    pub verify_name: bool,
}
