//! Those who ask people for proof elsewhere than in the browser, by the position of the way they stand for.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::ciba::CibaAsker;
use super::step_up_service::ServiceAsker;
use super::{StartError, Verifier};
use crate::config::settings::AskerSettings;
use crate::enforce::prompts::{Answered, Ask, Asked, PromptFault, Prompts};
use crate::request::account::Account;

/// The askers of one version of the configuration.
pub struct Askers {
    /// By way; none for those that need nobody.
    askers: Vec<Option<Asker>>,
    /// Keep fresh what the askers need, and end with them.
    _freshness: JoinSet<()>,
}

/// Who asks on one way.
enum Asker {
    /// An issuer, on the phone.
    Ciba(Arc<CibaAsker>),
    /// A service that speaks the gateway's own contract.
    Http(Arc<ServiceAsker>),
}

impl Askers {
    /// The askers for these settings, which stand in the order of the ways. Their issuers are `verifier`'s.
    ///
    /// # Errors
    /// A file can't be read or has not what it should, an address can't be asked, or TLS is not available.
    pub fn new(
        settings: &[Option<AskerSettings>],
        verifier: &Arc<Verifier>,
    ) -> Result<Arc<Self>, StartError> {
        Self::after(&[], settings, verifier)
    }

    /// The askers of the next version of the configuration. Where the settings are the same, questions that were put
    /// go on; secrets are read anew.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn succeeded_by(
        &self,
        settings: &[Option<AskerSettings>],
        verifier: &Arc<Verifier>,
    ) -> Result<Arc<Self>, StartError> {
        Self::after(&self.askers, settings, verifier)
    }

    fn after(
        earlier: &[Option<Asker>],
        settings: &[Option<AskerSettings>],
        verifier: &Arc<Verifier>,
    ) -> Result<Arc<Self>, StartError> {
        let earlier: Vec<&Asker> = earlier.iter().flatten().collect();
        let asker = |settings: &AskerSettings| match settings {
            AskerSettings::Ciba(settings) => {
                let before = earlier.iter().find_map(|asker| match asker {
                    Asker::Ciba(before) => before.is_for(settings).then_some(&**before),
                    Asker::Http(_) => None,
                });
                CibaAsker::new(settings, verifier, before).map(Asker::Ciba)
            }
            AskerSettings::Http(settings) => {
                let before = earlier.iter().find_map(|asker| match asker {
                    Asker::Http(before) => before.is_for(settings).then_some(&**before),
                    Asker::Ciba(_) => None,
                });
                ServiceAsker::new(settings, &verifier.runtime, before).map(Asker::Http)
            }
        };
        let askers: Vec<Option<Asker>> =
            settings.iter().map(|own| own.as_ref().map(asker).transpose()).collect::<Result<_, _>>()?;
        let mut freshness = JoinSet::new();
        for asker in askers.iter().flatten() {
            match asker {
                Asker::Ciba(ciba) => ciba.keep_fresh(&mut freshness),
                // It needs nothing but its files.
                Asker::Http(_) => {}
            }
        }
        Ok(Arc::new(Self { askers, _freshness: freshness }))
    }

    /// Whether any way needs one.
    pub fn are_any(&self) -> bool {
        self.askers.iter().any(Option::is_some)
    }

    /// For each asker that can't ask now, why, in plain words.
    pub fn unready(&self) -> Vec<String> {
        let reason = |asker: &Asker| match asker {
            Asker::Ciba(ciba) => ciba.unready(),
            Asker::Http(service) => service.unready(),
        };
        self.askers.iter().flatten().filter_map(reason).collect()
    }

    fn at(&self, way: usize) -> Result<&Asker, PromptFault> {
        self.askers.get(way).and_then(Option::as_ref).ok_or(PromptFault::Unavailable)
    }
}

#[async_trait]
impl Prompts for Askers {
    async fn ask(&self, way: usize, ask: &Ask<'_>) -> Result<Asked, PromptFault> {
        match self.at(way)? {
            Asker::Ciba(ciba) => ciba.ask(ask).await,
            Asker::Http(service) => service.ask(ask).await,
        }
    }

    async fn answered(&self, way: usize, handle: &str, now: i64) -> Result<Answered, PromptFault> {
        match self.at(way)? {
            Asker::Ciba(ciba) => ciba.answered(handle, now).await,
            Asker::Http(service) => service.answered(handle, now).await,
        }
    }

    fn account_name(&self, way: usize, account: &Account) -> Option<Box<str>> {
        match self.at(way) {
            Ok(Asker::Http(service)) => Some(service.account_name(account)),
            Ok(Asker::Ciba(_)) | Err(_) => None,
        }
    }

    fn is_named(&self, way: usize, handle: &str, name: &str) -> bool {
        match self.at(way) {
            Ok(Asker::Ciba(_)) => CibaAsker::is_named(handle, name),
            // Services are asked, and send no word.
            Ok(Asker::Http(_)) | Err(_) => false,
        }
    }

    fn hasten(&self, way: usize, handle: &str) {
        if let Ok(Asker::Ciba(ciba)) = self.at(way) {
            ciba.hasten(handle);
        }
    }

    async fn take_back(&self, way: usize, handle: &str) {
        match self.at(way) {
            Ok(Asker::Ciba(ciba)) => ciba.take_back(handle),
            Ok(Asker::Http(service)) => service.take_back(handle),
            Err(_) => {}
        }
    }
}
