//! What a sink's target gets, and what is left of it to deliver.

use jiff::Timestamp;

use super::cursor::Position;
use super::feed::Batch;

/// One record as it is handed over.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// `origin:seq`, by which whoever gets it twice knows it.
    pub(super) key: String,
    /// When it was written.
    pub(super) time: Timestamp,
    /// The record in the sink's format, without a line's end.
    pub(super) body: Vec<u8>,
}

/// What was read and converted, and is not yet delivered to its end: after a failure nothing is read or converted again.
#[derive(Debug)]
pub(super) struct Pending {
    /// The trail's name.
    pub(super) trail: String,
    /// In order; each with the place behind it.
    pub(super) items: Vec<(Item, Position)>,
    /// The place behind all of it.
    pub(super) after: Position,
    /// So many lines are no records as they were written, and are left out.
    pub(super) damaged: u64,
    /// So many records follow, about.
    pub(super) behind: u64,
}

impl Pending {
    /// What becomes of a batch. A record that the format has no place for is left out; whoever has what comes before it has
    /// it as well.
    pub(super) fn of(batch: Batch, mut encode: impl FnMut(Vec<u8>) -> Option<Vec<u8>>) -> Self {
        let mut items: Vec<(Item, Position)> = Vec::with_capacity(batch.records.len());
        for record in batch.records {
            match (encode(record.line), items.last_mut()) {
                (Some(body), _) => {
                    items.push((Item { key: record.key, time: record.time, body }, record.after));
                }
                (None, Some((_, after))) => *after = record.after,
                (None, None) => {}
            }
        }
        Self { trail: batch.trail, items, after: batch.after, damaged: batch.damaged, behind: batch.behind }
    }

    /// The first so many of them were taken: the place up to which all is delivered now.
    pub(super) fn taken(&mut self, count: usize) -> Option<Position> {
        let last = self.items.drain(..count.min(self.items.len())).next_back().map(|(_, after)| after);
        if self.items.is_empty() { Some(self.after.clone()) } else { last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sinks::feed::Record;

    fn place(sequence: u64) -> Position {
        Position { first: 1, offset: sequence * 10, before: 0, sequence }
    }

    #[test]
    fn what_the_format_has_no_place_for_goes_with_what_comes_before_it() {
        let record = |sequence: u64| Record {
            key: format!("o:{sequence}"),
            time: Timestamp::UNIX_EPOCH,
            line: vec![b'0' + u8::try_from(sequence).expect("a digit")],
            after: place(sequence),
        };
        let batch = Batch {
            trail: "audit".to_owned(),
            records: (1..=5).map(record).collect(),
            after: place(6),
            damaged: 0,
            behind: 0,
        };
        let mut pending =
            Pending::of(batch, |line| (!matches!(line.as_slice(), b"1" | b"3")).then_some(line));
        let keys: Vec<_> = pending.items.iter().map(|(item, _)| item.key.clone()).collect();
        assert_eq!(keys, ["o:2", "o:4", "o:5"]);
        assert_eq!(pending.taken(0), None);
        assert_eq!(pending.taken(1), Some(place(3)));
        assert_eq!(pending.taken(2), Some(place(6)), "with the damaged lines at the end");
    }
}
