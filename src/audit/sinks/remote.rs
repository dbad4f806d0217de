//! Waiting until another machine has a record: for requests whose tier wants its intent there before anything is forwarded.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::cursor;

/// A request waits no longer.
const MOST_WAIT: Duration = Duration::from_secs(2);
/// So often its cursor is looked at, by one of those who wait: during an upgrade the process before delivers.
const LOOK: Duration = Duration::from_millis(100);

/// The sink that must have records, and how far it has come in one trail.
pub struct Remote {
    dir: PathBuf,
    sink: Box<str>,
    trail: Box<str>,
    delivered: watch::Sender<u64>,
    appended: Notify,
    is_looked_at: AtomicBool,
}

impl Remote {
    /// A sink by its name, and the trail in `dir` that is waited for.
    pub fn new(dir: PathBuf, sink: Box<str>, trail: Box<str>) -> Self {
        let (appended, is_looked_at) = (Notify::new(), AtomicBool::new(false));
        Self { dir, sink, trail, delivered: watch::Sender::new(0), appended, is_looked_at }
    }

    /// Waits until the sink has everything up to this record, for at most two seconds; says whether it has. The record must
    /// be written.
    pub async fn has(self: &Arc<Self>, sequence: u64) -> bool {
        let mut delivered = self.delivered.subscribe();
        self.appended.notify_one();
        let wait = async {
            while *delivered.borrow_and_update() < sequence {
                if timeout(LOOK, delivered.changed()).await.is_err() {
                    self.look();
                }
            }
        };
        timeout(MOST_WAIT, wait).await.is_ok()
    }

    /// Looks at the cursor, unless somebody does; what is found comes as any other news.
    fn look(self: &Arc<Self>) {
        if self.is_looked_at.swap(true, Ordering::AcqRel) {
            return;
        }
        let own = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let sinks = std::slice::from_ref(&own.sink);
            // One that can't be read says nothing.
            if let Ok(sequence) = cursor::delivered(&own.dir, sinks, &own.trail, |_| true) {
                own.publish(&own.trail, sequence);
            }
            own.is_looked_at.store(false, Ordering::Release);
        });
    }

    /// The name of the sink.
    pub(super) fn sink(&self) -> &str {
        &self.sink
    }

    /// The sink has acknowledged everything of a trail up to this record.
    pub(super) fn publish(&self, trail: &str, sequence: u64) {
        if trail == &*self.trail {
            self.delivered.send_if_modified(|last| std::mem::replace(last, sequence.max(*last)) < sequence);
        }
    }

    /// Waits until somebody waits.
    pub(super) async fn appended(&self) {
        self.appended.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(dir: &std::path::Path) -> Arc<Remote> {
        Arc::new(Remote::new(dir.to_owned(), "siem".into(), "audit".into()))
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_acknowledged_of_that_trail_is_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let remote = remote(dir.path());
        remote.publish("audit", 7);
        remote.publish("audit-other", 9);
        remote.publish("audit", 3);
        assert!(remote.has(7).await);
        assert!(!remote.has(8).await, "nobody says so in time");
        let (later, waiting) = (Arc::clone(&remote), Arc::clone(&remote));
        let waiting = tokio::spawn(async move { waiting.has(8).await });
        later.appended().await;
        later.publish("audit", 8);
        assert!(waiting.await.expect("no panic"));
    }

    #[tokio::test]
    async fn another_process_may_deliver() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("sinks")).expect("made");
        let cursor = r#"{"trails":{"audit":{"first":1,"offset":0,"before":0,"sequence":12}}}"#;
        std::fs::write(dir.path().join("sinks/siem.cursor"), cursor).expect("written");
        assert!(remote(dir.path()).has(12).await);
    }
}
