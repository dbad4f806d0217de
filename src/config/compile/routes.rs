//! Routes: every part compiled on its own, then put together.

use serde_saphyr::Spanned;

use super::assurance::DataFloor;
use super::issuers::Issuer;
use super::rules::Ground;
use super::tiers::Tiers;
use super::{anonymous, break_glass, cors, entries, fhir, limits, matching};
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{File, Route as Schema, Text};
use crate::config::settings::{Protocol, UpstreamSettings};
use crate::config::values::{self, Names};
use crate::identity::Level;
use crate::identity::assurance::Levels;
use crate::policy::delegation::Delegations;
use crate::policy::{Access, BreakGlass, Consent, FhirService, PatientSource, Pdp, Route, TierIndex, Way};
use crate::request::PathReading;

/// What routes and policy tests refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'k> {
    pub(super) fhir_services: &'k [FhirService],
    pub(super) pdps: &'k [Pdp],
    pub(super) consents: &'k [Consent],
    pub(super) break_glass: &'k [BreakGlass],
    pub(super) delegations: &'k Delegations,
    pub(super) ways: &'k [Way],
    pub(super) issuers: &'k [Issuer],
    pub(super) tiers: &'k Tiers,
    pub(super) levels: &'k Levels,
    pub(super) data_classes: &'k [DataFloor],
    pub(super) upstreams: &'k [UpstreamSettings],
}

impl Known<'_> {
    /// Finds an issuer by its name.
    pub(super) fn issuer(&self, report: &mut Report<'_>, text: &Text) -> Option<usize> {
        let names = || self.issuers.iter().map(|issuer| issuer.rules.name.as_ref());
        let at = names().position(|name| name == text.value);
        if at.is_none() {
            report.unknown(Code::UnknownIssuer, "issuer", text, names());
        }
        at
    }

    fn upstream(&self, report: &mut Report<'_>, text: &Text) -> Option<usize> {
        let names = || self.upstreams.iter().map(|upstream| upstream.name.as_ref());
        let at = names().position(|name| name == text.value);
        if at.is_none() {
            report.unknown(Code::UnknownUpstream, "upstream", text, names());
        }
        at
    }

    fn pdp(&self, report: &mut Report<'_>, text: &Text) -> Option<usize> {
        let names = || self.pdps.iter().map(|pdp| pdp.name.as_ref());
        let at = names().position(|name| name == text.value);
        if at.is_none() {
            report.unknown(Code::UnknownPdp, "policy decision point", text, names());
        }
        at
    }

    fn consent(&self, report: &mut Report<'_>, text: &Text, has_patient: bool) -> Option<usize> {
        let names = || self.consents.iter().map(|consent| consent.name.as_ref());
        let at = names().position(|name| name == text.value);
        if at.is_none() {
            report.unknown(Code::UnknownConsent, "consent", text, names());
        }
        if !has_patient {
            let message = "this route does not say whose consent it asks for";
            let help = "add `patient: { from: path.patient }` to the route";
            report.add(Code::ConsentWithoutPatient, text, message, help);
        }
        at
    }

    fn data_floor(&self, report: &mut Report<'_>, text: &Text) -> Option<Level> {
        let found = self.data_classes.iter().find(|class| class.name.as_ref() == text.value);
        if found.is_none() {
            let names = self.data_classes.iter().map(|class| class.name.as_ref());
            report.unknown(Code::UnknownDataClass, "data class", text, names);
        }
        found.and_then(|class| class.floor)
    }
}

/// A route, compiled, with what later checks must not conclude from.
#[derive(Debug)]
pub(super) struct Draft<'s> {
    pub(super) route: Route,
    pub(super) schema: &'s Schema,
    /// Where its path stands.
    pub(super) path: Place,
    /// The base tier; `None` where it was reported as unknown.
    pub(super) tier: Option<TierIndex>,
    /// The data class's level; `None` where it was reported as unknown.
    pub(super) floor: Option<Level>,
}

