//! Services that have a say in decisions: a real policy decision point, a record index, and every kind of bad one.

mod candidate;
mod consent;
mod duties;
mod interop;
mod lookup;
mod pdp;
mod signals;

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Gateway, Recorder, Setup, Signer, eventually, http, tokens};

/// A service that answers with whatever it is told to.
pub struct StandIn {
    pub recorder: Recorder,
    says: Arc<Mutex<Says>>,
}

/// What it does with a question.
#[derive(Clone)]
pub enum Says {
    /// Answers with this status and body, and `X-Request-ID` as it came.
    Answer(u16, String),
    /// Answers as if to another question.
    Elsewhere(String),
    /// Leads elsewhere.
    Redirect,
    /// Answers once it may.
    Late(Arc<AtomicBool>, String),
    /// Says nothing for a while.
    Nothing,
    /// Ends the connection.
    Close,
}

impl StandIn {
    pub fn start() -> Self {
        let says = Arc::new(Mutex::new(Says::Close));
        let told = Arc::clone(&says);
        let recorder = Recorder::behaving(Arc::new(move |request, stream| {
            let says = told.lock().expect("whole").clone();
            let id = request.values("x-request-id").first().map_or(String::new(), |id| (*id).to_owned());
            let (status, id, more, body) = match says {
                Says::Answer(status, body) => (status, id, "", body),
                Says::Late(may, body) => {
                    while !may.load(Ordering::Acquire) {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    (200, id, "", body)
                }
                Says::Elsewhere(body) => (200, "00000000-0000-0000-0000-000000000000".to_owned(), "", body),
                Says::Redirect => (307, id, "Location: /access/v1/evaluation\r\n", String::new()),
                Says::Nothing => {
                    std::thread::sleep(Duration::from_secs(2));
                    return false;
                }
                Says::Close => return false,
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nX-Request-ID: {id}\r\n{more}"
            );
            write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).is_ok()
        }));
        Self { recorder, says }
    }

    pub fn say(&self, says: Says) {
        *self.says.lock().expect("whole") = says;
    }

    pub fn answer(&self, body: &str) {
        self.say(Says::Answer(200, body.to_owned()));
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.recorder.address)
    }
}

/// A gateway with these top-level keys and routes.
pub fn setup(upstream: &Recorder, signer: &Signer, more: &str, routes: &str) -> Setup {
    let config = tokens::config(upstream.address, routes).replace("audit: {", &format!("{more}\naudit: {{"));
    Setup::new(&config, |dir| {
        std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable");
        std::fs::write(dir.join("secret"), "s3cret-of-the-gateway\n").expect("writable");
    })
}

/// Somebody with these roles.
pub fn bearer(signer: &Signer, subject: &str, roles: &[&str], level: &str) -> String {
    let mut claims = Signer::claims("p1", level, 5);
    claims["sub"] = subject.into();
    claims["groups"] = roles.into();
    format!("Bearer {}", signer.sign(&claims))
}

/// The status and the reason on record.
pub fn ask(gateway: &Gateway, token: &str, method: &str, target: &str) -> (u16, String) {
    let headers = [("Authorization", token), ("Host", "portal.example")];
    let answer = http::send(gateway.address, method, target, &headers, b"").expect("an answer");
    let id = answer.decision().to_owned();
    let mut record = None;
    // Of a low tier it may follow a little later.
    eventually("it is on record", Duration::from_secs(20), || {
        let is_it = |record: &Value| record["decision"] == id.as_str() && record["event"] != "outcome";
        record = gateway.audit().into_iter().find(is_it);
        record.is_some()
    });
    let record = record.expect("a record");
    (answer.status, record["reason"].as_str().expect("a reason").to_owned())
}
