//! One piece of work that many wait for.
//!
//! Each worker thread of the proxy has a runtime of its own, and a request's future is dropped when its
//! client goes away. Work that others wait for too must hang on neither: it runs as a task of the runtime
//! that was given for it, and those who wait only watch for its end.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

/// How much longer than the work may take those who wait for it wait: so they learn how it failed.
const GRACE: Duration = Duration::from_millis(250);

/// Work under way, or done. Cloning gives one more to wait for it.
#[derive(Debug, Clone)]
pub struct Flight<T>(watch::Receiver<Option<T>>);

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    /// Starts the work on `runtime`; nobody's waiting or giving up changes its course.
    pub fn start(runtime: &Handle, work: impl Future<Output = T> + Send + 'static) -> Self {
        let (done, flight) = watch::channel(None);
        runtime.spawn(async move { done.send_replace(Some(work.await)) });
        Self(flight)
    }

    /// Waits for the outcome of work that keeps to `limit` itself, and a moment longer than that. `None`
    /// where it did not come, or the work died with its runtime.
    pub async fn outcome(mut self, limit: Duration) -> Option<T> {
        let arrival = timeout(limit + GRACE, self.0.wait_for(Option::is_some)).await;
        arrival.ok()?.ok()?.clone()
    }

    /// Whether there is nothing left to wait for.
    pub fn is_over(&self) -> bool {
        // An error means that the task is gone, with or without an outcome.
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn all_get_the_outcome_and_one_who_leaves_stops_nothing() {
        let flight = Flight::start(&Handle::current(), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            7
        });
        assert_eq!(flight.clone().outcome(Duration::from_millis(10)).await, None, "gave up");
        assert!(!flight.is_over());
        assert_eq!(flight.clone().outcome(LONG).await, Some(7));
        assert!(flight.is_over());
        assert_eq!(flight.outcome(LONG).await, Some(7), "late");
    }

    #[test]
    fn work_that_dies_with_its_runtime_is_over() {
        let other = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let dead = Flight::<u8>::start(other.handle(), std::future::pending());
        assert!(!dead.is_over());
        drop(other);
        assert!(dead.is_over());
        let own = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
        assert_eq!(own.block_on(dead.outcome(LONG)), None);
    }
}
