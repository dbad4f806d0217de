//! Writes the records of every trail in a sink's format.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::cursor::{Cursor, Position};
use super::feed::{self, Batch};
use super::item::Pending;
use crate::audit::formats::syslog::Header;
use crate::audit::formats::{Encoder, Record};
use crate::config::settings::RecordFormat;

/// Syslog's facility of audit logs (RFC 5424 §6.2.1).
const AUDIT: u8 = 13;

/// This machine's name, as messages say it.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// One for each sink: each trail has its own requests that wait for their outcome.
#[derive(Debug)]
pub(super) struct Scribe {
    format: RecordFormat,
    encoders: BTreeMap<String, Encoder>,
}

impl Scribe {
    pub(super) fn new(format: RecordFormat) -> Self {
        Self { format, encoders: BTreeMap::new() }
    }

    /// Converts what follows a trail's place, `at`; trails that are not in `cursor` any more are forgotten.
    ///
    /// # Errors
    /// What stands before the place can't be read.
    pub(super) fn write(
        &mut self,
        dir: &Path,
        cursor: &Cursor,
        at: &Position,
        batch: Batch,
    ) -> io::Result<Pending> {
        let RecordFormat::Converted(format) = self.format else {
            // The exact bytes: whoever has them can check them against the signed tree.
            return Ok(Pending::of(batch, Some));
        };
        self.encoders.retain(|name, _| *name == batch.trail || cursor.trails.contains_key(name));
        if !self.encoders.contains_key(&batch.trail) {
            let mut encoder = Encoder::new(format).with_header(Header::new(AUDIT, &host()));
            // Outcomes that follow are told with their intents, as they were or would have been before a restart.
            feed::before(dir, &batch.trail, at, |line| {
                if let Some(record) = Record::read(line) {
                    encoder.pass(record);
                }
            })?;
            self.encoders.insert(batch.trail.clone(), encoder);
        }
        let Some(encoder) = self.encoders.get_mut(&batch.trail) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        Ok(Pending::of(batch, |line| encoder.encode(Record::read(&line)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::formats::Format;
    use crate::audit::frame;

    fn line(number: u64, rest: &str) -> Vec<u8> {
        let text =
            format!(r#"{{"seq":{number},"origin":"o","time":"2026-11-22T10:15:00Z","v":1,"event":{rest}}}"#);
        let mut line = text.into_bytes();
        frame::close(&mut line, 0);
        line.push(b'\n');
        line
    }

    fn all(dir: &Path, cursor: &mut Cursor, scribe: &mut Scribe, most: usize) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        while let Some(batch) = feed::next(dir, cursor, "", most).expect("readable") {
            let at = cursor.trails.get(&batch.trail).cloned().unwrap_or_default();
            let pending = scribe.write(dir, cursor, &at, batch).expect("readable");
            bodies.extend(pending.items.into_iter().map(|(item, _)| item.body));
            cursor.trails.insert(pending.trail, pending.after);
        }
        bodies
    }

    #[test]
    fn an_outcome_is_the_same_bytes_whenever_the_sink_began() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, lines: &[Vec<u8>]| {
            std::fs::write(dir.path().join(name), lines.concat()).expect("written");
        };
        write(
            "audit.00000000000000000001.jsonl",
            &[line(1, r#""intent","decision":"d","verdict":"permit","action":"a""#)],
        );
        write(
            "audit.jsonl",
            &[
                line(2, r#""stopping""#),
                line(3, r#""outcome","decision":"d","intent":1,"result":"completed""#),
            ],
        );
        let format = RecordFormat::Converted(Format::Ocsf);
        let whole = all(dir.path(), &mut Cursor::default(), &mut Scribe::new(format), 9);
        let mut cursor = Cursor::default();
        let first = feed::next(dir.path(), &mut cursor, "", 2).expect("readable").expect("records");
        cursor.trails.insert(first.trail, first.after);
        // Another process goes on.
        let rest = all(dir.path(), &mut cursor, &mut Scribe::new(format), 1);
        assert_eq!(whole.last(), rest.last());
        assert!(String::from_utf8_lossy(&rest[0]).contains("\"operation\":\"a\""), "with its intent");
        assert_eq!((whole.len(), rest.len()), (3, 1));
    }
}
