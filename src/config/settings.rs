//! The compiled configuration of everything that does I/O; the rules themselves are in
//! [`crate::policy::Policy`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use super::settings_access::*;
pub use super::settings_audit::*;
pub use super::settings_sign_in::*;
pub use super::settings_signals::*;
pub use super::settings_state::*;
pub use super::settings_step_up::*;
pub use super::settings_upstreams::*;

use super::cases::Case;
pub use super::limits::{Announcers, ListenAddress, ListenerLimits};
use super::peer_secrets::PeerSecrets;
use crate::policy::Policy;
use crate::request::facts::Reading;
use crate::tls::TlsSettings;

/// A configuration that was checked and compiled.
#[derive(Debug)]
pub struct Compiled {
    /// The rules.
    pub policy: Policy,
    /// Everything else.
    pub settings: Settings,
    /// The policy tests; running them is not the configuration's business.
    pub cases: Vec<Case>,
}

/// Where to listen, whom to ask, where to write.
#[derive(Debug)]
pub struct Settings {
    /// The gateway's own listeners.
    pub listeners: Vec<ListenerSettings>,
    /// Health and metrics.
    pub telemetry: Option<SocketAddr>,
    /// The operators' Unix socket.
    pub operators: Option<PathBuf>,
    /// Spans for a collector.
    pub traces: Option<TraceSettings>,
    /// How the gateway names itself in answers.
    pub proxy_status: ProxyStatusSettings,
    /// Per issuer, in the policy's order.
    pub issuers: Vec<IssuerSettings>,
    /// What the gateway's own pages look like.
    pub pages: PagesSettings,
    /// Per way to step up, in the policy's order: whom it asks; `None` for those that need nobody.
    pub step_up: Vec<Option<AskerSettings>>,
    /// Services outside that have a say in decisions.
    pub access: AccessSettings,
    /// Per upstream, in the policy's order.
    pub upstreams: Vec<UpstreamSettings>,
    /// The audit trail.
    pub audit: AuditSettings,
    /// What is remembered between requests, and where.
    pub state: StateSettings,
    /// Stopping.
    pub shutdown: ShutdownSettings,
    /// Being taken over by a new program.
    pub upgrade: UpgradeSettings,
    /// Worker threads per listener; `None` is one per core.
    pub threads: Option<usize>,
    /// Every relaxation of a safe default, in words; logged at start.
    pub insecure: Vec<String>,
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    /// The collector's address for traces, whole.
    pub collector: reqwest::Url,
    /// The share of requests that are recorded, from 0 to 1.
    pub sample: f64,
}

/// `Proxy-Status` (RFC 9209).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyStatusSettings {
    /// What the gateway calls itself.
    pub name: Box<str>,
    /// Whether what upstreams say there is passed on.
    pub passes_upstream: bool,
}

impl Settings {
    /// The files beside the configuration that a reload reads anew: keys and secrets of issuers, and the keys that
    /// seal.
    pub fn reloaded_files(&self) -> impl Iterator<Item = &Path> {
        let of_issuers = self.issuers.iter().filter_map(|issuer| match &issuer.source {
            KeySource::File(path) | KeySource::Introspection { client_secret_file: path, .. } => {
                Some(path.as_path())
            }
            KeySource::Address(_) | KeySource::Discovery => None,
        });
        let of_sign_in = self.issuers.iter().filter_map(|issuer| issuer.sign_in.as_ref());
        let of_sign_in = of_sign_in.map(|sign_in| sign_in.client_secret_file.as_path());
        let of_signals = self.issuers.iter().filter_map(|issuer| issuer.signals.as_ref());
        let of_signals = of_signals.filter_map(|signals| signals.authorization_file.as_deref());
        let of_step_up = self.step_up.iter().flatten().map(AskerSettings::secret_file);
        let of_peers = self.listeners.iter().filter_map(|listener| listener.peer_secret_file.as_deref());
        of_issuers
            .chain(of_sign_in)
            .chain(of_signals)
            .chain(of_step_up)
            .chain(of_peers)
            .chain(self.access.files())
            .chain(self.state.encryption_keys.iter().map(|key| key.file.as_path()))
    }
}

