//! From method and path to the interaction (FHIR R4 §3.1.0.1.3 to §3.1.0.19).

use http::Method;
use smallvec::SmallVec;

use super::{Asked, FhirRequest, Interaction, is_id, types};

/// The types that have a compartment (FHIR R4 §2.38).
const COMPARTMENTS: [&str; 5] = ["Device", "Encounter", "Patient", "Practitioner", "RelatedPerson"];

/// Finds the interaction; `None` where FHIR has none for this, or the request could be taken for two.
///
/// A body where none belongs is refused as well: a server may read parameters in it.
pub fn read<'a>(asked: &Asked<'a>) -> Option<FhirRequest<'a>> {
    let mut segments: SmallVec<[&'a str; 6]> = match asked.below.strip_prefix('/') {
        None | Some("") => SmallVec::new(),
        Some(path) => path.split('/').collect(),
    };
    if asked.if_none_exist && *asked.method != Method::POST {
        return None;
    }
    let request = match asked.method.as_str() {
        "GET" | "HEAD" if !asked.has_body => looked_at(asked, &segments)?,
        "POST" if segments.last() == Some(&"_search") => {
            segments.pop();
            searched(asked, &segments)?
        }
        "POST" => posted(asked, &segments)?,
        "PUT" => changed(asked, &segments, Interaction::Update)?,
        "PATCH" => changed(asked, &segments, Interaction::Patch)?,
        "DELETE" if !asked.has_body => changed(asked, &segments, Interaction::Delete)?,
        _ => return None,
    };
    (!asked.if_none_exist || request.interaction == Interaction::Create).then_some(request)
}

const fn of(interaction: Interaction) -> FhirRequest<'static> {
    FhirRequest {
        interaction,
        resource_type: None,
        id: None,
        compartment: None,
        operation: None,
        conditional: false,
    }
}

