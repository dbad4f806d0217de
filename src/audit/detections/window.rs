//! How often something happened in the last while, for many names at once and in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;

/// So many names are remembered at most; the one that was seen longest ago is forgotten first.
const MOST_NAMES: usize = 10_000;

/// The names, each with what is known of it and when it was seen last (Unix seconds).
#[derive(Debug)]
struct Names<T> {
    // By hashes: what is counted needs no name, and random keys keep anybody from choosing two with one hash.
    hasher: RandomState,
    known: HashMap<u64, (i64, T)>,
    within: i64,
}

impl<T: Default> Names<T> {
    fn new(within: u64) -> Self {
        Self {
            hasher: RandomState::default(),
            known: HashMap::new(),
            within: i64::try_from(within).unwrap_or(i64::MAX),
        }
    }

    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    /// What is known of a name now.
    fn of(&mut self, name: &str, now: i64) -> &mut T {
        let name = self.hash(name);
        if self.known.len() >= MOST_NAMES && !self.known.contains_key(&name) {
            let oldest = now.saturating_sub(self.within);
            self.known.retain(|_, (seen, _)| *seen > oldest);
            if self.known.len() >= MOST_NAMES
                && let Some(last) =
                    self.known.iter().min_by_key(|(_, (seen, _))| *seen).map(|(name, _)| *name)
            {
                self.known.remove(&last);
            }
        }
        let entry = self.known.entry(name).or_default();
        entry.0 = now;
        &mut entry.1
    }
}

/// Counts what happens to names.
#[derive(Debug)]
pub(super) struct Tally {
    count: usize,
    names: Names<VecDeque<i64>>,
}

impl Tally {
    /// For so many times within so many seconds.
    pub(super) fn new((count, within): (u64, u64)) -> Self {
        Self { count: usize::try_from(count).unwrap_or(usize::MAX), names: Names::new(within) }
    }

    /// It happened again; says whether that makes it enough. What was told is counted anew.
    pub(super) fn add(&mut self, name: &str, now: i64) -> bool {
        let oldest = now.saturating_sub(self.names.within);
        let times = self.names.of(name, now);
        while times.front().is_some_and(|time| *time <= oldest) {
            times.pop_front();
        }
        times.push_back(now);
        let is_enough = times.len() >= self.count;
        if is_enough {
            times.clear();
        }
        is_enough
    }
}

/// Counts the different things that names have to do with.
#[derive(Debug)]
pub(super) struct Distinct {
    count: usize,
    names: Names<Things>,
}

#[derive(Debug, Default)]
struct Things {
    /// When each was last seen.
    seen: HashMap<u64, i64>,
    /// It was told, and is quiet until then.
    told_until: Option<i64>,
}

impl Distinct {
    /// For so many within so many seconds.
    pub(super) fn new((count, within): (u64, u64)) -> Self {
        Self { count: usize::try_from(count).unwrap_or(usize::MAX), names: Names::new(within) }
    }

    /// The name has to do with this; says whether that makes it enough, once in that time.
    pub(super) fn add(&mut self, name: &str, thing: &str, now: i64) -> bool {
        let within = self.names.within;
        let thing = self.names.hash(thing);
        let things = self.names.of(name, now);
        if things.told_until.is_some_and(|until| now < until) {
            return false;
        }
        things.told_until = None;
        things.seen.insert(thing, now);
        if things.seen.len() < self.count {
            return false;
        }
        things.seen.retain(|_, seen| *seen > now.saturating_sub(within));
        if things.seen.len() < self.count {
            return false;
        }
        *things = Things { told_until: Some(now.saturating_add(within)), ..Things::default() };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_is_what_happens_in_time() {
        let mut tally = Tally::new((3, 60));
        let told: Vec<i64> =
            [0, 30, 59, 60, 130, 131, 132].into_iter().filter(|now| tally.add("s", *now)).collect();
        assert_eq!(told, [59, 132]);
        let mut tally = Tally::new((3, 60));
        assert!(![0, 61, 122, 183].into_iter().any(|now| tally.add("s", now)), "never three within a minute");
        assert!(!(0..2).any(|_| tally.add("t", 183)), "names are apart");
    }

    #[test]
    fn different_things_count_once_each_and_are_told_once_in_their_time() {
        let mut distinct = Distinct::new((3, 60));
        assert!(!(0..50).any(|now| distinct.add("s", "p1", now)), "the same one again and again");
        assert!(!distinct.add("s", "p2", 50));
        assert!(distinct.add("s", "p3", 51));
        assert!(!(0..30).any(|number| distinct.add("s", &format!("q{number}"), 52)), "it was told just now");
        assert!(!distinct.add("s", "p1", 120));
        assert!(!distinct.add("s", "p2", 170));
        assert!(!distinct.add("s", "p3", 181), "the first is too long ago");
        assert!(distinct.add("s", "p4", 182));
    }

    #[test]
    fn names_are_bounded_and_the_oldest_goes_first() {
        let mut tally = Tally::new((2, 1_000_000));
        assert!(!tally.add("first", 0));
        for number in 0..MOST_NAMES {
            assert!(!tally.add(&number.to_string(), 1));
        }
        assert!(tally.names.known.len() <= MOST_NAMES);
        assert!(!tally.add("first", 2), "it was forgotten");
    }
}
