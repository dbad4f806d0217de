//! What the telemetry listener tells, put together from the parts that know.

use std::sync::Arc;

use pingora::server::Server;
use pingora::services::listening::Service;

use super::StartError;
use super::operations;
use super::reload::Status;
use super::sockets::Sockets;
use super::store::Store;
use crate::audit::journal::FileJournal;
use crate::audit::sinks::Sinks;
use crate::config::settings::Settings;
use crate::serve::Current;
use crate::serve::otlp::Exporter;
use crate::serve::shutdown::Draining;
use crate::serve::telemetry_listener::{Readiness, TelemetryListener};
use crate::serve::tls::ListenerTls;
use crate::serve::trace::Tracer;
use crate::telemetry::metrics;

/// What the telemetry listener tells.
pub struct Telemetry {
    /// How loading the configuration went.
    pub status: Status,
    /// Why the last upgrade failed.
    pub upgrade_fault: operations::Fault,
    /// Whether the gateway is stopping.
    pub draining: Draining,
    /// Whether records can be written.
    pub journal: Arc<FileJournal>,
    /// Whether they are delivered.
    pub sinks: Sinks,
    /// Whether the state can be asked.
    pub store: Arc<Store>,
    /// The certificates of listeners.
    pub encryption: Vec<Arc<ListenerTls>>,
    /// The upstreams in force.
    pub current: Arc<Current>,
    /// The public keys of assertions: this program's, and that of the program before, whose last requests may still be
    /// on their way.
    pub keys: Vec<serde_json::Value>,
}

pub fn add_telemetry(
    server: &mut Server,
    settings: &Settings,
    tells: Telemetry,
    sockets: &Sockets,
) -> Result<Readiness, StartError> {
    let Telemetry { status, upgrade_fault, draining, journal, sinks, store, encryption, current, keys } =
        tells;
    let observed = Arc::clone(&current);
    let configuration = status.clone();
    let (kept, recorded) = (Arc::clone(&store), Arc::clone(&journal));
    let readiness: Readiness = Arc::new(move || {
        observed.load().upstreams.observe();
        let mut missing = status.unready();
        missing.extend(recorded.trouble());
        missing.extend(kept.unready());
        if draining.is_draining() {
            missing.push("the gateway is stopping".to_owned());
        }
        missing
    });
    let Some(address) = settings.telemetry else { return Ok(readiness) };
    let details = move || {
        let mut details = serde_json::Map::new();
        configuration.tell(&mut details);
        upgrade_fault.tell(&mut details);
        // A service that is down is no reason to send the requests for all the others elsewhere.
        let now = jiff::Timestamp::now().as_second();
        let mut notices = current.load().upstreams.down();
        notices.extend(store.trouble());
        notices.extend(store.notice());
        notices.extend(journal.notices());
        notices.extend(sinks.trouble());
        if metrics().pseudonym_rotation_late.get() != 0 {
            notices.push("the next epoch of pseudonyms can't begin; the log says why".to_owned());
        }
        notices.extend(configuration.signals_trouble());
        notices.extend(configuration.asking.unready());
        notices.extend(current.load().generation.access.iter().flat_map(|services| services.trouble()));
        notices.extend(current.load().generation.signals.iter().flat_map(|streams| streams.trouble()));
        notices.extend(encryption.iter().flat_map(|listener| listener.notices(now)));
        details.insert("notices".to_owned(), notices.into());
        details
    };
    let mut service = Service::new(
        "telemetry".to_owned(),
        TelemetryListener {
            readiness: Arc::clone(&readiness),
            details: Arc::new(details),
            jwks: serde_json::json!({ "keys": keys }).to_string(),
        },
    );
    service.threads = Some(1);
    service.add_tcp(&address.to_string());
    server.add_service(sockets.accepting(service)?);
    tracing::info!(%address, "telemetry");
    Ok(readiness)
}

/// Sends traces, where that is configured.
pub fn tracer(settings: &Settings, background: &tokio::runtime::Handle) -> Result<Tracer, StartError> {
    let Some(traces) = &settings.traces else { return Ok(Tracer::default()) };
    let exporter = Exporter::start(traces, background)
        .map_err(|error| StartError(format!("no client for the trace collector could be made: {error}")))?;
    Ok(Tracer::new(Some(Arc::new(exporter))))
}
