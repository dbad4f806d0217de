//! Routes from what a FHIR server says it can do: its CapabilityStatement.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::draft::{self, Allowed, Draft, FhirService, RouteDraft, quoted};
use super::risk::{self, Kind};
use crate::request::fhir::{Version, compartment, types};

/// What interactions do, by the names of the CapabilityStatement.
const INTERACTIONS: [(&str, Kind); 9] = [
    ("read", Kind::Reads),
    ("vread", Kind::Reads),
    ("history-instance", Kind::Reads),
    ("history-type", Kind::Reads),
    ("search-type", Kind::Reads),
    ("create", Kind::Writes),
    ("update", Kind::Writes),
    ("patch", Kind::Writes),
    ("delete", Kind::Deletes),
];

/// Drafts a configuration.
///
/// # Errors
/// What the document is not.
pub(super) fn draft(document: &Value) -> Result<Draft, String> {
    if document.get("resourceType").and_then(Value::as_str) != Some("CapabilityStatement") {
        return Err("it is no CapabilityStatement; ask the server for it: `GET [base]/metadata`".to_owned());
    }
    let (version, name) = version(document)?;
    let server = document.get("rest").and_then(Value::as_array).into_iter().flatten();
    let server = server
        .into_iter()
        .find(|rest| text(rest, "mode") == Some("server"))
        .ok_or("it describes no server: there is no `rest` with `mode: server`")?;
    let mut reader = Reader::default();
    for resource in list(server, "resource") {
        reader.resource(version, resource);
    }
    reader.whole_server(server);
    let url = document.pointer("/implementation/url").and_then(Value::as_str);
    let base = url.map_or("/fhir", base).to_owned();
    let routes = reader.routes();
    if routes.is_empty() {
        return Err("it names no interaction that a route could be drafted for".to_owned());
    }
    let software = document.pointer("/software/name").or_else(|| document.get("title"));
    let software = software.and_then(Value::as_str).unwrap_or("a FHIR server");
    let refused =
        reader.first_read.as_ref().map(|kind| format!("GET {}/{kind}/1", base.trim_end_matches('/')));
    Ok(Draft {
        source: format!("the CapabilityStatement of `{software}`"),
        issuer: None,
        address: url.map(str::to_owned),
        fhir: Some(FhirService { base, version: name }),
        routes,
        left_out: reader.left_out,
        refused,
    })
}

/// What is judged alike: its kind, whose it is, and what may be done.
type Group = (&'static str, bool, Vec<&'static str>);

#[derive(Default)]
struct Reader {
    /// The types of each group.
    groups: BTreeMap<Group, BTreeSet<&'static str>>,
    /// The operations on types, by name.
    operations: BTreeMap<String, BTreeSet<&'static str>>,
    /// What is asked of the whole server: interactions and operations.
    system: BTreeSet<&'static str>,
    system_operations: BTreeSet<String>,
    left_out: Vec<String>,
    first_read: Option<&'static str>,
}

impl Reader {
    fn resource(&mut self, version: Version, resource: &Value) {
        let Some(named) = text(resource, "type") else { return };
        let Some(kind) = types::find(version, named) else {
            self.left_out.push(format!("{named}: the version has no such type"));
            return;
        };
        let codes: Vec<&str> = list(resource, "interaction").filter_map(|it| text(it, "code")).collect();
        let of_patient = kind == "Patient" || compartment::parameters(version, kind).is_some();
        for (name, wanted) in [("read", Kind::Reads), ("write", Kind::Writes), ("delete", Kind::Deletes)] {
            let known = INTERACTIONS.iter().filter(|(code, does)| *does == wanted && codes.contains(code));
            let known: Vec<&'static str> = known.map(|(code, _)| *code).collect();
            if known.is_empty() {
                continue;
            }
            if known.contains(&"read") && self.first_read.is_none() {
                self.first_read = Some(kind);
            }
            self.groups.entry((name, of_patient, known)).or_default().insert(kind);
        }
        for code in codes.iter().filter(|code| !INTERACTIONS.iter().any(|(known, _)| known == *code)) {
            self.left_out.push(format!("{code} of {named}: routes know no such interaction"));
        }
        for operation in list(resource, "operation").filter_map(|it| text(it, "name")) {
            if let Some(name) = self.operation_name(operation) {
                self.operations.entry(name).or_default().insert(kind);
            }
        }
    }

