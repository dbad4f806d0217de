//! A real browser, Chromium, against a real OpenID Provider and a portal that knows nothing of tokens.
//!
//! What it does stands in `people.mjs` and its neighbours; here is what it is given. The gateway has a certificate whose
//! key the browser is told to trust, so the browser holds its cookies to every rule that it has for TLS.

mod attacks;
mod break_glass;
mod delegation;
mod pages;
mod pages_host;
mod people;
mod resume;
mod step_up;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::edge::pki::Authority;
use crate::session;
use crate::support::{Gateway, Idp};

/// Whom the gateway's certificate speaks for. The last three serve others' pages: the browser must see them at an address
/// like the portal's, or it would hold them back by itself.
const HOSTS: [&str; 6] = [
    "portal.example",
    "staff.example",
    "access.portal-pages.example",
    "other.portal.example",
    "evil.example",
    "forum.example",
];

/// Everything that a browser meets.
struct World {
    gateway: Gateway,
    app: App,
    issuer: Idp,
    other: Option<Idp>,
}

impl World {
    /// A gateway at one issuer. `sign_in` is what else is to be said of that.
    fn start(sign_in: &str) -> Self {
        Self::start_with(sign_in, "")
    }

    /// The same with more of the configuration.
    fn start_with(sign_in: &str, more: &str) -> Self {
        let (issuer, app) = (Idp::start(), App::start());
        let text = session::config(&issuer.issuer, "desk", sign_in, app.address) + more;
        Self::running(&text, app, issuer, None)
    }

    /// A gateway at two issuers: one for patients, one for staff.
    fn with_two_issuers() -> Self {
        let (issuer, other, app) = (Idp::start(), Idp::start(), App::start());
        let text = session::config(&issuer.issuer, "desk", "      label: Patients", app.address);
        let text = session::with_staff(&text, &other.issuer, "Staff");
        Self::running(&text, app, issuer, Some(other))
    }

    fn running(text: &str, app: App, issuer: Idp, other: Option<Idp>) -> Self {
        let plain = r#"address: "$LISTEN" }"#;
        assert!(text.contains(plain));
        let tls = r#"address: "$LISTEN", tls: { cert_file: tls.crt, key_file: tls.key } }"#;
        let gateway = Gateway::start(&text.replace(plain, tls), |dir| {
            std::fs::write(dir.join("secret"), "desk-secret\n").expect("written");
            Authority::new("Test").issue(&HOSTS).write(dir, "tls");
        });
        issuer.relay_to(gateway.address);
        Self { gateway, app, issuer, other }
    }

    /// Plays a scenario of a file; what it gives back. `more` is told to it beside where everything is.
    fn play(&self, file: &str, scenario: &str, more: &Value) -> Value {
        // One browser at a time: each takes as much of the machine as all other tests together.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut world = json!({
            "gateway": self.gateway.address.to_string(),
            "certificate": self.gateway.dir.path().join("tls.crt"),
            "issuer": self.issuer.issuer,
            "control": self.issuer.control(),
            "app": format!("http://{}", self.app.address),
            "pid": self.gateway.pid(),
            "config": self.gateway.dir.path().join("gateway.yaml"),
            "other": self.other.as_ref().map(|other| other.issuer.clone()),
        });
        if let (Some(world), Some(more)) = (world.as_object_mut(), more.as_object()) {
            world.extend(more.clone());
        }
        let mut node = node("run.mjs")
            .args([file, scenario, &world.to_string()])
            // It ends, with the browser, when this closes.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node starts");
        let mut said = String::new();
        let mut stderr = node.stderr.take().expect("piped");
        let complaints = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        node.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
        let complaints = complaints.join().expect("read");
        assert!(node.wait().expect("ended").success(), "{scenario}: {complaints}");
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{scenario} said {said}"))
    }
}

/// The portal behind the gateway; ends with the value.
struct App {
    process: Child,
    address: std::net::SocketAddr,
}

impl App {
    fn start() -> Self {
        let mut process = node("app.mjs")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let address = said["address"].as_str().and_then(|address| address.parse().ok());
        Self { process, address: address.expect("an address") }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn node(script: &str) -> Command {
    let mut node = crate::support::idp::node();
    node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/browser").join(script));
    node
}
