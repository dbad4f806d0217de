//! Puts the beginning and the end of each outage of a service that decisions depend on (policy decision points, look-ups of
//! patients, consents) on record.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::audit::event::Event;
use crate::enforce::Gate;
use crate::enforce::ports::ServiceOutages;
use crate::serve::Current;

/// How often services are looked at. Nobody waits for it: each request has its own answer already.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// An outage is over when the service has failed nobody for so long: one that works and fails by turns must not fill the trail.
const QUIET: Duration = Duration::from_secs(5);

/// Begins to record, on `runtime`, for the services of whichever configuration is in force.
pub fn keep_on_record(gate: &Arc<Gate>, current: &Arc<Current>, runtime: &Handle) {
    let (gate, current) = (Arc::clone(gate), Arc::clone(current));
    runtime.spawn(async move {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ledger = Ledger::default();
        loop {
            let now = looks.tick().await;
            let seen = current.load().generation.access.as_ref().map(|services| services.outages());
            for change in ledger.look(now, seen.unwrap_or_default()) {
                // A failure to record is counted and logged by the journal.
                gate.record_own(&change.event()).await;
            }
        }
    });
}

/// A service's kind and name.
type Name = (&'static str, Box<str>);

/// What is known of outages, and so what of them is news.
#[derive(Default)]
struct Ledger(HashMap<Name, Known>);

#[derive(Default)]
struct Known {
    /// So many outages are on record.
    number: u64,
    /// So many had begun at the last look.
    begun: u64,
    open: Option<Open>,
}

/// An outage whose end is not on record.
struct Open {
    since: Instant,
    well_since: Option<Instant>,
    why: String,
}

/// What is to be recorded.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    name: Name,
    number: u64,
    why: String,
    /// How long it took; while it lasts, nothing.
    seconds: Option<u64>,
}

impl Change {
    fn event(&self) -> Event<'_> {
        Event::AccessOutage {
            phase: if self.seconds.is_none() { "begun" } else { "ended" },
            kind: self.name.0,
            service: &self.name.1,
            number: self.number,
            why: &self.why,
            seconds: self.seconds,
        }
    }
}

impl Ledger {
    /// Compares what services tell of themselves with what is on record.
    fn look(&mut self, now: Instant, seen: Vec<ServiceOutages>) -> Vec<Change> {
        let mut changes = Vec::new();
        for known in self.0.values_mut() {
            if let Some(open) = &mut known.open {
                // Until it is heard of again: it may be configured no more.
                open.well_since.get_or_insert(now);
            }
        }
        for service in seen {
            let name: Name = (service.kind, service.name);
            let known = self.0.entry(name.clone()).or_default();
            // With other settings it is another service, which counts anew.
            let is_news = service.begun != known.begun && service.begun > 0;
            known.begun = service.begun;
            if is_news && known.open.is_none() {
                known.number += 1;
                known.open = Some(Open { since: now, well_since: None, why: service.why.clone() });
                let why = service.why.clone();
                changes.push(Change { name, number: known.number, why, seconds: None });
            }
            if let Some(open) = &mut known.open
                && (service.lasts || is_news)
            {
                open.why = service.why;
                open.well_since = (!service.lasts).then_some(now);
            }
        }
        for (name, known) in &mut self.0 {
            let is_over = |open: &mut Open| {
                open.well_since.is_some_and(|since| now.saturating_duration_since(since) >= QUIET)
            };
            if let Some(Open { since, well_since, why }) = known.open.take_if(is_over) {
                let lasted = well_since.unwrap_or(now).saturating_duration_since(since);
                let (name, seconds) = (name.clone(), Some(lasted.as_secs()));
                changes.push(Change { name, number: known.number, why, seconds });
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(begun: u64, lasts: bool) -> ServiceOutages {
        ServiceOutages { kind: "pdp", name: "clinic".into(), begun, lasts, why: "it is too slow".to_owned() }
    }

    #[test]
    fn an_outage_is_told_once_when_it_begins_and_once_when_it_has_been_over_for_a_while() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let mut look = |seconds: u64, seen: Vec<ServiceOutages>| -> Vec<(u64, Option<u64>)> {
            let changes = ledger.look(start + Duration::from_secs(seconds), seen);
            changes.iter().map(|change| (change.number, change.seconds)).collect()
        };
        assert_eq!(look(0, vec![service(0, false)]), []);
        assert_eq!(look(1, vec![service(1, true)]), [(1, None)]);
        assert_eq!(look(2, vec![service(1, true)]), []);
        assert_eq!(look(4, vec![service(1, false)]), []);
        // By turns: it is the same outage.
        assert_eq!(look(6, vec![service(3, true)]), []);
        assert_eq!(look(10, vec![service(3, false)]), []);
        assert_eq!(look(15, vec![service(3, false)]), [(1, Some(9))]);
        // Over before anybody looked.
        assert_eq!(look(20, vec![service(4, false)]), [(2, None)]);
        assert_eq!(look(25, vec![service(4, false)]), [(2, Some(0))]);
        // Configured no more, and again, with other settings.
        assert_eq!(look(30, vec![service(5, true)]), [(3, None)]);
        assert_eq!(look(31, vec![]), []);
        assert_eq!(look(36, vec![]), [(3, Some(1))]);
        assert_eq!(look(40, vec![service(1, true)]), [(4, None)]);
    }
}
