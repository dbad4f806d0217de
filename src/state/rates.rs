//! The rate of requests: one bucket for each key of each limit, in bounded memory, for this process.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use governor::clock::{Clock as _, MonotonicClock};
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::enforce::ports::{RateKey, Rates};
use crate::policy::RateLimit;
use crate::telemetry::metrics;

/// The most keys of one limit. A key is about 50 bytes, so a limit takes at most some 5 MiB.
const MOST_KEYS: usize = 100_000;
/// When a limit's keys are used up, new ones share this many buckets: they are limited together, known ones go on.
const SHARED: usize = 1_024;
/// How often keys whose bucket is full again are dropped, in seconds.
const SWEEP_EVERY: u64 = 30;
/// The same while the keys are used up.
const SWEEP_WHEN_FULL: u64 = 1;

/// Every limit's buckets. A limit is known by its name: one that is reloaded unchanged goes on counting.
pub struct LocalRates {
    started: Instant,
    most_keys: usize,
    limiters: RwLock<HashMap<Box<str>, Arc<Limiter>>>,
}

struct Limiter {
    limit: RateLimit,
    rate: RateLimiter<u128, Buckets, MonotonicClock>,
    /// In seconds since the start.
    swept: AtomicU64,
}

impl Default for LocalRates {
    fn default() -> Self {
        Self::holding(MOST_KEYS)
    }
}

impl Rates for LocalRates {
    fn take(&self, limit: &RateLimit, key: RateKey<'_>) -> Result<(), Duration> {
        let Some(limiter) = self.limiter(limit) else { return Ok(()) };
        let taken = limiter.rate.check_key(&number(&key));
        limiter.sweep(self.started.elapsed().as_secs(), self.most_keys);
        taken.map_err(|refused| refused.wait_time_from(MonotonicClock.now()))
    }
}

impl LocalRates {
    fn holding(most_keys: usize) -> Self {
        Self { started: Instant::now(), most_keys, limiters: RwLock::default() }
    }

    /// `None` where a limit has no numbers, which the configuration does not take.
    fn limiter(&self, limit: &RateLimit) -> Option<Arc<Limiter>> {
        let known = self.limiters.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(limiter) = known.get(&limit.name).filter(|limiter| limiter.limit == *limit) {
            return Some(Arc::clone(limiter));
        }
        drop(known);
        let limiter = Arc::new(Limiter::new(limit, self.most_keys)?);
        let mut known = self.limiters.write().unwrap_or_else(PoisonError::into_inner);
        // Another request may have been faster: its bucket counts.
        match known.get(&limit.name).filter(|limiter| limiter.limit == *limit) {
            Some(limiter) => Some(Arc::clone(limiter)),
            None => {
                known.insert(limit.name.clone(), Arc::clone(&limiter));
                Some(limiter)
            }
        }
    }
}

impl Limiter {
    fn new(limit: &RateLimit, most_keys: usize) -> Option<Self> {
        let each = Duration::from_secs(limit.window.into()).checked_div(limit.requests)?;
        let quota = Quota::with_period(each)?.allow_burst(NonZeroU32::new(limit.burst)?);
        let rate = RateLimiter::new(quota, Buckets::holding(most_keys), MonotonicClock);
        Some(Self { limit: limit.clone(), rate, swept: AtomicU64::new(0) })
    }

