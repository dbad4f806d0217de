//! What a refusal says to the outside beside its status: a problem's name, and what would be accepted instead.

use crate::decision::{Denial, Reason};
use crate::identity::dpop::ALGORITHMS;
use crate::identity::{DpopFault, TokenFault};

/// The name of the problem outward: many reasons share one, so that refusals look alike.
pub(super) fn public_name(reason: Reason) -> &'static str {
    match (reason, reason.wording().status) {
        (Reason::CredentialsMissing, _) => "authentication_required",
        (Reason::ScopeMissing, _) => "insufficient_scope",
        (Reason::DelegationReviewDue, _) => "delegation_review_due",
        (Reason::BreakGlassSuspended, _) => "break_glass_suspended",
        (Reason::BreakGlassNotNeeded, _) => "break_glass_not_needed",
        (Reason::KeyProofRefused(DpopFault::NonceNeeded), _) => "use_dpop_nonce",
        (Reason::KeyProofRefused(_), _) => "invalid_dpop_proof",
        (_, 400) => "invalid_request",
        (_, 401) => "invalid_token",
        (_, 404) => "not_found",
        (_, 405) => "method_not_allowed",
        (_, 408) => "too_slow",
        (_, 413 | 431) => "too_large",
        (_, 429) => "too_many_requests",
        (_, 502) => "unusable_answer",
        (_, 503) => "unavailable",
        _ => "forbidden",
    }
}

/// The `WWW-Authenticate` value of a refusal (RFC 6750 §3, RFC 9449 §7.1): bare where nothing was presented.
pub(super) fn challenge(denial: &Denial) -> Option<String> {
    let key_bound = |error: &str| Some(format!(r#"DPoP error="{error}", algs="{ALGORITHMS}""#));
    match (denial.reason, denial.reason.wording().status) {
        (Reason::CredentialsMissing, _) => Some("Bearer".to_owned()),
        (Reason::CredentialsMalformed, _) => Some(r#"Bearer error="invalid_request""#.to_owned()),
        (Reason::ScopeMissing, _) => {
            Some(format!(r#"Bearer error="insufficient_scope", scope="{}""#, denial.scopes.join(" ")))
        }
        (Reason::KeyProofRefused(DpopFault::NonceNeeded), _) => key_bound("use_dpop_nonce"),
        (Reason::KeyProofRefused(_), _) => key_bound("invalid_dpop_proof"),
        (Reason::TokenRefused(TokenFault::NotKeyBound), _) => key_bound("invalid_token"),
        (_, 401) => {
            Some(r#"Bearer error="invalid_token", error_description="The token is not accepted""#.to_owned())
        }
        _ => None,
    }
}
