//! Shared signals: transmitters whose security events end what was begun (SSF 1.0, CAEP 1.0).
//!
//! [`Streams`] are the transmitters of one version of the configuration. Their events come in two ways: pushed to a
//! path of the gateway's own (RFC 8935), or fetched (RFC 8936, `poll`). Both lead to `receive`, which judges
//! one event and carries it out.

mod poll;
mod push;
mod receive;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::identity::TokenFault;
use crate::identity::jwt::Media;
use crate::identity::security_event::{EventFault, StreamRules};
use crate::telemetry::metrics;

pub use self::push::Push;

/// The path to which events are pushed, with the issuer's name behind it.
pub const PUSH_PATH: &str = "/_wardgate/shared-signals/";

/// A token that the transmitter has signed.
#[derive(Debug)]
pub struct Signed {
    /// What kind of token it is.
    pub media: Media,
    /// Its claims.
    pub claims: Map<String, Value>,
    /// The members of complex subjects that the transmitter declares critical (SSF 1.0 §7.1).
    pub critical: Arc<[Box<str>]>,
}

/// Why nobody can say that the transmitter has signed a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsigned {
    /// Its keys can't be had.
    Unavailable,
    /// It has not.
    Token(TokenFault),
}

/// Why a transmitter gives no events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollFault {
    /// The stable name for metrics.
    pub code: &'static str,
    /// In words for the operator, with the remedy.
    pub text: String,
    /// Whether all that happened is that the time was up.
    pub is_late: bool,
}

/// The transmitters, as the outside world answers for them. A position is the policy's, of the issuer.
#[async_trait]
pub trait Transmitters: Send + Sync {
    /// The claims of a token that a transmitter has signed.
    async fn signed(&self, issuer: usize, token: &str) -> Result<Signed, Unsigned>;

    /// Whether a push comes with what was agreed on with the transmitter: the whole `Authorization` header.
    fn authorizes(&self, issuer: usize, authorization: Option<&[u8]>) -> bool;

    /// Posts a request for events (RFC 8936 §2.2) and gives the answer's body.
    async fn poll(&self, issuer: usize, request: String, limit: Duration) -> Result<Vec<u8>, PollFault>;
}

/// One transmitter's events.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The issuer's configured name.
    pub issuer: Box<str>,
    /// How the events are read.
    pub rules: StreamRules,
    /// How they come.
    pub delivery: Delivery,
    health: Arc<Health>,
}

/// How events come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The transmitter pushes them to these hosts, given in lower case.
    Push {
        /// The hosts.
        hosts: Vec<Box<str>>,
    },
    /// They are fetched.
    Poll {
        /// How long the transmitter may hold a request that it has no events for.
        wait: Duration,
    },
}

/// How a stream is, for `/readyz`.
#[derive(Debug)]
struct Health(Mutex<State>);

#[derive(Debug, Clone)]
struct State {
    /// Why no events can be fetched.
    outage: Option<String>,
    /// The transmitter has said that it sends none.
    is_paused: bool,
}

impl Stream {
    /// A stream of which nothing is known yet.
    pub fn new(issuer: &str, rules: StreamRules, delivery: Delivery) -> Self {
        let fetched = matches!(delivery, Delivery::Poll { .. });
        let outage = fetched.then(|| "the transmitter has not answered yet".to_owned());
        let health = Health(Mutex::new(State { outage, is_paused: false }));
        Self { issuer: issuer.into(), rules, delivery, health: Arc::new(health) }
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.health.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let is_up = state.outage.is_none() && !state.is_paused;
        metrics().shared_signals_up.with_label_values(&[&*self.issuer]).set(i64::from(is_up));
    }

    fn trouble(&self) -> Option<String> {
        let State { outage, is_paused } =
            self.health.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let issuer = &self.issuer;
        let paused = is_paused
            .then(|| format!("shared signals for `{issuer}`: the transmitter says that it sends no events; until it goes on nothing that it knows ends anybody's access"));
        outage.map(|why| format!("shared signals for `{issuer}`: no events can be fetched: {why}")).or(paused)
    }
}

