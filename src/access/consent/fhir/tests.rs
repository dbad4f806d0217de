//! Every part of a Consent that is understood, and what is made of the rest.

use serde_json::json;

use super::*;

const NOW: &str = "2026-11-23T12:00:00Z";

fn asked(purpose: Option<&str>) -> Asked<'_> {
    Asked { base: "https://fhir.example/r4", patient: "p1", purpose, now: NOW.parse().expect("a moment") }
}

/// An active consent to privacy rules of `p1`, with these members changed.
fn consent(change: &Value) -> Value {
    let mut consent = json!({
        "resourceType": "Consent", "id": "c1", "status": "active",
        "scope": { "coding": [{ "system": SCOPES, "code": "patient-privacy" }] },
        "category": [{ "coding": [{ "system": "http://loinc.org", "code": "59284-0" }] }],
        "patient": { "reference": "Patient/p1" }, "dateTime": "2026-01-01",
        "policyRule": { "coding": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN" }] },
    });
    for (name, value) in change.as_object().expect("an object") {
        match value {
            Value::Null => drop(consent.as_object_mut().expect("an object").remove(name)),
            value => consent[name] = value.clone(),
        }
    }
    consent
}

fn bundle(consents: &[Value]) -> Value {
    let entries: Vec<Value> = consents.iter().map(|consent| json!({ "resource": consent })).collect();
    json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries })
}

fn of(changes: &[Value]) -> bool {
    let consents: Vec<Value> = changes.iter().map(consent).collect();
    given(&bundle(&consents), &asked(Some("HRESCH"))).expect("a search")
}

fn optout() -> Value {
    json!({ "coding": [{ "code": "OPTOUT" }] })
}

#[test]
fn what_is_said_for_this_patient_now_counts() {
    assert!(of(&[json!({})]));
    assert!(of(&[json!({ "patient": { "reference": "https://fhir.example/r4/Patient/p1" } })]));
    assert!(!of(&[]));
    for nothing in [
        json!({ "status": "inactive" }),
        json!({ "status": "entered-in-error" }),
        json!({ "resourceType": "Contract" }),
        json!({ "patient": { "reference": "Patient/p2" } }),
        json!({ "patient": { "reference": "https://other.example/Patient/p1" } }),
        json!({ "patient": { "display": "p1" } }),
        json!({ "patient": null }),
        json!({ "scope": null }),
        json!({ "scope": { "coding": [{ "system": SCOPES, "code": "research" }] } }),
        json!({ "scope": { "coding": [{ "system": "urn:other", "code": "patient-privacy" }] } }),
        json!({ "policyRule": null }),
        json!({ "policyRule": { "text": "whatever the clinic says" } }),
        json!({ "policyRule": { "coding": [{ "code": "OPTIN" }, { "code": "OPTOUT" }] } }),
        json!({ "policyRule": optout() }),
        json!({ "modifierExtension": [{ "url": "urn:not" }] }),
        json!({ "provision": "everything" }),
    ] {
        assert!(!of(std::slice::from_ref(&nothing)), "{nothing}");
    }
}

#[test]
fn a_refusal_wins() {
    assert!(!of(&[json!({}), json!({ "policyRule": optout() })]));
    assert!(!of(&[json!({ "policyRule": optout() }), json!({})]));
    // One of another scope, or another patient's, refuses nothing.
    let research =
        json!({ "scope": { "coding": [{ "system": SCOPES, "code": "research" }] }, "policyRule": optout() });
    assert!(of(&[json!({}), research]));
    assert!(of(&[json!({}), json!({ "patient": { "reference": "Patient/p2" }, "policyRule": optout() })]));
    // One that is not understood does.
    let odd = json!({ "modifierExtension": [{ "url": "urn:not" }], "policyRule": optout() });
    assert!(!of(&[json!({}), odd]));
}

#[test]
fn provisions_are_exceptions() {
    let with = |provision: Value| of(&[json!({ "provision": provision })]);
    let alone = |provision: Value| of(&[json!({ "policyRule": null, "provision": provision })]);
    let research = json!([{ "code": "HRESCH" }]);
    let treatment = json!([{ "code": "TREAT" }]);
    assert!(!with(json!({ "type": "deny" })));
    assert!(!with(json!({ "type": "deny", "purpose": research })));
    assert!(with(json!({ "type": "deny", "purpose": treatment })));
    assert!(with(json!({ "type": "permit", "purpose": treatment })));
    assert!(!with(json!({ "type": "forbid" })), "what is no permit refuses");
    assert!(alone(json!({ "type": "permit" })));
    assert!(alone(json!({ "type": "permit", "purpose": research })));
    assert!(!alone(json!({ "type": "permit", "purpose": treatment })));
    assert!(!alone(json!({})));
    // As a root rule has it: no word of its own, and rules within.
    assert!(alone(json!({ "provision": [{ "type": "permit", "purpose": research }] })));
    assert!(!alone(json!({ "provision": [{ "type": "permit" }, { "type": "deny", "purpose": research }] })));
    assert!(!with(json!({ "provision": [{ "type": "deny" }] })));
    assert!(with(json!({ "provision": [{ "type": "deny", "purpose": treatment }] })));
    assert!(!of(&[json!({ "policyRule": optout(), "provision": { "provision": [{ "type": "permit" }] } })]));
    assert!(of(&[json!({ "policyRule": optout(), "provision": { "type": "permit", "purpose": research } })]));
}

