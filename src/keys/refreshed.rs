//! A value that is fetched from an issuer, kept, and fetched anew in the background: its keys, or where its
//! endpoint is.
//!
//! At most one fetch runs at a time, whoever wants it. Those who have a usable value never wait; those who
//! have none wait for the one fetch. After a failed fetch the next is delayed, from one second up to the
//! refresh interval, and till then those who have no value are told at once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use prometheus::IntGauge;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::error::FetchError;
use crate::config::settings::KeyLifetimes;
use crate::enforce::flight::Flight;
use crate::telemetry::metrics;

/// The first pause after a failed fetch; it doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// What is fetched, and how.
pub trait Fetch: Send + Sync + 'static {
    /// The fetched value.
    type Value: Send + Sync + 'static;

    /// What operators call it: "keys".
    const WHAT: &'static str;

    /// Fetches it anew, before the deadline.
    fn fetch(&self, deadline: Instant) -> impl Future<Output = Result<Self::Value, FetchError>> + Send;

    /// Whether what was concluded from `old` may stand now that there is `new`.
    fn upholds(new: &Self::Value, old: &Self::Value) -> bool;

    /// The value in an operator's words, without anything secret.
    fn describe(value: &Self::Value) -> String;
}

/// A fetched value.
pub struct Snapshot<T> {
    /// The value.
    pub value: T,
    /// Grows whenever conclusions from the value before may no longer stand.
    pub generation: u64,
    fetched_at: Instant,
}

impl<T> Snapshot<T> {
    /// The first snapshot of a value.
    pub fn new(value: T) -> Self {
        Self { value, generation: 0, fetched_at: Instant::now() }
    }
}

/// A snapshot that is young enough to be used.
pub struct Usable<T> {
    /// The snapshot.
    pub snapshot: Arc<Snapshot<T>>,
    /// Whether it is older than `stale_for_critical`.
    pub too_stale_for_critical: bool,
}

/// What came of looking for something newer.
pub enum Search<T> {
    /// There is something newer, if only a newer reading of the same.
    Newer(Usable<T>),
    /// Nobody knows: somebody has asked a moment ago, and it is too early to ask again.
    TooSoon,
    /// The issuer can't be asked.
    Failing,
}

/// The value and the state of its fetching.
pub struct Refreshed<F: Fetch> {
    issuer: Arc<str>,
    fetch: F,
    lifetimes: KeyLifetimes,
    runtime: Handle,
    current: ArcSwapOption<Snapshot<F::Value>>,
    fetching: Mutex<Fetching>,
    fetched_at: IntGauge,
}

#[derive(Default)]
struct Fetching {
    running: Option<Flight<()>>,
    /// Failed fetches since the last good one.
    failures: u32,
    /// Before this, nobody fetches only because there is no value.
    retry_at: Option<Instant>,
    searched_at: Option<Instant>,
    last_error: Option<FetchError>,
}

/// Why somebody wants a fetch.
enum Reason<'s, T> {
    /// It is time.
    Schedule,
    /// There is no usable value.
    Missing,
    /// Something was looked for in this snapshot and not found.
    Search(&'s Arc<Snapshot<T>>),
}

