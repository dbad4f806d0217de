//! FHIRPath Patch: a `Parameters` resource of operations on paths (FHIR R4 §3.1.0.9.2).

use serde_json::{Map, Value};

use crate::request::changes::Changes;

/// The elements that JSON names by their type too (`valueQuantity`), and a path does not: which of them is meant is not
/// told apart.
const CHOICES: [&str; 17] = [
    "abatement",
    "asNeeded",
    "born",
    "deceased",
    "defaultValue",
    "detected",
    "effective",
    "identified",
    "location",
    "medication",
    "multipleBirth",
    "occurrence",
    "onset",
    "performed",
    "product",
    "reported",
    "value",
];

/// The top-level elements that a FHIRPath Patch changes; [`Changes::Any`] where a path could lead anywhere.
///
/// `None` where it is no such patch.
pub fn of_parameters(resource_type: Option<&str>, body: &Value) -> Option<Changes> {
    let body = body.as_object()?;
    if body.get("resourceType")?.as_str()? != "Parameters" {
        return None;
    }
    let operations = body.get("parameter")?.as_array().filter(|list| !list.is_empty())?;
    let mut names: Option<Vec<String>> = Some(Vec::new());
    for operation in operations {
        let operation = operation.as_object()?;
        if operation.get("name")?.as_str()? != "operation" {
            return None;
        }
        let name = changed(resource_type?, operation.get("part")?.as_array()?)?;
        names = names.zip(name).map(|(mut names, name)| {
            names.push(name);
            names
        });
    }
    Some(names.map_or(Changes::Any, Changes::of))
}

/// The element that one operation changes: `Some(None)` where it could be any, `None` where it is no operation.
fn changed(resource_type: &str, parts: &[Value]) -> Option<Option<String>> {
    let parts: Vec<&Map<String, Value>> = parts.iter().map(Value::as_object).collect::<Option<_>>()?;
    let part = |name: &str| {
        let mut found = parts.iter().filter(|part| part.get("name").and_then(Value::as_str) == Some(name));
        // One that is there twice has no one meaning.
        found.next().filter(|_| found.next().is_none())
    };
    let text = |name: &str, member: &str| part(name)?.get(member)?.as_str();
    let kind = text("type", "valueCode")?;
    let path = text("path", "valueString")?;
    let Some(steps) = path.strip_prefix(resource_type) else { return Some(None) };
    let first = match kind {
        "add" if steps.is_empty() => text("name", "valueString"),
        "add" | "insert" | "delete" | "replace" | "move" => first_step(steps),
        _ => return None,
    };
    let plain = first.filter(|name| {
        !CHOICES.contains(name) && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    });
    Some(plain.map(str::to_owned))
}

/// The first of several steps, where each is an element or an index: a function could lead anywhere.
fn first_step(steps: &str) -> Option<&str> {
    let mut first = None;
    for step in steps.strip_prefix('.')?.split('.') {
        let (name, index) = step.split_once('[').map_or((step, None), |(name, index)| (name, Some(index)));
        let is_index = |index: &str| {
            index
                .strip_suffix(']')
                .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_name || !index.is_none_or(is_index) {
            return None;
        }
        first = first.or(Some(name));
    }
    first
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changes(operations: &[(&str, &str, &str)]) -> Option<Changes> {
        let parameter: Vec<Value> = operations
            .iter()
            .map(|(kind, path, name)| {
                json!({ "name": "operation", "part": [
                    { "name": "type", "valueCode": kind },
                    { "name": "path", "valueString": path },
                    { "name": "name", "valueString": name },
                    { "name": "value", "valueString": "x" },
                ] })
            })
            .collect();
        of_parameters(Some("Patient"), &json!({ "resourceType": "Parameters", "parameter": parameter }))
    }

    #[test]
    fn plain_paths_say_what_changes_and_others_could_change_anything() {
        assert_eq!(
            changes(&[("replace", "Patient.contact[0].name", ""), ("add", "Patient", "birthDate")]),
            Some(Changes::of(["birthDate", "contact"]))
        );
        for path in [
            "Patient.contact.where(true).name",
            "Patient.children()",
            "%resource.name",
            "name",
            "Person.name",
            "Patient.name | Patient.link",
            "Patient.name[0",
            "Patient..name",
            "Patient.deceased",
            "",
        ] {
            assert_eq!(changes(&[("replace", path, "")]), Some(Changes::Any), "{path}");
        }
        assert_eq!(changes(&[("add", "Patient", "")]), Some(Changes::Any));
        assert_eq!(changes(&[("erase", "Patient.name", "")]), None);
        assert_eq!(changes(&[]), None);
    }

    #[test]
    fn a_part_that_is_there_twice_is_none() {
        let path = json!({ "name": "path", "valueString": "Patient.name" });
        let parts = json!([{ "name": "type", "valueCode": "delete" }, path, path]);
        let body =
            json!({ "resourceType": "Parameters", "parameter": [{ "name": "operation", "part": parts }] });
        assert_eq!(of_parameters(Some("Patient"), &body), None);
    }
}
