//! Every place in a reply where another patient could stand, and every reading of it.

use serde_json::json;

use super::super::Version;
use super::super::reference::Place;
use super::*;

fn confined() -> Confined {
    let place = Place { hosts: vec!["ehr.example".into()], base: "/fhir".into(), version: Version::R4 };
    Confined {
        home: Home { patient: "p1".into(), place },
        shared: vec!["Organization", "Practitioner"],
        awaited: Awaited::One(Wanted { resource: None, names_patient: true }),
    }
}

fn of(patient: &str) -> Value {
    json!({ "resourceType": "Observation", "id": format!("o-{patient}"), "subject": { "reference": format!("Patient/{patient}") } })
}

fn bundle(entries: &[Value]) -> Value {
    let entries: Vec<Value> = entries.iter().map(|resource| json!({ "resource": resource })).collect();
    json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries })
}

fn check(reply: &Value) -> Result<(), Unfit> {
    confined().inspect(reply.to_string().as_bytes())
}

#[test]
fn ones_own_goes_out() {
    let mut paged = bundle(&[of("p1")]);
    paged["total"] = 40.into();
    paged["link"] =
        json!([{ "relation": "next", "url": "https://ehr.example/fhir/Observation?patient=p1&_offset=1" }]);
    for reply in [
        of("p1"),
        json!({ "resourceType": "Patient", "id": "p1" }),
        bundle(&[]),
        bundle(&[
            of("p1"),
            json!({ "resourceType": "Practitioner", "id": "1" }),
            json!({ "resourceType": "OperationOutcome", "issue": [] }),
        ]),
        bundle(&[bundle(&[of("p1")])]),
        json!({ "resourceType": "Parameters", "parameter": [{ "name": "r", "resource": of("p1"), "part": [] }] }),
        paged,
    ] {
        assert_eq!(check(&reply), Ok(()), "{reply}");
    }
    assert_eq!(confined().inspect(b""), Ok(()));
}

/// Every place in which a record of another patient may stand.
pub(super) fn with_another(hidden: &Value) -> Vec<Value> {
    let mut contained = of("p1");
    contained["contained"] = json!([hidden]);
    let mut extended = of("p1");
    extended["extension"] = json!([{ "url": "x", "valueReference": { "reference": "Patient/p2" } }]);
    let mut deep = of("p1");
    deep["component"] = json!([{ "extension": [{ "resource": hidden }] }]);
    let mut misnamed = of("p1");
    misnamed["extension"] = json!([{ "url": "x", "valueReference": { "Reference": "Patient/p2" } }]);
    let outcome = json!({ "resourceType": "Bundle", "type": "batch-response",
        "entry": [{ "response": { "status": "200", "outcome": hidden } }] });
    vec![
        hidden.clone(),
        bundle(std::slice::from_ref(hidden)),
        bundle(&[of("p1"), hidden.clone()]),
        bundle(&[of("p1"), bundle(std::slice::from_ref(hidden))]),
        bundle(&[bundle(&[bundle(&[of("p1"), hidden.clone()])])]),
        json!({ "resourceType": "Parameters", "parameter": [{ "name": "r", "resource": hidden }] }),
        json!({ "resourceType": "Parameters", "parameter": [{ "name": "r", "part": [{ "name": "x", "resource": hidden }] }] }),
        json!({ "resourceType": "Parameters", "parameter": [{ "name": "r", "valueString": "p2" }] }),
        contained.clone(),
        bundle(&[contained]),
        extended,
        deep,
        misnamed,
        outcome,
    ]
}

#[test]
fn anothers_stays_wherever_it_stands() {
    let unnamed = json!({ "resourceType": "Observation", "id": "o9" });
    let wrong_type = json!({ "resourceType": "observation", "subject": { "reference": "Patient/p1" } });
    let untyped = json!({ "id": "o9", "subject": { "reference": "Patient/p1" } });
    let both = json!({ "resourceType": "Observation", "subject": { "reference": "Patient/p1" }, "performer": [{ "reference": "Patient/p2" }] });
    for hidden in [
        of("p2"),
        json!({ "resourceType": "Patient", "id": "p2" }),
        json!({ "resourceType": "Medication", "id": "not-shared" }),
        json!({ "resourceType": "Binary", "contentType": "text/plain", "data": "eA==" }),
        unnamed,
        wrong_type,
        both,
    ] {
        for reply in with_another(&hidden) {
            assert!(check(&reply).is_err(), "{reply}");
        }
    }
    for reply in [untyped.clone(), bundle(&[untyped]), json!([of("p1")]), json!("x"), Value::Null] {
        assert_eq!(check(&reply), Err(Unfit::Unreadable), "{reply}");
    }
    let patient = json!({ "resourceType": "Patient", "id": "p1" });
    let mut observation = of("p1");
    observation["contained"] = json!([patient]);
    assert_eq!(check(&observation), Err(Unfit::Foreign), "a contained patient's id is its own affair");
}

