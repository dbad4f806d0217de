//! Files whose records are old enough are removed, the oldest first: each only after a record that says so is signed and on
//! disk. What can't be proven to be whole, old and delivered stays.
//!
//! A clock that is wrong must not remove a trail. It counts once it has run for half a day as the monotonic clock has: with
//! a wrong one no token is good, so that nobody runs a gateway like that for so long. And files go one by one.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::beside::{Beside, is_same};
use super::rotation::sync_directory;
use super::{FileJournal, Shared};
use crate::audit::event::{Event, RetiredEvent};
use crate::audit::frame::{self, Head};
use crate::audit::signing::{Key, Trusted};
use crate::audit::trail::read_line;
use crate::audit::verify::Verifier;
use crate::audit::{records::MOST_SEQUENCE, sinks};
use crate::policy::Durability;
use crate::telemetry::metrics;

/// So often one file may be retired: 9 GiB a day at most, and time to stop it.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// For so long the clock must have run as the monotonic one.
const PROVEN_AFTER: Duration = Duration::from_secs(12 * 3_600);
/// And it may have been set by no more than this meanwhile.
const MOST_DRIFT: SignedDuration = SignedDuration::from_hours(1);

/// How long files are kept.
#[derive(Debug, Clone)]
pub struct Retention {
    /// A file goes when its newest record is older.
    pub keep: Duration,
    /// The sinks that must have got all of it.
    pub sinks: Vec<Box<str>>,
}

/// Whether the clock can be believed.
struct Clock {
    since: Instant,
    at: Timestamp,
}

impl Clock {
    fn is_proven(&mut self, instant: Instant, now: Timestamp) -> bool {
        let ran = instant.saturating_duration_since(self.since);
        let said = now.duration_since(self.at);
        let drift = SignedDuration::try_from(ran).map_or(SignedDuration::MAX, |ran| said.saturating_sub(ran));
        if drift.abs() > MOST_DRIFT {
            // It was set: what it says now has to prove itself.
            tracing::warn!("the clock was set; no audit file is retired for the next 12 hours");
            *self = Self { since: instant, at: now };
            return false;
        }
        ran >= PROVEN_AFTER
    }
}

impl FileJournal {
    /// Begins to retire files. What keeps one from that shows in [`Self::notices`].
    ///
    /// # Errors
    /// There are too many threads.
    pub fn keep_for(&self, retention: Retention, key: &Key) -> io::Result<()> {
        let key = key.public().to_owned();
        let shared = Arc::downgrade(&self.shared);
        let retire = move || {
            let mut clock = Clock { since: Instant::now(), at: Timestamp::now() };
            loop {
                std::thread::park_timeout(LOOK_EVERY);
                let Some(shared) = shared.upgrade() else { return };
                let now = Timestamp::now();
                if clock.is_proven(Instant::now(), now) {
                    shared.tell_retired(shared.retire(&retention, &key, now));
                }
            }
        };
        std::thread::Builder::new().name("audit-retention".to_owned()).spawn(retire).map(drop)
    }
}

