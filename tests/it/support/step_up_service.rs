//! The reference step-up service of `examples/step_up_service` as a child process.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::idp::node;
use super::{free_address, http};

/// What the gateway shows it.
pub const SECRET: &str = "s3cret-of-the-gateway";

/// The service; ends with the value.
pub struct StepUpService {
    process: Child,
    pub address: SocketAddr,
    /// What it believes that its address is.
    url: String,
    lifetime: u32,
    dir: TempDir,
}

impl StepUpService {
    /// Starts one.
    pub fn start() -> Self {
        let address = free_address();
        Self::starting(address, &format!("http://{address}"), 120)
    }

    /// One that gives people so many seconds.
    pub fn impatient(lifetime: u32) -> Self {
        let address = free_address();
        Self::starting(address, &format!("http://{address}"), lifetime)
    }

    /// One that is reached at another address than its own.
    pub fn behind(url: &str, address: SocketAddr) -> Self {
        Self::starting(address, url, 120)
    }

    fn starting(address: SocketAddr, url: &str, lifetime: u32) -> Self {
        let dir = TempDir::new().expect("a directory");
        std::fs::write(dir.path().join("secret"), format!("{SECRET}\n")).expect("written");
        let process = launch(dir.path(), address, url, lifetime);
        Self { process, address, url: url.to_owned(), lifetime, dir }
    }

    /// Its files: `secret`, `key` (private, PEM), `key.jwks`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn stop(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }

    /// Comes back with the same keys and nothing remembered.
    pub fn restart(&mut self) {
        self.process = launch(self.dir.path(), self.address, &self.url, self.lifetime);
    }

    /// The person presses a button of the page: `yes` or `no`. Where they are sent then.
    pub fn press(&self, page: &str, answer: &str) -> String {
        self.send(page, &format!("answer={answer}"))
    }

    /// The person says whose account it is, and that it is theirs.
    pub fn prove(&self, page: &str, account: &str) -> String {
        self.send(page, &format!("account={account}&answer=yes"))
    }

    fn send(&self, page: &str, form: &str) -> String {
        let target = page.strip_prefix(&self.url).expect("a page of the service");
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let to = http::send(self.address, "POST", target, &headers, form.as_bytes()).expect("an answer");
        assert_eq!(to.status, 303, "{to:?}");
        to.header("location").expect("a way back").to_owned()
    }

    /// What the page shows.
    pub fn page(&self, page: &str) -> http::Answer {
        http::get(self.address, page.strip_prefix(&self.url).expect("a page of the service"))
            .expect("an answer")
    }

    /// What it says of a prompt to whoever knows the secret.
    pub fn state(&self, id: &str) -> (u16, Value) {
        let bearer = format!("Bearer {SECRET}");
        let headers = [("Authorization", &*bearer)];
        let answer =
            http::send(self.address, "GET", &format!("/prompts/{id}"), &headers, b"").expect("an answer");
        (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
    }
}

impl Drop for StepUpService {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn launch(dir: &Path, address: SocketAddr, url: &str, lifetime: u32) -> Child {
    let mut process = node()
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/step_up_service/server.mjs"))
        .env("SECRET_FILE", dir.join("secret"))
        .env("KEY_FILE", dir.join("key"))
        .env("PORT", address.port().to_string())
        .env("URL", url)
        .env("LIFETIME", lifetime.to_string())
        .env("INTERVAL", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("node starts; `scripts/setup.sh test` installs it");
    let mut line = String::new();
    let read = BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line);
    read.expect("the service speaks");
    assert!(line.contains("asking people"), "the service did not start: {line}");
    process
}
