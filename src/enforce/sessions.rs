//! What the gateway needs to sign people in, as traits: the providers that vouch for them, and the sessions they hold.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Map, Value};

pub use super::page::{ActsForYou, Choice, Page};
pub use super::place::{DELEGATIONS, OWN_PATH, Place, is_own_path};
use super::ports::Identified;
use super::step_up::{Again, Challenged, Offered, Taken};
use crate::decision::{Granted, Lookup};
use crate::identity::jwt::Media;
use crate::identity::{IssuerRules, Subject, TokenFault};
use crate::request::Facts;
use crate::request::account::Account;
use crate::request::credentials::SessionId;
use crate::request::device::DeviceId;

/// Why nobody speaks for a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderFault {
    /// It can't be reached, or gives no usable answer.
    Unavailable,
    /// It refuses: the code, the refresh token or the client is not good.
    Refused,
    /// What it gave is not signed as it signs.
    Token(TokenFault),
}

/// Where a provider's pages are, and what it can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Where people authenticate.
    pub authorization: Box<str>,
    /// Where they sign out, where it has such a page (OpenID Connect RP-Initiated Logout 1.0).
    pub end_session: Option<Box<str>>,
    /// Whether it names itself in what it sends back (RFC 9207).
    pub names_itself: bool,
    /// Whether it takes the `claims` parameter.
    pub takes_claims: bool,
}

/// What is exchanged for tokens.
#[derive(Clone, Copy)]
pub enum Grant<'g> {
    /// A code, with the verifier of its challenge (RFC 7636) and the address it came to.
    Code {
        /// The code.
        code: &'g str,
        /// What its challenge was made from.
        verifier: &'g str,
        /// Where it came to.
        redirect_uri: &'g str,
    },
    /// A refresh token.
    Refresh(&'g str),
}

/// What a provider gives for a grant. No `Debug`: it holds tokens.
#[derive(Clone)]
pub struct Tokens {
    /// The ID token as it came, for signing out.
    pub id_token: Option<Box<str>>,
    /// To get newer ones.
    pub refresh_token: Option<Box<str>>,
    /// For how many seconds what the tokens say may be relied on.
    pub expires_in: Option<i64>,
}

/// The issuers at which people sign in. A position is the policy's.
#[async_trait]
pub trait Providers: Send + Sync {
    /// An issuer's rules.
    fn rules(&self, issuer: usize) -> Option<&IssuerRules>;

    /// Where its pages are; `None` where it can't be asked.
    async fn provider(&self, issuer: usize) -> Option<Arc<Provider>>;

    /// Gets tokens at its token endpoint.
    async fn tokens(&self, issuer: usize, grant: Grant<'_>) -> Result<Tokens, ProviderFault>;

    /// The claims of a token that it has signed, and what kind of token that is.
    async fn signed(&self, issuer: usize, token: &str) -> Result<(Media, Map<String, Value>), ProviderFault>;
}

/// A request to one of the gateway's own pages.
#[derive(Debug)]
pub struct Visit<'v> {
    /// Which.
    pub place: Place,
    /// The method, which the page takes.
    pub method: &'v Method,
    /// The request.
    pub facts: &'v Facts,
    /// Its headers, for cookies.
    pub headers: &'v HeaderMap,
    /// The body of a form.
    pub form: Option<Bytes>,
    /// Now, in Unix seconds.
    pub now: i64,
}

/// Something that happened to a session, for the audit trail; names in it become pseudonyms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFact {
    /// `sign_in`, `step_up`, `ciba_ping`, `handover`, `confirm`, `refresh`, `sign_out`, `back_channel_logout`.
    pub what: &'static str,
    /// `ok`, or why not.
    pub result: &'static str,
    /// The issuer's configured name.
    pub issuer: Option<Box<str>>,
    /// The issuer's name for the subject.
    pub subject: Option<Box<str>>,
    /// The session's name.
    pub session: Option<Box<str>>,
    /// The account that somebody names who has not signed in.
    pub account: Option<Account>,
}

/// How a visit is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The browser goes on there.
    GoTo(String),
    /// A page.
    Page(Page),
    /// How far a step-up is, for a script.
    Progress(&'static str),
    /// The script of single-page applications.
    Script,
    /// The logout token was taken.
    LogoutTaken,
    /// It was not.
    LogoutRefused,
    /// Nobody could keep it in mind; the issuer should try again.
    LogoutUnavailable,
    /// An issuer's word that there is an answer: how it was taken.
    Word(Heard),
}

