//! The audit trail, and those it is delivered to.

use std::path::Path;

use reqwest::Url;

use super::shared_signals::authorization_file;
use crate::audit::formats::Format;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::insecure::is_loopback;
use crate::config::report::Report;
use crate::config::schema::{Audit, File, Sink, Text};
use crate::config::settings::{
    AuditSettings, BatchShape, HttpSinkSettings, RecordFormat, SinkKind, SinkSettings,
};
use crate::config::values;

/// The room that is kept where nothing is said: some 10,000 requests with what comes of them.
const RESERVE: usize = 16 << 20;
const MOST_RESERVE: u64 = 16 << 30;

/// Compiles `audit`.
pub(super) fn compile(file: &File, base_dir: &Path, report: &mut Report<'_>) -> AuditSettings {
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
    let sinks = sinks(file, schema, base_dir, report);
    AuditSettings { dir: path, pseudonym_key_file, checkpoint_key_file, reserve, sinks }
}

fn sinks(file: &File, schema: Option<&Audit>, base_dir: &Path, report: &mut Report<'_>) -> Vec<SinkSettings> {
    let leave = file.insecure.as_ref().and_then(|insecure| insecure.plain_audit_sinks.as_ref());
    let may_be_plain = leave.is_some_and(|leave| leave.value);
    let mut names = values::Names::default();
    let mut found = Vec::new();
    for item in schema.map(|audit| audit.sinks.items()).unwrap_or_default() {
        let report = &mut report.within("sink", item.value.name.text());
        let name = report.required(&item.value.name, "name", item.into(), "siem");
        if let Some(name) = name {
            values::name(report, name);
            // It is the name of a file.
            names.add_ignoring_case(report, "sink", name);
        }
        if report.required(&item.value.r#type, "type", item.into(), "http").is_some() {
            values::choice(report, &item.value.r#type, &[("http", ())], ());
        }
        let format = values::choice(
            report,
            &item.value.format,
            &[("wardgate", RecordFormat::Wardgate), ("ocsf", RecordFormat::Converted(Format::Ocsf))],
            RecordFormat::Wardgate,
        );
        let kind = http(&item.value, item.into(), may_be_plain, base_dir, report);
        if let (Some(name), Some(kind)) = (name, kind) {
            found.push(SinkSettings { name: name.value.as_str().into(), format, kind: SinkKind::Http(kind) });
        }
    }
    if let Some(leave) = leave {
        let is_plain = |sink: &SinkSettings| {
            let SinkKind::Http(http) = &sink.kind;
            http.is_plain()
        };
        if may_be_plain && found.iter().any(is_plain) {
            let message = "audit records go over the network unencrypted";
            let help = "who sits between reads who did what, and the credentials of the collector";
            report.add(Code::PlainSinkAllowed, leave, message, help);
        } else {
            let message = "no audit record goes over the network unencrypted";
            report.add(Code::AllowanceNotNeeded, leave, message, "take the entry out");
        }
    }
    found
}

fn http(
    schema: &Sink,
    place: Place,
    may_be_plain: bool,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<HttpSinkSettings> {
    let example = "\"https://collector.example/audit\"";
    let shapes = [("ndjson", BatchShape::Ndjson), ("splunk", BatchShape::Splunk), ("bulk", BatchShape::Bulk)];
    let batch = values::choice(report, &schema.batch, &shapes, BatchShape::Ndjson);
    let authorization_file =
        schema.authorization_file.as_ref().map(|text| authorization_file(text, base_dir, report));
    let ca_file = schema.ca_file.as_ref().map(|text| values::file(report, base_dir, text));
    let text = report.required(&schema.url, "url", place, example)?;
    let settings = HttpSinkSettings { url: url(text, report)?, batch, authorization_file, ca_file };
    if settings.is_plain() && !may_be_plain {
        let message = "audit records would go over the network unencrypted";
        let help = "write `https://`; for a test, `insecure: { plain_audit_sinks: true }`";
        report.add(Code::PlainSink, text, message, help);
    }
    Some(settings)
}

/// The collector's address. A query is part of it, as in `_bulk?filter_path=…`.
fn url(text: &Text, report: &mut Report<'_>) -> Option<Url> {
    let url = Url::parse(&text.value).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    });
    if url.is_none() {
        // What is written there may hold a password.
        let message = "this is not the address of a collector";
        let help =
            "write `https://host/path`, without user and password: those belong into `authorization_file`";
        report.add(Code::BadSinkAddress, text, message, help);
    }
    url
}

impl HttpSinkSettings {
    /// Whether records leave this machine unencrypted.
    pub fn is_plain(&self) -> bool {
        self.url.scheme() == "http" && !is_loopback(&self.url)
    }
}
