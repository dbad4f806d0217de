//! Whether the one who shows a token holds what the token is bound to: a certificate (RFC 8705), a key (RFC 9449).
//!
//! This is asked of every request: a token that was verified before may be in other hands now.

use super::Reason;
use super::evidence::{Evidence, Need, Possession};
use super::step::Question;
use crate::identity::{Subject, TokenFault};
use crate::request::credentials::Presented;

/// Gives what is still needed to know; `None` where all is proven that has to be.
pub fn check(
    question: &Question<'_>,
    subject: &Subject,
    evidence: &Evidence,
) -> Result<Option<Need>, Reason> {
    check_certificate(question, subject).map_err(Reason::TokenRefused)?;
    let rule =
        question.policy.issuers.get(subject.issuer_index).map(|issuer| issuer.dpop).unwrap_or_default();
    let is_session = matches!(question.facts.presented, Presented::Session(_));
    let fault = match (&subject.bound_key, question.facts.presented.is_key_bound()) {
        // A session is no token that somebody else could show: the gateway got it itself, and keeps it.
        (None, false) if rule.required && !is_session => TokenFault::NotKeyBound,
        (None, false) => return Ok(None),
        (None, true) => TokenFault::SchemeNeedsKey,
        (Some(_), false) => TokenFault::ProofOfKeyMissing,
        (Some(_), true) => {
            return match evidence.possession {
                None => Ok(Some(Need::Possession)),
                Some(Possession::Proven) => Ok(None),
                Some(Possession::Refused(fault)) => Err(Reason::KeyProofRefused(fault)),
                Some(Possession::Unknown) => Err(Reason::StoreUnavailable),
            };
        }
    };
    Err(Reason::TokenRefused(fault))
}

fn check_certificate(question: &Question<'_>, subject: &Subject) -> Result<(), TokenFault> {
    match (&subject.bound_to, &question.facts.certificate) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(TokenFault::ProofOfKeyMissing),
        (Some(wanted), Some(shown)) if wanted.matches(&shown.thumbprint) => Ok(()),
        (Some(_), Some(_)) => Err(TokenFault::WrongCertificate),
    }
}
