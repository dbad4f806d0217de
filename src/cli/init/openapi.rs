//! Routes from an OpenAPI 3 document (OpenAPI Specification 3.0 and 3.1).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::draft::{self, Allowed, Draft, RouteDraft, quoted};
use super::risk::{self, Kind, Risk};
use crate::policy::Template;

/// The methods that operations have (§4.8.9), with what they do; `options` and `trace` are no actions of an application.
const METHODS: [(&str, Kind); 8] = [
    ("get", Kind::Reads),
    ("head", Kind::Reads),
    ("post", Kind::Writes),
    ("put", Kind::Writes),
    ("patch", Kind::Writes),
    ("delete", Kind::Deletes),
    ("options", Kind::Reads),
    ("trace", Kind::Reads),
];

/// What ends the path of a probe, or of what describes the service itself.
const PROBES: [&str; 9] =
    ["health", "healthz", "healthcheck", "livez", "liveness", "readyz", "readiness", "ping", "metadata"];

/// Drafts a configuration.
///
/// # Errors
/// What the document is not.
pub(super) fn draft(document: &Value) -> Result<Draft, String> {
    if document.get("swagger").is_some() {
        return Err("it is OpenAPI 2 (Swagger): convert it to OpenAPI 3 first".to_owned());
    }
    if document.get("openapi").and_then(Value::as_str).is_none_or(|version| !version.starts_with("3.")) {
        return Err("it is no OpenAPI 3 document: it has no `openapi: 3.…`".to_owned());
    }
    let paths = document.get("paths").and_then(Value::as_object).ok_or("it has no `paths`")?;
    let mut reader = Reader { document, ids: BTreeSet::new(), routes: Vec::new(), left_out: Vec::new() };
    let mut shapes: BTreeMap<String, usize> = BTreeMap::new();
    for (path, item) in paths.iter().filter(|(path, _)| path.starts_with('/')) {
        if let Some(item) = reader.resolve(item) {
            for method in operations(item) {
                *shapes.entry(shape(&reader.full_path(path, item), method)).or_default() += 1;
            }
        }
    }
    for (path, item) in paths.iter().filter(|(path, _)| path.starts_with('/')) {
        reader.path(path, item, &shapes);
    }
    let title = document.pointer("/info/title").and_then(Value::as_str).unwrap_or("an application");
    if reader.routes.is_empty() {
        return Err("no operation in it can be drafted".to_owned());
    }
    Ok(Draft {
        source: format!("the OpenAPI document of `{title}`"),
        issuer: issuer(document),
        address: server(document).filter(|url| url.contains("://")).map(str::to_owned),
        fhir: None,
        refused: reader
            .routes
            .iter()
            .find(|(route, _)| route.tier.is_some())
            .map(|(_, request)| request.clone()),
        routes: reader.routes.into_iter().map(|(route, _)| route).collect(),
        left_out: reader.left_out,
    })
}

struct Reader<'d> {
    document: &'d Value,
    ids: BTreeSet<String>,
    /// The routes, each with a request for it.
    routes: Vec<(RouteDraft, String)>,
    left_out: Vec<String>,
}

