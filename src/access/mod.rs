//! Floor 3: services outside that have a say in decisions.
//!
//! Each is asked over HTTP within its own time, by so many at once, and left alone for a while after it has failed several
//! times. What it answers is read strictly: what is not understood is a refusal, and only silence is an outage.

mod authzen;
mod service;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;

use self::authzen::Authzen;
pub use self::service::StartError;
use crate::config::settings::AccessSettings;
use crate::decision::evidence::{Evaluation, Lookup};
use crate::enforce::ports::{AccessServices, EvaluationRequest};

/// The services of one version of the configuration.
pub struct Services {
    pdps: Vec<Arc<Authzen>>,
}

impl Services {
    /// Prepares to ask; nobody is asked yet. Requests are made on `runtime`. Services that `before` has by the same settings
    /// keep their connections and what is known of them; files are read anew.
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
        Ok(Self { pdps: pdps.map(|made| made.map(Arc::new)).collect::<Result<_, _>>()? })
    }

    /// Whether there is anybody to ask.
    pub fn are_any(&self) -> bool {
        !self.pdps.is_empty()
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

    fn trouble(&self) -> Vec<String> {
        self.pdps.iter().filter_map(|pdp| pdp.service().trouble()).collect()
    }
}
