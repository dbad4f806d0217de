//! What an issuer is trusted with: its keys decide nothing that stands here.

use std::sync::Arc;

use super::algorithm::SignatureAlgorithm;
use super::assurance::AssuranceMap;
use super::subject::Caller;

/// The rules by which one issuer's tokens are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerRules {
    /// The configured name: letters, digits, `-`, `_`, `.`.
    pub name: Arc<str>,
    /// Its position in the policy.
    pub index: usize,
    /// The exact `iss`.
    pub issuer: Box<str>,
    /// At least one of these must be in `aud`.
    pub audiences: Vec<Box<str>>,
    /// The algorithms its signatures may use.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// Whether its tokens speak for people or services.
    pub callers: Caller,
    /// Whether tokens with `typ: JWT` are taken beside RFC 9068's `at+jwt`.
    pub plain_jwt: bool,
    /// The longest time between `iat` and `exp`, in seconds.
    pub max_token_lifetime: Option<i64>,
    /// Whether people sign in there, so that browsers hold sessions.
    pub has_sessions: bool,
    /// How long its people's browsers are recognised, in seconds: what ends that is remembered for as long.
    pub recognises_for: Option<i64>,
    /// Whether it takes `authorization_details` (RFC 9396) that name an action, so that clients are told what to ask for.
    pub names_actions: bool,
    /// Whether its tokens must be bound to a key (RFC 9449).
    pub dpop: KeyProofRule,
    /// From `acr` and `amr` to levels.
    pub assurance: AssuranceMap,
    /// Which claims hold what.
    pub claims: ClaimNames,
}

/// What an issuer's tokens show of a key (DPoP, RFC 9449).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyProofRule {
    /// Whether a token that is bound to no key is refused.
    pub required: bool,
    /// Whether each proof must hold a nonce of the gateway's (§9).
    pub needs_nonce: bool,
}

impl Default for KeyProofRule {
    fn default() -> Self {
        Self { required: false, needs_nonce: true }
    }
}

/// Where an issuer puts what Wardgate needs; dots step into nested claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimNames {
    /// The claim with the subject's own patient id.
    pub patient: Option<Box<str>>,
    /// The claim with the roles: a list of strings, or one string that is one role.
    pub roles: Option<Box<str>>,
    /// The claim that says when roles end: an object from a role's name to a `NumericDate` (RFC 7519 §2).
    pub role_ends: Option<Box<str>>,
}