/// Compiles `routes`, in the order of the file; one without a path is left out.
pub(super) fn compile<'s>(file: &'s File, known: &Known<'_>, report: &mut Report<'_>) -> Vec<Draft<'s>> {
    let start = Place { line: 1, column: 1, length: 1 };
    let example = "[{ id: home, match: { path: /, methods: [GET] }, upstream: app, access: public }]";
    report.required(&file.routes, "routes", start, example);
    if let Some(list) = file.routes.as_ref().filter(|list| list.value.is_empty()) {
        report.add(
            Code::NoRoutes,
            list,
            "there is no route, so every request is refused",
            "write the routes that are served",
        );
    }
    let mut ids = Names::default();
    let mut drafts = Vec::new();
    for item in file.routes.items() {
        let report = &mut report.within("route", item.value.id.text());
        if let Some(id) = report.required(&item.value.id, "id", item.into(), "results.read") {
            check_id(report, id, &mut ids);
        }
        if let Some(id) = item.value.lower_risk_if_only.as_ref().and_then(|lower| lower.value.id.as_ref()) {
            check_id(report, id, &mut ids);
        }
        drafts.extend(route(report, known, item));
    }
    drafts
}

fn check_id(report: &mut Report<'_>, id: &Text, ids: &mut Names) {
    values::name(report, id);
    if id.value.bytes().any(|byte| byte.is_ascii_uppercase()) {
        report.add(Code::BadName, id, format!("`{}` has capitals", id.value), "write ids in lower case");
    }
    ids.add(report, "route", id);
}

fn route<'s>(report: &mut Report<'_>, known: &Known<'_>, item: &'s Spanned<Schema>) -> Option<Draft<'s>> {
    let schema = &item.value;
    let place = schema.id.as_ref().map_or(item.into(), Place::from);
    let matched = report.required(&schema.r#match, "match", place, "{ path: \"/\", methods: [GET] }");
    let is_fhir = matched.is_some_and(|map| map.value.fhir.is_some());
    let matched = matched.and_then(|map| matching::compile(report, known.fhir_services, map));
    let upstream = if is_fhir {
        matched.as_ref().and_then(|matched| matched.upstream)
    } else {
        let upstream = report.required(&schema.upstream, "upstream", place, "portal");
        upstream.and_then(|text| known.upstream(report, text))
    };
    if matched.as_ref().is_some_and(|matched| matched.websocket) {
        check_upgrade(report, known, schema, upstream);
    }
    let timeouts =
        schema.timeouts.as_ref().map(|timeouts| super::upstreams::route_timeouts(&timeouts.value, report));
    let words = [("public", Access::Public), ("protected", Access::Protected)];
    let access = values::choice(report, &schema.access, &words, Access::Protected);
    let tier = tier(report, known, schema, access, place);
    let floor = match schema.data_class.as_ref() {
        Some(text) => known.data_floor(report, text),
        None => Some(Level::NONE),
    };
    if is_fhir {
        fhir::check_route(report, schema, access);
    }
    // A public route need not name its tier, and has no rules that could be above or below it.
    let base = tier.filter(|_| access == Access::Protected);
    let ground = Ground { matched: matched.as_ref(), tiers: known.tiers, tier: base };
    if access == Access::Public {
        check_public(report, schema);
    } else if schema.any_of.is_none() {
        let help = "write `any_of: [{ issuer: … }]`, or `access: public`";
        report.add(Code::NoWayIn, place, "the route does not say who is allowed", help);
    }
    let patient = if is_fhir {
        Some(PatientSource::Fhir)
    } else {
        schema.patient.as_ref().and_then(|patient| ground.patient(report, patient))
    };
    let has_patient = is_fhir || schema.patient.is_some();
    let refine = ground.refine(report, &schema.refine);
    let lower_risk = schema.lower_risk_if_only.as_ref().and_then(|lower| ground.lower_risk(report, lower));
    let deny = ground.deny(report, &schema.deny);
    let any_of =
        schema.any_of.as_ref().map(|list| entries::compile(report, known, ground, has_patient, list));
    let pdp = schema.pdp.as_ref().and_then(|text| known.pdp(report, text));
    let consent = schema.consent.as_ref().and_then(|text| known.consent(report, text, has_patient));
    let glass = break_glass::of_route(report, known, schema, (access, patient.as_ref(), matched.as_ref()));
    let anonymous = anonymous::compile(report, known, schema, (access, tier, matched.as_ref()));
    let cors = schema.cors.as_ref().map(|schema| cors::compile(report, schema));
    let matched = matched?;
    let route = Route {
        id: schema.id.text().unwrap_or_default().into(),
        label: schema.label.as_ref().map(|label| values::filled(report, label).into()),
        host: matched.host,
        template: matched.template,
        fhir: matched.fhir,
        methods: matched.methods,
        websocket: matched.websocket,
        upstream: upstream.unwrap_or_default(),
        reading: upstream
            .and_then(|at| known.upstreams.get(at))
            .map_or(PathReading::STRICT, |up| up.path_reading),
        timeouts: timeouts.unwrap_or_default(),
        access,
        anonymous,
        tier: tier.unwrap_or(TierIndex(u8::MAX)),
        data_floor: floor.unwrap_or_default(),
        patient,
        refine,
        lower_risk,
        deny,
        any_of: any_of.unwrap_or_default(),
        pdp,
        consent,
        // Once all routes are known.
        duties: Vec::new(),
        break_glass: glass,
        candidate: None,
        cors,
        body_bytes: schema.body_bytes.as_ref().map(|_| limits::body_bytes(report, &schema.body_bytes, 0)),
        rate_limits: Vec::new(),
    };
    let path = schema.r#match.as_ref().and_then(|map| {
        let by_path = map.value.path.as_ref().map(Place::from);
        by_path.or_else(|| map.value.fhir.as_ref().map(Place::from))
    });
    let path = path.unwrap_or(place);
    Some(Draft { route, schema, path, tier, floor })
}

