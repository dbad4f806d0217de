//! How many events happened in the last while, in bounded memory.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Up to this many events in a span are counted exactly.
const EXACT: usize = 64;

/// Beyond that, events closer together than this part of the span are taken together.
const PARTS: u32 = 32;

/// The events of one sliding span.
///
/// Up to 64 events each keep their own moment and the count is exact. Beyond, events within a 32nd of the
/// span are taken together and leave when the last of them would, so an event counts for at most a 32nd of
/// the span too long. The error is to one side: the count is never less than what happened. At most about a
/// hundred moments are kept.
#[derive(Default)]
pub(super) struct Window(VecDeque<Group>);

struct Group {
    first: Instant,
    last: Instant,
    events: u64,
}

impl Window {
    /// Counts one event now, and gives how many there were in the last `span`, this one included.
    pub(super) fn count(&mut self, now: Instant, span: Duration) -> u64 {
        while self.0.front().is_some_and(|group| now.saturating_duration_since(group.last) >= span) {
            self.0.pop_front();
        }
        let is_crowded = self.0.len() >= EXACT;
        match self.0.back_mut() {
            Some(group) if is_crowded && now.saturating_duration_since(group.first) < span / PARTS => {
                group.last = now;
                group.events = group.events.saturating_add(1);
            }
            _ => self.0.push_back(Group { first: now, last: now, events: 1 }),
        }
        self.0.iter().fold(0, |sum, group| sum.saturating_add(group.events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(60);

    #[test]
    fn few_events_are_counted_exactly() {
        let (mut window, start) = (Window::default(), Instant::now());
        for number in 0..60_u64 {
            assert_eq!(window.count(start + Duration::from_secs(number), SPAN), number + 1);
        }
        assert_eq!(window.count(start + SPAN, SPAN), 60, "the first has just left");
        assert_eq!(window.count(start + SPAN * 3, SPAN), 1);
    }

    #[test]
    fn many_events_are_never_undercounted_and_memory_is_bounded() {
        let (mut window, start) = (Window::default(), Instant::now());
        let (step, per_span) = (Duration::from_millis(1), 60_000);
        for number in 1..=200_000_u64 {
            let counted = window.count(start + step * u32::try_from(number).expect("small"), SPAN);
            let truly = number.min(per_span);
            assert!(
                counted >= truly && counted <= truly + per_span / u64::from(PARTS) + 1,
                "{number}: {counted}"
            );
            assert!(window.0.len() <= EXACT + usize::try_from(PARTS).expect("small") + 2);
        }
    }
}
