//! Time limits of one connection: how long it may take to ask, to send a body, to take an answer, to do nothing.
//!
//! Pingora's own time limits are for each read, so one byte now and then kept a connection for minutes. These are for
//! the whole. They are looked at where a read or a write has to wait; while nobody waits for the client, it can't be
//! too slow.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::settings::ListenerLimits;

/// How often a slow body is looked at.
const TICK: Duration = Duration::from_secs(1);
/// A wait between two looks counts as no more than this: for the rest nobody was waiting for the client.
const LONGEST_WAIT: Duration = Duration::from_millis(1_250);
/// HTTP/2 lets a slow upstream hold the client back, which looks the same from here; this long it is forgiven.
const H2_PATIENCE: Duration = Duration::from_secs(60);
/// Where the kernel does not say what the peer has taken, a socket reports progress in steps of up to this many bytes.
const UNSEEN_BYTES: u32 = 256 * 1024;

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
}

impl Stop {
    /// The word in metrics.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Header => "header_deadline",
            Self::Idle => "keep_alive",
            Self::SlowBody => "slow_body",
            Self::SlowReader => "slow_reader",
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Header),
            2 => Some(Self::Idle),
            3 => Some(Self::SlowBody),
            4 => Some(Self::SlowReader),
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
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request has a body that is being waited for.
    pub fn begins_upload(&self) {
        self.uploads.fetch_add(1, Ordering::Relaxed);
    }

    /// It has come, or is not wanted any more.
    pub fn ends_upload(&self) {
        self.uploads.fetch_sub(1, Ordering::Relaxed);
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
    fn deadline(&self, limits: &ListenerLimits) -> Option<(Instant, Stop)> {
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

/// The clock of one connection's stream.
pub struct Pace {
    limits: ListenerLimits,
    read_timer: Timer,
    write_timer: Timer,
    upload: Slowness,
    download: Slowness,
    /// What the client's system had taken when it was last looked at; `None` where the kernel does not say.
    acknowledged: Option<u64>,
}

impl Pace {
    /// A clock that was not asked yet.
    pub fn new(limits: ListenerLimits) -> Self {
        Self {
            limits,
            read_timer: Timer::default(),
            write_timer: Timer::default(),
            upload: Slowness::default(),
            download: Slowness::default(),
            acknowledged: None,
        }
    }

    /// The longest time that a header section may take.
    pub fn header_deadline(&self) -> Duration {
        self.limits.header_deadline
    }

    /// Bytes have come.
    pub fn has_read(&mut self, bytes: usize) {
        self.upload.moved(bytes as u64, self.limits.body_min_rate);
    }

    /// A read has to wait: gives the reason where it has waited for too long, else wakes the task when it will have.
    pub fn waits_to_read(&mut self, life: &Life, context: &mut Context<'_>) -> Option<Stop> {
        loop {
            if life.is_serving() {
                let deadline = match self.waits_for_body(life) {
                    Ok(None) => return None,
                    Ok(Some(deadline)) => deadline,
                    Err(stop) => return Some(stop),
                };
                if !self.read_timer.rings(deadline, context) {
                    return None;
                }
            } else {
                self.upload = Slowness::default();
                let (deadline, stop) = life.deadline(&self.limits)?;
                if !self.read_timer.rings(deadline, context) {
                    return None;
                }
                // It may have been set for another wait, which had to end before.
                if deadline <= Instant::now() {
                    return Some(stop);
                }
            }
        }
    }

    /// When to look again at a body that is being waited for, if any is.
    fn waits_for_body(&mut self, life: &Life) -> Result<Option<Instant>, Stop> {
        if life.uploads.load(Ordering::Relaxed) == 0 {
            self.upload.pauses();
            return Ok(None);
        }
        let now = Instant::now();
        let patience = if life.is_h2() { H2_PATIENCE } else { Duration::ZERO };
        let (slow, allowed) = (self.upload.waits(now), self.limits.body_grace + patience);
        if slow >= allowed { Err(Stop::SlowBody) } else { Ok(Some(now + (allowed - slow).min(TICK))) }
    }

    /// Bytes were taken: by the kernel, where `acknowledged` is not known, which then is all that can be seen.
    pub fn has_written(&mut self, bytes: usize) {
        if self.acknowledged.is_none() {
            self.download.moved(bytes as u64, self.limits.body_min_rate);
        }
        self.download.pauses();
    }

    /// A write has to wait: as with a read. `acknowledged` asks the kernel how many bytes the client's system has taken.
    pub fn waits_to_write(
        &mut self,
        acknowledged: impl Fn() -> Option<u64>,
        context: &mut Context<'_>,
    ) -> Option<Stop> {
        loop {
            let now = Instant::now();
            self.download.waits(now);
            let seen = acknowledged();
            if let (Some(before), Some(seen)) = (self.acknowledged, seen) {
                self.download.credit(seen.saturating_sub(before), self.limits.body_min_rate);
            }
            let slow = self.download.total;
            self.acknowledged = seen;
            let unseen = if seen.is_none() { UNSEEN_BYTES / self.limits.body_min_rate } else { 0 };
            let allowed = self.limits.body_grace + Duration::from_secs(unseen.into());
            if slow >= allowed {
                return Some(Stop::SlowReader);
            }
            if !self.write_timer.rings(now + (allowed - slow).min(TICK), context) {
                return None;
            }
        }
    }
}

/// How much longer than allowed a body has been waited for. Bytes make up for time: those of a second at the slowest
/// rate for one second.
#[derive(Default)]
struct Slowness {
    total: Duration,
    waiting_since: Option<Instant>,
}

impl Slowness {
    fn waits(&mut self, now: Instant) -> Duration {
        if let Some(since) = self.waiting_since.replace(now) {
            self.total += now.saturating_duration_since(since).min(LONGEST_WAIT);
        }
        self.total
    }

    fn pauses(&mut self) {
        self.waiting_since = None;
    }

    fn moved(&mut self, bytes: u64, rate: u32) {
        if self.waiting_since.is_some() {
            self.waits(Instant::now());
            self.pauses();
        }
        self.credit(bytes, rate);
    }

    fn credit(&mut self, bytes: u64, rate: u32) {
        let micros = bytes.saturating_mul(1_000_000) / u64::from(rate.max(1));
        self.total = self.total.saturating_sub(Duration::from_micros(micros));
    }
}

/// A timer that is set again only when it would ring too late.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Whether it rang; else it wakes the task at the deadline, or before.
    fn rings(&mut self, deadline: Instant, context: &mut Context<'_>) -> bool {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.is_elapsed() || timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context) == Poll::Ready(())
    }
}

#[cfg(test)]
mod tests;
