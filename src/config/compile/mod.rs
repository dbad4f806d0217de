//! From the shape of the file to the policy and its settings.
//!
//! Every function here reports what is wrong and goes on with a stand-in, so that one run finds everything;
//! whether the result may be used is asked once, at the end, of the report. Nothing that was reported as an
//! error is ever served.

mod access;
mod anonymous;
mod assurance;
mod audit;
mod break_glass;
mod candidate;
mod cases;
mod conditions;
mod cors;
mod delegation;
mod detections;
mod duties;
mod endpoints;
mod entries;
mod fhir;
mod fhir_own;
mod fronts;
mod inject;
mod issuers;
mod keys;
mod limits;
mod listeners;
mod lookups;
mod matching;
mod observing;
mod paths;
mod possession;
mod pseudonyms;
mod reach;
mod recognised_device;
mod replies;
mod routes;
mod rules;
mod shared_signals;
mod sign_in;
mod signals;
mod sinks;
mod state;
mod step_up;
mod tiers;
mod tls;
mod unused;
mod upstream_tls;
mod upstreams;

use std::path::Path;

use super::Versions;
use super::codes::Code;
use super::diagnostic::{Place, Source};
use super::insecure::{PlainHttp, relaxations};
use super::report::Report;
use super::schema::{CaseFile, File};
use super::settings::{Compiled, Settings};
use crate::policy::{Policy, Route};

