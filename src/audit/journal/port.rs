//! How requests record: each as durably as its tier asks, or not at all.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::{FileJournal, Refused};
use crate::audit::event::Event;
use crate::audit::receipt::Receipt;
use crate::audit::sinks::Remote;
use crate::enforce::ports::{Journal, JournalUnavailable};
use crate::policy::Durability;
use crate::telemetry::metrics;

impl FileJournal {
    /// Records that must be remote are waited for until this sink has them; without one they are refused.
    pub fn wait_for(&self, sink: &str) {
        let path = &self.shared.path;
        let trail = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let dir = path.parent().unwrap_or(Path::new("."));
        self.remote.get_or_init(|| Arc::new(Remote::new(dir.to_owned(), sink.into(), trail.into())));
    }

    /// Those who wait, for the sink to tell.
    pub fn remote(&self) -> Option<&Arc<Remote>> {
        self.remote.get()
    }
}

#[async_trait]
impl Journal for FileJournal {
    async fn append(&self, event: &Event<'_>, durability: Durability) -> Result<Receipt, JournalUnavailable> {
        let sequence = self.shared.append(event, durability).map_err(|Refused { error, written }| {
            metrics().audit_failures.inc();
            tracing::error!(%error, event = event.name(), decision = %event.decision(), "an audit record could not be written");
            JournalUnavailable { written }
        })?;
        if durability >= Durability::Synced {
            let shared = Arc::clone(&self.shared);
            let synced = tokio::task::spawn_blocking(move || shared.sync(sequence)).await;
            if !matches!(synced, Ok(Ok(()))) {
                metrics().audit_failures.inc();
                tracing::error!(
                    event = event.name(),
                    decision = %event.decision(),
                    "an audit record could not be brought to disk; the request it belongs to is refused"
                );
                return Err(JournalUnavailable { written: Some(sequence) });
            }
        }
        if durability == Durability::Remote {
            let is_there = match self.remote.get() {
                Some(remote) => remote.has(sequence).await,
                None => false,
            };
            if !is_there {
                metrics().audit_failures.inc();
                tracing::error!(
                    decision = %event.decision(),
                    "no sink has acknowledged an audit record in time; the request it belongs to is refused"
                );
                return Err(JournalUnavailable { written: Some(sequence) });
            }
        }
        metrics().audit_records.of(event.name()).inc();
        if let Some(watcher) = self.shared.watcher.get() {
            watcher(event);
        }
        Ok(Receipt::new(sequence, event.decision()))
    }
}
