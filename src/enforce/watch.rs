//! Ends what runs for those who were revoked, and what has outlived its token.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::gate::Gate;
use super::streams::Line;
use crate::decision::{Reason, Revocation};
use crate::identity::Subject;
use crate::telemetry::metrics;

/// How often tokens are looked at that may have ended, and how soon the store is asked again that did not answer.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many questions to the store wait at a time.
const QUESTIONS: usize = 32;

impl Gate {
    /// Watches over what runs, for ever; drop the future to stop.
    ///
    /// The store says that something was revoked, not what: everything that runs is asked about again. So a message that
    /// got lost loses nothing, and a revocation ends streams by the same rules as it refuses requests.
    pub async fn watch(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut seen, mut is_due) = (0, false);
        loop {
            tokio::select! {
                revision = self.state.revised(seen) => {
                    seen = revision;
                    self.streams.note_change();
                    is_due = true;
                }
                () = self.streams.overtaken() => is_due = true,
                _ = looks.tick() => {
                    let count = self.streams.end_expired(jiff::Timestamp::now().as_second());
                    ended("expired", count);
                }
            }
            if is_due {
                is_due = !self.end_revoked().await;
                if is_due {
                    tokio::time::sleep(LOOK_EVERY).await;
                    self.streams.note_overtaken();
                }
            }
        }
    }

    /// Asks about everything that runs, and ends what was revoked; says whether the store answered all of it.
    async fn end_revoked(self: &Arc<Self>) -> bool {
        let bound = self.streams.bound();
        let share = bound.len().div_ceil(QUESTIONS).max(1);
        let mut running = JoinSet::new();
        for part in bound.chunks(share) {
            let (gate, part) = (Arc::clone(self), part.to_vec());
            running.spawn(async move { gate.end_part(part).await });
        }
        let mut all = true;
        while let Some(part) = running.join_next().await {
            // One that panicked has not asked about everybody.
            let (count, answered) = part.unwrap_or((0, false));
            ended("revoked", count);
            all &= answered;
        }
        all
    }

    async fn end_part(&self, part: Vec<(Arc<Line>, Arc<Subject>)>) -> (usize, bool) {
        let mut count = 0;
        for (line, subject) in part {
            match self.revocation(&subject).await {
                Revocation::Revoked => count += usize::from(line.end(Some(&subject), Reason::TokenRevoked)),
                Revocation::Valid => {}
                // The rest would get no answer either; everybody is asked about again.
                Revocation::Unknown => return (count, false),
            }
        }
        (count, true)
    }
}

fn ended(why: &str, count: usize) {
    if count > 0 {
        metrics().streams_ended.with_label_values(&[why]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
        tracing::info!(count, why, "requests that run are ended");
    }
}
