//! The real `wardgate` program as a child process.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::{canaries, free_address, http, send_signal};

const METRICS: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: gateway.example\r\nConnection: close\r\n\r\n";

/// A gateway that is not started yet.
pub struct Setup {
    config: String,
    dir: Arc<TempDir>,
    log_filter: String,
    small_files: bool,
    program: PathBuf,
    arguments: Vec<PathBuf>,
    notify: Option<PathBuf>,
    places: Option<(SocketAddr, SocketAddr)>,
}

impl Setup {
    /// Puts `prepare`'s files (keys) into a fresh directory. In the configuration `$LISTEN` and `$TELEMETRY` stand for
    /// addresses that are free, `$DIR` for the directory.
    pub fn new(config: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = TempDir::new().expect("a directory");
        prepare(dir.path());
        let log_filter = std::env::var("WARDGATE_LOG");
        let log_filter = log_filter.unwrap_or_else(|_| "info,pingora_core=warn,pingora_proxy=off".to_owned());
        Self {
            config: config.to_owned(),
            dir: Arc::new(dir),
            log_filter,
            small_files: false,
            program: env!("CARGO_BIN_EXE_wardgate").into(),
            arguments: Vec::new(),
            notify: None,
            places: None,
        }
    }

    /// Changes its configuration.
    pub fn change(&mut self, change: impl FnOnce(String) -> String) {
        self.config = change(std::mem::take(&mut self.config));
    }

    /// Logs what this filter lets pass.
    pub fn logging(mut self, filter: &str) -> Self {
        self.log_filter = filter.to_owned();
        self
    }

    /// Lets [`Gateway::limit_files`] make writes fail rather than end the program.
    pub fn with_small_files(mut self) -> Self {
        self.small_files = true;
        self
    }

