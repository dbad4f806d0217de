//! What was granted: kept under its number, under the person and patient, and in one of the patient's own places.

use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};

use crate::audit::pseudonym::Kind;
use crate::decision::{Delegated, Evidence, Identity, Lookup, Question, patient, who_acts};
use crate::enforce::Gate;
use crate::enforce::ports::{Consumed, PRIVATE, RevocationClaim, RevocationKey};
use crate::enforce::register;
use crate::state::spent::ProofKey;

/// What is over is kept so long for those who look back.
const KEPT_AFTER: Duration = Duration::from_secs(30 * 24 * 3_600);
/// So many people may act for one patient at a time.
const PLACES: u32 = 32;
/// So many of a patient's places are looked at at a time.
const PLACES_AT_A_TIME: usize = 16;

/// A grant, as it lies in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// By what it is known: its day and number.
    pub id: Box<str>,
    /// The relation's name.
    pub relation: Box<str>,
    /// The configured name of the issuer that vouches for the person.
    pub issuer: Box<str>,
    /// The issuer's name for the person who acts.
    pub person: Box<str>,
    /// What the patient calls them, for the patient's own page.
    #[serde(default)]
    pub name: Option<Box<str>>,
    /// Whose record.
    pub patient: Box<str>,
    /// The actions that it was narrowed to; all of the relation's, where there are none.
    pub actions: Vec<Box<str>>,
    /// When, in Unix seconds.
    pub granted: i64,
    /// Until when, in Unix seconds.
    pub until: i64,
    /// When somebody must have looked at it again, in Unix seconds.
    pub review_due: i64,
}

fn entry_place(id: &str) -> String {
    format!("delegation:entry:{id}")
}

/// Where a person's grant for a patient lies; lengths keep the parts apart.
fn held_place(issuer: &str, person: &str, patient: &str) -> String {
    format!("{PRIVATE}delegation:held:{}:{issuer}:{}:{person}:{patient}", issuer.len(), person.len())
}

fn patient_place(patient: &str, number: u32) -> String {
    format!("{PRIVATE}delegation:of:{number}:{patient}")
}

/// The name under which it is ended: what lies in a store whose servers change may come back, what was revoked does not.
fn ended_name(id: &str) -> String {
    format!("delegation:{id}")
}

impl Gate {
    /// By what the caller acts for the patient whom a request is about.
    pub(in crate::enforce) async fn delegated(
        &self,
        question: &Question<'_>,
        evidence: &Evidence,
    ) -> Lookup<Delegated> {
        let Some(Identity::Known(subject)) = &evidence.identity else { return Lookup::Absent };
        let (Some(person), Some(patient)) = (who_acts(subject), patient(question, evidence)) else {
            return Lookup::Absent;
        };
        match self.held(&subject.issuer, person, &patient).await {
            Ok(Some(grant)) => {
                let Grant {
                    id, relation, issuer, person, patient, actions, granted, until, review_due, ..
                } = grant;
                Lookup::Found(Delegated {
                    id,
                    relation,
                    issuer,
                    person,
                    patient,
                    actions,
                    granted,
                    until,
                    review_due,
                })
            }
            Ok(None) => Lookup::Absent,
            Err(()) => Lookup::Unavailable,
        }
    }

    /// What this person holds for this patient, unless it was ended.
    pub(super) async fn held(&self, issuer: &str, person: &str, patient: &str) -> Result<Option<Grant>, ()> {
        self.unless_ended(&held_place(issuer, person, patient)).await
    }

    async fn unless_ended(&self, place: &str) -> Result<Option<Grant>, ()> {
        let Some(grant) = self.kept_grant(place).await? else { return Ok(None) };
        Ok(if self.is_ended(&grant).await? { None } else { Some(grant) })
    }

