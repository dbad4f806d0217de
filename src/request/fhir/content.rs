//! What the body of a write says: which type and id it has, what it changes, whose record it is.
//!
//! A server may go by the body where it and the address differ, so they must not.

use serde_json::{Map, Value};

use super::{FhirRequest, Interaction, Naming, is_id, patch};
use crate::request::changes::{Changes, of_json_patch};
use crate::request::media::Patch;

/// Bodies of FHIR requests are read up to this size: 1 MiB.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Why a body does not go with its request; the text is for operators and names no value of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentFault(pub &'static str);

const fn fault<T>(why: &'static str) -> Result<T, ContentFault> {
    Err(ContentFault(why))
}

/// Checks the body of a create, update or patch against its address. Says what it changes.
///
/// # Errors
/// It is of another type or for another id, is no resource or patch, or would be one that some server takes for several
/// requests.
pub fn read(request: &FhirRequest<'_>, body: &Value, patch: Option<Patch>) -> Result<Changes, ContentFault> {
    match (request.interaction, patch) {
        (Interaction::Patch, Some(Patch::Json)) => {
            let Some(changes) = of_json_patch(body) else {
                return fault("it is no JSON Patch of some of the resource's elements");
            };
            keeps_identity(changes)
        }
        (Interaction::Patch, Some(Patch::Merge)) => match body.as_object() {
            Some(members) => merge(request, members),
            None => fault("it is no JSON Merge Patch of a resource"),
        },
        (Interaction::Patch, None) => match patch::of_parameters(request.resource_type, body) {
            Some(changes) => keeps_identity(changes),
            None => fault("it is no FHIRPath Patch"),
        },
        (Interaction::Create | Interaction::Update, None) => match body.as_object() {
            Some(resource) => whole(request, resource),
            None => fault("it is no resource"),
        },
        _ => fault("its media type is none that the interaction has"),
    }
}

/// A whole resource.
fn whole(request: &FhirRequest<'_>, resource: &Map<String, Value>) -> Result<Changes, ContentFault> {
    let kind = resource.get("resourceType").and_then(Value::as_str);
    if kind.is_none() || kind != request.resource_type {
        return fault("its `resourceType` is not the type in the address");
    }
    if let Some(id) = request.id
        && resource.get("id").and_then(Value::as_str) != Some(id)
    {
        return fault("its `id` is not the one in the address");
    }
    if kind == Some("Bundle")
        && !matches!(
            resource.get("type").and_then(Value::as_str),
            Some("document" | "message" | "history" | "searchset" | "collection")
        )
    {
        return fault("it is a batch or transaction, which some servers carry out wherever it comes");
    }
    match resource.get("contained") {
        None => {}
        Some(Value::Array(list)) if list.iter().all(is_contained) => {}
        Some(_) => return fault("what is in `contained` is no resource, or contains others"),
    }
    // What an update leaves out is gone: only the resource as it was could tell what changes.
    if request.interaction == Interaction::Update {
        return Ok(Changes::Any);
    }
    Ok(Changes::of(resource.keys().filter(|name| *name != "resourceType").map(|name| element(name))))
}

fn is_contained(resource: &Value) -> bool {
    resource.as_object().is_some_and(|members| {
        members.get("resourceType").is_some_and(Value::is_string) && !members.contains_key("contained")
    })
}

/// JSON Merge Patch (RFC 7396): its members are what changes.
fn merge(request: &FhirRequest<'_>, members: &Map<String, Value>) -> Result<Changes, ContentFault> {
    let same = |name: &str, own: Option<&str>| {
        members.get(name).is_none_or(|value| value.is_string() && value.as_str() == own)
    };
    if !same("resourceType", request.resource_type) || !same("id", request.id) {
        return fault("it changes the resource's type or id");
    }
    let names = members.keys().filter(|name| !matches!(name.as_str(), "resourceType" | "id"));
    Ok(Changes::of(names.map(|name| element(name))))
}

