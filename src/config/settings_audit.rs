//! The compiled configuration of the audit trail and of those it is delivered to.

use std::path::PathBuf;

use crate::audit::formats::Format;

/// The audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// The directory of its files.
    pub dir: PathBuf,
    /// The key behind pseudonyms; `None` makes one in `dir` on first start.
    pub pseudonym_key_file: Option<PathBuf>,
    /// The key that vouches for the trail; `None` makes one in `dir` on first start.
    pub checkpoint_key_file: Option<PathBuf>,
    /// So much room is kept on the disk for requests whose tier needs synced records, in bytes.
    pub reserve: u64,
    /// Who gets its records.
    pub sinks: Vec<SinkSettings>,
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
}

/// A collector that takes batches over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSinkSettings {
    /// Where batches are posted to.
    pub url: reqwest::Url,
    /// What a batch looks like.
    pub batch: BatchShape,
    /// The file with the whole `Authorization` header, read for each batch.
    pub authorization_file: Option<PathBuf>,
    /// The authorities that may vouch for the collector; `None` are the system's.
    pub ca_file: Option<PathBuf>,
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
