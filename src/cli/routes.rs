//! `wardgate routes`: what each route asks for, so that an operator can read the policy at a glance.

use std::process::ExitCode;

use serde::Serialize;

use crate::config::settings::Compiled;
use crate::policy::{Access, Entry, FhirMatch, PatientSource, Policy, Route};
use crate::request::fhir::Interaction;

/// One row.
#[derive(Debug, Serialize)]
struct Row {
    route: String,
    matches: String,
    tier: String,
    level: String,
    max_age: String,
    proof: String,
    audit: String,
    allowed: String,
    upstream: String,
}

/// Prints the table, or JSON.
pub fn print(compiled: &Compiled, json: bool) -> ExitCode {
    let policy = &compiled.policy;
    let rows: Vec<Row> = policy.routes.iter().map(|route| row(policy, route)).collect();
    if json {
        match serde_json::to_string_pretty(&rows) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::FAILURE;
            }
        }
        return ExitCode::SUCCESS;
    }
    let head = ["ROUTE", "MATCHES", "TIER", "LEVEL", "MAX AGE", "PROOF", "AUDIT", "ALLOWED", "UPSTREAM"]
        .map(str::to_owned);
    let mut table = vec![head];
    table.extend(rows.into_iter().map(|row| {
        [
            row.route,
            row.matches,
            row.tier,
            row.level,
            row.max_age,
            row.proof,
            row.audit,
            row.allowed,
            row.upstream,
        ]
    }));
    print!("{}", aligned(&table));
    println!("\nEverything else is refused.");
    ExitCode::SUCCESS
}

fn row(policy: &Policy, route: &Route) -> Row {
    let tier = policy.tier(route.tier);
    let methods = route.methods.iter().map(http::Method::as_str).collect::<Vec<_>>().join(",");
    let what = if route.websocket { "WebSocket" } else { &methods };
    let host = route.host.as_deref().unwrap_or_default();
    let lowered = route
        .lower_risk
        .as_ref()
        .map(|lower| format!(" ({} if only {})", policy.tier(lower.tier).name, lower.fields.join(", ")));
    let public = route.access == Access::Public;
    Row {
        route: route.id.to_string(),
        matches: match &route.fhir {
            Some(matched) => format!("{} {host}{}", fhir(matched), route.template.as_str()),
            None => format!("{what} {host}{}", route.template.as_str()),
        },
        tier: format!("{}{}", tier.name, lowered.unwrap_or_default()),
        level: if public {
            "-".to_owned()
        } else {
            policy.levels.name(policy.requirement(route, route.tier).level()).to_owned()
        },
        max_age: if public {
            "-".to_owned()
        } else {
            tier.max_age.map_or("-".to_owned(), |seconds| format!("{seconds} s"))
        },
        proof: if tier.each_action_needs_new_proof && !public {
            "each time".to_owned()
        } else {
            "-".to_owned()
        },
        audit: format!("{:?}", tier.audit).to_lowercase(),
        allowed: if public {
            "anybody".to_owned()
        } else if route.fhir.as_ref().is_some_and(FhirMatch::is_bundle) {
            "as each of its entries".to_owned()
        } else {
            route.any_of.iter().map(|entry| allowed(policy, route, entry)).collect::<Vec<_>>().join(" or ")
        },
        upstream: policy.upstreams.get(route.upstream).map(ToString::to_string).unwrap_or_default(),
    }
}

/// `read,search-type Patient,Observation`.
fn fhir(matched: &FhirMatch) -> String {
    let named = Interaction::NAMED.iter().filter(|(_, known)| matched.interactions.contains(known));
    let names = named.map(|(name, _)| *name).chain(matched.operations.iter().map(AsRef::as_ref));
    let names = names.collect::<Vec<_>>().join(",");
    let text = if names.is_empty() && matched.is_bundle() {
        "batch,transaction".to_owned()
    } else if names.is_empty() {
        "GET".to_owned()
    } else {
        names
    };
    if matched.types.is_empty() { text } else { format!("{text} {}", matched.types.join(",")) }
}

fn allowed(policy: &Policy, route: &Route, entry: &Entry) -> String {
    let mut parts = Vec::new();
    if let Some(issuer) = entry.issuer.and_then(|issuer| policy.issuers.get(issuer)) {
        parts.push(issuer.name.to_string());
    }
    let list = |name: &str, values: &[Box<str>]| {
        if values.is_empty() { None } else { Some(format!("{name} {}", values.join("|"))) }
    };
    parts.extend(list("role", &entry.roles));
    parts.extend(list("scope", &entry.scopes));
    parts.extend(list("client", &entry.clients));
    if entry.patient_self {
        let source = match &route.patient {
            Some(PatientSource::Path(name)) => format!("path.{name}"),
            Some(PatientSource::Query(name)) => format!("query.{name}"),
            Some(PatientSource::Body(name)) => format!("body.{name}"),
            Some(PatientSource::Fhir) => "fhir".to_owned(),
            Some(PatientSource::Lookup(_)) => "lookup".to_owned(),
            None => String::new(),
        };
        parts.push(format!("own record ({source})"));
    }
    parts.extend(entry.when.as_ref().map(|when| format!("when {}", when.source())));
    parts.join(" + ")
}

/// Columns padded to their widest cell.
pub(super) fn aligned<const N: usize>(table: &[[String; N]]) -> String {
    let width = |column: usize| {
        table.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in table {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
