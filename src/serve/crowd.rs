//! How many bodies may come slowly at once: where there are more, the slowest goes.
//!
//! A body that comes slowly keeps its connection, its request and a connection to an upstream for as long as it is
//! allowed to, 50 to 70 KiB together. Each of them keeps to its own limit, so without one for all of them the memory would be whatever
//! thousands of clients agree on. Ended are those that are furthest behind: who is slow for a moment is not, as long as
//! others are slower.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

/// When a body would have begun to be waited for if it had been without a break, and a number of its own. It stays the
/// same while nothing comes.
type Rank = (Instant, u64);

/// The bodies of one listener that come slowly.
pub struct Crowd {
    most: usize,
    next: AtomicU64,
    /// Slowest first, each with what wakes its connection.
    slow: Mutex<BTreeMap<Rank, Waker>>,
}

impl Crowd {
    /// Nobody yet, and never more than `most` for longer than it takes to wake one.
    pub fn new(most: usize) -> Self {
        Self { most, next: AtomicU64::new(0), slow: Mutex::default() }
    }

    fn slow(&self) -> MutexGuard<'_, BTreeMap<Rank, Waker>> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place among them, which it may not have, or not any more.
pub struct Seat {
    crowd: Arc<Crowd>,
    rank: Option<Rank>,
}

impl Seat {
    /// A connection that is not slow.
    pub fn new(crowd: Arc<Crowd>) -> Self {
        Self { crowd, rank: None }
    }

    /// It is behind by so much; `false` where it is to go. Where another is, that one is woken and will ask.
    pub fn stays(&mut self, now: Instant, behind: Duration, waker: &Waker) -> bool {
        let mut slow = self.crowd.slow();
        if self.rank.take().is_some_and(|rank| slow.remove(&rank).is_none()) {
            return false;
        }
        let since = now.checked_sub(behind).unwrap_or(now);
        let rank = (since, self.crowd.next.fetch_add(1, Ordering::Relaxed));
        slow.insert(rank, waker.clone());
        if slow.len() > self.crowd.most
            && let Some((slowest, waker)) = slow.pop_first()
        {
            if slowest == rank {
                return false;
            }
            drop(slow);
            waker.wake();
        }
        self.rank = Some(rank);
        true
    }

    /// It is not slow any more, or was told to go and has caught up before it could.
    pub fn leave(&mut self) {
        if let Some(rank) = self.rank.take() {
            let _waker = self.crowd.slow().remove(&rank);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Slow {
        seat: Seat,
        woken: Arc<Woken>,
    }

    impl Slow {
        fn of(crowd: &Arc<Crowd>) -> Self {
            Self { seat: Seat::new(Arc::clone(crowd)), woken: Arc::default() }
        }

        fn stays(&mut self, now: Instant, behind: u64) -> bool {
            self.seat.stays(now, Duration::from_secs(behind), &Arc::clone(&self.woken).into())
        }

        fn was_woken(&self) -> bool {
            self.woken.0.load(Ordering::Relaxed) > 0
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_goes_and_only_where_there_are_too_many() {
        tokio::time::advance(Duration::from_secs(100)).await;
        let (crowd, now) = (Arc::new(Crowd::new(2)), Instant::now());
        let [mut first, mut second, mut third, mut fourth] = [(); 4].map(|()| Slow::of(&crowd));
        assert!(first.stays(now, 5) && second.stays(now, 9));
        assert!(first.stays(now, 6) && second.stays(now, 10), "two may be, for as long as they are let");
        assert!(third.stays(now, 1));
        assert!(second.was_woken() && !first.was_woken());
        assert!(!second.stays(now, 10), "it was told to go");
        assert!(!fourth.stays(now, 20), "the new one is the slowest");
        assert!(!first.was_woken() && first.stays(now, 6) && third.stays(now, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_catches_up_or_goes_gives_the_place_back() {
        tokio::time::advance(Duration::from_secs(100)).await;
        let (crowd, now) = (Arc::new(Crowd::new(1)), Instant::now());
        let [mut first, mut second, mut third] = [(); 3].map(|()| Slow::of(&crowd));
        assert!(first.stays(now, 5));
        first.seat.leave();
        assert!(second.stays(now, 1) && !first.was_woken());
        assert!(!first.stays(now, 5) && !second.was_woken());
        assert!(third.stays(now, 0) && second.was_woken());
        second.seat.leave();
        assert!(!second.stays(now, 1), "caught up, and the slowest again");
        drop(third);
        assert!(second.stays(now, 1) && crowd.slow().len() == 1);
        drop(second);
        assert!(crowd.slow().is_empty());
    }
}
