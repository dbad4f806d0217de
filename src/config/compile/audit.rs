//! The audit trail.

use std::path::Path;

use super::tiers::Tiers;
use super::{detections, sinks};
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::File;
use crate::config::settings::AuditSettings;
use crate::config::values;

/// The room that is kept where nothing is said: some 10,000 requests with what comes of them.
const RESERVE: usize = 16 << 20;
const MOST_RESERVE: u64 = 16 << 30;

/// Compiles `audit`.
pub(super) fn compile(file: &File, tiers: &Tiers, base_dir: &Path, report: &mut Report<'_>) -> AuditSettings {
    let schema = file.audit.as_ref();
    let report = &mut report.within("audit", None);
    let dir = schema.and_then(|audit| audit.dir.as_ref()).map_or("audit", |dir| values::filled(report, dir));
    let pseudonyms = schema.and_then(|audit| audit.pseudonyms.as_ref());
    let key_file = pseudonyms
        .and_then(|map| report.required(&map.value.key_file, "key_file", map.into(), "/secrets/audit-hmac"));
    let pseudonym_key_file = key_file.map(|text| values::file(report, base_dir, text));
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
    let detections = detections::compile(schema, tiers, base_dir, report);
    let sinks = sinks::compile(file, schema, &path, base_dir, report);
    AuditSettings { dir: path, pseudonym_key_file, checkpoint_key_file, reserve, detections, sinks }
}
