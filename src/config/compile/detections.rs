//! What stands out among audit records.

use std::path::Path;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::tiers::Tiers;
use crate::audit::detections::{Hours, Many, NAMES, OffHours, Settings};
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{Audit, Given, Many as ManySchema, OffHours as OffHoursSchema, Text, Texts};
use crate::config::values;

/// So much is counted at most: what it takes to know it is remembered.
const MOST_COUNT: usize = 10_000;
const DAY: Duration = values::seconds(86_400);

/// Compiles `audit.detections`.
pub(super) fn compile(
    schema: Option<&Audit>,
    tiers: &Tiers,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Settings {
    let default = Settings::default();
    let Some(schema) = schema.and_then(|audit| audit.detections.as_ref()) else { return default };
    let schema = &schema.value;
    Settings {
        mass_lookup: many(&schema.mass_lookup, default.mass_lookup, report),
        prompt_storm: many(&schema.prompt_storm, default.prompt_storm, report),
        unknown_outcomes: many(&schema.unknown_outcomes, default.unknown_outcomes, report),
        off_hours: schema.off_hours.as_ref().and_then(|map| off_hours(map, tiers, report)),
        watched_patients_file: schema
            .watched_patients_file
            .as_ref()
            .map(|text| values::file(report, base_dir, text)),
        disabled: schema.disabled.items().iter().filter_map(|text| named(text, report)).collect(),
    }
}

fn named(text: &Text, report: &mut Report<'_>) -> Option<&'static str> {
    let found = NAMES.into_iter().find(|name| *name == text.value);
    if found.is_none() {
        report.unknown(Code::UnknownWord, "detection", text, NAMES);
    }
    found
}

fn many(schema: &Given<serde_saphyr::Spanned<ManySchema>>, default: Many, report: &mut Report<'_>) -> Many {
    let Some(schema) = schema.as_ref() else { return default };
    let count = values::count(report, &schema.value.count, 1..=MOST_COUNT);
    let within = Duration::from_secs(default.within);
    Many {
        count: count.and_then(|count| u64::try_from(count).ok()).unwrap_or(default.count),
        within: values::duration(report, &schema.value.within, within, values::seconds(1)..=DAY).as_secs(),
    }
}

fn off_hours(
    schema: &serde_saphyr::Spanned<OffHoursSchema>,
    tiers: &Tiers,
    report: &mut Report<'_>,
) -> Option<OffHours> {
    let place = schema.into();
    let schema = &schema.value;
    let hours = hours((&schema.hours, "hours"), (&schema.days, &schema.time_zone), place, report);
    let mut names = Vec::new();
    for text in schema.tiers.items() {
        if tiers.find(report, text).is_some() {
            names.push(text.value.as_str().into());
        }
    }
    if schema.tiers.is_none() {
        names.extend(["high", "critical"].map(Into::into));
    }
    Some(OffHours { hours: hours?, tiers: names })
}

/// Hours of some days of the week, in a time zone.
pub(super) fn hours(
    (times, key): (&Given<Text>, &'static str),
    (days, zone): (&Given<Texts>, &Given<Text>),
    place: Place,
    report: &mut Report<'_>,
) -> Option<Hours> {
    let hours = report.required(times, key, place, "\"07:00-19:00\"");
    let zone = report.required(zone, "time_zone", place, "Europe/Vienna");
    let times = hours.and_then(|text| {
        let help = "write from when to when on the clock, as in `\"07:00-19:00\"`";
        read(text, "times of a day", help, report, Hours::read_times)
    });
    let zone = zone.and_then(|text| {
        let help = "write a name of the IANA time zone database, as in `Europe/Vienna`";
        read(text, "a time zone", help, report, |text| TimeZone::get(text).ok())
    });
    let all = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let days = if days.is_none() {
        all.iter().filter_map(|day| Hours::read_day(day)).collect()
    } else {
        let help = "write some of `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`";
        let days = days.items().iter();
        days.filter_map(|text| read(text, "a day", help, report, Hours::read_day)).collect()
    };
    let ((from, until), zone) = times.zip(zone)?;
    Some(Hours { from, until, days, zone })
}

fn read<T>(
    text: &Text,
    what: &str,
    help: &str,
    report: &mut Report<'_>,
    read: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let found = read(&text.value);
    if found.is_none() {
        report.add(Code::BadQuantity, text, format!("`{}` is not {what}", text.value), help);
    }
    found
}
