//! Pseudonyms that change: who looks somebody up is on record before being told, and what was shredded nobody finds again.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use wardgate::audit::epoch::Epoch;
use wardgate::audit::pseudonym::Kind;
use wardgate::audit::pseudonym_keys::KeyFiles;

use super::{READ, setup};
use crate::support::canaries::canary;
use crate::support::{Gateway, Recorder, Signer, eventually, http};

const DAYS: u16 = 7;
const MASTER: &[u8; 64] = b"0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

struct Trial {
    gateway: Gateway,
    _upstream: Recorder,
    signer: Signer,
    /// The last epochs that are over, the earliest first, and what the patient was called in them.
    over: [(Epoch, String); 2],
}

fn in_past(epochs: i64) -> Epoch {
    let back = jiff::SignedDuration::from_hours(24 * i64::from(DAYS) * epochs);
    Epoch::at(jiff::Timestamp::now() - back, DAYS)
}

/// A gateway that ran in two epochs before this one.
fn start() -> Trial {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(upstream.address, &signer, |text| {
        text.replace(
            "audit: { dir: ./audit }",
            "audit: { dir: ./audit, pseudonyms: { key_file: master, rotate: 7d, dir: epochs } }",
        )
        .replace("telemetry: {", "operators: { address: \"unix:$DIR/operators.sock\" }\ntelemetry: {")
    });
    std::fs::write(setup.dir().join("master"), MASTER).expect("written");
    let dir = setup.dir().join("epochs");
    std::fs::create_dir(&dir).expect("made");
    let keys = KeyFiles::new(MASTER, Some((&dir, DAYS))).expect("keys");
    let over = [2, 1].map(|epochs| {
        let epoch = in_past(epochs);
        let names = keys.open_epoch(epoch).expect("a key");
        (epoch, names.of(Kind::Patient, "", &canary("Patient")).as_ref().to_owned())
    });
    Trial { gateway: setup.with_small_files().start(), _upstream: upstream, signer, over }
}

impl Trial {
    fn socket(&self) -> PathBuf {
        self.gateway.dir.path().join("operators.sock")
    }

    fn key(&self, epoch: Epoch) -> PathBuf {
        self.gateway.dir.path().join(format!("epochs/{}.key", epoch.label()))
    }

