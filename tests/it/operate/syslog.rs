//! The audit trail is delivered to a real rsyslog over TLS, which is killed with unread records in its hands.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use wardgate::audit::formats::Format;
use wardgate::config::settings::{RecordFormat, SinkKind, SyslogSettings, SyslogTls};

use super::sinks::{LONG, assert_all_came, run_with};
use crate::edge::pki::Authority;
use crate::support::{eventually, free_address};

struct Rsyslog {
    process: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Rsyslog {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority = Authority::new("clinic");
        authority.issue(&["localhost"]).write(dir.path(), "server");
        authority.issue(&["gateway"]).write(dir.path(), "gateway");
        std::fs::write(dir.path().join("ca.pem"), &authority.pem).expect("written");
        std::fs::write(dir.path().join("other.pem"), &Authority::new("other").pem).expect("written");
        let port = free_address().port();
        let at = dir.path().display();
        // Direct: what was read is in the file before more is read.
        let config = format!(
            r#"global(workDirectory="{at}" maxMessageSize="64k" defaultNetstreamDriverCAFile="{at}/ca.pem"
  defaultNetstreamDriverCertFile="{at}/server.crt" defaultNetstreamDriverKeyFile="{at}/server.key")
main_queue(queue.type="Direct")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
template(name="raw" type="string" string="%rawmsg%\n")
ruleset(name="keep" queue.type="Direct") {{ action(type="omfile" file="{at}/kept" template="raw") }}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="keep")
"#
        );
        std::fs::write(dir.path().join("rsyslog.conf"), config).expect("written");
        let process = spawn(dir.path());
        let server = Self { process, port, dir };
        server.wait_until_up();
        server
    }

    fn wait_until_up(&self) {
        let address = ("127.0.0.1", self.port);
        eventually("rsyslog listens", LONG, || std::net::TcpStream::connect(address).is_ok());
    }

    /// Kills it while it reads nothing any more: what the system has taken for it meanwhile is gone.
    fn kill_frozen(&mut self) {
        self.signal("STOP");
        std::thread::sleep(Duration::from_secs(2));
        self.kill();
    }

    /// Kills it in the middle of what it has read.
    fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }

    fn restart(&mut self) {
        self.process = spawn(self.dir.path());
        self.wait_until_up();
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
    }

    fn settings(&self, authority: &str) -> SinkKind {
        self.settings_of(authority, true)
    }

    fn settings_of(&self, authority: &str, is_known: bool) -> SinkKind {
        let path = |name: &str| self.dir.path().join(name);
        SinkKind::Syslog(SyslogSettings {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            tls: Some(SyslogTls {
                ca_file: Some(path(authority)),
                server_name: Some("localhost".into()),
                identity: is_known.then(|| (path("gateway.crt"), path("gateway.key"))),
            }),
        })
    }

    /// How many messages there are, and the records they tell of, each once, in their order.
    fn kept(&self) -> (usize, Vec<Value>) {
        let text = std::fs::read_to_string(self.dir.path().join("kept")).unwrap_or_default();
        let mut seen = HashSet::new();
        let records = text.lines().filter_map(|line| {
            let key = line.split("record=\"").nth(1)?.split('"').next()?;
            let (origin, number) = key.split_once(':')?;
            seen.insert(key)
                .then(|| json!({ "origin": origin, "seq": number.parse::<u64>().expect("a number") }))
        });
        let records = records.collect();
        (text.lines().count(), records)
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(dir: &Path) -> Child {
    Command::new("rsyslogd")
        .args(["-n", "-i", "NONE", "-f"])
        .arg(dir.join("rsyslog.conf"))
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("log")).expect("a log"))
        .spawn()
        .expect("rsyslogd starts; `scripts/setup.sh test` installs it")
}

fn outage(count: usize) {
    let mut server = Rsyslog::start();
    let running = run_with(server.settings("ca.pem"), RecordFormat::Converted(Format::Syslog));
    for is_frozen in [true, false, true] {
        let before = server.kept().0;
        running.append(count / 6);
        eventually("some came", LONG, || server.kept().0 > before);
        running.append(count / 6);
        if is_frozen {
            server.kill_frozen();
        } else {
            server.kill();
        }
        server.restart();
    }
    eventually("all come", LONG * 4, || server.kept().1.len() > count / 6 * 6);
    running.finish();
    assert_all_came(running.dir.path(), &server.kept().1);
}

#[test]
fn nothing_is_lost_when_a_syslog_server_is_killed() {
    outage(1_200);
}

/// 10 minutes at 200 records a second.
#[test]
#[ignore = "a soak: `make soak`"]
fn soak_nothing_is_lost_in_a_long_outage_of_syslog() {
    outage(120_000);
}

#[test]
fn a_server_that_the_authority_does_not_vouch_for_gets_nothing() {
    let server = Rsyslog::start();
    let running = run_with(server.settings("other.pem"), RecordFormat::Converted(Format::Cef));
    running.append(5);
    eventually("it is told", LONG, || running.sinks.trouble().join("\n").contains("TLS certificate"));
    assert_eq!(server.kept().0, 0);
    drop(running);
    let running = run_with(server.settings("ca.pem"), RecordFormat::Converted(Format::Cef));
    running.append(5);
    running.finish();
    let text = std::fs::read_to_string(server.dir.path().join("kept")).expect("messages");
    assert!(text.lines().count() > 5, "{text}");
    assert!(text.lines().all(|line| line.starts_with("<110>1 ") && line.contains(" - - CEF:0|")), "{text}");
}

/// With TLS 1.3 such a client is done with its handshake, and has sent everything, before it is told.
#[test]
fn what_a_server_does_not_take_from_a_stranger_is_not_delivered() {
    let server = Rsyslog::start();
    let running = run_with(server.settings_of("ca.pem", false), RecordFormat::Converted(Format::Syslog));
    running.append(50);
    eventually("it is told", LONG, || !running.sinks.trouble().is_empty());
    assert_eq!(server.kept().0, 0);
    let cursor = std::fs::read_to_string(running.dir.path().join("sinks/siem.cursor")).unwrap_or_default();
    assert!(!cursor.contains("\"audit\""), "nothing counts as delivered: {cursor}");
}
