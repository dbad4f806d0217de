//! The browser part: a legacy portal, a gateway before it, and a real OpenID Provider at which people sign in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use wardgate::audit::journal::FILE_NAME;
use wardgate::config;

use crate::gateway::{Gateway, program};

/// Its configuration. It is put beside the program, since the audit trail lies beside it.
const CONFIG: &str = include_str!("portal.yaml");
/// What the provider knows the gateway by: see `tests/it/idp/provider.mjs`.
const SECRET: &str = "desk-secret\n";
/// How long a server may take to start.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Everything that runs for browsers; ends with the value.
pub struct Portal {
    gateway: Gateway,
    origin: String,
    telemetry: SocketAddr,
    audit: PathBuf,
    _issuer: Child,
    _app: Child,
}

impl Portal {
    /// Starts it.
    pub async fn start() -> Result<Self, String> {
        let dir = program()?.with_file_name("demo-portal");
        let file = dir.join("portal.yaml");
        std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::write(&file, CONFIG))
            .and_then(|()| std::fs::write(dir.join("client-secret"), SECRET))
            .map_err(|error| format!("{} can't be written: {error}", dir.display()))?;
        let (compiled, _) = config::load_file(&file, config::Cases::Run).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            faults.join("\n")
        })?;
        let settings = &compiled.settings;
        let issuer = settings.issuers.first().ok_or("the portal has no issuer")?;
        let origin = issuer.sign_in.as_ref().and_then(|sign_in| sign_in.origins.first());
        let origin = origin.ok_or("nobody signs in at the portal")?.text.to_string();
        let app = settings.upstreams.first().and_then(|upstream| upstream.endpoints.first());
        let app = app.map(|endpoint| endpoint.name()).unwrap_or_default();
        let issuer = node("tests/it/idp/server.mjs", "IDP_PORT", &issuer.issuer, &origin).await?;
        let app = node("examples/demo/portal.mjs", "PORT", &app, &origin).await?;
        Ok(Self {
            gateway: Gateway::start(&file, "portal")?,
            origin,
            telemetry: settings.telemetry.ok_or("the portal's gateway has no `telemetry`")?,
            audit: settings.audit.dir.join(FILE_NAME),
            _issuer: issuer,
            _app: app,
        })
    }

    /// Waits until its gateway is ready; gives how long that took.
    pub async fn ready(&mut self, client: &reqwest::Client) -> Result<Duration, String> {
        self.gateway.ready(client, self.telemetry).await
    }

    /// An address, as a browser has it.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Its audit file.
    pub fn audit(&self) -> &Path {
        &self.audit
    }

    /// Waits until its gateway ends by itself.
    pub async fn watch(&mut self) -> String {
        self.gateway.watch().await
    }

    /// Stops the gateway; the rest ends with the value.
    pub async fn stop(self) -> Result<(), String> {
        self.gateway.stop().await
    }
}

/// Runs a script at the port of an address, and waits until it says its first line. It ends when its input closes.
async fn node(script: &str, variable: &str, address: &str, origin: &str) -> Result<Child, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = root.join(".tools/bin/node");
    let port = address.rsplit(':').next().unwrap_or_default();
    let mut child = Command::new(if own.exists() { own.as_path() } else { Path::new("node") })
        .arg(root.join(script))
        .env(variable, port)
        .env("IDP_ORIGINS", origin)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Ctrl-C is for the demo, which then ends it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("Node.js can't be started: {error}; `scripts/setup.sh demo` installs it"))?;
    let mut line = String::new();
    let mut said = BufReader::new(child.stdout.take().ok_or("a script has no output")?);
    let read = tokio::time::timeout(READY_WITHIN, said.read_line(&mut line)).await;
    match read {
        Ok(Ok(length)) if length > 0 => Ok(child),
        _ => Err(format!(
            "{script} does not start at {address}: run `scripts/setup.sh demo`, and see whether the port is free"
        )),
    }
}