    async fn kept_grant(&self, place: &str) -> Result<Option<Grant>, ()> {
        match self.state.peek(place).await {
            // What can't be read grants nothing.
            Lookup::Found(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Lookup::Absent => Ok(None),
            Lookup::Unavailable => Err(()),
        }
    }

    /// Whether somebody has ended it.
    ///
    /// # Errors
    /// The store does not answer.
    #[allow(clippy::result_unit_err, reason = "there is one way to fail, and the store has told of it")]
    pub async fn is_ended(&self, grant: &Grant) -> Result<bool, ()> {
        let name = ended_name(&grant.id);
        let key = RevocationKey { issuer: &grant.issuer, claim: RevocationClaim::TokenId, value: &name };
        match self.state.not_before(&[key]).await {
            Lookup::Absent => Ok(false),
            Lookup::Found(_) => Ok(true),
            Lookup::Unavailable => Err(()),
        }
    }

    /// A grant by its number, whatever became of it.
    pub(super) async fn grant_of(&self, id: &str) -> Result<Option<Grant>, ()> {
        self.kept_grant(&entry_place(id)).await
    }

    /// What was granted in the last days, the newest day first, whatever became of it.
    ///
    /// # Errors
    /// The store does not answer.
    #[allow(clippy::result_unit_err, reason = "there is one way to fail, and the store has told of it")]
    pub async fn grants(&self, now: i64, days: i32) -> Result<Vec<Grant>, ()> {
        register::last_days(now, days, &|id| Box::pin(async move { self.grant_of(&id).await })).await
    }

    /// Who may act for a patient now, or could again after a review.
    pub(super) async fn grants_for(&self, patient: &str, now: i64) -> Result<Vec<Grant>, ()> {
        let places = (0..PLACES).map(|number| async move {
            let Some(grant) = self.unless_ended(&patient_place(patient, number)).await? else {
                return Ok::<_, ()>(None);
            };
            // A review is kept under the number.
            Ok(self.grant_of(&grant.id).await?.filter(|grant| now < grant.until))
        });
        let found: Vec<Option<Grant>> = stream::iter(places).buffered(PLACES_AT_A_TIME).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Keeps a new grant everywhere; says whether the store has all of it.
    pub(super) async fn keep_grant(&self, grant: &Grant, now: i64) -> bool {
        self.keep_for_patient(grant, now).await && self.keep_reviewed(grant, now).await
    }

    /// Keeps a grant under its number and for its holder; says whether the store has both.
    pub(super) async fn keep_reviewed(&self, grant: &Grant, now: i64) -> bool {
        let Ok(bytes) = serde_json::to_vec(grant) else { return false };
        let lasts = left(grant, now);
        let held = held_place(&grant.issuer, &grant.person, &grant.patient);
        self.state.seal(&entry_place(&grant.id), &bytes, lasts + KEPT_AFTER).await == Lookup::Found(())
            && self.state.seal(&held, &bytes, lasts).await == Lookup::Found(())
    }

    /// Takes one of the patient's own places, so that they can see it. Two gateways may try for the same place at the same
    /// time: each grant that lies there has one successor only, as a proof is spent once.
    async fn keep_for_patient(&self, grant: &Grant, now: i64) -> bool {
        let Ok(bytes) = serde_json::to_vec(grant) else { return false };
        let (patient, lasts) = (self.pseudonyms.of(Kind::Patient, "", &grant.patient), left(grant, now));
        for number in 0..PLACES {
            let place = patient_place(&grant.patient, number);
            let Ok(before) = self.kept_grant(&place).await else { return false };
            if let Some(before) = &before {
                match self.is_ended(before).await {
                    Ok(false) if now < before.until => continue,
                    Ok(_) => {}
                    Err(()) => return false,
                }
            }
            let before = before.as_ref().map_or("", |before| &*before.id);
            let turn = ProofKey::new(&["delegation_place", &patient, &number.to_string(), before], i64::MAX);
            match self.state.consume(&turn, lasts).await {
                Consumed::Done(_) => {
                    return self.state.seal(&place, &bytes, lasts).await == Lookup::Found(());
                }
                Consumed::Already => {}
                Consumed::Unknown => return false,
            }
        }
        false
    }

    /// Ends it at every gateway; says whether the store has that.
    pub(super) async fn end_grant(&self, grant: &Grant, now: i64) -> bool {
        let name = ended_name(&grant.id);
        let key = RevocationKey { issuer: &grant.issuer, claim: RevocationClaim::TokenId, value: &name };
        let remember = left(grant, now) + KEPT_AFTER;
        if self.state.revoke(&key, now.saturating_add(1), remember).await != Lookup::Found(()) {
            return false;
        }
        // Whatever stays there grants nothing from now on.
        let _ = self.state.unseal(&held_place(&grant.issuer, &grant.person, &grant.patient)).await;
        true
    }
}

/// How long a grant still holds.
fn left(grant: &Grant, now: i64) -> Duration {
    Duration::from_secs(u64::try_from(grant.until.saturating_sub(now)).unwrap_or(0).max(1))
}
