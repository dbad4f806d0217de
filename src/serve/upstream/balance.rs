//! Which of several servers gets a request.

#[expect(
    clippy::disallowed_types,
    reason = "where two share a number they share a server, and nothing else"
)]
use std::hash::DefaultHasher;
use std::hash::Hasher as _;

use super::condition::WHOLE;
use crate::config::settings::Balance;

/// A server as balancing sees it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// A number that is its own in every process.
    pub hash: u64,
    /// How many requests it has now.
    pub in_flight: usize,
    /// How much of its share it gets, in parts of [`WHOLE`].
    pub share: u64,
}

/// A number for a text that is the same in every replica that runs this program.
pub fn hash(text: impl std::hash::Hash) -> u64 {
    // Without keys on purpose: replicas must agree.
    #[expect(clippy::disallowed_types, reason = "as above")]
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The position of the one that gets the request. `turn` grows by one with each request, `key` says whose it is.
pub fn choose(balance: Balance, candidates: &[Candidate], turn: usize, key: u64) -> Option<usize> {
    match balance {
        Balance::RoundRobin => in_turn(candidates, turn),
        Balance::LeastConnections => least_busy(candidates, turn),
        Balance::ConsistentHash => by_key(candidates, key),
    }
}

fn in_turn(candidates: &[Candidate], turn: usize) -> Option<usize> {
    let count = candidates.len();
    let first = turn.checked_rem(count)?;
    let lot = hash(turn) % WHOLE;
    let positions = || (first..count).chain(0..first);
    let willing = positions().find(|at| candidates.get(*at).is_some_and(|candidate| lot < candidate.share));
    willing.or(Some(first))
}

fn least_busy(candidates: &[Candidate], turn: usize) -> Option<usize> {
    let count = candidates.len();
    let first = turn.checked_rem(count)?;
    // Begins elsewhere each time, so that equals take turns.
    (first..count).chain(0..first).min_by_key(|at| {
        candidates.get(*at).map_or(u64::MAX, |candidate| {
            let load = u64::try_from(candidate.in_flight).unwrap_or(u64::MAX).saturating_add(1);
            load.saturating_mul(WHOLE * WHOLE).checked_div(candidate.share).unwrap_or(u64::MAX)
        })
    })
}

/// Rendezvous hashing: each pair of key and server has a score, the highest wins. When a server goes, only its own
/// keys move; when it comes back, only those return.
fn by_key(candidates: &[Candidate], key: u64) -> Option<usize> {
    let lot = hash(key) % WHOLE;
    let best = |only_willing: bool| {
        let scored = candidates.iter().enumerate();
        let scored = scored.filter(|(_, candidate)| !only_willing || lot < candidate.share);
        scored.max_by_key(|(_, candidate)| hash((key, candidate.hash))).map(|(at, _)| at)
    };
    best(true).or_else(|| best(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(count: u64) -> Vec<Candidate> {
        (0..count).map(|at| Candidate { hash: hash(at), in_flight: 0, share: WHOLE }).collect()
    }

    fn counts(balance: Balance, candidates: &[Candidate], keys: u64) -> Vec<usize> {
        let mut counts = vec![0; candidates.len()];
        for key in 0..keys {
            let at = choose(balance, candidates, usize::try_from(key).expect("small"), hash(key));
            counts[at.expect("one")] += 1;
        }
        counts
    }

    #[test]
    fn each_gets_its_turn() {
        assert_eq!(counts(Balance::RoundRobin, &candidates(3), 300), [100, 100, 100]);
        assert_eq!(counts(Balance::LeastConnections, &candidates(3), 300), [100, 100, 100]);
        assert_eq!(choose(Balance::RoundRobin, &[], 1, 1), None);
    }

    #[test]
    fn one_that_just_came_back_gets_less() {
        let mut three = candidates(3);
        three[1].share = 200;
        let round_robin = counts(Balance::RoundRobin, &three, 3_000);
        assert!((150..250).contains(&round_robin[1]), "{round_robin:?}");
        let hashed = counts(Balance::ConsistentHash, &three, 3_000);
        assert!((120..280).contains(&hashed[1]), "{hashed:?}");
    }

    #[test]
    fn the_least_busy_is_chosen() {
        let mut three = candidates(3);
        (three[0].in_flight, three[1].in_flight, three[2].in_flight) = (5, 2, 4);
        assert!((0..9).all(|turn| choose(Balance::LeastConnections, &three, turn, 0) == Some(1)));
        three[1].share = 200;
        assert_eq!(choose(Balance::LeastConnections, &three, 0, 0), Some(2), "5 of 5 beats 3 of 1");
    }

    #[test]
    fn only_the_keys_of_a_lost_server_move() {
        let four = candidates(4);
        let share = counts(Balance::ConsistentHash, &four, 4_000);
        assert!(share.iter().all(|count| (800..1_200).contains(count)), "{share:?}");
        let three: Vec<Candidate> = four[..3].to_vec();
        for key in 0..4_000 {
            let (with, without) = (by_key(&four, key), by_key(&three, key));
            assert!(with == Some(3) || with == without);
        }
        let mut turned = four.clone();
        turned.reverse();
        assert!((0..100).all(|key| by_key(&turned, key) == by_key(&four, key).map(|at| 3 - at)));
    }
}
