//! What stands behind the gateway, and what it is told about the caller.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::{inject, paths};
use crate::config::codes::Code;
use crate::config::report::Report;
use crate::config::schema::{Entries, File, Given, Identity, Text, Texts, Timeouts, Upstream as Schema};
use crate::config::settings::{AssertionSettings, InjectPart, InjectTemplate, UpstreamSettings};
use crate::config::values::{self, Names, seconds};
use crate::request::host::Host;

/// How long each of an upstream's steps may take.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=seconds(3_600);

/// Compiles `upstreams`, in the order of the file.
pub(super) fn compile(file: &File, several_issuers: bool, report: &mut Report<'_>) -> Vec<UpstreamSettings> {
    let mut upstreams = Vec::new();
    for (name, schema) in file.upstreams.entries() {
        let report = &mut report.within("upstream", Some(&name.value));
        values::name(report, name);
        let upstream = upstream(name, schema, report);
        if several_issuers {
            check_ids(&schema.value.inject, &upstream.inject, report);
        }
        upstreams.push(upstream);
    }
    upstreams
}

fn upstream(name: &Text, item: &Spanned<Schema>, report: &mut Report<'_>) -> UpstreamSettings {
    let schema = &item.value;
    let absent = Timeouts::default();
    let timeouts = schema.timeouts.as_ref().unwrap_or(&absent);
    let mut timeout = |given, default| values::duration(report, given, seconds(default), TIMEOUTS);
    let (connect, read) = (timeout(&timeouts.connect, 1), timeout(&timeouts.read, 60));
    let (write, idle) = (timeout(&timeouts.write, 60), timeout(&timeouts.idle, 60));
    let endpoints = report.required(&schema.endpoints, "endpoints", item.into(), "[\"127.0.0.1:8080\"]");
    let mut headers = Names::default();
    let identity = schema.identity.as_ref().map(|identity| assertion(identity, &mut headers, report));
    let refuses = [("refuse", true), ("never", false)];
    UpstreamSettings {
        name: name.value.as_str().into(),
        endpoint: endpoints.map(|list| endpoint(list, report)).unwrap_or_default(),
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

fn endpoint(list: &Texts, report: &mut Report<'_>) -> Box<str> {
    let first = match list.value.as_slice() {
        [] => {
            report.add(Code::Empty, list, "there is no endpoint", "write one `host:port`");
            return Box::default();
        }
        [first] => first,
        [first, second, ..] => {
            let help = "balance between several behind one address, such as a Kubernetes Service";
            report.add(
                Code::SeveralEndpoints,
                second,
                "this version takes one endpoint for each upstream",
                help,
            );
            first
        }
    };
    if !is_endpoint(&first.value) {
        let message = format!("`{}` is not an endpoint", first.value);
        report.add(
            Code::BadEndpoint,
            first,
            message,
            "write `host:port`, such as `ehr:8080` or `[::1]:8080`, without a scheme",
        );
    }
    first.value.as_str().into()
}

fn is_endpoint(text: &str) -> bool {
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    port.is_some_and(|port| port != 0) && Host::parse(text.as_bytes()).is_ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_host_and_port() {
        for text in ["ehr:8080", "127.0.0.1:80", "[::1]:8080", "ehr.clinic.example:443"] {
            assert!(is_endpoint(text), "{text}");
        }
        for text in
            ["ehr", "ehr:", "ehr:0", "ehr:99999", "http://ehr:80", "::1:80", "unix:/run/a", "a b:80", ":80"]
        {
            assert!(!is_endpoint(text), "{text}");
        }
    }
}
