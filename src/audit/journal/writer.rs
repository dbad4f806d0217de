//! Records on their way to the file: one buffer, written in order, never torn.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::location::Location;
use super::room::{Outage, Room};
use crate::audit::event::{Event, VERSION};
use crate::audit::records::MOST_LINE;
use crate::audit::{frame, json};
use crate::telemetry::metrics;

/// For so long after a failed write records still wait in memory; then nothing new begins.
const TROUBLE_BEARABLE: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    pub(super) file: Arc<File>,
    pub(super) location: Location,
    /// The number of the file's first record.
    pub(super) first: u64,
    /// How long the file is.
    pub(super) bytes: u64,
    pub(super) pending: Vec<u8>,
    /// What the operating system has and the tree does not.
    pub(super) unhashed: Vec<u8>,
    /// The disk has failed to take the file, and nobody knows what it holds of it.
    pub(super) is_doubtful: bool,
    pub(super) next_sequence: u64,
    /// The last record that the operating system has.
    pub(super) written_sequence: u64,
    pub(super) origin: Box<str>,
    pub(super) clock: Clock,
    pub(super) closed: bool,
    /// What has gone wrong with the file, from the first failure to the next success.
    pub(super) trouble: Option<Trouble>,
    /// Why the file is not where it should be.
    pub(super) moved: Option<String>,
    pub(super) room: Room,
    /// So many outages began.
    pub(super) outages: u64,
    /// Those whose beginning was not shown to who watches.
    pub(super) unshown: Vec<Outage>,
    /// Those that are over and not on record yet.
    pub(super) over: Vec<Outage>,
}

pub(super) struct Trouble {
    pub(super) since: Instant,
    /// Which outage since the start it is, from 1.
    pub(super) number: u64,
    pub(super) what: String,
}

/// Writes moments; most records share their second with the one before.
#[derive(Default)]
pub(super) struct Clock {
    second: i64,
    /// That second down to the point, as in `2026-11-22T03:58:01.`
    text: String,
}

impl Clock {
    /// Appends a moment in UTC with six decimals (RFC 3339).
    fn write(&mut self, now: jiff::Timestamp, to: &mut Vec<u8>) {
        if self.text.is_empty() || self.second != now.as_second() {
            self.second = now.as_second();
            self.text = now.strftime("%Y-%m-%dT%H:%M:%S.").to_string();
        }
        to.extend_from_slice(self.text.as_bytes());
        let fraction = now.subsec_nanosecond().unsigned_abs() / 1000;
        // A million more keeps the zeros in front.
        let mut digits = itoa::Buffer::new();
        to.extend_from_slice(digits.format(fraction + 1_000_000).as_bytes().get(1..).unwrap_or_default());
        to.push(b'Z');
    }
}

impl Writer {
    /// Puts one record behind those that wait; on a full buffer the record is refused, never half kept.
    pub(super) fn push(&mut self, body: &[u8], most_pending: usize) -> io::Result<u64> {
        if self.pending.len() > most_pending {
            return Err(io::Error::other("too many records wait to be written"));
        }
        // Nobody would read it: the head and the checksum are far shorter than this.
        if body.len() > MOST_LINE - 1024 {
            return Err(io::Error::other("the record is longer than a record may be"));
        }
        let sequence = self.next_sequence;
        let to = &mut self.pending;
        let start = to.len();
        to.extend_from_slice(br#"{"seq":"#);
        to.extend_from_slice(itoa::Buffer::new().format(sequence).as_bytes());
        to.extend_from_slice(br#","origin":""#);
        to.extend_from_slice(self.origin.as_bytes());
        to.extend_from_slice(br#"","time":""#);
        self.clock.write(jiff::Timestamp::now(), to);
        to.extend_from_slice(br#"","v":"#);
        to.extend_from_slice(itoa::Buffer::new().format(VERSION).as_bytes());
        to.push(b',');
        to.extend_from_slice(body);
        frame::close(to, start);
        to.push(b'\n');
        self.next_sequence += 1;
        Ok(sequence)
    }

    /// Puts a record of the journal's own behind those that wait.
    pub(super) fn push_own(&mut self, event: &Event<'_>) -> io::Result<u64> {
        let mut body = Vec::new();
        json::write(event, &mut body).map_err(io::Error::other)?;
        self.push(body.get(1..).unwrap_or_default(), usize::MAX)
    }

    /// Forgets the newest record, which its caller was told is not recorded. Once its first bytes are on file it stays,
    /// since a line is never torn.
    ///
    /// Says whether it could.
    pub(super) fn take_back(&mut self, length: usize) -> bool {
        let Some(rest) = self.pending.len().checked_sub(length) else { return false };
        self.pending.truncate(rest);
        self.next_sequence -= 1;
        true
    }

    /// Hands what waits to the operating system. After an error the unwritten rest stays, so no line is torn: the
    /// next attempt goes on at the very byte where this one stopped.
    pub(super) fn write_out(&mut self) -> io::Result<()> {
        let mut done = 0;
        let result = loop {
            match self.pending.get(done..) {
                None | Some([]) => break Ok(()),
                Some(rest) => match (&*self.file).write(rest) {
                    Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                    Ok(bytes) => done += bytes,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Err(error),
                },
            }
        };
        self.bytes += done as u64;
        self.unhashed.extend_from_slice(self.pending.get(..done).unwrap_or_default());
        self.pending.drain(..done);
        match &result {
            Ok(()) => {
                self.written_sequence = self.next_sequence - 1;
                // What the disk does not take is in trouble, whatever the system takes.
                if done > 0 && !self.is_doubtful {
                    self.recovers();
                }
            }
            Err(error) => self.in_trouble(error.to_string()),
        }
        result
    }

    /// Records are written again.
    pub(super) fn recovers(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            tracing::info!("audit records are written again");
            self.is_over("unwritable", trouble);
        }
    }

    pub(super) fn in_trouble(&mut self, what: String) {
        if self.trouble.is_none() {
            metrics().audit_failures.inc();
            tracing::error!(
                error = what,
                "audit records can't be written; they are kept in memory and tried again"
            );
            let what = format!("the audit journal can't be written: {what}");
            let outage = self.begins("unwritable", &what);
            self.trouble = Some(Trouble { since: Instant::now(), number: outage.number, what });
            self.unshown.push(outage);
        }
    }

    /// Records that wait in memory are lost if the process dies, so that few may wait.
    pub(super) fn refuse_while_in_trouble(&self) -> io::Result<()> {
        if let Some(moved) = &self.moved {
            return Err(io::Error::other(moved.clone()));
        }
        match &self.trouble {
            Some(trouble) if trouble.since.elapsed() > TROUBLE_BEARABLE => {
                Err(io::Error::other(trouble.what.clone()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_rfc_3339() {
        let mut clock = Clock::default();
        for moment in
            ["2026-11-22T03:58:01.000007Z", "2026-11-22T03:58:01.137230Z", "2027-01-01T00:00:00.999999Z"]
        {
            let mut written = Vec::new();
            clock.write(moment.parse().expect("a moment"), &mut written);
            assert_eq!(String::from_utf8(written).expect("text"), moment);
        }
    }
}
