//! From the shape of the file to the policy and its settings.
//!
//! Every function here reports what is wrong and goes on with a stand-in, so that one run finds everything; whether the
//! result may be used is asked once, at the end, of the report. Nothing that was reported as an error is ever served.

mod assurance;
mod cases;
mod cors;
mod entries;
mod inject;
mod issuers;
mod keys;
mod listeners;
mod matching;
mod reach;
mod routes;
mod rules;
mod tiers;
mod unused;
mod upstreams;

use std::path::Path;

use super::codes::Code;
use super::diagnostic::Place;
use super::insecure::{PlainHttp, relaxations};
use super::report::Report;
use super::schema::{Audit, File};
use super::settings::{AuditSettings, Compiled, Settings};
use super::values;
use crate::policy::{Policy, Route};

/// Compiles a file; `version` names it in audit records.
pub(super) fn compile(file: &File, base_dir: &Path, version: Box<str>, report: &mut Report<'_>) -> Compiled {
    check_version(file, report);
    let listening = listeners::compile(file, report);
    let levels = assurance::levels(report, &file.assurance_levels);
    let mut plain_http = PlainHttp::new(file);
    let issuers = issuers::compile(file, &levels, &mut plain_http, base_dir, report);
    let issuer_names: Vec<&str> = issuers.iter().map(|issuer| issuer.rules.name.as_ref()).collect();
    plain_http.review(&issuer_names, report);
    let tiers = tiers::compile(file, &levels, report);
    let data_classes = assurance::data_classes(report, &levels, &file.data_classes);
    let upstreams = upstreams::compile(file, issuers.len() > 1, report);

    let known = routes::Known { issuers: &issuers, tiers: &tiers, levels: &levels, data_classes: &data_classes, upstreams: &upstreams };
    let drafts = routes::compile(file, &known, report);
    reach::check(file, &drafts, &known, report);
    let cases = cases::compile(file, &known, report);
    // A misspelt name makes what it meant look unused: no such question while there are errors.
    if report.errors() == 0 {
        unused::check(file, report);
    }

    let places: Vec<Place> = drafts.iter().map(|draft| draft.path).collect();
    let routes: Vec<Route> = drafts.into_iter().map(|draft| draft.route).collect();
    let index = routes::index(&routes, &places, report);
    let audit = audit(file.audit.as_ref(), base_dir, report);
    let upstream_names = upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    let (rules, sources) = issuers.into_iter().map(|issuer| (issuer.rules, issuer.settings)).unzip();
    let policy = Policy { version, levels, issuers: rules, tiers: tiers.list, routes, index, upstreams: upstream_names };
    let mut settings = Settings {
        listeners: listening.listeners,
        telemetry: listening.telemetry,
        issuers: sources,
        upstreams,
        audit,
        shutdown: listening.shutdown,
        threads: listening.threads,
        insecure: Vec::new(),
    };
    settings.insecure = relaxations(&policy, &settings);
    Compiled { policy, settings, cases }
}

fn check_version(file: &File, report: &mut Report<'_>) {
    let start = Place { line: 1, column: 1, length: 1 };
    if let Some(version) = report.required(&file.version, "version", start, "1")
        && version.value != "1"
    {
        let message = format!("`{}` is not a version of this file's schema", version.value);
        report.add(Code::UnsupportedVersion, version, message, "this program reads `version: 1`");
    }
}

fn audit(schema: Option<&Audit>, base_dir: &Path, report: &mut Report<'_>) -> AuditSettings {
    let report = &mut report.within("audit", None);
    let dir = schema.and_then(|audit| audit.dir.as_ref()).map_or("audit", |dir| values::filled(report, dir));
    let pseudonyms = schema.and_then(|audit| audit.pseudonyms.as_ref());
    let key_file = pseudonyms.and_then(|map| report.required(&map.value.key_file, "key_file", map.into(), "/secrets/audit-hmac"));
    let pseudonym_key_file = key_file.map(|text| values::file(report, base_dir, text));
    AuditSettings { dir: base_dir.join(dir), pseudonym_key_file }
}
