//! The composition root: the only place that names every concrete part. Builds them, joins them, runs Pingora.

mod operations;
mod program;
mod reload;
mod sockets;
mod succession;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::listening::Service;

use self::operations::Operator;
use self::program::Program;
use self::reload::{Reloader, Status};
use self::sockets::Sockets;
use self::succession::Predecessor;
use crate::audit::event::Event;
use crate::audit::file::FileJournal;
use crate::audit::pseudonym::Pseudonyms;
use crate::config::settings::{AuditSettings, Compiled, Settings, ShutdownSettings};
use crate::enforce::Gate;
use crate::keys::Verifier;
use crate::serve::edge::Edge;
use crate::serve::shutdown::{Draining, Signals};
use crate::serve::telemetry_listener::TelemetryListener;
use crate::serve::{Current, Gateway, Upstreams};
use crate::state::memory::MemoryState;
use crate::telemetry::metrics;

/// How long after the listeners closed requests may still begin on open connections.
const LAST_REQUESTS: Duration = Duration::from_millis(2500);
/// How long after the grace period WebSockets have for their close frames.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why the gateway can't start. The text names the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    fn new(what: impl std::fmt::Display) -> Self {
        Self(what.to_string())
    }
}

/// Runs the gateway until it is told to stop, or a new program has taken over.
///
/// # Errors
/// Something it needs to start is missing or taken; nothing was served.
pub fn run(compiled: Compiled, launch: Launch) -> Result<(), StartError> {
    let Compiled { policy, settings, .. } = compiled;
    let program = Program::this()
        .map_err(|error| StartError(format!("the program's own place can't be found: {error}")))?;
    let mut predecessor = Predecessor::find().map_err(StartError)?;
    let inherited = predecessor.as_mut().map(|it| std::mem::take(&mut it.sockets)).unwrap_or_default();
    let sockets = Arc::new(Sockets::open(&addresses(&settings), inherited)?);
    for relaxation in &settings.insecure {
        tracing::warn!("insecure: {relaxation}");
    }
    // Pingora's workers run one thread each; what must outlive a request runs here.
    let background = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("background")
        .enable_all()
        .build()
        .map_err(|error| {
            StartError(format!(
                "the background threads can't be started: {error}; raise the limit on threads"
            ))
        })?;
    let origin = uuid::Uuid::now_v7().simple().to_string();
    let dir = &settings.audit.dir;
    let journal = match &predecessor {
        None => FileJournal::open(dir, &origin),
        Some(_) => FileJournal::open_beside(dir, &origin),
    };
    let journal = Arc::new(journal.map_err(StartError::new)?);
    let pseudonyms = pseudonyms(&settings.audit)?;
    let named = reload::digests(&settings);
    let verifier =
        Verifier::new(policy.issuers.clone(), settings.issuers.clone(), background.handle().clone())
            .map_err(StartError::new)?;
    let verifier = Arc::new(verifier);
    let assertions = crate::serve::assertion::Assertions::new().map_err(|_| {
        StartError("no key for assertions could be made: the system gives no randomness".to_owned())
    })?;
    let own_key = assertions.public_key().clone();
    let upstreams = Arc::new(Upstreams::new(settings.upstreams.clone(), assertions));
    let (policy, state) = (Arc::new(policy), Arc::new(MemoryState::new()));
    let gate = Arc::new(Gate::new(Arc::clone(&state) as _, Arc::clone(&journal) as _, pseudonyms));
    let started = Event::Started {
        version: env!("CARGO_PKG_VERSION"),
        policy: &policy.version,
        relaxations: &settings.insecure,
    };
    if !background.block_on(gate.record_own(&started)) {
        return Err(StartError(format!(
            "the audit journal in `{}` can't be written; check its disk and permissions",
            settings.audit.dir.display()
        )));
    }
    let draining = Draining::default();
    let current = Arc::new(Current::new(reload::live(&policy, &settings, &verifier, &upstreams)));
    let status = Status::default();
    let version = policy.version.clone();
    let shutdown = settings.shutdown;
    let old_keys = predecessor.as_mut().map(|it| std::mem::take(&mut it.assertion_keys));
    let mut server = Server::new_with_opt_and_conf(None, server_conf(&settings));
    server.bootstrap();
    add_listeners(&mut server, &settings, &gate, &current, &draining, &sockets)?;
    let upgrade_fault = operations::Fault::default();
    add_telemetry(
        &mut server,
        &settings,
        Telemetry {
            status: status.clone(),
            upgrade_fault: upgrade_fault.clone(),
            draining: draining.clone(),
            keys: std::iter::once(own_key.clone()).chain(old_keys.into_iter().flatten()).collect(),
        },
        &sockets,
    )?;
    leave_when_idle(shutdown, &draining, &journal, launch.pid_file.clone())?;
    let reloader = Reloader::new(reload::Beginning {
        path: launch.config,
        gate: Arc::clone(&gate),
        current,
        draining: draining.clone(),
        runtime: background.handle().clone(),
        status: status.clone(),
        policy,
        settings,
        verifier: Arc::clone(&verifier),
        named,
        upstreams,
    });
    if let Some(predecessor) = &mut predecessor {
        let leave = predecessor.wait_for_leave(|| verifier.unready().is_empty());
        state.begin_after(leave.map_err(StartError)?);
        metrics().upgrades.with_label_values(&["took_over"]).inc();
    }
    let (ask, asked) = std::sync::mpsc::channel();
    spawn_named("reload", move || reloader.run(&asked))?;
    let operations = Operator {
        gate: Arc::clone(&gate),
        background: background.handle().clone(),
        ask,
        heir: Arc::new(operations::Heir {
            program,
            sockets,
            state,
            gate,
            background: background.handle().clone(),
            own_key,
            status: status.clone(),
            is_stopping: AtomicBool::new(false),
            fault: upgrade_fault,
        }),
        predecessor: Mutex::new(predecessor),
        pid_file: launch.pid_file.clone(),
        version,
    };
    let signals = {
        let _runtime = background.enter();
        Signals::new(shutdown, draining, Arc::new(operations))
            .map_err(|error| StartError(format!("signals can't be received: {error}")))?
    };
    server.run(RunArgs { shutdown_signal: Box::new(signals) });
    journal.flush();
    launch.pid_file.as_deref().inspect(|path| program::remove_pid(path));
    background.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// How the gateway is to be run.
#[derive(Debug)]
pub struct Launch {
    /// The configuration's file, for reloads.
    pub config: PathBuf,
    /// Where to write the process id once it serves.
    pub pid_file: Option<PathBuf>,
}

fn server_conf(settings: &Settings) -> ServerConf {
    let threads =
        settings.threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    ServerConf {
        threads,
        // One runtime per thread: 6 % less CPU per request, and no request ever changes its thread.
        work_stealing: false,
        // Tries, not retries: an idempotent request that met a connection just closed is sent once more.
        max_retries: 2,
        // Pingora sleeps for so long; `leave_when_idle` ends the process before, if nothing holds it up.
        grace_period_seconds: Some((settings.shutdown.grace + LAST_WORDS).as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

fn add_listeners(
    server: &mut Server,
    settings: &Settings,
    gate: &Arc<Gate>,
    current: &Arc<Current>,
    draining: &Draining,
    sockets: &Sockets,
) -> Result<(), StartError> {
    let connector = Arc::new(Connector::new(Some(ConnectorOptions::from_server_conf(&server.configuration))));
    for (position, listener) in settings.listeners.iter().enumerate() {
        let gateway = Gateway {
            listener: listener.clone(),
            position,
            gate: Arc::clone(gate),
            current: Arc::clone(current),
            connector: Arc::clone(&connector),
            draining: draining.clone(),
        };
        let proxy = http_proxy(&server.configuration, gateway);
        let mut service = Service::new(
            format!("listener {}", listener.name),
            Edge::new(proxy, Arc::clone(gate), &listener.name, draining.clone()),
        );
        service.add_tcp(&listener.address.to_string());
        server.add_service(sockets.accepting(service)?);
        tracing::info!(listener = %listener.name, address = %listener.address, "listening");
    }
    Ok(())
}

/// What the telemetry listener tells.
struct Telemetry {
    status: Status,
    upgrade_fault: operations::Fault,
    draining: Draining,
    /// The public keys of assertions: this program's, and that of the program before, whose last requests may still be
    /// on their way.
    keys: Vec<serde_json::Value>,
}

fn add_telemetry(
    server: &mut Server,
    settings: &Settings,
    tells: Telemetry,
    sockets: &Sockets,
) -> Result<(), StartError> {
    let Some(address) = settings.telemetry else { return Ok(()) };
    let Telemetry { status, upgrade_fault, draining, keys } = tells;
    let configuration = status.clone();
    let readiness = move || {
        let mut missing = status.unready();
        if draining.is_draining() {
            missing.push("the gateway is stopping".to_owned());
        }
        missing
    };
    let details = move || {
        let mut details = serde_json::Map::new();
        configuration.tell(&mut details);
        upgrade_fault.tell(&mut details);
        details
    };
    let mut service = Service::new(
        "telemetry".to_owned(),
        TelemetryListener {
            readiness: Arc::new(readiness),
            details: Arc::new(details),
            jwks: serde_json::json!({ "keys": keys }).to_string(),
        },
    );
    service.threads = Some(1);
    service.add_tcp(&address.to_string());
    server.add_service(sockets.accepting(service)?);
    tracing::info!(%address, "telemetry");
    Ok(())
}

/// Pingora waits for the whole grace period even when nothing runs any more; this ends the process as soon as the last
/// request has. At the end of the grace period it lets WebSockets be closed.
fn leave_when_idle(
    settings: ShutdownSettings,
    draining: &Draining,
    journal: &Arc<FileJournal>,
    pid_file: Option<PathBuf>,
) -> Result<(), StartError> {
    let (draining, journal) = (draining.clone(), Arc::clone(journal));
    let watch = move || {
        loop {
            std::thread::park_timeout(Duration::from_millis(100));
            let Some(closed_for) = draining.closed_for() else { continue };
            if closed_for > settings.grace {
                draining.say_farewell();
            }
            if closed_for > LAST_REQUESTS && metrics().in_flight.get() == 0 {
                tracing::info!("every request is finished: goodbye");
                journal.flush();
                pid_file.as_deref().inspect(|path| program::remove_pid(path));
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the journal is flushed, and Pingora offers no earlier end of its grace period"
                )]
                std::process::exit(0);
            }
        }
    };
    spawn_named("leave", watch)
}

fn spawn_named(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| StartError(format!("a thread can't be started: {error}")))
}

/// Every address that is listened on.
fn addresses(settings: &Settings) -> Vec<SocketAddr> {
    settings.listeners.iter().map(|listener| listener.address).chain(settings.telemetry).collect()
}

/// Reads the key behind the pseudonyms, or makes one beside the journal on first start.
fn pseudonyms(settings: &AuditSettings) -> Result<Pseudonyms, StartError> {
    let secret = match &settings.pseudonym_key_file {
        Some(path) => std::fs::read(path).map_err(|error| {
            StartError(format!("the pseudonym key `{}` can't be read: {error}", path.display()))
        })?,
        None => own_key(&settings.dir.join("pseudonyms.key"))?,
    };
    Pseudonyms::new(secret.trim_ascii_end()).ok_or_else(|| {
        StartError(format!(
            "the pseudonym key has fewer than {} bytes; make one with `openssl rand -hex 32`",
            Pseudonyms::MIN_KEY_BYTES
        ))
    })
}

fn own_key(path: &Path) -> Result<Vec<u8>, StartError> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let fail = |error: &dyn std::fmt::Display| {
        StartError(format!("the pseudonym key `{}` can't be made: {error}", path.display()))
    };
    match std::fs::read(path) {
        Ok(secret) => return Ok(secret),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(&error)),
        Err(_) => {}
    }
    let mut secret = [0u8; 32];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| fail(&"the system gives no randomness"))?;
    let text: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| fail(&error))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| fail(&error))?;
    tracing::info!(path = %path.display(), "made a key for pseudonyms; keep it, or the trail can't be matched to persons");
    Ok(text.into_bytes())
}
