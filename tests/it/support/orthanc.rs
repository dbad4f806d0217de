//! A real imaging archive (Orthanc) as a child process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{eventually, free_address, http};

/// The archive; ends with the value.
pub struct Orthanc {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
    _storage: TempDir,
}

impl Orthanc {
    /// The study of [`Orthanc::image`].
    pub const STUDY: &str = "fb0ebbfe-4c09cfcf-4fdd0f70-77b681bf-58f67c57";

    /// Starts an empty one.
    pub fn start() -> Self {
        let (address, storage) = (free_address(), TempDir::new().expect("a directory"));
        let template = std::fs::read_to_string(Self::file("orthanc.json.in")).expect("its configuration");
        let text = template.replace("@PORT@", &address.port().to_string());
        let text = text.replace("@STORAGE@", storage.path().to_str().expect("utf-8"));
        let configuration = storage.path().join("orthanc.json");
        std::fs::write(&configuration, text).expect("writable");
        let found = ["/usr/sbin/Orthanc", "/usr/local/sbin/Orthanc"]
            .into_iter()
            .find(|path| Path::new(path).exists());
        let process = Command::new(found.unwrap_or("Orthanc"))
            .arg(&configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Orthanc starts; `scripts/setup.sh test` installs it");
        let archive = Self { process, address, _storage: storage };
        eventually("Orthanc is up", Duration::from_secs(20), || {
            http::get(address, "/system").is_ok_and(|answer| answer.status == 200)
        });
        archive
    }

    /// A small DICOM file.
    pub fn image() -> Vec<u8> {
        std::fs::read(Self::file("tiny.dcm")).expect("the image")
    }

    /// Stores the image, past the gateway.
    pub fn store(&self) {
        let stored = http::send(self.address, "POST", "/instances", &[], &Self::image()).expect("an answer");
        assert_eq!(stored.status, 200, "{}", stored.body);
    }

    /// The studies that are there, asked past the gateway.
    pub fn studies(&self) -> Vec<String> {
        let answer = http::get(self.address, "/studies").expect("an answer").json();
        let studies = answer.as_array().expect("a list").iter();
        studies.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn file(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/orthanc").join(name)
    }
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
