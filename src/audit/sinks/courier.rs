//! One sink's task: reads, delivers, remembers.

use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::cursor::{self, Cursor};
use super::failure::{Failure, Stopped};
use super::feed;
use super::item::{Item, Pending};
use super::scribe::Scribe;
use super::{Remote, Target, Trouble};
use crate::audit::event::Event;
use crate::config::settings::SinkSettings;
use crate::enforce::ports::Journal;
use crate::policy::Durability;
use crate::telemetry::metrics;

/// So often it is tried to get the lock.
const LOOK: Duration = Duration::from_millis(250);
/// At most so many records are handed over at once.
const MOST_RECORDS: usize = 1000;
/// How long is waited after the first failure; twice as long after each further one.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// And never longer.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// An outage is over when for so long nothing has failed: an end that is told after every delivery that gets through would be
/// one more record to deliver, and one more outage.
const SETTLED: Duration = Duration::from_secs(10);
/// So many failures in a row are an outage: one alone is over before anybody could do something about it.
const OUTAGE: u32 = 2;

/// Delivers to one sink.
pub(super) struct Courier {
    name: Arc<str>,
    target: Target,
    dir: PathBuf,
    journal: Arc<dyn Journal>,
    stop: watch::Receiver<bool>,
    trouble: Trouble,
    cursor: Cursor,
    /// Away while it is at work.
    scribe: Option<Scribe>,
    /// What was read and is not delivered yet.
    pending: Option<Pending>,
    /// Whose turn it was.
    last: String,
    /// How many records are handed over at once: fewer while they are refused, so that the one that is can be named.
    most: usize,
    failures: u32,
    failing_since: Option<Instant>,
    good_since: Option<Instant>,
    /// Whether the outage is on record.
    is_recorded: bool,
    /// Whether the cursor is further than what is written of it.
    is_unsaved: bool,
    /// Those who wait for records to be delivered.
    remote: Option<Arc<Remote>>,
}

impl Courier {
    pub(super) fn new(
        settings: &SinkSettings,
        target: Target,
        dir: &std::path::Path,
        journal: Arc<dyn Journal>,
        stop: watch::Receiver<bool>,
        trouble: Trouble,
    ) -> Self {
        Self {
            name: settings.name.as_ref().into(),
            target,
            dir: dir.to_owned(),
            journal,
            stop,
            trouble,
            cursor: Cursor::default(),
            scribe: Some(Scribe::new(settings.format)),
            pending: None,
            last: String::new(),
            most: MOST_RECORDS,
            failures: 0,
            failing_since: None,
            good_since: None,
            is_recorded: false,
            is_unsaved: false,
            remote: None,
        }
    }

    /// Tells those who wait for records what was delivered.
    pub(super) fn told_to(self, remote: Option<Arc<Remote>>) -> Self {
        Self { remote, ..self }
    }

