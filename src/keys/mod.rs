//! Floor 3: what issuers say: their keys, and what they know of a token.
//!
//! [`Verifier`] finds out whom a token speaks for. A token that was verified before is answered from the
//! `cache`. Otherwise its `iss` picks the issuer, and the issuer's configuration how the token is proven:
//! by a signature, with keys from a file or kept fresh (`jwks`, `refreshed`, `discovery`), or by asking
//! the issuer (`introspection`). [`Askers`] put questions to people (`ciba`, `step_up_service`). The checks of the token itself are in [`crate::identity`]. Everything that
//! leaves the process goes through `http`, and runs on one runtime of its own (see `enforce::flight`).

mod askers;
mod cache;
mod ciba;
mod discovery;
mod error;
mod file;
mod http;
mod introspection;
mod jwks;
mod provider;
mod refreshed;
mod start;
mod step_up_service;
pub mod survey;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transmitter;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use prometheus::IntCounter;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::cache::{Basis, TokenCache, TokenDigest, Verified};
use self::introspection::{Endpoint, Introspector};
use self::jwks::Keys;
use self::transmitter::Transmitter;
use crate::config::settings::IssuerSettings;
use crate::decision::evidence::Identity;
use crate::enforce::ports::{Identified, Identities};
use crate::identity::jwt::UnverifiedJwt;
use crate::identity::{IssuerRules, TokenFault};
use crate::request::credentials::Token;

pub use self::askers::Askers;
pub use self::ciba::CibaAsker;
pub use self::error::StartError;

/// Verifies tokens of every configured issuer, for one version of the configuration.
///
/// A new configuration gets a new verifier: what an old one remembers was judged by the old rules.
pub struct Verifier {
    issuers: Vec<Issuer>,
    /// From the exact `iss` to the position in `issuers`, which is the policy's.
    by_address: HashMap<Box<str>, usize>,
    opaque: OpaqueTokens,
    cache: Arc<TokenCache>,
    runtime: Handle,
    hits: IntCounter,
    misses: IntCounter,
}

struct Issuer {
    rules: Arc<IssuerRules>,
    settings: IssuerSettings,
    proof: Proof,
    /// Where people sign in at it.
    sign_in: Option<provider::SignIn>,
    /// Whose security events are about its subjects.
    transmitter: Option<Transmitter>,
}

/// How an issuer's tokens are proven.
enum Proof {
    Signature(Keys),
    Answer(Arc<Introspector>),
}

/// Who is asked about tokens that are no JWTs.
enum OpaqueTokens {
    /// Nobody can be.
    Nobody,
    /// The one issuer that answers questions.
    Issuer(Arc<Introspector>),
    /// Several could be, but a token is shown to nobody but its issuer.
    Ambiguous,
}

impl Verifier {
    /// Keeps the keys of every issuer fresh, for ever; drop the future to stop.
    pub async fn background(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        for issuer in &self.issuers {
            match &issuer.proof {
                Proof::Signature(Keys::Fetched(keys)) => {
                    tasks.spawn_on(Arc::clone(keys).keep_fresh(), &self.runtime);
                }
                Proof::Answer(introspector) => {
                    if let Endpoint::Discovered(endpoint) = introspector.endpoint() {
                        tasks.spawn_on(Arc::clone(endpoint).keep_fresh(), &self.runtime);
                    }
                }
                Proof::Signature(Keys::Fixed(_)) => {}
            }
            if let Some(sign_in) = &issuer.sign_in {
                sign_in.keep_fresh(&mut tasks, &self.runtime);
            }
            if let Some(transmitter) = &issuer.transmitter {
                transmitter.keep_fresh(&mut tasks);
            }
        }
        while tasks.join_next().await.is_some() {}
        std::future::pending().await
    }

