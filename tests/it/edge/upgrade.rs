//! Upgrades in place: a new program takes over without a lost request, or the old one goes on.

mod delivery;
mod load;

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{reloads, rewrite};
use crate::support::{Connection, Gateway, Recorder, Setup, Signer, eventually, free_address, http, tokens};

const LONG: Duration = Duration::from_secs(30);
const READ: &str = "/patients/p1/results/1";
const NOTES: &str = "/patients/p1/notes";
const EXPORT: &str = "/patients/p1/export";
const ROUTES: &str = r#"
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app,
      tier: low, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: notes.write, match: { path: "/patients/{patient}/notes", methods: [POST] }, upstream: app,
      tier: moderate, patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: record.export, match: { path: "/patients/{patient}/export", methods: [PUT] }, upstream: app,
      tier: critical, patient: { from: path.patient }, any_of: [{ patient: self }] }
"#;

/// A gateway and whoever takes over from it; all end with the value.
pub struct Line {
    pub gateway: Gateway,
}

impl Line {
    pub fn start(setup: Setup) -> Self {
        Self { gateway: setup.replaceable().start() }
    }

    /// The process that serves, as its file says.
    pub fn pid(&self) -> u32 {
        let text = std::fs::read_to_string(self.gateway.dir.path().join("pid")).unwrap_or_default();
        text.trim().parse().unwrap_or(self.gateway.pid())
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(
            Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill runs").success()
        );
    }

    /// Upgrades and waits until the new program serves; the old one's process id.
    pub fn upgrade(&self) -> u32 {
        let old = self.pid();
        self.signal("USR2");
        eventually("a new program serves", LONG, || self.pid() != old);
        old
    }

    pub fn wait_for_end(&self, pid: u32) {
        eventually("the old program has gone", LONG, || !is_running(pid));
    }

    fn logs(&self, part: &str) -> usize {
        self.gateway.logs().iter().filter(|line| line.contains(part)).count()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let pid = self.pid();
        if pid != self.gateway.pid() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    }
}

/// Whether a process runs; one that has ended and that nobody has asked for its status doesn't.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn setup(upstream: &Recorder, signer: &Signer, change: impl FnOnce(String) -> String) -> Setup {
    let config = change(tokens::config(upstream.address, ROUTES));
    Setup::new(&config, |dir| std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable"))
}

/// A program of the shell's; `$HERE` is its directory.
fn script(dir: &Path, name: &str, text: &str) {
    let text = format!("#!/bin/sh\nHERE={}\n{text}\n", dir.display());
    std::fs::write(dir.join(name), text).expect("writable");
    std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o700)).expect("runnable");
}

#[test]
fn no_request_is_lost_while_new_programs_take_over() {
    load::upgrade_under_load(3, 6, 2, 1_000);
}

#[test]
#[ignore = "takes minutes: `make soak`"]
fn soak_20_upgrades() {
    let load::Served { all, http2, refused } = load::upgrade_under_load(20, 12, 4, 15_500);
    assert!(all >= 300_000, "{all}");
    println!(
        "20 upgrades, {all} requests, every second a POST: 0 lost; {http2} of them over HTTP/2, of which {refused} were \
         refused by a GOAWAY and sent again"
    );
}

#[test]
fn a_successor_that_does_not_come_to_serve_changes_nothing() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let line = Line::start(setup(&upstream, &signer, |text| text));
    // In force without a restart, since it is for the next one.
    rewrite(&line.gateway, |text| format!("{text}upgrade: {{ ready_within: 2s }}\n"));
    eventually("it is taken", LONG, || reloads(&line.gateway, "accepted") == 1.0);
    let (pid, dir) = (line.pid(), line.gateway.dir.path());
    let token = signer.bearer("p1", "aal1", 5);
    script(dir, "ends", "exit 3");
    script(dir, "hangs", "echo $$ >$HERE/successor; exec sleep 600");
    script(dir, "babbles", "echo hello >&0; exec sleep 600");
    std::fs::write(dir.join("nothing"), "").expect("writable");
    for (number, (program, why)) in [
        ("ends", "exit status: 3"),
        ("hangs", "was not ready within 2s"),
        ("babbles", "said something unexpected"),
        ("nothing", "can't be started"),
    ]
    .iter()
    .enumerate()
    {
        std::fs::remove_file(dir.join("wardgate")).expect("removed");
        symlink(program, dir.join("wardgate")).expect("a link");
        line.signal("USR2");
        eventually(&format!("{program}: it is told"), LONG, || {
            line.gateway.metric("wardgate_upgrades_total{result=\"failed\"}") == number as f64 + 1.0
        });
        let page = line.gateway.telemetry_page("/readyz");
        assert_eq!(page.status, 200);
        assert!(page.json()["last_upgrade"].as_str().is_some_and(|told| told.contains(why)), "{}", page.body);
        let records = line.gateway.audit();
        let told = records.iter().rfind(|record| record["event"] == "upgrade").expect("recorded");
        assert!(told["result"] == "failed" && told["why"].as_str().expect("text").contains(why), "{told}");
        assert_eq!(line.pid(), pid);
        let answer = http::send(line.gateway.address, "GET", READ, &[("Authorization", &token)], b"");
        assert_eq!(answer.expect("an answer").status, 200, "{program}");
    }
    // The one that hung was ended.
    let successor = std::fs::read_to_string(dir.join("successor")).expect("its id");
    assert!(!is_running(successor.trim().parse().expect("a process")));

    // A real program whose configuration has a fault.
    std::fs::remove_file(dir.join("wardgate")).expect("removed");
    symlink(env!("CARGO_BIN_EXE_wardgate"), dir.join("wardgate")).expect("a link");
    rewrite(&line.gateway, |text| text.replace("tier: low", "tier: lwo"));
    line.signal("USR2");
    eventually("it is told", LONG, || {
        line.gateway.metric("wardgate_upgrades_total{result=\"failed\"}") == 5.0
    });
    assert_eq!(line.pid(), pid);
    rewrite(&line.gateway, |text| text.replace("tier: lwo", "tier: low"));
    // And then one that is sound.
    let old = line.upgrade();
    line.wait_for_end(old);
    let answer = http::send(line.gateway.address, "GET", READ, &[("Authorization", &token)], b"");
    assert_eq!(answer.expect("an answer").status, 200);
}

