//! At the edge: what a gateway must stand that faces the internet on one side and real services on the other, and what
//! an operator does to it while it serves.

mod backends;
mod clients;
mod drain;
mod faults;
mod frames;
mod grpc;
mod h2;
pub mod pki;
mod proxy_status;
mod readings;
mod reload;
mod servers;
mod tls;
mod tracing;
pub mod upgrade;
mod upstream_tls;
mod upstreams;

use std::path::Path;

use serde_json::Value;

use crate::support::{Gateway, Signer};

/// Writes a gateway's configuration anew.
pub fn rewrite(gateway: &Gateway, change: impl FnOnce(String) -> String) {
    let path = gateway.dir.path().join("gateway.yaml");
    let text = change(std::fs::read_to_string(&path).expect("the configuration"));
    std::fs::write(&path, text).expect("writable");
}

/// How many reloads ended so.
pub fn reloads(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!("wardgate_config_reloads_total{{result=\"{result}\"}}"))
}

/// A token of patient p1 that outlasts a soak, as a header value.
fn lasting(signer: &Signer) -> String {
    let mut claims = Signer::claims("p1", "aal1", 5);
    claims["exp"] = (claims["exp"].as_i64().expect("a moment") + 7200).into();
    format!("Bearer {}", signer.sign(&claims))
}

/// The records of every journal in the directory, file by file.
pub fn journals(dir: &Path) -> Vec<Vec<Value>> {
    let files = std::fs::read_dir(dir.join("audit")).expect("the journals");
    let files = files.map(|file| file.expect("a file").path());
    files
        .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
        .map(|path| {
            let text = std::fs::read_to_string(path).expect("readable");
            assert!(text.ends_with('\n'), "the last line is torn");
            text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
        })
        .collect()
}
