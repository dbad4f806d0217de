//! The revocation table: how it is read, and what is done where it has lost something.

use std::sync::PoisonError;

use super::fault::Fault;
use super::link::Link;
use super::scripts::{self, Changed, Revision, Table};
use super::{Inner, READS, new_lineage, within};
use crate::enforce::ports::RevocationKey;
use crate::state::memory::revocation_name;
use crate::telemetry::metrics;

impl Inner {
    pub(super) fn seen(&self) -> Revision {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the revocation table has everything that was seen of it before.
    pub(super) fn is_whole(&self, found: Option<&str>) -> bool {
        let found = found.and_then(Revision::read).unwrap_or_default();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_whole = seen.count == 0 || (found.lineage == seen.lineage && found.count >= seen.count);
        if is_whole && found != *seen {
            *seen = found;
            self.revised.note();
        }
        is_whole
    }

    /// Looks again, in Redis, whether the table has lost something; if so, everything from before now is revoked.
    pub(super) async fn mend(&self, link: &Link) -> Result<(), Fault> {
        let before = self.seen();
        // Whoever finds out at the same time waits, and finds it mended.
        let _mending = self.mending.lock().await;
        if self.seen() != before {
            return Ok(());
        }
        self.repair(link, &before).await
    }

    /// Revokes everything from before now: what was revoked may be gone without a trace.
    pub(super) async fn assume_loss(&self, link: &Link) -> Result<(), Fault> {
        // No table has this lineage, so every table has lost it.
        let nobodys = Revision { lineage: "none".into(), count: 1 };
        self.repair(link, &nobodys).await
    }

    pub(super) async fn repair(&self, link: &Link, seen: &Revision) -> Result<(), Fault> {
        let lineage = new_lineage();
        let changed = self.confirmed(link, scripts::repair(&self.table(seen, &lineage))).await?;
        self.adopt(&changed);
        Ok(())
    }

    pub(super) fn table<'t>(&'t self, seen: &'t Revision, new_lineage: &'t str) -> Table<'t> {
        let keys = self.names.revision_and_floor();
        Table { keys, channel: self.names.channel(), seen, now: (self.now)(), new_lineage }
    }

    /// Takes over the revision that a script has written.
    pub(super) fn adopt(&self, (revision, had_lost, announced): &Changed) {
        if *announced >= 0 {
            self.hearing.announced(*announced == 1);
        }
        if let Some(revision) = Revision::read(revision) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            // Answers overtake each other.
            if revision.lineage != seen.lineage || revision.count > seen.count {
                *seen = revision;
                self.revised.note();
            }
        }
        if *had_lost == 1 {
            metrics().store_epochs.with_label_values(&["revocations"]).inc();
            tracing::error!(
                "the state store has lost revocations: every token from before now is refused, so people sign in again"
            );
        }
    }

    /// Reads names of the revocation table, and whether the table is whole; mends it where it isn't.
    pub(super) async fn read_revocations(
        &self,
        link: &Link,
        keys: &[RevocationKey<'_>],
    ) -> Result<Option<i64>, Fault> {
        let mut command = redis::cmd("MGET");
        command.arg(&self.names.revision_and_floor()[..]);
        for key in keys {
            command.arg(self.names.revoked(&revocation_name(key)));
        }
        for _ in 0..READS {
            let answers: Vec<Option<String>> = within(self.settings.timeout, link.ask(&command)).await?;
            let mut answers = answers.into_iter();
            if !self.is_whole(answers.next().flatten().as_deref()) {
                // Or a revocation has overtaken this answer. Either way it must be read again.
                self.mend(link).await?;
                continue;
            }
            let mut latest = None;
            for text in answers.flatten() {
                let moment: i64 = text.parse().map_err(|_| Fault::new("its revocation table is damaged"))?;
                latest = latest.max(Some(moment));
            }
            return Ok(latest);
        }
        Err(Fault::new("its revocation table changes faster than it can be read"))
    }
}
