//! FHIR services, and what routes below them match by.

use http::Method;
use serde_saphyr::Spanned;

use super::matching::{Matched, compile_host};
use super::replies;
use super::routes::Draft;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::{Report, instead};
use crate::config::schema::{
    Bundles as BundlesSchema, FhirMatch as MatchSchema, FhirService as Schema, File, Match,
    Route as RouteSchema, Text,
};
use crate::config::settings::UpstreamSettings;
use crate::config::values::{self, Names};
use crate::identity::smart::Dialect;
use crate::policy::template::Step;
use crate::policy::{Access, Bundles, FhirMatch, FhirService, Route, Template};
use crate::request::PathReading;
use crate::request::fhir::bundle::BundleKind;
use crate::request::fhir::{Interaction, Version, types};

/// The parameters of services that list none: those that find a patient's record and narrow it, and page through it.
const ALLOWED: [&str; 10] =
    ["patient", "subject", "code", "category", "date", "status", "_id", "_count", "_lastUpdated", "_type"];

/// How many entries a Bundle may have where nothing is said, and at most: each is decided like a request.
const ENTRIES: usize = 100;
const MOST_ENTRIES: usize = 1000;

/// Compiles `fhir_services`, in the order of the file; a service that has no base is left out.
pub(super) fn compile(
    file: &File,
    upstreams: &[UpstreamSettings],
    report: &mut Report<'_>,
) -> Vec<FhirService> {
    let mut names = Names::default();
    let mut services: Vec<FhirService> = Vec::new();
    for item in file.fhir_services.items() {
        let report = &mut report.within("FHIR service", item.value.name.text());
        if let Some(name) = report.required(&item.value.name, "name", item.into(), "ehr-fhir") {
            values::name(report, name);
            if name.value.bytes().any(|byte| byte.is_ascii_uppercase()) {
                let message = format!("`{}` has capitals", name.value);
                report.add(
                    Code::BadName,
                    name,
                    message,
                    "write it in lower case: it begins the ids of routes",
                );
            }
            names.add(report, "FHIR service", name);
        }
        let Some(service) = service(report, item, upstreams) else { continue };
        let overlaps = |other: &&FhirService| {
            let same_host = service.host.is_none() || other.host.is_none() || service.host == other.host;
            let within = |inner: &str, outer: &str| {
                inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            same_host && (within(&service.base, &other.base) || within(&other.base, &service.base))
        };
        if let (Some(other), Some(base)) = (services.iter().find(overlaps), item.value.base.as_ref()) {
            let message = format!("the base of service `{}` is the same, above it or below it", other.name);
            report.add(Code::BadFhirService, base, message, "give the services hosts or bases apart");
        }
        services.push(service);
    }
    services
}

fn service(
    report: &mut Report<'_>,
    item: &Spanned<Schema>,
    upstreams: &[UpstreamSettings],
) -> Option<FhirService> {
    let schema = &item.value;
    let base =
        report.required(&schema.base, "base", item.into(), "/fhir").and_then(|text| base(report, text));
    report.required(&schema.version, "version", item.into(), "R4");
    let versions = [("R4", Version::R4), ("R5", Version::R5)];
    let upstream = report.required(&schema.upstream, "upstream", item.into(), "ehr").and_then(|text| {
        let at = upstreams.iter().position(|upstream| upstream.name.as_ref() == text.value);
        match at.and_then(|at| upstreams.get(at)) {
            None => {
                let known = upstreams.iter().map(|upstream| upstream.name.as_ref());
                report.unknown(Code::UnknownUpstream, "upstream", text, known);
            }
            Some(upstream) if upstream.path_reading != PathReading::STRICT => {
                let message =
                    format!("upstream `{}` reads paths in a way that FHIR servers don't", upstream.name);
                let help =
                    "take `path_case` and `allow` out there, or give the service an upstream of its own";
                report.add(Code::BadFhirService, text, message, help);
            }
            Some(_) => {}
        }
        at
    });
    let listed = schema.search_params.as_ref().map(|map| {
        report.required(&map.value.allow, "allow", map.into(), "[patient, code, date, _count]");
        values::texts(report, &map.value.allow)
    });
    let version = values::choice(report, &schema.version, &versions, Version::R4);
    Some(FhirService {
        name: schema.name.text().unwrap_or_default().into(),
        host: schema.host.as_ref().and_then(|host| compile_host(report, host)),
        base: base?,
        version,
        upstream: upstream.unwrap_or_default(),
        smart: values::choice(
            report,
            &schema.smart,
            &[("v1", Dialect::V1), ("v2", Dialect::V2)],
            Dialect::V2,
        ),
        bundles: schema.bundles.as_ref().map(|map| bundles(report, map)),
        allowed_parameters: listed.unwrap_or_else(|| ALLOWED.map(Into::into).to_vec()),
        replies: replies::compile(report, item, (version, upstream.and_then(|at| upstreams.get(at)))),
    })
}

/// The batches and transactions that a service takes.
fn bundles(report: &mut Report<'_>, map: &Spanned<BundlesSchema>) -> Bundles {
    report.required(&map.value.allow, "allow", map.into(), "[batch, transaction]");
    values::texts(report, &map.value.allow);
    let mut kinds = Vec::new();
    for text in map.value.allow.items() {
        match BundleKind::NAMED.iter().find(|(name, _)| *name == text.value) {
            Some((_, kind)) => kinds.push(*kind),
            None => {
                let known = BundleKind::NAMED.iter().map(|(name, _)| *name);
                report.unknown(Code::BadFhirBundles, "kind of Bundle", text, known);
            }
        }
    }
    let most_entries = values::count(report, &map.value.max_entries, 1..=MOST_ENTRIES);
    Bundles { kinds, most_entries: most_entries.unwrap_or(ENTRIES) }
}

/// A base: text only, without a slash at its end.
fn base(report: &mut Report<'_>, text: &Text) -> Option<Box<str>> {
    let plain = text.value.strip_suffix('/').unwrap_or(&text.value);
    let sound = if plain.is_empty() {
        text.value == "/"
    } else {
        Template::parse(plain).is_ok_and(|template| {
            !template.is_open() && template.parameters().next().is_none() && !plain.ends_with('/')
        })
    };
    if !sound {
        let message = format!("`{}` is not the path of a base", text.value);
        report.add(Code::BadFhirService, text, message, "write a plain path, such as `/fhir`");
    }
    sound.then(|| plain.into())
}

/// Compiles `match: { fhir: … }`.
pub(super) fn matched(
    report: &mut Report<'_>,
    services: &[FhirService],
    around: &Match,
    schema: &Spanned<MatchSchema>,
) -> Option<Matched> {
    let others: [(&str, Option<Place>); 4] = [
        ("host", around.host.as_ref().map(Into::into)),
        ("path", around.path.as_ref().map(Into::into)),
        ("methods", around.methods.as_ref().map(Into::into)),
        ("upgrade", around.upgrade.as_ref().map(Into::into)),
    ];
    for (key, place) in others {
        if let Some(place) = place {
            without_meaning(report, key, place);
        }
    }
    let MatchSchema { service, interactions, types: listed, operations } = &schema.value;
    let name = report.required(service, "service", schema.into(), "ehr-fhir")?;
    let Some(at) = services.iter().position(|service| service.name.as_ref() == name.value) else {
        let known = services.iter().map(|service| service.name.as_ref());
        report.unknown(Code::UnknownFhirService, "FHIR service", name, known);
        return None;
    };
    let service = services.get(at)?;
    if interactions.is_none() && operations.is_none() {
        let help = "write `interactions: [read, search-type]` or `operations: [\"$everything\"]`";
        report.add(Code::BadFhirMatch, schema, "the route takes no interaction and no operation", help);
    }
    values::texts(report, interactions);
    values::texts(report, listed);
    values::texts(report, operations);
    let mut matched =
        FhirMatch { service: at, interactions: Vec::new(), types: Vec::new(), operations: Vec::new() };
    for text in interactions.items() {
        match Interaction::NAMED.iter().find(|(name, _)| *name == text.value) {
            Some((_, interaction)) if interaction.is_of_system() && listed.is_some() => {
                let message = format!("`{}` is about the whole server and has no type", text.value);
                report.add(Code::BadFhirMatch, text, message, "make it a route of its own, without `types`");
            }
            Some((_, interaction)) => matched.interactions.push(*interaction),
            None => {
                let known = Interaction::NAMED.iter().map(|(name, _)| *name);
                report.unknown(Code::BadFhirMatch, "interaction", text, known);
            }
        }
    }
    for text in listed.items() {
        match types::find(service.version, &text.value) {
            Some(name) => matched.types.push(name),
            None => {
                let nearest = instead(&text.value, types::all(service.version));
                let help = if nearest.starts_with("did") {
                    nearest
                } else {
                    "write one of the version's types, such as `Patient`".to_owned()
                };
                let message = format!("unknown resource type `{}`", text.value);
                report.add(Code::BadFhirMatch, text, message, help);
            }
        }
    }
    for text in operations.items() {
        let name = text.value.strip_prefix('$').unwrap_or_default();
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        {
            matched.operations.push(text.value.as_str().into());
        } else {
            let message = format!("`{}` is not the name of an operation", text.value);
            report.add(Code::BadFhirMatch, text, message, "write it with its `$`, such as `\"$everything\"`");
        }
    }
    let of_operations: &[Method] =
        if matched.operations.is_empty() { &[] } else { Interaction::Operation.methods() };
    let mut methods: Vec<Method> = Vec::new();
    for method in matched.interactions.iter().flat_map(|it| it.methods()).chain(of_operations) {
        if !methods.contains(method) {
            methods.push(method.clone());
        }
    }
    Some(Matched {
        host: service.host.clone(),
        template: Template::parse(&format!("{}/**", service.base)).ok()?,
        methods,
        websocket: false,
        upstream: Some(service.upstream),
        fhir: Some(matched),
    })
}

/// Reports what routes below a base have no use for.
pub(super) fn check_route(report: &mut Report<'_>, schema: &RouteSchema, access: Access) {
    if let Some(text) = schema.upstream.as_ref() {
        without_meaning(report, "upstream", text.into());
    }
    if let Some(map) = schema.patient.as_ref() {
        without_meaning(report, "patient", map.into());
    }
    if let Some(text) = schema.access.as_ref().filter(|_| access == Access::Public) {
        let message = "a FHIR route is never public: `/metadata` and `.well-known/smart-configuration` are by themselves";
        report.add(Code::FhirRouteRule, text, message, "take `access: public` out, and say who is allowed");
    }
}

fn without_meaning(report: &mut Report<'_>, key: &str, place: Place) {
    let message = format!("`{key}` is the FHIR service's to say");
    report.add(Code::FhirRouteRule, place, message, format!("take `{key}` out"));
}

/// Reports routes that no request could reach, since their paths are below a base.
pub(super) fn check_paths(services: &[FhirService], drafts: &[Draft<'_>], report: &mut Report<'_>) {
    for draft in drafts.iter().filter(|draft| draft.route.fhir.is_none()) {
        let report = &mut report.within("route", draft.schema.id.text());
        let is_below = |service: &&FhirService| {
            let host =
                service.host.is_none() || draft.route.host.is_none() || draft.route.host == service.host;
            let base = service.base.split('/').skip(1);
            let mut steps = draft.route.template.steps().iter();
            host && base
                .into_iter()
                .all(|segment| matches!(steps.next(), Some(Step::Literal(text)) if text.as_ref() == segment))
        };
        if let Some(service) = services.iter().find(is_below) {
            let message = format!("the path is below the base of FHIR service `{}`", service.name);
            let help = format!(
                "match by `fhir: {{ service: {}, interactions: [read] }}`, or give the route a host of its own",
                service.name
            );
            report.add(Code::BelowFhirBase, draft.path, message, help);
        }
    }
}

/// What two routes have in common that no order decides.
pub(super) fn both_take(report: &mut Report<'_>, first: (&Route, Place), second: Place) {
    let (route, place) = first;
    let message =
        format!("route `{}` in line {} takes one of these interactions as well", route.id, place.line);
    let help = "no order decides: a route with `types` comes before one without; give these two others apart";
    report.add(Code::AmbiguousRoutes, second, message, help);
}
