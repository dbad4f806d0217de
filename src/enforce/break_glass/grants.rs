//! What is open: one place in the store for each person and patient.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audit::event::{BreakGlassEvent, Event};
use crate::audit::pseudonym::Kind;
use crate::decision::{Evidence, Identity, Lookup, Opened, Question, patient};
use crate::enforce::Gate;
use crate::enforce::ports::{PRIVATE, RevocationClaim, RevocationKey};
use crate::enforce::settle::Context;
use crate::identity::Subject;
use crate::policy::Durability;

/// What ended is remembered for longer than anything is open.
const REMEMBER_ENDED: Duration = Duration::from_secs(24 * 3_600);

/// [`Opened`] as it lies in the store.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: Box<str>,
    right: Box<str>,
    issuer: Box<str>,
    subject: Box<str>,
    patient: Box<str>,
    /// Something of a version that did not say so counts as opened before every revocation.
    #[serde(default)]
    opened: i64,
    until: i64,
    #[serde(default)]
    drill: bool,
}

/// Where it lies; lengths keep the parts apart.
fn place(issuer: &str, subject: &str, patient: &str) -> String {
    format!("{PRIVATE}break-glass:open:{}:{issuer}:{}:{subject}:{patient}", issuer.len(), subject.len())
}

/// The name under which it is ended: what lies in a store whose servers change may come back, what was revoked does not.
fn ended_name(id: &str) -> String {
    format!("break-glass:{id}")
}

impl Gate {
    /// What the caller has opened of the patient's record that a request is about.
    pub(in crate::enforce) async fn opened(
        &self,
        question: &Question<'_>,
        evidence: &Evidence,
    ) -> Lookup<Opened> {
        let Some(Identity::Known(subject)) = &evidence.identity else { return Lookup::Absent };
        let Some(patient) = patient(question, evidence) else { return Lookup::Absent };
        self.opened_by(subject, &patient).await
    }

    async fn opened_by(&self, subject: &Subject, patient: &str) -> Lookup<Opened> {
        let bytes = match self.state.peek(&place(&subject.issuer, &subject.id, patient)).await {
            Lookup::Found(bytes) => bytes,
            Lookup::Absent => return Lookup::Absent,
            Lookup::Unavailable => return Lookup::Unavailable,
        };
        // What can't be read opens nothing, and is put right by opening it anew.
        let Ok(kept) = serde_json::from_slice::<Kept>(&bytes) else { return Lookup::Absent };
        let name = ended_name(&kept.id);
        let key = |claim, value| RevocationKey { issuer: &kept.issuer, claim, value };
        // Who signs in anew after a revocation has to say anew why.
        let keys = [key(RevocationClaim::TokenId, &*name), key(RevocationClaim::Subject, &*kept.subject)];
        match self.state.not_before(&keys).await {
            Lookup::Found(moment) if kept.opened < moment => return Lookup::Absent,
            Lookup::Absent | Lookup::Found(_) => {}
            Lookup::Unavailable => return Lookup::Unavailable,
        }
        let Kept { id, right, issuer, subject, patient, until, drill, .. } = kept;
        Lookup::Found(Opened { id, right, issuer, subject, patient, until, drill })
    }

    /// Opens it at `now`, in Unix seconds; says whether the store has it.
    pub(super) async fn keep_open(&self, opened: &Opened, now: i64, lasts: Duration) -> bool {
        let Opened { id, right, issuer, subject, patient, until, drill } = opened.clone();
        let place = place(&issuer, &subject, &patient);
        let Ok(bytes) =
            serde_json::to_vec(&Kept { id, right, issuer, subject, patient, opened: now, until, drill })
        else {
            return false;
        };
        self.state.seal(&place, &bytes, lasts).await == Lookup::Found(())
    }

    /// Ends it at every gateway; says whether the store has that.
    pub(super) async fn close_opened(&self, id: &str, issuer: &str, now: i64) -> bool {
        let name = ended_name(id);
        let key = RevocationKey { issuer, claim: RevocationClaim::TokenId, value: &name };
        self.state.revoke(&key, now.saturating_add(1), REMEMBER_ENDED).await == Lookup::Found(())
    }

    /// Records that a request goes on because the glass was broken; says whether that worked.
    pub(in crate::enforce) async fn record_glass_used(&self, context: &Context<'_>) -> bool {
        let (question, findings) = (&context.question, context.findings);
        let right = question.route.break_glass.and_then(|at| question.policy.break_glass.get(at));
        let Some(Identity::Known(subject)) = &context.evidence.identity else { return false };
        let Some(Lookup::Found(opened)) = &context.evidence.break_glass else { return false };
        let right = right.map_or("", |right| &right.name);
        let patient =
            findings.patient.as_deref().map(|patient| self.pseudonyms.of(Kind::Patient, "", patient));
        let event = Event::BreakGlass(BreakGlassEvent {
            decision: context.arrival.id,
            what: "used",
            glass: &opened.id,
            right,
            action: Some(&question.route.id),
            subject: Some(&self.pseudonyms.of(Kind::Subject, &subject.issuer, &subject.id)),
            patient: patient.as_deref(),
            ..BreakGlassEvent::default()
        });
        super::count(right, "used");
        self.journal.append(&event, Durability::Written).await.is_ok()
    }
}
