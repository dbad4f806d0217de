//! Look-ups of the patient that a route is about.

use std::path::Path;

use super::access::{Shared, address};
use super::routes::Draft;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{Patient, Text};
use crate::config::settings::{LookupSegment, LookupSettings};
use crate::policy::{PatientSource, Template};

/// Compiles the look-ups of all routes, and tells each route the position of its own.
pub(super) fn compile(
    base_dir: &Path,
    drafts: &mut [Draft<'_>],
    report: &mut Report<'_>,
) -> Vec<LookupSettings> {
    let mut lookups = Vec::new();
    for draft in drafts {
        let Some(schema) = draft.schema.patient.as_ref() else { continue };
        let id = draft.schema.id.text();
        let report = &mut report.within("route", id);
        let Some(PatientSource::Lookup(at)) = &mut draft.route.patient else {
            misplaced(&schema.value, report);
            continue;
        };
        *at = lookups.len();
        let found = lookup(&schema.value, schema.into(), (id, &draft.route.template), base_dir, report);
        lookups.extend(found);
    }
    lookups
}

fn lookup(
    schema: &Patient,
    place: Place,
    (id, template): (Option<&str>, &Template),
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<LookupSettings> {
    let text =
        report.required(&schema.url, "url", place, "https://index.clinic.example/orders/{order}/patient")?;
    let url = address(report, text)?;
    let segments = segments(text, template, report);
    let mut base = url;
    let has_more = base.query().is_some();
    base.set_path("/");
    base.set_query(None);
    if has_more {
        let help = "put everything into the path, such as `/orders/{order}/patient`";
        report.add(Code::BadPatientLookup, text, "a look-up has no query", help);
    }
    let shared = Shared {
        secret_file: &schema.secret_file,
        ca_file: &schema.ca_file,
        timeout: &schema.timeout,
        concurrency: &schema.concurrency,
        cache: &schema.cache,
    };
    let service = shared.compile(report, base_dir, id.unwrap_or_default(), Some(base))?;
    Some(LookupSettings { service, segments })
}

/// The path of the address, whose parameters are the route's own.
fn segments(text: &Text, template: &Template, report: &mut Report<'_>) -> Vec<LookupSegment> {
    let path =
        text.value.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let mut found = Vec::new();
    for segment in path.split('?').next().unwrap_or_default().split('/') {
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let Some(name) = name else {
            if segment.contains(['{', '}', '%']) {
                let message = format!("`{segment}` is neither a text nor one parameter");
                let help = "write each parameter as a segment of its own, such as `/{order}/`";
                report.add(Code::BadPatientLookup, text, message, help);
            }
            found.push(LookupSegment::Text(segment.into()));
            continue;
        };
        if !template.parameters().any(|known| known == name) {
            let message = format!("the path has no parameter `{name}`");
            let help = "write the name of a parameter of the route's path";
            report.add(Code::BadPatientLookup, text, message, help);
        }
        found.push(LookupSegment::Parameter(name.into()));
    }
    if !found.iter().any(|segment| matches!(segment, LookupSegment::Parameter(_))) {
        let message = "the address is the same for every request, and so would be the patient";
        let help = "name what is looked up by a parameter of the route's path, such as `{order}`";
        report.add(Code::BadPatientLookup, text, message, help);
    }
    found
}

/// Reports keys of a look-up at a patient who is named in the request itself.
fn misplaced(schema: &Patient, report: &mut Report<'_>) {
    let keys = [
        ("url", &schema.url),
        ("secret_file", &schema.secret_file),
        ("ca_file", &schema.ca_file),
        ("timeout", &schema.timeout),
        ("concurrency", &schema.concurrency),
        ("cache", &schema.cache),
    ];
    for (key, given) in keys {
        if let Some(text) = given.as_ref() {
            let message = format!("`{key}` means nothing where the request itself names the patient");
            report.add(Code::BadPatientLookup, text, message, "write `from: lookup`, or take it out");
        }
    }
}
