//! Room on the disk behind the file's end, kept for the records of requests whose tier needs them on disk: when others have
//! filled the disk, a clinician can still act.
//!
//! The room is allocated ahead of the records. While it can't be, the disk has no more to give: what needs no synced record
//! is refused then, and the rest goes on in the room that there is.

use std::fs::File;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::Shared;
use super::writer::{Trouble, Writer};
use crate::audit::event::Event;
use crate::policy::Durability;
use crate::telemetry::metrics;

/// How much room there is.
#[derive(Default)]
pub(super) struct Room {
    /// The file has room up to here, in bytes from its beginning.
    to: u64,
    /// Why no more can be had.
    scarce: Option<Trouble>,
    /// The file system can't keep room.
    is_unsupported: bool,
}

/// Something that keeps records from being taken.
pub(super) struct Outage {
    kind: &'static str,
    /// Which one since the start, from 1.
    pub(super) number: u64,
    why: String,
    /// How long it took, in seconds, where it is over.
    seconds: Option<u64>,
}

impl Outage {
    fn event(&self) -> Event<'_> {
        Event::JournalOutage {
            phase: if self.seconds.is_some() { "ended" } else { "begun" },
            kind: self.kind,
            number: self.number,
            why: &self.why,
            seconds: self.seconds,
        }
    }
}

impl Shared {
    /// Sees that there is room for records to come.
    pub(super) fn keep_room(&self) {
        if self.reserve == 0 {
            return;
        }
        // The file is not ended meanwhile.
        let _sealer = self.sealer.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, bytes) = {
            let writer = self.lock();
            let room = &writer.room;
            if writer.closed || room.is_unsupported || room.to >= writer.bytes + self.reserve {
                return;
            }
            (Arc::clone(&writer.file), writer.bytes)
        };
        // A little more, so that not every record asks for some.
        let length = self.reserve + self.reserve / 4;
        let allocated = fallocate(&*file, FallocateFlags::KEEP_SIZE, bytes, length);
        let mut writer = self.lock();
        match allocated {
            Ok(()) => {
                writer.room.to = bytes + length;
                if let Some(trouble) = writer.room.scarce.take() {
                    tracing::info!("the disk has room for audit records again");
                    writer.is_over("no_room", trouble);
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                writer.room.is_unsupported = true;
                tracing::warn!(
                    "this file system can't keep room for audit records (fallocate): when it is full, requests of every tier are refused; `audit: {{ reserve: 0B }}` ends this warning"
                );
            }
            Err(error) => writer.has_no_room(error),
        }
    }
}

impl Shared {
    /// Shows who watches which outages began since. Not where they begin: the journal is locked there.
    pub(super) fn show_outages(&self) {
        let Some(watcher) = self.watcher.get() else { return };
        let begun = std::mem::take(&mut self.lock().unshown);
        for outage in &begun {
            watcher(&outage.event());
        }
    }
}

/// Gives back the room behind a file that is ended. Where that fails it is as full as it was.
pub(super) fn give_back(file: &File) {
    let _ = file.metadata().and_then(|metadata| file.set_len(metadata.len()));
}

impl Writer {
    fn has_no_room(&mut self, error: Errno) {
        if self.room.scarce.is_some() {
            return;
        }
        metrics().audit_failures.inc();
        let what = format!("the disk of the audit trail has no more room: {error}");
        tracing::error!(
            "{what}; what is kept is left to requests whose tier needs synced records, all others are refused"
        );
        let outage = self.begins("no_room", &what);
        // Behind what waits; where it can't be written it waits as that does.
        let _ = self.push_own(&outage.event()).and_then(|_| self.write_out());
        self.room.scarce = Some(Trouble { since: Instant::now(), number: outage.number, what });
        self.unshown.push(outage);
    }

    /// Another outage.
    pub(super) fn begins(&mut self, kind: &'static str, why: &str) -> Outage {
        self.outages += 1;
        Outage { kind, number: self.outages, why: why.to_owned(), seconds: None }
    }

    /// Remembers that records are taken again, until that can be put on record.
    pub(super) fn is_over(&mut self, kind: &'static str, trouble: Trouble) {
        let Trouble { since, number, what } = trouble;
        self.over.push(Outage { kind, number, why: what, seconds: Some(since.elapsed().as_secs()) });
    }

    /// Puts on record what is over.
    pub(super) fn tell_what_is_over(&mut self) {
        for outage in std::mem::take(&mut self.over) {
            let _ = self.push_own(&outage.event());
        }
    }

    /// What is kept is not for everybody.
    pub(super) fn refuse_for_want_of_room(
        &self,
        event: &Event<'_>,
        durability: Durability,
    ) -> io::Result<()> {
        match &self.room.scarce {
            Some(trouble) if is_dispensable(event, durability) => Err(io::Error::other(trouble.what.clone())),
            _ => Ok(()),
        }
    }

    /// Why room is scarce.
    pub(super) fn scarcity(&self) -> Option<&str> {
        self.room.scarce.as_ref().map(|trouble| trouble.what.as_str())
    }

    /// Another file is written to.
    pub(super) fn begins_another(&mut self) {
        give_back(&self.file);
        self.room.to = 0;
    }
}

/// Refusals and challenges are told as long as that goes: without a challenge nobody could prove anything.
fn is_dispensable(event: &Event<'_>, durability: Durability) -> bool {
    match event {
        Event::Intent(_) => durability < Durability::Synced,
        Event::Unparsed { .. } => true,
        _ => false,
    }
}