impl<'d> Reader<'d> {
    /// What a reference within the document stands for; anything else as it is.
    fn resolve(&self, value: &'d Value) -> Option<&'d Value> {
        let mut value = value;
        for _ in 0..8 {
            let Some(reference) = value.get("$ref").and_then(Value::as_str) else {
                return Some(value);
            };
            value = self.document.pointer(reference.strip_prefix('#')?)?;
        }
        None
    }

    /// The path that requests have: that of the nearest `servers` comes before.
    fn full_path(&self, path: &str, item: &Value) -> String {
        let base = server(item).or_else(|| server(self.document)).map(base_path).unwrap_or_default();
        format!("{}{path}", base.trim_end_matches('/'))
    }

    fn path(&mut self, path: &str, item: &'d Value, shapes: &BTreeMap<String, usize>) {
        let Some(item) = self.resolve(item) else {
            self.left_out.push(format!("{path}: it is described in another document"));
            return;
        };
        let full = self.full_path(path, item);
        for method in operations(item) {
            let Some((_, kind)) = METHODS.iter().find(|(name, _)| *name == method) else { continue };
            let name = format!("{} {path}", method.to_uppercase());
            if method == "options" || method == "trace" {
                self.left_out.push(format!("{name}: `cors` answers preflights, and nothing is traced"));
                continue;
            }
            if method == "head" && item.get("get").is_some() {
                continue;
            }
            if shapes.get(&shape(&full, method)).is_some_and(|count| *count > 1) {
                let why = "another path differs from it in the names of its parameters only: write one route for both";
                self.left_out.push(format!("{name}: {why}"));
                continue;
            }
            if full.contains(['?', '#']) {
                self.left_out.push(format!(
                    "{name}: no path has a query; a route can look at it in `refine` or `deny`"
                ));
                continue;
            }
            let (template, is_wider) = template(&full);
            if let Err(why) = Template::parse(&template) {
                self.left_out.push(format!("{name}: {why}"));
                continue;
            }
            if let Some(operation) = item.get(method) {
                self.operation((path, method, *kind), (&template, is_wider), (item, operation));
            }
        }
    }

    fn operation(
        &mut self,
        (path, method, kind): (&str, &str, Kind),
        (template, is_wider): (&str, bool),
        (item, operation): (&'d Value, &'d Value),
    ) {
        let text = |key: &str| operation.get(key).and_then(Value::as_str);
        let literals: Vec<&str> = path.split('/').filter(|segment| !segment.contains('{')).collect();
        let name = text("operationId").map_or_else(|| format!("{method} {path}"), str::to_owned);
        let mut words = risk::words(&literals.join(" "));
        words.extend(risk::words(&name));
        words.extend(risk::words(text("summary").unwrap_or_default()));
        let mut reasons = Vec::new();
        let Risk { mut tier, reason } = risk::judge(kind, &words);
        let patient = patient_of_path(template).or_else(|| self.patient_of_query(item, operation));
        let is_probe = kind == Kind::Reads && tier == "moderate" && patient.is_none() && is_probe(template);
        reasons.push(format!("{} {path}: `{tier}`, since {reason}.", method.to_uppercase()));
        if is_wider {
            reasons.push("A parameter is only a part of a segment there; the route takes any such segment, so it is `high` at least.".to_owned());
            tier = if tier == "moderate" { "high" } else { tier };
        }
        if operation.get("deprecated") == Some(&Value::Bool(true)) {
            reasons.push("It is deprecated: take the route out where nobody calls it any more.".to_owned());
        }
        let security = operation.get("security").or_else(|| self.document.get("security"));
        let asks_nobody = security
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().any(is_empty) || list.is_empty());
        let is_public = is_probe && !is_wider;
        let any_of = alternatives(security)
            .into_iter()
            .map(|scopes| Allowed { own: patient.is_some(), scopes })
            .collect();
        if is_public {
            reasons = vec![format!(
                "GET {path}: public, since it sounds like a probe or tells of the service only. Make sure that it does."
            )];
        } else if asks_nobody {
            reasons.push("The document lets anybody call it. It is not public here, since it does not sound like a probe.".to_owned());
        }
        if let (Some(patient), false) = (&patient, is_public) {
            reasons.push(format!("`{patient}` sounds like a patient's: health data, and for that patient only. Staff need an entry of their own."));
        }
        let id = draft::unused(&mut self.ids, &draft::id(&name));
        let methods = method.to_uppercase();
        let route = RouteDraft {
            id,
            label: text("summary").map(draft::plain).filter(|label| !label.is_empty()),
            reasons,
            matches: format!("{{ path: {}, methods: [{methods}] }}", quoted(template)),
            fhir: false,
            tier: if is_public { None } else { Some(tier) },
            phi: !is_public && (patient.is_some() || risk::is_clinical(&words)),
            patient,
            any_of,
        };
        self.routes.push((route, format!("{methods} {}", sample(template))));
    }

    /// A query parameter that has to be there and names a patient.
    fn patient_of_query(&self, item: &'d Value, operation: &'d Value) -> Option<String> {
        let lists = [operation, item].into_iter().filter_map(|of| of.get("parameters")?.as_array());
        let found = lists.flatten().filter_map(|parameter| self.resolve(parameter)).find_map(|parameter| {
            let name = parameter.get("name")?.as_str()?;
            let is_query = parameter.get("in")?.as_str()? == "query";
            let is_required = parameter.get("required") == Some(&Value::Bool(true));
            let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
            (is_query && is_required && is_plain && risk::names_patient(name)).then_some(name)
        });
        found.map(|name| format!("query.{name}"))
    }
}

