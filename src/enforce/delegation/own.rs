//! Patients see who acts for them, and end it.

use super::grants::Grant;
use super::office::Ended;
use crate::audit::event::{DelegationEvent, Event};
use crate::audit::pseudonym::Kind;
use crate::decision::{Denial, Evidence, Identity, Reason, Revocation};
use crate::enforce::gate::Arrival;
use crate::enforce::staff::Withheld;
use crate::enforce::{Gate, Generation};
use crate::identity::{Caller, Subject};
use crate::policy::Durability;
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
            Ok(()) => self.own(generation, arrival, facts, wanted).await.map_err(Denial::new),
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
    ) -> Result<Vec<Grant>, Reason> {
        // Browsers send a session's cookie whoever's page asks them to.
        let by_session = matches!(facts.presented, Presented::Session(_));
        if by_session && wanted != Own::See && facts.fetch.from != From::Own {
            return Err(Reason::CrossSite);
        }
        let mut evidence = Evidence::default();
        self.identify(generation, facts, arrival, &mut evidence).await;
        let subject = match evidence.identity {
            Some(Identity::Known(subject)) => subject,
            Some(Identity::Malformed(_)) => return Err(Reason::CredentialsMalformed),
            Some(Identity::Refused(fault)) => return Err(Reason::TokenRefused(fault)),
            Some(Identity::Unavailable) => return Err(Reason::KeysUnavailable),
            Some(Identity::SessionUnavailable) => return Err(Reason::StoreUnavailable),
            Some(Identity::Nobody) | None => return Err(Reason::CredentialsMissing),
        };
        match self.revocation(&subject).await {
            Revocation::Valid => {}
            Revocation::Revoked => return Err(Reason::TokenRevoked),
            Revocation::Unknown => return Err(Reason::StoreUnavailable),
        }
        let patient = own_patient(&subject).ok_or(Reason::NoRelation)?;
        if let Own::End(id) = wanted {
            let grant = self.grant_of(id).await.map_err(|()| Reason::StoreUnavailable)?;
            // Another's looks like one that is not there.
            let grant = grant.filter(|grant| *grant.patient == *patient).ok_or(Reason::NoRelation)?;
            let is_ended = self.is_ended(&grant).await.map_err(|()| Reason::StoreUnavailable)?;
            if !is_ended {
                self.end(grant, Ended::ByPatient, arrival.now).await.map_err(|why| match why {
                    Withheld::Unavailable(_) => Reason::StoreUnavailable,
                    _ => Reason::NoRelation,
                })?;
            }
        }
        let name = self.pseudonyms.of(Kind::Patient, "", patient);
        let event = Event::Delegation(DelegationEvent {
            what: "shown",
            patient: Some(&name),
            result: Some("patient"),
            ..DelegationEvent::default()
        });
        self.journal.append(&event, Durability::Written).await.map_err(|_| Reason::AuditUnavailable)?;
        self.grants_for(patient, arrival.now).await.map_err(|()| Reason::StoreUnavailable)
    }
}

/// The record that is the caller's own. Somebody who acts for the patient has no say in who else does, and a token that is
/// bound to a key would have to be proven for this address.
fn own_patient(subject: &Subject) -> Option<&str> {
    let is_themselves = subject.caller == Caller::Person && subject.actor.is_none();
    subject.patient.as_deref().filter(|_| is_themselves && !subject.is_sender_constrained())
}
