//! Tells those who wait that something may have been revoked.

use tokio::sync::watch;

/// Counts changes of a revocation table, as far as this process knows of them.
pub(super) struct Revised(watch::Sender<u64>);

impl Default for Revised {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Revised {
    /// There is one more.
    pub(super) fn note(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// As [`crate::enforce::ports::State::revised`].
    pub(super) async fn since(&self, seen: u64) -> u64 {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as this, so there is always an answer.
        receiver.wait_for(|count| *count != seen).await.map_or(seen, |count| *count)
    }
}
