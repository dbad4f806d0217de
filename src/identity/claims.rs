//! From verified claims to a [`Subject`]: a claim of the wrong type is refused, never taken as absent.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::issuer::IssuerRules;
use super::{Caller, NamedActions, Subject, TokenFault, named_action};
use crate::request::certificate::Thumbprint;

/// How far an issuer's clock may run ahead of ours, in seconds. `exp` has no such allowance.
pub(super) const CLOCK_SKEW: i64 = 30;

/// Which document says what must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// A JWT access token by the book (RFC 9068 §2.2).
    Rfc9068,
    /// A JWT access token of an issuer that does not mark its tokens.
    PlainJwt,
    /// An introspection answer.
    Introspection,
}

/// Checks the claims and reads the subject from them. `now` is in Unix seconds.
pub fn subject(
    claims: Map<String, Value>,
    rules: &IssuerRules,
    profile: Profile,
    now: i64,
) -> Result<Subject, TokenFault> {
    let reader = Reader(&claims);
    reader.refuse_other_tokens(profile)?;
    let (bound_to, bound_key) = reader.bindings()?;
    let issued_at = reader.check_times(rules, profile, now)?;
    let expires_at = reader.seconds("exp")?.ok_or(TokenFault::MissingClaim)?;
    reader.check_audience(rules)?;
    let id = identifier(reader.text("sub")?.ok_or(TokenFault::MissingClaim)?)?;
    let client = match (reader.text("client_id")?, reader.text("azp")?) {
        (Some(client), _) | (None, Some(client)) => Some(identifier(client)?),
        (None, None) => None,
    };
    let token_id = reader.text("jti")?;
    if profile == Profile::Rfc9068 && (client.is_none() || token_id.is_none()) {
        return Err(TokenFault::MissingClaim);
    }
    let methods = reader.texts("amr")?;
    let auth_time = reader.seconds("auth_time")?;
    if auth_time.is_some_and(|at| at > now.saturating_add(CLOCK_SKEW)) {
        return Err(TokenFault::NotYetValid);
    }
    let (roles, changes_at) = reader.roles(rules, now)?;
    Ok(Subject {
        issuer: Arc::clone(&rules.name),
        issuer_index: rules.index,
        caller: rules.callers,
        client,
        actor: reader.actor()?,
        patient: reader.patient(rules)?,
        roles,
        scopes: reader.scopes()?,
        level: rules.assurance.level(reader.text("acr")?, &methods),
        // A machine's token has no authentication event, whatever it claims.
        auth_time: auth_time.filter(|_| rules.callers == Caller::Person),
        methods,
        issued_at,
        expires_at,
        token_id: token_id.map(Into::into),
        session: reader.text("sid")?.map(Into::into),
        id,
        bound_to,
        bound_key,
        names: NamedActions::read(claims.get(named_action::CLAIM)),
        changes_at,
        claims: Arc::new(claims),
    })
}

pub(super) struct Reader<'c>(pub(super) &'c Map<String, Value>);

impl<'c> Reader<'c> {
    /// ID tokens, logout tokens, security events and key-bound tokens are not bearer access tokens.
    fn refuse_other_tokens(&self, profile: Profile) -> Result<(), TokenFault> {
        let marks: &[&str] = if profile == Profile::PlainJwt {
            &["events", "nonce", "at_hash", "c_hash", "s_hash"]
        } else {
            &["events"]
        };
        // Issuers that sign all their tokens with one `typ` header tell them apart in the payload: Amazon Cognito by
        // `token_use`, Keycloak by `typ`.
        let other_use = self.text("token_use")?.is_some_and(|kind| kind != "access");
        let other_kind = self.text("typ")?.is_some_and(|kind| {
            ["id", "refresh", "logout", "offline"].iter().any(|other| kind.eq_ignore_ascii_case(other))
        });
        if other_use || other_kind || marks.iter().any(|name| self.0.contains_key(*name)) {
            return Err(TokenFault::NotAnAccessToken);
        }
        let kind = self.text("token_type")?.filter(|_| profile == Profile::Introspection);
        let is = |word: &str| kind.is_some_and(|kind| kind.eq_ignore_ascii_case(word));
        // RFC 9449 §6.2: what is said to be bound to a key must name the key.
        let is_bound = is("dpop") && self.names_key();
        if kind.is_some() && !is("bearer") && !is("access_token") && !is_bound {
            return Err(TokenFault::ProofOfKeyMissing);
        }
        Ok(())
    }

