//! Which requests a route takes.

use http::Method;
use serde_saphyr::Spanned;

use super::fhir;
use crate::config::codes::Code;
use crate::config::report::{Report, instead};
use crate::config::schema::{Match, Text};
use crate::config::values;
use crate::policy::{FhirMatch, FhirService, Template};
use crate::request::host::Host;

/// The methods that a route is usually about; another one is taken with a warning, since it may be a misspelt
/// one.
const USUAL: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Methods whose requests have no body (RFC 9110 §9.3).
const BODILESS: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];

/// A compiled `match`.
#[derive(Debug)]
pub(super) struct Matched {
    pub(super) host: Option<Box<str>>,
    pub(super) template: Template,
    pub(super) methods: Vec<Method>,
    pub(super) websocket: bool,
    /// The upstream, where the match says it: a FHIR service's.
    pub(super) upstream: Option<usize>,
    pub(super) fhir: Option<FhirMatch>,
}

impl Matched {
    /// Whether any of its requests may have a body.
    pub(super) fn has_body(&self) -> bool {
        !self.websocket && self.methods.iter().any(|method| !BODILESS.contains(method))
    }
}

/// Compiles a `match`; nothing without a path that a request could have.
pub(super) fn compile(
    report: &mut Report<'_>,
    services: &[FhirService],
    schema: &Spanned<Match>,
) -> Option<Matched> {
    let Match { host, path, methods, upgrade, fhir } = &schema.value;
    if let Some(fhir) = fhir.as_ref() {
        return fhir::matched(report, services, &schema.value, fhir);
    }
    let websocket = values::choice(report, upgrade, &[("websocket", true)], false);
    let methods = if upgrade.is_some() {
        if let Some(methods) =
            methods.as_ref().filter(|list| list.value.iter().any(|method| method.value != "GET"))
        {
            report.add(Code::BadMethod, methods, "a WebSocket begins with `GET`", "leave `methods` out");
        }
        vec![Method::GET]
    } else {
        report.required(methods, "methods", schema.into(), "[GET]");
        values::texts(report, methods);
        compile_methods(report, methods.items())
    };
    let host = host.as_ref().and_then(|host| compile_host(report, host));
    let path = report.required(path, "path", schema.into(), "\"/patients/{patient}/**\"")?;
    match Template::parse(&path.value) {
        Ok(template) => Some(Matched { host, template, methods, websocket, upstream: None, fhir: None }),
        Err(error) => {
            let help = "write `/plain/{parameter}`, and `/**` at the end for everything below";
            report.add(Code::BadPath, path, error.to_string(), help);
            None
        }
    }
}

/// The methods, each once; `GET` brings `HEAD`, which every `GET` must also answer (RFC 9110 §9.1).
fn compile_methods(report: &mut Report<'_>, texts: &[Text]) -> Vec<Method> {
    let mut methods = Vec::new();
    for text in texts {
        let Some(method) = method(report, text) else {
            continue;
        };
        let head = (method == Method::GET).then_some(Method::HEAD);
        for method in [method].into_iter().chain(head) {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
    }
    methods
}

/// Reads a method, and reports what is wrong with it.
pub(super) fn method(report: &mut Report<'_>, text: &Text) -> Option<Method> {
    let name = text.value.as_str();
    let upper = name.to_ascii_uppercase();
    let (message, help) = if matches!(upper.as_str(), "TRACE" | "CONNECT") {
        (format!("`{name}` is always refused"), "take it out".to_owned())
    } else if upper != name {
        (format!("`{name}` is not written as it is sent"), format!("write `{upper}`"))
    } else {
        let shaped = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
        match Method::from_bytes(name.as_bytes()).ok().filter(|_| shaped) {
            Some(method) => {
                if !USUAL.contains(&name) {
                    let message = format!("`{name}` is an unusual method");
                    report.add(Code::UnusualMethod, text, message, instead(name, USUAL.iter().copied()));
                }
                return Some(method);
            }
            None => (format!("`{name}` is not a method"), instead(name, USUAL.iter().copied())),
        }
    };
    report.add(Code::BadMethod, text, message, help);
    None
}

/// Reads a host without a port: requests are matched by the name alone.
pub(super) fn compile_host(report: &mut Report<'_>, text: &Text) -> Option<Box<str>> {
    match Host::parse(text.value.as_bytes()) {
        Ok(host) if host.as_str().len() == text.value.len() => Some(host.as_str().into()),
        _ => {
            let message = format!("`{}` is not a host that a request can be for", text.value);
            report.add(
                Code::BadHost,
                text,
                message,
                "write one exact name without a port, such as `portal.clinic.example`",
            );
            None
        }
    }
}
