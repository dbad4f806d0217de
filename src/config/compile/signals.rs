//! Signals: hours and networks that make requests riskier.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use serde_saphyr::Spanned;

use super::detections;
use super::routes::Known;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{File, Signal as Schema, Text};
use crate::config::schema_risk::MoreThan;
use crate::config::settings::{StateSettings, StoreSettings};
use crate::config::values::{self, Names, seconds};
use crate::policy::signal::{Countable, Counted, Effect, Signal, Watch};

/// Each request of theirs is held against every one.
const MOST_NETWORKS: usize = 10_000;
/// So many different patients are kept of one person: 16 bytes each, and what the store needs beside.
const MOST_PATIENTS: usize = 1_000;
/// So many requests can be the limit.
const MOST_REQUESTS: usize = 1_000_000;
/// In how long something can be counted.
const SPANS: (Duration, Duration) = (seconds(1), seconds(86_400));
/// The longest list of them, in bytes.
const MOST_BYTES: u64 = 1024 * 1024;

/// Compiles `signals`, in the order of the file.
pub(super) fn compile(
    file: &File,
    known: &Known<'_>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Vec<Signal> {
    let mut names = Names::default();
    let mut signals = Vec::new();
    for item in file.signals.items() {
        let (schema, place) = (&item.value, Place::from(item));
        let report = &mut report.within("signal", schema.name.text());
        if let Some(name) = report.required(&schema.name, "name", place, "off_hours") {
            values::name(report, name);
            names.add(report, "signal", name);
        }
        let watch = watch(schema, place, base_dir, report);
        let effect = effect(schema, place, known, report);
        report.required(&schema.mode, "mode", place, "observe");
        let is_enforced =
            values::choice(report, &schema.mode, &[("observe", false), ("enforce", true)], false);
        let fires_unknown =
            values::choice(report, &schema.when_unavailable, &[("fired", true), ("ignored", false)], true);
        let issuers = schema.issuers.items().iter().filter_map(|text| known.issuer(report, text)).collect();
        let name = schema.name.text().unwrap_or_default().into();
        if let Some((watch, effect)) = watch.zip(effect) {
            signals.push(Signal { name, watch, effect, is_enforced, fires_unknown, issuers });
        }
    }
    signals
}

fn watch(schema: &Schema, place: Place, base_dir: &Path, report: &mut Report<'_>) -> Option<Watch> {
    let has_networks = schema.networks.is_some() || schema.networks_file.is_some();
    let counts = [(&schema.requests, Countable::Requests), (&schema.distinct_patients, Countable::Patients)];
    let watched = usize::from(schema.outside.is_some())
        + usize::from(has_networks)
        + counts.iter().filter(|(given, _)| given.is_some()).count();
    if watched != 1 {
        let message = "a signal watches for one thing: hours, networks, or what somebody does how often";
        let help = "write one of `outside: \"06:00-22:00\"` with a `time_zone`, `networks: [203.0.113.0/24]`, `requests: { more_than: 300, in: 1m }` and `distinct_patients: { more_than: 60, in: 10m }`";
        report.add(Code::BadSignal, place, message, help);
        return None;
    }
    if schema.outside.is_none()
        && let Some(text) = schema.time_zone.as_ref().or(schema.days.items().first())
    {
        report.add(Code::BadSignal, text, "only hours have days and a time zone", "take it out");
    }
    for (given, what) in counts {
        if let Some(given) = given.as_ref() {
            return counted(given, what, report).map(Watch::Counted);
        }
    }
    if !has_networks {
        let times = (&schema.outside, "outside");
        return detections::hours(times, (&schema.days, &schema.time_zone), place, report)
            .map(Watch::Outside);
    }
    let mut networks = Vec::new();
    for text in schema.networks.items() {
        networks.extend(network(&text.value, text, report));
    }
    if let Some(text) = schema.networks_file.as_ref() {
        listed(text, base_dir, &mut networks, report);
    }
    Some(Watch::Networks(networks))
}

fn counted(given: &Spanned<MoreThan>, what: Countable, report: &mut Report<'_>) -> Option<Counted> {
    let schema = &given.value;
    report.required(&schema.more_than, "more_than", given.into(), "60")?;
    report.required(&schema.r#in, "in", given.into(), "10m")?;
    let most = if what == Countable::Patients { MOST_PATIENTS } else { MOST_REQUESTS };
    let more_than = values::count(report, &schema.more_than, 1..=most);
    let span = values::duration(report, &schema.r#in, SPANS.0, SPANS.0..=SPANS.1);
    more_than.map(|more_than| Counted { what, more_than, span })
}

/// Refuses what would be counted by each gateway alone, and count for all.
pub(super) fn check_store(file: &File, state: &StateSettings, report: &mut Report<'_>) {
    if state.single_replica || matches!(state.store, StoreSettings::Redis(_)) {
        return;
    }
    for item in file.signals.items() {
        let schema = &item.value;
        let counts = schema.requests.as_ref().or(schema.distinct_patients.as_ref());
        if let Some(given) = counts.filter(|_| schema.mode.text() == Some("enforce")) {
            let message = "each gateway would count by itself";
            let help = "say `state: { single_replica: true }` and run one gateway only, or share the state with `store: redis`";
            report.within("signal", schema.name.text()).add(Code::SignalNotShared, given, message, help);
        }
    }
}

/// One network a line; what follows a `#` is for people.
fn listed(text: &Text, base_dir: &Path, networks: &mut Vec<IpNet>, report: &mut Report<'_>) {
    let path = values::file(report, base_dir, text);
    let Ok(bytes) = values::read_bounded(&path, MOST_BYTES) else {
        let help = "give it at most 1 MiB, with one address or network a line";
        // What is not there has been reported.
        if path.is_file() {
            report.add(Code::BadSignal, text, format!("`{}` can't be read as a list", text.value), help);
        }
        return;
    };
    for line in String::from_utf8_lossy(&bytes).lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            networks.extend(network(line, text, report));
        }
    }
    if networks.len() > MOST_NETWORKS {
        let message = format!("there are {} networks, and at most {MOST_NETWORKS}", networks.len());
        report.add(Code::BadSignal, text, message, "put neighbours together into one network");
    }
}

fn network(written: &str, text: &Text, report: &mut Report<'_>) -> Option<IpNet> {
    let one = written.parse::<IpAddr>().map(IpNet::from).ok();
    let found = one.or_else(|| written.parse::<IpNet>().ok());
    if found.is_none() {
        let message = format!("`{written}` is not an address or a network");
        report.add(Code::BadAddress, text, message, "write `203.0.113.7` or `203.0.113.0/24`");
    }
    found.map(|network| network.trunc())
}

fn effect(schema: &Schema, place: Place, known: &Known<'_>, report: &mut Report<'_>) -> Option<Effect> {
    let effect = report.required(&schema.effect, "effect", place, "{ raise_to: high }")?;
    let denies = effect.value.deny.as_ref().is_some_and(|deny| deny.value);
    match (effect.value.raise_to.as_ref(), denies) {
        (Some(tier), false) => known.tiers.find(report, tier).map(Effect::RaiseTo),
        (None, true) => Some(Effect::Deny),
        _ => {
            let message = "a signal raises the tier, or refuses";
            report.add(Code::BadSignal, effect, message, "write `{ raise_to: high }` or `{ deny: true }`");
            None
        }
    }
}
