//! A real FHIR server (`sekmet-fhir`) as a child process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{eventually, free_address, http, send_signal};

/// The file of its settings, in its storage.
const SETTINGS: &str = "settings.yaml";

/// The server; ends with the value.
pub struct FhirServer {
    process: Child,
    /// Where it listens; its base is `/fhir`.
    pub address: SocketAddr,
    storage: TempDir,
}

impl FhirServer {
    /// Starts an empty one, which takes what it is given and does nothing of its own accord.
    pub fn start() -> Self {
        let (address, storage) = (free_address(), TempDir::new().expect("a directory"));
        let settings = format!(
            "base_url: http://{address}/fhir\ndata_dir: {}\nlog_inbound: false\nvalidation: {{ inbound: 'off' }}\nsimulator: {{ enabled: false }}\n",
            storage.path().display()
        );
        std::fs::write(storage.path().join(SETTINGS), settings).expect("writable");
        let server = Self { process: spawn(address, storage.path()), address, storage };
        server.wait_until_up();
        server
    }

    fn wait_until_up(&self) {
        eventually("the FHIR server is up", Duration::from_secs(60), || {
            http::get(self.address, "/fhir/metadata").is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Ends it at once, without a chance to write anything.
    pub fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }

    /// Starts it again after [`Self::kill`], with what it has kept.
    pub fn restart(&mut self) {
        self.process = spawn(self.address, self.storage.path());
        self.wait_until_up();
    }

    /// Stops it where it is, as a hung machine would; its connections stay open.
    pub fn freeze(&self) {
        send_signal(self.process.id(), "STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        send_signal(self.process.id(), "CONT");
    }

    /// Stores resources in one transaction, past the gateway.
    pub fn store(&self, resources: &[Value]) {
        let entry = |resource: &Value| {
            let address = format!("{}/{}", text(resource, "resourceType"), text(resource, "id"));
            json!({ "resource": resource, "request": { "method": "PUT", "url": address } })
        };
        let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": resources.iter().map(entry).collect::<Vec<_>>() });
        let headers = [("Content-Type", "application/fhir+json")];
        let stored = http::send(self.address, "POST", "/fhir", &headers, bundle.to_string().as_bytes());
        let stored = stored.expect("an answer");
        assert_eq!(stored.status, 200, "{}", stored.body);
    }
}

fn spawn(address: SocketAddr, storage: &Path) -> Child {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/sekmet-fhir/bin/sekmet");
    Command::new(program)
        .args(["serve", "--host", "127.0.0.1", "--port", &address.port().to_string(), "--config", SETTINGS])
        .current_dir(storage)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the FHIR server starts; `scripts/setup.sh test` installs it")
}

fn text<'r>(resource: &'r Value, name: &str) -> &'r str {
    resource[name].as_str().expect("text")
}

impl Drop for FhirServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
