//! What is read of the journal's own records, by whoever checks, proves or goes on.

use serde::Deserialize;
use tlog_tiles::tlog::Hash;

/// No record is longer, without its line's end, in bytes: whoever reads needs no more memory for one.
pub const MOST_LINE: usize = 1 << 20;

/// No number of a record is believed from here on: no gateway gets so far, and behind the last there must be room.
pub const MOST_SEQUENCE: u64 = 1 << 62;

/// Where a file begins.
#[derive(Debug, Clone, Deserialize)]
pub struct Segment {
    /// The log's name.
    pub log: String,
    /// The number of the log's first record.
    pub tree_first: u64,
    /// How many records the log has before this one.
    pub size: u64,
    /// The roots of the whole subtrees over them, the largest first.
    pub edge: Vec<Hash>,
    /// Why a file begins here.
    pub why: String,
    /// What was put aside.
    pub quarantined: Option<Quarantined>,
}

/// A file that was put aside.
#[derive(Debug, Clone, Deserialize)]
pub struct Quarantined {
    /// Its name, without the directory.
    pub file: String,
}

/// A file that was removed at the end of its retention.
#[derive(Debug, Clone, Deserialize)]
pub struct Retired {
    /// The name of its log.
    pub log: String,
    /// How many records that has up to the file's end.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
    /// When it was removed (RFC 3339).
    pub time: String,
}

/// Who signs from here on.
#[derive(Debug, Clone, Deserialize)]
pub struct Signer {
    /// The public key.
    pub key: String,
    /// The note by which the operators' key vouches for it.
    pub certificate: String,
}

/// A signed statement of all records before it.
#[derive(Debug, Clone, Deserialize)]
pub struct Checkpoint {
    /// The signed note.
    pub note: String,
}