/// How an issuer's word was taken (OpenID Connect CIBA Core 1.0 §10.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Whoever waits for it looks for the answer.
    Taken,
    /// It can't be read.
    Malformed,
    /// Nobody waits for it from whoever sent it. Of why, nothing is said.
    Refused,
    /// Nobody could keep it in mind.
    Unavailable,
}

/// An answer with all that comes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visited {
    /// The answer.
    pub answer: Answer,
    /// `Set-Cookie` lines.
    pub cookies: Vec<String>,
    /// Whether the browser is to forget everything of this host, for the next person.
    pub clears_browser: bool,
    /// What happened.
    pub fact: Option<SessionFact>,
}

impl From<Answer> for Visited {
    fn from(answer: Answer) -> Self {
        Self { answer, cookies: Vec::new(), clears_browser: false, fact: None }
    }
}

impl From<Page> for Visited {
    fn from(page: Page) -> Self {
        Answer::Page(page).into()
    }
}

/// What a session is wanted for. Requests count as use of it; so does an open WebSocket, unless others use the browser
/// too: a visit by video must not end because nobody clicks. A stream that only tells counts as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A request.
    Request,
    /// A WebSocket that is open.
    Socket,
    /// A stream of events that is open.
    Stream,
}

/// A session by which a request was shown to be somebody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The session's name.
    pub id: SessionId,
    /// The host that it belongs to.
    pub host: Box<str>,
    /// The listener that the request came to.
    pub listener: Box<str>,
}

/// Whom a session speaks for, and what happened to it meanwhile.
#[derive(Debug)]
pub struct Resumed {
    /// Whom it speaks for.
    pub identified: Identified,
    /// A refresh, or its refusal.
    pub fact: Option<SessionFact>,
}

/// The sessions of browsers, for one version of the configuration.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Whether people sign in at this host.
    fn serves(&self, host: &str) -> bool;

    /// The host on which step-ups are confirmed, where that is one of their own. Nothing else is there.
    fn pages_host(&self) -> Option<&str> {
        None
    }

    /// Where somebody signs in who is on the way to a target (path and query) at this host, and whom one of these
    /// issuers (positions; `None` is any) must vouch for. `None` where nobody can.
    fn sign_in(
        &self,
        host: &str,
        issuers: &mut dyn Iterator<Item = Option<usize>>,
        target: &str,
    ) -> Option<String>;

    /// Whom a session speaks for. Never waits longer than its own configured limits.
    async fn resume(&self, id: &SessionId, host: &str, wanted: Use, now: i64) -> Resumed;

    /// Answers a request to one of the gateway's own pages.
    async fn visit(&self, visit: &Visit<'_>) -> Visited;

    /// Keeps a request of a browser while its person gives proof, and says how that is done; `None` where the store can't
    /// be asked.
    async fn keep(&self, challenged: &Challenged<'_>) -> Option<Offered>;

    /// Waits for a proof that is asked for elsewhere, where a way says that a request may be held for it. `name` is the kept
    /// request's. Gives the cookies of the raised session once the proof is there; nothing where it is not to be had.
    async fn hold(&self, name: &str, challenged: &Challenged<'_>) -> Option<Visited>;

    /// A step-up that a session's person finished for an action, by the action's digest.
    async fn grant(&self, id: &SessionId, action: &str, now: i64) -> Lookup<Granted>;

    /// A proof that somebody has given for an action who has not signed in, by the action's digest.
    async fn anonymous_grant(&self, id: &SessionId, host: &str, action: &str) -> Lookup<Granted>;

    /// Whether a browser is one that was recognised at this host as the person's whose session it shows.
    async fn recognises(&self, device: &DeviceId, host: &str, subject: &Subject, now: i64) -> Lookup<()>;

    /// Takes a request out that its person has confirmed: once, whoever asks. `target` is the one that it came to.
    async fn take(&self, name: &str, target: &str, visit: &Visit<'_>) -> Taken;

    /// Keeps a request once more that was taken out and then refused. Where the store fails, it is lost, as whoever looks for
    /// it is told.
    async fn keep_again(&self, again: &Again, body: &[u8], now: i64);
}
