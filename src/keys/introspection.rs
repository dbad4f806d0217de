//! Asking the issuer about each of its tokens (RFC 7662).
//!
//! One question per token at a time, however many requests show it; good answers are remembered for a short
//! while, never beyond the token's `exp`. An answer that a token is not active is not remembered: anybody can
//! make up tokens.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::cache::{Basis, TokenCache, TokenDigest, Verified};
use super::discovery::{Discovery, Member};
use super::error::FetchError;
use super::http::{ClientCredentials, HttpClient};
use super::refreshed::{Fetch, Refreshed};
use crate::decision::evidence::Identity;
use crate::enforce::flight::Flight;
use crate::identity::{IssuerRules, TokenFault, jwt};
use crate::request::json;
use crate::telemetry::metrics;

/// More questions to one issuer at a time are not asked: their tokens are answered "unavailable" at once.
const MAX_QUESTIONS: usize = 256;

/// The shortest time between two log lines about the same issuer's failures.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Where the questions go.
pub enum Endpoint {
    /// As configured.
    Fixed(Url),
    /// As the issuer's metadata says.
    Discovered(Arc<Refreshed<RemoteEndpoint>>),
}

/// An introspection endpoint that the issuer's metadata names.
#[derive(Debug, Clone)]
pub struct RemoteEndpoint {
    discovery: Discovery,
    http: HttpClient,
}

impl RemoteEndpoint {
    /// The endpoint of an issuer.
    pub fn new(discovery: Discovery, http: HttpClient) -> Self {
        Self { discovery, http }
    }
}

impl Fetch for RemoteEndpoint {
    type Value = Url;

    const WHAT: &'static str = "introspection endpoint";

    async fn fetch(&self, deadline: Instant) -> Result<Url, FetchError> {
        self.discovery.find(Member::Introspection, &self.http, deadline).await
    }

    fn upholds(new: &Url, old: &Url) -> bool {
        new == old
    }

    fn describe(address: &Url) -> String {
        format!("`{address}`")
    }
}

/// How one issuer is asked.
pub struct Question {
    /// Where.
    pub endpoint: Endpoint,
    /// As whom.
    pub credentials: ClientCredentials,
    /// The longest an answer is remembered.
    pub remember: Duration,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

/// Asks one issuer.
pub struct Introspector {
    rules: Arc<IssuerRules>,
    question: Question,
    http: HttpClient,
    runtime: Handle,
    cache: Arc<TokenCache>,
    flights: Mutex<HashMap<TokenDigest, Flight<Identity>>>,
    logged_at: Mutex<Option<Instant>>,
}

impl Introspector {
    /// Asks on `runtime`, and remembers good answers in `cache`.
    pub fn new(
        rules: Arc<IssuerRules>,
        question: Question,
        http: HttpClient,
        runtime: Handle,
        cache: Arc<TokenCache>,
    ) -> Arc<Self> {
        let (flights, logged_at) = (Mutex::default(), Mutex::default());
        Arc::new(Self { rules, question, http, runtime, cache, flights, logged_at })
    }

    /// Where the questions go.
    pub fn endpoint(&self) -> &Endpoint {
        &self.question.endpoint
    }

    /// Finds out whom a token speaks for. `now` is in Unix seconds.
    ///
    /// Waits no longer than the configured timeout and a moment; every failure is [`Identity::Unavailable`].
    pub async fn identify(self: &Arc<Self>, token: &str, digest: TokenDigest, now: i64) -> Identity {
        let outcome = match self.join_or_start(token, digest, now) {
            Some(flight) => flight.outcome(self.question.timeout).await,
            None => None,
        };
        outcome.unwrap_or(Identity::Unavailable)
    }

    /// The running question about this token, or a new one if there are not too many.
    fn join_or_start(
        self: &Arc<Self>,
        token: &str,
        digest: TokenDigest,
        now: i64,
    ) -> Option<Flight<Identity>> {
        let mut flights = self.flights();
        if let Some(running) = flights.get(&digest).filter(|running| !running.is_over()) {
            return Some(running.clone());
        }
        if flights.len() >= MAX_QUESTIONS {
            self.count("too_many");
            return None;
        }
        let (this, token) = (Arc::clone(self), token.to_owned());
        let flight = Flight::start(&self.runtime, async move {
            // Made within the task: where the runtime has stopped, the task is dropped right here, under the
            // lock.
            let _landing = Landing { introspector: &this, digest };
            match this.remembered(&digest, now) {
                Some(identity) => identity,
                None => this.ask(&token, digest, now).await,
            }
        });
        flights.insert(digest, flight.clone());
        Some(flight)
    }

