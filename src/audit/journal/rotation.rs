//! What is done behind the requests' back: records go into the tree, checkpoints vouch for them, a full file is ended.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::location::Location;
use super::opening::{NEXT, open_private};
use super::sealing::Sealer;
use super::writer::Writer;
use super::{Event, Shared};
use crate::telemetry::metrics;

impl Shared {
    /// Takes what was written into the tree, and vouches for it where that is due, or `at_once`.
    pub(super) fn seal(&self, at_once: bool) {
        let mut sealer = self.sealer.lock().unwrap_or_else(PoisonError::into_inner);
        // Most is hashed while requests go on recording.
        sealer.spare.append(&mut self.lock().unhashed);
        sealer.hash();
        let mut writer = self.lock();
        let why = match (writer.is_doubtful, writer.bytes >= self.most_bytes) {
            (true, _) => Some("sync_failed"),
            (false, true) => Some("full"),
            (false, false) => None,
        };
        // What ends anyway needs no next file.
        let why = why.filter(|_| !writer.closed && sealer.may_rotate());
        if why.is_none() && !sealer.is_due() && !(at_once && sealer.has_unsealed()) {
            return;
        }
        // A checkpoint is of all records before it, so that none may be on its way.
        if writer.write_out().is_err() {
            return;
        }
        sealer.spare.append(&mut writer.unhashed);
        sealer.hash();
        let Some(note) = sealer.checkpoint() else { return };
        let pushed = writer.push_own(&Event::Checkpoint { note: &note });
        if pushed.and_then(|_| writer.write_out()).is_err() {
            return;
        }
        if let Some(why) = why
            && let Err(error) = self.next_file(&mut sealer, &mut writer, why)
        {
            // Where the disk has failed nothing that must be on it is admitted; a file that is too long is only long.
            metrics().audit_failures.inc();
            tracing::error!(%error, why, "the next audit file can't be begun; this is tried again");
            sealer.wait_to_rotate();
        }
    }

    /// Ends the file and begins the next, which says what it goes on after.
    fn next_file(&self, sealer: &mut Sealer, writer: &mut Writer, why: &'static str) -> io::Result<()> {
        sealer.spare.append(&mut writer.unhashed);
        sealer.hash();
        if !writer.is_doubtful {
            writer.file.sync_data().inspect_err(|_| writer.is_doubtful = true)?;
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
        let header = std::mem::take(&mut writer.pending);
        let location = Location::of(&self.path, &file);
        let begun = location.and_then(|location| {
            begin(&mut file, &header, &next, &self.path, writer.first).map(|()| location)
        });
        let location = match begun {
            Ok(location) => location,
            Err(error) => {
                writer.next_sequence -= 1;
                return Err(error);
            }
        };
        writer.location = location;
        writer.file = Arc::new(file);
        writer.first = first;
        writer.bytes = header.len() as u64;
        writer.written_sequence = first;
        writer.unhashed.extend_from_slice(&header);
        if std::mem::take(&mut writer.is_doubtful) {
            self.doubtful.fetch_max(first - 1, Ordering::Release);
            writer.trouble = None;
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

/// Writes the next file's first line, brings it to disk, and lets it take the other's place.
fn begin(file: &mut File, header: &[u8], next: &Path, path: &Path, first: u64) -> io::Result<()> {
    file.write_all(header)?;
    file.sync_all()?;
    let ended = path.with_extension(format!("{first:020}.jsonl"));
    std::fs::rename(path, &ended)?;
    if let Err(error) = std::fs::rename(next, path) {
        // Else nothing would be where people look for it.
        let _ = std::fs::rename(&ended, path);
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