#[test]
fn a_gateway_that_is_stopped_gives_an_upgrade_up() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let line = Line::start(setup(&upstream, &signer, |text| text));
    let dir = line.gateway.dir.path();
    script(
        dir,
        "hangs",
        "echo $$ >$HERE/successor.tmp; mv $HERE/successor.tmp $HERE/successor; exec sleep 600",
    );
    std::fs::remove_file(dir.join("wardgate")).expect("removed");
    symlink("hangs", dir.join("wardgate")).expect("a link");
    let pid = line.pid();
    line.signal("USR2");
    eventually("the successor runs", LONG, || dir.join("successor").exists());
    let text = std::fs::read_to_string(dir.join("successor")).expect("its id");
    let successor = text.trim().parse().expect("a process");
    line.signal("TERM");
    line.wait_for_end(pid);
    eventually("the successor has gone", LONG, || !is_running(successor));
}

#[test]
fn a_new_program_takes_over_what_a_reload_can_not_change() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let line = Line::start(setup(&upstream, &signer, |text| text));
    let (old_address, new_address) = (line.gateway.address, free_address());
    rewrite(&line.gateway, |text| text.replace(&old_address.to_string(), &new_address.to_string()));
    let token = signer.bearer("p1", "aal1", 5);
    let ask = |address| http::send(address, "GET", READ, &[("Authorization", &token)], b"");
    let old = line.upgrade();
    assert_eq!(ask(new_address).expect("an answer").status, 200);
    line.wait_for_end(old);
    assert!(ask(old_address).is_err(), "nobody listens there any more");
    assert_eq!(ask(new_address).expect("an answer").status, 200);
}

#[test]
fn a_proof_is_spent_in_one_program_only() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let line = Line::start(setup(&upstream, &signer, |text| text));
    line.gateway.wait_until_proofs_count();
    let proof = |client: &str| {
        let mut claims = Signer::claims("p1", "aal2", 0);
        claims["client_id"] = client.into();
        format!("Bearer {}", signer.sign(&claims))
    };
    let spend = |connection: &mut Connection, proof: &str| {
        connection.ask("PUT", EXPORT, &[("Authorization", proof)], b"x").expect("an answer")
    };
    let mut kept = Connection::open(line.gateway.address).expect("a connection");
    let (spent, unspent) = (proof("a"), proof("b"));
    assert_eq!(spend(&mut kept, &spent).status, 200);
    let old = line.upgrade();
    // A proof from after the hand-over is the new program's; the old one sends its client there.
    std::thread::sleep(Duration::from_millis(1100));
    let fresh = proof("c");
    let refused = spend(&mut kept, &fresh);
    assert_eq!((refused.status, refused.closes()), (503, true), "{}", refused.text());
    let mut new = Connection::open(line.gateway.address).expect("a connection");
    for old_proof in [&spent, &unspent] {
        let refused = spend(&mut new, old_proof);
        assert_eq!(refused.json()["reason"], "proof_already_spent");
    }
    assert_eq!(spend(&mut new, &fresh).status, 200);
    assert_eq!(spend(&mut new, &fresh).json()["reason"], "proof_already_spent");
    drop(kept);
    line.wait_for_end(old);
}

#[test]
fn both_programs_keys_are_published_and_systemd_is_told() {
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(&upstream, &signer, |text| text);
    let listener = UnixDatagram::bind(setup.dir().join("notify")).expect("a socket");
    listener.set_read_timeout(Some(LONG)).expect("a socket");
    let said = || {
        let mut text = [0u8; 256];
        let bytes = listener.recv(&mut text).expect("said something");
        String::from_utf8_lossy(&text[..bytes]).into_owned()
    };
    let line = Line::start(setup.notifying());
    assert_eq!(said(), "READY=1");
    let keys = |line: &Line| {
        let page = line.gateway.telemetry_page("/.well-known/jwks.json").json();
        let keys = page["keys"].as_array().expect("keys").iter();
        keys.map(|key| key["kid"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let before = keys(&line);
    let old = line.upgrade();
    assert_eq!(said(), format!("MAINPID={}", line.pid()));
    line.wait_for_end(old);
    let after = keys(&line);
    assert_eq!((before.len(), after.len()), (1, 2));
    assert_eq!(after[1], before[0], "requests of the old program may still be on their way");
    assert_eq!(line.logs("took_over"), 2, "{:?}", line.gateway.logs());
}
