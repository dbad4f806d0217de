//! Whose record a resource is, by its own elements (CompartmentDefinition `patient`).

use serde_json::{Map, Value};

use super::elements;
use super::reference::{Place, Referred};

/// Whose a resource is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belonging {
    /// It is the patient's, and of no other patient.
    Own,
    /// It is another's, or of several, or that can't be told.
    Other,
    /// Resources of its type are nobody's record.
    Nobody,
}

/// The one patient, and the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The id of the `Patient` resource.
    pub patient: Box<str>,
    /// Where the server is.
    pub place: Place,
}

impl Home {
    /// Says whose a resource is that stands by itself.
    ///
    /// One of the elements of the compartment must name the patient, and none another one or a group. What names a
    /// patient in a way that can't be followed (an identifier, another server) counts as another one.
    pub fn belonging(&self, resource_type: &str, resource: &Map<String, Value>) -> Belonging {
        if resource_type == "Patient" {
            let is_own = resource.get("id").and_then(Value::as_str) == Some(&self.patient);
            return if is_own { Belonging::Own } else { Belonging::Other };
        }
        let Some(paths) = elements::of(self.place.version, resource_type) else { return Belonging::Nobody };
        let mut is_own = false;
        for (position, path) in paths.iter().enumerate() {
            let mut found = Vec::new();
            collect(resource, path, &mut found);
            for reference in found {
                match self.named(reference, resource, position == 0) {
                    Named::Own => is_own = true,
                    Named::NoPatient => {}
                    Named::Another => return Belonging::Other,
                }
            }
        }
        if is_own { Belonging::Own } else { Belonging::Other }
    }

    fn named(&self, reference: &Value, resource: &Map<String, Value>, is_subject: bool) -> Named {
        let Some(reference) = reference.as_object() else { return Named::Another };
        let literal = match reference.get("reference") {
            Some(Value::String(text)) => text,
            Some(_) => return Named::Another,
            None => {
                // Only an identifier, or a name to read.
                let is_none = reference.get("type").and_then(Value::as_str).is_some_and(is_no_patient);
                let is_name_only = !is_subject && reference.keys().all(|key| key == "display" || key == "id");
                return if is_none || is_name_only { Named::NoPatient } else { Named::Another };
            }
        };
        match self.place.read(literal) {
            Referred::Here("Patient", id) if *id == *self.patient => Named::Own,
            Referred::Here(name, _) if is_no_patient(name) => Named::NoPatient,
            Referred::Contained(id) => {
                let inside = resource.get("contained").and_then(Value::as_array).into_iter().flatten();
                let mut same = inside.filter(|it| it.get("id").and_then(Value::as_str) == Some(id));
                let name = same.next().and_then(|it| it.get("resourceType")).and_then(Value::as_str);
                let is_none = same.next().is_none() && name.is_some_and(is_no_patient);
                if is_none { Named::NoPatient } else { Named::Another }
            }
            Referred::Here(..) | Referred::Elsewhere | Referred::Unclear => Named::Another,
        }
    }
}

enum Named {
    Own,
    NoPatient,
    Another,
}

fn is_no_patient(resource_type: &str) -> bool {
    !matches!(resource_type, "Patient" | "Group")
}

