//! Answers that are kept for a while, and one call for equal questions that are put at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::service::Fault;
use crate::enforce::flight::Flight;

/// So many answers are remembered at most.
const REMEMBERED: usize = 10_000;

/// What tells questions apart.
pub type Key = [u8; 32];

/// The digest of whatever an answer depends on, each part behind its length.
pub fn key<'v>(parts: impl IntoIterator<Item = &'v str>) -> Key {
    let mut context = Context::new(&SHA256);
    for part in parts {
        // `usize` has at most 64 bits wherever this runs.
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

/// What came of a call: the body of an answer of status 200, with when it was asked for.
pub type Called = Result<(Instant, Arc<[u8]>), Fault>;

/// Answers by question.
pub struct Remembered<T> {
    keep: Duration,
    answers: Cache<Key, (Instant, T)>,
    calls: Calls,
}

impl<T: Clone> Remembered<T> {
    /// Keeps each answer for so long, from when it was asked for.
    pub fn new(keep: Duration) -> Self {
        Self { keep, answers: Cache::new(REMEMBERED), calls: Calls::default() }
    }

    /// One question among them.
    pub fn of(&self, key: Key) -> Question<'_, T> {
        Question { remembered: self, key }
    }
}

/// One question whose answer may be known, or on its way.
pub struct Question<'r, T> {
    remembered: &'r Remembered<T>,
    key: Key,
}

impl<T: Clone> Question<'_, T> {
    /// The answer that is remembered.
    pub fn answer(&self) -> Option<T> {
        let (until, answer) = self.remembered.answers.get(&self.key)?;
        (Instant::now() < until).then_some(answer)
    }

    /// Remembers an answer to what was asked at `asked`.
    pub fn keep(&self, asked: Instant, answer: T) {
        let Remembered { keep, answers, .. } = self.remembered;
        answers.insert(self.key, (asked + *keep, answer));
    }

    /// Where the same question may be under way.
    pub fn calls(&self) -> (&Calls, Key) {
        (&self.remembered.calls, self.key)
    }
}

/// The calls under way.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<HashMap<Key, Flight<Called>>>>);

impl Calls {
    /// The call about this question that is under way.
    pub fn running(&self, key: &Key) -> Option<Flight<Called>> {
        self.lock().get(key).filter(|running| !running.is_over()).cloned()
    }

    /// Begins one where none is. `start` gets what the call has to keep until it is over. The flag says that it had
    /// begun before.
    pub fn join_or_start(
        &self,
        key: Key,
        start: impl FnOnce(UnderWay) -> Flight<Called>,
    ) -> (Flight<Called>, bool) {
        let mut calls = self.lock();
        if let Some(running) = calls.get(&key).filter(|running| !running.is_over()) {
            return (running.clone(), true);
        }
        let begun = start(UnderWay { calls: self.clone(), key });
        calls.insert(key, begun.clone());
        (begun, false)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Flight<Called>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that others may join.
pub struct UnderWay {
    calls: Calls,
    key: Key,
}

impl UnderWay {
    /// Runs the call; nobody joins it any more once it has ended.
    pub async fn until_over(self, call: impl Future<Output = Called>) -> Called {
        // Made within the task: where the runtime has stopped the task is dropped at its start, under the lock.
        let _landing = Landing(&self);
        call.await
    }
}

struct Landing<'u>(&'u UnderWay);

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.0.calls.lock().remove(&self.0.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_told_apart() {
        assert_ne!(key(["ab", "c"]), key(["a", "bc"]));
        assert_ne!(key(["a", ""]), key(["a"]));
        assert_eq!(key(["a", "b"]), key(["a", "b"]));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_from_when_it_was_asked_for() {
        let remembered = Remembered::new(Duration::from_secs(10));
        let question = remembered.of(key(["a"]));
        let asked = Instant::now();
        tokio::time::advance(Duration::from_secs(6)).await;
        question.keep(asked, 7);
        assert_eq!(question.answer(), Some(7));
        assert_eq!(remembered.of(key(["b"])).answer(), None);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(question.answer(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_joined_while_it_runs_and_forgotten_after() {
        let (calls, runtime) = (Calls::default(), tokio::runtime::Handle::current());
        let call = async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err(Fault::Unavailable)
        };
        let begin = |under_way: UnderWay| Flight::start(&runtime, under_way.until_over(call()));
        let (first, joined) = calls.join_or_start(key(["a"]), begin);
        assert!(!joined);
        let (second, joined) = calls.join_or_start(key(["a"]), |_| unreachable!("it runs"));
        assert!(joined);
        assert!(calls.running(&key(["b"])).is_none());
        for flight in [first, second] {
            assert!(matches!(flight.outcome(Duration::from_secs(5)).await, Some(Err(Fault::Unavailable))));
        }
        tokio::task::yield_now().await;
        assert!(calls.running(&key(["a"])).is_none());
        assert!(calls.lock().is_empty());
    }

    #[test]
    fn calls_that_die_with_their_runtime_stop_nobody() {
        let calls = Calls::default();
        let dead = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let handle = dead.handle().clone();
        drop(dead);
        for _ in 0..2 {
            let never =
                |under_way: UnderWay| Flight::start(&handle, under_way.until_over(std::future::pending()));
            let (flight, joined) = calls.join_or_start(key(["a"]), never);
            assert!(flight.is_over() && !joined);
        }
    }
}
