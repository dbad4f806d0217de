//! Every example in the documents is loaded or run, and every shipped configuration is taken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wardgate::config;

/// What a fragment in a document needs around it to be a whole configuration.
const AROUND: &str = r#"
version: 1
listeners: [{ name: portal, address: "127.0.0.1:8080" }]
state: { single_replica: true }
issuers:
  - name: patients
    issuer: https://login.clinic.example/realms/patients
    audiences: [portal-api]
    assurance: { aal1: { any_of: { amr: [pwd] } }, aal2: { any_of: { acr: ["urn:clinic:loa:2"] } } }
    claims: { patient: patient_id }
  - name: workforce
    issuer: https://login.clinic.example/realms/staff
    audiences: [ehr]
    assurance: { aal1: { any_of: { amr: [pwd] } }, aal2: { any_of: { acr: ["urn:clinic:loa:2"] } } }
    claims: { roles: groups }
data_classes: { phi: { assurance: aal1 } }
upstreams: { ehr: { endpoints: ["127.0.0.1:9000"] } }
"#;

const ROUTES: &str = r#"
routes:
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: ehr, tier: low,
      patient: { from: path.patient }, any_of: [{ issuer: patients, patient: self }] }
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// The fenced blocks of a language in a document.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == format!("```{language}") {
            found.push(
                lines
                    .by_ref()
                    .take_while(|line| line.trim() != "```")
                    .map(|line| format!("{line}\n"))
                    .collect(),
            );
        }
    }
    found
}

fn must_load(name: &str, text: &str) -> config::Compiled {
    must_load_at(name, text, root())
}

fn must_load_at(name: &str, text: &str, dir: &Path) -> config::Compiled {
    match config::load(name, text, dir) {
        Ok((compiled, _)) => compiled,
        Err(diagnostics) => {
            panic!("{}", diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        }
    }
}

#[test]
fn every_yaml_example_loads() {
    let mut loaded = 0;
    for path in documents() {
        for block in blocks(&fs::read_to_string(&path).expect("readable"), "yaml") {
            // Values for the chart are loaded with the chart.
            let text = match block.lines().next().unwrap_or_default() {
                _ if block.contains("version: 1\n") && block.starts_with("version:") => block,
                "routes:" => format!("{AROUND}{block}"),
                "cases:" | "signals:" => format!("{AROUND}{ROUTES}{block}"),
                // Certificates in examples are those of the tests.
                "listeners:" => {
                    let around: Vec<&str> =
                        AROUND.lines().filter(|line| !line.starts_with("listeners:")).collect();
                    format!("{}{ROUTES}{block}", around.join("\n"))
                        .replace("/tls/", "tests/config/tls/")
                        .replace("/secrets/", "tests/config/files/")
                }
                "issuers:" => {
                    let (start, rest) = AROUND.split_once("issuers:\n").expect("issuers");
                    let end = rest.split_once("data_classes:").expect("what follows them").1;
                    let routes = if block.contains("\nroutes:") { "" } else { ROUTES };
                    let around = format!("{start}data_classes:{end}{routes}{block}");
                    around.replace("/secrets/", "tests/config/files/")
                }
                "pdps:" => {
                    let routes = if block.contains("\nroutes:") { "" } else { ROUTES };
                    format!("{AROUND}{routes}{block}")
                        .replace("/secrets/pdp-ca.pem", "tests/config/tls/clients-ca.pem")
                        .replace("/secrets/pdp", "tests/config/files/secret")
                }
                // Keys and passwords too.
                "state:" => {
                    let around: Vec<&str> =
                        AROUND.lines().filter(|line| !line.starts_with("state:")).collect();
                    let block = block.replace("/secrets/redis-ca.pem", "tests/config/tls/clients-ca.pem");
                    format!("{}{ROUTES}{block}", around.join("\n"))
                        .replace("/secrets/", "tests/config/files/")
                }
                "audit:" if block.contains("sinks:") => {
                    let block = block.replace("/secrets/collector-ca.pem", "tests/config/tls/clients-ca.pem");
                    format!("{AROUND}{ROUTES}{block}").replace("/secrets/", "tests/config/files/")
                }
                _ => continue,
            };
            must_load(&path.display().to_string(), &text);
            loaded += 1;
        }
    }
    assert!(loaded >= 3, "only {loaded} examples were found");
}

#[test]
fn every_shipped_configuration_loads() {
    let gateway = fs::read_to_string(root().join("gateway.yaml")).expect("readable");
    let compiled = must_load("gateway.yaml", &gateway);
    assert!(!compiled.cases.is_empty(), "the shipped configuration tests its own policy");
    let portal = fs::read_to_string(root().join("examples/demo/portal.yaml")).expect("readable");
    // The demo puts its secret beside it, and so does this.
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("client-secret"), "desk-secret\n").expect("writable");
    must_load_at("examples/demo/portal.yaml", &portal, dir.path());
    let values = fs::read_to_string(root().join("helm/wardgate/values.yaml")).expect("readable");
    let values: serde_json::Value = serde_saphyr::from_str(&values).expect("values are YAML");
    // JSON is YAML.
    must_load("helm values", &values["gateway"].to_string());
}

