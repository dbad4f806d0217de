//! What the trail becomes in the formats of others, read by checkers that others wrote: `scripts/setup.sh test` brings them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use super::{EXPORT, JSON, NOTES, PAY, PROFILE, READ, proofs, setup};
use crate::support::{Recorder, Signer, eventually, http};

const LONG: Duration = Duration::from_secs(20);

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run scripts/setup.sh test"))
}

/// Converts a trail with the program, a format a file.
fn convert(trail: &Path, into: &Path) {
    for (format, name) in
        [("ocsf", "ocsf.jsonl"), ("fhir", "fhir.jsonl"), ("cef", "cef.txt"), ("syslog", "syslog.txt")]
    {
        let mut query = Command::new(env!("CARGO_BIN_EXE_wardgate"));
        let output = run(query.args(["audit", "query"]).arg(trail).args(["--format", format]));
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
        fs::write(into.join(name), output.stdout).expect("writable");
    }
}

/// What the checkers say of some files of a folder; how many there are of each kind.
fn check(folder: &Path, names: &[&str]) -> Result<String, String> {
    let own = file("tests/it/operate/formats");
    let (fhir, others): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| **name == "fhir.jsonl");
    let mut outputs = Vec::new();
    if !others.is_empty() {
        let mut python = Command::new(file(".tools/formats/bin/python"));
        let schema = file("docs/audit-record.schema.json");
        outputs.push(run(python.arg(own.join("check.py")).arg(folder).arg(schema).args(others)));
    }
    for name in fhir {
        let node = Some(file(".tools/bin/node")).filter(|path| path.exists());
        let mut node = Command::new(node.unwrap_or_else(|| "node".into()));
        outputs.push(run(node.arg(own.join("check.mjs")).arg(folder.join(name))));
    }
    let told = outputs.iter().map(said).collect();
    if outputs.iter().all(|output| output.status.success()) { Ok(told) } else { Err(told) }
}

const ALL: [&str; 5] = ["records.jsonl", "ocsf.jsonl", "fhir.jsonl", "cef.txt", "syslog.txt"];

fn checked(trail: &Path, records: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a directory");
    fs::write(folder.path().join("records.jsonl"), records).expect("writable");
    convert(trail, folder.path());
    let told = check(folder.path(), &ALL).unwrap_or_else(|told| panic!("{told}"));
    (folder, told)
}

#[test]
fn every_kind_of_record_passes_the_checkers_of_others_and_what_is_broken_does_not() {
    let trail = tempfile::tempdir().expect("a directory");
    let records = fs::read_to_string(file("tests/it/operate/formats/records.jsonl")).expect("records");
    fs::write(trail.path().join("audit.jsonl"), &records).expect("writable");
    let (folder, told) = checked(trail.path(), &records);
    for kind in ["PatientRead: ", "PatientCreate: ", "PatientUpdate: ", "PatientDelete: ", "PatientQuery: "] {
        assert!(told.contains(kind), "{told}");
    }
    // A member that the schema does not know, a class that OCSF does not have, a field that nobody wrote.
    let folder = folder.path();
    for (name, from, to) in [
        ("records.jsonl", r#""crc""#, r#""path":"/patients/p1","crc""#),
        ("records.jsonl", r#""verdict":"permit","#, ""),
        ("ocsf.jsonl", r#""severity_id":1"#, r#""severity_id":17"#),
        ("ocsf.jsonl", r#""actor""#, r#""actress""#),
        ("cef.txt", "cs4Label=patient", "forged=1 cs4Label=patient"),
        ("cef.txt", "act=permit", "act=deny"),
        ("syslog.txt", "<110>1 ", "<111>2 x "),
        ("syslog.txt", "verdict=\"permit\"", "verdict=\"deny\""),
        ("fhir.jsonl", r#""outcome":"0""#, r#""outcome":"ok""#),
        ("fhir.jsonl", r#""resourceType""#, r#""token":"x","resourceType""#),
    ] {
        let text = fs::read_to_string(folder.join(name)).expect("readable");
        let broken = text.replacen(from, to, 1);
        assert_ne!(text, broken, "{name} has no {from}");
        fs::write(folder.join(name), broken).expect("writable");
        assert!(check(folder, &[name]).is_err(), "{name}: {to} was not found");
        fs::write(folder.join(name), text).expect("writable");
    }
}

#[test]
fn what_a_gateway_has_recorded_passes_the_checkers_of_others() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(upstream.address, &signer, |text| text);
    let mut gateway = setup.start();
    let proof = proofs(&gateway, &signer, 1).remove(0);
    let headers = [("Authorization", proof.as_str()), JSON];
    for (method, target, body) in [
        ("GET", READ, ""),
        ("POST", NOTES, "{}"),
        ("PUT", NOTES, "{}"),
        ("DELETE", NOTES, ""),
        ("POST", PAY, "{}"),
        ("PUT", EXPORT, "{}"),
        ("PUT", PROFILE, r#"{"language":"de"}"#),
        ("GET", "/patients/p2/results/1", ""),
        ("GET", "/nowhere", ""),
        ("PATCH", PAY, ""),
    ] {
        http::send(gateway.address, method, target, &headers, body.as_bytes()).expect("an answer");
    }
    http::send(gateway.address, "GET", READ, &[], b"").expect("an answer");
    let dir = setup.dir().join("audit");
    let text = || fs::read_to_string(dir.join("audit.jsonl")).expect("the trail");
    eventually("a checkpoint", LONG, || text().contains(r#""event":"checkpoint""#));
    gateway.signal("TERM");
    assert_eq!(gateway.wait(LONG), Some(0));
    let (folder, told) = checked(&dir, &text());
    for kind in
        ["PatientCreate: ", "PatientUpdate: ", "PatientDelete: ", "PatientQuery: ", "AccessDecision: "]
    {
        assert!(told.contains(kind), "{told}");
    }
    // A search is told without what was searched for, and nobody by a name.
    for name in ["ocsf.jsonl", "fhir.jsonl", "cef.txt", "syslog.txt"] {
        let text = fs::read_to_string(folder.path().join(name)).expect("readable");
        assert!(!text.contains("results/1") && !text.contains("/p1"), "{name} tells the path");
    }
}
