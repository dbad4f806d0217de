//! What it costs to look through a FHIR server's reply: in proportion to its length.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use serde_json::json;
use wardgate::request::fhir::Version;
use wardgate::request::fhir::belonging::Home;
use wardgate::request::fhir::reference::Place;
use wardgate::request::fhir::reply::{Awaited, Confined, Wanted};

/// A search's answer with so many observations of `p1`, some 500 bytes each.
fn searchset(entries: usize) -> String {
    let entry = |at: usize| {
        json!({
            "fullUrl": format!("https://ehr.clinic.example/fhir/Observation/o{at}"),
            "search": { "mode": "match" },
            "resource": {
                "resourceType": "Observation", "id": format!("o{at}"), "status": "final",
                "category": [{ "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory" }] }],
                "code": { "coding": [{ "system": "http://loinc.org", "code": "718-7", "display": "Hemoglobin" }] },
                "subject": { "reference": "Patient/p1" }, "performer": [{ "reference": "Practitioner/d1" }],
                "valueQuantity": { "value": 13.2, "unit": "g/dL" }
            }
        })
    };
    let entries: Vec<_> = (0..entries).map(entry).collect();
    json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries }).to_string()
}

/// From a reply's bytes to leave to send them on.
pub fn inspect(criterion: &mut Criterion) {
    let rules = Confined {
        home: Home {
            patient: "p1".into(),
            place: Place {
                hosts: vec!["ehr.clinic.example".into()],
                base: "/fhir".into(),
                version: Version::R4,
            },
        },
        shared: vec!["Practitioner"],
        awaited: Awaited::One(Wanted { resource: None, names_patient: true }),
    };
    let mut group = criterion.benchmark_group("reply");
    for entries in [20, 200, 2_000] {
        let reply = searchset(entries);
        assert_eq!(rules.inspect(reply.as_bytes()), Ok(()));
        group.throughput(Throughput::Bytes(reply.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
            bencher.iter(|| rules.inspect(black_box(reply.as_bytes())))
        });
    }
    group.finish();
}
