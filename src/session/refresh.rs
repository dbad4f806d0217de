//! Claims that are too old: the issuer is asked again, once however many requests wait, on however many gateways.
//!
//! The refresh token lies apart from the session, and who gets the lease on it is the one who asks. Others wait for the
//! session to be renewed. The token stays where it is until a newer one takes its place: whoever breaks off loses nothing
//! but time.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::BrowserSessions;
use super::record::{self, Live, Record, keep, refresh_key, session_key, understood};
use crate::decision::Lookup;
use crate::enforce::flight::Flight;
use crate::enforce::ports::{Consumed, State};
use crate::enforce::sessions::{Grant, ProviderFault, Providers, SessionFact, Tokens};
use crate::identity::id_token::{self, Expected, IdTokenFault};
use crate::state::spent::ProofKey;

/// How long a request waits for it.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long, and how often, it is looked whether another gateway has done it.
const OTHERS: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long one who asks has for it, before another may: longer than the issuer, its keys and the store may take.
const LEASE: Duration = Duration::from_secs(45);
/// After a failure nobody asks again for so long.
const PAUSE: Duration = Duration::from_secs(5);
/// How long it is tried to keep what the issuer has given: a store may be changing its servers.
const STORE_PATIENCE: Duration = Duration::from_secs(20);
/// More refreshes than this are not remembered.
const MOST: usize = 10_000;

/// What of the claims belongs to the sign-in itself: no refresh makes that newer (OpenID Connect Core 1.0 §12.2).
const OF_SIGN_IN: [&str; 5] = ["auth_time", "acr", "amr", "sid", "nonce"];

/// One refresh, under way or over.
pub type Refreshing = Flight<Done>;

/// What came of a refresh.
#[derive(Clone)]
pub enum Done {
    /// This is the session now.
    Renewed(Arc<Record>),
    /// The issuer vouches no longer.
    Refused(&'static str),
    /// It could not be found out.
    Later,
}

/// The same for one request.
pub enum Refreshed {
    Renewed(Arc<Live>),
    Ended,
    Later,
}

impl BrowserSessions {
    /// Renews a session's claims; whoever began it gets the fact to record.
    pub(super) async fn refreshed(
        &self,
        name: &str,
        live: &Arc<Live>,
        now: i64,
    ) -> (Refreshed, Option<SessionFact>) {
        let (flight, is_first) = self.flight(name, live, now);
        let Some(done) = flight.outcome(PATIENCE).await else { return (Refreshed::Later, None) };
        let fact = |result| SessionFact {
            what: "refresh",
            result,
            issuer: Some(live.record.issuer.clone()),
            subject: Some(live.subject.id.clone()),
            session: live.subject.session.clone(),
            account: None,
        };
        let (refreshed, result) = match done {
            Done::Renewed(record) => match self.judged(name, Record::clone(&record), now).await {
                Lookup::Found(live) => (Refreshed::Renewed(live), "ok"),
                Lookup::Absent => (Refreshed::Ended, "claims_refused"),
                Lookup::Unavailable => (Refreshed::Later, "store_unavailable"),
            },
            Done::Refused(why) => {
                self.known.remove(name);
                (Refreshed::Ended, why)
            }
            Done::Later => (Refreshed::Later, "issuer_unavailable"),
        };
        (refreshed, is_first.then(|| fact(result)))
    }

    /// The refresh under way, or a new one where none is and none has failed just now.
    fn flight(&self, name: &str, live: &Arc<Live>, now: i64) -> (Refreshing, bool) {
        // Held for a few lookups, never over an await.
        let mut refreshing = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((flight, began)) = refreshing.get(name)
            && (!flight.is_over() || began.elapsed() < PAUSE)
        {
            return (flight.clone(), false);
        }
        if refreshing.len() >= MOST {
            refreshing.retain(|_, (flight, began)| !flight.is_over() || began.elapsed() < PAUSE);
        }
        let job = Job {
            providers: Arc::clone(&self.providers),
            state: Arc::clone(&self.state),
            name: name.into(),
            record: live.record.clone(),
            position: live.position,
            idle: self.limit(live.position, |limits| limits.idle),
            absolute: self.limit(live.position, |limits| limits.absolute),
            now,
        };
        let flight = Flight::start(&self.runtime, job.run());
        refreshing.insert(name.into(), (flight.clone(), Instant::now()));
        (flight, true)
    }

