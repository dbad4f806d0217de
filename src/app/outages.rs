//! Puts the beginning and the end of each outage of the state store on record.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::store::Store;
use crate::audit::event::Event;
use crate::enforce::Gate;
use crate::state::health::Outages;

/// Begins to record, on `runtime`.
pub fn keep_on_record(store: &Store, gate: &Arc<Gate>, runtime: &Handle) {
    if let Some(outages) = store.outages() {
        runtime.spawn(record(Arc::clone(gate), outages));
    }
}

/// Records for as long as the store lives. One outage that was over before it could be recorded is recorded all the
/// same; of several such, the last.
async fn record(gate: Arc<Gate>, mut outages: watch::Receiver<Outages>) {
    let (mut recorded, mut begun_at) = (0, None);
    loop {
        let Outages { begun, lasts, why } = outages.borrow_and_update().clone();
        let is_another = begun > recorded;
        if is_another || !lasts {
            end(&gate, begun_at.take(), &why).await;
        }
        if is_another {
            recorded = begun;
            let begin = Event::StoreOutage { phase: "begun", why: &why, seconds: None };
            gate.record_own(&begin).await;
            begun_at = Some(Instant::now());
            if !lasts {
                end(&gate, begun_at.take(), &why).await;
            }
        }
        if outages.changed().await.is_err() {
            return;
        }
    }
}

async fn end(gate: &Gate, begun_at: Option<Instant>, why: &str) {
    if let Some(begun_at) = begun_at {
        let seconds = Some(begun_at.elapsed().as_secs());
        // It is over; a failure to record is counted and logged by the journal.
        gate.record_own(&Event::StoreOutage { phase: "ended", why, seconds }).await;
    }
}
