//! What stands behind the gateway, and what it is told about the caller.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::{endpoints, inject, paths, upstream_tls};
use crate::config::codes::Code;
use crate::config::report::Report;
use crate::config::schema::{
    Entries, File, Given, Identity, RouteTimeouts, Text, Timeouts, Upstream as Schema,
};
use crate::config::settings::{AssertionSettings, InjectPart, InjectTemplate, UpstreamSettings};
use crate::config::values::{self, Names, seconds};
use crate::policy::route::UpstreamTimeouts;

/// How long each of an upstream's steps may take.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=seconds(3_600);

/// Compiles `upstreams`, in the order of the file.
pub(super) fn compile(
    file: &File,
    several_issuers: bool,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Vec<UpstreamSettings> {
    let mut upstreams = Vec::new();
    for (name, schema) in file.upstreams.entries() {
        let report = &mut report.within("upstream", Some(&name.value));
        values::name(report, name);
        let upstream = upstream(name, schema, base_dir, report);
        if several_issuers {
            check_ids(&schema.value.inject, &upstream.inject, report);
        }
        upstreams.push(upstream);
    }
    upstreams
}

fn upstream(
    name: &Text,
    item: &Spanned<Schema>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> UpstreamSettings {
    let schema = &item.value;
    let absent = Timeouts::default();
    let timeouts = schema.timeouts.as_ref().unwrap_or(&absent);
    let mut timeout = |given, default| values::duration(report, given, seconds(default), TIMEOUTS);
    let (connect, read) = (timeout(&timeouts.connect, 1), timeout(&timeouts.read, 60));
    let (write, idle) = (timeout(&timeouts.write, 60), timeout(&timeouts.idle, 60));
    let endpoints = endpoints::list(schema, item.into(), report);
    let tls = schema.tls.as_ref().map(|tls| upstream_tls::compile(tls, &endpoints, base_dir, report));
    let mut headers = Names::default();
    let identity = schema.identity.as_ref().map(|identity| assertion(identity, &mut headers, report));
    let refuses = [("refuse", true), ("never", false)];
    UpstreamSettings {
        name: name.value.as_str().into(),
        balance: endpoints::balance(schema, report),
        health_check: schema.health_check.as_ref().map(|check| endpoints::health_check(check, report)),
        ejection: endpoints::ejection(schema.ejection.as_ref().map(|map| &map.value), report),
        slow_start: values::duration(report, &schema.slow_start, Duration::ZERO, endpoints::SLOW_START),
        retries: schema.retries.as_ref().map(|map| endpoints::retries(map, report)).unwrap_or_default(),
        protocol: upstream_tls::protocol(schema, report),
        endpoints,
        tls,
        connect,
        read,
        write,
        idle,
        identity,
        inject: injected(schema, &mut headers, report),
        pass_bearer: schema.pass_bearer.unwrap_or(false),
        refuse_hidden_method: values::choice(report, &schema.method_override, &refuses, true),
        path_reading: paths::reading(schema, report),
    }
}

/// A route's own times, where it has some.
pub(super) fn route_timeouts(schema: &RouteTimeouts, report: &mut Report<'_>) -> UpstreamTimeouts {
    let mut timeout = |given: &Given<Text>| {
        given.as_ref().map(|_| values::duration(report, given, Duration::ZERO, TIMEOUTS))
    };
    UpstreamTimeouts {
        connect: timeout(&schema.connect),
        read: timeout(&schema.read),
        write: timeout(&schema.write),
    }
}

fn assertion(schema: &Spanned<Identity>, headers: &mut Names, report: &mut Report<'_>) -> AssertionSettings {
    let Identity { header, audience, ttl } = &schema.value;
    let header = report.required(header, "header", schema.into(), "x-wardgate-assertion");
    if let Some(header) = header {
        inject::check_header(report, header);
        headers.add_ignoring_case(report, "injected header", header);
    }
    let audience = report.required(audience, "audience", schema.into(), "ehr");
    AssertionSettings {
        header: header.map(|text| text.value.to_ascii_lowercase()).unwrap_or_default().into(),
        audience: audience.map(|text| values::filled(report, text)).unwrap_or_default().into(),
        ttl: values::duration(report, ttl, seconds(60), seconds(1)..=seconds(3_600)),
    }
}

fn injected(
    schema: &Schema,
    headers: &mut Names,
    report: &mut Report<'_>,
) -> BTreeMap<Box<str>, InjectTemplate> {
    let mut injected = BTreeMap::new();
    for (header, value) in schema.inject.entries() {
        inject::check_header(report, header);
        headers.add_ignoring_case(report, "injected header", header);
        if let Some(template) = inject::template(report, value) {
            injected.insert(header.value.as_str().into(), template);
        }
    }
    injected
}

/// Warns of ids that two issuers could both give to somebody.
fn check_ids(
    schema: &Given<Entries<Text>>,
    templates: &BTreeMap<Box<str>, InjectTemplate>,
    report: &mut Report<'_>,
) {
    for (header, value) in schema.entries() {
        let parts = templates.get(header.value.as_str()).map_or(&[][..], |template| &template.0);
        if parts.contains(&InjectPart::SubjectId) && !parts.contains(&InjectPart::IssuerName) {
            let message = "two issuers may each have somebody with this id";
            report.add(Code::UnqualifiedId, value, message, "write `{issuer.name}:{subject.id}`");
        }
    }
}