    fn limit(
        &self,
        position: usize,
        which: impl Fn(crate::config::settings::SessionLimits) -> Duration,
    ) -> Duration {
        let sign_in = self.issuers.get(position).and_then(|issuer| issuer.sign_in.as_ref());
        sign_in.map_or(Duration::ZERO, |sign_in| which(sign_in.session))
    }
}

/// Why there are no new claims.
enum Verdict {
    /// The session ends.
    Ends(&'static str),
    /// It may be tried again.
    Later,
}

/// What a refresh needs, without the request that began it.
struct Job {
    providers: Arc<dyn Providers>,
    state: Arc<dyn State>,
    name: Box<str>,
    record: Record,
    position: usize,
    idle: Duration,
    absolute: Duration,
    now: i64,
}

impl Job {
    async fn run(self) -> Done {
        // One for each time that the claims grow old.
        let generation = self.record.fresh_until.unwrap_or_default().to_string();
        let lease = ProofKey::new(&["refresh", &self.name, &generation], self.now);
        match self.state.consume(&lease, LEASE).await {
            Consumed::Done(_) => {}
            Consumed::Already => return self.done_by_another().await,
            Consumed::Unknown => return Done::Later,
        }
        // Whoever had the lease before may have come to its end meanwhile.
        match understood::<Record>(self.state.peek(&session_key(&self.name)).await) {
            Lookup::Found(record) if record.fresh_until != self.record.fresh_until => {
                return Done::Renewed(Arc::new(record));
            }
            Lookup::Found(_) => {}
            Lookup::Absent => return Done::Refused("ended_elsewhere"),
            Lookup::Unavailable => return Done::Later,
        }
        let token = match self.state.peek(&refresh_key(&self.name)).await {
            Lookup::Found(token) => token,
            // Nobody can renew it any more: whoever uses it signs in again.
            Lookup::Absent => return self.ended("refresh_token_gone").await,
            Lookup::Unavailable => return Done::Later,
        };
        let Ok(text) = std::str::from_utf8(&token) else { return self.ended("refresh_token_gone").await };
        let tokens = match self.providers.tokens(self.position, Grant::Refresh(text)).await {
            Ok(tokens) => tokens,
            Err(ProviderFault::Refused) => return self.ended("refresh_refused").await,
            Err(ProviderFault::Unavailable | ProviderFault::Token(_)) => return Done::Later,
        };
        // Before anything else: the old one may be worth nothing any more.
        if let Some(token) = &tokens.refresh_token
            && !self.kept(token).await
        {
            return Done::Later;
        }
        match self.renewed(&tokens).await {
            Ok(record) => self.stored(record).await,
            Err(Verdict::Ends(why)) => self.ended(why).await,
            Err(Verdict::Later) => Done::Later,
        }
    }

