//! What is configured and used by no route: a rest of something, or a mistake in a route.

use std::collections::HashSet;

use crate::config::codes::Code;
use crate::config::report::Report;
use crate::config::schema::{File, Route, Text};

/// Warns of issuers, tiers, data classes and upstreams that no route refers to. Expects every reference to be
/// sound.
pub(super) fn check(file: &File, report: &mut Report<'_>) {
    let routes = || file.routes.items().iter().map(|item| &item.value);
    if routes().next().is_none() {
        return;
    }
    let services = || file.fhir_services.items().iter().map(|item| &item.value);
    let upstreams = routes().filter_map(|route| route.upstream.text());
    let used: HashSet<&str> =
        upstreams.chain(services().filter_map(|service| service.upstream.text())).collect();
    for (name, _) in file.upstreams.entries() {
        unused(report, "upstream", name, &used);
    }
    let matches = || routes().filter_map(|route| route.r#match.as_ref());
    let fhir = matches().filter_map(|map| map.value.fhir.as_ref());
    let used: HashSet<&str> = fhir.filter_map(|fhir| fhir.value.service.text()).collect();
    for name in services().filter_map(|service| service.name.as_ref()) {
        unused(report, "FHIR service", name, &used);
    }
    let used: HashSet<&str> = routes().filter_map(|route| route.pdp.text()).collect();
    for name in file.pdps.items().iter().filter_map(|item| item.value.name.as_ref()) {
        unused(report, "policy decision point", name, &used);
    }
    let used: HashSet<&str> = routes().filter_map(|route| route.consent.text()).collect();
    for name in file.consents.items().iter().filter_map(|item| item.value.name.as_ref()) {
        unused(report, "consent", name, &used);
    }
    let used: HashSet<&str> = routes().filter_map(|route| route.break_glass.text()).collect();
    for (name, _) in file.break_glass.entries() {
        unused(report, "right to break the glass", name, &used);
    }
    let delegates =
        routes().flat_map(|route| route.any_of.items()).flat_map(|item| item.value.delegate.items());
    let used: HashSet<&str> = delegates.map(|text| text.value.as_str()).collect();
    let relations = file.delegation.as_ref().map_or(&[][..], |map| map.value.relations.entries());
    for (name, _) in relations {
        unused(report, "relation", name, &used);
    }
    let used: HashSet<&str> = routes().filter_map(|route| route.data_class.text()).collect();
    for (name, _) in file.data_classes.entries() {
        unused(report, "data class", name, &used);
    }
    let effects = file.signals.items().iter().filter_map(|item| item.value.effect.as_ref());
    let raised = effects.filter_map(|effect| effect.value.raise_to.text());
    let used: HashSet<&str> = routes().flat_map(tiers).chain(raised).collect();
    let implied = routes().any(|route| route.tier.is_none());
    for item in file.tiers.items().iter().skip(usize::from(implied)) {
        if let Some(name) = item.value.name.as_ref() {
            unused(report, "tier", name, &used);
        }
    }
    let entries = || routes().flat_map(|route| route.any_of.items());
    let used: HashSet<&str> = entries().filter_map(|entry| entry.value.issuer.text()).collect();
    let implied = entries().any(|entry| entry.value.issuer.is_none());
    for item in file.issuers.items().iter().filter(|_| !implied) {
        if let Some(name) = item.value.name.as_ref() {
            unused(report, "issuer", name, &used);
        }
    }
}

fn tiers(route: &Route) -> impl Iterator<Item = &str> {
    let lower = route.lower_risk_if_only.as_ref().and_then(|lower| lower.value.tier.text());
    let refined = route.refine.items().iter().filter_map(|rule| rule.value.tier.text());
    route.tier.text().into_iter().chain(lower).chain(refined)
}

fn unused(report: &mut Report<'_>, what: &str, name: &Text, used: &HashSet<&str>) {
    if !used.contains(name.value.as_str()) {
        let message = format!("no route uses {what} `{}`", name.value);
        report.add(Code::Unused, name, message, "take it out, or look for the route that should name it");
    }
}
