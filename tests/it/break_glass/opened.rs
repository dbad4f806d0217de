//! What is opened, for whom, and for how long it stays known.

use serde_json::json;

use super::{WHY, World, get, glass_records, order, results};
use crate::support::{eventually, http};
use std::process::Command;
use std::time::Duration;

#[test]
fn one_patients_record_is_open_and_everything_is_on_record() {
    let world = World::start(|text| text);
    let (at, doctor) = (world.gateway.address, world.doctor());

    let refused = get(at, "/patients/p1/results", &doctor);
    assert_eq!((refused.status, refused.header("x-wardgate-break-glass")), (403, Some("offered")));
    let offer = &refused.json()["break_glass"];
    assert_eq!(
        offer,
        &json!({ "url": "/_wardgate/break-glass", "reason_codes": ["emergency", "covering"], "text_min": 20 })
    );
    let clerk = get(at, "/patients/p1/results", &world.staff("clerk", "clerk", "aal2", 30));
    assert_eq!(
        (clerk.status, clerk.header("x-wardgate-break-glass"), &clerk.json()["break_glass"]),
        (403, None, &json!(null))
    );

    let opened = order(at, &doctor, &results("p1"));
    assert_eq!(opened.status, 201, "{opened:?}");
    assert_eq!(
        (opened.json()["right"].as_str(), opened.json()["drill"].as_bool()),
        (Some("treatment"), Some(false))
    );
    let read = get(at, "/patients/p1/results", &doctor);
    assert_eq!((read.status, read.header("x-wardgate-break-glass")), (200, Some("open")));
    assert_eq!(world.upstream.requests()[0].values("x-wardgate-break-glass"), ["open"]);

    // One patient, one person, reading.
    for (target, who) in [
        ("/patients/p2/results", "house"),
        ("/patients/p1/results", "wilson"),
        ("/patients/p1/sealed", "house"),
    ] {
        let answer = get(at, target, &world.staff(who, "hospitalist", "aal2", 30));
        assert_eq!(answer.status, 403, "{who} {target}");
    }
    let put =
        http::send(at, "PUT", "/patients/p1/results", &[("Authorization", &doctor)], b"").expect("an answer");
    assert_eq!((put.status, put.header("x-wardgate-break-glass")), (403, None));
    assert_eq!(order(at, &doctor, &results("p1")).status, 409, "it is open");
    assert_eq!(world.upstream.count(), 1);

    let records = world.gateway.audit();
    let glass = glass_records(&records);
    assert_eq!(glass.len(), 2, "{glass:?}");
    assert_eq!((&glass[0]["what"], &glass[0]["code"]), (&json!("opened"), &json!("emergency")));
    assert_eq!((&glass[1]["what"], &glass[1]["glass"]), (&json!("used"), &opened.json()["break_glass"]));
    assert_eq!((&glass[0]["subject"], &glass[0]["patient"]), (&glass[1]["subject"], &glass[1]["patient"]));
    let intent = records.iter().find(|record| record["event"] == "intent").expect("an intent");
    assert_eq!((&intent["reason"], &intent["decision"]), (&json!("glass_broken"), &glass[1]["decision"]));
    assert_eq!(intent["input"]["break_glass"], "broken");
    assert!(glass[1]["seq"].as_u64() < intent["seq"].as_u64(), "before anything is forwarded");
    eventually("the detection is on record", Duration::from_secs(20), || {
        world.gateway.audit().iter().any(|record| {
            record["event"] == "detection"
                && record["name"] == "break_glass_used"
                && record["subject"] == glass[1]["subject"]
        })
    });
    assert!(world.gateway.metric("wardgate_break_glass_total{right=\"treatment\",what=\"used\"}") >= 1.0);
    let text = std::fs::read_to_string(world.gateway.audit_file()).expect("the journal");
    let logs = world.gateway.logs().join("\n");
    for secret in [WHY, "Miller", "user-house", "\"p1\""] {
        assert!(!text.contains(secret) && !logs.contains(secret), "{secret} is told");
    }
}

