//! A real OpenID Provider as a child process: see `idp/server.mjs`.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

use super::canaries::canary;
use super::{free_address, http};

/// How long it may take to say where it listens, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The provider; ends with the value.
pub struct Idp {
    process: Child,
    /// Its address, which is its tokens' `iss`.
    pub issuer: String,
    address: SocketAddr,
    control: SocketAddr,
}

/// What the provider gives a client.
pub struct Tokens(Value);

impl Tokens {
    /// The access token.
    pub fn access(&self) -> &str {
        self.0["access_token"].as_str().expect("an access token")
    }

    /// The ID token.
    pub fn id(&self) -> &str {
        self.0["id_token"].as_str().expect("an ID token")
    }
}

impl Idp {
    /// Starts one.
    pub fn start() -> Self {
        let address = free_address();
        let (process, control) = launch(address);
        Self { process, issuer: format!("http://{address}"), address, control }
    }

    /// One for every test that only gets tokens from it. It ends with the test program.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Idp> = LazyLock::new(Idp::start);
        &SHARED
    }

    /// Stops it as a power cut would.
    pub fn stop(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }

    /// Comes back at the same address, with new keys and nothing remembered.
    pub fn restart(&mut self) {
        (self.process, self.control) = launch(self.address);
    }

    /// Signs somebody in.
    pub fn sign_in(&self, account: &str, level: &str, audience: &str) -> Tokens {
        self.sign_in_earlier(account, level, audience, 0)
    }

    /// Signs somebody in whose authentication was this many seconds ago.
    pub fn sign_in_earlier(&self, account: &str, level: &str, audience: &str, age: u32) -> Tokens {
        let asked = json!({"account": account, "level": level, "audience": audience, "scope": "records", "auth_age": age});
        Tokens(self.order("/token", &asked))
    }

    /// Signs somebody in who agrees to these `authorization_details` (RFC 9396).
    pub fn agree(&self, account: &str, audience: &str, details: &Value) -> Tokens {
        let asked = json!({"account": account, "level": "aal2", "audience": audience, "scope": "records", "details": details});
        Tokens(self.order("/token", &asked))
    }

    /// A machine's token.
    pub fn client_token(&self, audience: &str) -> Tokens {
        Tokens(self.order("/client-token", &json!({"audience": audience, "scope": "feed"})))
    }

    /// Tells it where the gateway is, for messages on the back channel.
    pub fn relay_to(&self, gateway: SocketAddr) {
        self.order("/relay", &json!({"to": gateway.to_string()}));
    }

    /// Changes what is known of an account, or makes one.
    pub fn set_claims(&self, account: &str, claims: &Value) {
        self.order("/claims", &json!({"account": account, "claims": claims}));
    }

    /// A machine's token that is bound to the key of a proof (RFC 9449 §5).
    pub fn bound_client_token(&self, audience: &str, proof: &str) -> String {
        let form = format!("grant_type=client_credentials&scope=feed&resource=urn:wardgate-test:{audience}");
        let headers = [
            ("Host", &*self.address.to_string()),
            ("Content-Type", "application/x-www-form-urlencoded"),
            // lab-feed:lab-feed-secret
            ("Authorization", "Basic bGFiLWZlZWQ6bGFiLWZlZWQtc2VjcmV0"),
            ("DPoP", proof),
        ];
        let answer =
            http::send(self.address, "POST", "/token", &headers, form.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer = answer.json();
        assert_eq!(answer["token_type"], "DPoP", "{answer}");
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    /// New keys sign from now on; `retire` takes the old ones out.
    pub fn rotate(&self, retire: bool) {
        self.order("/rotate", &json!({"retire": retire}));
    }

    /// Breaks an endpoint, or mends it.
    pub fn fail(&self, endpoint: &str, mode: Option<&str>) {
        self.order("/fail", &json!({"endpoint": endpoint, "mode": mode}));
    }

    /// Where its controls are: see `idp/server.mjs`.
    pub fn control(&self) -> String {
        format!("http://{}", self.control)
    }

    /// Lets its ID tokens say something else; a claim that is null is left out.
    pub fn lie(&self, claims: &Value) {
        self.order("/lie", &json!({ "claims": claims }));
    }

    /// The same, signed with a key that is not the provider's.
    pub fn forge(&self, claims: &Value) {
        self.order("/lie", &json!({ "claims": claims, "forged": true }));
    }

    /// What an account's person does on the phone from now on, also about what is shown there already: see
    /// `idp/ciba.mjs`. Who has no answer yet has not looked.
    pub fn answers(&self, account: &str, answer: &Value) {
        let mut order = answer.clone();
        order["account"] = account.into();
        self.order("/answers", &order);
    }

    /// Every question that a phone has shown, the first one first: `account`, `client`, `binding_message`,
    /// `acr_values`, `hint`, `auth_req_id`.
    pub fn shown(&self) -> Vec<Value> {
        let shown = http::get(self.control, "/shown").expect("an answer").json();
        shown.as_array().expect("a list").clone()
    }

    /// How often an endpoint was asked.
    pub fn asked(&self, endpoint: &str) -> u64 {
        let stats = http::get(self.control, "/stats").expect("statistics").json();
        stats[endpoint].as_u64().expect("a count")
    }

    /// Revokes an access token, as its client does (RFC 7009).
    pub fn revoke(&self, token: &str) {
        let form = format!("client_id=portal&token={token}");
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = http::send(self.address, "POST", "/token/revocation", &kind, form.as_bytes());
        assert_eq!(answer.expect("an answer").status, 200);
    }

    fn order(&self, path: &str, body: &Value) -> Value {
        let answer =
            http::send(self.control, "POST", path, &[], body.to_string().as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What it says of everybody.
fn personal() -> Value {
    json!({"name": canary("NameThere"), "email": canary("EmailThere"), "phone_number": canary("PhoneThere"),
        "street_address": canary("StreetThere")})
}

/// Node.js: the one that `scripts/setup.sh test` has installed, else the system's.
pub fn node() -> Command {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/node");
    Command::new(if own.exists() { own.as_path() } else { Path::new("node") })
}

fn launch(address: SocketAddr) -> (Child, SocketAddr) {
    // Now and then Node hangs before it has run anything: it is started anew.
    let started = (0..3).find_map(|_| try_to_launch(address));
    started.expect("the provider starts; `scripts/setup.sh test` installs it")
}

/// `None` where it says nothing for a long time.
fn try_to_launch(address: SocketAddr) -> Option<(Child, SocketAddr)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut process = node()
        .arg(root.join("tests/it/idp/server.mjs"))
        .env("IDP_PORT", address.port().to_string())
        .env("IDP_PERSONAL", personal().to_string())
        // It ends when this closes, so it never outlives the test.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("node starts; `scripts/setup.sh test` installs it");
    let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = stdout.read_line(&mut line);
        // Nobody listens any more where it took too long.
        let _ = tell.send(read.map(|_| line));
    });
    let Ok(line) = told.recv_timeout(PATIENCE) else {
        process.kill().expect("killed");
        process.wait().expect("ended");
        return None;
    };
    let said: Value = serde_json::from_str(&line.expect("the provider speaks"))
        .unwrap_or_else(|error| panic!("the provider did not start ({error}): run `scripts/setup.sh test`"));
    let control = said["control"].as_str().and_then(|url| url.strip_prefix("http://")?.parse().ok());
    Some((process, control.expect("the address of its controls")))
}
