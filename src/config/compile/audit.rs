//! The audit trail.

use std::path::Path;
use std::time::Duration;

use super::tiers::Tiers;
use super::{detections, pseudonyms, sinks};
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{Audit, File};
use crate::config::settings::{AuditSettings, SinkSettings};
use crate::config::values;
use crate::policy::{Durability, Tier};

/// The room that is kept where nothing is said: some 10,000 requests with what comes of them.
const RESERVE: usize = 16 << 20;
const MOST_RESERVE: u64 = 16 << 30;

/// A shorter one would be shorter than what a gateway needs to trust its clock, and than a weekend.
const LEAST_RETENTION: Duration = values::seconds(7 * 86_400);
/// A file is no longer than this.
const LEAST_QUOTA: u64 = 64 << 20;
const MOST_QUOTA: u64 = 1 << 50;

/// Compiles `audit`.
pub(super) fn compile(file: &File, tiers: &Tiers, base_dir: &Path, report: &mut Report<'_>) -> AuditSettings {
    let schema = file.audit.as_ref();
    let report = &mut report.within("audit", None);
    let dir = schema.and_then(|audit| audit.dir.as_ref()).map_or("audit", |dir| values::filled(report, dir));
    let pseudonyms = pseudonyms::compile(file, base_dir, report);
    let checkpoint = schema.and_then(|audit| audit.checkpoint.as_ref());
    let checkpoint_key_file = checkpoint
        .and_then(|map| {
            let key_file = &map.value.signing_key_file;
            report.required(key_file, "signing_key_file", map.into(), "/secrets/audit-ed25519")
        })
        .map(|text| values::file(report, base_dir, text));
    let path = base_dir.join(dir);
    if path.exists() && !path.is_dir() {
        let place = schema.and_then(|audit| audit.dir.as_ref()).map_or(Place::FILE, Place::from);
        let message = format!("`{dir}` is not a directory");
        report.add(Code::FileMissing, place, message, "name a directory; it is made where it is missing");
    }
    let reserve = schema
        .map_or(RESERVE, |audit| values::size(report, &audit.reserve, RESERVE, 0..=MOST_RESERVE))
        as u64;
    let retention = schema.filter(|audit| audit.retention.is_some()).map(|audit| {
        values::duration(report, &audit.retention, LEAST_RETENTION, LEAST_RETENTION..=values::FOREVER)
    });
    let detections = detections::compile(schema, tiers, base_dir, report);
    let sinks = sinks::compile(file, schema, &path, base_dir, report);
    let undelivered_quota = schema.and_then(|audit| undelivered_quota(audit, report));
    let remote_sink = remote_sink(file, &tiers.list, &sinks, report);
    AuditSettings {
        dir: path,
        pseudonyms,
        checkpoint_key_file,
        reserve,
        detections,
        retention,
        undelivered_quota,
        remote_sink,
        sinks,
    }
}

/// The sink that must have the records of tiers with `audit: remote`.
fn remote_sink(
    file: &File,
    tiers: &[Tier],
    sinks: &[SinkSettings],
    report: &mut Report<'_>,
) -> Option<Box<str>> {
    let named = file.audit.as_ref().and_then(|audit| audit.remote_sink.as_ref());
    if !tiers.iter().any(|tier| tier.audit == Durability::Remote) {
        if let Some(named) = named {
            let help = "take it out, or set `audit: remote` at the tier that needs it";
            report.add(Code::Unused, named, "no tier has `audit: remote`", help);
        }
        return None;
    }
    let found = match (named, sinks) {
        (Some(named), _) => sinks.iter().find(|sink| *sink.name == *named.value),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let acknowledging = found.filter(|sink| sink.kind.acknowledges());
    if acknowledging.is_none() {
        let tier = file.tiers.items().iter().find_map(|tier| {
            tier.value.audit.as_ref().filter(|audit| audit.value == "remote").map(Place::from)
        });
        let message = match found {
            Some(sink) => format!(
                "the sink `{}` does not acknowledge what a tier with `audit: remote` waits for",
                sink.name
            ),
            None => "nothing says which sink must have the records of a tier with `audit: remote`".to_owned(),
        };
        let help = "name one of type `http`, `otlp` or `redis_stream`: `audit: { remote_sink: NAME, sinks: [{ name: NAME, … }] }`";
        report.add(
            Code::RemoteWithoutSink,
            named.map(Place::from).or(tier).unwrap_or(Place::FILE),
            message,
            help,
        );
    }
    acknowledging.map(|sink| sink.name.clone())
}

fn undelivered_quota(audit: &Audit, report: &mut Report<'_>) -> Option<u64> {
    let text = audit.undelivered_quota.as_ref()?;
    if audit.sinks.items().is_empty() {
        let message = "no sink is configured for which records could wait";
        report.add(Code::Unused, text, message, "take it out, or name the sinks under `audit.sinks`");
    }
    let bytes = values::size(report, &audit.undelivered_quota, 0, LEAST_QUOTA..=MOST_QUOTA);
    Some(bytes as u64)
}
