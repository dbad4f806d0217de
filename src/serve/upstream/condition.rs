//! How one server is doing: what checks say of it, what requests say of it, and how much of its share it gets.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::settings::{EjectionSettings, HealthCheckSettings};

/// The whole of a server's share.
pub const WHOLE: u64 = 1_000;
/// What a server gets at least while it starts slowly, in parts of [`WHOLE`].
const LEAST: u64 = 100;

/// Milliseconds since the process first asked; never zero, which stands for "not at all".
pub fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    millis(START.elapsed()).saturating_add(1)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A server's condition. Times are those of [`now`].
#[derive(Debug, Default)]
pub struct Condition {
    /// Whether checks say that it is not well; a server that was never checked counts as well.
    unwell: AtomicBool,
    checked: AtomicBool,
    /// Checks in a row that speak against what `unwell` says.
    against: AtomicU32,
    /// Requests in a row that met a connection that failed.
    failures: AtomicU32,
    /// Ejections since it last served for a while.
    ejections: AtomicU32,
    ejected_until: AtomicU64,
    /// Since when it gets requests again; zero where it always did.
    back_since: AtomicU64,
}

impl Condition {
    /// One that joined at a moment, and so starts slowly.
    pub fn joined(now: u64) -> Self {
        Self { back_since: AtomicU64::new(now), ..Self::default() }
    }

    /// Whether checks find it well.
    pub fn is_well(&self) -> bool {
        !self.unwell.load(Ordering::Relaxed)
    }

    /// Whether it is left out for failing requests.
    pub fn is_ejected(&self, now: u64) -> bool {
        self.ejected_until.load(Ordering::Relaxed) > now
    }

    /// Takes a check's result; says whether that changed what is thought of the server.
    ///
    /// The first check decides at once: nothing is known that it could contradict.
    pub fn check(&self, good: bool, settings: &HealthCheckSettings, now: u64) -> bool {
        let first = !self.checked.swap(true, Ordering::Relaxed);
        if good == self.is_well() {
            self.against.store(0, Ordering::Relaxed);
            return false;
        }
        let needed = if good { settings.healthy_after } else { settings.unhealthy_after };
        let against = self.against.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if !first && against < needed {
            return false;
        }
        self.against.store(0, Ordering::Relaxed);
        self.unwell.store(!good, Ordering::Relaxed);
        if good {
            self.back_since.store(now, Ordering::Relaxed);
        }
        true
    }

    /// Notes a connection that failed; says whether there have been too many in a row.
    pub fn fail(&self, settings: &EjectionSettings, now: u64) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        failures >= settings.after && !self.is_ejected(now)
    }

    /// Leaves it out for a time that grows with each time in a row; gives that time.
    pub fn eject(&self, settings: &EjectionSettings, now: u64) -> Duration {
        let before = self.ejections.fetch_add(1, Ordering::Relaxed).min(16);
        let time = settings.time.saturating_mul(1 << before).min(settings.max_time);
        self.ejected_until.store(now.saturating_add(millis(time)), Ordering::Relaxed);
        // The next failure after its return suffices.
        self.failures.store(settings.after.saturating_sub(1), Ordering::Relaxed);
        time
    }

    /// Notes a request that was served.
    pub fn succeed(&self, settings: &EjectionSettings, now: impl Fn() -> u64) {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.failures.store(0, Ordering::Relaxed);
        let quiet = self.ejected_until.load(Ordering::Relaxed).saturating_add(millis(settings.max_time));
        if quiet <= now() {
            self.ejections.store(0, Ordering::Relaxed);
        }
    }

    /// How much of its share it gets, in parts of [`WHOLE`]: less in the first `slow_start` after it came back.
    pub fn share(&self, slow_start: Duration, now: u64) -> u64 {
        let slow = millis(slow_start);
        let back = self.back_since.load(Ordering::Relaxed).max(self.ejected_until.load(Ordering::Relaxed));
        if slow == 0 || back == 0 {
            return WHOLE;
        }
        let part = now.saturating_sub(back).saturating_mul(WHOLE).checked_div(slow).unwrap_or(WHOLE);
        part.clamp(LEAST, WHOLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EJECTION: EjectionSettings = EjectionSettings {
        after: 3,
        time: Duration::from_secs(10),
        max_time: Duration::from_secs(60),
        max_percent: 50,
    };

    fn checks() -> HealthCheckSettings {
        HealthCheckSettings {
            path: "/".into(),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
            expect: vec![(200, 299)],
        }
    }

    #[test]
    fn checks_must_agree_before_anything_changes() {
        let (condition, checks) = (Condition::default(), checks());
        assert!(!condition.check(true, &checks, 1));
        for (good, changed) in [
            (false, false),
            (false, false),
            (true, false),
            (false, false),
            (false, false),
            (false, true),
            (true, false),
            (false, false),
            (true, false),
            (true, true),
        ] {
            assert_eq!(condition.check(good, &checks, 1), changed);
        }
        assert!(condition.is_well());
    }

    #[test]
    fn the_first_check_decides_at_once() {
        let condition = Condition::default();
        assert!(condition.is_well());
        assert!(condition.check(false, &checks(), 1) && !condition.is_well());
    }

    #[test]
    fn each_ejection_is_longer_until_the_most() {
        let condition = Condition::default();
        assert!(
            !condition.fail(&EJECTION, 1) && !condition.fail(&EJECTION, 1) && condition.fail(&EJECTION, 1)
        );
        let mut now = 1;
        for seconds in [10, 20, 40, 60, 60] {
            assert_eq!(condition.eject(&EJECTION, now), Duration::from_secs(seconds));
            assert!(condition.is_ejected(now) && condition.is_ejected(now + seconds * 1_000 - 1));
            now += seconds * 1_000;
            assert!(!condition.is_ejected(now));
            assert!(condition.fail(&EJECTION, now), "one more failure suffices");
        }
        condition.succeed(&EJECTION, || now);
        assert_eq!(condition.eject(&EJECTION, now), Duration::from_secs(60), "too soon to forget");
        now += 200_000;
        condition.succeed(&EJECTION, || now);
        assert_eq!(condition.eject(&EJECTION, now), Duration::from_secs(10));
    }

    #[test]
    fn a_success_between_breaks_the_row() {
        let condition = Condition::default();
        for _ in 0..10 {
            assert!(!condition.fail(&EJECTION, 1) && !condition.fail(&EJECTION, 1));
            condition.succeed(&EJECTION, || 1);
        }
    }

    #[test]
    fn the_share_grows_after_a_return() {
        let slow = Duration::from_secs(10);
        assert_eq!(Condition::default().share(slow, 5), WHOLE);
        let joined = Condition::joined(1_000);
        let shares = [1_000, 2_000, 6_000, 11_000, 99_000].map(|now| joined.share(slow, now));
        assert_eq!(shares, [100, 100, 500, 1_000, 1_000]);
        assert_eq!(joined.share(Duration::ZERO, 1_000), WHOLE);
        let ejected = Condition::default();
        ejected.eject(&EJECTION, 1);
        assert_eq!(ejected.share(slow, 10_001), 100);
    }
}