    /// Keeps the newest refresh token, and tries for as long as the lease lasts: it is nowhere else.
    async fn kept(&self, token: &str) -> bool {
        let (key, until) = (refresh_key(&self.name), tokio::time::Instant::now() + STORE_PATIENCE);
        loop {
            let kept = self.state.seal(&key, token.as_bytes(), self.absolute + record::MARGIN).await;
            if kept == Lookup::Found(()) || tokio::time::Instant::now() >= until {
                return kept == Lookup::Found(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The session with what the issuer says now. Whom it speaks of and how they authenticated stays.
    async fn renewed(&self, tokens: &Tokens) -> Result<Record, Verdict> {
        let mut record = self.record.clone();
        record.fresh_until = Some(self.now.saturating_add(tokens.expires_in.unwrap_or(60).max(1)));
        let Some(id_token) = tokens.id_token.as_deref() else { return Ok(record) };
        // Keys that can't be fetched, or are newer than ours, say nothing of the person.
        let signed = self.providers.signed(self.position, id_token).await;
        let (media, claims) = signed.map_err(|_| Verdict::Later)?;
        let expected = Expected {
            client_id: &record.client_id,
            nonce: None,
            subject: record.claim("sub"),
            authenticated_since: None,
            now: self.now,
        };
        id_token::check(media, &claims, &expected).map_err(|fault| match fault {
            // Somebody else's: what it says is about nobody here.
            IdTokenFault::Subject | IdTokenFault::Audience | IdTokenFault::Type => {
                Verdict::Ends(fault.code())
            }
            // Clocks that differ, an issuer that has gone astray: it may be better next time.
            _ => Verdict::Later,
        })?;
        record.claims = Arc::new(merged(&record.claims, claims));
        record.id_token = id_token.into();
        Ok(record)
    }

    async fn stored(&self, mut record: Record) -> Done {
        let session = session_key(&self.name);
        let newest = match understood::<Record>(self.state.peek(&session).await) {
            Lookup::Found(newest) => Some(newest),
            Lookup::Absent => None,
            // It can't be known what that was: an older record must not take its place.
            Lookup::Unavailable => return Done::Later,
        };
        if let Some(newest) = newest {
            record.seen_at = newest.seen_at.max(record.seen_at);
        }
        if keep(self.state.as_ref(), &session, &record, self.idle + record::MARGIN).await {
            Done::Renewed(Arc::new(record))
        } else {
            Done::Later
        }
    }

    async fn ended(&self, why: &'static str) -> Done {
        use crate::enforce::ports::{RevocationClaim, RevocationKey};
        let issuer = &self.record.issuer;
        let key = RevocationKey { issuer, claim: RevocationClaim::TokenId, value: &self.name };
        // The record may come back from another gateway's hand; the revocation outlasts that.
        self.state.revoke(&key, self.now.saturating_add(1), self.absolute + record::MARGIN).await;
        self.state.unseal(&session_key(&self.name)).await;
        Done::Refused(why)
    }

    /// Another gateway has the lease: its work shows in the session.
    async fn done_by_another(&self) -> Done {
        let until = tokio::time::Instant::now() + OTHERS;
        while tokio::time::Instant::now() < until {
            match understood::<Record>(self.state.peek(&session_key(&self.name)).await) {
                Lookup::Found(record) if record.fresh_until > Some(self.now) => {
                    return Done::Renewed(Arc::new(record));
                }
                Lookup::Found(_) => tokio::time::sleep(LOOK_EVERY).await,
                Lookup::Absent => return Done::Refused("ended_elsewhere"),
                Lookup::Unavailable => return Done::Later,
            }
        }
        Done::Later
    }
}

/// The new claims, with what belongs to the sign-in as it was.
fn merged(old: &Map<String, Value>, mut new: Map<String, Value>) -> Map<String, Value> {
    for name in OF_SIGN_IN {
        match old.get(name) {
            Some(value) => new.insert(name.to_owned(), value.clone()),
            None => new.remove(name),
        };
    }
    new
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("object").clone()
    }

    #[test]
    fn a_refresh_changes_what_is_known_and_never_how_it_was_proven() {
        let old =
            object(json!({ "sub": "a", "auth_time": 1, "acr": "one", "roles": ["nurse"], "nonce": "n" }));
        let new = object(
            json!({ "sub": "a", "auth_time": 9, "acr": "two", "amr": ["hwk"], "sid": "s", "mail": "m" }),
        );
        let expected = json!({ "sub": "a", "auth_time": 1, "acr": "one", "nonce": "n", "mail": "m" });
        assert_eq!(merged(&old, new), object(expected));
    }
}
