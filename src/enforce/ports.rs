//! What enforcement needs of the world, as traits; floor 3 implements them and never meets itself but here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;
use uuid::Uuid;

use crate::audit::epoch::Epoch;
use crate::audit::event::Event;
use crate::audit::pseudonym::{Named, Pseudonyms};
use crate::audit::receipt::Receipt;
use crate::decision::evidence::{Evaluation, Identity, Lookup};
use crate::identity::Subject;
use crate::policy::{Durability, RateLimit};
use crate::request::credentials::Token;
use crate::state::spent::{ProofKey, Spent};

/// Finds out whom a token speaks for.
#[async_trait]
pub trait Identities: Send + Sync {
    /// Verifies a token. `now` is in Unix seconds.
    ///
    /// Never waits longer than its own configured limits; an outage is [`Identity::Unavailable`].
    async fn identify(&self, token: &Token, now: i64) -> Identified;

    /// Asks the issuer at this position for its keys, now, and says whether it answered. One whose keys are not asked for
    /// counts as one that did.
    async fn can_be_asked(&self, issuer: usize) -> bool;
}

/// An identity, and how fresh the keys behind it were.
#[derive(Debug, Clone)]
pub struct Identified {
    /// The identity.
    pub identity: Identity,
    /// Whether the keys are older than `stale_for_critical` allows: then high tiers refuse with 503.
    pub too_stale_for_critical: bool,
}

/// What is asked of a policy decision point: one action of one subject, with the names that the clinic knows them by.
#[derive(Debug, Clone, Copy)]
pub struct EvaluationRequest<'a> {
    /// The decision's id, by which both sides' logs know the question.
    pub id: Uuid,
    /// Who asks.
    pub subject: &'a Subject,
    /// Their level of assurance.
    pub level: &'a str,
    /// The method.
    pub method: &'a str,
    /// The action's name.
    pub action: &'a str,
    /// The route's template.
    pub template: &'a str,
    /// The host asked for.
    pub host: &'a str,
    /// The path as the route's upstream reads it.
    pub path: &'a str,
    /// The template's parameters and their values.
    pub parameters: &'a [(&'a str, &'a str)],
    /// The patient it is about.
    pub patient: Option<&'a str>,
    /// The action's tier.
    pub tier: &'a str,
    /// Where the client is, if that can be known.
    pub client: Option<IpAddr>,
}

/// What is asked about the patient of a request.
#[derive(Debug, Clone, Copy)]
pub struct PatientRequest<'a> {
    /// The decision's id.
    pub id: Uuid,
    /// The template's parameters and their values, as they are spelled.
    pub parameters: &'a [(&'a str, &'a str)],
}

/// A question whether a patient consents.
#[derive(Debug, Clone, Copy)]
pub struct ConsentRequest<'a> {
    /// The decision's id.
    pub id: Uuid,
    /// Whose record.
    pub patient: &'a str,
    /// The action.
    pub action: &'a str,
    /// The configured name of the issuer that vouches for whoever asks.
    pub issuer: &'a str,
    /// The issuer's name for whoever acts.
    pub subject: &'a str,
    /// The moment of the request, in Unix seconds.
    pub now: i64,
}

