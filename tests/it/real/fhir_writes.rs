//! What is written to a real FHIR server: by Bundle and by patch, that nobody prescribes by another door, and that patients and who
//! acts for them change nothing of others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fhir::{Clinic, evasions};
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

    /// All that the server has and that is not p1's, with its versions.
    fn of_others(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        for kind in [
            "Patient",
            "Practitioner",
            "Observation",
            "Condition",
            "MedicationRequest",
            "Encounter",
            "Bundle",
        ] {
            let found: Value = serde_json::from_str(&self.stored(kind)).expect("JSON");
            for entry in found["entry"].as_array().into_iter().flatten() {
                let resource = entry["resource"].clone();
                let is_own = resource["subject"]["reference"] == "Patient/p1"
                    || (kind == "Patient" && resource["id"] == "p1");
                if !is_own {
                    all.insert(format!("{kind}/{}", resource["id"]), resource);
                }
            }
        }
        all
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

/// What would write to somebody else's record, or take it over, or link one's own with it.
fn intrusions() -> Vec<String> {
    let of = |subject: Value, more: Value| {
        let mut made = json!({ "resourceType": "Observation", "status": "final", "code": { "text": MARK }, "subject": subject });
        made.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
        made
    };
    let (own, other) = (json!({ "reference": "Patient/p1" }), json!({ "reference": "Patient/p3" }));
    let link = json!([{ "other": other, "type": "seealso" }]);
    let writes = [
        ("POST", "Observation", of(other.clone(), json!({}))),
        ("POST", "Observation", of(own.clone(), json!({ "performer": [other] }))),
        ("POST", "Observation", of(json!([own, other]), json!({}))),
        ("POST", "Observation", of(json!({ "identifier": { "value": "p3" } }), json!({}))),
        ("POST", "Observation", of(json!({ "reference": "Patient?_id=p3" }), json!({}))),
        (
            "POST",
            "Observation",
            of(
                json!({ "reference": "#p" }),
                json!({ "contained": [{ "resourceType": "Patient", "id": "p" }] }),
            ),
        ),
        ("POST", "Observation", of(Value::Null, json!({}))),
        ("PUT", "Observation/o3", of(own.clone(), json!({ "id": "o3" }))),
        ("PUT", "Observation/o3", of(other.clone(), json!({ "id": "o3" }))),
        ("PUT", "Observation?_id=o3", of(own.clone(), json!({ "id": "o3" }))),
        ("PUT", "Patient/p3", json!({ "resourceType": "Patient", "id": "p3", "active": false })),
        ("PUT", "Patient/p3", json!({ "resourceType": "Patient", "id": "p1", "active": false })),
        ("PUT", "Patient?_id=p3", json!({ "resourceType": "Patient", "id": "p3" })),
        ("PUT", "Patient/p1", json!({ "resourceType": "Patient", "id": "p1", "link": link })),
        ("PUT", "Patient/p1", json!({ "resourceType": "Patient", "id": "p3" })),
        ("POST", "Patient", json!({ "resourceType": "Patient" })),
        ("POST", "Condition", json!({ "resourceType": "Condition", "subject": own })),
        ("DELETE", "Observation/o3", Value::Null),
        ("DELETE", "Observation?patient=p3", Value::Null),
        ("DELETE", "Patient/p3", Value::Null),
    ];
    let company = json!({ "request": { "method": "GET", "url": "Patient/p1" } });
    let mut lines = vec![
        r#"PATCH /fhir/Patient/p3 patch:[{"op":"add","path":"/active","value":false}]"#.to_owned(),
        r#"PATCH /fhir/Observation/o3 patch:[{"op":"replace","path":"/status","value":"amended"}]"#.to_owned(),
        r#"PATCH /fhir/Observation/o3 patch:[{"op":"replace","path":"/subject/reference","value":"Patient/p1"}]"#.to_owned(),
    ];
    for (method, url, body) in writes {
        let mut inner = json!({ "request": { "method": method, "url": url } });
        let mut line = format!("{method} /fhir/{url}");
        if !body.is_null() {
            line += &format!(" json:{body}");
            inner["resource"] = body;
        }
        lines.push(line);
        for kind in ["batch", "transaction"] {
            lines.push(bundle(kind, std::slice::from_ref(&inner)));
            lines.push(bundle(kind, &[company.clone(), inner.clone()]));
        }
    }
    lines
}

/// Nor is anything made that is nobody's.
#[test]
fn patients_and_who_acts_for_them_change_nothing_of_others() {
    let clinic = Clinic::open();
    let before = clinic.of_others();
    assert!(before.len() > 100, "{}", before.len());
    for (who, scope) in [("p1", "patient/*.cruds"), ("p1", "user/*.cruds"), ("carer", "user/*.cruds")] {
        let bearer = clinic.bearer(who, scope);
        for line in intrusions() {
            let answer = clinic.send(&line, &bearer);
            assert!((400..500).contains(&answer.status), "{who}, {scope}: {line}: {}", answer.status);
        }
        evasions().iter().for_each(|line| drop(clinic.send(line, &bearer)));
        let after = clinic.of_others();
        let changed: Vec<_> =
            after.iter().filter(|(name, resource)| before.get(*name) != Some(resource)).collect();
        assert!(changed.is_empty() && after.len() == before.len(), "{who}, {scope}: {changed:?}");
        // What is theirs to write was written.
        let own = json!({ "resourceType": "Observation", "status": "final", "code": { "text": "weight" }, "subject": { "reference": "Patient/p1" } });
        assert_eq!(
            clinic.send(&format!("POST /fhir/Observation json:{own}"), &bearer).status,
            201,
            "{who}, {scope}"
        );
    }
    // Scopes narrow what the rules allow: to read is not to write.
    for (who, scope) in
        [("p1", "patient/*.rs"), ("carer", "user/*.rs"), ("nurse", "user/*.rs"), ("lab-feed", "system/*.rs")]
    {
        let bearer = clinic.bearer(who, scope);
        for line in [
            r#"POST /fhir/Observation json:{"resourceType":"Observation","subject":{"reference":"Patient/p1"}}"#,
            r#"PUT /fhir/Patient/p1 json:{"resourceType":"Patient","id":"p1"}"#,
            r#"PATCH /fhir/Patient/p1 patch:[{"op":"add","path":"/active","value":true}]"#,
            r#"POST /fhir json:{"resourceType":"Bundle","type":"transaction","entry":[{"resource":{"resourceType":"Observation","subject":{"reference":"Patient/p1"}},"request":{"method":"POST","url":"Observation"}}]}"#,
        ] {
            let refused = clinic.send(line, &bearer);
            assert_eq!(refused.status, 403, "{who}: {line}: {}", refused.body);
        }
    }
    let nurse = clinic.bearer("nurse", "user/*.cruds");
    let amended = r#"PATCH /fhir/Patient/p3 patch:[{"op":"add","path":"/active","value":false}]"#;
    assert_eq!(clinic.send(amended, &nurse).status, 200);
    assert_ne!(clinic.of_others(), before, "a change would have been seen");
}