impl<F: Fetch> Refreshed<F> {
    /// Nothing is fetched until somebody asks or [`Self::keep_fresh`] runs. Fetches run on `runtime`.
    pub fn new(issuer: Arc<str>, fetch: F, lifetimes: KeyLifetimes, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            fetched_at: metrics().keys_fetched_at.with_label_values(&[&issuer]),
            issuer,
            fetch,
            lifetimes,
            runtime,
            current: ArcSwapOption::empty(),
            fetching: Mutex::default(),
        })
    }

    /// What is there now, if it may be used.
    pub fn current(&self) -> Option<Usable<F::Value>> {
        let snapshot = self.current.load_full()?;
        let age = snapshot.fetched_at.elapsed();
        let too_stale_for_critical = age > self.lifetimes.stale_for_critical;
        (age <= self.lifetimes.stale_for).then_some(Usable { snapshot, too_stale_for_critical })
    }

    /// What is there; where that is nothing, waits for the fetch, no longer than a fetch may take.
    pub async fn usable(self: &Arc<Self>) -> Option<Usable<F::Value>> {
        if let Some(usable) = self.current() {
            return Some(usable);
        }
        self.wait_for(Reason::Missing).await;
        self.current()
    }

    /// Looks for something newer than `seen`, in which something was missing. However many ask, the issuer is
    /// asked at most once in `unknown_kid_interval`, also when that failed: anyone can make up names of keys.
    pub async fn newer_than(self: &Arc<Self>, seen: &Arc<Snapshot<F::Value>>) -> Search<F::Value> {
        self.wait_for(Reason::Search(seen)).await;
        match self.current() {
            Some(usable) if !Arc::ptr_eq(&usable.snapshot, seen) => Search::Newer(usable),
            _ if self.fetching().failures > 0 => Search::Failing,
            _ => Search::TooSoon,
        }
    }

    /// Fetches now, or waits for the fetch that runs, and says whether the last one succeeded.
    pub async fn answers(self: &Arc<Self>) -> bool {
        self.wait_for(Reason::Schedule).await;
        self.fetching().failures == 0
    }

    /// Fetches at once and then every `refresh`, or up to a tenth sooner, for ever. What was taken over from the
    /// version of the configuration before is only fetched when it is due.
    pub async fn keep_fresh(self: Arc<Self>) {
        let age = self.current.load().as_ref().map(|snapshot| snapshot.fetched_at.elapsed());
        if let Some(age) = age {
            sleep(jittered(self.lifetimes.refresh).saturating_sub(age)).await;
        }
        loop {
            self.wait_for(Reason::Schedule).await;
            sleep(self.pause()).await;
        }
    }

    /// Why requests can't be served now, in plain words; `None` when they can.
    pub fn unready(&self) -> Option<String> {
        if self.current().is_some() {
            return None;
        }
        let (issuer, what) = (&self.issuer, F::WHAT);
        let why = self.fetching().last_error.as_ref().map(|error| format!(": {error}; {}", error.remedy()));
        let why = why.unwrap_or_default();
        Some(match self.current.load().as_ref() {
            Some(old) => {
                let age = old.fetched_at.elapsed().as_secs();
                format!("issuer `{issuer}` has no fresh {what}: {age} s are more than `stale_for`{why}")
            }
            None => format!("issuer `{issuer}` has no {what} yet{why}"),
        })
    }

    async fn wait_for(self: &Arc<Self>, reason: Reason<'_, F::Value>) {
        if let Some(flight) = self.join_or_start(&reason) {
            flight.outcome(self.lifetimes.timeout).await;
        }
    }

    /// The running fetch, or a new one if the reason is good enough for one.
    fn join_or_start(self: &Arc<Self>, reason: &Reason<'_, F::Value>) -> Option<Flight<()>> {
        let mut fetching = self.fetching();
        if let Some(running) = fetching.running.as_ref().filter(|running| !running.is_over()) {
            return Some(running.clone());
        }
        let now = Instant::now();
        // A fetch may have ended since the caller looked; the lock makes this look the last word.
        let is_due = match reason {
            Reason::Schedule => true,
            Reason::Missing => self.current().is_none() && fetching.retry_at.is_none_or(|at| at <= now),
            Reason::Search(seen) => {
                let is_newest = self.current.load().as_ref().is_none_or(|newest| Arc::ptr_eq(newest, seen));
                let last = fetching.searched_at;
                is_newest
                    && last.is_none_or(|last| now.duration_since(last) >= self.lifetimes.unknown_kid_interval)
            }
        };
        if !is_due {
            return None;
        }
        if matches!(reason, Reason::Search(_)) {
            fetching.searched_at = Some(now);
        }
        let this = Arc::clone(self);
        let flight = Flight::start(&self.runtime, async move { this.fetch_now().await });
        fetching.running = Some(flight.clone());
        Some(flight)
    }

    async fn fetch_now(&self) {
        let result = self.fetch.fetch(Instant::now() + self.lifetimes.timeout).await;
        let code = result.as_ref().err().map_or("ok", FetchError::code);
        metrics().key_fetches.with_label_values(&[&*self.issuer, code]).inc();
        match result {
            Ok(value) => self.store(value),
            Err(error) => self.note_failure(error),
        }
    }

    fn store(&self, value: F::Value) {
        let old = self.current.load_full();
        let upholds = old.as_ref().is_none_or(|old| F::upholds(&value, &old.value));
        let is_same = upholds && old.as_ref().is_some_and(|old| F::upholds(&old.value, &value));
        if !is_same {
            tracing::info!(issuer = %self.issuer, "new {} from the issuer: {}", F::WHAT, F::describe(&value));
        }
        let generation = old.map_or(0, |old| old.generation).saturating_add(u64::from(!upholds));
        self.current.store(Some(Arc::new(Snapshot { value, generation, fetched_at: Instant::now() })));
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.fetched_at.set(i64::try_from(unix).unwrap_or(i64::MAX));
        let mut fetching = self.fetching();
        (fetching.failures, fetching.retry_at, fetching.last_error) = (0, None, None);
    }

    fn note_failure(&self, error: FetchError) {
        let (issuer, remedy, what) = (&self.issuer, error.remedy(), F::WHAT);
        let pause = self.pause_after_failure();
        tracing::warn!(%issuer, %error, remedy, retry_in = ?pause, "the issuer's {what} can't be fetched");
        let mut fetching = self.fetching();
        fetching.failures = fetching.failures.saturating_add(1);
        fetching.retry_at = Some(Instant::now() + pause);
        fetching.last_error = Some(error);
    }

    /// One second after the first failure, then doubled, up to the refresh interval.
    fn pause_after_failure(&self) -> Duration {
        let doublings = 1_u32.checked_shl(self.fetching().failures).unwrap_or(u32::MAX);
        FIRST_PAUSE.saturating_mul(doublings).min(self.lifetimes.refresh)
    }

    /// How long until the next fetch in the background.
    fn pause(&self) -> Duration {
        match self.fetching().retry_at {
            Some(at) => at.saturating_duration_since(Instant::now()),
            None => jittered(self.lifetimes.refresh),
        }
    }

    fn fetching(&self) -> MutexGuard<'_, Fetching> {
        // Held for a few assignments, never over an await; none of them can leave it half changed.
        self.fetching.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `pause`, or up to a tenth less, so that gateways started together do not ask together. Never more: keys
/// that may be as old as `refresh` must not be older because of chance.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0_u8; 2];
    // Without randomness there is no jitter, which does no harm.
    if aws_lc_rs::rand::fill(&mut random).is_err() {
        return pause;
    }
    pause.mul_f64(1.0 - 0.1 * f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests;
