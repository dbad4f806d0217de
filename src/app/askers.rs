//! Those who ask people on the phone or elsewhere, under the configuration in force.

use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Settings;
use crate::enforce::prompts::Prompts;
use crate::keys::{Askers, StartError, Verifier};

/// The askers in force. Cloning gives one more to look at the same.
#[derive(Clone, Default)]
pub struct Asking(Arc<Mutex<Option<Arc<Askers>>>>);

impl Asking {
    /// Makes those of the next version of the configuration, and touches nothing. Questions that were put go on.
    ///
    /// # Errors
    /// As [`Askers::new`].
    pub fn next(&self, settings: &Settings, verifier: &Arc<Verifier>) -> Result<Arc<Askers>, StartError> {
        match self.current() {
            Some(before) => before.succeeded_by(&settings.step_up, verifier),
            None => Askers::new(&settings.step_up, verifier),
        }
    }

    /// Puts them in force. Gives what requests use; nothing, where no way needs anybody.
    pub fn replace(&self, next: Arc<Askers>) -> Option<Arc<dyn Prompts>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&next));
        next.are_any().then_some(next as _)
    }

    /// What keeps people from being asked, in plain words. It keeps nobody from anything else: each tier may name other
    /// ways.
    pub fn unready(&self) -> Vec<String> {
        self.current().map_or_else(Vec::new, |askers| askers.unready())
    }

    fn current(&self) -> Option<Arc<Askers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
