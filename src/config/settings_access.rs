//! The compiled configuration of services outside that have a say in decisions.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Services that are asked about requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// Policy decision points, in the policy's order.
    pub pdps: Vec<ServiceSettings>,
}

impl AccessSettings {
    /// The files beside the configuration that they need.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.pdps
            .iter()
            .flat_map(|service| [&service.secret_file, &service.ca_file])
            .filter_map(Option::as_deref)
    }
}

/// One service over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Its name in metrics and messages.
    pub name: Box<str>,
    /// Its address, whole.
    pub url: reqwest::Url,
    /// The file with the secret that we show as a bearer token.
    pub secret_file: Option<PathBuf>,
    /// Who may vouch for its certificate, instead of the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// How long one answer may take, with the wait for a free place.
    pub timeout: Duration,
    /// How many questions there may be at once.
    pub concurrency: usize,
    /// How long an answer is remembered; `None` is not at all.
    pub cache: Option<Duration>,
}