    fn whole_server(&mut self, server: &Value) {
        for code in list(server, "interaction").filter_map(|it| text(it, "code")) {
            match code {
                "search-system" => drop(self.system.insert("search-system")),
                "history-system" => drop(self.system.insert("history-system")),
                "batch" | "transaction" => self.left_out.push(format!(
                    "{code}: each entry is judged by its own route; add `bundles` to the service if clients need it"
                )),
                other => self.left_out.push(format!("{other} of the server: routes know no such interaction")),
            }
        }
        for operation in list(server, "operation").filter_map(|it| text(it, "name")) {
            if let Some(name) = self.operation_name(operation) {
                self.system_operations.insert(name);
            }
        }
    }

    /// With its `$`; `None` where it can't be named.
    fn operation_name(&mut self, named: &str) -> Option<String> {
        let name = named.trim_start_matches('$');
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if name.is_empty() || !is_plain {
            self.left_out.push(format!("operation `{named}`: not the name of one"));
            return None;
        }
        Some(format!("${name}"))
    }

    fn routes(&self) -> Vec<RouteDraft> {
        let mut ids = BTreeSet::new();
        let mut routes = Vec::new();
        for ((name, of_patient, interactions), types) in &self.groups {
            let (tier, why) = match *name {
                "read" => ("moderate", "it reads"),
                "write" => ("high", "it writes, and nothing here proves that it is harmless"),
                _ => ("critical", "it deletes"),
            };
            let own = *of_patient && *name == "read";
            let whose = match (of_patient, own) {
                (true, true) => {
                    "These types are in the patient compartment: for that patient only. Staff need an entry of their own."
                }
                (true, false) => {
                    "These types are in the patient compartment; who writes there is for you to say."
                }
                (false, _) => "These types are nobody's in particular.",
            };
            let matches = format!("interactions: [{}], types: [{}]", interactions.join(", "), joined(types));
            let id = if *of_patient { format!("fhir.{name}.patient") } else { format!("fhir.{name}.other") };
            let reasons = vec![format!("`{tier}`, since {why}."), whose.to_owned()];
            routes.push(route(draft::unused(&mut ids, &id), (tier, *of_patient, own), &matches, reasons));
        }
        for (operation, types) in &self.operations {
            let risk = risk::judge(Kind::Writes, &risk::words(operation));
            let own = operation == "$everything" && types.iter().all(|kind| *kind == "Patient");
            let matches = format!("operations: [{}], types: [{}]", quoted(operation), joined(types));
            let reasons = vec![format!("`{operation}`: `{}`, since {}.", risk.tier, risk.reason)];
            let id = draft::unused(&mut ids, &format!("fhir.operation.{}", draft::id(operation)));
            routes.push(route(id, (risk.tier, true, own), &matches, reasons));
        }
        for operation in &self.system_operations {
            let risk = risk::judge(Kind::Writes, &risk::words(operation));
            let matches = format!("operations: [{}]", quoted(operation));
            let reasons =
                vec![format!("`{operation}` of the whole server: `{}`, since {}.", risk.tier, risk.reason)];
            let id = draft::unused(&mut ids, &format!("fhir.system.{}", draft::id(operation)));
            routes.push(route(id, (risk.tier, true, false), &matches, reasons));
        }
        for interaction in &self.system {
            let reasons =
                vec![format!("`{interaction}`: `critical`, since it goes through everybody's records.")];
            let id = draft::unused(&mut ids, &format!("fhir.system.{interaction}"));
            routes.push(route(
                id,
                ("critical", true, false),
                &format!("interactions: [{interaction}]"),
                reasons,
            ));
        }
        routes
    }
}

fn route(
    id: String,
    (tier, phi, own): (&'static str, bool, bool),
    matches: &str,
    reasons: Vec<String>,
) -> RouteDraft {
    RouteDraft {
        id,
        label: None,
        reasons,
        matches: format!("{{ fhir: {{ service: fhir, {matches} }} }}"),
        fhir: true,
        tier: Some(tier),
        phi,
        patient: None,
        any_of: vec![Allowed { own, scopes: Vec::new() }],
    }
}

fn joined(types: &BTreeSet<&'static str>) -> String {
    types.iter().copied().collect::<Vec<_>>().join(", ")
}

/// The version, as the gateway knows it and as it is written.
fn version(document: &Value) -> Result<(Version, &'static str), String> {
    match text(document, "fhirVersion") {
        Some(version) if version.starts_with("4.0") => Ok((Version::R4, "R4")),
        Some(version) if version.starts_with("5.0") => Ok((Version::R5, "R5")),
        Some(other) => {
            Err(format!("FHIR {} is not known here: R4 (4.0) and R5 (5.0) are", draft::plain(other)))
        }
        None => Err("it does not say its `fhirVersion`".to_owned()),
    }
}

/// The path of an address: the base.
fn base(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/");
    let path = path.trim_end_matches('/');
    if path.is_empty() { "/" } else { path }
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}