    fn run(&self, what: &str, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardgate"));
        command.args(["audit", what, "--socket"]).arg(self.socket()).args(arguments);
        let output = command.output().expect("the program runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), said)
    }

    /// What the patient is called, as the program prints it.
    fn look_up(&self) -> Vec<String> {
        let (code, said) = self.run("pseudonym", &["--reason", "case 4711", "--patient", &canary("Patient")]);
        assert_eq!(code, Some(0), "{said}");
        said.lines().map(|line| line.split(' ').next().expect("a word").to_owned()).collect()
    }

    fn records(&self, event: &str) -> Vec<Value> {
        self.gateway.audit().into_iter().filter(|record| record["event"] == event).collect()
    }
}

#[test]
fn an_investigator_finds_somebody_until_the_key_is_destroyed_and_leaves_a_record() {
    let trial = start();
    let patient = canary("Patient");
    let token = trial.signer.bearer(&patient, "aal1", 5);
    let own = READ.replace("p1", &patient);
    let answer = http::send(trial.gateway.address, "GET", &own, &[("Authorization", &token)], b"");
    assert_eq!(answer.expect("an answer").status, 200);
    let called = trial.records("intent")[0]["patient"].as_str().expect("a pseudonym").to_owned();
    assert!(called.starts_with(&format!("p_{}.", in_past(0).label())), "{called}");

    let [(first, name_then), (second, name_later)] = &trial.over;
    let names = trial.look_up();
    assert_eq!(names.len(), 4, "three epochs, and the time without: {names:?}");
    assert_eq!(names[..3], [name_then.clone(), name_later.clone(), called.clone()]);
    let record = trial.records("pseudonym_lookup").remove(0);
    assert_eq!((&record["reason"], &record["kind"]), (&"case 4711".into(), &"patient".into()));
    assert_eq!(record["name"], called.as_str());
    assert!(record["uid"].is_u64());

    // A gateway whose clock is ahead has begun the next one already.
    let dir = trial.gateway.dir.path().join("epochs");
    let keys = KeyFiles::new(MASTER, Some((&dir, DAYS))).expect("keys");
    keys.open_epoch(in_past(-1)).expect("a key");
    for runs in [in_past(0), in_past(-1)] {
        let refused = trial.run("shred", &["--reason", "r", "--epoch", &runs.begins.to_string()]);
        assert!(refused.0 == Some(1) && refused.1.contains("not over"), "{refused:?}");
        assert!(trial.key(runs).exists());
    }
    let shredded = trial.run("shred", &["--reason", "retention", "--epoch", &first.begins.to_string()]);
    assert_eq!(shredded.0, Some(0), "{shredded:?}");
    assert!(!trial.key(*first).exists() && trial.key(*second).exists());
    assert!(!trial.look_up().contains(name_then), "nobody can compute it any more");
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date().to_string();
    let shredded = trial.run("shred", &["--reason", "retention", "--before", &today]);
    assert!(shredded.0 == Some(0) && shredded.1.contains(&second.begins.to_string()), "{shredded:?}");
    assert!(!trial.key(*second).exists() && trial.key(in_past(0)).exists(), "only what is over");

    let told: Vec<_> = trial.records("pseudonym_shred");
    let phases: Vec<_> =
        told.iter().map(|record| (record["phase"].as_str(), record["epochs"][0].as_str())).collect();
    let days = [first, second].map(|epoch| epoch.begins.to_string());
    let (begun, ended) = (Some("begun"), Some("ended"));
    let (one, two) = (Some(days[0].as_str()), Some(days[1].as_str()));
    assert_eq!(phases, [(begun, one), (ended, one), (begun, two), (ended, two)]);
    // The trail itself must not join what the keys kept apart.
    let trail = std::fs::read_to_string(trial.gateway.audit_file()).expect("the journal");
    assert!(!trail.contains(name_then) && !trail.contains(name_later), "an old name is in the trail");
}

#[test]
fn nobody_is_told_anything_and_nothing_is_destroyed_that_can_not_be_recorded() {
    let trial = start();
    let (first, _) = trial.over[0];
    trial.gateway.audit();
    let size = std::fs::metadata(trial.gateway.audit_file()).expect("the journal").len();
    trial.gateway.limit_files(Some(size + 40));
    let patient = canary("Patient");
    let asked = trial.run("pseudonym", &["--reason", "case 4711", "--patient", &patient]);
    assert!(asked.0 == Some(1) && asked.1.contains("nothing was told"), "{asked:?}");
    assert!(!asked.1.contains("p_"), "{asked:?}");
    let shredded = trial.run("shred", &["--reason", "retention", "--epoch", &first.begins.to_string()]);
    assert!(shredded.0 == Some(1) && shredded.1.contains("nothing was told"), "{shredded:?}");
    assert!(trial.key(first).exists());
    trial.gateway.limit_files(None);
    eventually("it recovers by itself", Duration::from_secs(20), || {
        trial.run("pseudonym", &["--reason", "case 4711", "--patient", &patient]).0 == Some(0)
    });
}

#[test]
fn who_gives_no_reason_or_may_not_is_refused_on_record() {
    let trial = start();
    let patient = canary("Patient");
    assert_eq!(trial.run("pseudonym", &["--patient", &patient]).0, Some(2), "a reason is asked for");
    for (arguments, why) in [
        (["--reason", " ", "--patient", &patient], "reason says why"),
        (["--reason", &format!("about {patient}"), "--patient", &patient], "must not hold the name"),
        (["--reason", "case 1", "--address", "ward-7"], "no address"),
        (["--reason", "case 1", "--account", " "], "no request can name"),
    ] {
        let (code, said) = trial.run("pseudonym", &arguments);
        assert!(code == Some(1) && said.contains(why), "{said}");
    }
    let unknown = trial.run("pseudonym", &["--reason", "case 1", "--issuer", "nobody", "--subject", "alice"]);
    assert!(unknown.0 == Some(1) && unknown.1.contains("no issuer of that name"), "{unknown:?}");
    let refused = trial.records("operator_refused");
    assert_eq!(refused.len(), 5);
    assert!(refused.iter().all(|record| record["action"] == "look_up" && record["why"] == "malformed"));

    // Another user of this machine, whatever the socket's mode.
    let open =
        |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).expect("opened");
    open(trial.gateway.dir.path());
    open(&trial.socket());
    assert!(UnixStream::connect(trial.socket()).expect("open").write_all(b" ").is_ok());
    let body = r#"{"kind":"patient","value":"x17","reason":"case 1"}"#;
    let script = "import os, socket, sys
os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1])
try:
    s.sendall(('POST /v1/pseudonyms/lookup HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n%s' % (len(sys.argv[2]), sys.argv[2])).encode())
    print(s.recv(65536))
