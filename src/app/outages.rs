//! Puts the beginning and the end of each outage of the state store on record.

pub mod services;

use std::sync::Arc;
use std::time::Duration;

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

/// A store that fails and works by turns must not fill the trail.
const PAUSE: Duration = Duration::from_millis(100);

/// Records for as long as the store lives. An outage that was over before it could be recorded is recorded all the same;
/// of several such, the last: the numbers show it.
async fn record(gate: Arc<Gate>, mut outages: watch::Receiver<Outages>) {
    let mut open: Option<(u64, Instant)> = None;
    let mut recorded = 0;
    loop {
        let Outages { begun, lasts, why } = outages.borrow_and_update().clone();
        if begun > recorded || !lasts {
            end(&gate, open.take(), &why).await;
        }
        if begun > recorded {
            recorded = begun;
            let began = Event::StoreOutage { phase: "begun", number: begun, why: &why, seconds: None };
            gate.record_own(&began).await;
            open = Some((begun, Instant::now()));
            if !lasts {
                end(&gate, open.take(), &why).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
        if outages.changed().await.is_err() {
            return;
        }
    }
}

async fn end(gate: &Gate, open: Option<(u64, Instant)>, why: &str) {
    if let Some((number, began_at)) = open {
        let seconds = Some(began_at.elapsed().as_secs());
        // It is over; a failure to record is counted and logged by the journal.
        gate.record_own(&Event::StoreOutage { phase: "ended", number, why, seconds }).await;
    }
}
