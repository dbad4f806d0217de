//! `wardgate test`: what an operator and a build server get to read.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const GATEWAY: &str = r#"
version: 1
listeners: [{ name: edge, address: "127.0.0.1:8080" }]
issuers:
  - name: patients
    issuer: https://login.clinic.example
    audiences: [portal-api]
    assurance: { aal1: { any_of: { amr: [pwd] } }, aal2: { any_of: { acr: ["urn:clinic:loa:2"] } } }
    claims: { patient: patient_id }
upstreams: { app: { endpoints: ["127.0.0.1:9000"] } }
routes:
  - { id: home, match: { path: "/", methods: [GET] }, upstream: app, access: public }
  - { id: results.read, match: { path: "/patients/{patient}/results", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: payment.pay, match: { path: "/patients/{patient}/payments", methods: [POST] }, upstream: app,
      tier: high, patient: { from: path.patient }, any_of: [{ patient: self }] }
cases:
  - { name: her own, as: { issuer: patients, patient: p1, level: aal1 }, request: GET /patients/p1/results, expect: permit }
"#;

const MORE: &str = r#"cases:
  - { name: not another's, as: { issuer: patients, patient: p1, level: aal2 }, request: GET /patients/p2/results, expect: deny, reason: no_relation }
  - { name: "paying <asks> & \"proof\"", as: { issuer: patients, patient: p1, level: aal1 }, request: POST /patients/p1/payments, expect: permit, tier: high }
"#;

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).expect("writable");
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardgate"));
    command.arg("test").args(arguments).current_dir(dir);
    command
}

fn test(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(dir, arguments).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "gateway.yaml", GATEWAY);
    write(dir.path(), "more.yaml", MORE);
    dir
}

#[test]
fn a_failure_is_told_with_what_was_expected_what_came_and_the_way_there() {
    let dir = folder();
    let (code, told, _) = test(dir.path(), &["gateway.yaml", "more.yaml"]);
    assert_eq!(code, Some(1), "{told}");
    for part in [
        "FAILED: paying <asks> & \"proof\"",
        "--> more.yaml:3:",
        "POST /patients/p1/payments, as patients, aal1, patient p1",
        "* verdict  permit    challenge",
        "    reason   -         level_too_low",
        "    tier     high      high",
        "1. canonicalise",
        "3 cases: 2 passed, 1 failed",
    ] {
        assert!(told.contains(part), "{part} is missing:\n{told}");
    }
    let (code, told, _) = test(dir.path(), &["gateway.yaml", "more.yaml", "--only", "another"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("1 case: 1 passed") && !told.contains("ROUTE"), "{told}");
}

#[test]
fn what_no_case_looks_at_is_counted_and_can_fail_a_build() {
    let dir = folder();
    let row = |told: &str, route: &str| {
        let line = told.lines().find(|line| line.starts_with(route)).expect("a row").to_owned();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let (_, told, _) = test(dir.path(), &["gateway.yaml", "more.yaml"]);
    assert_eq!(row(&told, "home"), "0 0 0 permit");
    assert_eq!(row(&told, "results.read"), "1 0 1");
    // What failed shows nothing.
    assert_eq!(row(&told, "payment.pay"), "0 0 0 permit, challenge, deny");
    assert!(told.contains("2 of 6 outcomes are looked at (33 %)"), "{told}");
    let (code, _, said) = test(dir.path(), &["gateway.yaml", "--min-coverage", "17"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("16 % of what can come of the routes is looked at, and 17 % are wanted"), "{said}");
    assert_eq!(test(dir.path(), &["gateway.yaml", "--min-coverage", "16"]).0, Some(0));
}

#[test]
fn programs_get_json_and_build_servers_junit() {
    let dir = folder();
    let (_, told, _) = test(dir.path(), &["gateway.yaml", "more.yaml", "--format", "json"]);
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["passed"], &told["failed"]), (&Value::from(2), &Value::from(1)));
    assert_eq!(told["cases"][2]["expected"]["verdict"], "permit");
    assert_eq!(told["cases"][2]["came"]["reason"], "level_too_low");
    assert_eq!(told["cases"][2]["line"], 3);
    assert_eq!(told["coverage"]["percent"], 33);
    let (code, told, _) = test(dir.path(), &["gateway.yaml", "more.yaml", "--format", "junit"]);
    assert_eq!(code, Some(1));
    write(dir.path(), "junit.xml", &told);
    let script = "import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
for suite in root: print(suite.get('name'), suite.get('tests'), suite.get('failures'))
[failure] = root.findall('.//failure')
print(root.find('.//testcase[failure]').get('name'), '|', failure.get('message'))";
    let read = Command::new("python3").args(["-c", script, "junit.xml"]).current_dir(dir.path()).output();
    let read = read.expect("Python runs");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_eq!(
        String::from_utf8_lossy(&read.stdout),
        "gateway.yaml 1 0\nmore.yaml 2 1\npaying <asks> & \"proof\" | verdict: expected permit, came challenge\n"
    );
}

#[test]
fn a_mistake_in_a_file_of_cases_is_told_with_its_place() {
    let dir = folder();
    for (text, wanted) in [
        (
            "cases: [{ name: x, as: { issuer: patiens, level: aal1 }, request: GET /, expect: permit }]",
            "did you mean `patients`?",
        ),
        (
            "cases: [{ name: x, as: nobody, request: GET /, expect: permit, route: hom }]",
            "did you mean `home`?",
        ),
        ("routes: []", "routes"),
        ("cases: [", "more.yaml"),
    ] {
        write(dir.path(), "more.yaml", text);
        let (code, _, said) = test(dir.path(), &["gateway.yaml", "more.yaml"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("--> more.yaml:") && said.contains(wanted), "{text}: {said}");
    }
    let (code, _, said) = test(dir.path(), &["gateway.yaml", "absent.yaml"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("absent.yaml") && said.contains("can't be read"), "{said}");
    let (code, _, said) = test(dir.path(), &["gateway.yaml", "--only", "nothing like it"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("no case was run"), "{said}");
}

#[test]
fn a_change_of_a_file_runs_them_again() {
    let dir = folder();
    let mut watching = command(dir.path(), &["gateway.yaml", "more.yaml", "--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(watching.stdout.take().expect("output")).lines();
    let mut until = |wanted: &str| lines.any(|line| line.expect("text").contains(wanted));
    assert!(until("3 cases: 2 passed, 1 failed"));
    write(
        dir.path(),
        "more.yaml",
        &MORE.replace("expect: permit, tier: high", "expect: challenge, tier: high"),
    );
    assert!(until("3 cases: 3 passed, 0 failed"));
    watching.kill().expect("ended");
    watching.wait().expect("ended");
}