/// Whoever reads only half of a rule must not read it as leave.
#[test]
fn what_is_not_understood_permits_nothing() {
    for name in
        ["actor", "action", "securityLabel", "class", "code", "data", "dataPeriod", "modifierExtension"]
    {
        let rule = |word: &str| json!({ "type": word, name: [{ "x": 1 }] });
        let alone = |rule: Value| of(&[json!({ "policyRule": null, "provision": rule })]);
        assert!(!alone(rule("permit")), "{name}");
        assert!(!alone(json!({ "provision": [rule("permit")] })), "{name}");
        assert!(!of(&[json!({ "provision": rule("deny") })]), "{name}");
        assert!(!of(&[json!({ "provision": { "provision": [rule("deny")] } })]), "{name}");
        // More leave beside what is permitted takes nothing away; a limit to it does.
        assert!(of(&[json!({ "provision": rule("permit") })]), "{name}");
        assert!(!of(&[json!({ "provision": { name: [{ "x": 1 }] } })]), "{name}");
        assert!(!of(&[json!({ "provision": { "provision": [{ name: [{ "x": 1 }] }] } })]), "{name}");
    }
    let untold = consent(
        &json!({ "policyRule": null, "provision": { "type": "permit", "purpose": [{ "code": "TREAT" }] } }),
    );
    assert_eq!(given(&bundle(&[untold]), &asked(None)), Ok(false), "nobody said what for");
}

#[test]
fn it_holds_in_its_time() {
    let during = |start: &str, end: &str| {
        of(&[
            json!({ "policyRule": null, "provision": { "type": "permit", "period": { "start": start, "end": end } } }),
        ])
    };
    assert!(during("2026", "2026"));
    assert!(during("2026-11", "2026-11"));
    assert!(during("2026-11-23", "2026-11-23"));
    assert!(during("2026-11-23T11:00:00Z", "2026-11-23T14:00:00+01:00"));
    assert!(!during("2026-11-24", "2027"));
    assert!(!during("2025", "2026-11-22"));
    assert!(!during("2025", "2026-11-23T12:59:00+01:00"));
    assert!(!during("yesterday", "2027"));
    assert!(!during("2025", "2026-13"));
    let over = json!({ "provision": { "type": "deny", "period": { "end": "2025" } } });
    assert!(of(&[over]));
    // The time of an opted-in consent is that of its root provision.
    for over in
        [json!({ "period": { "end": "2025" } }), json!({ "type": "permit", "period": { "end": "2025" } })]
    {
        assert!(!of(&[json!({ "provision": over })]), "{over}");
    }
    assert!(
        !of(&[json!({ "provision": { "purpose": [{ "code": "TREAT" }] } })]),
        "limited to another purpose"
    );
    let odd = json!({ "provision": { "type": "deny", "period": { "end": "2025", "_end": {} } } });
    assert!(!of(&[odd]), "a refusal whose time can't be read stands");
}

#[test]
fn only_a_whole_search_is_an_answer() {
    let good = bundle(&[consent(&json!({}))]);
    let with = |name: &str, value: Value| {
        let mut bundle = good.clone();
        bundle[name] = value;
        given(&bundle, &asked(None))
    };
    assert_eq!(with("total", json!(1)), Ok(true));
    assert_eq!(with("link", json!([{ "relation": "self", "url": "x" }])), Ok(true));
    assert!(with("link", json!([{ "relation": "next", "url": "x" }])).is_err());
    assert!(with("type", json!("collection")).is_err());
    assert!(with("resourceType", json!("Consent")).is_err());
    assert!(with("entry", json!({})).is_err());
    assert!(with("entry", json!([{ "fullUrl": "x" }])).is_err());
    assert!(given(&consent(&json!({})), &asked(None)).is_err());
    assert_eq!(given(&json!({ "resourceType": "Bundle", "type": "searchset" }), &asked(None)), Ok(false));
}

#[test]
fn ids_are_ids() {
    assert!(is_id("p1") && is_id("a-b.C"));
    for text in ["", "p1,Patient/p2", "p/1", "p 1", &"x".repeat(65)] {
        assert!(!is_id(text), "{text}");
    }
}
