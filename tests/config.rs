//! Configurations as operators write them: those of `tests/config/good` load, those of `bad` are refused.
//!
//! What is said about a file stands beside it in `.expected`, word for word; a good file without one has no
//! warnings. `UPDATE_EXPECTED=1 cargo test --test config` writes what is said now; review it like code.
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use wardgate::config::settings::SinkKind;
use wardgate::config::{Code, Compiled, Diagnostic, load, load_file};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

fn files(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(name)).expect("folder").map(|entry| entry.expect("entry").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == "yaml")).collect();
    files.sort();
    files
}

fn load_named(path: &Path) -> Result<(Compiled, Vec<Diagnostic>), Vec<Diagnostic>> {
    let name = path.file_name().expect("name").to_string_lossy();
    load(&name, &fs::read_to_string(path).expect("text"), path.parent().expect("folder"))
}

fn rendered(found: &[Diagnostic]) -> String {
    found.iter().map(|diagnostic| format!("{diagnostic}\n\n")).collect()
}

/// Compares with the file beside it, or writes that.
fn check(path: &Path, said: &str) {
    let beside = path.with_extension("expected");
    if std::env::var_os("UPDATE_EXPECTED").is_some() && (beside.exists() || !said.is_empty()) {
        fs::write(&beside, said).expect("expected");
    }
    let expected =
        if beside.exists() { fs::read_to_string(&beside).expect("expected") } else { String::new() };
    assert_eq!(said, expected, "{}", path.display());
}

#[test]
fn good_configurations_load() {
    for path in files("good") {
        let (compiled, warnings) =
            load_named(&path).unwrap_or_else(|found| panic!("{}:\n{}", path.display(), rendered(&found)));
        assert_eq!(compiled.policy.version.len(), 16);
        check(&path, &rendered(&warnings));
    }
}

#[test]
fn bad_configurations_are_refused_with_every_reason() {
    for path in files("bad") {
        match load_named(&path) {
            Ok(_) => panic!("{} loads", path.display()),
            Err(found) => check(&path, &rendered(&found)),
        }
    }
}

#[test]
fn every_code_is_shown_once_at_least() {
    let said: String =
        ["good", "bad"].iter().flat_map(|name| files(name)).fold(String::new(), |said, path| {
            said + &fs::read_to_string(path.with_extension("expected")).unwrap_or_default()
        });
    // A file that can't be read is not among them; the test below has one. Nor is what only a running gateway says, or
    // only a program that was built without something.
    let elsewhere = [Code::FileUnreadable, Code::NeedsRestart, Code::PartUnusable, Code::KafkaNotBuilt];
    for code in Code::ALL.iter().filter(|code| !elsewhere.contains(code)) {
        assert!(said.contains(&format!("[{}]", code.name())), "{}: {}", code.name(), code.meaning());
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_diagnostic() {
    let found = load_file(&folder("absent.yaml"), wardgate::config::Cases::Run).expect_err("absent");
    assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), [Code::FileUnreadable]);
    let found = load("big.yaml", &" ".repeat(1024 * 1024 + 1), Path::new("")).expect_err("too large");
    assert_eq!(found.iter().map(|found| found.code).collect::<Vec<_>>(), [Code::FileUnreadable]);
}

/// Which it is depends on the program.
#[test]
fn kafka_needs_a_program_that_was_built_with_it() {
    let text = fs::read_to_string(folder("good/anonymous.yaml")).expect("text");
    let sink = "{ name: bus, type: kafka, brokers: [\"kafka-1.example\", \"[::1]:9093\"], topic: audit }";
    let text = format!(
        "{text}\naudit: {{ dir: ./audit, sinks: [{sink}] }}\ninsecure: {{ plain_audit_sinks: true }}\n"
    );
    let is_built_with_it = cfg!(feature = "kafka");
    let codes = |found: &[Diagnostic]| found.iter().map(|found| found.code).collect::<Vec<_>>();
    match load("kafka.yaml", &text, &folder("good")) {
        Ok((compiled, warnings)) => {
            assert!(is_built_with_it, "a sink that this program does not have");
            assert!(codes(&warnings).contains(&Code::PlainSinkAllowed), "{}", rendered(&warnings));
            let SinkKind::Kafka(kafka) = &compiled.settings.audit.sinks[0].kind else {
                panic!("another sink")
            };
            assert_eq!(kafka.brokers, ["kafka-1.example:9092", "[::1]:9093"]);
        }
        Err(found) => {
            assert!(!is_built_with_it, "{}", rendered(&found));
            assert_eq!(codes(&found).iter().filter(|code| **code == Code::KafkaNotBuilt).count(), 1);
            assert!(rendered(&found).contains("--features kafka"));
        }
    }
}

/// To open a pipe would wait for its writer, for ever.
#[test]
fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let text = "version: 1
state:
  store: redis
  redis: { urls: [\"rediss://redis.iam\"], ca_file: pipe, password_file: pipe }
  encryption_keys: [{ id: k1, file: pipe }]
";
    let found = load("pipe.yaml", text, dir.path()).expect_err("no files");
    let pipes = found.iter().filter(|found| found.message == "`pipe` is not a file");
    assert_eq!(pipes.map(|found| found.code).collect::<Vec<_>>(), [Code::FileMissing; 3]);
}

#[test]
fn paths_begin_at_the_file() {
    let path = folder("good/everything.yaml");
    let (compiled, _) =
        load_file(&path, wardgate::config::Cases::Run).unwrap_or_else(|found| panic!("{}", rendered(&found)));
    assert_eq!(compiled.settings.audit.dir, folder("good/audit"));
    assert_eq!(compiled.cases.len(), 6);
}

#[test]
fn every_relaxation_is_listed() {
    let (compiled, _) =
        load_named(&folder("good/warnings.yaml")).unwrap_or_else(|found| panic!("{}", rendered(&found)));
    let expected = [
        "listener `edge` believes every peer in 10.0.0.0/8 about who the client is",
        "issuer `patients` is spoken to over plain HTTP",
        "issuer `patients`: tokens that are not marked as access tokens are taken",
        "tier `high` goes on without the revocation check when the store is down",
        "upstream `app` is sent forms that may ask for another method",
    ];
    assert_eq!(compiled.settings.insecure, expected);
}
