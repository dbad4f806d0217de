//! Where a connection is in its life.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use crate::config::settings::ListenerLimits;

/// No wait has begun in the present state. Most requests never wait, and so need not know the time.
const NOT_YET: u64 = u64::MAX;

/// Why the gateway ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// No whole header section came in time.
    Header = 1,
    /// No request came for too long.
    Idle = 2,
    /// A request's body came too slowly.
    SlowBody = 3,
    /// The client took the answer too slowly.
    SlowReader = 4,
    /// More bodies came slowly than may, and this one the most slowly.
    SlowBodies = 5,
}

impl Stop {
    /// The word in metrics.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Header => "header_deadline",
            Self::Idle => "keep_alive",
            Self::SlowBody => "slow_body",
            Self::SlowReader => "slow_reader",
            Self::SlowBodies => "slow_bodies",
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Header),
            2 => Some(Self::Idle),
            3 => Some(Self::SlowBody),
            4 => Some(Self::SlowReader),
            5 => Some(Self::SlowBodies),
            _ => None,
        }
    }
}

/// Where a connection is in its life; shared between its stream and its requests.
pub struct Life {
    opened: Instant,
    /// When the present state began, in milliseconds since `opened`, or [`NOT_YET`].
    since: AtomicU64,
    /// Bytes of a header section have come that is not whole (HTTP/1).
    is_receiving: AtomicBool,
    has_served: AtomicBool,
    running: AtomicU32,
    uploads: AtomicU32,
    /// Bytes of bodies that have come and that no request has taken up (HTTP/2).
    unread: AtomicI64,
    /// The connection's reader, where it waits while no upload runs (HTTP/2).
    reader: AtomicWaker,
    is_h2: bool,
    stop: AtomicU8,
}

impl Life {
    /// A connection that was just opened.
    pub fn new(is_h2: bool) -> Self {
        Self {
            opened: Instant::now(),
            since: AtomicU64::new(0),
            is_receiving: AtomicBool::new(false),
            has_served: AtomicBool::new(false),
            running: AtomicU32::new(0),
            uploads: AtomicU32::new(0),
            unread: AtomicI64::new(0),
            reader: AtomicWaker::new(),
            is_h2,
            stop: AtomicU8::new(0),
        }
    }

    /// Whether it speaks HTTP/2.
    pub fn is_h2(&self) -> bool {
        self.is_h2
    }

    /// The first bytes of a header section have come.
    pub fn begins_to_receive(&self) {
        self.is_receiving.store(true, Ordering::Relaxed);
        self.since.store(NOT_YET, Ordering::Relaxed);
    }

    /// Whether such bytes have come, and no request yet.
    pub fn is_receiving(&self) -> bool {
        self.is_receiving.load(Ordering::Relaxed)
    }

    /// Whether a request is being served.
    pub fn is_serving(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// A request has begun.
    pub fn begins_request(&self) {
        self.is_receiving.store(false, Ordering::Relaxed);
        self.has_served.store(true, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has ended.
    pub fn ends_request(&self) {
        self.since.store(NOT_YET, Ordering::Relaxed);
        if self.running.fetch_sub(1, Ordering::Relaxed) == 1 {
            // What a request leaves unread that ends early is never taken up.
            self.unread.store(0, Ordering::Relaxed);
        }
    }

    /// A request has a body that is being waited for.
    pub fn begins_upload(&self) {
        self.uploads.fetch_add(1, Ordering::Relaxed);
        // On HTTP/2 another task reads, which may have begun to wait before the request began, without a clock.
        self.reader.wake();
    }

    /// It has come, or is not wanted any more.
    pub fn ends_upload(&self) {
        self.uploads.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a body is being waited for.
    pub(super) fn has_uploads(&self) -> bool {
        self.uploads.load(Ordering::Relaxed) > 0
    }

    /// Notes who is to be woken when an upload begins.
    pub(super) fn is_read_by(&self, reader: &Waker) {
        if self.is_h2 && !self.has_uploads() {
            self.reader.register(reader);
        }
    }

    /// So many bytes of a body have come (HTTP/2).
    pub fn body_comes(&self, bytes: usize) {
        self.unread.fetch_add(signed(bytes), Ordering::Relaxed);
    }

    /// A request has taken up so many bytes of its body.
    pub fn body_is_taken(&self, bytes: usize) {
        if self.is_h2 {
            self.unread.fetch_sub(signed(bytes), Ordering::Relaxed);
        }
    }

    /// Whether the client may have to wait for the gateway, rather than the gateway for the client.
    pub(super) fn holds_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed) > 0
    }

    /// Why the gateway ended it, where it did.
    pub fn stop(&self) -> Option<Stop> {
        Stop::from_number(self.stop.load(Ordering::Relaxed))
    }

    /// The gateway ends it.
    pub fn ends(&self, stop: Stop) {
        self.stop.store(stop as u8, Ordering::Relaxed);
    }

    /// When the present state began: now, where nobody has asked before.
    fn since(&self) -> Instant {
        let mut since = self.since.load(Ordering::Relaxed);
        if since == NOT_YET {
            since = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(0);
            self.since.store(since, Ordering::Relaxed);
        }
        self.opened + Duration::from_millis(since)
    }

    /// The moment at which it has waited for the client for too long, while no request runs; `None` for HTTP/2, whose
    /// loop (`serve::h2`) has its own clock for that, and says goodbye.
    pub(super) fn deadline(&self, limits: &ListenerLimits) -> Option<(Instant, Stop)> {
        if self.is_h2 {
            return None;
        }
        Some(if self.is_receiving() || !self.has_served.load(Ordering::Relaxed) {
            (self.since() + limits.header_deadline, Stop::Header)
        } else {
            (self.since() + limits.keep_alive, Stop::Idle)
        })
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
