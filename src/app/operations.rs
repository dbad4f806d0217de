//! What the operator's signals lead to.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::program::{self, Program};
use super::reload::Status;
use super::sockets::Sockets;
use super::store::Store;
use super::succession::{Estate, Predecessor, Successor};
use crate::audit::event::Event;
use crate::enforce::Gate;
use crate::serve::shutdown::Operations;
use crate::telemetry::metrics;

/// How long leaving waits until it is on record.
const RECORDING: Duration = Duration::from_secs(1);

/// Carries out what signals ask for.
pub struct Operator {
    pub gate: Arc<Gate>,
    pub background: Handle,
    /// What serves the operators' socket.
    pub for_operators: Option<AbortHandle>,
    /// Asks the reloader.
    pub ask: Sender<()>,
    pub heir: Arc<Heir>,
    /// Who waits to hear that this program serves.
    pub predecessor: Mutex<Option<Predecessor>>,
    pub pid_file: Option<PathBuf>,
    /// The policy's version at the start.
    pub version: Box<str>,
}

#[async_trait]
impl Operations for Operator {
    fn serving(&self) {
        if let Some(path) = &self.pid_file
            && let Err(error) = program::write_pid(path)
        {
            tracing::error!(path = %path.display(), %error, "the process id can't be written");
        }
        let predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).take();
        let took_over = predecessor.is_some();
        if let Some(mut predecessor) = predecessor {
            predecessor.announce_serving();
        } else {
            program::notify("READY=1");
        }
        tracing::info!(policy = %self.version, pid = std::process::id(), took_over, "wardgate serves");
    }

    fn reload(&self) {
        tracing::info!("SIGHUP: the configuration is read again");
        if self.ask.send(()).is_err() {
            tracing::error!("the thread that reloads has ended; restart or upgrade this gateway");
        }
    }

    fn upgrade(&self) -> oneshot::Receiver<bool> {
        let (told, result) = oneshot::channel();
        let heir = Arc::clone(&self.heir);
        let attempt = move || {
            let handed_over = heir.hand_over();
            // Nobody listens any more where the gateway stops meanwhile.
            let _ = told.send(handed_over);
        };
        if let Err(error) = super::spawn_named("upgrade", attempt) {
            tracing::error!(%error, "the upgrade can't begin");
        }
        result
    }

    async fn stopping(&self) {
        self.heir.is_stopping.store(true, Ordering::SeqCst);
        program::notify("STOPPING=1");
        // In a task of its own: it goes on where the disk hangs and nobody waits any more.
        let gate = Arc::clone(&self.gate);
        let recorded = self.background.spawn(async move { gate.record_own(&Event::Stopping).await });
        // The journal may be closed a moment later.
        let _ = tokio::time::timeout(RECORDING, recorded).await;
    }

    fn close_listeners(&self) {
        self.heir.sockets.close();
        // A successor has the socket too; what is called from now on, it must answer.
        self.for_operators.as_ref().inspect(|task| task.abort());
    }
}

/// Why the last upgrade failed, if it did; for `/readyz`.
#[derive(Clone, Default)]
pub struct Fault(Arc<Mutex<Option<String>>>);

impl Fault {
    /// The member `last_upgrade` of `/readyz`.
    pub fn tell(&self, details: &mut Map<String, Value>) {
        if let Some(why) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            details.insert("last_upgrade".to_owned(), format!("failed: {why}").into());
        }
    }

    fn set(&self, why: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }
}

/// Hands over to a new program.
pub struct Heir {
    pub program: Program,
    pub sockets: Arc<Sockets>,
    pub store: Arc<Store>,
    pub gate: Arc<Gate>,
    pub background: Handle,
    /// The public key of this program's assertions.
    pub own_key: Value,
    /// Knows how long a new program may take.
    pub status: Status,
    /// Gives an upgrade up that is under way.
    pub is_stopping: AtomicBool,
    pub fault: Fault,
}

impl Heir {
    /// Starts a new program and lets it take over; says whether it has. Where it hasn't, nothing has changed.
    fn hand_over(&self) -> bool {
        tracing::info!(program = %self.program.path.display(), "upgrade: a new program is started");
        match self.try_hand_over() {
            Ok(pid) => {
                metrics().upgrades.with_label_values(&["handed_over"]).inc();
                self.record(&Event::Upgrade { result: "handed_over", why: None });
                program::notify(&format!("MAINPID={pid}"));
                tracing::info!(pid, "upgrade: the new program serves; this one finishes what it has begun");
                true
            }
            Err(why) => {
                metrics().upgrades.with_label_values(&["failed"]).inc();
                self.record(&Event::Upgrade { result: "failed", why: Some(&why) });
                self.fault.set(&why);
                tracing::error!(%why, "upgrade: failed; this program goes on serving");
                false
            }
        }
    }

    fn try_hand_over(&self) -> Result<u32, String> {
        if std::process::id() == 1 {
            let why = "this is process 1: a container ends with it, so roll out a new one instead";
            return Err(why.to_owned());
        }
        let mut successor = self.sockets.with(|addresses, sockets| {
            let estate = Estate { addresses, sockets, assertion_keys: vec![self.own_key.clone()] };
            Successor::start(&self.program, &estate)
        })?;
        let is_stopping = || self.is_stopping.load(Ordering::SeqCst);
        successor.wait_until_ready(self.status.ready_within(), is_stopping)?;
        if is_stopping() {
            return Err("this gateway was told to stop".to_owned());
        }
        let now = || jiff::Timestamp::now().as_second();
        let moment = now();
        self.store.end_at(moment);
        match successor.let_serve(moment) {
            Ok(()) => Ok(successor.id()),
            Err(why) => {
                // It must be gone before this program spends again what it might have spent.
                drop(successor);
                match self.store.begin_after(now()) {
                    Ok(()) => Err(why),
                    Err(store) => Err(format!("{why}; and {store}")),
                }
            }
        }
    }

    fn record(&self, event: &Event<'_>) {
        // What happened has happened; the journal counts and logs that it could not be recorded.
        self.background.block_on(self.gate.record_own(event));
    }
}