except OSError: pass";
    let stranger = Command::new("python3").args(["-c", script]).arg(trial.socket()).arg(body).output();
    let said = String::from_utf8_lossy(&stranger.expect("python runs").stdout).into_owned();
    assert!(!said.contains("p_"), "{said}");
    eventually("the refusal is on record", Duration::from_secs(20), || {
        trial
            .records("operator_refused")
            .iter()
            .any(|record| record["why"] == "peer" && record["uid"] == 65534)
    });
    assert!(trial.records("pseudonym_lookup").is_empty());
}

#[test]
fn gateways_that_share_their_keys_name_a_person_alike_and_forget_together() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let shared = tempfile::tempdir().expect("a directory");
    let [master, epochs] = ["master", "epochs"].map(|name| shared.path().join(name));
    std::fs::write(&master, MASTER).expect("written");
    std::fs::create_dir(&epochs).expect("made");
    let keys = KeyFiles::new(MASTER, Some((&epochs, DAYS))).expect("keys");
    let over = in_past(1);
    let patient = canary("Patient");
    let called = keys.open_epoch(over).expect("a key").of(Kind::Patient, "", &patient).as_ref().to_owned();
    let gateways = [(); 2].map(|()| {
        let setup = setup(upstream.address, &signer, |text| {
            let pseudonyms = format!(
                "audit: {{ dir: ./audit, pseudonyms: {{ key_file: \"{}\", rotate: 7d, dir: \"{}\" }} }}",
                master.display(),
                epochs.display()
            );
            text.replace("audit: { dir: ./audit }", &pseudonyms)
                .replace("telemetry: {", "operators: { address: \"unix:$DIR/operators.sock\" }\ntelemetry: {")
        });
        setup.start()
    });
    let own = READ.replace("p1", &patient);
    let token = signer.bearer(&patient, "aal1", 5);
    let names = gateways.each_ref().map(|gateway| {
        let answer = http::send(gateway.address, "GET", &own, &[("Authorization", &token)], b"");
        assert_eq!(answer.expect("an answer").status, 200);
        let intent =
            gateway.audit().into_iter().find(|record| record["event"] == "intent").expect("on record");
        [&intent["patient"], &intent["subject"]].map(|name| name.as_str().expect("a pseudonym").to_owned())
    });
    assert_eq!(names[0], names[1], "the same person is called the same at both");
    let run = |gateway: &Gateway, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardgate"));
        command.arg("audit").args(arguments).arg("--socket").arg(gateway.dir.path().join("operators.sock"));
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let look_up = ["pseudonym", "--reason", "case 4711", "--patient", &patient];
    for gateway in &gateways {
        assert!(run(gateway, &look_up).contains(&called), "both find who it was");
    }
    run(&gateways[0], &["shred", "--reason", "retention", "--epoch", &over.begins.to_string()]);
    eventually("the other one has forgotten as well", Duration::from_secs(40), || {
        !run(&gateways[1], &look_up).contains(&called)
    });
    assert!(run(&gateways[1], &look_up).contains(&names[0][0]), "and nothing else");
}
