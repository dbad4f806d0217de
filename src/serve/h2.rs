//! HTTP/2 connections of clients: a loop of our own around Pingora's sessions.
//!
//! Pingora's loop takes every stream at once, and a stream that its client resets makes room for the next while its
//! request still runs (CVE-2023-44487). Here no more requests run than streams are allowed, and resets have a budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use h2::Reason;
use pingora::apps::HttpServerApp as _;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{self, H2Accept, H2Options, HttpSession, default_h2_options};
use pingora::protocols::{Digest, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::sync::Notify;

use super::h2_watch::Watch;
use super::pace::{Life, Stop};
use super::proxy::Gateway;
use super::running;
use super::shutdown::Draining;
use crate::enforce::streams::OpenStreams;

/// How long a connection is kept to tell a client that it is given up.
const FAREWELL_TIME: Duration = Duration::from_secs(2);
/// The most bytes of answers that wait for one stream's client.
const SEND_BUFFER: usize = 64 * 1024;
/// More malformed requests on one connection end it.
const MOST_MALFORMED: usize = 32;

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
    Farewell,
    FewerRunning,
}

/// What one connection may ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The most bytes of a header section that the intake takes.
    pub(super) header_bytes: usize,
    /// The most streams, and the most requests, at a time.
    pub(super) streams: usize,
    /// How long a client may take until its first request.
    pub(super) first_request_time: Duration,
    /// How long a connection without a request is kept.
    pub(super) idle_time: Duration,
}

/// What one connection is served with.
pub(super) struct Service<'s> {
    pub(super) proxy: &'s Arc<HttpProxy<Gateway>>,
    pub(super) limits: Limits,
    /// What its frames show.
    pub(super) watch: &'s Watch,
    /// Told why it is ended.
    pub(super) life: &'s Life,
    pub(super) draining: &'s Draining,
    /// Where each of its requests is entered.
    pub(super) streams: &'s Arc<OpenStreams>,
}

/// Serves a connection until it ends; gives the number of requests that were refused before they were any.
pub(super) async fn serve(service: Service<'_>, stream: Stream, shutdown: &ShutdownWatch) -> usize {
    let Service { proxy, limits, watch, life, draining, streams } = service;
    // The process doesn't leave before the last answer has been written.
    let _hold = draining.hold();
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let first_request_by = Instant::now() + limits.first_request_time;
    let handshake = server::handshake(stream, Some(options(limits)));
    let Ok(begun) = tokio::time::timeout_at(first_request_by.into(), handshake).await else {
        life.ends(Stop::Header);
        return 1;
    };
    let Ok(mut connection) = begun else { return 1 };
    let running = Arc::new(Running::default());
    let mut shutdown = shutdown.clone();
    let (mut stopping, mut requests, mut malformed) = (false, 0, 0);
    if *shutdown.borrow() {
        connection.graceful_shutdown();
        stopping = true;
    }
    let mut farewell = std::pin::pin!(farewell(draining));
    loop {
        let full = running.count() >= limits.streams;
        let patience = match (stopping, requests) {
            (true, _) => FAREWELL_TIME,
            (false, 0) => first_request_by.saturating_duration_since(Instant::now()),
            (false, _) => limits.idle_time,
        };
        let next = tokio::select! {
            biased;
            () = watch.flood() => Next::Flooded,
            () = &mut farewell => Next::Farewell,
            _ = shutdown.changed(), if !stopping => Next::Stopping,
            next = next(&mut connection, &digest, full) => next,
            () = running.fewer.notified(), if full => Next::FewerRunning,
            () = idle(&running, patience), if !full => Next::Idle,
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
                // Two steps (RFC 9113 §6.8): streams that are on their way are still served, and the last one is named
                // when the client has seen the first step.
                connection.graceful_shutdown();
                stopping = true;
            }
            // An answer that a slow client still takes.
            Next::Idle if stopping && connection.has_streams() => {}
            Next::Idle => {
                if !stopping {
                    life.ends(if requests == 0 { Stop::Header } else { Stop::Idle });
                }
                give_up(&mut connection, Reason::NO_ERROR).await;
                break;
            }
            Next::Farewell => {
                give_up(&mut connection, Reason::NO_ERROR).await;
                break;
            }
            Next::FewerRunning => {}
            Next::Closed => break,
        }
    }
    watch.refused(requests, malformed)
}

/// Ends when what still runs is to be given up.
async fn farewell(draining: &Draining) {
    let mut farewell = std::pin::pin!(draining.farewell());
    // Else what is said between the question and the wait would be missed.
    farewell.as_mut().enable();
    if !draining.is_farewell() {
        farewell.await;
    }
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
