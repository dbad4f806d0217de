//! Watches what is recorded, and puts on record what stands out.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::StartError;
use crate::audit::detections::{Detector, Finding, UNKNOWN_OUTCOMES};
use crate::audit::event::{DetectionEvent, Event};
use crate::audit::journal::FileJournal;
use crate::audit::left_behind::left_behind;
use crate::audit::pseudonym::{Kind, Pseudonyms};
use crate::config::settings::AuditSettings;
use crate::enforce::ports::Journal as _;
use crate::policy::Durability;
use crate::telemetry::metrics;

/// So many findings wait to be recorded at most.
const MOST_WAITING: usize = 1024;

/// The pseudonyms of the patients whose records are looked after.
fn watched(settings: &AuditSettings, pseudonyms: &Pseudonyms) -> Result<HashSet<Box<str>>, StartError> {
    let Some(path) = &settings.detections.watched_patients_file else { return Ok(HashSet::new()) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| StartError(format!("`{}` can't be read: {error}", path.display())))?;
    let ids = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(ids.map(|id| (*pseudonyms.of(Kind::Patient, "", id)).into()).collect())
}

/// Watches from now on. `origin` is this process's; where it took over from another that still runs, nothing was left behind.
///
/// # Errors
/// The file with the patients whose records are looked after can't be read.
pub fn watch(
    settings: &AuditSettings,
    pseudonyms: &Pseudonyms,
    journal: &Arc<FileJournal>,
    origin: Option<String>,
    runtime: &Handle,
) -> Result<(), StartError> {
    let watched = watched(settings, pseudonyms)?;
    let (found, waiting) = mpsc::channel(MOST_WAITING);
    let detector = Mutex::new(Detector::new(settings.detections.clone(), watched));
    let told = found.clone();
    journal.watch(move |event| {
        let mut detector = detector.lock().unwrap_or_else(PoisonError::into_inner);
        detector.see(event, jiff::Timestamp::now(), |finding| {
            let name = finding.name;
            if told.try_send(finding).is_err() {
                tracing::error!(
                    name,
                    "something stands out among audit records, and could not be put on record"
                );
            }
        });
    });
    runtime.spawn(record(waiting, Arc::downgrade(journal)));
    if let Some(origin) = origin {
        let dir = settings.dir.clone();
        runtime.spawn_blocking(move || look_back(&dir, &origin, &found));
    }
    Ok(())
}

fn look_back(dir: &Path, origin: &str, found: &mpsc::Sender<Finding>) {
    match left_behind(dir, "audit", origin) {
        Ok(0) => {}
        Ok(count) => {
            let _ = found.blocking_send(Finding { count, ..Finding::once(UNKNOWN_OUTCOMES) });
        }
        Err(error) => {
            tracing::warn!(%error, "what the process before this one left behind can't be read: see `wardgate audit query`");
        }
    }
}

/// Ends with the journal.
async fn record(mut waiting: mpsc::Receiver<Finding>, journal: Weak<FileJournal>) {
    while let Some(finding) = waiting.recv().await {
        let Some(journal) = journal.upgrade() else { return };
        metrics().detections.with_label_values(&[finding.name]).inc();
        tracing::warn!(
            name = finding.name,
            subject = finding.subject.as_deref(),
            count = finding.count,
            "something stands out among audit records"
        );
        let event = Event::Detection(DetectionEvent {
            name: finding.name,
            subject: finding.subject.as_deref(),
            patient: finding.patient.as_deref(),
            action: finding.action.as_deref(),
            count: finding.count,
            within: finding.within,
        });
        // A journal that fails tells of that itself.
        let _ = journal.append(&event, Durability::Written).await;
    }
}
