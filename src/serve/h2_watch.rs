//! What the frames of an HTTP/2 connection show that the library keeps to itself: how often a client resets its streams,
//! and what was refused before it was a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use h2::Reason;
use tokio::sync::Notify;

use super::h2_frames::{Frames, Seen};
use super::pace::Life;
use crate::telemetry::metrics;

/// Streams that a client may reset in a burst, and in every second after it: far more than a browser that leaves a
/// page, or a client that cancels its subscriptions.
const RESETS: (f64, f64) = (200.0, 20.0);

/// What the frames of one connection have shown.
#[derive(Default)]
pub(super) struct Watch {
    flooded: AtomicBool,
    flood: Notify,
    /// Streams that the library refused with an error code before there was a request.
    refused: AtomicUsize,
    /// Streams that the client opened, and those that it reset.
    opened: AtomicUsize,
    reset: AtomicUsize,
}

impl Watch {
    /// Ends when the client has reset more streams than it may.
    pub(super) async fn flood(&self) {
        self.flood.notified().await;
    }

    /// How many streams were refused before there was a request, at least. Of some the library only says so with an
    /// answer of its own; then they are those that were opened and neither became a request nor were reset.
    pub(super) fn refused(&self, requests: usize, malformed: usize) -> usize {
        let [refused, opened, reset] =
            [&self.refused, &self.opened, &self.reset].map(|count| count.load(Ordering::Relaxed));
        let vanished = if self.flooded.load(Ordering::Relaxed) {
            0
        } else {
            opened.saturating_sub(requests).saturating_sub(reset)
        };
        refused.max(malformed).max(vanished)
    }
}

/// Follows the frames of one connection.
pub(super) struct Observer {
    watch: Arc<Watch>,
    incoming: Frames,
    outgoing: Frames,
    resets: Budget,
    latest_stream: u32,
}

impl Observer {
    pub(super) fn new(watch: Arc<Watch>) -> Self {
        let resets = Budget::new(Instant::now());
        Self { watch, incoming: Frames::of_client(), outgoing: Frames::of_server(), resets, latest_stream: 0 }
    }

    pub(super) fn on_read(&mut self, bytes: &[u8], life: &Life) {
        let (watch, resets, latest) = (&self.watch, &mut self.resets, &mut self.latest_stream);
        self.incoming.feed(bytes, |frame| match frame {
            // Streams are opened in ascending order (RFC 9113 §5.1.1); what comes on an older one are trailers.
            Seen::Headers(stream) if stream > *latest => {
                *latest = stream;
                watch.opened.fetch_add(1, Ordering::Relaxed);
            }
            Seen::Reset(_) => {
                watch.reset.fetch_add(1, Ordering::Relaxed);
                if !resets.spend(Instant::now()) {
                    watch.flooded.store(true, Ordering::Relaxed);
                    watch.flood.notify_one();
                }
            }
            Seen::Data(bytes) => life.body_comes(bytes),
            Seen::Headers(_) | Seen::GoAway(_) => {}
        });
    }

    pub(super) fn on_write(&mut self, bytes: &[u8]) {
        let watch = &self.watch;
        self.outgoing.feed(bytes, |frame| match frame {
            Seen::GoAway(code) => metrics().h2_goaways.with_label_values(&[code_name(code)]).inc(),
            Seen::Reset(code) if is_refusal(code.into()) => {
                watch.refused.fetch_add(1, Ordering::Relaxed);
            }
            Seen::Reset(_) | Seen::Headers(_) | Seen::Data(_) => {}
        });
    }
}

/// Whether the library says with this that it did not take a request; the others end requests that were taken.
fn is_refusal(code: Reason) -> bool {
    matches!(
        code,
        Reason::PROTOCOL_ERROR
            | Reason::REFUSED_STREAM
            | Reason::FRAME_SIZE_ERROR
            | Reason::FLOW_CONTROL_ERROR
            | Reason::ENHANCE_YOUR_CALM
    )
}

/// An error code's name, as a bounded word (RFC 9113 §7).
fn code_name(code: u32) -> &'static str {
    match Reason::from(code) {
        Reason::NO_ERROR => "no_error",
        Reason::PROTOCOL_ERROR => "protocol_error",
        Reason::INTERNAL_ERROR => "internal_error",
        Reason::FLOW_CONTROL_ERROR => "flow_control_error",
        Reason::SETTINGS_TIMEOUT => "settings_timeout",
        Reason::STREAM_CLOSED => "stream_closed",
        Reason::FRAME_SIZE_ERROR => "frame_size_error",
        Reason::COMPRESSION_ERROR => "compression_error",
        Reason::ENHANCE_YOUR_CALM => "enhance_your_calm",
        _ => "other",
    }
}

/// A bucket that resets are taken from, and that fills up again with time.
#[derive(Debug)]
struct Budget {
    left: f64,
    at: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { left: RESETS.0, at: now }
    }

    /// Takes one; says whether there was one.
    fn spend(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * RESETS.1;
        self.at = now;
        self.left = (self.left + gained).min(RESETS.0) - 1.0;
        // What is overdrawn is not owed: the connection ends.
        self.left = self.left.max(-1.0);
        self.left >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn resets_have_a_budget_that_fills_up_again() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        assert!((0..200).all(|_| budget.spend(start)));
        assert!(!budget.spend(start));
        let later = start + Duration::from_secs(1);
        // One second after it is overdrawn by one.
        assert!((0..19).all(|_| budget.spend(later)));
        assert!(!budget.spend(later));
        let much_later = start + Duration::from_secs(3600);
        assert!((0..200).all(|_| budget.spend(much_later)));
        assert!(!budget.spend(much_later));
    }

    #[test]
    fn answered_requests_do_not_count_as_refused() {
        for code in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::HTTP_1_1_REQUIRED] {
            assert!(!is_refusal(code), "{code:?}");
        }
        assert!(is_refusal(Reason::PROTOCOL_ERROR) && is_refusal(Reason::REFUSED_STREAM));
    }
}
