//! The audit trail as operators check it: with the program, against files that a real gateway has written.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use super::{EXPORT, JSON, PAY, READ, proofs, setup};
use crate::support::{Gateway, Recorder, Setup, Signer, eventually, http};

const LONG: Duration = Duration::from_secs(20);

/// Runs `wardgate audit …`.
fn audit(arguments: &[&str]) -> Output {
    let program = Command::new(env!("CARGO_BIN_EXE_wardgate")).arg("audit").args(arguments).output();
    program.expect("the program runs")
}

/// Its exit code, with what it said.
fn verify(dir: &Path, more: &[&str]) -> (Option<i32>, String) {
    let dir = dir.to_str().expect("text");
    let output = audit(&[&["verify", dir], more].concat());
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A gateway that has forwarded and refused, its setup, and its directory of audit files.
fn worked() -> (Setup, Gateway, Signer) {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(upstream.address, &signer, |text| text);
    let gateway = setup.start();
    let proof = proofs(&gateway, &signer, 1).remove(0);
    let headers = [("Authorization", proof.as_str()), JSON];
    for (method, target) in
        [("GET", READ), ("POST", PAY), ("PUT", EXPORT), ("PUT", EXPORT), ("GET", "/nowhere")]
    {
        http::send(gateway.address, method, target, &headers, b"{}").expect("an answer");
    }
    gateway.audit();
    (setup, gateway, signer)
}

#[test]
fn a_trail_is_whole_while_and_after_it_is_written() {
    let (setup, mut gateway, _) = worked();
    let dir = setup.dir().join("audit");
    eventually("a checkpoint vouches for everything", LONG, || verify(&dir, &[]).0 == Some(0));
    // Kept elsewhere: the key, and a checkpoint.
    let elsewhere = tempfile::tempdir().expect("a directory");
    let (key, kept) = (elsewhere.path().join("key"), elsewhere.path().join("checkpoint"));
    std::fs::copy(dir.join("checkpoints.pub"), &key).expect("copied");
    let records = gateway.audit();
    let checkpoint = records.iter().rfind(|record| record["event"] == "checkpoint").expect("a checkpoint");
    std::fs::write(&kept, checkpoint["note"].as_str().expect("a note")).expect("written");
    let by = ["--key", key.to_str().expect("text"), "--checkpoint", kept.to_str().expect("text")];
    assert_eq!(verify(&dir, &by).0, Some(0));

    gateway.signal("TERM");
    assert_eq!(gateway.wait(LONG), Some(0));
    let (code, said) = verify(&dir, &by);
    assert_eq!(code, Some(0), "{said}");

    let file = dir.join("audit.jsonl");
    let text = std::fs::read_to_string(&file).expect("the journal");
    let lines: Vec<&str> = text.lines().collect();
    let paid = lines.iter().position(|line| line.contains(r#""action":"payment.pay""#)).expect("a payment");
    let change = |what: &str, lines: &[String], code: i32, says: &str| {
        std::fs::write(&file, lines.join("\n") + "\n").expect("written");
        let (found, said) = verify(&dir, &by);
        assert!(found == Some(code) && said.contains(says), "{what}: {found:?} {said}");
    };
    let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let mut changed = owned(&lines);
    changed[paid] = changed[paid].replace("payment.pay", "payment.see");
    change(
        "one record was changed",
        &changed,
        1,
        &format!("audit.jsonl:{}: the record is damaged", paid + 1),
    );
    let mut changed = owned(&lines);
    changed.remove(paid);
    change("one record was taken out", &changed, 1, &format!("record {} belongs here", paid + 1));
    change("the newest were cut off", &owned(&lines[..paid]), 1, "the kept checkpoint");
    change("nothing was changed", &owned(&lines), 0, "whole");
    // Another's key, in the place of the one that lies beside the trail.
    let other = std::fs::read_to_string(worked().0.dir().join("audit/checkpoints.pub")).expect("a key");
    std::fs::write(&key, other).expect("written");
    assert_eq!(verify(&dir, &by).0, Some(1));
}

#[test]
fn a_gateway_that_was_killed_leaves_a_trail_that_says_so() {
    let (setup, gateway, _) = worked();
    let dir = setup.dir().join("audit");
    eventually("a checkpoint", LONG, || verify(&dir, &[]).0 == Some(0));
    gateway.kill();
    let (code, said) = verify(&dir, &[]);
    assert!(code == Some(2) && said.contains("a gateway that was stopped"), "{code:?} {said}");
    // The next one goes on after it, under a key of its own.
    let mut gateway = setup.start();
    gateway.signal("TERM");
    assert_eq!(gateway.wait(LONG), Some(0));
    let (code, said) = verify(&dir, &[]);
    assert_eq!(code, Some(0), "{said}");
    let records = std::fs::read_to_string(dir.join("audit.jsonl")).expect("the journal");
    assert_eq!(records.matches(r#""event":"signer""#).count(), 2);
    // What has a file's name and is none is told, not followed; nor is its name taken for what the program says.
    std::os::unix::fs::symlink("/dev/zero", dir.join("audit.99.x\n: whole.jsonl")).expect("a link");
    let (code, said) = verify(&dir, &[]);
    assert!(code == Some(2) && said.contains(r"x\n: whole.jsonl` is no file"), "{code:?} {said}");
}

#[test]
fn one_record_is_proven_to_somebody_who_has_nothing_else() {
    let (setup, gateway, _) = worked();
    let dir = setup.dir().join("audit");
    eventually("a checkpoint vouches for everything", LONG, || verify(&dir, &[]).0 == Some(0));
    let query =
        audit(&["query", dir.to_str().expect("text"), "--action", "payment.pay", "--event", "intent"]);
    let found = String::from_utf8(query.stdout).expect("text");
    assert_eq!(found.lines().count(), 1, "{found}");
    let record: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    let number = record["seq"].to_string();
    let proof = audit(&["prove", dir.to_str().expect("text"), &number]);
    assert!(proof.status.success(), "{}", String::from_utf8_lossy(&proof.stderr));
    let (file, key) = (setup.dir().join("proof.json"), dir.join("checkpoints.pub"));
    let check = |text: &[u8]| {
        std::fs::write(&file, text).expect("written");
        audit(&["check-proof", file.to_str().expect("text"), "--key", key.to_str().expect("text")])
    };
    let checked = check(&proof.stdout);
    assert_eq!((checked.status.code(), checked.stdout), (Some(0), found.clone().into_bytes()));
    let forged = String::from_utf8(proof.stdout).expect("text").replace("payment.pay", "payment.see");
    let refused = check(forged.as_bytes());
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not the one that the checkpoint vouches for"));
    let none = audit(&["prove", dir.to_str().expect("text"), "999999"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("there is no record 999999"));
    drop(gateway);
}

#[test]
fn the_tail_shows_what_is_written_from_now_on() {
    let (setup, gateway, signer) = worked();
    let dir = setup.dir().join("audit");
    let shown = setup.dir().join("shown");
    let before = gateway.audit().len();
    let mut tail = Command::new(env!("CARGO_BIN_EXE_wardgate"))
        .args(["audit", "tail", "--event", "intent"])
        .arg(&dir)
        .stdout(std::fs::File::create(&shown).expect("a file"))
        .spawn()
        .expect("the program runs");
    let intents = || std::fs::read_to_string(&shown).expect("text").lines().count();
    let proof = proofs(&gateway, &signer, 1).remove(0);
    let ask = || {
        let asked = http::send(gateway.address, "GET", READ, &[("Authorization", &proof)], b"");
        assert_eq!(asked.expect("an answer").status, 200);
    };
    // Nobody knows when it has begun to look: what is written after the first one that it shows, it shows.
    eventually("it shows what is new", LONG, || {
        ask();
        intents() > 0
    });
    let seen = intents();
    for _ in 0..10 {
        ask();
    }
    eventually("it shows all of it", LONG, || intents() >= seen + 10);
    let first: serde_json::Value =
        serde_json::from_str(std::fs::read_to_string(&shown).expect("text").lines().next().expect("a line"))
            .expect("JSON");
    assert!(first["seq"].as_u64().expect("a number") > before as u64, "nothing from before");
    assert_eq!(first["event"], "intent");
    tail.kill().expect("killed");
    tail.wait().expect("ended");
}
