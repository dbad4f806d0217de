//! Requests that show every difference: one for each pair of templates that have a path in common.
//!
//! A segment that neither of a pair fixes is one that no template fixes. Whatever is more specific than the pair for such a
//! path is so for every path that the pair has in common (of this length), so that one of them stands for all.

use std::collections::BTreeSet;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::policy::template::Step;
use crate::policy::{Policy, Route, Template};

/// What a segment can't hold as it is (RFC 3986 §3.3).
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The paths for what two policies could decide differently: `is_changed` says which routes differ, or are in one of them only.
pub(super) fn paths(policies: [&Policy; 2], is_changed: &dyn Fn(&Route) -> bool) -> BTreeSet<String> {
    let routes: Vec<&Route> =
        policies.iter().flat_map(|policy| &policy.routes).filter(|route| route.fhir.is_none()).collect();
    let longest = routes.iter().map(|route| route.template.steps().len()).max().unwrap_or_default();
    let fresh = fresh(&routes);
    let mut paths = BTreeSet::new();
    let mut templates: Vec<&Template> = Vec::new();
    for route in &routes {
        if !templates.contains(&&route.template) {
            templates.push(&route.template);
        }
    }
    let changed: Vec<&Template> =
        routes.iter().filter(|route| is_changed(route)).map(|route| &route.template).collect();
    for template in &templates {
        common(template, template, (longest, &fresh), &mut paths);
        for other in &changed {
            common(template, other, (longest, &fresh), &mut paths);
        }
    }
    paths
}

/// A beginning that no segment of a template has.
fn fresh(routes: &[&Route]) -> String {
    let mut fresh = "x".to_owned();
    let texts = || {
        routes.iter().flat_map(|route| route.template.steps()).filter_map(|step| match step {
            Step::Literal(text) => Some(text.to_lowercase()),
            Step::Parameter(_) => None,
        })
    };
    while texts().any(|text| text.starts_with(&fresh)) {
        fresh.push('x');
    }
    fresh
}

/// The paths that two templates have in common, of every length that makes a difference, with the spellings that a lenient
/// server takes for them.
fn common(one: &Template, other: &Template, (longest, fresh): (usize, &str), paths: &mut BTreeSet<String>) {
    let least = one.steps().len().max(other.steps().len());
    let most = match (one.is_open(), other.is_open()) {
        (true, true) => longest.max(least) + 1,
        (true, false) => other.steps().len(),
        (false, true) => one.steps().len(),
        (false, false) if one.steps().len() == other.steps().len() => least,
        (false, false) => return,
    };
    for length in least..=most {
        let text = |template: &'_ Template, at: usize| match template.steps().get(at) {
            Some(Step::Literal(text)) => Some(text.clone()),
            Some(Step::Parameter(_)) | None => None,
        };
        let mut segments = Vec::new();
        let mut last_text = None;
        for at in 0..length {
            segments.push(match (text(one, at), text(other, at)) {
                (Some(one), Some(other)) if one != other => return,
                (Some(text), _) | (None, Some(text)) => {
                    last_text = Some(at);
                    text.into_string()
                }
                (None, None) => format!("{fresh}{at}"),
            });
        }
        let written = |segments: &[String]| {
            let encoded: Vec<String> =
                segments.iter().map(|segment| utf8_percent_encode(segment, ENCODED).to_string()).collect();
            format!("/{}", encoded.join("/"))
        };
        let path = written(&segments);
        if !path.ends_with('/') {
            paths.insert(format!("{path}/"));
        }
        paths.insert(path);
        if let Some(segment) = last_text.and_then(|at| segments.get_mut(at)) {
            *segment = segment.to_uppercase();
            paths.insert(written(&segments));
        }
    }
}

/// The hosts that make a difference: each that a route names, and one that none names.
pub(super) fn hosts(policies: [&Policy; 2]) -> BTreeSet<Option<String>> {
    let routes = policies.into_iter().flat_map(|policy| &policy.routes);
    let named = routes.filter_map(|route| route.host.as_deref().map(str::to_owned));
    let mut hosts: BTreeSet<Option<String>> = named.map(Some).collect();
    hosts.insert(Some("other.invalid".to_owned()));
    hosts
}
