//! What the journal says of its own files.

use serde::Serialize;

/// What must be known to go on with a log in a new file.
#[derive(Debug, Serialize)]
pub struct SegmentEvent<'e> {
    /// The log's name: another one where the records before had to be put aside.
    pub log: &'e str,
    /// The number of the log's first record.
    pub tree_first: u64,
    /// How many records of it came before this file.
    pub size: u64,
    /// The roots of their tree's whole subtrees, the largest first, in base64.
    pub edge: &'e [String],
    /// `started`, `full`, `sync_failed` or `quarantined`.
    pub why: &'static str,
    /// What was put aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<Quarantined<'e>>,
}

/// A file that holds what the gateway did not write.
#[derive(Debug, Serialize)]
pub struct Quarantined<'e> {
    /// Its name now, without the directory.
    pub file: &'e str,
    /// The first line that is not as it was written, from 1.
    pub line: u64,
}

/// A file that is removed, and where its tree stands behind it.
#[derive(Debug, Serialize)]
pub struct RetiredEvent<'e> {
    /// Its name, without the directory.
    pub file: &'e str,
    /// The number of its first record.
    pub first: u64,
    /// The number of its last record.
    pub last: u64,
    /// When its newest record was written (RFC 3339).
    pub newest: &'e str,
    /// The name of its log.
    pub log: &'e str,
    /// How many records that has up to the file's end.
    pub size: u64,
    /// The root of their tree, in base64.
    pub root: &'e str,
}
