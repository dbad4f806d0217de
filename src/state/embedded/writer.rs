//! The thread that writes: it takes whatever waits into one commit, and answers when that is on the disk.
//!
//! Nothing else touches the file, so nobody waits for a lock, and the runtime's threads never wait for the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::EmbeddedLimits;
use super::file::{Change, Done, Revocation, StateFile};
use super::opening::OpenError;
use crate::state::health::Health;

/// So many changes share a commit at most.
const MOST_AT_ONCE: usize = 512;
/// How often what has ended is looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(10);
/// How long after a failure the file is opened again at the earliest.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What the file held when it was opened.
pub(super) struct Opened {
    pub(super) epoch: i64,
    pub(super) revocations: Vec<Revocation>,
}

/// What the thread is told.
pub(super) enum Message {
    /// A change, and whom to tell.
    Change(Change, oneshot::Sender<Done>),
    /// Open the file, and go on opening it after failures.
    Open(std::sync::mpsc::Sender<Result<Opened, OpenError>>),
    /// Finish what waits and leave the file to another process.
    Close(std::sync::mpsc::Sender<()>),
}

/// The thread's own things.
pub(super) struct Writer {
    pub(super) dir: PathBuf,
    pub(super) limits: EmbeddedLimits,
    pub(super) health: Arc<Health>,
    pub(super) file: Option<StateFile>,
    /// The epoch of the file that is this process's to use.
    pub(super) ours: Option<i64>,
    pub(super) failed_at: Option<Instant>,
}

