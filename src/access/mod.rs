//! Floor 3: services outside that have a say in decisions.
//!
//! Each is asked over HTTP within its own time, by so many at once, and left alone for a while after it has failed several
//! times. What it answers is read strictly: what is not understood is a refusal, and only silence is an outage.

mod authzen;
mod record_index;
mod service;

use async_trait::async_trait;
use tokio::runtime::Handle;

use self::authzen::Authzen;
use self::record_index::RecordIndex;
use self::service::Service;
pub use self::service::StartError;
use crate::config::settings::AccessSettings;
use crate::decision::evidence::{Evaluation, Lookup};
use crate::enforce::ports::{AccessServices, EvaluationRequest, PatientRequest, ServiceOutages};

/// The services of one version of the configuration.
pub struct Services {
    pdps: Vec<Authzen>,
    lookups: Vec<RecordIndex>,
}

impl Services {
    /// Prepares to ask; nobody is asked yet. Requests are made on `runtime`. What `before` knows of services with the
    /// same settings goes on; files are read anew.
    ///
    /// # Errors
    /// A file can't be read, or TLS is not available.
    pub fn new(
        settings: &AccessSettings,
        runtime: &Handle,
        before: Option<&Self>,
    ) -> Result<Self, StartError> {
        let known = |position: usize| before.and_then(|before| before.pdps.get(position));
        let pdps = settings.pdps.iter().enumerate();
        let pdps = pdps.map(|(at, pdp)| Authzen::new(pdp, runtime, known(at).map(|pdp| pdp.service())));
        let known = |position: usize| before.and_then(|before| before.lookups.get(position));
        let lookups = settings.lookups.iter().enumerate();
        let lookups = lookups
            .map(|(at, lookup)| RecordIndex::new(lookup, runtime, known(at).map(|lookup| lookup.service())));
        Ok(Self { pdps: pdps.collect::<Result<_, _>>()?, lookups: lookups.collect::<Result<_, _>>()? })
    }

    fn each(&self) -> impl Iterator<Item = &Service> {
        self.pdps.iter().map(Authzen::service).chain(self.lookups.iter().map(RecordIndex::service))
    }

    /// Whether there is anybody to ask.
    pub fn are_any(&self) -> bool {
        !self.pdps.is_empty() || !self.lookups.is_empty()
    }
}

#[async_trait]
impl AccessServices for Services {
    async fn evaluate(&self, pdp: usize, request: &EvaluationRequest<'_>) -> Lookup<Evaluation> {
        match self.pdps.get(pdp) {
            Some(pdp) => pdp.evaluate(request).await,
            None => Lookup::Unavailable,
        }
    }

    async fn patient(&self, lookup: usize, request: &PatientRequest<'_>) -> Lookup<Box<str>> {
        match self.lookups.get(lookup) {
            Some(lookup) => lookup.patient(request).await,
            None => Lookup::Unavailable,
        }
    }

    fn trouble(&self) -> Vec<String> {
        self.each().filter_map(Service::trouble).collect()
    }

    fn outages(&self) -> Vec<ServiceOutages> {
        self.each().map(Service::outages).collect()
    }
}
