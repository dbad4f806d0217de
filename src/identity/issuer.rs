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
    /// From `acr` and `amr` to levels.
    pub assurance: AssuranceMap,
    /// Which claims hold what.
    pub claims: ClaimNames,
}

/// Where an issuer puts what Wardgate needs; dots step into nested claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimNames {
    /// The claim with the subject's own patient id.
    pub patient: Option<Box<str>>,
    /// The claim with the roles: a list of strings, or one string that is one role.
    pub roles: Option<Box<str>>,
}