impl Shared {
    fn tell_retired(&self, retired: io::Result<Option<String>>) {
        let trouble = match retired {
            Ok(None) => None,
            Ok(Some(file)) => {
                metrics().audit_retired.inc();
                tracing::info!(file, "an audit file has reached the end of its retention and was removed");
                None
            }
            Err(error) => {
                metrics().audit_failures.inc();
                tracing::error!(%error, "an old audit file can't be retired; it stays, and so do all behind it");
                Some(format!("an old audit file can't be retired: {error}"))
            }
        };
        *self.unretired.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Removes the oldest file where its time has come; gives its name.
    pub(super) fn retire(
        &self,
        retention: &Retention,
        key: &str,
        now: Timestamp,
    ) -> io::Result<Option<String>> {
        let beside = Beside::list(&self.path)?;
        let Some((first, front, next)) = beside.front(&self.path) else { return Ok(None) };
        if is_same(front, next) {
            // It is just being ended.
            return Ok(None);
        }
        // What the next file begins with was written when this one was ended: most looks end here.
        let header = first_line(next)?;
        let head = Head::read(&header).filter(|head| head.sequence < MOST_SEQUENCE);
        let Some(head) = head else { return Err(named(next, "it does not begin as a file of the trail")) };
        let latest = moment(&header).ok_or_else(|| named(next, "its first record says no time"))?;
        if !is_old(latest, retention.keep, now) {
            return Ok(None);
        }
        let trail = self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let own = self.lock().first;
        let is_there = |first| first == own || beside.has(first);
        let dir = self.path.parent().unwrap_or(Path::new("."));
        if sinks::delivered(dir, &retention.sinks, trail, is_there)? < head.sequence.saturating_sub(1) {
            return Ok(None);
        }
        let key = Trusted::read(key).ok_or_else(|| io::Error::other("the key of checkpoints is none"))?;
        let file = File::open(front)?;
        let Whole { newest, log, size, root, last } = Whole::read(&file, &key, &header, front)?;
        if !is_old(newest, retention.keep, now) {
            return Ok(None);
        }
        let name = front.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let event = Event::Retired(RetiredEvent {
            file: &name,
            first,
            last,
            newest: &newest.to_string(),
            log: &log,
            size,
            root: &root,
        });
        let recorded = self.append(&event, Durability::Written).map_err(|refused| refused.error)?;
        self.seal(true)?;
        self.sync(recorded)?;
        std::fs::remove_file(front)?;
        sync_directory(&self.path)?;
        Ok(Some(name))
    }
}

/// A file in which nothing was changed.
struct Whole {
    /// The latest moment that any of its records tells.
    newest: Timestamp,
    log: String,
    /// How many records the log has up to its end, and the root of their tree.
    size: u64,
    root: String,
    /// The number of its last record.
    last: u64,
}

impl Whole {
    /// Reads a file through, and sees that the next goes on after it.
    fn read(file: &File, key: &Trusted, next: &[u8], path: &Path) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let (mut verifier, mut newest, mut line) = (Verifier::new(key, None), None, Vec::new());
        for number in 1_u64.. {
            let read = read_line(&mut reader, &mut line)?;
            if read.length == 0 {
                break;
            }
            let checked = if read.is_ended {
                verifier.record(&line).map_err(|fault| fault.to_string())
            } else {
                Err("it has no end".to_owned())
            };
            checked.map_err(|fault| {
                named(path, &format!("line {number}: {fault}; see `wardgate audit verify`"))
            })?;
            newest = newest.max(moment(&line));
        }
        let empty = || named(path, "it holds no record");
        let log = verifier.log().ok_or_else(empty)?;
        let (name, size, root) = (log.name.clone(), log.tree.size(), log.tree.root().to_string());
        let whole = Self { newest: newest.ok_or_else(empty)?, log: name, size, root, last: log.next - 1 };
        verifier.next_file();
        let follows = verifier.record(next);
        follows.map_err(|fault| {
            named(path, &format!("what follows it: {fault}; see `wardgate audit verify`"))
        })?;
        Ok(whole)
    }
}

fn is_old(newest: Timestamp, keep: Duration, now: Timestamp) -> bool {
    SignedDuration::try_from(keep).is_ok_and(|keep| now.duration_since(newest) > keep)
}

/// When a record was written.
fn moment(line: &[u8]) -> Option<Timestamp> {
    frame::time(line)?.parse().ok()
}

fn first_line(path: &Path) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let read = read_line(&mut BufReader::new(File::open(path)?), &mut line)?;
    if !read.is_ended || !frame::is_whole(&line) {
        return Err(named(path, "its first record is damaged"));
    }
    Ok(line)
}

fn named(path: &Path, what: &str) -> io::Error {
    io::Error::other(format!("`{}`: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_believed_once_it_has_run_for_half_a_day() {
        let (begun, at) = (Instant::now(), "2026-11-22T10:00:00Z".parse::<Timestamp>().expect("a moment"));
        let mut clock = Clock { since: begun, at };
        let hours = |count: u64| Duration::from_secs(count * 3_600);
        let after = |count: i64| at + SignedDuration::from_hours(count);
        assert!(!clock.is_proven(begun + hours(11), after(11)));
        assert!(clock.is_proven(begun + hours(12), after(12)));
        for set in [after(24 * 3_650), after(-24)] {
            let mut clock = Clock { since: begun, at };
            assert!(!clock.is_proven(begun + hours(13), set), "it was set");
            assert!(!clock.is_proven(begun + hours(24), set + SignedDuration::from_hours(11)));
            assert!(clock.is_proven(begun + hours(25), set + SignedDuration::from_hours(12)));
        }
    }
}