#[test]
fn the_readme_runs_as_printed() {
    let readme = fs::read_to_string(root().join("README.md")).expect("readable");
    let dir = tempfile::tempdir().expect("a directory");
    let sidecar = blocks(&readme, "yaml").remove(0);
    assert!(sidecar.lines().count() <= 16, "the sidecar example is no longer short");
    fs::write(dir.path().join("sidecar.yaml"), sidecar).expect("writable");
    let commands =
        blocks(&readme, "sh").into_iter().find(|block| block.contains("wardgate check")).expect("commands");
    let program = Path::new(env!("CARGO_BIN_EXE_wardgate")).parent().expect("a directory");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh")
        .current_dir(dir.path())
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sh");
    shell.stdin.take().expect("piped").write_all(commands.as_bytes()).expect("written");
    let output = shell.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("sidecar.yaml: ok: 2 routes") && said.contains("payment.pay"), "{said}");
    assert!(
        said.contains("challenge (level_too_low), status 401"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // The last command explains a challenge.
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    for path in documents() {
        let text = fs::read_to_string(&path).expect("readable");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let file = path.parent().expect("a directory").join(target.split('#').next().unwrap_or_default());
            assert!(file.exists(), "{} links to {target}", path.display());
        }
    }
}

/// Every reference in a document, by the path that it names.
fn references<'v>(value: &'v serde_json::Value, found: &mut Vec<&'v str>) {
    match value {
        serde_json::Value::Object(members) => {
            found.extend(members.get("$ref").and_then(serde_json::Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_api_is_described_so_that_programs_can_read_it() {
    for name in ["operators-api.yaml", "step-up-service.yaml"] {
        let text = fs::read_to_string(root().join("docs").join(name)).expect("readable");
        let document: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(document["openapi"], "3.1.0", "{name}");
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            assert!(document.pointer(pointer).is_some(), "{name}: {reference} leads nowhere");
        }
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                if method == "parameters" {
                    continue;
                }
                let responses = operation["responses"].as_object().expect("responses");
                let are_told = responses.values().all(|response| response["description"].is_string());
                assert!(operation["summary"].is_string() && are_told, "{name}: {method} {path}");
            }
        }
    }
}

/// What was renamed or removed is no defence any more.
#[test]
fn every_test_that_the_threats_name_is_there() {
    let text = fs::read_to_string(root().join("docs/threats.md")).expect("readable");
    let is_file =
        |word: &str| word.ends_with(".rs") && (word.starts_with("tests/") || word.starts_with("src/"));
    let mut files = 0;
    for word in text.split('`').skip(1).step_by(2).filter(|word| is_file(word)) {
        assert!(root().join(word).is_file(), "docs/threats.md names {word}");
        files += 1;
    }
    let (_, field) = text.split_once("## What has happened to others").expect("the section");
    let mut tests = 0;
    for row in field.lines().filter(|row| row.starts_with("| ") && !row.starts_with("| -")).skip(1) {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().expect("a cell");
        let mut file = String::new();
        for word in cell.split('`').skip(1).step_by(2) {
            if is_file(word) {
                file = fs::read_to_string(root().join(word)).expect("readable");
            } else {
                assert!(file.contains(&format!("fn {word}(")), "docs/threats.md: no test `{word}`");
                tests += 1;
            }
        }
    }
    assert!(files > 20 && tests > 20, "{files} files and {tests} tests");
}
