//! The one who asks, as an issuer vouches for them.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Level, NamedActions};
use crate::request::certificate::Thumbprint;

/// Whether a token speaks for a person or for a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A person signed in.
    Person,
    /// A service with its own credentials; it has no `auth_time`.
    Service,
}

/// A verified caller. `Debug` shows nothing that names a person.
#[derive(Clone)]
pub struct Subject {
    /// The issuer's configured name.
    pub issuer: Arc<str>,
    /// The issuer's position in the policy.
    pub issuer_index: usize,
    /// `sub`: visible ASCII, at most 255 characters.
    pub id: Box<str>,
    /// Person or service.
    pub caller: Caller,
    /// The client the token was issued to: `client_id`, or `azp`.
    pub client: Option<Box<str>>,
    /// The outermost `act.sub` (RFC 8693 §4.1): somebody acts for the subject.
    pub actor: Option<Box<str>>,
    /// The patient record that is the subject's own.
    pub patient: Option<Box<str>>,
    /// Roles, from the claim the issuer is configured with.
    pub roles: Vec<Box<str>>,
    /// OAuth scopes.
    pub scopes: Vec<Box<str>>,
    /// The level of assurance of the authentication.
    pub level: Level,
    /// `amr`.
    pub methods: Vec<Box<str>>,
    /// When the person last authenticated, in Unix seconds. Missing means infinitely long ago.
    pub auth_time: Option<i64>,
    /// `iat`, in Unix seconds.
    pub issued_at: i64,
    /// `exp`, in Unix seconds.
    pub expires_at: i64,
    /// `jti`.
    pub token_id: Option<Box<str>>,
    /// `sid`.
    pub session: Option<Box<str>>,
    /// The client certificate that the token is bound to (`cnf.x5t#S256`, RFC 8705 §3.1): whoever shows the token must
    /// have shown that certificate on the same connection.
    pub bound_to: Option<Thumbprint>,
    /// The thumbprint of the key that the token is bound to (`cnf.jkt`, RFC 9449 §6.1): whoever shows the token must
    /// prove with each request that they hold the key.
    pub bound_key: Option<Thumbprint>,
    /// The single-use actions that the token names (RFC 9396): then it is good for these alone.
    pub names: NamedActions,
    /// When the first of the roles ends that end before the token, in Unix seconds: from then on this is another
    /// subject.
    pub changes_at: Option<i64>,
    /// Every claim, for conditions.
    pub claims: Arc<Map<String, Value>>,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Subject({} of {}, level {:?})", self.caller_word(), self.issuer, self.level)
    }
}

impl Subject {
    /// `person` or `service`, as records and assertions say it.
    pub fn caller_word(&self) -> &'static str {
        match self.caller {
            Caller::Person => "person",
            Caller::Service => "service",
        }
    }

    /// The subject's name in audit keys and injected headers: never ambiguous, since issuer names hold no colon.
    pub fn qualified_id(&self) -> String {
        format!("{}:{}", self.issuer, self.id)
    }

    /// Whether something that only the caller holds was proven beside the token: a key (RFC 9449) or a certificate
    /// (RFC 8705).
    pub fn is_sender_constrained(&self) -> bool {
        self.bound_to.is_some() || self.bound_key.is_some()
    }

    /// Until when this holds, in Unix seconds: the token's end, or that of a role.
    pub fn holds_until(&self) -> i64 {
        self.changes_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }

    /// Seconds since the person last authenticated; `None` where the issuer did not say.
    pub fn age(&self, now: i64) -> Option<i64> {
        self.auth_time.map(|at| now.saturating_sub(at).max(0))
    }
}
