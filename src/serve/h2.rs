//! HTTP/2 connections of clients: a loop of our own around Pingora's sessions.
//!
//! Pingora's loop takes every stream at once, and a stream that its client resets makes room for the next while its
//! request still runs (CVE-2023-44487). Here no more requests run than streams are allowed, and resets have a budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use h2::Reason;
use pingora::apps::HttpServerApp as _;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{self, H2Accept, H2Options, HttpSession, default_h2_options};
use pingora::protocols::{Digest, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::sync::Notify;

use super::h2_frames::{Frames, Seen};
use super::proxy::Gateway;
use super::running;
use crate::enforce::streams::OpenStreams;
use crate::telemetry::metrics;

/// How long a connection is kept to tell a client that it is given up.
const FAREWELL_TIME: Duration = Duration::from_secs(2);
/// The most bytes of answers that wait for one stream's client.
const SEND_BUFFER: usize = 64 * 1024;
/// More malformed requests on one connection end it.
const MOST_MALFORMED: usize = 32;
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
    /// How many streams were refused before there was a request, at least. Of some the library only says so with an
    /// answer of its own; then they are those that were opened and neither became a request nor were reset.
    fn refused(&self, requests: usize, malformed: usize) -> usize {
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

    pub(super) fn on_read(&mut self, bytes: &[u8]) {
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
            Seen::Reset(_) | Seen::Headers(_) => {}
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

/// Requests that run.
#[derive(Default)]
struct Running {
    count: AtomicUsize,
    fewer: Notify,
}

impl Running {
    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    async fn none(&self) {
        while self.count() > 0 {
            self.fewer.notified().await;
        }
    }
}

/// One running request; counts until it is dropped.
struct Slot(Arc<Running>);

impl Slot {
    fn take(running: &Arc<Running>) -> Self {
        running.count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(running))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
        self.0.fewer.notify_one();
    }
}

/// What happens next on a connection.
enum Next {
    Request(Box<HttpSession>),
    Malformed,
    Closed,
    Flooded,
    Idle,
    Stopping,
    FewerRunning,
}

/// What one connection may ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The most bytes of a header section that the intake takes.
    pub(super) header_bytes: usize,
    /// The most streams, and the most requests, at a time.
    pub(super) streams: usize,
    /// How long a client may take to begin.
    pub(super) preface_time: Duration,
    /// How long a connection without a request is kept.
    pub(super) idle_time: Duration,
}

/// Serves a connection until it ends; gives the number of requests that were refused before they were any.
pub(super) async fn serve(
    proxy: &Arc<HttpProxy<Gateway>>,
    stream: Stream,
    (watch, streams): (&Watch, &Arc<OpenStreams>),
    limits: Limits,
    shutdown: &ShutdownWatch,
) -> usize {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let begun =
        tokio::time::timeout(limits.preface_time, server::handshake(stream, Some(options(limits)))).await;
    let Ok(Ok(mut connection)) = begun else {
        return 1;
    };
    let running = Arc::new(Running::default());
    let mut shutdown = shutdown.clone();
    let (mut stopping, mut requests, mut malformed) = (false, 0, 0);
    if *shutdown.borrow() {
        connection.graceful_shutdown();
        stopping = true;
    }
    loop {
        let full = running.count() >= limits.streams;
        let next = tokio::select! {
            biased;
            () = watch.flood.notified() => Next::Flooded,
            _ = shutdown.changed(), if !stopping => Next::Stopping,
            next = next(&mut connection, &digest, full) => next,
            () = running.fewer.notified(), if full => Next::FewerRunning,
            () = idle(&running, limits.idle_time), if !full && !stopping => Next::Idle,
        };
        match next {
            Next::Request(session) => {
                requests += 1;
                let slot = Slot::take(&running);
                let (proxy, shutdown) = (Arc::clone(proxy), shutdown.clone());
                let entry = streams.enter();
                tokio::spawn(async move {
                    let _slot = slot;
                    let session = ServerSession::new_http2(*session);
                    running::serve(entry.line(), proxy.process_new_http(session, &shutdown)).await;
                });
            }
            Next::Malformed => {
                malformed += 1;
                if malformed >= MOST_MALFORMED {
                    give_up(&mut connection, Reason::ENHANCE_YOUR_CALM).await;
                    break;
                }
            }
            Next::Flooded => {
                give_up(&mut connection, Reason::ENHANCE_YOUR_CALM).await;
                break;
            }
            Next::Stopping => {
                connection.graceful_shutdown();
                stopping = true;
            }
            Next::Idle => {
                give_up(&mut connection, Reason::NO_ERROR).await;
                break;
            }
            Next::FewerRunning => {}
            Next::Closed => break,
        }
    }
    watch.refused(requests, malformed)
}

type Connection = h2::server::Connection<Stream, bytes::Bytes>;

/// Drives the connection to its next request; while too many run, only drives it. Streams that are reset while they
/// wait are counted by the library, which ends the connection after some.
async fn next(connection: &mut Connection, digest: &Arc<Digest>, full: bool) -> Next {
    if full {
        // Ready means that the connection has ended, whether in order or not.
        let ended = std::future::poll_fn(|context| connection.poll_closed(context)).await;
        tracing::debug!(?ended, "an HTTP/2 connection ended while it was full");
        return Next::Closed;
    }
    match HttpSession::from_h2_conn(connection, Arc::clone(digest)).await {
        Ok(Some(H2Accept::Session(session))) => Next::Request(Box::new(session)),
        Ok(Some(H2Accept::Rejected)) => Next::Malformed,
        Ok(None) => Next::Closed,
        Err(error) => {
            tracing::debug!(%error, "an HTTP/2 connection broke");
            Next::Closed
        }
    }
}

async fn idle(running: &Running, time: Duration) {
    running.none().await;
    tokio::time::sleep(time).await;
}

/// Tells the client and closes, whether it listens or not.
async fn give_up(connection: &mut Connection, reason: Reason) {
    connection.abrupt_shutdown(reason);
    let closed = std::future::poll_fn(|context| connection.poll_closed(context));
    let _ = tokio::time::timeout(FAREWELL_TIME, closed).await;
}

fn options(limits: Limits) -> H2Options {
    let mut options = default_h2_options();
    // The library's own limit of streams it refuses (1,024) is for the life of a connection, and a busy one between two
    // gateways lives long: it stays as it is.
    // The intake refuses what is larger than the limit with an answer and a record; beyond twice of it the library does.
    let header_list = u32::try_from(limits.header_bytes.saturating_mul(2)).unwrap_or(u32::MAX);
    options
        .max_header_list_size(header_list)
        .max_concurrent_streams(u32::try_from(limits.streams).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(20);
    options
}

#[cfg(test)]
mod tests {
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
