//! The compiled configuration of the audit trail and of those it is delivered to.

use std::path::PathBuf;
use std::time::Duration;

use crate::audit::detections::Settings as DetectionSettings;
use crate::audit::formats::Format;
use crate::config::insecure::is_loopback;

/// The audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// The directory of its files.
    pub dir: PathBuf,
    /// The keys behind pseudonyms.
    pub pseudonyms: PseudonymSettings,
    /// The key that vouches for the trail; `None` makes one in `dir` on first start.
    pub checkpoint_key_file: Option<PathBuf>,
    /// So much room is kept on the disk for requests whose tier needs synced records, in bytes.
    pub reserve: u64,
    /// What stands out.
    pub detections: DetectionSettings,
    /// Files whose newest record is older are removed; `None` keeps all.
    pub retention: Option<Duration>,
    /// What may wait for the slowest sink before somebody is told, in bytes; `None` does not measure it.
    pub undelivered_quota: Option<u64>,
    /// The sink that must have the records of tiers with `audit: remote`; `None` where there is no such tier.
    pub remote_sink: Option<Box<str>>,
    /// Who gets its records.
    pub sinks: Vec<SinkSettings>,
}

/// The keys behind pseudonyms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PseudonymSettings {
    /// The master key; `None` makes one in the trail's directory on first start.
    pub key_file: Option<PathBuf>,
    /// Where pseudonyms change.
    pub epochs: Option<EpochSettings>,
}

/// How often everybody gets another pseudonym.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochSettings {
    /// After so many days.
    pub days: u16,
    /// The directory of the epochs' keys; `None` makes one in the trail's directory.
    pub dir: Option<PathBuf>,
}

/// Somebody who gets every record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSettings {
    /// Its name in metrics, records and the name of its cursor.
    pub name: Box<str>,
    /// How each record is written.
    pub format: RecordFormat,
    /// What it is.
    pub kind: SinkKind,
}

/// How a record is written for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordFormat {
    /// The journal's own line, byte for byte.
    Wardgate,
    /// A format of others.
    Converted(Format),
}

/// What a sink is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkKind {
    /// A collector that takes batches over HTTP.
    Http(HttpSinkSettings),
    /// A FHIR server that takes AuditEvents.
    Fhir(FhirSinkSettings),
    /// An OpenTelemetry collector that takes log records over HTTP.
    Otlp(HttpEndpoint),
    /// A stream of Redis.
    RedisStream(RedisStreamSettings),
    /// A topic of Kafka.
    Kafka(KafkaSettings),
    /// A file elsewhere.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// A syslog server.
    Syslog(SyslogSettings),
}

impl SinkKind {
    /// Whether another machine says of each batch that it has it, at once.
    pub fn acknowledges(&self) -> bool {
        match self {
            Self::Http(_) | Self::Fhir(_) | Self::RedisStream(_) | Self::Kafka(_) | Self::Otlp(_) => true,
            // A server that closes a connection has read what came; a file is on this machine.
            Self::Syslog(_) | Self::File(_) | Self::Stdout => false,
        }
    }

    /// Whether records go over a network unencrypted.
    pub fn is_plain(&self) -> bool {
        match self {
            Self::Http(http) => http.server.is_plain(),
            Self::Fhir(fhir) => fhir.server.is_plain(),
            Self::Otlp(server) => server.is_plain(),
            Self::RedisStream(redis) => !redis.tls && !is_local(&redis.host),
            // Which brokers hold the topic, and where they are, the cluster says.
            Self::Kafka(_) => true,
            Self::Syslog(syslog) => syslog.tls.is_none() && !is_local(&syslog.host),
            Self::File(_) | Self::Stdout => false,
        }
    }
}

/// Whether a host is this machine.
fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A stream of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisStreamSettings {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The number of the database.
    pub database: i64,
    /// The ACL user.
    pub username: Option<Box<str>>,
    /// The file with the password, read for each connection.
    pub password_file: Option<PathBuf>,
    /// The authority that vouches for the server; `None` are the system's.
    pub ca_file: Option<PathBuf>,
    /// The stream's key.
    pub key: Box<str>,
    /// So many records are kept, about; `None` keeps all.
    pub most_records: Option<usize>,
}

/// A topic of Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Where the cluster is asked for its brokers, `host:port` each.
    pub brokers: Vec<String>,
    /// The topic's name.
    pub topic: Box<str>,
}

/// A syslog server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogSettings {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Encryption; `None` is a plain connection.
    pub tls: Option<SyslogTls>,
}

impl SyslogSettings {
    /// The name that its certificate must have.
    pub fn server_name(&self) -> &str {
        self.tls.as_ref().and_then(|tls| tls.server_name.as_deref()).unwrap_or(&self.host)
    }
}

/// How connections to a syslog server are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogTls {
    /// The authorities that may vouch for it; `None` are the system's.
    pub ca_file: Option<PathBuf>,
    /// The name in its certificate, where that is not the address's.
    pub server_name: Option<Box<str>>,
    /// Certificate and key that are shown to it.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A collector that takes batches over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSinkSettings {
    /// Where batches are posted to.
    pub server: HttpEndpoint,
    /// What a batch looks like.
    pub batch: BatchShape,
}

/// A FHIR server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FhirSinkSettings {
    /// Its base address.
    pub server: HttpEndpoint,
    /// Whether many events go in one bundle, or each alone.
    pub is_bundled: bool,
}

/// An address over HTTP, and what is shown there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpEndpoint {
    /// The address.
    pub url: reqwest::Url,
    /// The file with the whole `Authorization` header, read for each request.
    pub authorization_file: Option<PathBuf>,
    /// The authorities that may vouch for it; `None` are the system's.
    pub ca_file: Option<PathBuf>,
}

impl HttpEndpoint {
    fn is_plain(&self) -> bool {
        self.url.scheme() == "http" && !is_loopback(&self.url)
    }
}

/// What a batch looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchShape {
    /// One record a line.
    Ndjson,
    /// Events of Splunk's HTTP Event Collector.
    Splunk,
    /// `_bulk` of OpenSearch and Elasticsearch, with `_id`.
    Bulk,
}

impl BatchShape {
    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson | Self::Bulk => "application/x-ndjson",
            Self::Splunk => "application/json",
        }
    }
}

#[cfg(test)]
impl AuditSettings {
    /// A trail in this directory, and nothing else.
    pub fn in_dir(dir: PathBuf) -> Self {
        Self {
            dir,
            pseudonyms: PseudonymSettings::default(),
            checkpoint_key_file: None,
            reserve: 0,
            detections: DetectionSettings::default(),
            retention: None,
            undelivered_quota: None,
            remote_sink: None,
            sinks: Vec::new(),
        }
    }
}
