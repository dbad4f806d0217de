//! Floor 3: services outside that have a say in decisions.
//!
//! Each is asked over HTTP within its own time, by so many at once, and left alone for a while after it has failed several
//! times. What it answers is read strictly: what is not understood is a refusal, and only silence is an outage.

mod authzen;
mod consent;
mod record_index;
mod remembered;
mod service;

use async_trait::async_trait;
use tokio::runtime::Handle;

use self::authzen::Authzen;
use self::consent::Consents;
use self::record_index::RecordIndex;
use self::service::Service;
pub use self::service::StartError;
use crate::config::settings::AccessSettings;
use crate::decision::evidence::{Evaluation, Lookup};
use crate::enforce::ports::{
    AccessServices, ConsentRequest, EvaluationRequest, PatientRequest, ServiceOutages,
};

/// The services of one version of the configuration.
pub struct Services {
    pdps: Vec<Authzen>,
    lookups: Vec<RecordIndex>,
    consents: Vec<Consents>,
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
        let known = |position: usize| before.and_then(|before| before.consents.get(position));
        let consents = settings.consents.iter().enumerate();
        let consents = consents
            .map(|(at, consent)| Consents::new(consent, runtime, known(at).map(|consent| consent.service())));
        Ok(Self {
            pdps: pdps.collect::<Result<_, _>>()?,
            lookups: lookups.collect::<Result<_, _>>()?,
            consents: consents.collect::<Result<_, _>>()?,
        })
    }

    fn each(&self) -> impl Iterator<Item = &Service> {
        let services = self.pdps.iter().map(Authzen::service);
        let services = services.chain(self.lookups.iter().map(RecordIndex::service));
        services.chain(self.consents.iter().map(Consents::service))
    }

    /// Whether there is anybody to ask.
    pub fn are_any(&self) -> bool {
        !self.pdps.is_empty() || !self.lookups.is_empty() || !self.consents.is_empty()
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

    async fn consents(&self, consent: usize, request: &ConsentRequest<'_>) -> Lookup<bool> {
        match self.consents.get(consent) {
            Some(consent) => consent.given(request).await,
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
