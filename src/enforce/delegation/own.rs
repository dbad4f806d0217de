//! Patients see who acts for them, and end it.

use std::sync::Arc;

use super::grants::Grant;
use super::office::Ended;
use crate::audit::event::{DelegationEvent, Event};
use crate::audit::pseudonym::Kind;
use crate::decision::{Denial, Evidence, Identity, Reason, Revocation, is_patient};
use crate::enforce::gate::Arrival;
use crate::enforce::staff::Withheld;
use crate::enforce::{Gate, Generation};
use crate::identity::Subject;
use crate::policy::{Durability, Policy};
use crate::request::Facts;
use crate::request::credentials::Presented;
use crate::request::fetch::From;

/// What a patient wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own<'o> {
    /// To see who acts for them.
    See,
    /// To end the delegation of this name.
    End(&'o str),
}

impl Gate {
    /// Who acts for the caller, after what they want was done. A refusal is on record.
    ///
    /// # Errors
    /// Whoever asks is no patient with a token or session of their own, there is nothing of that name for them, or the store
    /// can't be used.
    pub async fn own_delegations(
        &self,
        generation: &Generation,
        arrival: &Arrival<'_>,
        facts: &Facts,
        wanted: Own<'_>,
    ) -> Result<Vec<Grant>, Denial> {
        let done = match self.limit_anybody(&generation.policy, None, facts) {
            Ok(()) => self.own(generation, arrival, facts, wanted).await,
            Err(denial) => Err(denial),
        };
        if let Err(denial) = &done {
            self.record_refused_visit(arrival, denial.reason).await;
        }
        done
    }

    async fn own(
        &self,
        generation: &Generation,
        arrival: &Arrival<'_>,
        facts: &Facts,
        wanted: Own<'_>,
    ) -> Result<Vec<Grant>, Denial> {
        // Browsers send a session's cookie whoever's page asks them to.
        let by_session = matches!(facts.presented, Presented::Session(_));
        if by_session && wanted != Own::See && facts.fetch.from != From::Own {
            return Err(Denial::new(Reason::CrossSite));
        }
        let mut evidence = Evidence::default();
        self.identify(generation, facts, arrival, &mut evidence).await;
        let subject = known(evidence.identity).map_err(Denial::new)?;
        self.limit_visitor(&generation.policy, &subject)?;
        match self.revocation(&subject).await {
            Revocation::Valid => {}
            Revocation::Revoked => return Err(Denial::new(Reason::TokenRevoked)),
            Revocation::Unknown => return Err(Denial::new(Reason::StoreUnavailable)),
        }
        let patient = own_patient(&generation.policy, &subject).ok_or(Denial::new(Reason::NoRelation))?;
        self.serve_patient(&subject, patient, arrival.now, wanted).await.map_err(Denial::new)
    }

    async fn serve_patient(
        &self,
        subject: &Subject,
        patient: &str,
        now: i64,
        wanted: Own<'_>,
    ) -> Result<Vec<Grant>, Reason> {
        let by = self.pseudonyms.of(Kind::Subject, &subject.issuer, &subject.id);
        if let Own::End(id) = wanted {
            let grant = self.grant_of(id).await.map_err(|()| Reason::StoreUnavailable)?;
            // Another's looks like one that is not there.
            let grant = grant.filter(|grant| *grant.patient == *patient).ok_or(Reason::NoRelation)?;
            let is_ended = self.is_ended(&grant).await.map_err(|()| Reason::StoreUnavailable)?;
            if !is_ended {
                self.end(grant, Ended::ByPatient(&by), now).await.map_err(|why| match why {
                    Withheld::Unavailable(_) => Reason::StoreUnavailable,
                    _ => Reason::NoRelation,
                })?;
            }
        }
        let name = self.pseudonyms.of(Kind::Patient, "", patient);
        let event = Event::Delegation(DelegationEvent {
            what: "shown",
            patient: Some(&name),
            by: Some(&by),
            result: Some("patient"),
            ..DelegationEvent::default()
        });
        self.journal.append(&event, Durability::Written).await.map_err(|_| Reason::AuditUnavailable)?;
        self.grants_for(patient, now).await.map_err(|()| Reason::StoreUnavailable)
    }
}

fn known(identity: Option<Identity>) -> Result<Arc<Subject>, Reason> {
    Err(match identity {
        Some(Identity::Known(subject)) => return Ok(subject),
        Some(Identity::Malformed(_)) => Reason::CredentialsMalformed,
        Some(Identity::Refused(fault)) => Reason::TokenRefused(fault),
        Some(Identity::Unavailable) => Reason::KeysUnavailable,
        Some(Identity::SessionUnavailable) => Reason::StoreUnavailable,
        Some(Identity::Nobody) | None => Reason::CredentialsMissing,
    })
}

/// The record that is the caller's own; a token may name a patient for another reason, such as the one whom a clinician
/// looks at. Somebody who acts for the patient has no say in who else does, and a token that is
/// bound to a key would have to be proven for this address.
fn own_patient<'s>(policy: &Policy, subject: &'s Subject) -> Option<&'s str> {
    let may = is_patient(policy, subject) && !subject.is_sender_constrained();
    subject.patient.as_deref().filter(|_| may)
}
