//! The real gateway, as a process of its own: started, watched, stopped.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// How long it may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long it may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// The running gateway.
pub struct Gateway {
    child: Child,
    log: PathBuf,
}

impl Gateway {
    /// Starts `wardgate run`; what it logs goes to a file beside the program.
    ///
    /// `name` tells its log from another's.
    pub fn start(config: &Path, name: &str) -> Result<Self, String> {
        let program = program()?;
        if !program.is_file() {
            return Err(format!(
                "there is no {}: build it with `cargo build --bin wardgate`",
                program.display()
            ));
        }
        let log = program.with_file_name(format!("demo-{name}.log"));
        let file =
            File::create(&log).map_err(|error| format!("{} can't be written: {error}", log.display()))?;
        let child = Command::new(&program)
            .args(["run".as_ref(), "--config".as_ref(), config.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .env("NO_COLOR", "1")
            // In a group of its own, Ctrl-C does not reach it: it is stopped in good order instead.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{} can't be started: {error}", program.display()))?;
        Ok(Self { child, log })
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until it says that it is ready; gives how long that took.
    pub async fn ready(
        &mut self,
        client: &reqwest::Client,
        telemetry: SocketAddr,
    ) -> Result<Duration, String> {
        let (begun, address) = (Instant::now(), format!("http://{telemetry}/readyz"));
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.ended(status));
            }
            let said = match client.get(&address).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(begun.elapsed()),
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(_) => "it does not answer yet".to_owned(),
            };
            if begun.elapsed() > READY_WITHIN {
                return Err(format!(
                    "the gateway is not ready after {READY_WITHIN:?}: {}\n{}",
                    said.trim(),
                    self.tail()
                ));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until it ends by itself, which it should not.
    pub async fn watch(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => self.ended(status),
            Err(error) => format!("the gateway can't be watched: {error}"),
        }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(mut self) -> Result<(), String> {
        let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) else {
            return Ok(());
        };
        kill(Pid::from_raw(id), Signal::SIGTERM)
            .map_err(|error| format!("the gateway (process {id}) can't be stopped: {error}"))?;
        match tokio::time::timeout(STOP_WITHIN, self.child.wait()).await {
            // A signal that comes before it listens for signals ends it just as well.
            Ok(Ok(status)) if status.success() || status.signal() == Some(Signal::SIGTERM as i32) => Ok(()),
            Ok(Ok(status)) => Err(self.ended(status)),
            Ok(Err(error)) => Err(format!("the gateway can't be watched: {error}")),
            Err(_) => {
                self.child
                    .kill()
                    .await
                    .map_err(|error| format!("the gateway (process {id}) can't be killed: {error}"))?;
                Err(format!(
                    "the gateway did not stop within {STOP_WITHIN:?} and was killed\n{}",
                    self.tail()
                ))
            }
        }
    }

    fn ended(&self, status: ExitStatus) -> String {
        format!("the gateway ended ({status}); the end of {}:\n{}", self.log.display(), self.tail())
    }

    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(20)..)
            .unwrap_or_default()
            .iter()
            .map(|line| format!("  {line}\n"))
            .collect()
    }
}

/// The gateway's program: what `WARDGATE_BIN` names, or else `wardgate` beside the directory of this one.
pub fn program() -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("WARDGATE_BIN").filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    let own = std::env::current_exe()
        .map_err(|error| format!("this program's own place is unknown: {error}; set WARDGATE_BIN"))?;
    let directory =
        own.parent().and_then(Path::parent).ok_or("this program's own place is unknown; set WARDGATE_BIN")?;
    Ok(directory.join("wardgate"))
}
