//! The compiled configuration of services outside that have a say in decisions.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Services that are asked about requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// Policy decision points, in the policy's order.
    pub pdps: Vec<ServiceSettings>,
    /// Services that know of consents, in the policy's order.
    pub consents: Vec<ConsentSettings>,
    /// Look-ups of patients; routes refer to them by position.
    pub lookups: Vec<LookupSettings>,
}

impl AccessSettings {
    /// The files beside the configuration that they need.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let services = self.pdps.iter().chain(self.lookups.iter().map(|lookup| &lookup.service));
        let services = services.chain(self.consents.iter().map(|consent| &consent.service));
        services.flat_map(|service| [&service.secret_file, &service.ca_file]).filter_map(Option::as_deref)
    }
}

/// Who knows what a patient has consented to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentSettings {
    /// The service.
    pub service: ServiceSettings,
    /// How it is asked.
    pub kind: ConsentKind,
    /// The code of the purpose that is consented to.
    pub purpose: Option<Box<str>>,
}

/// How a service is asked for a consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentKind {
    /// A FHIR server: its address is the base.
    Fhir,
    /// A question and an answer in JSON.
    Http,
}

/// Who knows what belongs to which patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupSettings {
    /// The service; its address has no path.
    pub service: ServiceSettings,
    /// The path that is asked for.
    pub segments: Vec<LookupSegment>,
}

/// A segment of that path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupSegment {
    /// Plain text.
    Text(Box<str>),
    /// The value of a parameter of the route's path.
    Parameter(Box<str>),
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