#[test]
fn what_has_two_readings_stays() {
    let own = of("p1").to_string();
    for text in [
        format!("\u{feff}{own}"),
        format!("{own}x"),
        format!("{own}{own}"),
        own.replace("\"id\"", "\"subject\":{\"reference\":\"Patient/p2\"},\"id\""),
        own.replace("\"id\"", "\"Subject\":{\"reference\":\"Patient/p2\"},\"id\""),
        own.replace("\"id\"", "\"resourceType\":\"Patient\",\"id\""),
        own.replace("Patient/p1", "Patient/p1\",\"reference\":\"Patient/p2"),
        "[".repeat(5_000),
    ] {
        assert_eq!(confined().inspect(text.as_bytes()), Err(Unfit::Unreadable), "{text}");
    }
    let utf16: Vec<u8> = own.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(confined().inspect(&utf16), Err(Unfit::Unreadable));
    assert_eq!(
        confined().inspect(b"{\"resourceType\":\"Patient\",\"id\":\"p1\",\"x\":\"\xff\"}"),
        Err(Unfit::Unreadable)
    );
}

#[test]
fn counts_and_addresses_tell_nothing_more() {
    let with = |name: &str, value: Value| {
        let mut reply = bundle(&[of("p1")]);
        reply[name] = value;
        check(&reply)
    };
    let link = |url: &str| json!([{ "relation": "next", "url": url }]);
    assert_eq!(with("total", 1.into()), Ok(()));
    assert_eq!(with("total", 2.into()), Err(Unfit::Foreign));
    let mut counted = bundle(&[]);
    counted["total"] = 7.into();
    counted["link"] = link("Observation?_offset=1");
    assert_eq!(check(&counted), Err(Unfit::Foreign));
    assert_eq!(with("link", link("https://other.example/fhir?x")), Err(Unfit::Unreadable));
    assert_eq!(with("link", link("https://ehr.example/fhir/Patient/p2")), Err(Unfit::Foreign));
    assert_eq!(with("identifier", json!({ "value": "p2" })), Err(Unfit::Unreadable));
    let entry = |entry: Value| check(&json!({ "resourceType": "Bundle", "entry": [entry] }));
    assert_eq!(
        entry(json!({ "fullUrl": "https://ehr.example/fhir/Observation/o1", "resource": of("p1") })),
        Ok(())
    );
    assert_eq!(
        entry(json!({ "fullUrl": "https://other.example/fhir/Observation/o1" })),
        Err(Unfit::Unreadable)
    );
    assert_eq!(entry(json!({ "fullUrl": "https://ehr.example/fhir/Patient/p2" })), Err(Unfit::Foreign));
    assert_eq!(
        entry(json!({ "response": { "status": "201", "location": "Patient/p2/_history/1" } })),
        Err(Unfit::Foreign)
    );
    assert_eq!(entry(json!({ "request": { "method": "DELETE", "url": "Patient/p2" } })), Err(Unfit::Foreign));
    assert_eq!(entry(json!({ "text": "p2" })), Err(Unfit::Unreadable));
}

#[test]
fn what_was_asked_for_by_its_id_is_what_comes() {
    let asked = |name, id: &str| Confined { awaited: Awaited::One(by_id(name, id)), ..confined() };
    let check = |rules: &Confined, reply: Value| rules.inspect(reply.to_string().as_bytes());
    let own = asked("Observation", "o-p1");
    assert_eq!(check(&own, of("p1")), Ok(()));
    assert_eq!(check(&own, bundle(&[of("p1"), of("p1")])), Ok(()));
    assert_eq!(check(&own, json!({ "resourceType": "Patient", "id": "p1" })), Err(Unfit::Foreign));
    assert_eq!(check(&asked("Observation", "o-p2"), of("p1")), Err(Unfit::Foreign));
    // Nothing to see is what there is of another's: an id must not be tried out.
    assert_eq!(check(&own, bundle(&[])), Err(Unfit::Foreign));
    assert_eq!(check(&own, json!({ "resourceType": "OperationOutcome" })), Err(Unfit::Foreign));
    assert_eq!(own.inspect(b""), Err(Unfit::Foreign));
    let doctor = asked("Practitioner", "1");
    assert_eq!(check(&doctor, json!({ "resourceType": "Practitioner", "id": "1" })), Ok(()));
    assert_eq!(check(&doctor, bundle(&[])), Err(Unfit::Foreign));
}