    /// Delivers until told to stop, and then what is left, or until that fails.
    pub(super) async fn run(mut self) {
        let Some(_lock) = self.lock().await else { return };
        self.load();
        metrics().sink_up.with_label_values(&[&*self.name]).set(1);
        loop {
            let is_stopping = *self.stop.borrow_and_update();
            let wait = match self.round().await {
                Ok(true) => {
                    self.recovered().await;
                    continue;
                }
                Ok(false) => {
                    self.recovered().await;
                    self.target.look()
                }
                Err(failure) => self.failed(&failure).await,
            };
            if is_stopping {
                return;
            }
            tokio::select! {
                () = sleep(wait) => {}
                // After a failure nobody's hurry counts.
                () = appended(self.remote.as_deref()), if self.failures == 0 => {}
                changed = self.stop.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Waits until no other process delivers to this sink.
    async fn lock(&mut self) -> Option<File> {
        loop {
            let why =
                match cursor::lock_file(&self.dir, &self.name).map(|file| file.try_lock().map(|()| file)) {
                    Ok(Ok(file)) => return Some(file),
                    Ok(Err(TryLockError::WouldBlock)) => None,
                    Ok(Err(TryLockError::Error(error))) | Err(error) => Some(error),
                };
            if let Some(error) = why {
                self.failed(&Failure::Own(format!("its cursor can't be locked: {error}"))).await;
            }
            if *self.stop.borrow_and_update() {
                return None;
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                changed = self.stop.changed() => if changed.is_err() { return None },
            }
        }
    }

    fn load(&mut self) {
        let path = cursor::path(&self.dir, &self.name);
        match Cursor::load(&path) {
            Ok(cursor) => self.cursor = cursor,
            Err(error) => tracing::warn!(sink = %self.name, path = %path.display(), %error,
                "how far the audit sink has come can't be read: everything is delivered again, and known there by `origin:seq`"),
        }
    }

    /// Delivers the next records; says whether there were any.
    async fn round(&mut self) -> Result<bool, Failure> {
        let name = Arc::clone(&self.name);
        let label = [&*name];
        let pending = match self.pending.take() {
            Some(pending) => Some(pending),
            None => self.read().await?,
        };
        let Some(mut pending) = pending else {
            if self.is_unsaved {
                self.save().await?;
            }
            metrics().sink_lag_records.with_label_values(&label).set(0);
            metrics().sink_lag_seconds.with_label_values(&label).set(0);
            return Ok(false);
        };
        self.observe_lag(&pending);
        let items: Vec<Item> = pending.items.iter().take(self.most).map(|(item, _)| item.clone()).collect();
        let delivered = if items.is_empty() { Ok(()) } else { self.target.deliver(&items).await };
        let (taken, why) = match delivered {
            Ok(()) => (items.len(), None),
            Err(Stopped { taken, why }) => (taken.min(items.len()), Some(why)),
        };
        if taken > 0 || why.is_none() {
            metrics().sink_delivered.with_label_values(&label).inc_by(taken as u64);
            if let Some(place) = pending.taken(taken) {
                if let Some(remote) = &self.remote {
                    remote.publish(&pending.trail, place.sequence);
                }
                self.cursor.trails.insert(pending.trail.clone(), place);
                // What was acknowledged is not sent again by this process, whether or not that can be written down.
                self.is_unsaved = true;
            }
        }
        if pending.items.is_empty() && why.is_none() {
            if pending.damaged > 0 {
                metrics().sink_left_out.with_label_values(&label).inc_by(pending.damaged);
                tracing::error!(sink = %self.name, trail = pending.trail, lines = pending.damaged,
                    "damaged lines of the audit trail are not delivered; see `wardgate audit verify`");
            }
            self.last = pending.trail;
        } else {
            self.pending = Some(pending);
        }
        if self.is_unsaved {
            self.save().await?;
        }
        if let Some(why) = why {
            return Err(why);
        }
        // Slowly: what was too much a moment ago is too much again.
        self.most = (self.most + self.most / 8 + 1).min(MOST_RECORDS);
        Ok(true)
    }

    /// Reads and converts what follows in any trail.
    async fn read(&mut self) -> Result<Option<Pending>, Failure> {
        let (dir, mut cursor, last) = (self.dir.clone(), self.cursor.clone(), self.last.clone());
        let Some(mut scribe) = self.scribe.take() else {
            return Err(Failure::Own(
                "its last look at the audit trail did not end: restart the gateway".to_owned(),
            ));
        };
        let work = move || {
            let read = feed::next(&dir, &mut cursor, &last, MOST_RECORDS).and_then(|batch| {
                let Some(batch) = batch else { return Ok(None) };
                let at = cursor.trails.get(&batch.trail).cloned().unwrap_or_default();
                scribe.write(&dir, &cursor, &at, batch).map(Some)
            });
            Ok((cursor, scribe, read))
        };
        let unreadable = |error| Failure::Own(format!("the audit trail can't be read: {error}"));
        let (cursor, scribe, read) = blocking(work).await.map_err(unreadable)?;
        self.scribe = Some(scribe);
        let read = read.map_err(unreadable)?;
        self.cursor = cursor;
        Ok(read)
    }

    async fn save(&mut self) -> Result<(), Failure> {
        let (cursor, path) = (self.cursor.clone(), cursor::path(&self.dir, &self.name));
        let saved = blocking(move || cursor.save(&path)).await;
        saved.map_err(|error| Failure::Own(format!("how far it has come can't be written: {error}")))?;
        self.is_unsaved = false;
        Ok(())
    }

    fn observe_lag(&self, pending: &Pending) {
        let name = Arc::clone(&self.name);
        let label = [&*name];
        let records = pending.behind.saturating_add(pending.items.len() as u64);
        metrics().sink_lag_records.with_label_values(&label).set(i64::try_from(records).unwrap_or(i64::MAX));
        let oldest = pending.items.first().map(|(item, _)| item.time.as_second());
        let seconds = oldest.map_or(0, |oldest| (Timestamp::now().as_second() - oldest).max(0));
        metrics().sink_lag_seconds.with_label_values(&label).set(seconds);
    }

    /// Counts a failure, tells of an outage once, and says how long to wait.
    async fn failed(&mut self, failure: &Failure) -> Duration {
        metrics().sink_failures.with_label_values(&[&*self.name]).inc();
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert_with(Instant::now);
        self.good_since = None;
        if matches!(failure, Failure::Refused { .. }) && self.most == 1 {
            tracing::error!(sink = %self.name, "{failure}");
        }
        if !matches!(failure, Failure::Own(_)) {
            // The one that is refused can be named then, and what was too much for a slow connection gets through.
            self.most = (self.most / 2).max(1);
        }
        let why = failure.to_string();
        if self.failures >= OUTAGE || self.is_recorded {
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(format!("audit sink `{}`: {why}", self.name));
            metrics().sink_up.with_label_values(&[&*self.name]).set(0);
        }
        // At a stop the journal is closed by now.
        if self.failures >= OUTAGE && !self.is_recorded && !*self.stop.borrow() {
            tracing::error!(sink = %self.name, "audit records are not delivered, and wait in the journal: {why}");
            let event = Event::SinkDown { sink: &self.name, why: &why };
            // A journal that fails tells of that itself, and gets this with the next failure.
            self.is_recorded = self.journal.append(&event, Durability::Written).await.is_ok();
        }
        // Never sooner than it asks for, up to what anybody is left alone for.
        wait_after(self.failures).max(failure.wait().min(LONGEST_WAIT))
    }

    /// Nothing has failed; ends an outage once that is so for a while.
    async fn recovered(&mut self) {
        self.failures = 0;
        let Some(since) = self.failing_since else { return };
        let good = self.good_since.get_or_insert_with(Instant::now).elapsed();
        if self.is_recorded && (good < SETTLED || *self.stop.borrow()) {
            return;
        }
        self.failing_since = None;
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        metrics().sink_up.with_label_values(&[&*self.name]).set(1);
        if std::mem::take(&mut self.is_recorded) {
            let seconds = since.elapsed().saturating_sub(good).as_secs();
            tracing::info!(sink = %self.name, seconds, "audit records are delivered again");
            let _ =
                self.journal.append(&Event::SinkUp { sink: &self.name, seconds }, Durability::Written).await;
        }
    }
}

/// Waits until somebody waits for a record that was appended.
async fn appended(remote: Option<&Remote>) {
    match remote {
        Some(remote) => remote.appended().await,
        None => std::future::pending().await,
    }
}

/// How long to wait after so many failures in a row, anywhere in the upper half of a span: sinks of many gateways must not
/// all come back at once.
fn wait_after(failures: u32) -> Duration {
    let span = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    let mut random = [0u8; 2];
    // Without randomness it is the shortest.
    let _ = aws_lc_rs::rand::fill(&mut random);
    span / 2 + (span / 2).mul_f64(f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_never_beyond_their_limit() {
        for (failures, least) in [(1, 100), (2, 200), (5, 1_600), (20, 15_000), (u32::MAX, 15_000)] {
            let least = Duration::from_millis(least);
            let wait = wait_after(failures);
            assert!(wait >= least && wait <= least * 2, "{failures}: {wait:?}");
        }
    }
}
