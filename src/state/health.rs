//! Whether a store can be used: told once when that changes, not once for each request that finds out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::telemetry::metrics;

/// What is wrong with a store now, if anything.
#[derive(Debug, Default)]
pub(super) struct Health {
    trouble: Mutex<Option<String>>,
    /// Some of what is asked is refused while the rest is done.
    is_overloaded: AtomicBool,
}

impl Health {
    /// The store can be used.
    pub(super) fn well(&self) {
        self.is_overloaded.store(false, Ordering::SeqCst);
        metrics().store_up.set(1);
        if let Some(before) = self.replace(None) {
            tracing::info!(after = %before, "the state store can be used again");
        }
    }

    /// The store has done something. That says little where it is overloaded: it would be told with each request anew.
    pub(super) fn works(&self) {
        if !self.is_overloaded.load(Ordering::SeqCst) {
            self.well();
        }
    }

    /// The store takes less than is asked of it, until it is [`Self::well`].
    pub(super) fn overloaded(&self, why: &str) {
        self.is_overloaded.store(true, Ordering::SeqCst);
        self.ill(why);
    }

    /// The store can't be used, or not for everything. `why` holds no keys, names or secrets.
    pub(super) fn ill(&self, why: &str) {
        metrics().store_up.set(0);
        if self.replace(Some(why.to_owned())).is_none() {
            metrics().store_outages.inc();
            tracing::error!(%why, "the state store can't be used");
        }
    }

    /// What is wrong, in words for the operator.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, now: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.trouble.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

/// Counts one operation's result, and passes it on.
pub(super) fn counted<T>(operation: &'static str, answered: bool, result: T) -> T {
    let answer = if answered { "answered" } else { "unavailable" };
    metrics().store_operations.with_label_values(&[operation, answer]).inc();
    result
}
