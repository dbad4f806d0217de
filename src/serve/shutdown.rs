//! Stopping without a lost request: say "not ready", go on serving, then stop listening and let requests finish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::settings::ShutdownSettings;

/// Whether the gateway is on its way out.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// Whether it is.
    pub fn is_draining(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `SIGXFSZ` on Linux.
const FILE_TOO_LARGE: i32 = 25;

/// Waits for signals: `SIGTERM` stops gracefully, `SIGINT` at once.
pub struct Signals {
    /// How long to wait.
    pub settings: ShutdownSettings,
    /// Set when stopping begins.
    pub draining: Draining,
    /// Called once, when stopping begins.
    pub on_stop: Box<dyn Fn() + Send + Sync>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut quit)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::quit()))
        else {
            tracing::error!("signals can't be received; stop this process with SIGKILL");
            return std::future::pending().await;
        };
        // A file that reaches the process's size limit raises this; unhandled it kills. Handled, the write fails and says so.
        let _file_too_large = signal(SignalKind::from_raw(FILE_TOO_LARGE));
        loop {
            tokio::select! {
                _ = interrupt.recv() => {
                    (self.on_stop)();
                    return ShutdownSignal::FastShutdown;
                }
                // Pingora would hand its sockets to a successor that is not there, and die.
                _ = quit.recv() => tracing::warn!("SIGQUIT is ignored: there is no hand-over to a new process yet"),
                _ = terminate.recv() => break,
            }
        }
        self.draining.begin();
        (self.on_stop)();
        let lame_duck = self.settings.lame_duck;
        tracing::info!(?lame_duck, "stopping: /readyz says no, requests are still served");
        tokio::select! {
            () = tokio::time::sleep(lame_duck) => ShutdownSignal::GracefulTerminate,
            _ = interrupt.recv() => ShutdownSignal::FastShutdown,
        }
    }
}
