//! Access tokens as JWTs (RFC 9068, RFC 7515, RFC 8725): strict reading, signature, then the claims.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::SignatureAlgorithm;
use super::issuer::IssuerRules;
use super::jwk::KeySet;
use super::{Subject, claims};
use crate::request::json;

/// Why a token is not accepted. Outward all are `invalid_token`; the difference is for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenFault {
    /// Not three base64url parts with JSON objects that have one reading.
    Malformed,
    /// No configured issuer has this `iss`.
    UnknownIssuer,
    /// The algorithm is not one of the issuer's.
    AlgorithmNotAllowed,
    /// The header has `crit`, `b64` or brings its own key.
    HeaderNotAllowed,
    /// The `typ` says that this is no access token, or the claims do.
    NotAnAccessToken,
    /// The issuer has no such key.
    UnknownKey,
    /// The signature does not verify.
    BadSignature,
    /// A required claim is missing.
    MissingClaim,
    /// A claim has the wrong type or impossible content.
    BadClaim,
    /// `exp` has passed.
    Expired,
    /// `nbf`, `iat` or `auth_time` lies in the future.
    NotYetValid,
    /// It was issued for somebody else.
    WrongAudience,
    /// It lives longer than its issuer is allowed.
    LifetimeTooLong,
    /// It is bound to a key (`cnf`) whose proof was not shown.
    ProofOfKeyMissing,
    /// It is bound to no key, and its issuer's tokens must be (`dpop: required`).
    NotKeyBound,
    /// It came in the `DPoP` scheme and is bound to no key (RFC 9449 §7.1).
    SchemeNeedsKey,
    /// It is bound to another client certificate than the one shown (RFC 8705 §3).
    WrongCertificate,
    /// The issuer says that it is not active (RFC 7662).
    Inactive,
    /// There is no such session: it has ended, or never began.
    SessionEnded,
}

impl TokenFault {
    /// The stable name for audit records and traces.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "token_malformed",
            Self::UnknownIssuer => "token_unknown_issuer",
            Self::AlgorithmNotAllowed => "token_algorithm_not_allowed",
            Self::HeaderNotAllowed => "token_header_not_allowed",
            Self::NotAnAccessToken => "token_not_an_access_token",
            Self::UnknownKey => "token_unknown_key",
            Self::BadSignature => "token_bad_signature",
            Self::MissingClaim => "token_missing_claim",
            Self::BadClaim => "token_bad_claim",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::WrongAudience => "token_wrong_audience",
            Self::LifetimeTooLong => "token_lifetime_too_long",
            Self::ProofOfKeyMissing => "token_proof_of_key_missing",
            Self::NotKeyBound => "token_not_key_bound",
            Self::SchemeNeedsKey => "token_scheme_needs_key",
            Self::WrongCertificate => "token_wrong_certificate",
            Self::Inactive => "token_inactive",
            Self::SessionEnded => "session_ended",
        }
    }
}

/// A JWT that was taken apart but not believed.
pub struct UnverifiedJwt<'t> {
    signing_input: &'t str,
    signature: &'t str,
    algorithm: SignatureAlgorithm,
    key_id: Option<String>,
    media: Media,
    claims: Map<String, Value>,
}

/// What a JWT says that it is (`typ`, RFC 8725 §3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `at+jwt` (RFC 9068).
    AccessToken,
    /// `logout+jwt` (OpenID Connect Back-Channel Logout 1.0 §2.4).
    Logout,
    /// `secevent+jwt` (RFC 8417 §2.3).
    SecurityEvent,
    /// `wardgate-step-up+jwt` (`docs/step-up-service.yaml`).
    StepUp,
    /// `JWT`, or nothing.
    Plain,
    /// Something else.
    Other,
}

impl Media {
    fn of(name: &str) -> Self {
        // RFC 7515 §4.1.9: `application/` may be left out.
        let name = match name.split_at_checked("application/".len()) {
            Some((start, rest)) if start.eq_ignore_ascii_case("application/") => rest,
            _ => name,
        };
        match name {
            name if name.eq_ignore_ascii_case("at+jwt") => Self::AccessToken,
            name if name.eq_ignore_ascii_case("logout+jwt") => Self::Logout,
            name if name.eq_ignore_ascii_case("secevent+jwt") => Self::SecurityEvent,
            name if name.eq_ignore_ascii_case("wardgate-step-up+jwt") => Self::StepUp,
            name if name.is_empty() || name.eq_ignore_ascii_case("jwt") => Self::Plain,
            _ => Self::Other,
        }
    }
}

