//! Why records could not be delivered, in words that hold nothing of what the other side said.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;

use super::item::Item;

/// Why a batch was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection, or one that broke.
    Unreachable,
    /// It ended the connection without saying that it has read all of it.
    CutShort,
    /// It took too long.
    TimedOut,
    /// It answered that it can't now.
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// How long it asks to be left alone.
        wait: Option<Duration>,
    },
    /// It answered that it will not take this, and the key of the record that it names, or of the first.
    Refused {
        /// The HTTP status, or a code of its own.
        answer: String,
        /// `origin:seq`.
        key: String,
    },
    /// It answered with this code of its own.
    Said(String),
    /// What it answered can't be understood.
    Unintelligible,
    /// Something on this side.
    Own(String),
}

/// Not everything was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stopped {
    /// So many were, from the front.
    pub(super) taken: usize,
    /// Why the next one was not.
    pub(super) why: Failure,
}

impl From<Failure> for Stopped {
    fn from(why: Failure) -> Self {
        Self { taken: 0, why }
    }
}

impl Failure {
    /// None of these will be taken, so says a status; nobody knows which one is meant.
    pub(super) fn refused(status: StatusCode, items: &[Item]) -> Self {
        let key = items.first().map(|item| item.key.clone()).unwrap_or_default();
        Self::Refused { answer: status.as_u16().to_string(), key }
    }

    /// How long the other side asks to be left alone.
    pub(super) fn wait(&self) -> Duration {
        match self {
            Self::Unavailable { wait: Some(wait), .. } => *wait,
            _ => Duration::ZERO,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => {
                formatter.write_str("it can't be reached: see that it runs, and its TLS certificate")
            }
            Self::CutShort => formatter.write_str(
                "it ends connections without a close_notify (RFC 5425 section 4.4), so that nobody knows what it has read: see that it runs, and its log",
            ),
            Self::TimedOut => formatter.write_str("it does not answer in time"),
            Self::Unavailable { status, .. } => write!(formatter, "it answers {status}"),
            Self::Refused { answer, key } => write!(
                formatter,
                "it refuses what begins with record {key} with {answer}: nothing behind it is delivered until it is taken; see the collector's log, its address and credentials"
            ),
            Self::Said(code) => write!(formatter, "it answers {code}: see its log and its limits"),
            Self::Unintelligible => {
                formatter.write_str("its answer is not that of such a collector: see `url` and `batch`")
            }
            Self::Own(what) => formatter.write_str(what),
        }
    }
}
