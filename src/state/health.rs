//! Whether a store can be used: told once when that changes, not once for each request that finds out.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::telemetry::metrics;

/// A store's outages.
#[derive(Debug, Clone, Default)]
pub struct Outages {
    /// How many have begun.
    pub begun: u64,
    /// Whether the last one still lasts.
    pub lasts: bool,
    /// What is wrong, or was wrong when the last one ended, in words for the operator, without keys, names or secrets.
    pub why: String,
}

/// What is wrong with a store now, if anything.
#[derive(Debug)]
pub(super) struct Health {
    outages: watch::Sender<Outages>,
    /// Some of what is asked is refused while the rest is done.
    is_overloaded: AtomicBool,
}

impl Default for Health {
    fn default() -> Self {
        Self { outages: watch::Sender::new(Outages::default()), is_overloaded: AtomicBool::new(false) }
    }
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
        if self.replace(Some(why)).is_none() {
            metrics().store_outages.inc();
            tracing::error!(%why, "the state store can't be used");
        }
    }

    /// What is wrong, in words for the operator.
    pub(super) fn trouble(&self) -> Option<String> {
        let outages = self.outages.borrow();
        outages.lasts.then(|| outages.why.clone())
    }

    /// Tells when that changes.
    pub(super) fn outages(&self) -> watch::Receiver<Outages> {
        self.outages.subscribe()
    }

    /// Gives what was wrong before. Nobody is told who knows already: requests find out again and again.
    fn replace(&self, now: Option<&str>) -> Option<String> {
        let mut before = None;
        self.outages.send_if_modified(|outages| {
            before = outages.lasts.then(|| outages.why.clone());
            outages.lasts = now.is_some();
            if let Some(now) = now {
                now.clone_into(&mut outages.why);
            }
            outages.begun += u64::from(before.is_none() && now.is_some());
            before.is_some() != now.is_some()
        });
        before
    }
}

/// Counts one operation's result, and passes it on.
pub(super) fn counted<T>(operation: &'static str, answered: bool, result: T) -> T {
    let answer = if answered { "answered" } else { "unavailable" };
    metrics().store_operations.with_label_values(&[operation, answer]).inc();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_when_it_begins_and_ends_and_not_in_between() {
        let health = Health::default();
        let mut told = health.outages();
        let is_told = |told: &mut watch::Receiver<Outages>| {
            let is_told = told.has_changed().expect("there");
            told.borrow_and_update();
            is_told
        };
        health.well();
        assert!(!is_told(&mut told), "it was well before");
        health.ill("slow");
        assert!(is_told(&mut told));
        health.ill("gone");
        health.ill("gone");
        assert!(!is_told(&mut told), "not with every request");
        assert_eq!(health.trouble().as_deref(), Some("gone"));
        health.well();
        assert!(is_told(&mut told));
        let Outages { begun, lasts, why } = told.borrow().clone();
        assert_eq!((begun, lasts, why.as_str(), health.trouble()), (1, false, "gone", None));
        // Over before anybody looked: it counts all the same.
        health.ill("slow");
        health.well();
        assert_eq!(told.borrow().begun, 2);
    }
}