/// Compiles a file, with the cases of further ones; `versions` name it in audit records and proofs.
pub(super) fn compile(
    file: &File,
    further: &[(Source<'_>, CaseFile)],
    base_dir: &Path,
    versions: Versions,
    report: &mut Report<'_>,
) -> Compiled {
    check_version(file, report);
    let listening = listeners::compile(file, base_dir, report);
    let levels = assurance::levels(report, &file.assurance_levels);
    let mut plain_http = PlainHttp::new(file);
    let issuers = issuers::compile(file, &levels, &mut plain_http, base_dir, report);
    let issuer_names: Vec<&str> = issuers.iter().map(|issuer| issuer.rules.name.as_ref()).collect();
    plain_http.review(&issuer_names, report);
    let ways = step_up::compile(file, &issuers, &levels, base_dir, report);
    let tiers = tiers::compile(file, &levels, &ways.policy, report);
    let data_classes = assurance::data_classes(report, &levels, &file.data_classes);
    let upstreams = upstreams::compile(file, issuers.len() > 1, base_dir, report);

    let fhir_services = fhir::compile(file, &upstreams, report);
    let mut access = access::compile(file, base_dir, report);
    let break_glass = break_glass::compile(file, &issuers, &levels, report);
    let delegations = delegation::compile(file, &issuers, &levels, report);

    let known = routes::Known {
        fhir_services: &fhir_services,
        pdps: &access.pdps,
        consents: &access.consents,
        break_glass: &break_glass,
        delegations: &delegations,
        ways: &ways.policy,
        issuers: &issuers,
        tiers: &tiers,
        levels: &levels,
        data_classes: &data_classes,
        upstreams: &upstreams,
    };
    let signals = signals::compile(file, &known, base_dir, report);
    let mut drafts = routes::compile(file, &known, report);
    access.settings.lookups = lookups::compile(base_dir, &mut drafts, report);
    let rate_limits = limits::rate_limits(file, &mut drafts, report);
    fhir::check_paths(&fhir_services, &drafts, report);
    let own_routes = fhir_own::routes(&fhir_services, &drafts, &rate_limits, report);
    reach::check(file, &drafts, &known, report);
    let state = state::compile(file, base_dir, report);
    duties::compile(&mut drafts, &state, report);
    candidate::compile(&mut drafts, &known, report);
    signals::check_store(file, &state, report);
    anonymous::check_store(&drafts, &state, report);
    break_glass::check_store(file, &state, report);
    delegation::check(file, &delegations, &state, report);
    possession::check(file, &issuers, &drafts, &state, report);
    paths::check(&drafts, report);
    fronts::check_policy(file, &listening.listeners, &drafts, report);
    let cases = cases::compile(file, further, &known, report);
    // A misspelt name makes what it meant look unused: no such question while there are errors.
    if report.errors() == 0 {
        unused::check(file, report);
        tls::check_conditions(file, report);
        recognised_device::check_conditions(file, report);
    }

    let places: Vec<Place> = drafts.iter().map(|draft| draft.path).collect();
    let routes: Vec<Route> = drafts.into_iter().map(|draft| draft.route).chain(own_routes).collect();
    let index = paths::index(&routes, &fhir_services, &places, report);
    let audit = audit::compile(file, &tiers, base_dir, report);
    sign_in::check(file, &state, report);
    sign_in::check_own_paths(file, report);
    let upstream_names = upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    let (rules, sources): (Vec<_>, Vec<_>) =
        issuers.into_iter().map(|issuer| (issuer.rules, issuer.settings)).unzip();
    shared_signals::check(file, &sources, &state, report);
    let policy = Policy {
        version: versions.file,
        rules: versions.rules,
        levels,
        issuers: rules,
        tiers: tiers.list,
        ways: ways.policy,
        resume: ways.resume,
        routes,
        index,
        rate_limits,
        pdps: access.pdps,
        consents: access.consents,
        signals,
        break_glass,
        delegations,
        upstreams: upstream_names,
    };
    let mut settings = Settings {
        listeners: listening.listeners,
        telemetry: listening.telemetry,
        operators: listening.operators,
        traces: observing::traces(file, report),
        proxy_status: observing::proxy_status(file.proxy_status.as_ref(), report),
        issuers: sources,
        pages: sign_in::pages(file.pages.as_ref(), base_dir, report),
        step_up: ways.settings,
        access: access.settings,
        upstreams,
        audit,
        state,
        shutdown: listening.shutdown,
        upgrade: listening.upgrade,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;

    use super::*;
    use crate::config::settings::KeySource;
    use crate::identity::algorithm::SignatureAlgorithm;
    use crate::identity::{Caller, Level};
    use crate::policy::{Durability, StoreDown, TierIndex};

    const SIDECAR: &str = "
version: 1
listeners: [{ name: edge, address: '0.0.0.0:8080' }]
issuers:
  - name: patients
    issuer: https://login.clinic.example
    audiences: [portal-api]
    assurance: { aal1: { any_of: { amr: [pwd] } } }
    claims: { patient: patient_id }
upstreams: { app: { endpoints: ['127.0.0.1:8081'] } }
routes:
  - id: results.read
    match: { path: '/patients/{patient}', methods: [GET] }
    upstream: app
    data_class: phi
    patient: { from: path.patient }
    tier: moderate
    any_of: [{ patient: self }]
";

    fn load(text: &str) -> Compiled {
        let loaded = crate::config::load("gateway.yaml", text, Path::new("/etc/wardgate"));
        let (compiled, warnings) = loaded.expect("a sound configuration");
        assert_eq!(warnings, []);
        compiled
    }

    #[test]
    fn what_is_left_out_has_a_safe_default() {
        let Compiled { policy, settings, cases } = load(SIDECAR);
        let (listener, upstream) = (&settings.listeners[0], &settings.upstreams[0]);
        assert_eq!((listener.reading.header_bytes, listener.reading.header_count), (32 * 1024, 100));
        assert_eq!((upstream.connect, upstream.read), (Duration::from_secs(1), Duration::from_secs(60)));
        assert!(upstream.refuse_hidden_method && !upstream.pass_bearer && upstream.identity.is_none());
        assert!(matches!(settings.issuers[0].source, KeySource::Discovery));
        assert_eq!(settings.issuers[0].keys.stale_for_critical, Duration::from_secs(600));
        assert_eq!(settings.audit.dir, Path::new("/etc/wardgate/audit"));
        assert!(settings.telemetry.is_none() && settings.threads.is_none() && settings.insecure.is_empty());
        let issuer = &policy.issuers[0];
        assert_eq!(issuer.algorithms, [SignatureAlgorithm::RS256, SignatureAlgorithm::ES256]);
        assert!(issuer.callers == Caller::Person && !issuer.plain_jwt);
        assert!(cases.is_empty());
    }

    #[test]
    fn the_built_in_tiers_ascend() {
        let policy = load(SIDECAR).policy;
        let tiers: Vec<_> =
            policy.tiers.iter().map(|tier| (tier.name.as_ref(), tier.max_age, tier.audit)).collect();
        let expected = [
            ("low", None, Durability::Buffered),
            ("moderate", Some(28_800), Durability::Written),
            ("high", Some(600), Durability::Synced),
            ("critical", Some(60), Durability::Synced),
        ];
        assert_eq!(tiers, expected);
        assert!(
            policy.tiers.iter().all(|tier| tier.when_store_down == StoreDown::Deny && tier.step_up == [0])
        );
        assert_eq!(
            policy.tiers.iter().map(|tier| tier.service.is_some()).collect::<Vec<_>>(),
            [true, true, false, false]
        );
        assert!(policy.tiers[3].each_action_needs_new_proof && !policy.tiers[2].each_action_needs_new_proof);
    }

    #[test]
    fn a_route_says_what_is_implied() {
        let policy = load(SIDECAR).policy;
        let route = &policy.routes[0];
        assert_eq!(route.methods, [Method::GET, Method::HEAD]);
        assert_eq!(route.any_of[0].issuer, Some(0));
        assert_eq!(route.tier, TierIndex(1));
        assert!(route.data_floor > Level::NONE);
    }

    #[test]
    fn the_version_names_the_text() {
        let one = load(SIDECAR).policy.version;
        assert_eq!(one.len(), 16);
        assert_eq!(one, load(SIDECAR).policy.version);
        assert_ne!(one, load(&format!("{SIDECAR}# changed\n")).policy.version);
    }

    #[test]
    fn written_lifetimes_move_the_defaults() {
        let text = SIDECAR.replace("audiences", "jwks: { refresh: 2h }\n    audiences");
        let keys = load(&text).settings.issuers[0].keys;
        assert_eq!(
            (keys.stale_for, keys.stale_for_critical),
            (Duration::from_secs(7_200), Duration::from_secs(7_200))
        );
        let text = SIDECAR.replace("audiences", "jwks: { stale_for: 5m }\n    audiences");
        assert_eq!(load(&text).settings.issuers[0].keys.stale_for_critical, Duration::from_secs(300));
    }
}