/// Services outside that have a say in decisions. Implementations never wait longer than their own configured limits.
#[async_trait]
pub trait AccessServices: Send + Sync {
    /// What the policy decision point at this position says. An outage is [`Lookup::Unavailable`], never `Absent`.
    async fn evaluate(&self, pdp: usize, request: &EvaluationRequest<'_>) -> Lookup<Evaluation>;

    /// Whose record the request is about, as the service at this position says.
    async fn patient(&self, lookup: usize, request: &PatientRequest<'_>) -> Lookup<Box<str>>;

    /// Whether the patient consents, as the service at this position says; `Absent` where its answer can't be believed.
    async fn consents(&self, consent: usize, request: &ConsentRequest<'_>) -> Lookup<bool>;

    /// What is wrong with any of them now, in plain words.
    fn trouble(&self) -> Vec<String>;

    /// Their outages until now.
    fn outages(&self) -> Vec<ServiceOutages>;
}

/// When a service outside gave no answer several times in a row. What it answered is none, also where it was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceOutages {
    /// What it is for, as in metrics.
    pub kind: &'static str,
    /// Its name.
    pub name: Box<str>,
    /// How many have begun.
    pub begun: u64,
    /// Whether the last one still lasts.
    pub lasts: bool,
    /// What is wrong, or was when the last one ended, in words for the operator, without addresses, names or secrets.
    pub why: String,
}

/// The answer to an attempt to spend a proof.
#[derive(Debug)]
pub enum Consumed {
    /// This call spent it; nobody else did or will.
    Done(Spent),
    /// It had been spent before, or it is older than the store's memory and may have been.
    Already,
    /// Nobody can tell: it counts as spent, and the action is refused.
    Unknown,
}

/// A name in the revocation table: `issuer` and one of `sub`, `sid`, `jti`, `client`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RevocationKey<'k> {
    /// The issuer's configured name.
    pub issuer: &'k str,
    /// Which claim.
    pub claim: RevocationClaim,
    /// The claim's value.
    pub value: &'k str,
}

/// The claim by which tokens are revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the claims' own names")]
pub enum RevocationClaim {
    Subject,
    Session,
    TokenId,
    Client,
}

/// What begins the key of a sealed piece whose name is somebody's: stores that others can look into keep it under a keyed
/// digest.
pub const PRIVATE: &str = "private:";

/// What replicas share. Implementations never panic, never retry a consume, and answer within their own time limit.
#[async_trait]
pub trait State: Send + Sync {
    /// Spends a proof exactly once, remembering it for `remember`, which must outlast every `max_age`.
    async fn consume(&self, key: &ProofKey, remember: Duration) -> Consumed;

