//! Delegation: people who act for patients, each with a grant of their own.
//!
//! It is asked about only where everything else in a rule fits and no rule without it allows the request: one look into the
//! store, for those who need it.

use super::Reason;
use super::evidence::{Evidence, Lookup, Need};
use super::outcome::{Denial, Findings};
use super::step::{Question, Stop};
use super::trace::{Stage, Trace};
use crate::identity::{Caller, Subject};
use crate::policy::delegation::Relation;

/// What was granted: to one person, for one patient's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegated {
    /// By what audit trail and reviewers know it.
    pub id: Box<str>,
    /// The relation's name.
    pub relation: Box<str>,
    /// The configured name of the issuer that vouches for the person.
    pub issuer: Box<str>,
    /// The issuer's name for the person who acts.
    pub person: Box<str>,
    /// Whose record.
    pub patient: Box<str>,
    /// The actions that it was narrowed to; all of the relation's, where there are none.
    pub actions: Vec<Box<str>>,
    /// When it was granted, in Unix seconds.
    pub granted: i64,
    /// Until when, in Unix seconds.
    pub until: i64,
    /// When somebody must have looked at it again, in Unix seconds: from then on it does not hold.
    pub review_due: i64,
}

impl Delegated {
    /// Whether it is this person's, about this patient, for this action, and not over.
    fn covers(&self, (issuer, person): (&str, &str), patient: &str, action: &str, now: i64) -> bool {
        *self.issuer == *issuer
            && *self.person == *person
            && *self.patient == *patient
            && (self.actions.is_empty() || self.actions.iter().any(|known| **known == *action))
            && now < self.until
    }
}

/// What a request was permitted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mandate {
    /// By what it is known.
    pub id: Box<str>,
    /// The relation's name.
    pub relation: Box<str>,
}

/// Who would act: the actor whom the token names (RFC 8693 §4.1), or else its subject. Machines act for nobody.
pub fn who_acts(subject: &Subject) -> Option<&str> {
    (subject.caller == Caller::Person).then(|| subject.actor.as_deref().unwrap_or(&subject.id))
}

/// Whether a grant is one of this relation, as that is configured now: what it was granted under may have been shortened.
fn fits(relation: &Relation, granted: &Delegated, subject: &Subject, now: i64) -> bool {
    let lasts = i64::try_from(relation.lasts.as_secs()).unwrap_or(i64::MAX);
    *relation.name == *granted.relation
        && relation.issuer == subject.issuer_index
        && now < granted.granted.saturating_add(lasts)
}

/// Looks at the rules that `findings` has left open for somebody who acts for the patient. Gives the refusal that stands
/// where there is no such grant.
pub(super) fn judge<T: Trace>(
    question: &Question<'_>,
    subject: &Subject,
    denial: Denial,
    (evidence, now): (&Evidence, i64),
    findings: &mut Findings,
    trace: &mut T,
) -> Result<Option<Denial>, Stop> {
    if findings.delegable.is_empty() {
        return Ok(Some(denial));
    }
    let (Some(person), Some(patient)) = (who_acts(subject), findings.patient.as_deref()) else {
        return Ok(Some(denial));
    };
    // It would stay open beyond the end of what was granted.
    if question.facts.websocket {
        trace.note(Stage::Authorize, || "nobody acts for a patient over a WebSocket".to_owned());
        return Ok(Some(denial));
    }
    // Who acts by a token of the patient's has it for that patient alone.
    if subject.actor.is_some() && subject.patient.as_deref() != Some(patient) {
        trace.note(Stage::Authorize, || "the token's actor acts for another patient than this".to_owned());
        return Ok(Some(Denial::new(Reason::NoRelation)));
    }
    let granted = match evidence.delegation.as_ref().ok_or(Stop::Need(Need::Delegation))? {
        Lookup::Unavailable => return Err(Reason::StoreUnavailable.into()),
        Lookup::Absent => None,
        Lookup::Found(granted) => {
            let who = (&*subject.issuer, person);
            Some(granted).filter(|granted| granted.covers(who, patient, &question.route.id, now))
        }
    };
    let Some(granted) = granted else {
        trace.note(Stage::Authorize, || {
            "nothing was granted by which the caller acts for the patient".to_owned()
        });
        return Ok(Some(denial));
    };
    let relations = &question.policy.delegations.relations;
    let rule = findings.delegable.iter().copied().find(|at| {
        let entry = question.route.any_of.get(*at);
        let named = entry.into_iter().flat_map(|entry| &entry.delegate).filter_map(|at| relations.get(*at));
        named.into_iter().any(|relation| fits(relation, granted, subject, now))
    });
    let Some(rule) = rule else {
        trace.note(Stage::Authorize, || {
            format!("as `{}` the caller may not do this for the patient", granted.relation)
        });
        return Ok(Some(denial));
    };
    if now >= granted.review_due {
        trace.note(Stage::Authorize, || "nobody has looked at the grant in time".to_owned());
        return Ok(Some(Denial::new(Reason::DelegationReviewDue)));
    }
    trace.note(Stage::Authorize, || {
        format!("any_of[{rule}]: hit, the caller acts for the patient as `{}`", granted.relation)
    });
    findings.rule = Some(rule);
    findings.mandate = Some(Box::new(Mandate { id: granted.id.clone(), relation: granted.relation.clone() }));
    Ok(None)
}
