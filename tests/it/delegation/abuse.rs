//! Who may not, and what can't be known.

use std::time::Duration;

use serde_json::json;

use super::{World, lines, refused};
use crate::support::redis::Redis;
use crate::support::{Signer, eventually, http};

#[test]
fn nobody_grants_to_themselves_or_without_the_office() {
    let world = World::start(|text| text);
    let words = ["grant", "--relation", "caregiver", "--person", "user-mia", "--patient", "ann"];
    for (who, role, level, why) in [
        ("pam", "records-office", "aal1", "not that of somebody who grants"),
        ("pam", "nurse", "aal2", "not that of somebody who grants"),
        ("mia", "records-office", "aal2", "to themselves"),
    ] {
        refused(&world.ask_with(&world.staff(who, role, level), &words), why);
    }
    let nonsense = world.gateway.dir.path().join("nonsense");
    std::fs::write(&nonsense, "a.b.c").expect("written");
    refused(&world.ask_with(&nonsense, &words), "not accepted");
    let office = world.office();
    let with = |at: usize, value: &str| {
        let mut words: Vec<&str> = words.to_vec();
        words[at] = value;
        world.ask_with(&office, &words)
    };
    refused(&with(2, "friend"), "no such relation");
    refused(&with(4, "user mia"), "visible ASCII");
    refused(&with(6, ""), "visible ASCII");
    refused(&world.ask(&["revoke", "2026-01-01.1"]), "nothing of this name");
    assert!(lines(&world.ask(&["list", "--all"])).is_empty());
    // Nor does anybody review what is theirs.
    let id = world.grant("caregiver", "user-mia", "ann", &[]);
    refused(
        &world.ask_with(&world.staff("mia", "records-office", "aal2"), &["review", &id]),
        "to themselves",
    );
    let refusals = world.gateway.audit();
    let refusals = refusals.iter().filter(|record| record["event"] == "operator_refused").count();
    assert_eq!(refusals, 8);
}

/// No action on the list of `never`, no method that the route does not have, no revoked person.
#[test]
fn what_is_never_delegated_stays_the_patients() {
    let world = World::start(|text| text);
    let (mia, ann) = (world.person("mia"), world.person("ann"));
    world.grant("caregiver", "user-mia", "ann", &[]);
    let pay = |who: &str| {
        http::send(world.gateway.address, "POST", "/patients/ann/payments", &[("Authorization", who)], b"")
            .expect("an answer")
            .status
    };
    assert_eq!((pay(&ann), pay(&mia)), (200, 403));
    let mut claims = Signer::claims("ann", "aal2", 1);
    claims["act"] = json!({ "sub": "user-mia" });
    let acting = format!("Bearer {}", world.signer.sign(&claims));
    assert_eq!((pay(&acting), world.get("/patients/ann/results", &acting)), (403, 200));
    // Who acts is refused with whatever token, once they are.
    let socket = world.gateway.dir.path().join("operators.sock");
    let revoked = std::process::Command::new(env!("CARGO_BIN_EXE_wardgate"))
        .args(["revoke", "--issuer", "patients", "--subject", "user-mia", "--socket"])
        .arg(&socket)
        .output()
        .expect("it runs");
    assert!(revoked.status.success(), "{revoked:?}");
    assert_eq!(
        (world.get("/patients/ann/results", &acting), world.get("/patients/ann/results", &mia)),
        (401, 401)
    );
    assert_eq!(world.get("/patients/ann/results", &ann), 200);
}

/// Two gateways on one Redis: what is granted and ended at one counts at the other; without the store nobody acts for anybody;
/// the store's names and contents say nothing of whom it is about.
#[test]
fn two_gateways_agree_and_an_outage_grants_nothing() {
    let redis = Redis::start(&[]);
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        redis.address
    );
    let shared = |text: String| {
        text.replace("state: { single_replica: true, store: embedded, data_dir: ./state }", &state)
    };
    let world = World::start(shared);
    let (_setup, second) = world.another(shared);
    let mia = world.person("mia");
    let at_second = || {
        let headers = [("Authorization", mia.as_str())];
        http::send(second.address, "GET", "/patients/ann/results", &headers, b"").expect("an answer").status
    };
    assert_eq!(at_second(), 403);
    let id = world.grant("caregiver", "user-mia", "ann", &[]);
    assert_eq!((world.get("/patients/ann/results", &mia), at_second()), (200, 200));
    let names = redis.say(&["KEYS", "*"]);
    assert!(names.contains(":sealed:"), "{names}");
    for name in ["user-mia", "delegation"] {
        assert!(!names.contains(name), "{name}: {names}");
    }
    redis.freeze();
    assert_eq!((world.get("/patients/ann/results", &mia), at_second()), (503, 503));
    redis.thaw();
    eventually("the store is back", Duration::from_secs(30), || at_second() == 200);
    assert_eq!(lines(&world.ask(&["revoke", &id]))[0]["ended"], true);
    assert_eq!((world.get("/patients/ann/results", &mia), at_second()), (403, 403));
}
