//! Samples as lines of a journal.

use crate::audit::event::{Event, VERSION};
use crate::audit::{frame, json};

/// The lines as the journal writes them; the first is number 1.
pub(in crate::audit::formats) struct Lines {
    pub(in crate::audit::formats) lines: Vec<Vec<u8>>,
}

impl Lines {
    /// Writes one more; gives its number.
    pub(super) fn add(&mut self, event: &Event<'_>) -> u64 {
        let sequence = self.lines.len() as u64 + 1;
        let head = format!(
            r#"{{"seq":{sequence},"origin":"0198c2f14cf07c31","time":"2026-11-22T10:15:00.123456Z","v":{VERSION},"#
        );
        let mut line = Vec::new();
        json::write(event, &mut line).expect("writable");
        line.splice(..1, head.into_bytes());
        frame::close(&mut line, 0);
        self.lines.push(line);
        sequence
    }
}
