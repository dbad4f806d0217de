//! ID tokens and logout tokens: what a relying party checks of them once their signature is known to be good.
//!
//! OpenID Connect Core 1.0 §3.1.3.7 and §12.2, Back-Channel Logout 1.0 §2.6. A session's subject is read from its ID
//! token's claims by the same rules as an access token's, so that both are judged alike.

mod backchannel;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::claims::{CLOCK_SKEW, Reader, identifier};
use super::issuer::IssuerRules;
use super::jwt::Media;
use super::{Caller, NamedActions, Subject, TokenFault};

pub use self::backchannel::{Authentication, Question, answer};

/// An ID token is read at once; one that was issued longer ago, in seconds, was kept by somebody.
const OLDEST: i64 = 600;
/// The event that a logout token is about.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Why an ID token or a logout token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdTokenFault {
    /// It is another kind of token.
    Type,
    /// A claim is missing, or is not what it should be.
    Claim,
    /// It is for another client.
    Audience,
    /// It has expired, is from the future, or was issued long ago.
    Time,
    /// It answers another request than ours.
    Nonce,
    /// It speaks of somebody else than before.
    Subject,
    /// The person did not authenticate as recently as was asked.
    Authentication,
}

impl IdTokenFault {
    /// The stable name for audit records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Type => "id_token_type",
            Self::Claim => "id_token_claim",
            Self::Audience => "id_token_audience",
            Self::Time => "id_token_time",
            Self::Nonce => "id_token_nonce",
            Self::Subject => "id_token_subject",
            Self::Authentication => "id_token_authentication",
        }
    }
}

impl From<TokenFault> for IdTokenFault {
    fn from(_: TokenFault) -> Self {
        Self::Claim
    }
}

/// What an ID token must say.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'e> {
    /// Our name at the issuer.
    pub client_id: &'e str,
    /// The nonce of our request; `None` after a refresh, which has none.
    pub nonce: Option<&'e str>,
    /// Whom it must speak of, where that is known.
    pub subject: Option<&'e str>,
    /// The person must have authenticated at this moment (Unix seconds) or later, where we asked for that.
    pub authenticated_since: Option<i64>,
    /// Now, in Unix seconds.
    pub now: i64,
}

/// Checks an ID token whose signature is good.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn check(media: Media, claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), IdTokenFault> {
    if media != Media::Plain || claims.contains_key("events") {
        return Err(IdTokenFault::Type);
    }
    let reader = Reader(claims);
    check_audience(&reader, expected.client_id)?;
    let expires_at = reader.seconds("exp")?.ok_or(IdTokenFault::Claim)?;
    check_issued(&reader, expected.now)?;
    let is_early = reader.seconds("nbf")?.is_some_and(|at| at > expected.now.saturating_add(CLOCK_SKEW));
    if expires_at <= expected.now || is_early {
        return Err(IdTokenFault::Time);
    }
    if let Some(nonce) = expected.nonce
        && reader.text("nonce")? != Some(nonce)
    {
        return Err(IdTokenFault::Nonce);
    }
    // A session is its person's own: who acts for somebody comes with a token that says so, at each request.
    if claims.contains_key("act") {
        return Err(IdTokenFault::Subject);
    }
    let subject = reader.text("sub")?.ok_or(IdTokenFault::Claim)?;
    identifier(subject)?;
    if expected.subject.is_some_and(|known| known != subject) {
        return Err(IdTokenFault::Subject);
    }
    let authenticated_at = reader.seconds("auth_time")?;
    if authenticated_at.is_some_and(|at| at > expected.now.saturating_add(CLOCK_SKEW)) {
        return Err(IdTokenFault::Time);
    }
    match (expected.authenticated_since, authenticated_at) {
        (None, _) => Ok(()),
        (Some(since), Some(at)) if at.saturating_add(CLOCK_SKEW) >= since => Ok(()),
        // An issuer that was asked must say when it was (§3.1.2.1, `max_age`).
        (Some(_), _) => Err(IdTokenFault::Authentication),
    }
}

/// For us, and where it is for others too, said to be for us in particular (§3.1.3.7, steps 3 to 5).
fn check_audience(reader: &Reader<'_>, client_id: &str) -> Result<(), IdTokenFault> {
    let audiences = reader.texts("aud")?;
    let party = reader.text("azp")?;
    let is_for_us = audiences.iter().any(|audience| audience.as_ref() == client_id);
    let is_ours = party.map_or(audiences.len() == 1, |party| party == client_id);
    if is_for_us && is_ours { Ok(()) } else { Err(IdTokenFault::Audience) }
}

