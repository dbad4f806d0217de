//! Keeps a flood of refusals out of the journal: the first are recorded one by one, the rest as a number.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often the numbers are recorded.
pub const SPAN: Duration = Duration::from_secs(10);

/// How many events of one cause at one listener are recorded one by one in each span.
const ONE_BY_ONE: u32 = 100;

/// What happened in one span.
#[derive(Debug, Default)]
struct Kind {
    recorded: u32,
    more: u64,
}

/// The events of the current span, by cause and listener: both come from closed lists, so this stays small.
#[derive(Debug, Default)]
pub struct Flood(Mutex<BTreeMap<&'static str, BTreeMap<Box<str>, Kind>>>);

impl Flood {
    /// Counts an event, and says whether it is still one of those that are recorded one by one.
    pub fn is_recorded(&self, listener: &str, cause: &'static str) -> bool {
        self.count(listener, cause, ONE_BY_ONE)
    }

    /// Counts an event that is never recorded on its own.
    pub fn add(&self, listener: &str, cause: &'static str) {
        self.count(listener, cause, 0);
    }

    fn count(&self, listener: &str, cause: &'static str, one_by_one: u32) -> bool {
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listeners = causes.entry(cause).or_default();
        if !listeners.contains_key(listener) {
            listeners.insert(listener.into(), Kind::default());
        }
        let Some(kind) = listeners.get_mut(listener) else { return true };
        if kind.recorded < one_by_one {
            kind.recorded += 1;
            return true;
        }
        kind.more += 1;
        false
    }

    /// Ends the span: gives the listener, the cause and the number of what was not recorded one by one.
    pub fn take(&self) -> Vec<(Box<str>, &'static str, u64)> {
        let causes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let numbers = causes.into_iter().flat_map(|(cause, listeners)| {
            listeners.into_iter().map(move |(listener, kind)| (listener, cause, kind.more))
        });
        numbers.filter(|(_, _, more)| *more > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_recorded_and_the_rest_are_counted() {
        let flood = Flood::default();
        let recorded = (0..1_000).filter(|_| flood.is_recorded("edge", "rate_limited")).count();
        assert_eq!(recorded, 100);
        assert!(flood.is_recorded("staff", "rate_limited"), "each listener has its own number");
        flood.add("edge", "connections");
        let expected: [(Box<str>, &str, u64); 2] =
            [("edge".into(), "connections", 1), ("edge".into(), "rate_limited", 900)];
        assert_eq!(flood.take(), expected);
        assert!(flood.take().is_empty());
        assert!(flood.is_recorded("edge", "rate_limited"), "a new span");
    }
}
