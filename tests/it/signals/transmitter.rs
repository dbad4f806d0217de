//! A transmitter of security events: its metadata, its keys, and a stream that can be fetched (RFC 8936). It signs
//! whatever it is told to.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hostile::forge::Forge;
use crate::support::Recorder;
use crate::support::upstream::Recorded;

/// How long it holds a request that it has no events for.
const HELD: Duration = Duration::from_secs(2);
/// What fetching asks for.
pub const POLL_AUTHORIZATION: &str = "Bearer fetch-me";

/// What it answers with.
#[derive(Default)]
struct Told {
    /// Events that nobody has acknowledged.
    pending: Vec<(String, String)>,
    /// What was asked.
    asked: Vec<Value>,
    /// Every request is answered with this status.
    broken: Option<u16>,
    /// How much longer it holds a request than it should, events or not.
    hangs: Duration,
}

/// The transmitter.
pub struct Transmitter {
    pub address: SocketAddr,
    pub forge: Arc<Forge>,
    told: Arc<Mutex<Told>>,
}

impl Transmitter {
    pub fn start() -> Self {
        let (forge, told) = (Arc::new(Forge::new()), Arc::new(Mutex::new(Told::default())));
        let (keys, state) = (forge.jwks(), Arc::clone(&told));
        let server = Recorder::behaving(Arc::new(move |request, stream: &mut TcpStream| {
            let (status, body) = answer(request, &keys, &state);
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            );
            stream.write_all(format!("{head}{body}").as_bytes()).is_ok()
        }));
        Self { address: server.address, forge, told }
    }

    /// Its address, which is its events' `iss`.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().expect("whole")
    }

    /// Puts an event into the stream.
    pub fn send(&self, name: &str, token: &str) {
        self.told().pending.push((name.to_owned(), token.to_owned()));
    }

    /// What nobody has acknowledged or refused.
    pub fn pending(&self) -> Vec<String> {
        self.told().pending.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Every request for events so far.
    pub fn asked(&self) -> Vec<Value> {
        self.told().asked.clone()
    }

    /// Answers everything with a status, or is well again.
    pub fn break_with(&self, status: Option<u16>) {
        self.told().broken = status;
    }

    /// Lets a request that may be held wait for so much longer, as a network that swallows answers would.
    pub fn hang(&self, longer: Duration) {
        self.told().hangs = longer;
    }

    /// The header of an honest event.
    pub fn header() -> Value {
        json!({ "alg": "ES256", "typ": "secevent+jwt", "kid": "k1" })
    }

    /// The claims of an honest event about a subject.
    pub fn claims(&self, subject: Value, event: &str, members: Value) -> Value {
        let uri = if event.contains(':') { event.to_owned() } else { format!("{CAEP}{event}") };
        json!({
            "iss": self.issuer(), "aud": "wardgate", "jti": uuid::Uuid::now_v7().to_string(),
            "iat": jiff::Timestamp::now().as_second(), "txn": 8_675_309, "sub_id": subject, "events": { uri: members },
        })
    }

    /// An honest event.
    pub fn event(&self, subject: Value, event: &str, members: Value) -> String {
        self.sign(&self.claims(subject, event, members))
    }

    /// Signs claims as an event.
    pub fn sign(&self, claims: &Value) -> String {
        self.forge.sign(&Self::header().to_string(), &claims.to_string())
    }
}

/// Where CAEP's events are named.
pub const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
/// Where the framework's own are.
pub const FRAMEWORK: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

fn answer(request: &Recorded, keys: &str, told: &Mutex<Told>) -> (u16, String) {
    let own = format!("http://{}", request.values("host")[0]);
    if let Some(status) = told.lock().expect("whole").broken {
        return (status, "{}".to_owned());
    }
    match request.target() {
        "/.well-known/ssf-configuration" => {
            let metadata = json!({
                "spec_version": "1_0", "issuer": own, "jwks_uri": format!("{own}/keys"),
                "delivery_methods_supported": ["urn:ietf:rfc:8935", "urn:ietf:rfc:8936"],
                "critical_subject_members": ["badge"],
            });
            (200, metadata.to_string())
        }
        "/keys" => (200, keys.to_owned()),
        "/poll" if request.values("authorization") != [POLL_AUTHORIZATION] => (401, "{}".to_owned()),
        "/poll" => (200, poll(request, told)),
        _ => (404, "{}".to_owned()),
    }
}

fn poll(request: &Recorded, told: &Mutex<Told>) -> String {
    let asked: Value = serde_json::from_slice(&request.body).expect("JSON");
    let done = |name: &str| {
        let refused = asked["setErrs"].get(name).is_some();
        refused || asked["ack"].as_array().is_some_and(|all| all.iter().any(|one| one == name))
    };
    let until = Instant::now() + HELD;
    let hangs = told.lock().expect("whole").hangs;
    if asked["returnImmediately"] == false {
        std::thread::sleep(hangs);
    }
    {
        let mut told = told.lock().expect("whole");
        told.pending.retain(|(name, _)| !done(name));
        told.asked.push(asked.clone());
    }
    loop {
        let sets: serde_json::Map<String, Value> = {
            let told = told.lock().expect("whole");
            told.pending.iter().map(|(name, token)| (name.clone(), token.as_str().into())).collect()
        };
        let is_due = asked["returnImmediately"] == true || Instant::now() > until;
        if is_due || !sets.is_empty() {
            return json!({ "sets": sets, "moreAvailable": false }).to_string();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
