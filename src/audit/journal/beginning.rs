//! What a process writes first.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::location::Location;
use super::opening::{OpenError, Opened};
use super::room::Room;
use super::sealing::{Log, Sealer};
use super::writer::{Clock, Writer};
use super::{FLUSH_BYTES, Options, rotation};
use crate::audit::event::{Event, Quarantined};

/// Writes the first records of this process: where the file begins, who signs.
pub(super) fn first_records(
    path: &Path,
    opened: Opened,
    options: Options<'_>,
) -> Result<(Writer, Sealer), OpenError> {
    let fail = |cause: &dyn std::fmt::Display, remedy| OpenError::new(path, cause, remedy);
    let location =
        Location::of(path, &opened.file).map_err(|cause| fail(&cause, "let this user read the directory"))?;
    let mut writer = Writer {
        file: Arc::new(opened.file),
        location,
        first: opened.first_sequence,
        bytes: opened.bytes,
        pending: Vec::with_capacity(FLUSH_BYTES),
        unhashed: Vec::new(),
        is_doubtful: false,
        next_sequence: opened.next_sequence,
        written_sequence: 0,
        origin: options.origin.into(),
        clock: Clock::default(),
        closed: false,
        trouble: None,
        moved: None,
        room: Room::default(),
        outages: 0,
        unshown: Vec::new(),
        over: Vec::new(),
    };
    let why = if opened.is_quarantine { "quarantined" } else { "started" };
    let is_new = opened.log.is_none();
    let log = opened.log.or_else(|| Log::new(opened.next_sequence));
    let no_key = || fail(&"no key can be made", "the system gives no randomness: see its log");
    let mut log = log.ok_or_else(no_key)?;
    let not_written = |cause: io::Error| fail(&cause, "check the disk and its space");
    if is_new {
        let aside = opened.put_aside.as_ref();
        let aside = aside.map(|aside| Quarantined { file: &aside.file, line: aside.line });
        let header = log.header(why, aside, |header| writer.push_own(header));
        header.and_then(|_| writer.write_out()).map_err(not_written)?;
        log.take(&mut writer.unhashed);
    }
    // What is certified is what comes behind these records.
    let sealer = Sealer::new(log, options.key).ok_or_else(no_key)?;
    let write = |writer: &mut Writer| {
        writer.push_own(&sealer.signer())?;
        if opened.torn > 0 {
            writer.push_own(&Event::Torn { bytes: opened.torn })?;
        }
        writer.write_out()?;
        // Else the first records could be on disk, and no file of them.
        rotation::sync_directory(path)
    };
    write(&mut writer).map_err(not_written)?;
    Ok((writer, sealer))
}