fn keeps_identity(changes: Changes) -> Result<Changes, ContentFault> {
    let Changes::Of(names) = changes else { return Ok(changes) };
    let plain = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_lowercase())
            && bytes.all(|byte| byte.is_ascii_alphanumeric())
    };
    let names: Vec<&str> = names.iter().map(|name| element(name)).collect();
    if names.iter().any(|name| matches!(*name, "resourceType" | "id") || !plain(name)) {
        return fault("it changes the resource's type or id, or what is no element");
    }
    Ok(Changes::of(names))
}

/// The element that a member stands for: `_birthDate` holds what belongs to `birthDate` (FHIR R4 §2.6.2.3).
fn element(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

/// Whose record a resource is that is made or replaced: the patient in `subject` or `patient`, if nothing in it speaks of another.
///
/// References that leave open whom they mean (by identifier, by a search, to what is contained, to another entry) name
/// nobody.
pub fn patient(resource: &Value) -> Naming {
    let mut found: Option<&str> = None;
    for name in ["subject", "patient"] {
        let references = match resource.get(name) {
            None => continue,
            Some(Value::Array(list)) => list.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        for reference in references {
            let Some(id) = plain_reference(reference) else { return Naming::Nobody };
            if found.is_some_and(|first| first != id) {
                return Naming::Several;
            }
            found = Some(id);
        }
    }
    match found {
        None => Naming::Nobody,
        Some(id) => mentions(resource, id).unwrap_or_else(|| Naming::One(id.into())),
    }
}

/// The id in `{ "reference": "Patient/ID" }`, with nothing beside it that says whom it means.
fn plain_reference(reference: &Value) -> Option<&str> {
    let members = reference.as_object()?;
    let is_plain = members.iter().all(|(name, value)| match name.as_str() {
        "reference" | "display" => true,
        "type" => value == "Patient",
        _ => false,
    });
    let id = members.get("reference")?.as_str()?.strip_prefix("Patient/")?;
    (is_plain && is_id(id)).then_some(id)
}

/// What a body says of others than the patient `own`; `None` where nothing in it does.
pub fn mentions(value: &Value, own: &str) -> Option<Naming> {
    match value {
        Value::String(text) => others(text, own),
        Value::Array(list) => list.iter().find_map(|item| mentions(item, own)),
        Value::Object(members) => members.iter().find_map(|(name, value)| match value {
            // Servers look for what such a reference means, and tell by their answer whether they found it.
            Value::String(text) if name == "reference" && text.contains('?') => Some(Naming::Nobody),
            other => mentions(other, own),
        }),
        _ => None,
    }
}

fn others(text: &str, own: &str) -> Option<Naming> {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("Patient") {
        let begins = before.is_empty() || before.ends_with('/');
        match after.bytes().next() {
            Some(b'/') if begins => {
                let id = after.trim_start_matches('/');
                let id = id.split(|letter: char| !is_id_letter(letter)).next().unwrap_or_default();
                if id != own || !before.is_empty() {
                    return Some(Naming::Several);
                }
            }
            Some(b'?') if begins => return Some(Naming::Nobody),
            _ => {}
        }
        rest = after;
    }
    None
}

fn is_id_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(interaction: Interaction, kind: &'static str, id: Option<&'static str>) -> FhirRequest<'static> {
        FhirRequest {
            interaction,
            resource_type: Some(kind),
            id,
            compartment: None,
            operation: None,
            conditional: false,
        }
    }

    #[test]
    fn a_resource_goes_with_its_address_or_is_refused() {
        let create = of(Interaction::Create, "Observation", None);
        let update = of(Interaction::Update, "Observation", Some("o1"));
        let good = json!({ "resourceType": "Observation", "id": "o1", "status": "final", "_status": {} });
        assert_eq!(read(&create, &good, None), Ok(Changes::of(["id", "status"])));
        assert_eq!(read(&update, &good, None), Ok(Changes::Any));
        for bad in [
            json!({ "resourceType": "MedicationRequest", "id": "o1" }),
            json!({ "resourceType": "observation", "id": "o1" }),
            json!({ "resourceType": ["Observation"], "id": "o1" }),
            json!({ "id": "o1" }),
            json!([good]),
            json!({ "resourceType": "Observation", "id": "o1", "contained": {} }),
            json!({ "resourceType": "Observation", "id": "o1", "contained": [{}] }),
            json!({ "resourceType": "Observation", "id": "o1", "contained": [{ "resourceType": "Patient", "contained": [] }] }),
        ] {
            assert!(read(&create, &bad, None).is_err() && read(&update, &bad, None).is_err(), "{bad}");
        }
        for bad in
            [json!({ "resourceType": "Observation" }), json!({ "resourceType": "Observation", "id": "o2" })]
        {
            assert!(read(&update, &bad, None).is_err(), "{bad}");
        }
        assert!(read(&create, &good, Some(Patch::Json)).is_err());
        let bundle = of(Interaction::Create, "Bundle", None);
        for (kind, kept) in [("document", true), ("batch", false), ("transaction", false), ("", false)] {
            let body = json!({ "resourceType": "Bundle", "type": kind });
            assert_eq!(read(&bundle, &body, None).is_ok(), kept, "{kind}");
        }
    }

    #[test]
    fn patches_keep_type_and_id() {
        let patch = of(Interaction::Patch, "Observation", Some("o1"));
        let json_patch = |path: &str| json!([{ "op": "replace", "path": path, "value": 1 }]);
        assert_eq!(
            read(&patch, &json_patch("/_status/extension"), Some(Patch::Json)),
            Ok(Changes::of(["status"]))
        );
        for path in ["", "/resourceType", "/id", "/_id", "/Status", "/", "/a b"] {
            assert!(read(&patch, &json_patch(path), Some(Patch::Json)).is_err(), "{path}");
        }
        let merge = |body: Value| read(&patch, &body, Some(Patch::Merge));
        assert_eq!(merge(json!({ "resourceType": "Observation", "note": null })), Ok(Changes::of(["note"])));
        for bad in [json!([]), json!({ "id": null }), json!({ "resourceType": "Patient" })] {
            assert!(merge(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_resource_is_the_record_of_whom_it_names_and_nobody_elses() {
        let naming = |more: Value| {
            let mut resource =
                json!({ "resourceType": "Observation", "subject": { "reference": "Patient/p1" } });
            resource
                .as_object_mut()
                .expect("an object")
                .extend(more.as_object().cloned().unwrap_or_default());
            patient(&resource)
        };
        let own = Naming::One("p1".into());
        assert_eq!(naming(json!({})), own);
        assert_eq!(
            naming(
                json!({ "performer": [{ "reference": "Patient/p1" }, { "reference": "Practitioner/p2" }] })
            ),
            own
        );
        assert_eq!(naming(json!({ "note": [{ "text": "InPatient/x, a Patient" }] })), own);
        for others in [
            json!({ "subject": [{ "reference": "Patient/p1" }, { "reference": "Patient/p2" }] }),
            json!({ "patient": { "reference": "Patient/p2" } }),
            json!({ "performer": [{ "reference": "Patient/p2" }] }),
            json!({ "performer": [{ "reference": "https://ehr.example/fhir/Patient/p1" }] }),
            json!({ "performer": [{ "reference": "Patient/p2/_history/1" }] }),
            json!({ "contained": [{ "resourceType": "Observation", "subject": { "reference": "Patient/p2" } }] }),
            json!({ "extension": [{ "url": "x", "valueUri": "/Patient/p2" }] }),
        ] {
            assert_eq!(naming(others.clone()), Naming::Several, "{others}");
        }
        for nobody in [
            json!({ "subject": { "reference": "Patient?identifier=1" } }),
            json!({ "subject": { "reference": "#p" } }),
            json!({ "subject": { "reference": "urn:uuid:1" } }),
            json!({ "subject": { "reference": "Patient/p1", "identifier": { "value": "2" } } }),
            json!({ "subject": { "identifier": { "value": "1" } } }),
            json!({ "subject": { "reference": "Group/g1" } }),
            json!({ "subject": "Patient/p1" }),
            json!({ "subject": [] }),
            json!({ "encounter": { "reference": "Encounter?subject=1" } }),
        ] {
            assert_eq!(naming(nobody.clone()), Naming::Nobody, "{nobody}");
        }
    }
}
