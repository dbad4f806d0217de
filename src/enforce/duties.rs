//! Separation of duties at work: who holds which half of a pair is in the state store.

use std::collections::HashSet;

use super::gate::Gate;
use super::ports::PRIVATE;
use crate::decision::{Claims, Evidence, Identity, Lookup, Permit, Question, claims, patient};
use crate::telemetry::metrics;

/// That what a permit claims is claimed. Only this module makes one.
#[derive(Debug)]
pub struct Claimed {
    keys: HashSet<Box<str>>,
}

impl Claimed {
    /// Whether it is all that a permit claims.
    pub(super) fn covers(&self, permit: &Permit) -> bool {
        permit.claims().iter().all(|claim| self.keys.contains(&claim.key))
    }
}

/// What came of an attempt to claim.
pub(super) enum Attempt {
    /// It is claimed.
    Done(Claimed),
    /// The same person holds the other half.
    Other,
    /// Nobody can tell.
    Unknown,
}

fn place(key: &str) -> String {
    format!("{PRIVATE}{key}")
}

impl Gate {
    /// Whether the caller has done the other half of one of the route's pairs.
    pub(super) async fn other_duty(&self, question: &Question<'_>, evidence: &Evidence) -> Lookup<bool> {
        let Some(Identity::Known(subject)) = &evidence.identity else { return Lookup::Unavailable };
        let patient = patient(question, evidence);
        let Ok(claims) = claims(question, subject, patient.as_deref()) else { return Lookup::Unavailable };
        for claim in &claims {
            match self.state.held(&place(&claim.key)).await {
                Lookup::Found(half) if half != claim.half => return Lookup::Found(true),
                Lookup::Found(_) | Lookup::Absent => {}
                Lookup::Unavailable => return Lookup::Unavailable,
            }
        }
        Lookup::Found(false)
    }

    /// Claims what a permitted request does, for the one who does it. A claim stays, whatever becomes of the request: nobody
    /// can tell whether what was sent took effect.
    pub(super) async fn claim(&self, claims: &Claims) -> Attempt {
        let mut keys = HashSet::new();
        for claim in claims {
            let count = |result| metrics().duties.with_label_values(&[result]).inc();
            match self.state.hold(&place(&claim.key), &claim.half, claim.keep).await {
                Lookup::Found(half) if half == claim.half => {
                    count("claimed");
                    keys.insert(claim.key.clone());
                }
                Lookup::Found(_) => {
                    count("other");
                    return Attempt::Other;
                }
                Lookup::Absent | Lookup::Unavailable => {
                    count("unknown");
                    return Attempt::Unknown;
                }
            }
        }
        Attempt::Done(Claimed { keys })
    }
}