fn looked_at<'a>(asked: &Asked<'a>, segments: &[&'a str]) -> Option<FhirRequest<'a>> {
    let kind = |name| types::find(asked.version, name);
    let about =
        |interaction, name, id| Some(FhirRequest { resource_type: Some(kind(name)?), id, ..of(interaction) });
    match *segments {
        ["metadata"] => Some(of(Interaction::Capabilities)),
        [".well-known", "smart-configuration"] => Some(of(Interaction::SmartConfiguration)),
        ["_history"] => Some(of(Interaction::HistorySystem)),
        [name, "_history"] => about(Interaction::HistoryType, name, None),
        [name, id, "_history"] if is_id(id) => about(Interaction::HistoryInstance, name, Some(id)),
        [name, id, "_history", version] if is_id(id) && is_id(version) => {
            about(Interaction::Vread, name, Some(id))
        }
        [name, id] if is_id(id) => about(Interaction::Read, name, Some(id)),
        _ => operation(asked, segments).or_else(|| searched(asked, segments)),
    }
}

/// A search; what looks for nothing in the whole system is no search.
fn searched<'a>(asked: &Asked<'a>, segments: &[&'a str]) -> Option<FhirRequest<'a>> {
    let kind = |name| types::find(asked.version, name);
    match *segments {
        [] if asked.has_query || *asked.method == Method::POST => Some(of(Interaction::SearchSystem)),
        [name] => Some(FhirRequest { resource_type: Some(kind(name)?), ..of(Interaction::SearchType) }),
        [compartment, id, name] if COMPARTMENTS.contains(&compartment) && is_id(id) => Some(FhirRequest {
            resource_type: if name == "*" { None } else { Some(kind(name)?) },
            compartment: Some((kind(compartment)?, id)),
            ..of(Interaction::SearchCompartment)
        }),
        _ => None,
    }
}

fn posted<'a>(asked: &Asked<'a>, segments: &[&'a str]) -> Option<FhirRequest<'a>> {
    match *segments {
        [] if !asked.has_query => Some(of(Interaction::Bundle)),
        [name] if !name.starts_with('$') => Some(FhirRequest {
            resource_type: Some(types::find(asked.version, name)?),
            conditional: asked.if_none_exist,
            ..of(Interaction::Create)
        }),
        _ => operation(asked, segments),
    }
}

/// What changes one resource: by its id, or the one that a search finds.
fn changed<'a>(asked: &Asked<'a>, segments: &[&'a str], interaction: Interaction) -> Option<FhirRequest<'a>> {
    let (name, id, conditional) = match *segments {
        [name, id] if is_id(id) => (name, Some(id), false),
        [name] if asked.has_query => (name, None, true),
        _ => return None,
    };
    let resource_type = Some(types::find(asked.version, name)?);
    Some(FhirRequest { resource_type, id, conditional, ..of(interaction) })
}

fn operation<'a>(asked: &Asked<'a>, segments: &[&'a str]) -> Option<FhirRequest<'a>> {
    let (name, place) = segments.split_last()?;
    let is_name = name.len() > 1
        && name.strip_prefix('$').is_some_and(|name| {
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        });
    let (resource_type, id) = match *place {
        [] => (None, None),
        [kind] => (Some(types::find(asked.version, kind)?), None),
        [kind, id] if is_id(id) => (Some(types::find(asked.version, kind)?), Some(id)),
        _ => return None,
    };
    is_name.then_some(FhirRequest { resource_type, id, operation: Some(*name), ..of(Interaction::Operation) })
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::*;

    fn said(line: &str) -> String {
        let (method, target) = line.split_once(' ').expect("a method");
        let method: Method = method.parse().expect("a method");
        let (below, query) = target.split_once('?').unwrap_or((target, ""));
        let asked = Asked {
            method: &method,
            below,
            has_query: !query.is_empty(),
            has_body: method == Method::POST || method == Method::PUT,
            if_none_exist: false,
            version: Version::R4,
        };
        let Some(found) = read(&asked) else { return "-".to_owned() };
        let mut text = format!("{:?}", found.interaction);
        for part in [found.resource_type, found.id, found.operation].into_iter().flatten() {
            text.push_str(&format!(" {part}"));
        }
        if let Some((kind, id)) = found.compartment {
            text.push_str(&format!(" in {kind}/{id}"));
        }
        if found.conditional {
            text.push_str(" conditional");
        }
        text
    }

    #[test]
    fn every_interaction_is_known_by_its_form() {
        for (line, expected) in [
            ("GET /Patient/1", "Read Patient 1"),
            ("HEAD /Patient/1", "Read Patient 1"),
            ("GET /Patient/1/_history/2", "Vread Patient 1"),
            ("GET /Patient/1/_history", "HistoryInstance Patient 1"),
            ("GET /Patient/_history", "HistoryType Patient"),
            ("GET /_history", "HistorySystem"),
            ("GET /Patient", "SearchType Patient"),
            ("GET /Patient?name=x", "SearchType Patient"),
            ("POST /Patient/_search", "SearchType Patient"),
            ("GET /?_type=Patient", "SearchSystem"),
            ("GET ?_type=Patient", "SearchSystem"),
            ("POST /_search", "SearchSystem"),
            ("GET /Patient/1/Observation", "SearchCompartment Observation in Patient/1"),
            ("GET /Patient/1/*", "SearchCompartment in Patient/1"),
            ("POST /Patient/1/Observation/_search", "SearchCompartment Observation in Patient/1"),
            ("POST /Patient", "Create Patient"),
            ("PUT /Patient/1", "Update Patient 1"),
            ("PUT /Patient?identifier=1", "Update Patient conditional"),
            ("PATCH /Patient/1", "Patch Patient 1"),
            ("DELETE /Patient/1", "Delete Patient 1"),
            ("DELETE /Patient?identifier=1", "Delete Patient conditional"),
            ("GET /$export", "Operation $export"),
            ("POST /Patient/$match", "Operation Patient $match"),
            ("GET /Patient/1/$everything", "Operation Patient 1 $everything"),
            ("POST /", "Bundle"),
            ("POST ", "Bundle"),
            ("GET /metadata", "Capabilities"),
            ("GET /.well-known/smart-configuration", "SmartConfiguration"),
        ] {
            assert_eq!(said(line), expected, "{line}");
        }
    }

    #[test]
    fn what_fhir_does_not_have_is_no_interaction() {
        for line in [
            "GET /",
            "GET ",
            "GET /patient/1",
            "GET /PATIENT",
            "GET /Nothing/1",
            "GET /Patient/",
            "GET /Patient/1/",
            "GET //Patient/1",
            "GET /Patient/a_b",
            "GET /Patient/..",
            "GET /Patient/1/_history/",
            "GET /Patient/1/_history/2/3",
            "GET /Patient/1/_history/2/$meta",
            "GET /Patient/_search",
            "GET /_search?x=1",
            "GET /Patient/1/Nothing",
            "GET /Organization/1/Patient",
            "GET /Patient/1/Observation/2",
            "GET /$",
            "GET /$a$b",
            "GET /Patient/$x/$y",
            "POST /Patient/1",
            "POST /?x=1",
            "POST /Patient/1/_history",
            "POST /metadata",
            "PUT /Patient",
            "PUT /",
            "PUT /Patient/1/_history/1",
            "PATCH /Patient/$x",
            "DELETE /Patient",
            "DELETE /Patient/1/_history",
            "OPTIONS /Patient",
            "OPTIONS /metadata",
            "GET /.well-known/openid-configuration",
        ] {
            assert_eq!(said(line), "-", "{line}");
        }
    }

    #[test]
    fn a_body_or_condition_where_none_belongs_is_refused() {
        let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
        let asked = Asked {
            method: &get,
            below: "/Patient/1",
            has_query: false,
            has_body: true,
            if_none_exist: false,
            version: Version::R5,
        };
        assert_eq!(read(&asked), None);
        let create = Asked { method: &post, below: "/Patient", if_none_exist: true, ..asked };
        assert!(read(&create).is_some_and(|request| request.conditional));
        for below in ["/Patient/$match", "/Patient/_search", "/"] {
            assert_eq!(read(&Asked { below, ..create }), None, "{below}");
        }
        assert_eq!(read(&Asked { method: &put, if_none_exist: true, ..asked }), None);
    }
}