    /// For each issuer whose tokens can't be verified now, why, in plain words.
    pub fn unready(&self) -> Vec<String> {
        let reason = |issuer: &Issuer| match &issuer.proof {
            Proof::Signature(Keys::Fixed(_)) => None,
            Proof::Signature(Keys::Fetched(keys)) => keys.unready(),
            Proof::Answer(introspector) => match introspector.endpoint() {
                Endpoint::Fixed(_) => None,
                Endpoint::Discovered(endpoint) => endpoint.unready(),
            },
        };
        let of_sign_in =
            self.issuers.iter().filter_map(|issuer| issuer.sign_in.as_ref()).filter_map(|it| it.unready());
        self.issuers.iter().filter_map(reason).chain(of_sign_in).collect()
    }

    /// A verdict from before, if it still holds: of the claims only `exp` can have changed its meaning since.
    fn remembered(&self, token: &TokenDigest, now: i64) -> Option<Identified> {
        let Verified { subject, basis, .. } = self.cache.get(token)?;
        // A role that has ended makes another subject of the same token.
        if subject.holds_until() <= now {
            return None;
        }
        let too_stale_for_critical = match (basis, &self.issuers.get(subject.issuer_index)?.proof) {
            (Basis::Signature { generation }, Proof::Signature(keys)) => {
                let usable = keys.current()?;
                if usable.snapshot.generation != generation {
                    return None;
                }
                usable.too_stale_for_critical
            }
            (Basis::Answer { until }, Proof::Answer(_)) if Instant::now() < until => false,
            _ => return None,
        };
        Some(Identified { identity: Identity::Known(subject), too_stale_for_critical })
    }

    async fn find_out(&self, token: &str, digest: TokenDigest, now: i64) -> Identified {
        if token.split('.').count() != 3 {
            return match &self.opaque {
                OpaqueTokens::Nobody => refused(TokenFault::Malformed),
                OpaqueTokens::Issuer(introspector) => {
                    answered(introspector.identify(token, digest, now).await)
                }
                OpaqueTokens::Ambiguous => refused(TokenFault::UnknownIssuer),
            };
        }
        let jwt = match UnverifiedJwt::parse(token) {
            Ok(jwt) => jwt,
            Err(fault) => return refused(fault),
        };
        let position = jwt.issuer().and_then(|issuer| self.by_address.get(issuer));
        let Some(issuer) = position.and_then(|at| self.issuers.get(*at)) else {
            return refused(TokenFault::UnknownIssuer);
        };
        let keys = match &issuer.proof {
            Proof::Signature(keys) => keys,
            Proof::Answer(introspector) => return answered(introspector.identify(token, digest, now).await),
        };
        let Some(usable) = keys.for_token(&jwt).await else {
            return answered(Identity::Unavailable);
        };
        match jwt.verify(&issuer.rules, &usable.snapshot.value, now) {
            Ok(subject) => {
                let subject = Arc::new(subject);
                let basis = Basis::Signature { generation: usable.snapshot.generation };
                let verified = Verified { subject: Arc::clone(&subject), basis, token_bytes: token.len() };
                self.cache.insert(digest, verified);
                let too_stale_for_critical = usable.too_stale_for_critical;
                Identified { identity: Identity::Known(subject), too_stale_for_critical }
            }
            Err(fault) => refused(fault),
        }
    }
}

#[async_trait]
impl Identities for Verifier {
    async fn identify(&self, token: &Token, now: i64) -> Identified {
        let digest = TokenDigest::of(token.as_str());
        if let Some(identified) = self.remembered(&digest, now) {
            self.hits.inc();
            return identified;
        }
        self.misses.inc();
        self.find_out(token.as_str(), digest, now).await
    }

    async fn can_be_asked(&self, issuer: usize) -> bool {
        match self.issuers.get(issuer).map(|issuer| &issuer.proof) {
            Some(Proof::Signature(Keys::Fetched(keys))) => keys.answers().await,
            _ => true,
        }
    }
}

fn refused(fault: TokenFault) -> Identified {
    answered(Identity::Refused(fault))
}

/// An identity that does not rest on keys that could be stale.
fn answered(identity: Identity) -> Identified {
    Identified { identity, too_stale_for_critical: false }
}