fn check_issued(reader: &Reader<'_>, now: i64) -> Result<i64, IdTokenFault> {
    let issued_at = reader.seconds("iat")?.ok_or(IdTokenFault::Claim)?;
    let sane = now.saturating_sub(OLDEST)..=now.saturating_add(CLOCK_SKEW);
    if sane.contains(&issued_at) { Ok(issued_at) } else { Err(IdTokenFault::Time) }
}

/// What a session adds to what its ID token says.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'f> {
    /// Our name at the issuer.
    pub client_id: &'f str,
    /// The session's name in the revocation table.
    pub name: &'f str,
    /// When it began, in Unix seconds.
    pub began_at: i64,
    /// When it ends at the latest, in Unix seconds.
    pub ends_at: i64,
    /// The time, in Unix seconds.
    pub now: i64,
}

/// Reads a session's subject from the claims of its ID token.
///
/// # Errors
/// A claim is missing or wrong.
pub fn subject(
    claims: &Arc<Map<String, Value>>,
    rules: &IssuerRules,
    frame: &Frame<'_>,
) -> Result<Subject, TokenFault> {
    if claims.contains_key("act") {
        return Err(TokenFault::BadClaim);
    }
    let reader = Reader(claims);
    let methods = reader.texts("amr")?;
    let (roles, changes_at) = reader.roles(rules, frame.now)?;
    Ok(Subject {
        issuer: Arc::clone(&rules.name),
        issuer_index: rules.index,
        id: identifier(reader.text("sub")?.ok_or(TokenFault::MissingClaim)?)?,
        caller: Caller::Person,
        client: Some(frame.client_id.into()),
        actor: None,
        patient: reader.patient(rules)?,
        roles,
        scopes: reader.scopes()?,
        level: rules.assurance.level(reader.text("acr")?, &methods),
        auth_time: reader.seconds("auth_time")?,
        methods,
        issued_at: frame.began_at,
        expires_at: frame.ends_at,
        token_id: Some(frame.name.into()),
        session: reader.text("sid")?.map(Into::into),
        bound_to: None,
        bound_key: None,
        // A session's person shows each action on a page of the gateway's own.
        names: NamedActions::Nothing,
        changes_at,
        claims: Arc::clone(claims),
    })
}

/// Who is logged out, as an issuer says on the back channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logout {
    /// The subject.
    pub subject: Option<Box<str>>,
    /// The issuer's name for the session; without it all of the subject's end.
    pub session: Option<Box<str>>,
    /// The token's own name.
    pub token_id: Box<str>,
    /// When it was issued, in Unix seconds.
    pub issued_at: i64,
}

/// Checks a logout token whose signature is good (Back-Channel Logout 1.0 §2.6).
///
/// # Errors
/// The first thing that is wrong with it.
pub fn logout(
    media: Media,
    claims: &Map<String, Value>,
    client_id: &str,
    now: i64,
) -> Result<Logout, IdTokenFault> {
    // Older issuers don't name the type; the event and the missing nonce still tell it from an ID token.
    if !matches!(media, Media::Logout | Media::Plain) || claims.contains_key("nonce") {
        return Err(IdTokenFault::Type);
    }
    let event = claims.get("events").and_then(Value::as_object).and_then(|events| events.get(LOGOUT_EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(IdTokenFault::Type);
    }
    let reader = Reader(claims);
    if !reader.texts("aud")?.iter().any(|audience| audience.as_ref() == client_id) {
        return Err(IdTokenFault::Audience);
    }
    let issued_at = check_issued(&reader, now)?;
    if reader.seconds("exp")?.is_some_and(|at| at <= now) {
        return Err(IdTokenFault::Time);
    }
    let token_id = reader.text("jti")?.ok_or(IdTokenFault::Claim)?;
    let (subject, session) = (reader.text("sub")?, reader.text("sid")?);
    if token_id.is_empty() || (subject.is_none() && session.is_none()) {
        return Err(IdTokenFault::Claim);
    }
    Ok(Logout {
        subject: subject.map(Into::into),
        session: session.map(Into::into),
        token_id: token_id.into(),
        issued_at,
    })
}

#[cfg(test)]
mod tests;
