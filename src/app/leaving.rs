//! Leaving: what is written and closed last, once, by whichever thread gets there first.
//!
//! Pingora leaves late, or never. It waits for the whole grace period even when nothing runs any more. And when it is to
//! end at once, a runtime that accepts from a socket that another one has registered asks that socket for ever once the
//! other has ended. So a thread of its own looks whether the process can leave.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::program;
use super::store::Store;
use super::{StartError, spawn_named};
use crate::audit::journal::FileJournal;
use crate::audit::sinks::{LAST_DELIVERY, Sinks};
use crate::enforce::Gate;
use crate::serve::shutdown::Draining;
use crate::serve::sockets::UnixSockets;
use crate::serve::trace::Tracer;
use crate::telemetry::metrics;

/// How long after the listeners closed requests may still begin on open connections.
const LAST_REQUESTS: Duration = Duration::from_millis(2500);
/// How long Pingora's runtimes have to end once the process is to end at once. They take milliseconds, or for ever.
const RUNTIMES_END: Duration = Duration::from_secs(2);
const LOOKS_EVERY: Duration = Duration::from_millis(100);

/// What has to be finished before the process ends.
pub(super) struct Leaving {
    pub(super) grace: Duration,
    pub(super) draining: Draining,
    pub(super) journal: Arc<FileJournal>,
    pub(super) sinks: Sinks,
    pub(super) gate: Arc<Gate>,
    pub(super) background: Handle,
    pub(super) tracer: Tracer,
    pub(super) store: Arc<Store>,
    pub(super) unix_sockets: UnixSockets,
    pub(super) pid_file: Option<PathBuf>,
    pub(super) begun: AtomicBool,
}

impl Leaving {
    /// Writes and closes everything. Whether every audit record was written. Whoever calls it second never returns:
    /// the first is about to end the process.
    pub(super) fn finish(&self) -> bool {
        while self.begun.swap(true, Ordering::AcqRel) {
            std::thread::park();
        }
        self.background.block_on(self.gate.record_flood());
        let written = self.journal.flush(self.grace).is_ok();
        self.sinks.finish(LAST_DELIVERY);
        self.tracer.flush();
        self.store.close();
        self.unix_sockets.remove();
        self.pid_file.as_deref().inspect(|path| program::remove_pid(path));
        written
    }

    /// Ends the process as soon as nothing holds it up. At the end of the grace period it lets WebSockets and
    /// connections of HTTP/2 be closed.
    pub(super) fn watch(self: &Arc<Self>) -> Result<(), StartError> {
        let leaving = Arc::clone(self);
        spawn_named("leave", move || {
            while !leaving.can_leave() {
                std::thread::park_timeout(LOOKS_EVERY);
            }
            let written = leaving.finish();
            #[expect(
                clippy::disallowed_methods,
                reason = "the journal is flushed, and Pingora offers no earlier end"
            )]
            std::process::exit(i32::from(!written));
        })
    }

    fn can_leave(&self) -> bool {
        let draining = &self.draining;
        if draining.interrupted_for().is_some_and(|since| since > RUNTIMES_END) {
            return true;
        }
        let Some(closed_for) = draining.closed_for() else { return false };
        if closed_for > self.grace {
            draining.say_farewell();
        }
        let is_idle = closed_for > LAST_REQUESTS && metrics().in_flight.get() == 0 && !draining.is_held();
        if is_idle {
            tracing::info!("every request is finished");
        }
        is_idle
    }
}