#[test]
fn proof_comes_first_and_a_reason_must_be_given() {
    let world = World::start(|text| text);
    let (at, doctor) = (world.gateway.address, world.doctor());
    for (level, age) in [("aal1", 30), ("aal2", 301)] {
        let answer = order(at, &world.staff("house", "hospitalist", level, age), &results("p1"));
        assert_eq!(answer.status, 401, "{level} {age}");
        let asked = answer.header("www-authenticate").expect("a challenge").to_owned();
        assert!(
            asked.contains("insufficient_user_authentication") && asked.contains("max_age=\"300\""),
            "{asked}"
        );
    }
    for (what, changed) in [
        ("code", json!({ "target": "/patients/p1/results", "code": "curiosity", "text": WHY })),
        (
            "short",
            json!({ "target": "/patients/p1/results", "code": "emergency", "text": "   please, please     " }),
        ),
        ("long", json!({ "target": "/patients/p1/results", "code": "emergency", "text": "x".repeat(2_001) })),
        (
            "patient",
            json!({ "target": "/patients/p1/results", "code": "emergency", "text": WHY, "patient": "p2" }),
        ),
        (
            "method",
            json!({ "method": "G T", "target": "/patients/p1/results", "code": "emergency", "text": WHY }),
        ),
        ("target", json!({ "target": "http://[", "code": "emergency", "text": WHY })),
    ] {
        assert_eq!(order(at, &doctor, &changed).status, 400, "{what}");
    }
    for (target, status) in
        [("/patients/p1/sealed", 403), ("/nowhere", 404), ("/patients/p1/../p2/results", 400)]
    {
        let answer = order(at, &doctor, &json!({ "target": target, "code": "emergency", "text": WHY }));
        assert_eq!(answer.status, status, "{target}");
    }
    assert_eq!(order(at, "Bearer nonsense", &results("p1")).status, 401);
    let got = get(at, "/_wardgate/break-glass", &doctor);
    assert_eq!((got.status, got.header("allow")), (405, Some("POST")));
    assert_eq!(get(at, "/patients/p1/results", &doctor).status, 403, "nothing was opened");
    assert!(glass_records(&world.gateway.audit()).is_empty());

    // Not more often than the right says, whoever the patient is.
    let answers: Vec<u16> =
        ["p1", "p2", "p3", "p4"].map(|patient| order(at, &doctor, &results(patient)).status).into();
    assert_eq!(answers, [201, 201, 201, 429]);
}

#[test]
fn what_is_open_outlives_a_restart_and_not_a_lost_store() {
    let world = World::start(|text| text);
    let doctor = world.doctor();
    assert_eq!(order(world.gateway.address, &doctor, &results("p1")).status, 201);
    let World { setup, gateway, .. } = world;
    gateway.kill();
    let gateway = setup.start();
    assert_eq!(get(gateway.address, "/patients/p1/results", &doctor).status, 200);
    gateway.kill();
    std::fs::remove_dir_all(setup.dir().join("state")).expect("removed");
    let gateway = setup.start();
    assert_eq!(get(gateway.address, "/patients/p1/results", &doctor).status, 403);
}

#[test]
fn a_revocation_ends_what_is_open_and_nobody_revoked_opens_anything() {
    let world = World::start(|text| text);
    let (at, doctor) = (world.gateway.address, world.staff("house", "hospitalist", "aal2", 120));
    assert_eq!(order(at, &doctor, &results("p1")).status, 201);
    assert_eq!(get(at, "/patients/p1/results", &doctor).status, 200);
    let socket = world.gateway.dir.path().join("operators.sock");
    let revoke = |subject: &str| {
        let said = Command::new(env!("CARGO_BIN_EXE_wardgate"))
            .args(["revoke", "--issuer", "patients", "--subject", subject, "--socket"])
            .arg(&socket)
            .output()
            .expect("it runs");
        assert!(said.status.success(), "{said:?}");
    };
    revoke("user-wilson");
    assert_eq!(get(at, "/patients/p1/results", &doctor).status, 200, "it was somebody else");
    revoke("user-house");
    assert_eq!(get(at, "/patients/p1/results", &doctor).status, 401);
    assert_eq!(order(at, &doctor, &results("p2")).status, 401);
    // A new sign-in has the right, and nothing of what was open before.
    let anew = || world.staff("house", "hospitalist", "aal2", 0);
    eventually("a new token is accepted", Duration::from_secs(20), || {
        get(at, "/patients/p1/results", &anew()).status != 401
    });
    let refused = get(at, "/patients/p1/results", &anew());
    assert_eq!((refused.status, refused.header("x-wardgate-break-glass")), (403, Some("offered")));
    assert_eq!(order(at, &anew(), &results("p1")).status, 201);
    assert_eq!(get(at, "/patients/p1/results", &anew()).status, 200);
    let opened = world.gateway.audit();
    assert_eq!(glass_records(&opened).iter().filter(|record| record["what"] == "opened").count(), 2);
}

#[test]
fn a_drill_is_all_of_it_and_opens_nothing() {
    let world = World::start(|text| {
        text.replace("    roles: [hospitalist]\n", "    roles: [hospitalist]\n    drill: true\n")
    });
    let (at, doctor) = (world.gateway.address, world.doctor());
    let opened = order(at, &doctor, &results("p1"));
    assert_eq!((opened.status, opened.json()["drill"].as_bool()), (201, Some(true)), "{opened:?}");
    assert_eq!(get(at, "/patients/p1/results", &doctor).status, 403);
    assert_eq!(world.upstream.count(), 0);
    let records = world.gateway.audit();
    assert_eq!(glass_records(&records)[0]["drill"], true);
    assert!(records.iter().any(|record| record["input"]["break_glass"] == "drill"));
}
