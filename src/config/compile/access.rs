//! Services outside that have a say in decisions: policy decision points.

use std::path::Path;
use std::time::Duration;

use reqwest::Url;

use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{File, Given, Text};
use crate::config::settings::{AccessSettings, ConsentKind, ConsentSettings, ServiceSettings};
use crate::config::values::{self, Names, seconds};
use crate::policy::access::WhenUnavailable;
use crate::policy::{Consent, Pdp};

/// How long a service may take where nothing is said: it stands beside the gateway, and somebody waits.
const TIMEOUT: Duration = Duration::from_millis(250);
/// So many questions at once where nothing is said.
const CONCURRENCY: usize = 64;
/// What was withdrawn must not be believed for longer.
const MOST_CACHE: Duration = seconds(60);

const OUTAGES: [(&str, WhenUnavailable); 2] =
    [("deny", WhenUnavailable::Deny), ("allow", WhenUnavailable::Allow)];

/// The services, in the order of the file.
#[derive(Default)]
pub(super) struct Access {
    pub(super) pdps: Vec<Pdp>,
    pub(super) consents: Vec<Consent>,
    pub(super) settings: AccessSettings,
}

/// Compiles `pdps` and `consents`.
pub(super) fn compile(file: &File, base_dir: &Path, report: &mut Report<'_>) -> Access {
    let (mut access, mut names) = (Access::default(), Names::default());
    for item in file.pdps.items() {
        let schema = &item.value;
        let report = &mut report.within("pdp", schema.name.text());
        let place = Place::from(item);
        let name = report.required(&schema.name, "name", place, "clinic");
        if let Some(name) = name {
            values::name(report, name);
            names.add(report, "policy decision point", name);
        }
        report.required(&schema.r#type, "type", place, "authzen");
        values::choice(report, &schema.r#type, &[("authzen", ())], ());
        let url =
            report.required(&schema.url, "url", place, "https://pdp.clinic.example/access/v1/evaluation");
        let url = url.and_then(|text| address(report, text));
        let when_unavailable =
            values::choice(report, &schema.when_unavailable, &OUTAGES, WhenUnavailable::Deny);
        let shared = Shared {
            secret_file: &schema.secret_file,
            ca_file: &schema.ca_file,
            timeout: &schema.timeout,
            concurrency: &schema.concurrency,
            cache: &schema.cache,
        };
        let settings = shared.compile(report, base_dir, schema.name.text().unwrap_or_default(), url);
        access.pdps.push(Pdp { name: schema.name.text().unwrap_or_default().into(), when_unavailable });
        access.settings.pdps.extend(settings);
    }
    consents(file, base_dir, &mut access, report);
    access
}

const KINDS: [(&str, ConsentKind); 2] = [("fhir", ConsentKind::Fhir), ("http", ConsentKind::Http)];

fn consents(file: &File, base_dir: &Path, access: &mut Access, report: &mut Report<'_>) {
    let mut names = Names::default();
    for item in file.consents.items() {
        let schema = &item.value;
        let report = &mut report.within("consent", schema.name.text());
        let place = Place::from(item);
        if let Some(name) = report.required(&schema.name, "name", place, "sharing") {
            values::name(report, name);
            names.add(report, "consent", name);
        }
        report.required(&schema.r#type, "type", place, "fhir");
        let kind = values::choice(report, &schema.r#type, &KINDS, ConsentKind::Fhir);
        let url = report.required(&schema.url, "url", place, "https://fhir.clinic.example/r4");
        let url = url.and_then(|text| address(report, text));
        let when_unavailable =
            values::choice(report, &schema.when_unavailable, &OUTAGES, WhenUnavailable::Deny);
        let shared = Shared {
            secret_file: &schema.secret_file,
            ca_file: &schema.ca_file,
            timeout: &schema.timeout,
            concurrency: &schema.concurrency,
            cache: &schema.cache,
        };
        let service = shared.compile(report, base_dir, schema.name.text().unwrap_or_default(), url);
        let purpose = schema.purpose.as_ref().map(|text| values::filled(report, text).into());
        access
            .consents
            .push(Consent { name: schema.name.text().unwrap_or_default().into(), when_unavailable });
        access.settings.consents.extend(service.map(|service| ConsentSettings { service, kind, purpose }));
    }
}

/// The keys that all services have.
pub(super) struct Shared<'s> {
    pub(super) secret_file: &'s Given<Text>,
    pub(super) ca_file: &'s Given<Text>,
    pub(super) timeout: &'s Given<Text>,
    pub(super) concurrency: &'s Given<Text>,
    pub(super) cache: &'s Given<Text>,
}

impl Shared<'_> {
    /// Compiles them; `None` where the address was reported.
    pub(super) fn compile(
        &self,
        report: &mut Report<'_>,
        base_dir: &Path,
        name: &str,
        url: Option<Url>,
    ) -> Option<ServiceSettings> {
        let file = |report: &mut Report<'_>, given: &Given<Text>| {
            given.as_ref().map(|text| values::file(report, base_dir, text))
        };
        let range = Duration::from_millis(10)..=seconds(5);
        let cache = self.cache.as_ref().map(|_| {
            values::duration(report, self.cache, seconds(1), Duration::from_millis(100)..=MOST_CACHE)
        });
        let (secret_file, ca_file) = (file(report, self.secret_file), file(report, self.ca_file));
        let timeout = values::duration(report, self.timeout, TIMEOUT, range);
        let concurrency = values::count(report, self.concurrency, 1..=1024).unwrap_or(CONCURRENCY);
        Some(ServiceSettings {
            name: name.into(),
            url: url?,
            secret_file,
            ca_file,
            timeout,
            concurrency,
            cache,
        })
    }
}

/// An address that answers are believed from: encrypted, or on this machine.
pub(super) fn address(report: &mut Report<'_>, text: &Text) -> Option<Url> {
    let url = Url::parse(&text.value).ok().filter(|url| {
        let is_here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
        url.host_str().is_some()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
            && (url.scheme() == "https" || (url.scheme() == "http" && is_here))
    });
    if url.is_none() {
        // It may hold a password, so it is not repeated.
        let help = "write `https://host/path` without a user and `#`; `http://` only for this machine (`127.0.0.1`, `localhost`)";
        report.add(Code::BadServiceAddress, text, "this is no address that decisions can depend on", help);
    }
    url
}