/// What a listener does with requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListenerMode {
    /// It forwards what is permitted.
    #[default]
    Proxy,
    /// It answers another proxy, which describes a request and forwards it or not.
    ForwardAuth,
    /// It answers evaluations of AuthZEN 1.0 about requests that another gateway has.
    Authzen,
    /// It answers Envoy's external authorization by gRPC.
    ExtAuthz,
    /// It answers Envoy's external authorization by HTTP.
    ExtAuthzHttp,
}

impl ListenerMode {
    /// Whether a body can be known there.
    pub fn sees_bodies(self) -> bool {
        matches!(self, Self::Proxy | Self::ExtAuthz)
    }
}

/// One listener.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Its name in audit records.
    pub name: Box<str>,
    /// Where it listens.
    pub address: ListenAddress,
    /// What is done with its requests.
    pub mode: ListenerMode,
    /// How its requests are read.
    pub reading: Reading,
    /// How much and how long it lets its clients.
    pub limits: ListenerLimits,
    /// Who announces its clients by the PROXY protocol.
    pub announcers: Announcers,
    /// Whether it is encrypted, and how.
    pub tls: Option<TlsSettings>,
    /// Whether it speaks HTTP/2 only, without TLS.
    pub h2c: bool,
    /// Names in the certificates of the proxies that may ask here; without any, whoever reaches it may.
    pub peers: Vec<Box<str>>,
    /// Where the secrets stand of which those proxies must show one.
    pub peer_secret_file: Option<PathBuf>,
    /// What stands there.
    pub peer_secrets: Option<PeerSecrets>,
}

/// Where an issuer's keys or answers come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// The issuer's configured name.
    pub name: Box<str>,
    /// The exact issuer URL, for discovery.
    pub issuer: Box<str>,
    /// Keys or introspection.
    pub source: KeySource,
    /// How long fetched keys live.
    pub keys: KeyLifetimes,
    /// How people sign in at it.
    pub sign_in: Option<SignInSettings>,
    /// Whose security events are about its subjects.
    pub signals: Option<SignalSettings>,
}

/// How tokens are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A JWKS file; read at start and used offline.
    File(PathBuf),
    /// A JWKS address.
    Address(Box<str>),
    /// OpenID Connect Discovery or RFC 8414 under the issuer's own address.
    Discovery,
    /// RFC 7662: every token is shown to the issuer.
    Introspection {
        /// The endpoint; `None` finds it by discovery.
        endpoint: Option<Box<str>>,
        /// The client that asks.
        client_id: Box<str>,
        /// The file with its secret.
        client_secret_file: PathBuf,
        /// The longest an answer is remembered.
        cache: Duration,
        /// How long to wait for an answer.
        timeout: Duration,
    },
}

/// How fresh fetched keys must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLifetimes {
    /// When to fetch again in the background.
    pub refresh: Duration,
    /// How long keys are used when fetching fails.
    pub stale_for: Duration,
    /// The same for the tiers that ask for single-use proof or synced audit.
    pub stale_for_critical: Duration,
    /// The shortest time between two fetches for an unknown `kid`.
    pub unknown_kid_interval: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
}

/// The signed assertion an upstream gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssertionSettings {
    /// The header it stands in.
    pub header: Box<str>,
    /// Its `aud`.
    pub audience: Box<str>,
    /// How long it is valid.
    pub ttl: Duration,
}

/// A header value with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectTemplate(pub Vec<InjectPart>);

/// A part of such a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InjectPart {
    /// Plain text.
    Text(Box<str>),
    /// `{issuer.name}`.
    IssuerName,
    /// `{subject.id}`.
    SubjectId,
    /// `{subject.patient}`: empty where the subject has none.
    SubjectPatient,
    /// `{subject.roles}`: joined by commas.
    SubjectRoles,
    /// `{subject.level}`.
    SubjectLevel,
    /// `{client.id}`: empty where there is none.
    ClientId,
}

/// How the gateway stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownSettings {
    /// How long it goes on serving while `/readyz` says no, so that load balancers notice.
    pub lame_duck: Duration,
    /// How long running requests may take after that.
    pub grace: Duration,
}

/// How a new program takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpgradeSettings {
    /// How long it may take until it is ready; else the old one goes on.
    pub ready_within: Duration,
}