/// Reports WebSocket handshakes to an upstream that takes none.
fn check_upgrade(report: &mut Report<'_>, known: &Known<'_>, schema: &Schema, upstream: Option<usize>) {
    let upstream = upstream.and_then(|at| known.upstreams.get(at));
    if let (Some(upstream), Some(text)) = (upstream, schema.upstream.as_ref())
        && upstream.protocol == Protocol::Http2
    {
        let message =
            format!("upstream `{}` speaks HTTP/2 only, which takes no WebSocket handshake", upstream.name);
        report.add(
            Code::BadProtocol,
            text,
            message,
            "write `protocol: auto` or `h1` there, or use another upstream",
        );
    }
}

/// The base tier: required on protected routes, the first one on public ones.
fn tier(
    report: &mut Report<'_>,
    known: &Known<'_>,
    schema: &Schema,
    access: Access,
    place: Place,
) -> Option<TierIndex> {
    let text = match access {
        Access::Public if schema.tier.is_none() => return Some(TierIndex(0)),
        Access::Public | Access::Protected => report.required(&schema.tier, "tier", place, "moderate")?,
    };
    known.tiers.find(report, text)
}

/// Reports what makes no sense where nobody is asked for.
fn check_public(report: &mut Report<'_>, schema: &Schema) {
    let rules: [(&str, Option<Place>); 10] = [
        ("any_of", schema.any_of.as_ref().map(Into::into)),
        ("patient", schema.patient.as_ref().map(Into::into)),
        ("data_class", schema.data_class.as_ref().map(Into::into)),
        ("refine", schema.refine.as_ref().map(Into::into)),
        ("lower_risk_if_only", schema.lower_risk_if_only.as_ref().map(Into::into)),
        ("deny", schema.deny.as_ref().map(Into::into)),
        ("pdp", schema.pdp.as_ref().map(Into::into)),
        ("consent", schema.consent.as_ref().map(Into::into)),
        ("separation_of_duties", schema.separation_of_duties.as_ref().map(Into::into)),
        ("candidate", schema.candidate.as_ref().map(Into::into)),
    ];
    for (key, place) in rules {
        if let Some(place) = place {
            let message = format!("a public route asks for no caller, so `{key}` can't hold");
            report.add(
                Code::PublicRouteRule,
                place,
                message,
                format!("take `{key}` or `access: public` out"),
            );
        }
    }
}