    fn names_key(&self) -> bool {
        self.0.get("cnf").and_then(|confirmation| confirmation.get("jkt")).is_some()
    }

    /// The certificate and the key that the token is bound to. Whether they were shown is for the decision to say, with
    /// every request.
    fn bindings(&self) -> Result<(Option<Thumbprint>, Option<Thumbprint>), TokenFault> {
        let Some(confirmation) = self.0.get("cnf") else {
            return Ok((None, None));
        };
        let Value::Object(members) = confirmation else { return Err(TokenFault::ProofOfKeyMissing) };
        let (mut certificate, mut key) = (None, None);
        for (name, value) in members {
            let place = match name.as_str() {
                "x5t#S256" => &mut certificate,
                "jkt" => &mut key,
                // Of several ways to prove a key none may be left out, and others than these can't be proven here.
                _ => return Err(TokenFault::ProofOfKeyMissing),
            };
            let thumbprint = value.as_str().and_then(Thumbprint::parse).ok_or(TokenFault::BadClaim)?;
            *place = Some(thumbprint);
        }
        if members.is_empty() { Err(TokenFault::ProofOfKeyMissing) } else { Ok((certificate, key)) }
    }

    /// The patient whose record is the subject's own.
    pub(super) fn patient(&self, rules: &IssuerRules) -> Result<Option<Box<str>>, TokenFault> {
        match &rules.claims.patient {
            Some(name) => self.text_at(name)?.map(identifier).transpose(),
            None => Ok(None),
        }
    }

    /// The roles that hold at `now` (Unix seconds), and when the next of them ends.
    pub(super) fn roles(
        &self,
        rules: &IssuerRules,
        now: i64,
    ) -> Result<(Vec<Box<str>>, Option<i64>), TokenFault> {
        let mut roles = match &rules.claims.roles {
            Some(name) => self.texts_at(name)?,
            None => Vec::new(),
        };
        let changes_at = match &rules.claims.role_ends {
            Some(name) => self.end_roles(name, &mut roles, now)?,
            None => None,
        };
        Ok((roles, changes_at))
    }

    /// Takes roles away whose time is over by `now`, and gives the next moment at which one ends.
    fn end_roles(&self, claim: &str, roles: &mut Vec<Box<str>>, now: i64) -> Result<Option<i64>, TokenFault> {
        let ends = match self.at(claim)? {
            None => return Ok(None),
            Some(Value::Object(ends)) => ends,
            Some(_) => return Err(TokenFault::BadClaim),
        };
        let mut next: Option<i64> = None;
        for (role, end) in ends {
            let end = seconds(end)?;
            if end <= now {
                roles.retain(|held| held.as_ref() != role);
            } else if roles.iter().any(|held| held.as_ref() == role) {
                next = Some(next.map_or(end, |next| next.min(end)));
            }
        }
        Ok(next)
    }

    fn check_times(&self, rules: &IssuerRules, profile: Profile, now: i64) -> Result<i64, TokenFault> {
        let expires_at = self.seconds("exp")?.ok_or(TokenFault::MissingClaim)?;
        if expires_at <= now {
            return Err(TokenFault::Expired);
        }
        let latest = now.saturating_add(CLOCK_SKEW);
        if self.seconds("nbf")?.is_some_and(|at| at > latest) {
            return Err(TokenFault::NotYetValid);
        }
        let issued_at = match self.seconds("iat")? {
            Some(at) if at > latest => return Err(TokenFault::NotYetValid),
            Some(at) => at,
            // RFC 7662 leaves `iat` out of what an answer must have; then nothing is known of the token's
            // age.
            None if profile == Profile::Introspection => i64::MIN,
            None => return Err(TokenFault::MissingClaim),
        };
        let too_long =
            rules.max_token_lifetime.is_some_and(|most| expires_at.saturating_sub(issued_at) > most);
        if too_long { Err(TokenFault::LifetimeTooLong) } else { Ok(issued_at) }
    }

