//! Who is behind a pseudonym, and who can no longer be found out: rotation, lookups by operators, destruction of keys.
//!
//! A lookup and a destruction are on record, on disk, before anybody is told anything or anything is gone.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::gate::Gate;
use super::ports::{Aliases, KeysUnavailable, PseudonymKeys};
use crate::audit::epoch::Epoch;
use crate::audit::event::{Event, PseudonymEpochEvent, PseudonymLookupEvent, PseudonymShredEvent};
use crate::audit::pseudonym::Named;
use crate::audit::receipt::Receipt;
use crate::policy::Durability;
use crate::telemetry::metrics;

/// How often is looked whether an epoch has ended.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// An operator, and what they say they do it for.
#[derive(Debug, Clone, Copy)]
pub struct Operator<'o> {
    /// The user id of their process.
    pub uid: u32,
    /// Why, in words that name nobody.
    pub reason: &'o str,
}

/// Which epochs are to be forgotten.
#[derive(Debug, Clone, Copy)]
pub enum Doomed {
    /// The one that begins on this day.
    Beginning(Date),
    /// All that were over when this day began.
    OverBefore(Date),
}

/// Why an operator got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Withheld {
    /// There is no record of it, so there is no answer.
    #[error(
        "the audit journal could not be written to disk, so nothing was told or done; see /readyz, then repeat the call"
    )]
    NotRecorded,
    /// The keys can't be used.
    #[error(transparent)]
    Keys(#[from] KeysUnavailable),
    /// What is asked for can't be done.
    #[error("{0}")]
    Refused(String),
}

impl Gate {
    /// What somebody is called in records, told to an operator once it is on disk that they asked.
    ///
    /// The record names them by the pseudonym of now and by no other: a list of all of them would show who they were in an
    /// epoch whose key is destroyed.
    ///
    /// # Errors
    /// It could not be recorded, or the keys can't be used.
    pub async fn look_up(
        &self,
        keys: &dyn PseudonymKeys,
        named: Named<String>,
        operator: Operator<'_>,
    ) -> Result<Aliases, Withheld> {
        let name = self.pseudonyms.of(named.kind, &named.realm, &named.value);
        let Operator { uid, reason } = operator;
        let event =
            Event::PseudonymLookup(PseudonymLookupEvent { uid, reason, kind: named.kind, name: &name });
        let receipt = self.record_on_disk(&event).await?;
        Ok(keys.aliases(named, &receipt).await?)
    }

    /// Destroys the keys of epochs that are over; gives the epochs.
    ///
    /// # Errors
    /// It could not be recorded, one of them is not over, or a key may still be there: then it is said so, on record too.
    pub async fn shred(
        &self,
        keys: &dyn PseudonymKeys,
        doomed: Doomed,
        operator: Operator<'_>,
        now: Timestamp,
    ) -> Result<Vec<Epoch>, Withheld> {
        let Operator { uid, reason } = operator;
        let today = now.to_zoned(TimeZone::UTC).date();
        let is_over = |epoch: &Epoch| epoch.is_over(today) && Some(epoch.begins) != self.pseudonyms.begins();
        let mut found = keys.epochs().await?;
        match doomed {
            Doomed::OverBefore(day) => found.retain(|epoch| is_over(epoch) && epoch.is_over(day)),
            Doomed::Beginning(day) => {
                found.retain(|epoch| epoch.begins == day);
                if found.is_empty() {
                    return Err(Withheld::Refused(format!(
                        "there is no key of an epoch that begins on {day}"
                    )));
                }
                if !found.iter().all(is_over) {
                    return Err(Withheld::Refused(format!("the epoch that begins on {day} is not over yet")));
                }
            }
        }
        if found.is_empty() {
            return Ok(found);
        }
        let labels: Vec<String> = found.iter().map(|epoch| epoch.begins.to_string()).collect();
        let event = |phase, result, epochs| {
            Event::PseudonymShred(PseudonymShredEvent { phase, uid, reason, epochs, result })
        };
        let receipt = self.record_on_disk(&event("begun", None, &labels)).await?;
        for (done, epoch) in found.iter().enumerate() {
            if let Err(error) = keys.destroy(*epoch, &receipt).await {
                let left = labels.get(done..).unwrap_or_default();
                self.record_own(&event("ended", Some("failed"), left)).await;
                return Err(error.into());
            }
        }
        tracing::info!(epochs = ?labels, uid, "keys of pseudonyms were destroyed");
        // They are gone; that somebody meant to destroy them is on record already.
        self.record_own(&event("ended", Some("destroyed"), &labels)).await;
        Ok(found)
    }

    /// Takes the pseudonyms of the next epoch when it begins; drop the future to stop.
    pub async fn keep_pseudonyms(self: Arc<Self>, keys: Arc<dyn PseudonymKeys>) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut has_failed = false;
        loop {
            looks.tick().await;
            has_failed = self.rotate(keys.as_ref(), Timestamp::now(), has_failed).await;
        }
    }

    /// Takes the pseudonyms of the epoch at `now`, where that is a later one than is in force; whether that failed.
    ///
    /// While the next key can't be had, records go on under the pseudonyms before: they name nobody, only for longer. It is
    /// on record once, `had_failed` before or not.
    pub async fn rotate(&self, keys: &dyn PseudonymKeys, now: Timestamp, had_failed: bool) -> bool {
        let Some(next) = keys.epoch_at(now) else { return false };
        let begins = self.pseudonyms.begins();
        // A clock that was set back must not make the key of an epoch anew that is over, and maybe destroyed.
        if begins.is_none_or(|begins| next.begins <= begins) {
            return false;
        }
        let (epoch, previous) =
            (next.begins.to_string(), begins.map(|day| day.to_string()).unwrap_or_default());
        let event = |result, why| {
            Event::PseudonymEpoch(PseudonymEpochEvent { epoch: &epoch, previous: &previous, result, why })
        };
        match keys.open(next).await {
            Ok(pseudonyms) => {
                self.pseudonyms.put(pseudonyms);
                metrics().pseudonym_rotation_late.set(0);
                tracing::info!(%epoch, "an epoch of pseudonyms begins");
                self.record_own(&event("begun", None)).await;
                false
            }
            Err(error) => {
                metrics().pseudonym_rotation_late.set(1);
                let why = error.to_string();
                tracing::error!(%why, "the next epoch of pseudonyms can't begin; the one before goes on");
                if !had_failed {
                    self.record_own(&event("failed", Some(&why))).await;
                }
                true
            }
        }
    }

    async fn record_on_disk(&self, event: &Event<'_>) -> Result<Receipt, Withheld> {
        self.journal.append(event, Durability::Synced).await.map_err(|_| Withheld::NotRecorded)
    }
}
