//! The keys behind the pseudonyms of the audit trail, and how often they change.

use std::path::Path;

use crate::audit::epoch::MOST_DAYS;
use crate::config::codes::Code;
use crate::config::report::Report;
use crate::config::schema::{File, Given, Pseudonyms, Text};
use crate::config::settings::{EpochSettings, PseudonymSettings};
use crate::config::values;

/// Compiles `audit.pseudonyms`.
pub(super) fn compile(file: &File, base_dir: &Path, report: &mut Report<'_>) -> PseudonymSettings {
    let Some(map) = file.audit.as_ref().and_then(|audit| audit.pseudonyms.as_ref()) else {
        return PseudonymSettings::default();
    };
    let Pseudonyms { key_file, rotate, dir } = &map.value;
    // Whoever writes the map without anything that makes keys change has forgotten the key.
    let key_file = if rotate.is_some() && key_file.is_none() {
        None
    } else {
        report.required(key_file, "key_file", map.into(), "/secrets/audit-hmac")
    };
    let key_file = key_file.map(|text| values::file(report, base_dir, text));
    if dir.is_some() {
        report.required(rotate, "rotate", map.into(), "90d");
    }
    if let (Some(rotate), None, true) = (rotate.as_ref(), dir.as_ref(), is_shared(file)) {
        let message = "each gateway makes keys of its own, so one person has another pseudonym at each";
        let help = "name a directory that all of them share: `pseudonyms: { dir: … }`";
        report.add(Code::EpochsNotShared, rotate, message, help);
    }
    let dir = dir.as_ref().map(|text| {
        let path = base_dir.join(values::filled(report, text));
        if !path.is_dir() {
            let message = format!("`{}` is not a directory", text.value);
            let help =
                "make it, for the gateway's user alone, and let every gateway of the same store see it";
            report.add(Code::FileMissing, text, message, help);
        }
        path
    });
    let epochs = rotate.as_ref().map(|text| EpochSettings { days: days(text, rotate, report), dir });
    PseudonymSettings { key_file, epochs }
}

/// Whether other gateways see the same people.
fn is_shared(file: &File) -> bool {
    let state = file.state.as_ref();
    state.and_then(|state| state.store.text()) == Some("redis")
}

/// How long an epoch is: whole days, since epochs are named after the day on which they begin.
fn days(text: &Text, given: &Given<Text>, report: &mut Report<'_>) -> u16 {
    const DAY: u64 = 86_400;
    let day = values::seconds(DAY);
    let read = values::duration(report, given, day, day..=values::FOREVER);
    if !read.as_millis().is_multiple_of(u128::from(DAY) * 1_000) {
        let message = format!("`{}` is not in whole days", text.value);
        report.add(Code::BadQuantity, text, message, "write it in `d`, as `90d`");
    }
    u16::try_from(read.as_secs() / DAY).unwrap_or(MOST_DAYS)
}
