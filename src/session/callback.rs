//! The browser comes back from the issuer: whether it is the same browser, the same issuer and our own request that is
//! answered; then a session begins, under a new name.

use std::sync::Arc;

use super::record::{self, Begun, Pending, Record, keep, pending_key, refresh_key, session_key, understood};
use super::resume::seconds;
use super::start::{PATIENCE, link};
use super::{BrowserSessions, Offer, cookie, secret};
use crate::decision::{Lookup, Revocation};
use crate::enforce::revocation;
use crate::enforce::sessions::{Answer, Grant, Page, ProviderFault, SessionFact, Tokens, Visit, Visited};
use crate::identity::id_token::{self, Expected, Frame, IdTokenFault};
use crate::request::cookies;

/// How far the issuer's clock may be from ours, in seconds.
pub(super) const SKEW: i64 = 30;

/// Why nobody is signed in: a page, and what the record says.
pub(super) enum Stop {
    /// It was not begun in this browser, or too long ago, or is done already.
    Stale,
    /// Something does not fit; the word for the audit record.
    Refused(&'static str),
    /// Somebody can't be asked.
    Outage(&'static str),
}

impl From<IdTokenFault> for Stop {
    fn from(fault: IdTokenFault) -> Self {
        Self::Refused(fault.code())
    }
}

impl From<ProviderFault> for Stop {
    fn from(fault: ProviderFault) -> Self {
        match fault {
            ProviderFault::Unavailable => Self::Outage("issuer_unavailable"),
            ProviderFault::Refused => Self::Refused("code_refused"),
            ProviderFault::Token(fault) => Self::Refused(fault.code()),
        }
    }
}

impl BrowserSessions {
    /// Takes the browser back.
    pub(super) async fn call_back(&self, visit: &Visit<'_>) -> Visited {
        let Some(state) = visit.facts.target.query_once("state") else {
            return Page::Malformed.into();
        };
        let state_digest = secret::digest(&state);
        let cookie = cookie::pending_name(&state_digest);
        let mut kept = cookies::values(visit.headers, &cookie);
        // Another browser's sign-in is not even looked for: whoever made this one follow a link must not sign it in.
        let (begun, going) = match (kept.next(), kept.next()) {
            (Some(kept), None) => {
                let (binding, going) = cookie::read_pending(kept);
                (self.begun(&state_digest, binding).await, going)
            }
            _ => (Err(Stop::Stale), "/".to_owned()),
        };
        let begun = match begun {
            Ok(Pending::Begun(begun)) => begun,
            Ok(Pending::Done { to, .. }) if matches!(self.alive(visit).await, Lookup::Found(_)) => {
                return Answer::GoTo(to.into()).into();
            }
            Ok(Pending::Done { to, .. }) => return self.stopped(visit, None, &to, Stop::Stale).await,
            Err(stop) => return self.stopped(visit, None, &going, stop).await,
        };
        if let Some(step_up) = &begun.step_up {
            let tokens = self.exchanged(visit, &begun).await;
            return self.stepped_up(visit, &begun, step_up, tokens).await;
        }
        match self.signed_in(visit, &begun, &state_digest).await {
            Ok(visited) => visited,
            Err(stop) => self.stopped(visit, Some(&begun.issuer), &begun.to, stop).await,
        }
    }

    /// The sign-in that this browser began; it is found once.
    async fn begun(&self, state_digest: &str, binding: &str) -> Result<Pending, Stop> {
        let key = pending_key(state_digest);
        let found = |found| match understood(found) {
            Lookup::Found(pending) => Ok(pending),
            Lookup::Absent => Err(Stop::Stale),
            Lookup::Unavailable => Err(Stop::Outage("store_unavailable")),
        };
        let pending = found(self.state.peek(&key).await)?;
        let expected = match &pending {
            Pending::Begun(begun) => &begun.binding,
            Pending::Done { binding, .. } => binding,
        };
        if !secret::has_digest(binding, expected) {
            return Err(Stop::Refused("other_browser"));
        }
        match pending {
            // Only now is it used up: who has merely seen the address can't undo somebody's sign-in.
            Pending::Begun(_) => found(self.state.unseal(&key).await),
            done @ Pending::Done { .. } => Ok(done),
        }
    }

    /// Nobody is signed in. `to` is where the person was going.
    async fn stopped(&self, visit: &Visit<'_>, issuer: Option<&str>, to: &str, stop: Stop) -> Visited {
        let again = || link(issuer, to, false);
        let (page, result) = match stop {
            Stop::Stale if matches!(self.alive(visit).await, Lookup::Found(_)) => {
                return Answer::GoTo(to.to_owned()).into();
            }
            Stop::Stale => (Page::Expired(again()), "sign_in_expired"),
            Stop::Refused(why) => (Page::Failed(again()), why),
            Stop::Outage(why) => (Page::Outage(again()), why),
        };
        let issuer = issuer.map(Into::into);
        let fact = SessionFact { what: "sign_in", result, issuer, ..SessionFact::default() };
        Visited { fact: Some(fact), ..page.into() }
    }

    async fn signed_in(&self, visit: &Visit<'_>, begun: &Begun, state_digest: &str) -> Result<Visited, Stop> {
        let (offer, tokens) = self.exchanged(visit, begun).await?;
        let record = self.record(visit, begun, offer, &tokens).await?;
        self.begin(visit, begun, offer, (record, tokens), state_digest).await
    }

    /// What the issuer gives for the code, where the answer is one to our own request.
    async fn exchanged<'s>(
        &'s self,
        visit: &'s Visit<'_>,
        begun: &Begun,
    ) -> Result<(Offer<'s>, Tokens), Stop> {
        let host = visit.facts.host.as_str();
        if *begun.host != *host {
            return Err(Stop::Refused("other_host"));
        }
        let offer = self.offer(host, &begun.issuer).ok_or(Stop::Stale)?;
        let came_to = visit.facts.target.raw().split('?').next().unwrap_or_default();
        if begun.redirect_uri.strip_prefix(&*offer.origin.text) != Some(came_to) {
            // Another issuer's answer.
            return Err(Stop::Refused("other_issuer"));
        }
        let code = self.code(visit, begun, offer)?;
        let grant = Grant::Code { code: &code, verifier: &begun.verifier, redirect_uri: &begun.redirect_uri };
        let tokens = self.providers.tokens(offer.position, grant).await?;
        Ok((offer, tokens))
    }

    /// The code, where the answer is from the issuer that was asked (RFC 9207).
    fn code(&self, visit: &Visit<'_>, begun: &Begun, offer: Offer<'_>) -> Result<String, Stop> {
        let target = &visit.facts.target;
        let rules = self.providers.rules(offer.position).ok_or(Stop::Outage("issuer_unavailable"))?;
        let names = target.query_pairs().filter(|(name, _)| name == "iss").count();
        match (names, target.query_once("iss")) {
            // Its word of then: what it says today may be meant for this answer.
            (0, _) if !begun.names_itself => {}
            (1, Some(issuer)) if *issuer == *rules.issuer => {}
            _ => return Err(Stop::Refused("other_issuer")),
        }
        if target.query_names().any(|name| name == "error") {
            // `access_denied`, `login_required`, `unmet_authentication_requirements`: what the issuer says to people is
            // said there; its text is nobody's whom we know.
            return Err(Stop::Refused("issuer_refused"));
        }
        target.query_once("code").map(|code| code.into_owned()).ok_or(Stop::Refused("code_missing"))
    }

    /// What the session will hold, once the ID token has proven to be an answer to our request.
    async fn record(
        &self,
        visit: &Visit<'_>,
        begun: &Begun,
        offer: Offer<'_>,
        tokens: &Tokens,
    ) -> Result<Record, Stop> {
        let id_token = tokens.id_token.as_deref().ok_or(Stop::Refused("id_token_missing"))?;
        let (media, claims) = self.providers.signed(offer.position, id_token).await?;
        let now = visit.now;
        let expected = Expected {
            client_id: &offer.settings.client_id,
            nonce: Some(&begun.nonce),
            subject: None,
            // An issuer that ignores `prompt=login` would let the last one at this browser in.
            authenticated_since: begun.anew.then_some(begun.began_at),
            now,
        };
        id_token::check(media, &claims, &expected)?;
        let record = Record {
            issuer: offer.name.into(),
            client_id: offer.settings.client_id.clone(),
            host: begun.host.clone(),
            claims: Arc::new(claims),
            id_token: id_token.into(),
            began_at: now,
            seen_at: now,
            fresh_until: tokens
                .refresh_token
                .as_ref()
                .and(tokens.expires_in)
                .map(|span| now.saturating_add(span)),
        };
        let rules = self.providers.rules(offer.position).ok_or(Stop::Outage("issuer_unavailable"))?;
        let frame = Frame { client_id: &record.client_id, name: "new", began_at: now, ends_at: now, now };
        let subject =
            id_token::subject(&record.claims, rules, &frame).map_err(|fault| Stop::Refused(fault.code()))?;
        let oldest = seconds(offer.settings.session.absolute).saturating_add(SKEW);
        if subject.age(now).is_some_and(|age| age > oldest) {
            // It was asked for no more than this (`max_age`).
            return Err(IdTokenFault::Authentication.into());
        }
        Ok(record)
    }

    /// Begins the session under a new name; what this browser had before ends.
    async fn begin(
        &self,
        visit: &Visit<'_>,
        begun: &Begun,
        offer: Offer<'_>,
        (record, tokens): (Record, Tokens),
        state_digest: &str,
    ) -> Result<Visited, Stop> {
        let outage = Stop::Outage("store_unavailable");
        let Some(id) = secret::new() else { return Err(Stop::Outage("no_randomness")) };
        let (name, limits) = (record::name_of(&id), offer.settings.session);
        let subject = self.subject(&name, (&record, None), offer.position, visit.now);
        let subject = subject.ok_or(Stop::Refused("claims_refused"))?;
        // A session that was ended at the issuer, or here, does not begin again because its code came late. Else the
        // browser would be sent back and forth, too.
        match revocation(self.state.as_ref(), &subject).await {
            Revocation::Valid => {}
            Revocation::Revoked => return Err(Stop::Refused("revoked")),
            Revocation::Unknown => return Err(outage),
        }
        let done = Pending::Done { binding: begun.binding.clone(), to: begun.to.clone() };
        let answer = Answer::GoTo(begun.to.clone().into());
        if !begun.anew
            && let Lookup::Found(other) = self.alive(visit).await
            && other.record.began_at >= begun.began_at
            && rest_on_one_authentication(&other.record, &record)
        {
            // Another tab was faster. To end its session would send that tab round once more.
            keep(self.state.as_ref(), &pending_key(state_digest), &done, PATIENCE).await;
            let fact = other.record.fact("sign_in", "already", other.name.clone());
            return Ok(Visited { fact: Some(fact), ..answer.into() });
        }
        let old = match self.presented(visit).await {
            Lookup::Found(old) => Some(old),
            Lookup::Absent => None,
            Lookup::Unavailable => return Err(outage),
        };
        if let Some(old) = old
            && !self.end(&old.0, &old.1.issuer, visit.now).await
        {
            return Err(outage);
        }
        let ttl = limits.idle.min(limits.absolute) + record::MARGIN;
        if !keep(self.state.as_ref(), &session_key(&name), &record, ttl).await {
            return Err(outage);
        }
        if let Some(token) = &tokens.refresh_token {
            let ttl = limits.absolute + record::MARGIN;
            if self.state.seal(&refresh_key(&name), token.as_bytes(), ttl).await != Lookup::Found(()) {
                return Err(outage);
            }
        }
        // Without it a second coming of this answer ends at the start page.
        keep(self.state.as_ref(), &pending_key(state_digest), &done, PATIENCE).await;
        let fact = record.fact("sign_in", "ok", name);
        Ok(Visited { cookies: vec![cookie::session(&id)], fact: Some(fact), ..answer.into() })
    }
}

/// Whether two sessions are of one person, by one and the same authentication.
fn rest_on_one_authentication(one: &Record, other: &Record) -> bool {
    one.issuer == other.issuer
        && one.client_id == other.client_id
        && one.claims.contains_key("auth_time")
        && ["sub", "sid", "auth_time", "acr", "amr"]
            .iter()
            .all(|claim| one.claims.get(*claim) == other.claims.get(*claim))
}
