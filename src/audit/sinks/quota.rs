//! How much of the trails waits for the slowest sink, and who is told when that comes near what was set aside for it. Nobody is
//! refused anything for it: what the disk takes is not lost, and a collector that is down is no reason to keep a clinician from
//! a result. When the disk itself is full, the journal's reserve decides.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Trouble;
use super::cursor::{self, Cursor, Position};
use super::files::{self, Place};
use crate::audit::event::Event;
use crate::audit::trail;
use crate::enforce::ports::Journal;
use crate::policy::Durability;
use crate::telemetry::metrics;

/// So often it is measured.
const LOOK: Duration = Duration::from_secs(5);
/// In hundredths of the quota.
const MARKS: [u64; 4] = [100, 95, 85, 70];
/// A mark is left when so much less waits, in hundredths, so that nobody is told over and over.
const LEFT: u64 = 5;

/// What was set aside for records that wait.
pub(super) struct Quota {
    dir: PathBuf,
    sinks: Vec<Arc<str>>,
    bytes: u64,
    /// The highest mark that was reached and not left; 0 is none.
    mark: u64,
    trouble: Trouble,
}

impl Quota {
    pub(super) fn new(dir: PathBuf, sinks: Vec<Arc<str>>, bytes: u64, trouble: Trouble) -> Self {
        Self { dir, sinks, bytes, mark: 0, trouble }
    }

    /// Measures until the gateway stops.
    pub(super) async fn run(mut self, journal: Arc<dyn Journal>, mut stop: watch::Receiver<bool>) {
        loop {
            let (dir, sinks) = (self.dir.clone(), self.sinks.clone());
            let measured = tokio::task::spawn_blocking(move || waiting(&dir, &sinks)).await;
            let trouble = match measured.map_err(io::Error::other).flatten() {
                Ok(waiting) => {
                    metrics().audit_undelivered.set(i64::try_from(waiting).unwrap_or(i64::MAX));
                    self.passed(waiting, &*journal).await;
                    (self.mark > 0).then(|| {
                        let Self { mark, bytes, .. } = &self;
                        format!(
                            "{waiting} bytes of audit records wait for the slowest sink: {mark} % of `audit.undelivered_quota` ({bytes}) are reached"
                        )
                    })
                }
                Err(error) => {
                    tracing::warn!(%error, "how many audit records wait to be delivered can't be measured");
                    Some(format!("how many audit records wait to be delivered can't be measured: {error}"))
                }
            };
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Puts a mark on record that is reached; where that fails it counts as not reached, and comes again.
    async fn passed(&mut self, waiting: u64, journal: &dyn Journal) {
        let mark = mark(waiting, self.bytes, self.mark);
        if mark > self.mark {
            tracing::warn!(waiting, quota = self.bytes, mark, "audit records wait to be delivered");
            let event = Event::JournalNearQuota { mark, bytes: waiting, quota: self.bytes };
            if journal.append(&event, Durability::Written).await.is_err() {
                return;
            }
        }
        self.mark = mark;
    }
}

/// The mark where so many bytes wait, after the one that was reached before.
fn mark(waiting: u64, quota: u64, before: u64) -> u64 {
    let share = u128::from(waiting) * 100 / u128::from(quota.max(1));
    let is_reached = |mark: &&u64| {
        // One that was reached is left a little further down.
        let from = if **mark <= before { **mark - LEFT } else { **mark };
        share >= u128::from(from)
    };
    MARKS.iter().find(is_reached).copied().unwrap_or(0)
}

/// How many bytes of the trails the slowest sink has not got.
fn waiting(dir: &std::path::Path, sinks: &[Arc<str>]) -> io::Result<u64> {
    let trails = trail::trails(dir)?;
    let mut files = Vec::new();
    for (name, trail) in &trails {
        let mut lengths = Vec::new();
        for (first, place) in files::sources(trail)? {
            lengths.push((first, length(&place)?));
        }
        files.push((name, lengths));
    }
    let mut most = 0;
    for sink in sinks {
        let cursor = Cursor::load(&cursor::path(dir, sink))?;
        let behind = |(name, lengths): &(&String, Vec<(u64, u64)>)| {
            behind(lengths, &cursor.trails.get(*name).cloned().unwrap_or_default())
        };
        most = most.max(files.iter().map(behind).sum());
    }
    Ok(most)
}

fn length(place: &Place<'_>) -> io::Result<u64> {
    place.with(|file| Ok(file.metadata()?.len()))
}

/// How many bytes follow a place, in files by the numbers of their first records.
fn behind(lengths: &[(u64, u64)], at: &Position) -> u64 {
    let is_there = lengths.iter().any(|(first, _)| *first == at.first);
    // Another trail, as for those who deliver.
    let is_another = !is_there && lengths.first().is_some_and(|(first, _)| *first < at.first);
    let left = |(first, length): &(u64, u64)| match first.cmp(&at.first) {
        std::cmp::Ordering::Less if !is_another => 0,
        std::cmp::Ordering::Equal => length.saturating_sub(at.offset),
        _ => *length,
    };
    lengths.iter().map(left).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_told_once_until_it_is_left() {
        let (mut before, mut marks) = (0, Vec::new());
        for waiting in [0, 69, 70, 84, 69, 66, 65, 64, 70, 86, 99, 100, 250, 96, 95, 94, 60] {
            before = mark(waiting * 10, 1_000, before);
            marks.push(before);
        }
        assert_eq!(marks, [0, 0, 70, 70, 70, 70, 70, 0, 70, 85, 95, 100, 100, 100, 100, 95, 0]);
    }

    #[test]
    fn what_follows_a_place_is_counted() {
        let lengths = [(1, 100), (6, 100), (9, 40)];
        let at = |first, offset| Position { first, offset, ..Position::default() };
        for (place, bytes) in [(at(0, 0), 240), (at(1, 30), 210), (at(6, 100), 40), (at(9, 40), 0)] {
            assert_eq!(behind(&lengths, &place), bytes, "{place:?}");
        }
        assert_eq!(behind(&lengths, &at(700, 5)), 240, "another trail");
        assert_eq!(behind(&lengths[1..], &at(1, 30)), 140, "its file is gone");
    }
}
