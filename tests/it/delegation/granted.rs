//! From the grant to its end.

use std::time::Duration;

use serde_json::{Value, json};

use super::{World, lines, records, refused};
use crate::support::{Signer, eventually};

#[test]
fn a_caregiver_has_an_access_of_their_own_until_the_patient_ends_it() {
    let world = World::start(|text| text);
    let (mia, ann) = (world.person("mia"), world.person("ann"));
    assert_eq!(world.get("/patients/ann/results", &mia), 403);
    let id = world.grant("caregiver", "user-mia", "ann", &[]);
    assert_eq!(world.get("/patients/ann/results", &mia), 200);
    assert_eq!(world.get("/patients/ann/letters", &mia), 200);
    assert_eq!(world.get("/patients/bob/results", &mia), 403, "for one patient");
    assert_eq!(world.get("/patients/mia/results", &ann), 403, "in one direction");

    let listed = lines(&world.ask(&["list"]));
    assert_eq!((&listed[0]["id"], &listed[0]["person"]), (&json!(id), &json!("user-mia")));
    assert!(listed[0].get("patient").is_none(), "{listed:?}");
    assert!(lines(&world.ask(&["list", "--due-within", "80"])).is_empty());
    assert_eq!(lines(&world.ask(&["list", "--due-within", "90"])).len(), 1);

    // The patient sees it, and nobody else does.
    let seen: Value = world.own(&ann, None).json();
    assert_eq!(
        (&seen["delegations"][0]["id"], &seen["delegations"][0]["relation"]),
        (&json!(id), &json!("caregiver"))
    );
    assert_eq!(world.own(&mia, None).json()["delegations"], json!([]));
    assert_eq!(world.own(&mia, Some(&id)).status, 403, "who acts for a patient is not the patient");
    assert_eq!(world.get("/patients/ann/results", &mia), 200);
    let ended = world.own(&ann, Some(&id));
    assert_eq!((ended.status, ended.json()["delegations"].clone()), (200, json!([])));
    assert_eq!(world.get("/patients/ann/results", &mia), 403);
    assert!(lines(&world.ask(&["list"])).is_empty());
    assert_eq!(lines(&world.ask(&["list", "--all"]))[0]["over"], true);
    // It can be granted anew.
    world.grant("caregiver", "user-mia", "ann", &[]);
    assert_eq!(world.get("/patients/ann/results", &mia), 200);

    let all = world.gateway.audit();
    let told: Vec<(&str, &str)> = records(&all)
        .iter()
        .map(|record| (record["what"].as_str().unwrap_or(""), record["result"].as_str().unwrap_or("")))
        .filter(|(what, _)| *what != "shown")
        .collect();
    assert_eq!(told, [("granted", ""), ("ended", "patient"), ("granted", "")]);
    let granted = records(&all)[0];
    assert!(granted["by"].is_string() && granted["by"] != granted["subject"], "{granted}");
    let used = all.iter().find(|record| record["reason"] == "delegated").expect("on record");
    assert_eq!(used["input"]["delegation"], json!({ "id": id, "relation": "caregiver" }));
    assert_eq!((&used["subject"], &used["patient"]), (&granted["subject"], &granted["patient"]));
    let text = serde_json::to_string(&all).expect("text");
    for name in ["user-mia", "\"ann\""] {
        assert!(!text.contains(name), "{name}");
    }
}

#[test]
fn a_grant_is_narrow_short_and_ends_with_an_age() {
    let world = World::start(|text| text);
    let mia = world.person("mia");
    world.grant("caregiver", "user-mia", "ann", &["--action", "letters.read"]);
    assert_eq!(world.get("/patients/ann/letters", &mia), 200);
    assert_eq!(world.get("/patients/ann/results", &mia), 403);
    let office = world.office();
    let grant = |more: &[&str]| {
        let words = ["grant", "--relation", "parent", "--person", "user-mia", "--patient", "tim"];
        world.ask_with(&office, &[&words[..], more].concat())
    };
    refused(&grant(&[]), "say when the patient was born");
    refused(&grant(&["--born", "2001-02-03"]), "over already");
    refused(&grant(&["--born", "2020-02-03", "--action", "letters.read"]), "not good for one of the actions");
    refused(&grant(&["--born", "2020-02-03", "--until", "2001-01-01T00:00:00Z"]), "over already");
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let born = today.checked_sub(jiff::Span::new().years(13)).expect("a day");
    let born = born.checked_add(jiff::Span::new().days(2)).expect("a day").to_string();
    let told = lines(&grant(&["--born", &born]));
    let birthday = today.checked_add(jiff::Span::new().days(2)).expect("a day").to_string();
    assert_eq!(told[0]["until"], format!("{birthday}T00:00:00Z"));
    let recorded = serde_json::to_string(&world.gateway.audit()).expect("text");
    assert!(!recorded.contains(&born));
    assert_eq!(world.get("/patients/tim/results", &mia), 200);
    assert_eq!(world.get("/patients/tim/letters", &mia), 403);
    refused(&grant(&["--born", &born]), "acts for this patient already");
}

