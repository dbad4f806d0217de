//! With a clock that stands still unless told to move, and an issuer that reads from a script.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;
use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Answers from a list, each after a second; at its end it fails.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Vec<u8>>>,
    fetches: AtomicUsize,
}

impl Fetch for Arc<Script> {
    type Value = Vec<u8>;

    const WHAT: &'static str = "letters";

    async fn fetch(&self, deadline: Instant) -> Result<Vec<u8>, FetchError> {
        assert_eq!(deadline - Instant::now(), SECOND * 2);
        self.fetches.fetch_add(1, Ordering::Relaxed);
        sleep(SECOND).await;
        let answer = self.answers.lock().expect("lock").pop_front();
        answer.ok_or_else(|| FetchError::Status { address: "http://issuer.test".into(), status: 500 })
    }

    fn upholds(new: &Vec<u8>, old: &Vec<u8>) -> bool {
        old.iter().all(|letter| new.contains(letter))
    }

    fn describe(value: &Vec<u8>) -> String {
        value.len().to_string()
    }
}

fn refreshed(answers: &[&[u8]]) -> (Arc<Refreshed<Arc<Script>>>, Arc<Script>) {
    let lifetimes = KeyLifetimes {
        refresh: SECOND * 300,
        stale_for: SECOND * 3600,
        stale_for_critical: SECOND * 600,
        unknown_kid_interval: SECOND * 30,
        timeout: SECOND * 2,
    };
    let answers = Mutex::new(answers.iter().map(|answer| answer.to_vec()).collect());
    let script = Arc::new(Script { answers, ..Script::default() });
    (Refreshed::new("people".into(), Arc::clone(&script), lifetimes, Handle::current()), script)
}

fn fetches(script: &Script) -> usize {
    script.fetches.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn all_who_have_nothing_wait_for_one_fetch() {
    let (letters, script) = refreshed(&[b"a"]);
    let mut waiting = JoinSet::new();
    for _ in 0..1000 {
        let letters = Arc::clone(&letters);
        waiting.spawn(async move { letters.usable().await.is_some() });
    }
    while let Some(has_letters) = waiting.join_next().await {
        assert!(has_letters.expect("task"));
    }
    assert_eq!(fetches(&script), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_the_next_attempt_is_delayed_twice_as_long_each_time() {
    let (letters, script) = refreshed(&[]);
    for (failures, pause) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16)] {
        assert!(letters.usable().await.is_none());
        assert_eq!(fetches(&script), failures);
        let start = Instant::now();
        assert!(letters.usable().await.is_none());
        assert_eq!((Instant::now(), fetches(&script)), (start, failures), "told at once");
        advance(SECOND * pause).await;
    }
    letters.fetching().failures = 40;
    advance(SECOND * 400).await;
    assert!(letters.usable().await.is_none());
    assert_eq!(letters.pause(), SECOND * 300, "never longer than `refresh`");
    assert!(
        letters
            .unready()
            .expect("unready")
            .contains("issuer `people` has no letters yet: `http://issuer.test` answers")
    );
}

#[tokio::test(start_paused = true)]
async fn a_search_asks_once_in_its_interval_also_when_that_failed() {
    let (letters, script) = refreshed(&[b"a", b"a"]);
    let seen = letters.usable().await.expect("letters").snapshot;
    // The same again, which is not what was looked for.
    let Search::Newer(newer) = letters.newer_than(&seen).await else { panic!("newer") };
    assert_eq!((fetches(&script), newer.snapshot.generation), (2, 0));
    let seen = newer.snapshot;
    for _ in 0..5000 {
        assert!(matches!(letters.newer_than(&seen).await, Search::TooSoon));
    }
    assert_eq!(fetches(&script), 2);
    advance(SECOND * 30).await;
    for _ in 0..5000 {
        assert!(matches!(letters.newer_than(&seen).await, Search::Failing));
    }
    assert_eq!(fetches(&script), 3);
}

#[tokio::test(start_paused = true)]
async fn who_saw_something_old_gets_what_came_since_without_a_fetch() {
    let (letters, script) = refreshed(&[b"a", b"ab"]);
    let old = letters.usable().await.expect("letters").snapshot;
    assert!(matches!(letters.newer_than(&old).await, Search::Newer(_)));
    advance(SECOND * 60).await;
    let Search::Newer(newer) = letters.newer_than(&old).await else { panic!("newer") };
    assert_eq!((newer.snapshot.value.as_slice(), fetches(&script)), (&b"ab"[..], 2));
}

#[tokio::test(start_paused = true)]
async fn the_generation_grows_only_when_something_is_gone() {
    let (letters, _) = refreshed(&[b"a", b"ab", b"ba", b"b", b"c"]);
    for generation in [0, 0, 0, 1, 2] {
        letters.wait_for(Reason::Schedule).await;
        assert_eq!(letters.current().expect("letters").snapshot.generation, generation);
    }
}

#[tokio::test(start_paused = true)]
async fn age_has_two_limits() {
    let (letters, script) = refreshed(&[b"a"]);
    assert!(!letters.usable().await.expect("letters").too_stale_for_critical);
    advance(SECOND * 600).await;
    assert!(!letters.current().expect("letters").too_stale_for_critical);
    advance(SECOND).await;
    assert!(letters.current().expect("letters").too_stale_for_critical);
    advance(SECOND * 2999).await;
    assert!(letters.current().is_some() && letters.unready().is_none());
    advance(SECOND).await;
    assert!(letters.current().is_none() && letters.unready().expect("unready").contains("3601 s are more"));
    assert_eq!(fetches(&script), 1);
    assert!(letters.usable().await.is_none());
    assert_eq!(fetches(&script), 2, "too old is like nothing: somebody has to ask");
}

#[tokio::test(start_paused = true)]
async fn the_background_keeps_to_its_interval_and_recovers_faster() {
    let (letters, script) = refreshed(&[b"a"]);
    let background = tokio::spawn(Arc::clone(&letters).keep_fresh());
    sleep(SECOND * 2).await;
    assert_eq!(fetches(&script), 1);
    sleep(SECOND * 266).await;
    assert_eq!(fetches(&script), 1, "at the earliest after nine tenths");
    sleep(SECOND * 34).await;
    assert!(fetches(&script) >= 2, "at the latest after the whole");
    script.answers.lock().expect("lock").push_back(b"a".to_vec());
    sleep(SECOND * 128).await;
    assert!(letters.fetching().last_error.is_none(), "a failure is tried again soon");
    background.abort();
}
