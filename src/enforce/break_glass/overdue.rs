//! What nobody has looked at in time: it is told once, and whoever did it may not do it again until somebody has.

use std::sync::Arc;
use std::time::Duration;

use super::queue::Entry;
use crate::audit::event::{BreakGlassEvent, Event};
use crate::audit::pseudonym::Kind;
use crate::enforce::Gate;
use crate::enforce::ports::Consumed;
use crate::enforce::register::KEPT;
use crate::policy::Durability;
use crate::state::spent::ProofKey;

/// How often is looked for what has become overdue.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// So many days back: longer than a review may wait, and than all gateways may have been down together.
const DAYS: i32 = 45;

impl Gate {
    /// Tells of what has become overdue, for ever; drop the future to stop. `is_wanted` says whether anybody has such a right.
    pub async fn watch_reviews(self: Arc<Self>, is_wanted: impl Fn() -> bool + Send + 'static) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if !is_wanted() {
                continue;
            }
            let now = jiff::Timestamp::now().as_second();
            // A store that does not answer says so itself; what is overdue is found at the next look.
            for entry in self.entries(now, DAYS).await.unwrap_or_default() {
                if entry.due < now && self.is_reviewed(&entry.id).await == Ok(false) {
                    self.tell_overdue(&entry).await;
                }
            }
        }
    }

    /// Whether something that this person has opened is overdue: then the right is suspended.
    pub(super) async fn overdue_of(&self, issuer: &str, subject: &str, now: i64) -> Result<bool, ()> {
        let days = i32::try_from(KEPT.as_secs() / (24 * 3_600)).unwrap_or(i32::MAX);
        for entry in self.entries(now, days).await? {
            let is_theirs = *entry.issuer == *issuer && *entry.subject == *subject;
            if is_theirs && entry.due < now && !self.is_reviewed(&entry.id).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Once, whichever gateway finds it.
    async fn tell_overdue(&self, entry: &Entry) {
        let key = ProofKey::new(&["break-glass-overdue", &entry.id], i64::MAX);
        if !matches!(self.state.consume(&key, KEPT).await, Consumed::Done(_)) {
            return;
        }
        let subject = self.pseudonyms.of(Kind::Subject, &entry.issuer, &entry.subject);
        for what in ["overdue", "suspended"] {
            super::count(&entry.right, what);
            let event = Event::BreakGlass(BreakGlassEvent {
                what,
                glass: &entry.id,
                right: &entry.right,
                action: Some(&entry.action),
                subject: Some(&subject),
                drill: entry.drill,
                ..BreakGlassEvent::default()
            });
            // What can't be recorded is counted and logged by the journal.
            let _ = self.journal.append(&event, Durability::Written).await;
        }
        tracing::warn!(glass = %entry.id, right = %entry.right, "nobody has reviewed in time what was opened");
    }
}
