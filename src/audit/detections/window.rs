//! How often something happened in the last while, for many names at once and in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash};

use foldhash::fast::RandomState;

/// So many names are remembered at most.
const MOST_NAMES: usize = 10_000;
/// Where it would be more, so many that were seen longest ago are forgotten at once: to find one takes as long.
const FORGOTTEN: usize = MOST_NAMES / 4;
/// What was told is not told again for so long, in seconds.
const QUIET: i64 = 600;

/// The names, each with what is known of it.
#[derive(Debug)]
struct Names<T> {
    // By hashes: what is counted needs no name, and random keys keep anybody from choosing two with one hash.
    hasher: RandomState,
    /// With the turn in which it was last seen.
    known: HashMap<u64, (u64, T)>,
    turn: u64,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { hasher: RandomState::default(), known: HashMap::new(), turn: 0 }
    }
}

impl<T: Default> Names<T> {
    fn hash(&self, name: &(impl Hash + ?Sized)) -> u64 {
        self.hasher.hash_one(name)
    }

    /// What is known of a name.
    fn of(&mut self, name: &(impl Hash + ?Sized)) -> &mut T {
        let name = self.hash(name);
        if self.known.len() >= MOST_NAMES && !self.known.contains_key(&name) {
            let mut turns: Vec<u64> = self.known.values().map(|(turn, _)| *turn).collect();
            let (_, kept_from, _) = turns.select_nth_unstable(FORGOTTEN);
            self.known.retain(|_, (turn, _)| *turn >= *kept_from);
        }
        self.turn += 1;
        let entry = self.known.entry(name).or_default();
        entry.0 = self.turn;
        &mut entry.1
    }
}

/// What a time span is where moments are.
fn span(within: u64) -> i64 {
    i64::try_from(within).unwrap_or(i64::MAX)
}

/// Counts what happens to names.
#[derive(Debug)]
pub(super) struct Tally {
    count: usize,
    within: i64,
    names: Names<Times>,
}

#[derive(Debug, Default)]
struct Times {
    /// The moments, the oldest first.
    seen: VecDeque<i64>,
    /// It was told, and is quiet until then.
    told_until: Option<i64>,
}

impl Tally {
    /// For so many times within so many seconds.
    pub(super) fn new((count, within): (u64, u64)) -> Self {
        Self {
            count: usize::try_from(count).unwrap_or(usize::MAX),
            within: span(within),
            names: Names::default(),
        }
    }

    /// It happened again; says whether that makes it enough, once in that time.
    pub(super) fn add(&mut self, name: &str, now: i64) -> bool {
        let oldest = now.saturating_sub(self.within);
        let times = self.names.of(name);
        if times.told_until.is_some_and(|until| now < until) {
            return false;
        }
        times.told_until = None;
        while times.seen.front().is_some_and(|time| *time <= oldest) {
            times.seen.pop_front();
        }
        times.seen.push_back(now);
        if times.seen.len() < self.count {
            return false;
        }
        *times = Times { told_until: Some(now.saturating_add(self.within)), ..Times::default() };
        true
    }
}

/// Counts the different things that names have to do with.
#[derive(Debug)]
pub(super) struct Distinct {
    count: usize,
    within: i64,
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
        Self {
            count: usize::try_from(count).unwrap_or(usize::MAX),
            within: span(within),
            names: Names::default(),
        }
    }

    /// The name has to do with this; says whether that makes it enough, once in that time.
    pub(super) fn add(&mut self, name: &str, thing: &str, now: i64) -> bool {
        let within = self.within;
        let thing = self.names.hash(thing);
        let things = self.names.of(name);
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

/// Says once what happens again and again.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    told: Names<Option<i64>>,
}

impl Quiet {
    /// Whether it was not told in the last ten minutes; it is told now.
    pub(super) fn is_new(&mut self, what: &impl Hash, now: i64) -> bool {
        let told = self.told.of(what);
        let is_new = told.is_none_or(|told| now >= told.saturating_add(QUIET));
        if is_new {
            *told = Some(now);
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_is_what_happens_in_time() {
        let mut tally = Tally::new((3, 60));
        let told: Vec<i64> = [0, 30, 59, 60, 61, 62, 118, 119, 120, 121]
            .into_iter()
            .filter(|now| tally.add("s", *now))
            .collect();
        assert_eq!(told, [59, 121], "a storm that goes on is told once in that time");
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
    fn names_are_bounded_and_those_seen_longest_ago_go_first() {
        let mut tally = Tally::new((2, 1_000_000));
        let mut happens = |name: &str| tally.add(name, 1);
        for number in 0..MOST_NAMES {
            assert!(!happens(&number.to_string()));
        }
        assert!(happens("0"), "it is remembered");
        assert!(!happens("one more"));
        assert!(!happens("0"), "it is remembered that it was told, as it was seen just now");
        assert!(!happens("1"), "it was forgotten");
        assert!(happens(&FORGOTTEN.saturating_add(1).to_string()), "what came behind those is remembered");
        assert!(tally.names.known.len() <= MOST_NAMES);
        for number in 0..10 * MOST_NAMES {
            tally.add(&format!("x{number}"), 2);
        }
        assert!(tally.names.known.len() <= MOST_NAMES);
    }

    #[test]
    fn what_was_told_is_not_told_again_for_a_while() {
        let mut quiet = Quiet::default();
        let told: Vec<i64> =
            [0, 1, 599, 600, 601, 1200].into_iter().filter(|now| quiet.is_new(&"a", *now)).collect();
        assert_eq!(told, [0, 600, 1200]);
        assert!(quiet.is_new(&"b", 1201), "things are apart");
    }
}