impl<'t> UnverifiedJwt<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is not in compact form, has members twice, or its header asks for something that is never done.
    pub fn parse(token: &'t str) -> Result<Self, TokenFault> {
        let (signing_input, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(TokenFault::Malformed)?;
        if payload.contains('.') {
            return Err(TokenFault::Malformed);
        }
        let mut header = object(header)?;
        // Decoding here refuses padding and stray bits, which the signature check alone would let vary.
        part(signature)?;
        if ["crit", "b64", "jwk", "jku", "x5u", "x5c"].iter().any(|name| header.contains_key(*name)) {
            return Err(TokenFault::HeaderNotAllowed);
        }
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) => {
                SignatureAlgorithm::from_name(name).ok_or(TokenFault::AlgorithmNotAllowed)?
            }
            _ => return Err(TokenFault::Malformed),
        };
        let key_id = match header.remove("kid") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(TokenFault::Malformed),
        };
        let media = match header.get("typ") {
            None => Media::Plain,
            Some(Value::String(media)) => Media::of(media),
            Some(_) => return Err(TokenFault::Malformed),
        };
        Ok(Self { signing_input, signature, algorithm, key_id, media, claims: object(payload)? })
    }

    /// Who the token says it is from: one string, never a list.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The key it says it was signed with.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Whether one of these keys is meant; if not, a fresh key set might have it.
    pub fn has_key_in(&self, keys: &KeySet) -> bool {
        keys.find(self.key_id(), self.algorithm).is_some()
    }

    /// Verifies the token against its issuer's rules and keys.
    ///
    /// `now` is in Unix seconds.
    ///
    /// # Errors
    /// The first check that fails: type, algorithm, key, signature, claims.
    pub fn verify(self, rules: &IssuerRules, keys: &KeySet, now: i64) -> Result<Subject, TokenFault> {
        if self.issuer() != Some(rules.issuer.as_ref()) {
            return Err(TokenFault::UnknownIssuer);
        }
        let profile = match self.media {
            Media::AccessToken => claims::Profile::Rfc9068,
            Media::Plain if rules.plain_jwt => claims::Profile::PlainJwt,
            Media::Plain | Media::Logout | Media::SecurityEvent | Media::StepUp | Media::Other => {
                return Err(TokenFault::NotAnAccessToken);
            }
        };
        self.check_signature(&rules.algorithms, keys)?;
        claims::subject(self.claims, rules, profile, now)
    }

    /// Verifies who signed a token that is none for access: what it is, and its claims, are for the caller to check.
    ///
    /// # Errors
    /// It is not the issuer's, or not signed as the issuer signs.
    pub fn signed(
        self,
        rules: &IssuerRules,
        keys: &KeySet,
    ) -> Result<(Media, Map<String, Value>), TokenFault> {
        self.signed_by(&rules.issuer, &rules.algorithms, keys)
    }

    /// The same for somebody who signs other tokens than those for access.
    ///
    /// # Errors
    /// As [`Self::signed`].
    pub fn signed_by(
        self,
        issuer: &str,
        algorithms: &[SignatureAlgorithm],
        keys: &KeySet,
    ) -> Result<(Media, Map<String, Value>), TokenFault> {
        if self.issuer() != Some(issuer) {
            return Err(TokenFault::UnknownIssuer);
        }
        self.check_signature(algorithms, keys)?;
        Ok((self.media, self.claims))
    }

    fn check_signature(&self, algorithms: &[SignatureAlgorithm], keys: &KeySet) -> Result<(), TokenFault> {
        if !algorithms.contains(&self.algorithm) {
            return Err(TokenFault::AlgorithmNotAllowed);
        }
        let key = keys.find(self.key_id(), self.algorithm).ok_or(TokenFault::UnknownKey)?;
        let valid = jsonwebtoken::crypto::verify(
            self.signature,
            self.signing_input.as_bytes(),
            key.key(),
            self.algorithm.for_library(),
        );
        if matches!(valid, Ok(true)) { Ok(()) } else { Err(TokenFault::BadSignature) }
    }
}

/// Reads an introspection answer (RFC 7662 §2.2) by the same rules as a token's claims.
///
/// # Errors
/// The token is not active, or a claim is missing or wrong.
pub fn introspected(
    answer: Map<String, Value>,
    rules: &IssuerRules,
    now: i64,
) -> Result<Subject, TokenFault> {
    match answer.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Err(TokenFault::Inactive),
        _ => return Err(TokenFault::BadClaim),
    }
    let other_issuer = answer.get("iss").is_some_and(|issuer| issuer.as_str() != Some(rules.issuer.as_ref()));
    if other_issuer {
        return Err(TokenFault::UnknownIssuer);
    }
    claims::subject(answer, rules, claims::Profile::Introspection, now)
}

/// Reads claims that nobody signed, for `wardgate explain`: what the gateway would make of them.
///
/// # Errors
/// A claim is missing or wrong.
pub fn believed(claims: Map<String, Value>, rules: &IssuerRules, now: i64) -> Result<Subject, TokenFault> {
    claims::subject(claims, rules, claims::Profile::Rfc9068, now)
}

pub(super) fn part(text: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenFault::Malformed)
}

pub(super) fn object(text: &str) -> Result<Map<String, Value>, TokenFault> {
    match json::parse(&part(text)?) {
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(TokenFault::Malformed),
    }
}

#[cfg(test)]
mod tests;
