//! The real `wardgate` program as a child process.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::{free_address, http};

/// A running gateway; ends with the value.
pub struct Gateway {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its telemetry listener.
    pub telemetry: SocketAddr,
    /// Its directory: configuration, keys, audit.
    pub dir: TempDir,
    logs: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    /// Writes the configuration into a fresh directory, puts `$LISTEN`, `$TELEMETRY` and `$DIR` in, starts the gateway
    /// and waits until it is ready. `prepare` may put more files (keys) there first.
    pub fn start(config: &str, prepare: impl FnOnce(&std::path::Path)) -> Self {
        let gateway = Self::spawn(config, prepare);
        gateway.wait_for("/readyz");
        gateway
    }

    /// The same, but waits only until it is alive.
    pub fn start_unready(config: &str, prepare: impl FnOnce(&std::path::Path)) -> Self {
        let gateway = Self::spawn(config, prepare);
        gateway.wait_for("/healthz");
        gateway
    }

    fn spawn(config: &str, prepare: impl FnOnce(&std::path::Path)) -> Self {
        let dir = TempDir::new().expect("a directory");
        prepare(dir.path());
        let (address, telemetry) = (free_address(), free_address());
        let text = config
            .replace("$LISTEN", &address.to_string())
            .replace("$TELEMETRY", &telemetry.to_string())
            .replace("$DIR", dir.path().to_str().expect("utf-8"));
        let path = dir.path().join("gateway.yaml");
        std::fs::write(&path, text).expect("writable");
        let mut child = Command::new(env!("CARGO_BIN_EXE_wardgate"))
            .args(["run", "--config"])
            .arg(&path)
            .env("WARDGATE_LOG", std::env::var("WARDGATE_LOG").unwrap_or_else(|_| "info,pingora_core=warn,pingora_proxy=off".to_owned()))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let logs = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (Arc::clone(&logs), child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().expect("whole").push(line);
            }
        });
        Self { child, address, telemetry, dir, logs }
    }

    fn wait_for(&self, path: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if http::get(self.telemetry, path).is_ok_and(|answer| answer.status == 200) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the gateway is not ready; it said:\n{}", self.logs().join("\n"));
    }

    /// What it has written to standard error.
    pub fn logs(&self) -> Vec<String> {
        self.logs.lock().expect("whole").clone()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A telemetry page.
    pub fn telemetry_page(&self, path: &str) -> http::Answer {
        http::get(self.telemetry, path).expect("telemetry answers")
    }

    /// The value of a metric whose line begins so (`name{labels}`), summed over all lines that do.
    pub fn metric(&self, start: &str) -> f64 {
        let text = self.telemetry_page("/metrics").body;
        let values = text.lines().filter(|line| line.starts_with(start)).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// Every audit record so far, after what is buffered has been written.
    pub fn audit(&self) -> Vec<Value> {
        std::thread::sleep(Duration::from_millis(250));
        let text = std::fs::read_to_string(self.audit_file()).expect("the journal");
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    /// Where the journal is.
    pub fn audit_file(&self) -> PathBuf {
        self.dir.path().join("audit/audit.jsonl")
    }

    /// The intents that were admitted: those without an outcome that says they were not forwarded.
    pub fn admitted_intents(&self) -> usize {
        let records = self.audit();
        let of = |event: &str| records.iter().filter(|record| record["event"] == event).count();
        let not_forwarded = records.iter().filter(|record| record["event"] == "outcome" && record["result"] == "not_forwarded").count();
        of("intent") - not_forwarded
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().expect("kill runs");
        assert!(sent.success(), "the gateway is gone");
    }

    /// Waits for its end; its exit code.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("waitable") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the gateway did not stop within {limit:?}");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what the gateway said ---\n{}", self.logs().join("\n"));
        }
    }
}
