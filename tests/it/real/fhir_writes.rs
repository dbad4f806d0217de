//! What staff write to a real FHIR server: by Bundle and by patch, and that nobody prescribes by another door.

use serde_json::{Value, json};

use super::fhir::Clinic;
use crate::support::http;

/// A word that stands in every prescription that is tried, and nowhere else.
const MARK: &str = "smuggled";

fn prescription(id: &str) -> Value {
    json!({ "resourceType": "MedicationRequest", "id": id, "status": "active", "intent": "order",
        "subject": { "reference": "Patient/p3" }, "medicationCodeableConcept": { "text": MARK } })
}

fn observation(text: &str) -> Value {
    json!({ "resourceType": "Observation", "status": "final", "code": { "text": text }, "subject": { "reference": "Patient/p3" } })
}

fn entry(method: &str, url: &str, resource: Value) -> Value {
    json!({ "request": { "method": method, "url": url }, "resource": resource })
}

fn bundle(kind: &str, entries: &[Value]) -> String {
    format!("POST /fhir json:{}", json!({ "resourceType": "Bundle", "type": kind, "entry": entries }))
}

impl Clinic {
    /// What the server itself has of a type, past the gateway.
    fn stored(&self, kind: &str) -> String {
        let address = format!("/fhir/{kind}?_count=500");
        http::get(self.server.address, &address).expect("an answer").body
    }
}

#[test]
fn a_bundle_is_carried_out_where_each_entry_may_be() {
    let clinic = Clinic::open();
    let nurse = clinic.bearer("nurse", "user/*.cruds");
    for kind in ["batch", "transaction"] {
        let entries = [
            entry("POST", "Observation", observation("made-by-bundle")),
            json!({ "request": { "method": "GET", "url": "Patient/p3" } }),
        ];
        let answer = clinic.send(&bundle(kind, &entries), &nurse);
        assert_eq!(answer.status, 200, "{kind}: {}", answer.body);
        assert_eq!(answer.json()["entry"].as_array().map(Vec::len), Some(2), "{kind}");
        let refused = clinic.send(
            &bundle(kind, &[entries[0].clone(), entry("POST", "MedicationRequest", prescription("x"))]),
            &nurse,
        );
        assert_eq!(refused.status, 403, "{kind}: {}", refused.body);
        assert_eq!(refused.json()["resourceType"], "OperationOutcome");
    }
    assert_eq!(clinic.stored("Observation").matches("made-by-bundle").count(), 2);
    assert!(!clinic.stored("MedicationRequest").contains(MARK));
    // The same goes through for whom it is allowed.
    let prescriber = clinic.bearer("prescriber", "user/*.cruds");
    let answer =
        clinic.send(&bundle("batch", &[entry("POST", "MedicationRequest", prescription("x"))]), &prescriber);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(clinic.stored("MedicationRequest").contains(MARK));
}

