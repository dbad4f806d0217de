//! How many different things were seen in the last while, in bounded memory.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::expiring::Key;

/// The things of one sliding span, those that were seen last at the end: 8 bytes of each one's digest, and when it was.
///
/// Exact up to the most that are kept. Beyond, those seen longest ago are left out: as many as are kept are all in the span
/// then.
#[derive(Default)]
pub(super) struct Distinct(VecDeque<(u64, Instant)>);

impl Distinct {
    /// Notes one, and gives how many there were in the last `span`, this one included, at most `most`.
    pub(super) fn note(&mut self, member: &str, now: Instant, span: Duration, most: usize) -> usize {
        let digest = Key::of(&[member.as_bytes()]);
        let first: [u8; 8] = digest.digest().first_chunk().copied().unwrap_or_default();
        let member = u64::from_be_bytes(first);
        self.0.retain(|(known, at)| *known != member && now.saturating_duration_since(*at) < span);
        self.0.push_back((member, now));
        while self.0.len() > most.max(1) {
            self.0.pop_front();
        }
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_exact_up_to_the_most_and_keeps_no_more() {
        let (mut seen, start, span) = (Distinct::default(), Instant::now(), Duration::from_secs(60));
        let mut note = |member: u64, second: u64| {
            seen.note(&member.to_string(), start + Duration::from_secs(second), span, 5)
        };
        assert_eq!([note(1, 0), note(1, 1), note(2, 2), note(3, 3), note(1, 4)], [1, 1, 2, 3, 3]);
        assert_eq!(note(4, 62), 3, "2 has left; 3 and 1 are there");
        assert_eq!([note(5, 63), note(6, 63), note(7, 63), note(8, 63), note(9, 63)], [3, 4, 5, 5, 5]);
        assert_eq!(note(9, 200), 1);
    }
}
