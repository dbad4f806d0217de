//! The compiled configuration of shared signals: whose events are taken, how they are read and how they come.

use std::path::PathBuf;
use std::time::Duration;

use crate::identity::security_event::StreamRules;

/// A transmitter whose events are about an issuer's subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalSettings {
    /// How its events are read.
    pub rules: StreamRules,
    /// Where its keys are; `None` finds them by its metadata (SSF 1.0 §7.2).
    pub jwks_url: Option<Box<str>>,
    /// How its events come.
    pub delivery: SignalDelivery,
    /// The file with the `Authorization` header that pushes must show, or that we show where we fetch.
    pub authorization_file: Option<PathBuf>,
}

impl SignalSettings {
    /// Every address of the transmitter that is asked for something.
    pub fn addresses(&self) -> impl Iterator<Item = &Box<str>> {
        let keys = self.jwks_url.as_ref().unwrap_or(&self.rules.transmitter);
        let polled = match &self.delivery {
            SignalDelivery::Poll { url, .. } => Some(url),
            SignalDelivery::Push(_) => None,
        };
        std::iter::once(keys).chain(polled)
    }
}

/// How events come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalDelivery {
    /// They are pushed to these hosts, in lower case (RFC 8935).
    Push(Vec<Box<str>>),
    /// They are fetched (RFC 8936).
    Poll {
        /// The stream's own address.
        url: Box<str>,
        /// How long the transmitter may hold a request.
        wait: Duration,
    },
}
