//! The routes that FHIR services have by themselves: what the server can do, how to get a token for it, and several requests in one.

use super::routes::Draft;
use crate::config::codes::Code;
use crate::config::report::Report;
use crate::policy::{Access, FhirMatch, FhirService, RateLimit, Route, Template};
use crate::request::fhir::Interaction;

/// What people are shown of a batch or transaction that they have to confirm.
const BUNDLE_LABEL: &str = "Several FHIR requests at once";

/// Their names behind the service's, their paths below its base, what they take.
const OWN: [(&str, &str, Interaction); 3] = [
    ("capabilities", "/metadata", Interaction::Capabilities),
    ("smart-configuration", "/.well-known/smart-configuration", Interaction::SmartConfiguration),
    ("bundle", "", Interaction::Bundle),
];

/// The routes of all services.
pub(super) fn routes(
    services: &[FhirService],
    drafts: &[Draft<'_>],
    limits: &[RateLimit],
    report: &mut Report<'_>,
) -> Vec<Route> {
    let mut routes = Vec::new();
    for (position, service) in services.iter().enumerate() {
        for (name, path, interaction) in OWN {
            let is_bundle = interaction == Interaction::Bundle;
            if is_bundle && service.bundles.is_none() {
                continue;
            }
            let id = format!("{}.{name}", service.name);
            if let Some(draft) = drafts.iter().find(|draft| *draft.route.id == *id) {
                let report = &mut report.within("route", Some(&id));
                let message = format!("FHIR service `{}` has a route of this name", service.name);
                report.add(Code::RepeatedName, draft.path, message, "give the route another id");
            }
            let path = if is_bundle && service.base.is_empty() { "/" } else { path };
            let Ok(template) = Template::parse(&format!("{}{path}", service.base)) else { continue };
            routes.push(Route {
                host: service.host.clone(),
                label: is_bundle.then(|| BUNDLE_LABEL.into()),
                // Who may send a Bundle is said by the routes of its entries.
                access: if is_bundle { Access::Protected } else { Access::Public },
                fhir: Some(FhirMatch {
                    service: position,
                    interactions: vec![interaction],
                    types: Vec::new(),
                    operations: Vec::new(),
                }),
                methods: interaction.methods().to_vec(),
                upstream: service.upstream,
                rate_limits: (0..limits.len())
                    .filter(|at| limits.get(*at).is_some_and(|limit| limit.everywhere))
                    .collect(),
                ..Route::public(id, template)
            });
        }
    }
    routes
}