    /// Runs the program by this name in its directory: a link that a test may lead elsewhere. Keeps its process id in
    /// the file `pid` beside it.
    pub fn replaceable(mut self) -> Self {
        let link = self.dir.path().join("wardgate");
        std::os::unix::fs::symlink(&self.program, &link).expect("a link");
        self.program = link;
        self.arguments = vec!["--pid-file".into(), self.dir.path().join("pid")];
        self
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Lets it tell the socket `notify` in its directory what it would tell systemd.
    pub fn notifying(mut self) -> Self {
        self.notify = Some(self.dir.path().join("notify"));
        self
    }

    /// Has it listen at these addresses, and its telemetry, each time it is started.
    pub fn at(mut self, listen: SocketAddr, telemetry: SocketAddr) -> Self {
        self.places = Some((listen, telemetry));
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Gateway {
        let gateway = self.start_until("/readyz");
        // A proof from the second in which the gateway started may have been spent before it: it pays for nothing.
        std::thread::sleep(Duration::from_millis(1100));
        gateway
    }

    /// Starts it and waits only until it is alive.
    pub fn start_unready(&self) -> Gateway {
        self.start_until("/healthz")
    }

    /// Starts it where it can't start: its exit code and what it said.
    pub fn refused(&self) -> (Option<i32>, String) {
        let mut gateway = self.spawn();
        let code = gateway.wait(Duration::from_secs(20));
        (code, gateway.logs().join("\n"))
    }

    fn start_until(&self, path: &str) -> Gateway {
        for _ in 0..5 {
            let mut gateway = self.spawn();
            if gateway.answers(path) {
                return gateway;
            }
            let _ = gateway.child.kill();
            let _ = gateway.child.wait();
            gateway.read_to_end();
            let said = gateway.logs().join("\n");
            // Another process may take a free address before the gateway does.
            assert!(
                said.contains("can't be listened on") || said.contains("in use"),
                "not ready; it said:\n{said}"
            );
        }
        panic!("every address was taken");
    }

    fn spawn(&self) -> Gateway {
        let (address, telemetry) = self.places.unwrap_or_else(|| (free_address(), free_address()));
        let dir = self.dir.path().to_str().expect("utf-8");
        let text = self.config.replace("$LISTEN", &address.to_string());
        let text = text.replace("$TELEMETRY", &telemetry.to_string()).replace("$DIR", dir);
        let path = self.dir.path().join("gateway.yaml");
        std::fs::write(&path, text).expect("writable");
        let mut command = if self.small_files {
            let mut shell = Command::new("sh");
            shell.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(&self.program);
            shell
        } else {
            Command::new(&self.program)
        };
        let mut child = command
            .args(["run", "--config"])
            .arg(&path)
            .args(&self.arguments)
            .envs(self.notify.iter().map(|path| ("NOTIFY_SOCKET", path)))
            .env("WARDGATE_LOG", &self.log_filter)
            .stderr(Stdio::piped())
            .stdout(std::fs::File::create(self.dir.path().join("stdout")).expect("writable"))
            .spawn()
            .expect("the program starts");
        let logs = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (Arc::clone(&logs), child.stderr.take().expect("piped"));
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                lines.lock().expect("whole").push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Gateway {
            child,
            address,
            telemetry,
            dir: Arc::clone(&self.dir),
            logs,
            reader: Some(reader),
            ready_at: 0,
        }
    }
}

/// A running gateway; ends with the value.
pub struct Gateway {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its telemetry listener.
    pub telemetry: SocketAddr,
    /// Its directory: configuration, keys, audit.
    pub dir: Arc<TempDir>,
    logs: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    ready_at: i64,
}

impl Gateway {
    /// Starts a gateway of its own and waits until it is ready. See [`Setup::new`].
    pub fn start(config: &str, prepare: impl FnOnce(&Path)) -> Self {
        Setup::new(config, prepare).start()
    }

    /// The same, but waits only until it is alive.
    pub fn start_unready(config: &str, prepare: impl FnOnce(&Path)) -> Self {
        Setup::new(config, prepare).start_unready()
    }

    /// Whether the page comes to say 200, and the gateway listens, before it ends or time is up.
    fn answers(&mut self, path: &str) -> bool {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline && self.child.try_wait().expect("waitable").is_none() {
            let is_up = http::get(self.telemetry, path).is_ok_and(|answer| answer.status == 200);
            if is_up && TcpStream::connect(self.address).is_ok() {
                self.ready_at = jiff::Timestamp::now().as_second();
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Waits until a sign-in that happens now can pay for a single-use action: one in the second of the start, or
    /// before, can't, since nobody knows what it was spent on.
    pub fn wait_until_proofs_count(&self) {
        while jiff::Timestamp::now().as_second() <= self.ready_at {
            std::thread::sleep(Duration::from_millis(20));
        }
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
        let values = text
            .lines()
            .filter(|line| line.starts_with(start))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
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
        let not_forwarded = records
            .iter()
            .filter(|record| record["event"] == "outcome" && record["result"] == "not_forwarded")
            .count();
        of("intent") - not_forwarded
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        send_signal(self.pid(), name);
    }

    /// Lets the program's files grow no further than this many bytes; `None` lifts the limit.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let soft = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let pid = self.pid().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={soft}:")]).status();
        assert!(set.expect("prlimit runs").success());
    }

    /// Waits for its end; its exit code.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("waitable") {
                self.read_to_end();
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the gateway did not stop within {limit:?}");
    }

    /// Ends it without a warning.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    fn read_to_end(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader of the logs");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let is_running = self.child.try_wait().is_ok_and(|status| status.is_none());
        let is_looked_through = !std::thread::panicking();
        let metrics = (is_running && is_looked_through)
            .then(|| http::raw(self.telemetry, METRICS, Duration::from_secs(2)).ok())
            .flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if is_looked_through {
            self.read_to_end();
            let metrics = metrics.as_deref().map(String::from_utf8_lossy);
            canaries::look_through(self.dir.path(), &self.logs().join("\n"), metrics.as_deref());
        } else {
            eprintln!("--- what the gateway said ---\n{}", self.logs().join("\n"));
        }
    }
}