    /// An answer that came in between the caller's look at the cache and this question.
    fn remembered(&self, digest: &TokenDigest, now: i64) -> Option<Identity> {
        let verified = self.cache.get(digest)?;
        let is_current = matches!(verified.basis, Basis::Answer { until } if Instant::now() < until);
        (is_current && now < verified.subject.holds_until()).then_some(Identity::Known(verified.subject))
    }

    async fn ask(&self, token: &str, digest: TokenDigest, now: i64) -> Identity {
        let deadline = Instant::now() + self.question.timeout;
        let Some(endpoint) = self.address(deadline).await else {
            self.count("unavailable");
            return Identity::Unavailable;
        };
        let answer = match self.answer(&endpoint, token, deadline).await {
            Ok(answer) => answer,
            Err(error) => {
                self.count("unavailable");
                self.log(&error);
                return Identity::Unavailable;
            }
        };
        match jwt::introspected(answer, &self.rules, now) {
            Ok(subject) => {
                self.count("active");
                let (subject, until) = (Arc::new(subject), Instant::now() + self.question.remember);
                let verified = Verified {
                    subject: Arc::clone(&subject),
                    basis: Basis::Answer { until },
                    token_bytes: token.len(),
                };
                self.cache.insert(digest, verified);
                Identity::Known(subject)
            }
            Err(fault) => {
                self.count(if fault == TokenFault::Inactive { "inactive" } else { "refused" });
                Identity::Refused(fault)
            }
        }
    }

    async fn address(&self, deadline: Instant) -> Option<Url> {
        match &self.question.endpoint {
            Endpoint::Fixed(address) => Some(address.clone()),
            Endpoint::Discovered(endpoint) => {
                let usable = timeout_at(deadline, endpoint.usable()).await.ok()??;
                Some(usable.snapshot.value.clone())
            }
        }
    }

    async fn answer(
        &self,
        endpoint: &Url,
        token: &str,
        deadline: Instant,
    ) -> Result<Map<String, Value>, FetchError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .append_pair("token_type_hint", "access_token")
            .finish();
        let text = self.http.post_form(endpoint, &self.question.credentials, form, deadline).await?;
        match json::parse(&text) {
            Ok(Value::Object(answer)) if answer.get("active").is_some_and(Value::is_boolean) => Ok(answer),
            // The answer speaks of a person: nothing of it goes into a message.
            _ => Err(FetchError::Unusable {
                address: endpoint.as_str().into(),
                why: "it is no JSON object with `active: true` or `active: false`".into(),
            }),
        }
    }

    fn count(&self, result: &str) {
        metrics().introspections.with_label_values(&[&*self.rules.name, result]).inc();
    }

    /// An outage fails every request, and each would write the same line.
    fn log(&self, error: &FetchError) {
        {
            let mut logged_at = self.logged_at.lock().unwrap_or_else(PoisonError::into_inner);
            if logged_at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
                return;
            }
            *logged_at = Some(Instant::now());
        }
        let issuer = &self.rules.name;
        if matches!(error, FetchError::Status { status: 401 | 403, .. }) {
            let remedy =
                "check `client_id`, the secret in `client_secret_file`, and that this client may introspect";
            tracing::error!(%issuer, %error, remedy, "the issuer refuses the gateway's own credentials");
        } else {
            tracing::warn!(%issuer, %error, remedy = error.remedy(), "tokens can't be introspected");
        }
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<TokenDigest, Flight<Identity>>> {
        // Held for a look or one change, never over an await.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a question off the list however it ends.
struct Landing<'i> {
    introspector: &'i Introspector,
    digest: TokenDigest,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.introspector.flights().remove(&self.digest);
    }
}

#[cfg(test)]
mod tests;