    /// The latest moment (Unix seconds) before which tokens with any of these names are refused.
    async fn not_before(&self, keys: &[RevocationKey<'_>]) -> Lookup<i64>;

    /// Refuses tokens with this name issued before `moment` (Unix seconds); a later moment wins. Remembered for
    /// `remember`, which must outlast the longest token. `Absent` never comes back; `Found` says it is stored.
    async fn revoke(&self, key: &RevocationKey<'_>, moment: i64, remember: Duration) -> Lookup<()>;

    /// Waits until something may have been revoked, here or at another replica, since `seen`; gives what to wait for
    /// next. The first call, with 0, may answer at once. Never says what it was: a store may not know.
    async fn revised(&self, seen: u64) -> u64;

    /// Counts one event under `key` and gives how many there were in the last `span`, this one included.
    async fn window(&self, key: &str, span: Duration) -> Lookup<u64>;

    /// Notes `member` under `key` and gives how many different ones were noted there in the last `span`, this one included. Of
    /// more than `most` no more are kept or told; up to there it is exact.
    async fn distinct(&self, key: &str, member: &str, span: Duration, most: usize) -> Lookup<usize>;

    /// Keeps bytes under `key` for `ttl`. Callers give them in the clear: a ring of keys around the store encrypts what
    /// leaves the process. `Found` says they are stored, and outlast a crash of the store where anything does.
    async fn seal(&self, key: &str, bytes: &[u8], ttl: Duration) -> Lookup<()>;

    /// Takes sealed bytes out, once: a second caller gets `Absent`.
    async fn unseal(&self, key: &str) -> Lookup<Vec<u8>>;

    /// Gives `key` to whoever comes first: keeps `word` there for `keep`, unless another word is there, and gives the one that
    /// is there then. The same word once more is kept for at least as long. `Absent` never comes back.
    async fn hold(&self, key: &str, word: &str, keep: Duration) -> Lookup<Box<str>>;

    /// The word that [`State::hold`] keeps under `key`.
    async fn held(&self, key: &str) -> Lookup<Box<str>>;

    /// Reads sealed bytes and leaves them where they are. A store whose servers changed may give bytes that were taken
    /// out before the change: only what the revocation table guards too may be kept for reading.
    async fn peek(&self, key: &str) -> Lookup<Vec<u8>>;
}

/// The nonces that proofs of possession must hold (RFC 9449 §9), the same at every gateway. Implementations never wait.
pub trait Nonces: Send + Sync {
    /// The nonce to give out at `now` (Unix seconds): visible ASCII.
    fn current(&self, now: i64) -> Option<String>;

    /// Whether it was given out in the last minutes.
    fn accepts(&self, nonce: &str, now: i64) -> bool;
}

/// Whose bucket a request is taken from.
#[derive(Debug, Clone, Copy)]
pub enum RateKey<'k> {
    /// A client's; those whose address can't be known share one.
    Address(Option<IpAddr>),
    /// A subject's.
    Subject {
        /// The issuer's configured name.
        issuer: &'k str,
        /// The issuer's name for the subject.
        id: &'k str,
    },
    /// The one that all share.
    Everybody,
}

/// Counts requests. Implementations never wait, and their memory is bounded whatever the keys.
pub trait Rates: Send + Sync {
    /// Takes one request from a bucket.
    ///
    /// # Errors
    /// The bucket is empty: how long until it holds a request again.
    fn take(&self, limit: &RateLimit, key: RateKey<'_>) -> Result<(), Duration>;
}

/// The journal could not record; the request must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalUnavailable {
    /// The record's number, where it is in the journal but not as durably as was asked: it needs an outcome, or it
    /// would read as a request that may have happened.
    pub written: Option<u64>,
}

/// Where audit records go.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Records an event and returns once it has the durability asked for.
    ///
    /// # Errors
    /// It could not be recorded, or not durably enough; whether it is in the journal is then unknown.
    async fn append(&self, event: &Event<'_>, durability: Durability) -> Result<Receipt, JournalUnavailable>;
}

/// A pseudonym of somebody, and when records call them so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// The pseudonym.
    pub pseudonym: Arc<str>,
    /// The epoch; `None` for records of a time without epochs.
    pub epoch: Option<Epoch>,
}

/// What somebody is called in records.
#[derive(Debug, Default)]
pub struct Aliases {
    /// One for each key that is there, the earliest epoch first.
    pub known: Vec<Alias>,
    /// The first days of epochs whose keys are there and can't be used.
    pub unreadable: Vec<Date>,
}

/// The keys of pseudonyms can't be used; the text is for operators, and holds nobody's name.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeysUnavailable(pub String);

/// The keys of pseudonyms. Whoever wants to know what somebody is called, or to destroy a key, shows that it is on record.
#[async_trait]
pub trait PseudonymKeys: Send + Sync {
    /// The epoch at this moment; `None` where pseudonyms never change.
    fn epoch_at(&self, now: Timestamp) -> Option<Epoch>;

    /// The pseudonyms of an epoch that runs; its key is made where there is none.
    ///
    /// # Errors
    /// The key can't be read or made.
    async fn open(&self, epoch: Epoch) -> Result<Pseudonyms, KeysUnavailable>;

    /// What somebody is called, under every key that is there.
    ///
    /// # Errors
    /// Nobody can say which keys there are.
    async fn aliases(&self, named: Named<String>, recorded: &Receipt) -> Result<Aliases, KeysUnavailable>;

    /// The epochs whose keys are there, the earliest first.
    ///
    /// # Errors
    /// Nobody can say which, or there are no epochs.
    async fn epochs(&self) -> Result<Vec<Epoch>, KeysUnavailable>;

    /// Destroys an epoch's key. Returns once the disk has forgotten it, as far as the disk tells.
    ///
    /// # Errors
    /// It may still be there, in whole or in part.
    async fn destroy(&self, epoch: Epoch, recorded: &Receipt) -> Result<(), KeysUnavailable>;
}