/// The transmitters of one version of the configuration.
pub struct Streams {
    transmitters: Arc<dyn Transmitters>,
    /// By the policy's positions of issuers.
    streams: Vec<Option<Stream>>,
}

impl Streams {
    /// Puts them together; `None` where there are none. `streams` stand in the policy's order of issuers. What was
    /// known of the same streams under the version before goes on.
    pub fn new(
        transmitters: Arc<dyn Transmitters>,
        mut streams: Vec<Option<Stream>>,
        before: Option<&Self>,
    ) -> Option<Arc<Self>> {
        let earlier = || before.iter().flat_map(|before| &before.streams).flatten();
        for stream in streams.iter_mut().flatten() {
            let same = earlier().find(|old| {
                old.issuer == stream.issuer
                    && old.rules.transmitter == stream.rules.transmitter
                    && old.rules.audience == stream.rules.audience
            });
            if let Some(same) = same {
                stream.health = Arc::clone(&same.health);
            }
            // What is not fetched any more is not out of reach either.
            stream.tell(|state| {
                state.outage.take_if(|_| matches!(stream.delivery, Delivery::Push { .. }));
            });
        }
        streams.iter().any(Option::is_some).then(|| Arc::new(Self { transmitters, streams }))
    }

    /// The position of the issuer whose events are pushed to this path of this host.
    pub fn addressed(&self, host: &str, path: &str) -> Option<usize> {
        let name = path.strip_prefix(PUSH_PATH)?;
        self.streams.iter().position(|stream| {
            stream.as_ref().is_some_and(|stream| {
                let hosts: &[Box<str>] = match &stream.delivery {
                    Delivery::Push { hosts } => hosts,
                    Delivery::Poll { .. } => &[],
                };
                *stream.issuer == *name && hosts.iter().any(|known| **known == *host)
            })
        })
    }

    /// Whether a push comes with what was agreed on.
    pub fn authorizes(&self, position: usize, authorization: Option<&[u8]>) -> bool {
        self.transmitters.authorizes(position, authorization)
    }

    /// What keeps events from coming, in plain words.
    pub fn trouble(&self) -> impl Iterator<Item = String> {
        self.streams.iter().flatten().filter_map(Stream::trouble)
    }

    fn stream(&self, position: usize) -> Option<&Stream> {
        self.streams.get(position)?.as_ref()
    }
}

/// Why an event was refused, for the transmitter (RFC 8935 §2.4): a word of the registry, and words for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The registered word.
    pub err: &'static str,
    /// What is wrong: one of our own names, nothing of the token's.
    pub description: &'static str,
}

/// What became of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It was taken: the transmitter may forget it.
    Taken,
    /// It never will be.
    Refused(Refusal),
    /// It could not be carried out for now.
    Later,
}

/// Why no event could be read from what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// The request is none that brings an event.
    Request(&'static str),
    /// It is not from who it should be from.
    Unauthenticated,
    /// The token is not the transmitter's.
    Token(TokenFault),
    /// The event is not what it should be.
    Event(EventFault),
}

impl Unusable {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Request(why) => why,
            Self::Unauthenticated => "authentication_failed",
            Self::Token(fault) => fault.code(),
            Self::Event(fault) => fault.code(),
        }
    }

    /// The word of RFC 8935 §2.4.
    pub(crate) const fn refusal(self) -> Refusal {
        let err = match self {
            Self::Unauthenticated => "authentication_failed",
            Self::Token(TokenFault::UnknownIssuer) => "invalid_issuer",
            Self::Token(
                TokenFault::UnknownKey | TokenFault::BadSignature | TokenFault::AlgorithmNotAllowed,
            ) => "invalid_key",
            Self::Event(EventFault::Audience) => "invalid_audience",
            Self::Request(_) | Self::Token(_) | Self::Event(_) => "invalid_request",
        };
        Refusal { err, description: self.code() }
    }
}
