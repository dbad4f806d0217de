//! The composition root: the only place that names every concrete part. Builds them, joins them, runs Pingora.

mod askers;
mod checkpoint_key;
mod detections;
mod fingerprint;
mod leaving;
mod operations;
mod operators;
mod outages;
mod program;
mod pseudonym_key;
mod reload;
mod secret_file;
mod signals;
mod sockets;
mod store;
mod succession;
mod telemetry;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::listening::Service;

use self::checkpoint_key::open_journal;
use self::leaving::Leaving;
use self::operations::Operator;
use self::program::Program;
use self::pseudonym_key::pseudonyms;
use self::reload::{Reloader, Status};
use self::sockets::{Sockets, addresses};
use self::store::Store;
use self::succession::Predecessor;
use self::telemetry::{Telemetry, add_telemetry, tracer};
use crate::access::Services;
use crate::audit::event::Event;
use crate::audit::sinks::Sinks;
use crate::config::settings::{Compiled, ListenAddress, ListenerSettings, Settings};
use crate::enforce::ports::PseudonymKeys;
use crate::enforce::{Gate, flood};
use crate::keys::Verifier;
use crate::serve::door::Door;
use crate::serve::edge::Edge;
use crate::serve::proxy_status::ProxyStatus;
use crate::serve::shutdown::{Draining, Signals};
use crate::serve::sockets::{SOCKET_MODE, UnixSockets, allow_files};
use crate::serve::tls::{self, ListenerTls};
use crate::serve::trace::Tracer;
use crate::serve::{Current, Gateway, Upstreams};
use crate::state::rates::LocalRates;
use crate::telemetry::metrics;