    fn check_audience(&self, rules: &IssuerRules) -> Result<(), TokenFault> {
        let audiences = self.texts("aud")?;
        if audiences.is_empty() {
            return Err(TokenFault::MissingClaim);
        }
        if audiences.iter().any(|audience| rules.audiences.contains(audience)) {
            Ok(())
        } else {
            Err(TokenFault::WrongAudience)
        }
    }

    pub(super) fn actor(&self) -> Result<Option<Box<str>>, TokenFault> {
        match self.0.get("act") {
            None => Ok(None),
            // Somebody of another issuer may have the same name there.
            Some(Value::Object(actor))
                if actor.get("iss").is_none_or(|iss| Some(iss) == self.0.get("iss")) =>
            {
                match actor.get("sub").and_then(Value::as_str) {
                    Some(id) => identifier(id).map(Some),
                    None => Err(TokenFault::BadClaim),
                }
            }
            Some(_) => Err(TokenFault::BadClaim),
        }
    }

    /// `scope` (RFC 8693 §4.2), or where there is none `scp`, which some issuers use: a space-separated
    /// string or a list.
    pub(super) fn scopes(&self) -> Result<Vec<Box<str>>, TokenFault> {
        match self.0.get("scope").or_else(|| self.0.get("scp")) {
            Some(Value::String(scopes)) => {
                Ok(scopes.split(' ').filter(|scope| !scope.is_empty()).map(Into::into).collect())
            }
            other => texts(other),
        }
    }

    pub(super) fn seconds(&self, name: &str) -> Result<Option<i64>, TokenFault> {
        self.0.get(name).map(seconds).transpose()
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'c str>, TokenFault> {
        text(self.0.get(name))
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<Box<str>>, TokenFault> {
        texts(self.0.get(name))
    }

    pub(super) fn text_at(&self, path: &str) -> Result<Option<&'c str>, TokenFault> {
        text(self.at(path)?)
    }

    pub(super) fn texts_at(&self, path: &str) -> Result<Vec<Box<str>>, TokenFault> {
        texts(self.at(path)?)
    }

    /// A claim by its exact name, or by dots into nested objects (`realm_access.roles`).
    fn at(&self, path: &str) -> Result<Option<&'c Value>, TokenFault> {
        if let Some(value) = self.0.get(path) {
            return Ok(Some(value));
        }
        let mut object = self.0;
        let mut rest = path;
        while let Some((step, beneath)) = rest.split_once('.') {
            object = match object.get(step) {
                None => return Ok(None),
                Some(Value::Object(inner)) => inner,
                Some(_) => return Err(TokenFault::BadClaim),
            };
            rest = beneath;
        }
        Ok(object.get(rest))
    }
}

/// A `NumericDate`, which may have a fraction (RFC 7519 §2).
fn seconds(value: &Value) -> Result<i64, TokenFault> {
    let Value::Number(number) = value else { return Err(TokenFault::BadClaim) };
    match (number.as_i64(), number.as_f64()) {
        (Some(seconds), _) if seconds >= 0 => Ok(seconds),
        // 2^53 is far beyond any date.
        #[allow(clippy::cast_possible_truncation, reason = "bounded on the line itself")]
        (None, Some(seconds)) if (0.0..9.0e15).contains(&seconds) => Ok(seconds.floor() as i64),
        _ => Err(TokenFault::BadClaim),
    }
}

fn text(value: Option<&Value>) -> Result<Option<&str>, TokenFault> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenFault::BadClaim),
    }
}

/// A list of strings, or one string that is one value: `user,admin` is a role of that name, not two.
fn texts(value: Option<&Value>) -> Result<Vec<Box<str>>, TokenFault> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.as_str().into()]),
        Some(Value::Array(many)) => {
            many.iter().map(|item| item.as_str().map(Into::into).ok_or(TokenFault::BadClaim)).collect()
        }
        Some(_) => Err(TokenFault::BadClaim),
    }
}

/// Ids go into headers and audit keys, so they must be visible ASCII of a sane length.
pub(super) fn identifier(text: &str) -> Result<Box<str>, TokenFault> {
    let plain =
        !text.is_empty() && text.len() <= 255 && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if plain { Ok(text.into()) } else { Err(TokenFault::BadClaim) }
}

#[cfg(test)]
mod tests;
