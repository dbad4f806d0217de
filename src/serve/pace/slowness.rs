//! How slow a body is by now, and the timer that looks at it.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A wait between two looks counts as no more than this: for the rest nobody was waiting for the client.
const LONGEST_WAIT: Duration = Duration::from_millis(1_250);

/// How much longer than allowed a body has been waited for. Bytes make up for time: those of a second at the slowest
/// rate for one second.
#[derive(Default)]
pub(super) struct Slowness {
    /// By how much it is slow.
    pub(super) total: Duration,
    waiting_since: Option<Instant>,
}

impl Slowness {
    /// It is waited for; gives how slow it is by now.
    pub(super) fn waits(&mut self, now: Instant) -> Duration {
        if let Some(since) = self.waiting_since.replace(now) {
            self.total += now.saturating_duration_since(since).min(LONGEST_WAIT);
        }
        self.total
    }

    /// It is not waited for.
    pub(super) fn pauses(&mut self) {
        self.waiting_since = None;
    }

    /// Bytes came or went while it may have been waited for.
    pub(super) fn moved(&mut self, bytes: u64, rate: u32) {
        if self.waiting_since.is_some() {
            self.waits(Instant::now());
            self.pauses();
        }
        self.credit(bytes, rate);
    }

    /// Bytes make up for time.
    pub(super) fn credit(&mut self, bytes: u64, rate: u32) {
        let micros = bytes.saturating_mul(1_000_000) / u64::from(rate.max(1));
        self.total = self.total.saturating_sub(Duration::from_micros(micros));
    }
}

/// A timer that is set again only when it would ring too late.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Whether it rang; else it wakes the task at the deadline, or before.
    pub(super) fn rings(&mut self, deadline: Instant, context: &mut Context<'_>) -> bool {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.is_elapsed() || timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context) == Poll::Ready(())
    }
}