/// Finds what stands at a path, through lists.
fn collect<'v>(object: &'v Map<String, Value>, path: &str, found: &mut Vec<&'v Value>) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let items = match object.get(first) {
        None => return,
        Some(Value::Array(items)) => items.as_slice(),
        Some(item) => std::slice::from_ref(item),
    };
    for item in items {
        match (rest, item) {
            (None, item) => found.push(item),
            (Some(rest), Value::Object(inner)) => collect(inner, rest, found),
            (Some(_), item) => found.push(item),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Version;
    use super::*;

    fn of(resource: Value) -> Belonging {
        in_version(Version::R4, resource)
    }

    fn in_version(version: Version, resource: Value) -> Belonging {
        let place = Place { hosts: vec!["ehr.example".into()], base: "/fhir".into(), version };
        let home = Home { patient: "p1".into(), place };
        let name = resource["resourceType"].as_str().expect("a type").to_owned();
        home.belonging(&name, resource.as_object().expect("an object"))
    }

    fn observation(subject: Value, performer: Value) -> Belonging {
        of(json!({ "resourceType": "Observation", "subject": subject, "performer": performer }))
    }

    #[test]
    fn a_resource_is_whose_its_elements_say() {
        let own = json!({ "reference": "Patient/p1" });
        let doctor = json!({ "reference": "Practitioner/1" });
        assert_eq!(of(json!({ "resourceType": "Patient", "id": "p1" })), Belonging::Own);
        assert_eq!(of(json!({ "resourceType": "Patient" })), Belonging::Other);
        assert_eq!(of(json!({ "resourceType": "Practitioner" })), Belonging::Nobody);
        for performer in [json!([doctor]), json!([{ "display": "Who" }]), json!([own, doctor]), json!([])] {
            assert_eq!(observation(own.clone(), performer.clone()), Belonging::Own, "{performer}");
        }
        // Made by the patient, about a device.
        assert_eq!(observation(json!({ "reference": "Device/1" }), json!([own])), Belonging::Own);
        let appointment = |actors: &[&str]| {
            let of_each = |actor: &&str| json!({ "actor": { "reference": actor } });
            let all: Vec<Value> = actors.iter().map(of_each).collect();
            of(json!({ "resourceType": "Appointment", "participant": all }))
        };
        assert_eq!(appointment(&["Patient/p1", "Practitioner/1"]), Belonging::Own);
        assert_eq!(appointment(&["Patient/p1", "Patient/p2"]), Belonging::Other);
    }

    #[test]
    fn versions_differ_in_where_it_stands() {
        let own = json!({ "reference": "Patient/p1" });
        let consent = json!({ "resourceType": "Consent", "subject": own });
        assert_eq!(in_version(Version::R5, consent.clone()), Belonging::Own);
        assert_eq!(in_version(Version::R4, consent), Belonging::Other);
        let order = |performer: &str| {
            let performer = json!({ "reference": { "reference": performer } });
            in_version(
                Version::R5,
                json!({ "resourceType": "DeviceRequest", "subject": own, "performer": performer }),
            )
        };
        assert_eq!((order("Practitioner/1"), order("Patient/p2")), (Belonging::Own, Belonging::Other));
        assert_eq!(
            in_version(Version::R5, json!({ "resourceType": "DeviceUsage", "patient": own })),
            Belonging::Own
        );
        assert_eq!(
            in_version(Version::R4, json!({ "resourceType": "DeviceUsage", "patient": own })),
            Belonging::Nobody
        );
    }

    #[test]
    fn what_names_another_or_nobody_clearly_is_not_ones_own() {
        let own = json!({ "reference": "Patient/p1" });
        for subject in [
            json!({ "reference": "Patient/p2" }),
            json!({ "reference": "Group/1" }),
            json!({ "reference": "#p" }),
            json!({ "reference": "urn:uuid:1" }),
            json!({ "reference": "https://other.example/fhir/Patient/p1" }),
            json!({ "reference": 1 }),
            json!({ "identifier": { "value": "1" } }),
            json!({ "type": "Patient", "display": "Who" }),
            json!({ "display": "Who" }),
            json!("Patient/p1"),
            json!([own, { "reference": "Patient/p2" }]),
        ] {
            assert_eq!(observation(subject.clone(), json!([own])), Belonging::Other, "{subject}");
        }
        for performer in [json!([{ "reference": "Patient/p2" }]), json!([{ "identifier": { "value": "1" } }])]
        {
            assert_eq!(observation(own.clone(), performer.clone()), Belonging::Other, "{performer}");
        }
        assert_eq!(of(json!({ "resourceType": "Observation" })), Belonging::Other);
        let doctor = json!([{ "reference": "Practitioner/1" }]);
        assert_eq!(observation(Value::Null, doctor), Belonging::Other);
    }
}