    /// Drops what need not be remembered, at most now and then: it looks at every key.
    fn sweep(&self, now: u64, most_keys: usize) {
        let swept = self.swept.load(Ordering::Relaxed);
        let every = if self.rate.len() >= most_keys { SWEEP_WHEN_FULL } else { SWEEP_EVERY };
        let is_mine = now >= swept.saturating_add(every)
            && self.swept.compare_exchange(swept, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_mine {
            self.rate.retain_recent();
            let keys = i64::try_from(self.rate.len()).unwrap_or(i64::MAX);
            metrics().rate_limit_keys.with_label_values(&[&self.limit.name]).set(keys);
        }
    }
}

/// The buckets of one limit.
struct Buckets(Mutex<Table>);

struct Table {
    most_keys: usize,
    own: HashMap<u128, Nanos>,
    shared: Vec<Option<Nanos>>,
    hasher: RandomState,
}

impl Buckets {
    fn holding(most_keys: usize) -> Self {
        let table = Table { most_keys, own: HashMap::new(), shared: Vec::new(), hasher: RandomState::new() };
        Self(Mutex::new(table))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for Buckets {
    type Key = u128;

    fn measure_and_replace<T, F, E>(&self, key: &u128, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut table = self.table();
        if let Some(bucket) = table.own.get_mut(key) {
            let (taken, after) = measure(Some(*bucket))?;
            *bucket = after;
            return Ok(taken);
        }
        if table.own.len() < table.most_keys {
            let (taken, after) = measure(None)?;
            table.own.insert(*key, after);
            return Ok(taken);
        }
        if table.shared.is_empty() {
            table.shared.resize(SHARED, None);
        }
        // Seeded, so that nobody can aim at another's bucket.
        let slot = usize::try_from(table.hasher.hash_one(key) % SHARED as u64).unwrap_or_default();
        let before = table.shared.get(slot).copied().flatten();
        let (taken, after) = measure(before)?;
        if let Some(bucket) = table.shared.get_mut(slot) {
            *bucket = Some(after);
        }
        Ok(taken)
    }
}

impl ShrinkableKeyedStateStore<u128> for Buckets {
    fn retain_recent(&self, drop_below: Nanos) {
        let mut table = self.table();
        table.own.retain(|_, bucket| *bucket > drop_below);
        if table.own.len() < table.most_keys / 2 {
            table.own.shrink_to_fit();
        }
    }

    fn len(&self) -> usize {
        self.table().own.len()
    }

    fn is_empty(&self) -> bool {
        self.table().own.is_empty()
    }
}

/// A key as a number of fixed size: names come from tokens and may be long.
fn number(key: &RateKey<'_>) -> u128 {
    match key {
        RateKey::Everybody => 0,
        // A shared bucket for those whose address can't be known.
        RateKey::Address(None) => u128::MAX,
        RateKey::Address(Some(address)) => match address.to_canonical() {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            // One customer has a whole /64.
            IpAddr::V6(address) => address.to_bits() & !u128::from(u64::MAX),
        },
        RateKey::Subject { issuer, id } => {
            let mut context = digest::Context::new(&digest::SHA256);
            context.update(&issuer.len().to_be_bytes());
            context.update(issuer.as_bytes());
            context.update(id.as_bytes());
            let digest = context.finish();
            digest.as_ref().first_chunk().map_or(0, |bytes: &[u8; 16]| u128::from_be_bytes(*bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::CountedBy;

    fn limit(requests: u32, window: u32, burst: u32) -> RateLimit {
        RateLimit { name: "few".into(), per: CountedBy::Address, requests, window, burst, everywhere: true }
    }

    fn address(number: u32) -> RateKey<'static> {
        RateKey::Address(Some(IpAddr::V4(number.into())))
    }

    #[test]
    fn exactly_the_burst_passes_and_the_wait_is_told() {
        let (rates, limit) = (LocalRates::default(), limit(4, 3_600, 3));
        let passed = (0..100).filter(|_| rates.take(&limit, address(1)).is_ok()).count();
        assert_eq!(passed, 3);
        let wait = rates.take(&limit, address(1)).expect_err("used up");
        assert!(wait <= Duration::from_secs(900) && wait > Duration::from_secs(890), "{wait:?}");
        assert!(rates.take(&limit, address(2)).is_ok(), "another address has its own bucket");
        let subject = |id| RateKey::Subject { issuer: "patients", id };
        assert!(
            (0..3).all(|_| rates.take(&limit, subject("a")).is_ok())
                && rates.take(&limit, subject("a")).is_err()
        );
        assert!(rates.take(&limit, subject("b")).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let (rates, limit) = (LocalRates::default(), limit(1, 3_600, 1));
        let take = |text: &str| rates.take(&limit, RateKey::Address(Some(text.parse().expect("address"))));
        assert!(take("2001:db8::1").is_ok());
        assert!(take("2001:db8::ffff").is_err());
        assert!(take("2001:db8:0:1::1").is_ok());
        assert!(take("192.0.2.1").is_ok() && take("::ffff:192.0.2.1").is_err());
    }

    #[test]
    fn keys_are_bounded_and_a_flood_of_new_ones_is_limited_together() {
        let (rates, limit) = (LocalRates::holding(1_000), limit(1, 3_600, 1));
        let passed = (0..50_000).filter(|number| rates.take(&limit, address(*number)).is_ok()).count();
        assert!(passed > 1_000 && passed <= 1_000 + SHARED, "{passed}");
        let limiter = rates.limiter(&limit).expect("known");
        assert_eq!(limiter.rate.len(), 1_000);
        assert!(rates.take(&limit, address(1)).is_err(), "a known one is still counted");
    }

    #[test]
    fn idle_keys_are_dropped_and_only_those() {
        let rates = LocalRates::default();
        let (quick, slow) = (limit(1_000_000, 1, 1), limit(1, 3_600, 1));
        assert!(rates.take(&quick, address(1)).is_ok());
        let limiter = rates.limiter(&quick).expect("known");
        let deadline = Instant::now() + Duration::from_secs(5);
        while !limiter.rate.is_empty() && Instant::now() < deadline {
            limiter.rate.retain_recent();
        }
        assert_eq!(limiter.rate.len(), 0);
        assert!(rates.take(&slow, address(1)).is_ok(), "another limit of that name begins anew");
        let limiter = rates.limiter(&slow).expect("known");
        limiter.sweep(SWEEP_EVERY, MOST_KEYS);
        assert_eq!(limiter.rate.len(), 1, "its bucket is not full again");
    }
}