/// The buffer before each client connection, in bytes: none. Who reads asks for more at once than a small one holds, and
/// Pingora's own 64 KiB would be much of the memory of thousands of slow connections.
const READ_BUFFER: usize = 0;
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
    allow_files(&settings.listeners);
    let sockets = Arc::new(Sockets::open(&addresses(&settings), inherited)?);
    for relaxation in &settings.insecure {
        tracing::warn!("insecure: {relaxation}");
    }
    let background = program::background()?;
    let origin = uuid::Uuid::now_v7().simple().to_string();
    let journal = Arc::new(open_journal(&settings.audit, &origin, predecessor.is_some())?);
    let (pseudonyms, keys) = pseudonyms(&settings.audit, journal.has_earlier_records())?;
    let pseudonym_keys: Arc<dyn PseudonymKeys> = Arc::new(keys);
    let alone = predecessor.is_none().then_some(origin);
    detections::watch(&settings.audit, &pseudonyms, &journal, alone, background.handle())?;
    let named = fingerprint::digests(&settings);
    let verifier =
        Verifier::new(policy.issuers.clone(), settings.issuers.clone(), background.handle().clone())
            .map(Arc::new)
            .map_err(StartError::new)?;
    let assertions = crate::serve::assertion::Assertions::new().map_err(|_| {
        StartError("no key for assertions could be made: the system gives no randomness".to_owned())
    })?;
    let own_key = assertions.public_key().clone();
    let upstreams = Upstreams::new(settings.upstreams.clone(), assertions, background.handle());
    let (upstreams, policy) = (Arc::new(upstreams.map_err(StartError)?), Arc::new(policy));
    let store = Arc::new(Store::open(&settings.state, background.handle(), predecessor.is_some())?);
    let rates = Arc::new(LocalRates::default());
    let gate = Gate::new(store.state(), Arc::clone(&journal) as _, rates, pseudonyms);
    let gate = Arc::new(gate.with_nonces(store.nonces()?).with_observed(Store::of_this_process()));
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
    let (audit, port) = (&settings.audit, Arc::clone(&journal) as _);
    let (dir, quota, remote) = (&audit.dir, audit.undelivered_quota, journal.remote());
    let sinks = Sinks::start(dir, &audit.sinks, quota, remote, &port, background.handle())
        .map_err(StartError::new)?;
    background.spawn(record_floods(Arc::clone(&gate)));
    background.spawn(Arc::clone(&gate).watch());
    background.spawn(Arc::clone(&gate).keep_pseudonyms(Arc::clone(&pseudonym_keys)));
    outages::keep_on_record(&store, &gate, background.handle());
    let encryption = open_tls(&settings)?;
    background.spawn(tls::keep_fresh(encryption.iter().flatten().cloned().collect()));
    let tracer = tracer(&settings, background.handle())?;
    let draining = Draining::default();
    let status = Status::default();
    let askers = status.asking.next(&settings, &verifier).map_err(StartError::new)?;
    let known = (&verifier, status.asking.replace(askers));
    let own = reload::own_parts((&policy, &settings), known, (&store, background.handle()), None);
    let access = Services::new(&settings.access, background.handle(), None).map_err(StartError::new)?;
    let access = Arc::new(access);
    let live = reload::live((&policy, &settings), &verifier, (&upstreams, &access), own);
    let current = Arc::new(Current::new(live));
    let looked_at = Arc::clone(&current);
    background.spawn(Arc::clone(&gate).keep_sessions(move || looked_at.load().generation.sessions.clone()));
    outages::services::keep_on_record(&gate, &current, background.handle());
    let looked_at = Arc::clone(&current);
    let has_rights = move || !looked_at.load().generation.policy.break_glass.is_empty();
    background.spawn(Arc::clone(&gate).watch_reviews(has_rights));
    let version = policy.version.clone();
    let shutdown = settings.shutdown;
    let old_keys = predecessor.as_mut().map(|it| std::mem::take(&mut it.assertion_keys));
    let mut server = Server::new_with_opt_and_conf(None, server_conf(&settings));
    server.bootstrap();
    let parts = Parts { gate: &gate, current: &current, draining: &draining, tracer: &tracer };
    add_listeners(&mut server, &settings, &encryption, &parts, &sockets)?;
    let upgrade_fault = operations::Fault::default();
    let readiness = add_telemetry(
        &mut server,
        &settings,
        Telemetry {
            status: status.clone(),
            upgrade_fault: upgrade_fault.clone(),
            draining: draining.clone(),
            journal: Arc::clone(&journal),
            sinks: sinks.clone(),
            store: Arc::clone(&store),
            encryption: encryption.iter().flatten().cloned().collect(),
            current: Arc::clone(&current),
            keys: std::iter::once(own_key.clone()).chain(old_keys.into_iter().flatten()).collect(),
        },
        &sockets,
    )?;
    let leaving = Arc::new(Leaving {
        grace: shutdown.grace,
        draining: draining.clone(),
        journal: Arc::clone(&journal),
        sinks,
        gate: Arc::clone(&gate),
        background: background.handle().clone(),
        tracer,
        store: Arc::clone(&store),
        unix_sockets: UnixSockets::of(&settings.listeners).and(settings.operators.clone()),
        pid_file: launch.pid_file.clone(),
        begun: AtomicBool::new(false),
    });
    leaving.watch()?;
    let for_operators = settings.operators.as_deref().map(|path| {
        let (gate, current) = (Arc::clone(&gate), Arc::clone(&current));
        let parts = operators::Parts { gate, current, readiness, pseudonym_keys };
        operators::serve(path, &sockets, background.handle(), parts)
    });
    let for_operators = for_operators.transpose()?;
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
        access,
        store: Arc::clone(&store),
    });
    if let Some(predecessor) = &mut predecessor {
        let leave = predecessor.wait_for_leave(|| verifier.unready().is_empty() && store.unready().is_none());
        store.begin_after(leave.map_err(StartError)?).map_err(StartError)?;
        metrics().upgrades.with_label_values(&["took_over"]).inc();
    }
    let (ask, asked) = std::sync::mpsc::channel();
    spawn_named("reload", move || reloader.run(&asked))?;
    let operations = Operator {
        gate: Arc::clone(&gate),
        background: background.handle().clone(),
        for_operators,
        ask,
        heir: Arc::new(operations::Heir {
            program,
            sockets,
            store,
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
    let written = leaving.finish();
    background.shutdown_timeout(Duration::from_secs(1));
    written.then_some(()).ok_or_else(lost_records)
}

fn lost_records() -> StartError {
    StartError("the last audit records could not be written and are lost; the log says which".to_owned())
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
        // Never the limit: each request counts its own tries.
        max_retries: crate::serve::MOST_TRIES,
        // Pingora sleeps for so long; `Leaving` ends the process before, if nothing holds it up.
        grace_period_seconds: Some((settings.shutdown.grace + LAST_WORDS).as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

/// The TLS of each listener that has any, in the order of the configuration.
fn open_tls(settings: &Settings) -> Result<Vec<Option<Arc<ListenerTls>>>, StartError> {
    let open = |listener: &ListenerSettings| match &listener.tls {
        None => Ok(None),
        Some(tls) => ListenerTls::open(&listener.name, tls).map(|opened| Some(Arc::new(opened))),
    };
    settings.listeners.iter().map(open).collect::<Result<_, _>>().map_err(StartError::new)
}

/// What every listener's gateway has in common.
struct Parts<'p> {
    gate: &'p Arc<Gate>,
    current: &'p Arc<Current>,
    draining: &'p Draining,
    tracer: &'p Tracer,
}

fn add_listeners(
    server: &mut Server,
    settings: &Settings,
    encryption: &[Option<Arc<ListenerTls>>],
    parts: &Parts<'_>,
    sockets: &Sockets,
) -> Result<(), StartError> {
    let proxy_status = ProxyStatus::new(&settings.proxy_status);
    let connector = Arc::new(Connector::new(Some(ConnectorOptions::from_server_conf(&server.configuration))));
    for (position, (listener, tls)) in settings.listeners.iter().zip(encryption).enumerate() {
        let gateway = Gateway {
            listener: listener.clone(),
            position,
            gate: Arc::clone(parts.gate),
            current: Arc::clone(parts.current),
            connector: Arc::clone(&connector),
            draining: parts.draining.clone(),
            tracer: parts.tracer.clone(),
            proxy_status: proxy_status.clone(),
        };
        let proxy = http_proxy(&server.configuration, gateway);
        let mut service = Service::new(
            format!("listener {}", listener.name),
            Edge::new(
                proxy,
                Door::new(listener, Arc::clone(parts.gate)),
                listener,
                tls.clone(),
                (parts.draining.clone(), Arc::clone(parts.gate.streams())),
            ),
        );
        let buffer = L4BufferSettings::default().read(READ_BUFFER);
        match &listener.address {
            ListenAddress::Tcp(address) => {
                service.endpoints().add_listener(ListenerConfig::tcp(address.to_string()).l4_buffer(buffer));
            }
            ListenAddress::Unix(path) => {
                let endpoint = ListenerConfig::uds(path.to_string_lossy())
                    .permissions(Permissions::from_mode(SOCKET_MODE));
                service.endpoints().add_listener(endpoint.l4_buffer(buffer));
            }
        }
        server.add_service(sockets.accepting(service)?);
        tracing::info!(listener = %listener.name, address = %listener.address, "listening");
    }
    Ok(())
}

/// Records now and then how much there was of what is not recorded one by one.
async fn record_floods(gate: Arc<Gate>) {
    let mut spans = tokio::time::interval(flood::SPAN);
    loop {
        spans.tick().await;
        gate.record_flood().await;
    }
}

fn spawn_named(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| StartError(format!("a thread can't be started: {error}")))
}
