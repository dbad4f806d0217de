//! Signals, and leaving without a lost request: by stopping, or by handing over to a new program.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Mutex, Notify, oneshot};

use crate::config::settings::ShutdownSettings;

/// Whether, and how far, the gateway is on its way out.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    begun: OnceLock<Instant>,
    listeners_closed: OnceLock<Instant>,
    interrupted: OnceLock<Instant>,
    farewell: AtomicBool,
    told: Arc<Notify>,
    held: AtomicUsize,
}

impl Draining {
    /// Whether it is: then answers ask clients to close their connection.
    pub fn is_draining(&self) -> bool {
        self.0.begun.get().is_some()
    }

    /// How long ago the listeners were closed; `None` while they are open.
    pub fn closed_for(&self) -> Option<Duration> {
        self.0.listeners_closed.get().map(Instant::elapsed)
    }

    /// How long ago the process was told to end at once; `None` if it wasn't.
    pub fn interrupted_for(&self) -> Option<Duration> {
        self.0.interrupted.get().map(Instant::elapsed)
    }

    /// Whether something is under way that no request counts: an answer of HTTP/2 that its connection still has to write.
    pub fn is_held(&self) -> bool {
        self.0.held.load(Ordering::Acquire) > 0
    }

    /// Keeps the process from leaving, until this is dropped or the grace period is over.
    pub(super) fn hold(&self) -> Hold {
        self.0.held.fetch_add(1, Ordering::AcqRel);
        Hold(Arc::clone(&self.0))
    }

    /// Whether what still runs is to be closed now.
    pub(super) fn is_farewell(&self) -> bool {
        self.0.farewell.load(Ordering::Acquire)
    }

    /// Ends when what still runs is to be closed; to be polled once before [`Self::is_farewell`] is asked.
    pub(super) fn farewell(&self) -> OwnedNotified {
        Arc::clone(&self.0.told).notified_owned()
    }

    /// Tells every WebSocket and every connection of HTTP/2 to close. Once is enough.
    pub fn say_farewell(&self) {
        self.0.farewell.store(true, Ordering::Release);
        self.0.told.notify_waiters();
    }

    /// For how long it has been, from now on at the latest.
    fn begin(&self) -> Duration {
        self.0.begun.get_or_init(Instant::now).elapsed()
    }

    fn interrupt(&self) -> ShutdownSignal {
        let _ = self.0.interrupted.set(Instant::now());
        ShutdownSignal::FastShutdown
    }

    fn close_listeners(&self) {
        let _ = self.0.listeners_closed.set(Instant::now());
    }
}

/// Something that the process waits for before it leaves.
#[derive(Debug)]
pub(super) struct Hold(Arc<Progress>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::AcqRel);
    }
}

/// `SIGXFSZ` on Linux.
const FILE_TOO_LARGE: i32 = 25;

/// What signals lead to, beyond stopping.
#[async_trait]
pub trait Operations: Send + Sync {
    /// The listeners are about to accept.
    fn serving(&self);
    /// `SIGHUP`: the configuration is to be read.
    fn reload(&self);
    /// `SIGUSR2`: a new program is to take over. What comes back says whether it has.
    fn upgrade(&self) -> oneshot::Receiver<bool>;
    /// Stopping begins; an upgrade that is under way is given up. Ends when that is on record, or in a second.
    async fn stopping(&self);
    /// The listeners are about to be closed.
    fn close_listeners(&self);
}

/// Waits for signals: `SIGTERM` stops gracefully, `SIGINT` at once, `SIGHUP` reloads, `SIGUSR2` upgrades,
/// `SIGUSR1` only sends clients elsewhere.
pub struct Signals {
    settings: ShutdownSettings,
    draining: Draining,
    operations: Arc<dyn Operations>,
    streams: Mutex<Streams>,
}

struct Streams {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    upgrade: Signal,
    drain: Signal,
    quit: Signal,
    /// A file that reaches the process's size limit raises this; unhandled it kills. Handled, the write fails and
    /// says so.
    _file_too_large: Signal,
}

impl Signals {
    /// Takes the signals over from now on: one that comes before the gateway serves waits, and doesn't end it. Must be
    /// called in a runtime that outlives this.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new(
        settings: ShutdownSettings,
        draining: Draining,
        operations: Arc<dyn Operations>,
    ) -> std::io::Result<Self> {
        let streams = Streams {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
            drain: signal(SignalKind::user_defined1())?,
            quit: signal(SignalKind::quit())?,
            _file_too_large: signal(SignalKind::from_raw(FILE_TOO_LARGE))?,
        };
        Ok(Self { settings, draining, operations, streams: Mutex::new(streams) })
    }

    fn drain(&self) {
        if !self.draining.is_draining() {
            self.draining.begin();
            tracing::info!("clients are sent elsewhere: /readyz says no, requests are served until SIGTERM");
        }
    }

    fn leave(&self) -> ShutdownSignal {
        self.operations.close_listeners();
        self.draining.close_listeners();
        ShutdownSignal::GracefulTerminate
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let mut streams = self.streams.lock().await;
        let streams = &mut *streams;
        self.operations.serving();
        let mut upgrading: Option<oneshot::Receiver<bool>> = None;
        loop {
            tokio::select! {
                _ = streams.interrupt.recv() => {
                    self.operations.stopping().await;
                    return self.draining.interrupt();
                }
                _ = streams.terminate.recv() => break,
                _ = streams.hangup.recv() => self.operations.reload(),
                _ = streams.drain.recv() => self.drain(),
                _ = streams.upgrade.recv() => {
                    if self.draining.is_draining() {
                        tracing::warn!("SIGUSR2 is ignored: this gateway is about to be stopped");
                    } else if upgrading.is_some() {
                        tracing::warn!("SIGUSR2 is ignored: an upgrade is under way");
                    } else {
                        upgrading = Some(self.operations.upgrade());
                    }
                }
                handed_over = end_of(&mut upgrading) => {
                    upgrading = None;
                    if handed_over {
                        self.draining.begin();
                        return self.leave();
                    }
                }
                // Pingora would hand its sockets to a successor that is not there, and die.
                _ = streams.quit.recv() => {
                    tracing::warn!("SIGQUIT is ignored: SIGUSR2 starts a new program that takes over");
                }
            }
        }
        // Whoever was sent elsewhere before has had that time already.
        let lame_duck = self.settings.lame_duck.saturating_sub(self.draining.begin());
        self.operations.stopping().await;
        tracing::info!(?lame_duck, "stopping: /readyz says no, requests are still served");
        tokio::select! {
            () = tokio::time::sleep(lame_duck) => self.leave(),
            _ = streams.interrupt.recv() => self.draining.interrupt(),
        }
    }
}

/// Whether the upgrade that is under way has succeeded, once that is known.
async fn end_of(upgrading: &mut Option<oneshot::Receiver<bool>>) -> bool {
    match upgrading {
        Some(result) => result.await.unwrap_or(false),
        None => std::future::pending().await,
    }
}
