//! What lies in the store: sessions, and sign-ins under way. Sealed, and under digests of names that only browsers know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::secret;
use crate::decision::Lookup;
use crate::enforce::ports::State;
use crate::enforce::sessions::SessionFact;
use crate::identity::Subject;

/// What is kept is kept this much longer than it counts, so that clocks decide and not the store.
pub const MARGIN: Duration = Duration::from_secs(60);

/// Where a session lies.
pub fn session_key(name: &str) -> String {
    format!("session:{name}")
}

/// Where that lies what step-ups have added to it.
pub fn raise_key(name: &str) -> String {
    format!("raised:{name}")
}

/// Where its refresh token lies: whoever takes it out refreshes, and nobody else at that time.
pub fn refresh_key(name: &str) -> String {
    format!("refresh:{name}")
}

/// Where a sign-in under way lies.
pub fn pending_key(state_digest: &str) -> String {
    format!("sign-in:{state_digest}")
}

/// A session.
#[derive(Clone, Serialize, Deserialize)]
pub struct Record {
    /// The issuer's configured name.
    pub issuer: Box<str>,
    /// Our name there, as it was.
    pub client_id: Box<str>,
    /// The host whose cookie names it.
    pub host: Box<str>,
    /// What the ID token says.
    pub claims: Arc<Map<String, Value>>,
    /// The ID token itself, for signing out.
    pub id_token: Box<str>,
    /// When it began, in Unix seconds.
    pub began_at: i64,
    /// When it was last used, in Unix seconds; written now and then only.
    pub seen_at: i64,
    /// Until when the claims count, where they can be refreshed.
    pub fresh_until: Option<i64>,
}

/// A proof that was given after the sign-in. It stands for the sign-in's own as a whole: a level from one and a moment
/// from the other would be a proof that nobody gave.
#[derive(Clone, Serialize, Deserialize)]
pub struct Raised {
    /// The level's configured name.
    pub level: Box<str>,
    /// The methods.
    pub methods: Vec<Box<str>>,
    /// When it was given, in Unix seconds.
    pub authenticated_at: i64,
}

/// What step-ups have added to a session. It lies apart from it and only they write it: whoever notes that a session is
/// used, or has it refreshed, writes the session as they have read it, and must not take back what was proven meanwhile.
#[derive(Clone, Serialize, Deserialize)]
pub struct Raise {
    /// What was proven.
    pub raised: Raised,
    /// The name that browsers show for the session since.
    pub shown_as: ShownAs,
}

/// A name that a browser was given in the place of another: at every step-up, so that who knew the old one gains nothing
/// by it. What the session itself is called stays.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownAs {
    /// The digest of what stands in the cookie.
    pub name: Box<str>,
    /// Since when, in Unix seconds.
    pub since: i64,
}

/// What lies where a session's name points to.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub enum Named {
    /// The session.
    Session(Box<Record>),
    /// Its first name, under which it lies.
    Other {
        /// That name.
        stands_for: Box<str>,
        /// Since when, in Unix seconds.
        since: i64,
    },
}

impl Record {
    /// A claim of the ID token that is a text.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// What happened to the session of this name, for the audit trail.
    pub fn fact(&self, what: &'static str, result: &'static str, name: Box<str>) -> SessionFact {
        SessionFact {
            what,
            result,
            issuer: Some(self.issuer.clone()),
            subject: self.claim("sub").map(Box::from),
            session: self.claim("sid").map(Box::from).or(Some(name)),
            account: None,
        }
    }
}

/// A session that was read, with what follows from it.
pub struct Live {
    /// Its first name: that by which everything of it is kept.
    pub name: Box<str>,
    pub record: Record,
    pub raise: Option<Raise>,
    pub subject: Arc<Subject>,
    pub position: usize,
    pub read_at: Instant,
}

/// A sign-in under way.
#[derive(Serialize, Deserialize)]
pub enum Pending {
    /// The browser is at the issuer.
    Begun(Begun),
    /// It has come back.
    Done {
        /// The digest of the secret in its cookie.
        binding: Box<str>,
        /// Where it goes on to.
        to: Box<str>,
    },
}

/// What was sent along, and what must come back.
#[derive(Serialize, Deserialize)]
pub struct Begun {
    /// The issuer's configured name.
    pub issuer: Box<str>,
    /// The host at which it began.
    pub host: Box<str>,
    /// The digest of the secret in the browser's cookie.
    pub binding: Box<str>,
    /// What the ID token must repeat.
    pub nonce: Box<str>,
    /// The secret behind the code's challenge (RFC 7636).
    pub verifier: Box<str>,
    /// Where the issuer sends the browser back to.
    pub redirect_uri: Box<str>,
    /// Whether the issuer has promised to name itself there (RFC 9207), when it began.
    pub names_itself: bool,
    /// Where the person goes on to.
    pub to: Box<str>,
    /// When it began, in Unix seconds.
    pub began_at: i64,
    /// Whether the person was to authenticate anew.
    pub anew: bool,
    /// What it is for, where somebody is signed in already and gives more proof.
    #[serde(default)]
    pub step_up: Option<StepUpBegun>,
}

/// A step-up under way.
#[derive(Clone, Serialize, Deserialize)]
pub struct StepUpBegun {
    /// The session's first name.
    pub session: Box<str>,
    /// The name of the request that waits for it.
    pub intent: Box<str>,
    /// Whether the window is to be closed afterwards.
    pub closes: bool,
}

/// The name of a session in stores, of its name in the browser.
pub fn name_of(id: &str) -> Box<str> {
    secret::digest(id).into()
}

/// Reads a piece. What can't be understood counts as absent: another version of the program wrote it.
pub fn understood<T: serde::de::DeserializeOwned>(found: Lookup<Vec<u8>>) -> Lookup<T> {
    match found {
        Lookup::Found(bytes) => serde_json::from_slice(&bytes).map_or(Lookup::Absent, Lookup::Found),
        Lookup::Absent => Lookup::Absent,
        Lookup::Unavailable => Lookup::Unavailable,
    }
}

/// Keeps a piece; says whether it is kept.
pub async fn keep(state: &dyn State, key: &str, piece: &impl Serialize, ttl: Duration) -> bool {
    match serde_json::to_vec(piece) {
        Ok(bytes) => state.seal(key, &bytes, ttl).await == Lookup::Found(()),
        Err(_) => false,
    }
}
