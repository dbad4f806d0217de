//! The composition root: the only place that names every concrete part. Builds them, joins them, runs Pingora.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::Connector;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::listening::Service;

use crate::audit::event::Event;
use crate::audit::file::FileJournal;
use crate::audit::pseudonym::Pseudonyms;
use crate::config::settings::{AuditSettings, Compiled, Settings};
use crate::enforce::Gate;
use crate::keys::Verifier;
use crate::serve::edge::Edge;
use crate::serve::otlp::Exporter;
use crate::serve::proxy_status::ProxyStatus;
use crate::serve::shutdown::{Draining, Signals};
use crate::serve::telemetry_listener::TelemetryListener;
use crate::serve::trace::Tracer;
use crate::serve::{Gateway, Upstreams};
use crate::state::memory::MemoryState;
use crate::telemetry::metrics;

/// How long after the listeners closed requests may still begin on open connections.
const LAST_REQUESTS: Duration = Duration::from_millis(2500);

/// Why the gateway can't start. The text names the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    fn new(what: impl std::fmt::Display) -> Self {
        Self(what.to_string())
    }
}

/// Runs the gateway until it is told to stop.
///
/// # Errors
/// Something it needs to start is missing or taken; nothing was served.
pub fn run(compiled: Compiled) -> Result<(), StartError> {
    let Compiled { policy, settings, .. } = compiled;
    claim_addresses(&settings)?;
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
    let journal = Arc::new(FileJournal::open(&settings.audit.dir, &origin).map_err(StartError::new)?);
    let pseudonyms = pseudonyms(&settings.audit)?;
    let verifier =
        Verifier::new(policy.issuers.clone(), settings.issuers.clone(), background.handle().clone())
            .map_err(StartError::new)?;
    let verifier = Arc::new(verifier);
    background.spawn(Arc::clone(&verifier).background());
    let assertions = crate::serve::assertion::Assertions::new().map_err(|_| {
        StartError("no key for assertions could be made: the system gives no randomness".to_owned())
    })?;
    let upstreams = Arc::new(Upstreams::new(settings.upstreams.clone(), assertions));
    let search_forms = settings.upstreams.iter().map(|upstream| upstream.refuse_hidden_method).collect();
    let version = policy.version.clone();
    let identities: Arc<dyn crate::enforce::ports::Identities> = Arc::clone(&verifier) as _;
    let gate = Arc::new(Gate::new(
        policy,
        identities,
        Arc::new(MemoryState::new()),
        Arc::clone(&journal) as _,
        pseudonyms,
        search_forms,
    ));
    let started = Event::Started {
        version: env!("CARGO_PKG_VERSION"),
        policy: &version,
        relaxations: &settings.insecure,
    };
    if !background.block_on(gate.record_own(&started)) {
        return Err(StartError(format!(
            "the audit journal in `{}` can't be written; check its disk and permissions",
            settings.audit.dir.display()
        )));
    }
    let tracer = tracer(&settings, background.handle())?;
    let draining = Draining::default();
    let mut server = Server::new_with_opt_and_conf(None, server_conf(&settings));
    server.bootstrap();
    add_listeners(&mut server, &settings, &gate, &upstreams, &draining, &tracer);
    add_telemetry(&mut server, &settings, &verifier, &upstreams, &draining);
    leave_when_idle(&settings, &draining, &journal, &tracer)?;
    tracing::info!(policy = %version, listeners = settings.listeners.len(), "wardgate serves");
    server
        .run(RunArgs { shutdown_signal: Box::new(signals(&settings, draining, &gate, background.handle())) });
    journal.flush();
    tracer.flush();
    background.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

fn tracer(settings: &Settings, background: &tokio::runtime::Handle) -> Result<Tracer, StartError> {
    let Some(traces) = &settings.traces else { return Ok(Tracer::default()) };
    let exporter = Exporter::start(traces, background).map_err(|error| {
        StartError(format!("no client for the trace collector could be made: {}", error.without_url()))
    })?;
    Ok(Tracer::new(Some(Arc::new(exporter))))
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
        grace_period_seconds: Some(settings.shutdown.grace.as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    }
}

fn add_listeners(
    server: &mut Server,
    settings: &Settings,
    gate: &Arc<Gate>,
    upstreams: &Arc<Upstreams>,
    draining: &Draining,
    tracer: &Tracer,
) {
    let proxy_status = ProxyStatus::new(&settings.proxy_status);
    let connector = Arc::new(Connector::new(Some(ConnectorOptions::from_server_conf(&server.configuration))));
    for listener in &settings.listeners {
        let gateway = Gateway {
            listener: listener.clone(),
            gate: Arc::clone(gate),
            upstreams: Arc::clone(upstreams),
            connector: Arc::clone(&connector),
            draining: draining.clone(),
            tracer: tracer.clone(),
            proxy_status: proxy_status.clone(),
        };
        let proxy = http_proxy(&server.configuration, gateway);
        let mut service = Service::new(
            format!("listener {}", listener.name),
            Edge::new(proxy, Arc::clone(gate), &listener.name),
        );
        service.add_tcp(&listener.address.to_string());
        server.add_service(service);
        tracing::info!(listener = %listener.name, address = %listener.address, "listening");
    }
}

fn add_telemetry(
    server: &mut Server,
    settings: &Settings,
    verifier: &Arc<Verifier>,
    upstreams: &Arc<Upstreams>,
    draining: &Draining,
) {
    let Some(address) = settings.telemetry else { return };
    let (verifier, draining) = (Arc::clone(verifier), draining.clone());
    let readiness = move || {
        let mut missing = verifier.unready();
        if draining.is_draining() {
            missing.push("the gateway is stopping".to_owned());
        }
        missing
    };
    let mut service = Service::new(
        "telemetry".to_owned(),
        TelemetryListener { readiness: Arc::new(readiness), upstreams: Arc::clone(upstreams) },
    );
    service.threads = Some(1);
    service.add_tcp(&address.to_string());
    server.add_service(service);
    tracing::info!(%address, "telemetry");
}

fn signals(
    settings: &Settings,
    draining: Draining,
    gate: &Arc<Gate>,
    background: &tokio::runtime::Handle,
) -> Signals {
    let (gate, background) = (Arc::clone(gate), background.clone());
    let on_stop = move || {
        let gate = Arc::clone(&gate);
        background.spawn(async move { gate.record_own(&Event::Stopping).await });
    };
    Signals { settings: settings.shutdown, draining, on_stop: Box::new(on_stop) }
}

/// Pingora waits for the whole grace period even when nothing runs any more; this ends the process as soon as the last
/// request has.
fn leave_when_idle(
    settings: &Settings,
    draining: &Draining,
    journal: &Arc<FileJournal>,
    tracer: &Tracer,
) -> Result<(), StartError> {
    let (draining, journal, lame_duck) = (draining.clone(), Arc::clone(journal), settings.shutdown.lame_duck);
    let tracer = tracer.clone();
    let watch = move || {
        let mut since = None;
        loop {
            std::thread::park_timeout(Duration::from_millis(100));
            if !draining.is_draining() {
                continue;
            }
            let waited = since.get_or_insert_with(Instant::now).elapsed();
            if waited > lame_duck + LAST_REQUESTS && metrics().in_flight.get() == 0 {
                tracing::info!("every request is finished: goodbye");
                journal.flush();
                tracer.flush();
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the journal is flushed, and Pingora offers no earlier end of its grace period"
                )]
                std::process::exit(0);
            }
        }
    };
    std::thread::Builder::new()
        .name("leave".to_owned())
        .spawn(watch)
        .map(drop)
        .map_err(|error| StartError(format!("a thread can't be started: {error}")))
}

/// Pingora panics where an address is taken; this says so first.
fn claim_addresses(settings: &Settings) -> Result<(), StartError> {
    let addresses = settings.listeners.iter().map(|listener| listener.address).chain(settings.telemetry);
    for address in addresses {
        std::net::TcpListener::bind(address).map_err(|error| {
            StartError(format!("`{address}` can't be listened on: {error}; stop what holds it, or choose another address in the configuration"))
        })?;
    }
    Ok(())
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
