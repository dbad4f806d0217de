//! What waits is brought to the system and to the disk.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::{FLUSH_EVERY, Shared};
use crate::telemetry::metrics;

/// How often the file is looked for where it should be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Shared {
    /// Waits until the disk has everything up to and including `sequence`; one waiter syncs for all before it.
    pub(super) fn sync(&self, sequence: u64) -> io::Result<()> {
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = || Err(io::Error::other("the disk failed to take the file that holds the record"));
        // Before what the disk has: it may have later records, in a file that was begun since.
        if self.doubtful.load(Ordering::Acquire) >= sequence {
            return failed();
        }
        if self.synced.load(Ordering::Acquire) >= sequence {
            return Ok(());
        }
        let (written, file, is_doubtful) = {
            let writer = self.lock();
            (writer.written_sequence, Arc::clone(&writer.file), writer.is_doubtful)
        };
        if is_doubtful {
            return failed();
        }
        if let Err(error) = file.sync_data() {
            // The system may now believe that the disk has what it has not: the file is never synced again.
            let mut writer = self.lock();
            if Arc::ptr_eq(&file, &writer.file) {
                writer.is_doubtful = true;
                writer.in_trouble(error.to_string());
            }
            self.wake.notify_all();
            return Err(error);
        }
        self.synced.fetch_max(written, Ordering::Release);
        Ok(())
    }

    pub(super) fn flush_for_ever(&self) {
        let mut looked_at = Instant::now();
        loop {
            {
                let mut writer = self.lock();
                if writer.closed {
                    return;
                }
                // A failure is told once, when it begins; the records are kept and tried again.
                if writer.write_out().is_ok() {
                    writer.tell_what_is_over();
                }
                if looked_at.elapsed() >= LOOK_EVERY {
                    looked_at = Instant::now();
                    let checked = writer.location.check(&writer.file).err().map(|error| error.to_string());
                    if let (Some(error), None) = (&checked, &writer.moved) {
                        metrics().audit_failures.inc();
                        tracing::error!(error, "nothing that must be recorded is admitted any more");
                    }
                    writer.moved = checked;
                }
            }
            // Here as well.
            let _ = self.seal(false);
            self.keep_room();
            self.show_outages();
            let writer = self.lock();
            if !writer.closed {
                drop(self.wake.wait_timeout(writer, FLUSH_EVERY));
            }
        }
    }
}