impl Writer {
    /// Works until nobody can ask any more.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let mut prune_at = Instant::now() + PRUNE_EVERY;
        loop {
            let mut waiting = Vec::new();
            let wait = prune_at.saturating_duration_since(Instant::now());
            let mut next = match messages.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut control = None;
            while let Some(message) = next {
                match message {
                    Message::Change(change, answer) => waiting.push((change, answer)),
                    // Its place in the queue counts: what came before is finished first.
                    other => {
                        control = Some(other);
                        break;
                    }
                }
                next = if waiting.len() < MOST_AT_ONCE { messages.try_recv().ok() } else { None };
            }
            self.commit(waiting);
            match control {
                Some(Message::Open(answer)) => drop(answer.send(self.open())),
                Some(Message::Close(answer)) => {
                    (self.file, self.ours) = (None, None);
                    // Nobody may be waiting any more.
                    let _ = answer.send(());
                }
                Some(Message::Change(..)) | None => {}
            }
            if Instant::now() >= prune_at {
                let more = self.prune();
                prune_at = Instant::now() + if more { Duration::ZERO } else { PRUNE_EVERY };
            }
        }
    }

    fn open(&mut self) -> Result<Opened, OpenError> {
        self.file = None;
        let now = now();
        let file = StateFile::open(&self.dir, self.limits, now)?;
        let revocations = file
            .revocations(now)
            .map_err(|error| OpenError::Damaged { path: self.dir.clone(), error: error.to_string() })?;
        let opened = Opened { epoch: file.epoch, revocations };
        (self.file, self.ours, self.failed_at) = (Some(file), Some(opened.epoch), None);
        self.health.well();
        Ok(opened)
    }

    fn commit(&mut self, waiting: Vec<(Change, oneshot::Sender<Done>)>) {
        if waiting.is_empty() {
            return;
        }
        let (changes, answers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        self.open_again();
        let done = match &mut self.file {
            Some(file) => file.commit(changes, now()),
            None => Ok(Vec::new()),
        };
        let done = done.unwrap_or_else(|error| {
            self.fail(&error.to_string());
            Vec::new()
        });
        if done.contains(&Done::Full) {
            // Looked at again when what has ended was removed.
            self.health.overloaded(
                "its file holds as many entries as it may, so new ones are refused until old ones end; see the sizes in docs/state.md",
            );
        } else if !done.is_empty() {
            self.health.works();
        }
        let failed = std::iter::repeat_with(|| Done::Failed);
        for (answer, done) in answers.into_iter().zip(done.into_iter().chain(failed)) {
            // Who does not wait any more has counted it as unknown.
            let _ = answer.send(done);
        }
    }

    /// After a failure the database takes nothing more until it is opened anew.
    fn open_again(&mut self) {
        let may_try = self.failed_at.is_none_or(|failed| failed.elapsed() >= TRY_AGAIN_AFTER);
        if let (None, Some(epoch), true) = (&self.file, self.ours, may_try) {
            match StateFile::open_again(&self.dir, self.limits, epoch) {
                Ok(file) => self.file = Some(file),
                Err(error) => {
                    self.failed_at = Some(Instant::now());
                    self.health.ill(&error.to_string());
                }
            }
        }
    }

    fn fail(&mut self, why: &str) {
        (self.file, self.failed_at) = (None, Some(Instant::now()));
        self.health.ill(&format!("its file can't be written: {why}; check the disk of `state.data_dir`"));
    }

    /// Removes what has ended; says whether there is more.
    fn prune(&mut self) -> bool {
        self.open_again();
        match self.file.as_mut().map(|file| file.prune(now())) {
            Some(Ok(more)) => {
                self.health.well();
                more
            }
            Some(Err(error)) => {
                self.fail(&error.to_string());
                false
            }
            None => false,
        }
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::embedded::file::NAME;
    use crate::state::expiring::Key;

    fn writer(dir: &std::path::Path, limits: EmbeddedLimits) -> Writer {
        let dir = dir.to_owned();
        Writer { dir, limits, health: Arc::default(), file: None, ours: None, failed_at: None }
    }

    fn spend(writer: &mut Writer, name: &str, keep_ms: i64) -> Done {
        let (answer, mut answered) = oneshot::channel();
        // Long enough ago for another try.
        writer.failed_at = None;
        writer.commit(vec![(Change::Consume(Key::of(&[name.as_bytes()]), keep_ms), answer)]);
        answered.try_recv().expect("answered")
    }

    #[test]
    fn what_is_full_says_so_until_it_was_looked_at_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut writer = writer(dir.path(), EmbeddedLimits { proofs: 1, ..EmbeddedLimits::default() });
        writer.open().expect("opens");
        assert_eq!(spend(&mut writer, "a", 60_000), Done::Stored);
        assert_eq!(writer.health.trouble(), None);
        assert_eq!(spend(&mut writer, "b", 60_000), Done::Full);
        assert!(writer.health.trouble().is_some_and(|why| why.contains("as many entries as it may")));
        assert_eq!(spend(&mut writer, "a", 60_000), Done::Already);
        assert!(writer.health.trouble().is_some(), "not told with each request anew");
        writer.prune();
        assert_eq!(writer.health.trouble(), None);
    }

    #[test]
    fn a_file_that_is_gone_after_a_failure_is_not_made_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(NAME);
        let mut writer = writer(dir.path(), EmbeddedLimits::default());
        let spend = |writer: &mut Writer| spend(writer, "proof", 60_000);
        writer.open().expect("opens");
        assert_eq!(spend(&mut writer), Done::Stored);

        writer.fail("the disk is broken");
        std::fs::rename(&path, dir.path().join("away")).expect("moved");
        assert_eq!(spend(&mut writer), Done::Failed);
        assert!(!path.exists(), "nobody knows what the old one knew");
        assert!(writer.health.trouble().is_some_and(|why| why.contains("taken away or replaced")));

        // Neither is one taken that somebody else has made.
        let other = StateFile::open(dir.path(), EmbeddedLimits::default(), 0).expect("another");
        drop(other);
        assert_eq!(spend(&mut writer), Done::Failed);

        std::fs::rename(dir.path().join("away"), &path).expect("brought back");
        assert_eq!(spend(&mut writer), Done::Already);
        assert_eq!(writer.health.trouble(), None);
    }
}
