//! What becomes of it afterwards: the review by somebody else, the suspension where there is none, the end before its time.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use super::{WHY, World, get, glass_records, order, results};
use crate::support::eventually;

/// `wardgate break-glass …` on the gateway's socket.
fn ask(world: &World, words: &[&str]) -> Output {
    let socket = world.gateway.dir.path().join("operators.sock");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardgate"));
    command.arg("break-glass").args(words).arg("--socket").arg(socket).output().expect("it runs")
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A file with somebody's token.
fn token(world: &World, id: &str, role: &str, level: &str) -> PathBuf {
    let path = world.gateway.dir.path().join(format!("token-{id}-{role}-{level}"));
    let bearer = world.staff(id, role, level, 30);
    std::fs::write(&path, bearer.trim_start_matches("Bearer ")).expect("written");
    path
}

fn with_token(world: &World, words: &[&str], token: &std::path::Path) -> Output {
    let mut all = words.to_vec();
    let path = token.to_str().expect("a path");
    all.extend(["--token-file", path]);
    ask(world, &all)
}

fn refused(output: &Output, why: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains(why), "{output:?}");
}

#[test]
fn somebody_else_reviews_it_and_nobody_reviews_themselves() {
    let world = World::start(|text| text);
    let (at, doctor) = (world.gateway.address, world.doctor());
    assert_eq!(order(at, &doctor, &results("p1")).status, 201);
    let waiting = lines(&ask(&world, &["list"]));
    assert_eq!(waiting.len(), 1);
    let id = waiting[0]["id"].as_str().expect("a name").to_owned();
    assert_eq!((&waiting[0]["subject"], &waiting[0]["overdue"]), (&json!("user-house"), &json!(false)));
    assert!(waiting[0].get("patient").is_none() && waiting[0].get("text").is_none(), "{waiting:?}");

    // Not by the person, whatever roles they have by now; not by others who may not.
    let own = token(&world, "house", "privacy-office", "aal2");
    let review: &[&str] = &["review", &id, "--finding", "justified"];
    refused(&with_token(&world, review, &own), "themselves");
    refused(&with_token(&world, &["show", &id], &own), "themselves");
    for (who, role, level) in [("cuddy", "hospitalist", "aal2"), ("cuddy", "privacy-office", "aal1")] {
        refused(&with_token(&world, review, &token(&world, who, role, level)), "not that of a reviewer");
    }
    let nonsense = world.gateway.dir.path().join("nonsense");
    std::fs::write(&nonsense, "a.b.c").expect("written");
    refused(&with_token(&world, review, &nonsense), "not accepted");
    let cuddy = token(&world, "cuddy", "privacy-office", "aal2");
    refused(
        &with_token(&world, &["review", "2026-01-01.9", "--finding", "justified"], &cuddy),
        "nothing of this name",
    );

    let shown = lines(&with_token(&world, &["show", &id], &cuddy));
    assert_eq!((&shown[0]["patient"], &shown[0]["text"]), (&json!("p1"), &json!(WHY)));
    assert_eq!(lines(&with_token(&world, review, &cuddy))[0]["finding"], "justified");
    refused(&with_token(&world, review, &cuddy), "reviewed before");
    assert!(lines(&ask(&world, &["list"])).is_empty());
    assert_eq!(lines(&ask(&world, &["list", "--all"]))[0]["reviewed"], true);

    let records = world.gateway.audit();
    let told: Vec<&str> =
        glass_records(&records).iter().filter_map(|record| record["what"].as_str()).collect();
    assert_eq!(told, ["opened", "shown", "reviewed"]);
    let reviewed = glass_records(&records)[2];
    assert_eq!(reviewed["result"], "justified");
    assert!(reviewed["reviewer"].is_string() && reviewed["reviewer"] != reviewed["subject"], "{reviewed}");
    let count = records
        .iter()
        .filter(|record| record["event"] == "operator_refused" && record["why"] == "reviewer")
        .count();
    assert_eq!(count, 5);
    let text = std::fs::read_to_string(world.gateway.audit_file()).expect("the journal");
    assert!(!text.contains(WHY) && !text.contains("user-house"));
}

#[test]
fn who_was_not_reviewed_in_time_may_not_do_it_again() {
    let world = World::start(|text| text.replace("within: 72h", "within: 1s"));
    let (at, doctor) = (world.gateway.address, world.doctor());
    let opened = order(at, &doctor, &results("p1"));
    let id = opened.json()["break_glass"].as_str().expect("a name").to_owned();
    eventually("it is overdue", Duration::from_secs(20), || {
        lines(&ask(&world, &["list"]))[0]["overdue"] == true
    });
    let suspended = order(at, &doctor, &results("p2"));
    assert_eq!(
        (suspended.status, suspended.json()["type"].as_str()),
        (403, Some("urn:wardgate:problem:break_glass_suspended"))
    );
    // What is open stays so, and others may go on.
    assert_eq!(get(at, "/patients/p1/results", &doctor).status, 200);
    let wilson = world.staff("wilson", "hospitalist", "aal2", 30);
    assert_eq!(order(at, &wilson, &results("p2")).status, 201);

    // Also over a restart, at whose beginning it is told.
    let World { setup, gateway, upstream, signer } = world;
    gateway.kill();
    let world = World { gateway: setup.start(), setup, upstream, signer };
    eventually("it is told", Duration::from_secs(20), || {
        let records = world.gateway.audit();
        let told =
            |what: &str| glass_records(&records).iter().filter(|record| record["what"] == what).count();
        told("overdue") >= 1 && told("suspended") >= 1
    });
    assert_eq!(order(world.gateway.address, &doctor, &results("p2")).status, 403);
    let cuddy = token(&world, "cuddy", "privacy-office", "aal2");
    lines(&with_token(&world, &["review", &id, "--finding", "unjustified"], &cuddy));
    assert_eq!(order(world.gateway.address, &doctor, &results("p2")).status, 201, "the right is back");
    let records = world.gateway.audit();
    assert!(glass_records(&records).iter().any(|record| record["what"] == "restored"));
}

#[test]
fn an_operator_ends_what_is_open() {
    let world = World::start(|text| text);
    let (at, doctor) = (world.gateway.address, world.doctor());
    let opened = order(at, &doctor, &results("p1"));
    let id = opened.json()["break_glass"].as_str().expect("a name").to_owned();
    assert_eq!(get(at, "/patients/p1/results", &doctor).status, 200);
    assert_eq!(lines(&ask(&world, &["end", &id]))[0]["ended"], true);
    let refused = get(at, "/patients/p1/results", &doctor);
    assert_eq!((refused.status, refused.header("x-wardgate-break-glass")), (403, Some("offered")));
    let records = world.gateway.audit();
    assert_eq!(glass_records(&records).last().expect("one")["what"], "ended");
    // It still waits for its review.
    assert_eq!(lines(&ask(&world, &["list"])).len(), 1);
    assert_eq!(order(at, &doctor, &results("p1")).status, 201, "it may be opened anew");
    assert_eq!(get(at, "/patients/p1/results", &doctor).status, 200);
}
