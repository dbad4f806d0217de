//! What stands out in the stream of events, under names that stay the same, for people who get alarms.
//!
//! Pure: an event and its time go in, findings come out. Only pseudonyms are known here. What is remembered is bounded, and
//! forgotten with the process.

mod hours;
mod settings;
mod window;

use std::collections::HashSet;

pub use self::hours::Hours;
pub use self::settings::{Many, OffHours, Settings};
use self::window::{Distinct, Quiet, Tally};
use super::event::{DecisionEvent, Event, OutcomeResult};

/// Something that stands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its stable name.
    pub name: &'static str,
    /// Whose doing it is: a pseudonym.
    pub subject: Option<Box<str>>,
    /// Whose record it is about: a pseudonym.
    pub patient: Option<Box<str>>,
    /// The action's id.
    pub action: Option<Box<str>>,
    /// How often.
    pub count: u64,
    /// Within so many seconds; `None` for what happens once.
    pub within: Option<u64>,
}

impl Finding {
    /// Something that happened once, and is about nobody.
    pub fn once(name: &'static str) -> Self {
        Self { name, subject: None, patient: None, action: None, count: 1, within: None }
    }

    fn of_person(name: &'static str, event: &DecisionEvent<'_>) -> Self {
        Self {
            subject: event.subject.map(Into::into),
            patient: event.patient.map(Into::into),
            action: event.action.map(Into::into),
            ..Self::once(name)
        }
    }
}

/// The name of what a process left behind that died: requests of which nobody knows what came of them.
pub const UNKNOWN_OUTCOMES: &str = "unknown_outcomes";

/// The name of what somebody saw in an emergency, beyond what the rules let them.
pub const BREAK_GLASS_USED: &str = "break_glass_used";

/// Every name there is.
pub const NAMES: [&str; 10] = [
    BREAK_GLASS_USED,
    "mass_lookup",
    "prompt_storm",
    "watched_patient",
    "off_hours",
    UNKNOWN_OUTCOMES,
    "sink_down",
    "journal_outage",
    "journal_near_quota",
    "configuration_refused",
];

/// Watches.
#[derive(Debug)]
pub struct Detector {
    settings: Settings,
    /// The patients whose records are looked after: pseudonyms.
    watched: HashSet<Box<str>>,
    /// Their pseudonyms in the epoch before: some records under these may still come.
    watched_before: HashSet<Box<str>>,
    counts: Counts,
}

/// What is remembered of those before.
#[derive(Debug)]
struct Counts {
    lookups: Distinct,
    prompts: Tally,
    unknown: Tally,
    watched: Quiet,
    off_hours: Quiet,
    break_glass: Quiet,
}

impl Detector {
    /// With what counts as much, and the pseudonyms of patients whose records are looked after.
    pub fn new(settings: Settings, watched: HashSet<Box<str>>) -> Self {
        let of = |many: Many| (many.count, many.within);
        let counts = Counts {
            lookups: Distinct::new(of(settings.mass_lookup)),
            prompts: Tally::new(of(settings.prompt_storm)),
            unknown: Tally::new(of(settings.unknown_outcomes)),
            watched: Quiet::default(),
            off_hours: Quiet::default(),
            break_glass: Quiet::default(),
        };
        Self { settings, watched, watched_before: HashSet::new(), counts }
    }

    /// From now on records call the patients that are looked after otherwise.
    pub fn watch_next(&mut self, watched: HashSet<Box<str>>) {
        self.watched_before = std::mem::replace(&mut self.watched, watched);
    }

    /// Looks at an event of this moment; what stands out goes to `find`.
    pub fn see(&mut self, event: &Event<'_>, now: jiff::Timestamp, mut find: impl FnMut(Finding)) {
        let Self { settings, watched, watched_before, counts } = self;
        let mut find = |finding: Finding| {
            if settings.looks_for(finding.name) {
                find(finding);
            }
        };
        match event {
            Event::Intent(intent) => {
                let is_watched = |patient| watched.contains(patient) || watched_before.contains(patient);
                counts.see_intent(intent, settings, intent.patient.is_some_and(is_watched), now, find);
            }
            Event::Decision(decision) if decision.verdict == "challenge" => {
                counts.see_challenge(decision, settings.prompt_storm, now, find);
            }
            Event::Outcome(outcome)
                if outcome.result == OutcomeResult::Unknown && counts.unknown.add("", now.as_second()) =>
            {
                let Many { count, within } = settings.unknown_outcomes;
                find(Finding { count, within: Some(within), ..Finding::once(UNKNOWN_OUTCOMES) });
            }
            Event::BreakGlass(glass)
                if glass.what == "used"
                    && counts.break_glass.is_new(&(glass.subject, glass.patient), now.as_second()) =>
            {
                find(Finding {
                    subject: glass.subject.map(Into::into),
                    patient: glass.patient.map(Into::into),
                    action: glass.action.map(Into::into),
                    ..Finding::once(BREAK_GLASS_USED)
                });
            }
            Event::ReloadRefused { .. } => find(Finding::once("configuration_refused")),
            Event::SinkDown { .. } => find(Finding::once("sink_down")),
            Event::JournalOutage { phase: "begun", .. } => find(Finding::once("journal_outage")),
            Event::JournalNearQuota { .. } => find(Finding::once("journal_near_quota")),
            _ => {}
        }
    }
}

impl Counts {
    fn see_intent(
        &mut self,
        intent: &DecisionEvent<'_>,
        settings: &Settings,
        is_watched: bool,
        now: jiff::Timestamp,
        mut find: impl FnMut(Finding),
    ) {
        let second = now.as_second();
        if let (Some(subject), Some(patient)) = (intent.subject, intent.patient)
            && self.lookups.add(subject, patient, second)
        {
            let Many { count, within } = settings.mass_lookup;
            let found = Finding::of_person("mass_lookup", intent);
            find(Finding { patient: None, action: None, count, within: Some(within), ..found });
        }
        if is_watched && self.watched.is_new(&(intent.subject, intent.patient), second) {
            find(Finding::of_person("watched_patient", intent));
        }
        if let Some(off) = &settings.off_hours
            && intent.tier.is_some_and(|tier| off.tiers.iter().any(|name| **name == *tier))
            && !off.hours.contains(now)
            && self.off_hours.is_new(&(intent.subject, intent.action), second)
        {
            find(Finding::of_person("off_hours", intent));
        }
    }

    fn see_challenge(
        &mut self,
        challenge: &DecisionEvent<'_>,
        storm: Many,
        now: jiff::Timestamp,
        mut find: impl FnMut(Finding),
    ) {
        let Some(subject) = challenge.subject else { return };
        if self.prompts.add(subject, now.as_second()) {
            let found = Finding::of_person("prompt_storm", challenge);
            find(Finding { patient: None, count: storm.count, within: Some(storm.within), ..found });
        }
    }
}

#[cfg(test)]
mod tests;