#[test]
fn what_nobody_looks_at_again_stops() {
    let world = World::start(|text| text.replace("review_every: 90d", "review_every: 2s"));
    let mia = world.person("mia");
    let id = world.grant("caregiver", "user-mia", "ann", &[]);
    eventually("it is due", Duration::from_secs(20), || world.get("/patients/ann/results", &mia) == 403);
    let refusal = crate::support::http::send(
        world.gateway.address,
        "GET",
        "/patients/ann/results",
        &[("Authorization", &mia)],
        b"",
    )
    .expect("an answer");
    assert!(refusal.json()["type"].as_str().is_some_and(|name| name.ends_with("delegation_review_due")));
    assert_eq!(world.own(&world.person("ann"), None).json()["delegations"][0]["waits_for_review"], true);
    assert_eq!(lines(&world.ask(&["list", "--due-within", "0"]))[0]["overdue"], true);
    let gateway_goes_on = lines(&world.ask_with(&world.office(), &["review", &id]));
    assert_eq!(gateway_goes_on[0]["overdue"], false);
    assert_eq!(world.get("/patients/ann/results", &mia), 200);
}

#[test]
fn a_restart_keeps_it_and_a_revocation_ends_it() {
    let world = World::start(|text| text);
    let mia = world.person("mia");
    let id = world.grant("caregiver", "user-mia", "ann", &[]);
    let World { setup, gateway, upstream, signer } = world;
    gateway.kill();
    let gateway = setup.start();
    let world = World { setup, gateway, upstream, signer };
    assert_eq!(world.get("/patients/ann/results", &mia), 200);
    let shown = lines(&world.ask_with(&world.office(), &["show", "--patient", "ann"]));
    assert_eq!((&shown[0]["id"], &shown[0]["patient"]), (&json!(id), &json!("ann")));
    assert_eq!(lines(&world.ask(&["revoke", &id]))[0]["ended"], true);
    assert_eq!(world.get("/patients/ann/results", &mia), 403);
    refused(&world.ask_with(&world.office(), &["review", &id]), "it is over");
    let told: Vec<String> =
        records(&world.gateway.audit()).iter().map(|record| record["what"].to_string()).collect();
    assert!(told.contains(&"\"shown\"".to_owned()) && told.contains(&"\"ended\"".to_owned()), "{told:?}");
}

/// Somebody with a token of the patient's that names them (`act`, RFC 8693 §4.1).
#[test]
fn an_actor_is_on_record_beside_the_patient() {
    let world = World::start(|text| text);
    let mut claims = Signer::claims("ann", "aal1", 30);
    claims["act"] = json!({ "sub": "user-mia" });
    let acting = format!("Bearer {}", world.signer.sign(&claims));
    assert_eq!(world.get("/patients/ann/results", &acting), 403, "a token is not enough");
    world.grant("caregiver", "user-mia", "ann", &[]);
    assert_eq!(world.get("/patients/ann/results", &acting), 200);
    assert_eq!(world.get("/patients/mia/results", &acting), 403);
    assert_eq!(world.own(&acting, None).status, 403, "who acts for her has no say in who else does");
    let records = world.gateway.audit();
    let used = records.iter().find(|record| record["reason"] == "delegated").expect("on record");
    assert!(used["actor"].is_string() && used["actor"] != used["subject"], "{used}");
    let granted = super::records(&records)[0];
    assert_eq!(used["actor"], granted["subject"]);
}

/// Grants that are given at the same moment hide none of each other from the patient.
#[test]
fn a_patient_sees_everybody_however_fast_they_were_granted() {
    let world = World::start(|text| text);
    let people: Vec<String> = (0..8).map(|number| format!("helper-{number}")).collect();
    let office = world.office();
    std::thread::scope(|scope| {
        for person in &people {
            let words = ["grant", "--relation", "caregiver", "--person", person, "--patient", "p1"];
            let (world, office) = (&world, &office);
            scope.spawn(move || lines(&world.ask_with(office, &words)));
        }
    });
    let seen: Value = serde_json::from_str(&world.own(&world.person("p1"), None).body).expect("JSON");
    let mut seen: Vec<&str> = seen["delegations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["person"].as_str().expect("a person"))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, people);
}