#[test]
fn nobody_prescribes_by_another_door() {
    let clinic = Clinic::open();
    let nurse = clinic.bearer("nurse", "user/*.cruds");
    let (whole, contained) = (prescription("smuggled-1"), {
        let mut observation = observation("x");
        observation["resourceType"] = "MedicationRequest".into();
        observation["contained"] = json!([prescription("inner")]);
        observation
    });
    let twice = r#"{"resourceType":"Observation","resourceType":"MedicationRequest","status":"active","intent":"order","medicationCodeableConcept":{"text":"smuggled"}}"#;
    let nested = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [entry("POST", "MedicationRequest", whole.clone())] });
    let mut lines = vec![
        format!("POST /fhir/MedicationRequest json:{whole}"),
        format!("PUT /fhir/MedicationRequest/smuggled-1 json:{whole}"),
        format!("PUT /fhir/MedicationRequest?_id=smuggled-1 json:{whole}"),
        format!("POST /fhir/Observation json:{whole}"),
        format!("PUT /fhir/Observation/smuggled-1 json:{whole}"),
        format!("POST /fhir/Observation json:{contained}"),
        format!("POST /fhir/Observation json:{twice}"),
        format!("POST /fhir/Bundle json:{nested}"),
        format!(r#"PATCH /fhir/MedicationRequest/m3 patch:[{{"op":"replace","path":"/medicationCodeableConcept/text","value":"{MARK}"}}]"#),
        r#"PATCH /fhir/MedicationRequest/m3 patch:[{"op":"copy","from":"/id","path":"/medicationCodeableConcept/text"}]"#.to_owned(),
        format!(r#"PATCH /fhir/Observation/o3 patch:[{{"op":"replace","path":"","value":{whole}}}]"#),
        r#"PATCH /fhir/Observation/o3 patch:[{"op":"replace","path":"/resourceType","value":"MedicationRequest"}]"#.to_owned(),
    ];
    for kind in ["batch", "transaction"] {
        for inner in [
            entry("POST", "MedicationRequest", whole.clone()),
            entry("PUT", "MedicationRequest/smuggled-1", whole.clone()),
            entry("POST", "Observation", whole.clone()),
            entry("PUT", "Observation/smuggled-1", whole.clone()),
            entry("POST", "/fhir/MedicationRequest", whole.clone()),
            entry("POST", &format!("http://{}/fhir/MedicationRequest", clinic.server.address), whole.clone()),
            entry("POST", "Observation/../MedicationRequest", whole.clone()),
            entry("POST", "", nested.clone()),
            entry("POST", "Bundle", nested.clone()),
            json!({ "request": { "method": "POST", "url": "Observation", "ifNoneExist": "_id=none" }, "resource": whole }),
        ] {
            lines.push(bundle(kind, std::slice::from_ref(&inner)));
            lines.push(bundle(kind, &[entry("POST", "Observation", observation("company")), inner]));
        }
    }
    for line in &lines {
        let answer = clinic.send(line, &nurse);
        assert!((400..500).contains(&answer.status), "{line}: {}", answer.status);
    }
    for kind in ["MedicationRequest", "Observation", "Bundle"] {
        let stored = clinic.stored(kind);
        assert!(!stored.contains(MARK) && !stored.contains("company"), "{kind}");
    }
    assert!(!clinic.stored("MedicationRequest").contains(r#""text":"m3""#));
    let headers = [
        ("Authorization", nurse.as_str()),
        ("Content-Type", "application/fhir+json"),
        ("X-Provenance", r#"{"resourceType":"Provenance"}"#),
    ];
    let body = observation("with-provenance").to_string();
    let answer = http::send(clinic.gateway.address, "POST", "/fhir/Observation", &headers, body.as_bytes())
        .expect("an answer");
    assert_eq!(answer.status, 400);
}

/// What a patient gets by Bundle is what they get by single requests.
#[test]
fn a_patients_bundle_shows_what_is_theirs_only() {
    let clinic = Clinic::open();
    let patient = clinic.bearer("p3", "patient/*.cruds");
    let get = |url: &str| json!({ "request": { "method": "GET", "url": url } });
    let send = |kind: &str, entries: &[Value]| clinic.send(&bundle(kind, entries), &patient);
    let all =
        [get("Patient/p3"), get("Observation/o3"), get("Observation?patient=p3"), get("Practitioner/d1")];
    for kind in ["batch", "transaction"] {
        let answer = send(kind, &all);
        assert_eq!(answer.status, 200, "{kind}: {}", answer.body);
        assert_eq!(answer.json()["entry"].as_array().map(Vec::len), Some(all.len()), "{kind}");
        for (url, status) in [
            ("Patient/p7", 403),
            ("Observation?patient=p7", 403),
            ("Observation?patient=p3,p7", 403),
            ("Observation", 403),
            ("Observation/o7", 404),
            ("Observation/none", 404),
            ("Encounter/e7", 404),
            ("Observation/o7/_history/1", 404),
        ] {
            for entries in
                [vec![get(url)], vec![get("Patient/p3"), get(url)], vec![get(url), get("Patient/p3")]]
            {
                let answer = send(kind, &entries);
                assert_eq!(answer.status, status, "{kind} {url}: {}", answer.body);
                assert!(!answer.body.contains("p7"), "{kind} {url}: {}", answer.body);
            }
        }
        // The server knows o7's version, and would say that it has not changed.
        let mut unchanged = get("Observation/o7");
        unchanged["request"]["ifNoneMatch"] = "W/\"1\"".into();
        assert_eq!(send(kind, &[unchanged]).status, 404);
        let other = json!({ "resourceType": "Observation", "status": "final", "code": { "text": MARK }, "subject": { "reference": "Patient/p7" } });
        let refused = send(kind, &[get("Patient/p3"), entry("POST", "Observation", other)]);
        assert_eq!(refused.status, 403, "{kind}: {}", refused.body);
    }
    assert!(!clinic.stored("Observation").contains(MARK));
}