fn by_id(name: &'static str, id: &str) -> Wanted {
    Wanted { resource: Some((name, id.into())), names_patient: false }
}

fn answer(status: &str, resource: Option<&Value>) -> Value {
    let mut entry = json!({ "response": { "status": status, "etag": "W/\"1\"" } });
    if let Some(resource) = resource {
        entry["resource"] = resource.clone();
    }
    entry
}

fn answers(kind: &str, entries: &[Value]) -> Value {
    json!({ "resourceType": "Bundle", "type": kind, "entry": entries })
}

#[test]
fn the_answer_to_a_bundle_is_looked_through_entry_by_entry() {
    let named = || Some(Wanted { resource: None, names_patient: true });
    let check = |wanted: &[Option<Wanted>], reply: &Value| {
        let awaited = Awaited::Each(BundleKind::Batch, wanted.to_vec());
        Confined { awaited, ..confined() }.inspect(reply.to_string().as_bytes())
    };
    let own = || answer("200 OK", Some(&of("p1")));
    let made = || {
        let mut entry = answer("201 Created", None);
        entry["response"]["location"] = "Observation/9/_history/1".into();
        entry
    };
    let found = bundle(&[of("p1")]);
    let three = [named(), Some(by_id("Observation", "o-p1")), named()];
    let good = [made(), own(), answer("200", Some(&found))];
    assert_eq!(check(&three, &answers("batch-response", &good)), Ok(()));
    // Whatever it is, and wherever it stands.
    for other in with_another(&of("p2")) {
        for at in 0..3 {
            let mut entries = good.clone();
            entries[at] = answer("200 OK", Some(&other));
            assert!(check(&three, &answers("batch-response", &entries)).is_err(), "{at}: {other}");
        }
    }
    let by_one =
        |entry: Value, wanted: Option<Wanted>| check(&[wanted], &answers("batch-response", &[entry]));
    let o_p1 = || Some(by_id("Observation", "o-p1"));
    assert_eq!(by_one(answer("200", Some(&of("p2"))), named()), Err(Unfit::Foreign));
    // One that is not there, one that has not changed and one that shows nothing are like one that is another's.
    for status in ["404 Not Found", "410", "403", "304 Not Modified", "200 OK", "500", "2000"] {
        assert_eq!(by_one(answer(status, None), o_p1()), Err(Unfit::Foreign), "{status}");
    }
    assert_eq!(
        by_one(answer("200", Some(&json!({ "resourceType": "Patient", "id": "p1" }))), o_p1()),
        Err(Unfit::Foreign)
    );
    for status in ["404 Not Found", "422", "202", "", "OK"] {
        assert_eq!(by_one(answer(status, None), named()), Err(Unfit::Unreadable), "{status}");
    }
    let mut led = made();
    led["response"]["location"] = "Patient/p2".into();
    assert_eq!(by_one(led, named()), Err(Unfit::Foreign));
    assert_eq!(by_one(answer("200", Some(&of("p2"))), None), Ok(()));
    for reply in [
        answers("transaction-response", &good),
        answers("searchset", &good),
        answers("batch-response", &good[..2]),
        answers("batch-response", &[made(), own(), made(), made()]),
        answers("batch-response", &[made(), own(), json!({ "resource": of("p1") })]),
        answers("batch-response", &[made(), own(), json!([])]),
        of("p1"),
    ] {
        assert_eq!(check(&three, &reply), Err(Unfit::Unreadable), "{reply}");
    }
    let mut framed = answers("batch-response", &good);
    framed["note"] = "of p2".into();
    assert_eq!(check(&three, &framed), Err(Unfit::Unreadable));
    let nothing = Confined { awaited: Awaited::Each(BundleKind::Batch, vec![named()]), ..confined() };
    assert_eq!(nothing.inspect(b""), Err(Unfit::Unreadable));
    assert!(nothing.awaited.names_patient());
    assert!(!Awaited::Each(BundleKind::Batch, three.to_vec()).names_patient());
}
