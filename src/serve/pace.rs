//! Time limits of one connection: how long it may take to ask, to send a body, to take an answer, to do nothing.
//!
//! Pingora's own time limits are for each read, so one byte now and then kept a connection for minutes. These are for
//! the whole. They are looked at where a read or a write has to wait; while nobody waits for the client, it can't be
//! too slow.

mod life;
mod slowness;

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use tokio::time::Instant;

pub use self::life::{Life, Stop};
use self::slowness::{Slowness, Timer};
use super::crowd::{Crowd, Seat};
use crate::config::settings::ListenerLimits;

/// How often a slow body is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often it is looked at while the gateway itself may be in the way: as a rule what has come is taken up at once.
const HELD_TICK: Duration = Duration::from_millis(250);
/// A body that is so far behind is one of the crowd; less is what networks do.
const BEHIND: Duration = Duration::from_millis(750);
/// HTTP/2 lets a slow upstream hold the client back, which looks nearly the same from here, and all streams of the connection
/// would end with one; this long it is forgiven.
const H2_PATIENCE: Duration = Duration::from_secs(60);
/// Where the kernel does not say what the peer has taken, a socket reports progress in steps of up to this many bytes.
const UNSEEN_BYTES: u32 = 256 * 1024;

/// The clock of one connection's stream.
pub struct Pace {
    limits: ListenerLimits,
    read_timer: Timer,
    write_timer: Timer,
    upload: Slowness,
    /// As `upload`, but only while all that had come was taken up: so slow is the client itself.
    behind: Slowness,
    /// Whether what had come was not taken up when it was last looked at.
    held: bool,
    /// Bytes have come just now: they can't have been taken up yet.
    has_just_read: bool,
    seat: Seat,
    download: Slowness,
    /// What the client's system had taken when it was last looked at; `None` where the kernel does not say.
    acknowledged: Option<u64>,
}

impl Pace {
    /// A clock that was not asked yet.
    pub fn new(limits: ListenerLimits, crowd: Arc<Crowd>) -> Self {
        Self {
            limits,
            read_timer: Timer::default(),
            write_timer: Timer::default(),
            upload: Slowness::default(),
            behind: Slowness::default(),
            held: false,
            has_just_read: false,
            seat: Seat::new(crowd),
            download: Slowness::default(),
            acknowledged: None,
        }
    }

    /// The longest time that a header section may take.
    pub fn header_deadline(&self) -> Duration {
        self.limits.header_deadline
    }

    /// Bytes have come, of which the connection's life does not know yet.
    pub fn has_read(&mut self, bytes: usize, life: &Life) {
        self.held = life.holds_unread();
        self.has_just_read = true;
        if self.held {
            self.behind.pauses();
        }
        for slowness in [&mut self.upload, &mut self.behind] {
            slowness.moved(bytes as u64, self.limits.body_min_rate);
        }
        self.seat.leave();
    }

    /// A read has to wait: gives the reason where it has waited for too long, else wakes the task when it will have.
    pub fn waits_to_read(&mut self, life: &Life, context: &mut Context<'_>) -> Option<Stop> {
        life.is_read_by(context.waker());
        loop {
            if life.is_serving() {
                let deadline = match self.waits_for_body(life, context) {
                    Ok(None) => return None,
                    Ok(Some(deadline)) => deadline,
                    Err(stop) => return Some(stop),
                };
                if !self.read_timer.rings(deadline, context) {
                    return None;
                }
            } else {
                (self.upload, self.behind) = Default::default();
                self.seat.leave();
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
    fn waits_for_body(&mut self, life: &Life, context: &Context<'_>) -> Result<Option<Instant>, Stop> {
        if !life.has_uploads() {
            self.upload.pauses();
            self.behind.pauses();
            self.seat.leave();
            return Ok(None);
        }
        if !std::mem::take(&mut self.has_just_read) {
            self.held = life.holds_unread();
        }
        let now = Instant::now();
        let patience = if life.is_h2() { H2_PATIENCE } else { Duration::ZERO };
        let (slow, allowed) = (self.upload.waits(now), self.limits.body_grace + patience);
        if slow >= allowed {
            return Err(Stop::SlowBody);
        }
        let look = if self.held {
            self.behind.pauses();
            self.seat.leave();
            HELD_TICK
        } else {
            let behind = self.behind.waits(now);
            if behind < BEHIND {
                self.seat.leave();
                BEHIND - behind
            } else if self.seat.stays(now, behind, context.waker()) {
                TICK
            } else {
                return Err(Stop::SlowBodies);
            }
        };
        Ok(Some(now + (allowed - slow).min(look)))
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

#[cfg(test)]
mod tests;
