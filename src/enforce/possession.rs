//! Finds out whether the caller holds the key that the token is bound to (DPoP, RFC 9449).

use std::time::Duration;

use super::gate::{Arrival, Gate};
use super::ports::Consumed;
use crate::decision::{Possession, Question};
use crate::identity::Subject;
use crate::identity::dpop::{Asked, DpopFault, KeyProof, MAX_AGE, MAX_AHEAD};
use crate::request::credentials::{KeyBound, Presented, ShownProof};
use crate::state::spent::ProofKey;
use crate::telemetry::metrics;

/// How long a proof is remembered: longer than any is taken.
const REMEMBER: Duration = Duration::from_secs((MAX_AGE + 2 * MAX_AHEAD).unsigned_abs());

impl Gate {
    /// Judges the proof beside the token. Only one that is good in itself reaches the state store.
    pub(super) async fn possession(
        &self,
        question: &Question<'_>,
        arrival: &Arrival<'_>,
        subject: &Subject,
    ) -> Possession {
        let Presented::Dpop(presented) = &question.facts.presented else {
            return Possession::Refused(DpopFault::Missing);
        };
        let possession = match self.judge(question, arrival, subject, presented) {
            Err(fault) => Possession::Refused(fault),
            Ok(proof) => self.spend_proof(&proof).await,
        };
        let result = match possession {
            Possession::Proven => "proven",
            Possession::Refused(fault) => fault.code(),
            Possession::Unknown => "unknown",
        };
        metrics().key_proofs.with_label_values(&[result]).inc();
        possession
    }

    fn judge(
        &self,
        question: &Question<'_>,
        arrival: &Arrival<'_>,
        subject: &Subject,
        presented: &KeyBound,
    ) -> Result<KeyProof, DpopFault> {
        let text = match &presented.proof {
            ShownProof::Missing => return Err(DpopFault::Missing),
            ShownProof::Repeated => return Err(DpopFault::Repeated),
            ShownProof::One(value) => value.to_str().map_err(|_| DpopFault::Malformed)?,
        };
        let facts = question.facts;
        let path = facts.target.raw().split('?').next().unwrap_or_default();
        let asked = Asked {
            method: facts.method.as_str(),
            scheme: if facts.secure { "https" } else { "http" },
            host: facts.host.as_str(),
            port: facts.port,
            path,
            token: presented.token.as_str(),
            now: arrival.now,
        };
        let proof = KeyProof::verify(text, &asked)?;
        if !subject.bound_key.is_some_and(|key| key.matches(&proof.thumbprint)) {
            return Err(DpopFault::WrongKey);
        }
        let issuer = question.policy.issuers.get(subject.issuer_index);
        let needed = issuer.map(|issuer| issuer.dpop).unwrap_or_default().needs_nonce;
        let accepts = |nonce: &str| self.nonces.as_ref().is_some_and(|own| own.accepts(nonce, arrival.now));
        match &proof.nonce {
            Some(nonce) if accepts(nonce) => Ok(proof),
            None if !needed => Ok(proof),
            _ => Err(DpopFault::NonceNeeded),
        }
    }

    async fn spend_proof(&self, proof: &KeyProof) -> Possession {
        // However far ahead the caller's clock is, this moment has passed when the proof is first shown: so a store that
        // lost its memory since then takes none of the proofs it may have seen.
        let moment = proof.issued_at.saturating_sub(MAX_AHEAD);
        let key = ProofKey::new(&["dpop", &proof.thumbprint.to_string(), &proof.id], moment);
        match self.state.consume(&key, REMEMBER).await {
            Consumed::Done(_) => Possession::Proven,
            Consumed::Already => Possession::Refused(DpopFault::Replayed),
            Consumed::Unknown => Possession::Unknown,
        }
    }
}
