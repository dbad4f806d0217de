//! What is done behind the requests' back: records go into the tree, checkpoints vouch for them, a full file is ended.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::beside::is_same;
use super::location::Location;
use super::opening::{NEXT, open_private};
use super::sealing::Sealer;
use super::writer::Writer;
use super::{Event, Shared};
use crate::telemetry::metrics;

impl Shared {
    /// Takes what was written into the tree, and vouches for it where that is due, or `at_once`.
    ///
    /// # Errors
    /// What waits could not be written, or not be vouched for.
    pub(super) fn seal(&self, at_once: bool) -> io::Result<()> {
        let mut sealer = self.sealer.lock().unwrap_or_else(PoisonError::into_inner);
        let why = {
            let mut writer = self.lock();
            sealer.lines.append(&mut writer.unhashed);
            self.why_next(&writer)
        };
        // Most is hashed while requests go on recording.
        sealer.hash();
        let Some(why) = why.filter(|_| sealer.may_rotate()) else {
            if sealer.is_due() || (at_once && sealer.has_unsealed()) {
                return self.checkpoint(&mut sealer, &mut self.lock());
            }
            return Ok(());
        };
        // The system tells of a failed sync once for each file, so that no other thread may be syncing this one: it
        // would be told of a success.
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, is_doubtful) = {
            let writer = self.lock();
            (Arc::clone(&writer.file), writer.is_doubtful)
        };
        // Most is brought to disk while requests go on recording, too.
        let synced = if is_doubtful { Ok(()) } else { file.sync_data() };
        let mut writer = self.lock();
        if let Err(error) = synced {
            writer.is_doubtful = true;
            writer.in_trouble(error.to_string());
        }
        self.checkpoint(&mut sealer, &mut writer)?;
        let why = if writer.is_doubtful { SYNC_FAILED } else { why };
        self.next_file(&mut sealer, &mut writer, why).inspect_err(|error| {
            // Where the disk has failed nothing that must be on it is admitted; a file that is too long is only long.
            metrics().audit_failures.inc();
            tracing::error!(%error, why, "the next audit file can't be begun; this is tried again");
            sealer.wait_to_rotate();
        })
    }

    /// Why the next file is to be begun, where it is.
    fn why_next(&self, writer: &Writer) -> Option<&'static str> {
        match (writer.is_doubtful, writer.bytes >= self.most_bytes) {
            // What ends anyway needs no next file.
            _ if writer.closed => None,
            (true, _) => Some(SYNC_FAILED),
            (false, true) => Some("full"),
            (false, false) => None,
        }
    }

    /// Vouches for all records, of which none may be on its way then.
    fn checkpoint(&self, sealer: &mut Sealer, writer: &mut Writer) -> io::Result<()> {
        writer.write_out()?;
        sealer.lines.append(&mut writer.unhashed);
        sealer.hash();
        let note = sealer.checkpoint().ok_or_else(|| io::Error::other("the checkpoint can't be signed"))?;
        writer.push_own(&Event::Checkpoint { note: &note })?;
        writer.write_out()
    }

    /// Ends the file and begins the next, which says what it goes on after.
    fn next_file(&self, sealer: &mut Sealer, writer: &mut Writer, why: &'static str) -> io::Result<()> {
        sealer.lines.append(&mut writer.unhashed);
        sealer.hash();
        // Another file that stands in its place would be ended instead.
        writer.location.check(&writer.file)?;
        if !writer.is_doubtful {
            if let Err(error) = writer.file.sync_data() {
                writer.is_doubtful = true;
                writer.in_trouble(error.to_string());
                return Err(error);
            }
            self.synced.fetch_max(writer.written_sequence, Ordering::Release);
        }
        let next = self.path.with_extension(NEXT);
        match std::fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = open_private(&next)?;
        let first = sealer.log.header(why, None, |header| writer.push_own(header))?;
        // Nothing else waits: the line is all there is.
        let header = writer.pending.clone();
        writer.pending.clear();
        let location = Location::of(&self.path, &file);
        let begun = location.and_then(|location| {
            put_in_place(&mut file, &header, &next, &self.path, writer.first).map(|()| location)
        });
        let location = match begun {
            Ok(location) => location,
            Err(error) => {
                writer.next_sequence -= 1;
                return Err(error);
            }
        };
        writer.begins_another();
        writer.location = location;
        writer.file = Arc::new(file);
        writer.first = first;
        writer.bytes = header.len() as u64;
        writer.written_sequence = first;
        writer.unhashed.extend_from_slice(&header);
        if std::mem::take(&mut writer.is_doubtful) {
            self.doubtful.fetch_max(first - 1, Ordering::Release);
            writer.recovers();
            tracing::info!("audit records go on in a new file");
        }
        // It is in its place, and nobody knows whether it stays there when the power fails.
        let kept = sync_directory(&self.path).inspect_err(|error| {
            writer.is_doubtful = true;
            writer.in_trouble(error.to_string());
        });
        writer.push_own(&sealer.signer())?;
        writer.write_out()?;
        kept
    }
}

/// Why the next file begins where the disk has failed to take the one before.
const SYNC_FAILED: &str = "sync_failed";

/// Writes the next file's first line, brings it to disk, and lets it take the other's place: there is a file under the
/// name at each moment, and none is ever written over.
fn put_in_place(file: &mut File, header: &[u8], next: &Path, path: &Path, first: u64) -> io::Result<()> {
    file.write_all(header)?;
    file.sync_all()?;
    let ended = path.with_extension(format!("{first:020}.jsonl"));
    match std::fs::hard_link(path, &ended) {
        // An attempt before this one got as far, and could not be undone.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_same(path, &ended) => {}
        linked => linked?,
    }
    if let Err(error) = std::fs::rename(next, path) {
        // It has only one name again, and goes on. Where that fails too, a start finds that the next does not follow.
        let _ = std::fs::remove_file(next);
        let _ = std::fs::remove_file(&ended);
        return Err(error);
    }
    Ok(())
}

/// Brings to disk which files there are.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
