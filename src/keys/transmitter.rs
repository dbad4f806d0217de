//! Transmitters of security events: whether they have signed one, whether a push is theirs, and how they are asked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderValue;
use reqwest::Url;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Verifier;
use super::discovery::Discovery;
use super::error::FetchError;
use super::http::HttpClient;
use super::provider::Access;
use super::refreshed::{Fetch, Refreshed, Search};
use crate::enforce::flight::Flight;
use crate::enforce::shared_signals::{PollFault, Signed, Transmitters, Unsigned};
use crate::identity::TokenFault;
use crate::identity::jwk::KeySet;
use crate::identity::jwt::UnverifiedJwt;
use crate::identity::security_event::StreamRules;

/// What a transmitter announces of itself (SSF 1.0 §7.1).
pub struct Announced {
    keys: KeySet,
    critical: Arc<[Box<str>]>,
}

/// Where that is.
#[derive(Debug, Clone)]
pub struct RemoteTransmitter {
    /// Its metadata; asked each time, so that keys may move.
    pub metadata: Discovery,
    /// Its keys, where they are configured: then what the metadata says of them does not count.
    pub keys: Option<Url>,
    /// How it is asked.
    pub http: HttpClient,
}

impl Fetch for RemoteTransmitter {
    type Value = Announced;

    const WHAT: &'static str = "keys for shared signals";

    async fn fetch(&self, deadline: Instant) -> Result<Announced, FetchError> {
        let (address, critical) = match &self.keys {
            // Who configures the keys may do so because there is no metadata.
            Some(address) => (address.clone(), Arc::default()),
            None => {
                let metadata = self.metadata.metadata(&self.http, deadline).await?;
                let critical = match metadata.member("critical_subject_members") {
                    Some(Value::Array(names)) => {
                        names.iter().filter_map(Value::as_str).map(Box::from).collect()
                    }
                    _ => Arc::default(),
                };
                (metadata.place("jwks_uri")?, critical)
            }
        };
        let text = self.http.get(&address, deadline).await?;
        let keys = KeySet::parse(&text).map_err(|error| FetchError::Unusable {
            address: address.as_str().into(),
            why: error.to_string().into(),
        })?;
        Ok(Announced { keys, critical })
    }

    fn upholds(new: &Announced, old: &Announced) -> bool {
        new.keys.keeps_all_of(&old.keys) && new.critical == old.critical
    }

    fn describe(announced: &Announced) -> String {
        format!("{} usable, {} left out", announced.keys.len(), announced.keys.skipped())
    }
}

/// One transmitter.
pub struct Transmitter {
    pub(super) rules: StreamRules,
    pub(super) announced: Arc<Refreshed<RemoteTransmitter>>,
    /// What its pushes must show, where something was agreed on.
    pub(super) authorization: Option<Box<[u8]>>,
    pub(super) polled: Option<Polled>,
    pub(super) access: Access,
}

/// Where events are fetched.
pub struct Polled {
    /// The stream's own address.
    pub url: Url,
    /// What we show there.
    pub authorization: Option<HeaderValue>,
}

impl Transmitter {
    /// Keeps its keys fresh, for as long as the tasks live.
    pub fn keep_fresh(&self, tasks: &mut JoinSet<()>) {
        tasks.spawn_on(Arc::clone(&self.announced).keep_fresh(), &self.access.runtime);
    }

    async fn signed(&self, token: &str) -> Result<Signed, Unsigned> {
        let jwt = UnverifiedJwt::parse(token).map_err(Unsigned::Token)?;
        // Before anything is fetched for it.
        if jwt.issuer() != Some(self.rules.transmitter.as_ref()) {
            return Err(Unsigned::Token(TokenFault::UnknownIssuer));
        }
        let mut usable = self.announced.usable().await.ok_or(Unsigned::Unavailable)?;
        if !jwt.has_key_in(&usable.snapshot.value.keys) {
            match self.announced.newer_than(&usable.snapshot).await {
                Search::Newer(newer) => usable = newer,
                // It would be forgotten, and somebody's access go on.
                Search::TooSoon | Search::Failing => return Err(Unsigned::Unavailable),
            }
        }
        let Announced { keys, critical } = &usable.snapshot.value;
        let (media, claims) =
            jwt.signed_by(&self.rules.transmitter, &self.rules.algorithms, keys).map_err(Unsigned::Token)?;
        Ok(Signed { media, claims, critical: Arc::clone(critical) })
    }

    async fn poll(&self, request: String, limit: Duration) -> Result<Vec<u8>, PollFault> {
        let not_configured = || PollFault {
            code: "not_configured",
            text: "no address to fetch from".to_owned(),
            is_late: false,
        };
        let polled = self.polled.as_ref().ok_or_else(not_configured)?;
        let (url, authorization, http) =
            (polled.url.clone(), polled.authorization.clone(), self.access.http.clone());
        let asked = Flight::start(&self.access.runtime, async move {
            http.post_json(&url, authorization, request, Instant::now() + limit).await
        });
        let answer = asked
            .outcome(limit)
            .await
            .unwrap_or_else(|| Err(FetchError::TooSlow { address: polled.url.as_str().into() }));
        answer.map_err(|error| PollFault {
            code: error.code(),
            is_late: matches!(error, FetchError::TooSlow { .. }),
            text: match error {
                FetchError::Status { status: 401 | 403, .. } => {
                    format!("{error}; check what `poll.authorization_file` holds")
                }
                error => format!("{error}; {}", error.remedy()),
            },
        })
    }
}

impl Verifier {
    fn transmitter(&self, issuer: usize) -> Option<&Transmitter> {
        self.issuers.get(issuer)?.transmitter.as_ref()
    }

    /// What keeps security events from being verified, in plain words.
    pub fn signals_trouble(&self) -> impl Iterator<Item = String> {
        self.issuers.iter().filter_map(|issuer| issuer.transmitter.as_ref()?.announced.unready())
    }
}

#[async_trait]
impl Transmitters for Verifier {
    async fn signed(&self, issuer: usize, token: &str) -> Result<Signed, Unsigned> {
        match self.transmitter(issuer) {
            Some(transmitter) => transmitter.signed(token).await,
            None => Err(Unsigned::Unavailable),
        }
    }

    fn authorizes(&self, issuer: usize, authorization: Option<&[u8]>) -> bool {
        match self.transmitter(issuer).map(|transmitter| transmitter.authorization.as_deref()) {
            Some(Some(agreed)) => {
                authorization.is_some_and(|shown| verify_slices_are_equal(shown, agreed).is_ok())
            }
            Some(None) => true,
            None => false,
        }
    }

    async fn poll(&self, issuer: usize, request: String, limit: Duration) -> Result<Vec<u8>, PollFault> {
        match self.transmitter(issuer) {
            Some(transmitter) => transmitter.poll(request, limit).await,
            None => Err(PollFault {
                code: "not_configured",
                text: "there is no such transmitter".to_owned(),
                is_late: false,
            }),
        }
    }
}