fn operations(item: &Value) -> impl Iterator<Item = &'static str> {
    METHODS.into_iter().map(|(method, _)| method).filter(|method| item.get(method).is_some())
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// The scopes of each way in that the document knows; one without any where it knows none.
fn alternatives(security: Option<&Value>) -> Vec<Vec<String>> {
    let mut found: Vec<Vec<String>> = Vec::new();
    for requirement in security.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        let scopes = requirement.values().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
        let scopes: BTreeSet<String> = scopes.filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
        let scopes: Vec<String> = scopes.into_iter().collect();
        if !requirement.is_empty() && !found.contains(&scopes) {
            found.push(scopes);
        }
    }
    // A way with scopes is narrower than one without.
    if found.iter().any(|scopes| !scopes.is_empty()) {
        found.retain(|scopes| !scopes.is_empty());
    }
    if found.is_empty() { vec![Vec::new()] } else { found }
}

/// The first server's address.
fn server(of: &Value) -> Option<&str> {
    of.pointer("/servers/0/url").and_then(Value::as_str).filter(|url| !url.contains('{'))
}

/// The path of an address, absolute or not.
fn base_path(url: &str) -> &str {
    let rest = url
        .split_once("://")
        .map_or(url, |(_, rest)| rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    if rest.starts_with('/') { rest } else { "" }
}

/// A discovery document's address without its end is the issuer (OpenID Connect Discovery §4).
fn issuer(document: &Value) -> Option<String> {
    let schemes = document.pointer("/components/securitySchemes")?.as_object()?;
    schemes.values().find_map(|scheme| {
        let url = scheme.get("openIdConnectUrl")?.as_str()?;
        let issuer = url.strip_suffix("/.well-known/openid-configuration")?;
        issuer.starts_with("https://").then(|| issuer.to_owned())
    })
}

/// A path as a template of the gateway, and whether it takes more than the document says.
fn template(path: &str) -> (String, bool) {
    let mut is_wider = false;
    let mut names: BTreeSet<String> = BTreeSet::new();
    let segments = path.split('/').map(|segment| {
        let Some((before, rest)) = segment.split_once('{') else {
            return segment.to_owned();
        };
        let (name, after) = rest.split_once('}').unwrap_or((rest, ""));
        is_wider |= !before.is_empty() || !after.is_empty();
        let allowed = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
        let name: String = name.chars().map(allowed).collect();
        let name = draft::unused(&mut names, if name.is_empty() { "parameter" } else { &name });
        format!("{{{}}}", name.replace('-', "_"))
    });
    let text = segments.collect::<Vec<_>>().join("/");
    (text, is_wider)
}

/// What two paths have in common that no request can tell apart.
fn shape(path: &str, method: &str) -> String {
    let segments = path.split('/').map(|segment| if segment.contains('{') { "{}" } else { segment });
    format!("{method} {}", segments.collect::<Vec<_>>().join("/"))
}

/// A path of a template, with something for each parameter.
fn sample(template: &str) -> String {
    let segments = template.split('/').map(|segment| if segment.contains('{') { "1" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// A parameter that is called like a patient, or follows a segment that is.
fn patient_of_path(template: &str) -> Option<String> {
    let segments: Vec<&str> = template.split('/').collect();
    let name = |segment: &&str| segment.strip_prefix('{')?.strip_suffix('}').map(str::to_owned);
    let named = segments.iter().filter_map(name).find(|name| risk::names_patient(name));
    let follows = || {
        segments.windows(2).find_map(|pair| match pair {
            [before, parameter] if !before.contains('{') && risk::names_patient(before) => name(parameter),
            _ => None,
        })
    };
    named.or_else(follows).map(|name| format!("path.{name}"))
}

/// Whether it is the path of a probe, or of what describes the service, without any parameter.
fn is_probe(template: &str) -> bool {
    let last = template.rsplit('/').next().unwrap_or_default().to_lowercase();
    !template.contains('{')
        && (PROBES.contains(&last.as_str())
            || template.ends_with("/.well-known/smart-configuration")
            || template.ends_with("/.well-known/openid-configuration"))
}
