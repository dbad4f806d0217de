//! Watches what is recorded, and puts on record what stands out.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::StartError;
use crate::audit::detections::{Detector, Finding, UNKNOWN_OUTCOMES};
use crate::audit::event::{DetectionEvent, Event};
use crate::audit::journal::FileJournal;
use crate::audit::left_behind::left_behind;
use crate::audit::pseudonym::{InForce, Kind};
use crate::config::settings::AuditSettings;
use crate::enforce::ports::Journal as _;
use crate::policy::Durability;
use crate::telemetry::metrics;

/// So many findings wait to be recorded at most.
const MOST_WAITING: usize = 1024;
/// How soon it is tried again where the journal takes none.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The patients whose records are looked after.
fn watched(settings: &AuditSettings) -> Result<Vec<Box<str>>, StartError> {
    let Some(path) = &settings.detections.watched_patients_file else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| StartError(format!("`{}` can't be read: {error}", path.display())))?;
    let ids = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(ids.map(Into::into).collect())
}

/// What records call them now.
fn called(patients: &[Box<str>], pseudonyms: &InForce) -> HashSet<Box<str>> {
    patients.iter().map(|id| (*pseudonyms.of(Kind::Patient, "", id)).into()).collect()
}

/// Watches from now on. `origin` is this process's; where it took over from another that still runs, nothing was left behind.
///
/// # Errors
/// The file with the patients whose records are looked after can't be read.
pub fn watch(
    settings: &AuditSettings,
    pseudonyms: &Arc<InForce>,
    journal: &Arc<FileJournal>,
    origin: Option<String>,
    runtime: &Handle,
) -> Result<(), StartError> {
    let patients = watched(settings)?;
    let (found, waiting) = mpsc::channel(MOST_WAITING);
    let pseudonyms = Arc::clone(pseudonyms);
    let epoch = pseudonyms.begins();
    let detector = Detector::new(settings.detections.clone(), called(&patients, &pseudonyms));
    let detector = Mutex::new((detector, epoch));
    // Who they are is needed again only where pseudonyms change.
    let patients = if epoch.is_some() { patients } else { Vec::new() };
    let told = found.clone();
    journal.watch(move |event| {
        let mut watching = detector.lock().unwrap_or_else(PoisonError::into_inner);
        let (detector, epoch) = &mut *watching;
        // Who is named in this event got the name before: in force by now, or until now.
        let now_in_force = pseudonyms.begins();
        if *epoch != now_in_force {
            detector.watch_next(called(&patients, &pseudonyms));
            *epoch = now_in_force;
        }
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
    if let Some(origin) = origin.filter(|_| settings.detections.looks_for(UNKNOWN_OUTCOMES)) {
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

/// Tells of each finding at once, and puts it on record as soon as the journal takes it: that it takes nothing may be what
/// was found. Ends with the journal.
async fn record(mut found: mpsc::Receiver<Finding>, journal: Weak<FileJournal>) {
    let mut unrecorded = VecDeque::new();
    loop {
        let is_retry = !unrecorded.is_empty();
        tokio::select! {
            finding = found.recv() => {
                let Some(finding) = finding else { return };
                tell(&finding);
                if unrecorded.len() < MOST_WAITING {
                    unrecorded.push_back(finding);
                }
                // More of them do not make the journal work again.
                if is_retry {
                    continue;
                }
            }
            () = tokio::time::sleep(TRY_AGAIN), if is_retry => {}
        }
        let Some(journal) = journal.upgrade() else { return };
        while let Some(finding) = unrecorded.front() {
            // A journal that fails tells of that itself.
            if journal.append(&event(finding), Durability::Written).await.is_err() {
                break;
            }
            unrecorded.pop_front();
        }
    }
}

fn tell(finding: &Finding) {
    metrics().detections.with_label_values(&[finding.name]).inc();
    tracing::warn!(
        name = finding.name,
        subject = finding.subject.as_deref(),
        count = finding.count,
        "something stands out among audit records"
    );
}

fn event(finding: &Finding) -> Event<'_> {
    Event::Detection(DetectionEvent {
        name: finding.name,
        subject: finding.subject.as_deref(),
        patient: finding.patient.as_deref(),
        action: finding.action.as_deref(),
        count: finding.count,
        within: finding.within,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::Value;
    use uuid::Uuid;
    use zeroize::Zeroizing;

    use super::super::checkpoint_key::open_journal;
    use super::*;
    use crate::audit::detections;
    use crate::audit::epoch::Epoch;
    use crate::audit::event::DecisionEvent;
    use crate::audit::pseudonym::Pseudonyms;

    fn epoch(day: i8) -> Pseudonyms {
        let begins = jiff::civil::date(2026, 11, day);
        Pseudonyms::of_epoch(Epoch { begins, days: 7 }, &Zeroizing::new([day.unsigned_abs(); 32]))
    }

    #[tokio::test]
    async fn a_patient_is_looked_after_from_one_epoch_to_the_next() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("watched");
        std::fs::write(&file, "# those of ward 7\np1\n").expect("written");
        let settings = AuditSettings {
            detections: detections::Settings { watched_patients_file: Some(file), ..Default::default() },
            ..AuditSettings::in_dir(dir.path().join("audit"))
        };
        let journal = Arc::new(open_journal(&settings, "o", false).expect("opens"));
        let pseudonyms = Arc::new(InForce::new(epoch(1)));
        watch(&settings, &pseudonyms, &journal, None, &Handle::current()).expect("watches");
        for next in [None, Some(epoch(8))] {
            if let Some(next) = next {
                pseudonyms.put(next);
            }
            let patient = pseudonyms.of(Kind::Patient, "", "p1");
            let intent = Event::Intent(DecisionEvent {
                decision: Uuid::nil(),
                listener: "portal",
                verdict: "permit",
                reason: "permitted",
                method: "GET",
                action: None,
                template: None,
                tier: None,
                upstream: None,
                subject: None,
                actor: None,
                patient: Some(&patient),
                session: None,
                account: None,
                address: None,
                bundle: None,
                entries: None,
                actions: Vec::new(),
                rule: None,
                input: None,
            });
            journal.append(&intent, Durability::Written).await.expect("recorded");
            let found = || {
                let text = std::fs::read_to_string(settings.dir.join("audit.jsonl")).expect("readable");
                let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                let mut records = records.filter(|record| record["event"] == "detection");
                records.any(|record| record["patient"] == *patient)
            };
            let limit = Instant::now() + Duration::from_secs(20);
            while !found() {
                assert!(Instant::now() < limit, "{patient} is not looked after");
                tokio::task::yield_now().await;
            }
        }
    }
}
