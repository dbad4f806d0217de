//! Breaking the glass: a named refusal that somebody with the right to do so gets beyond, for one patient and a short time.
//!
//! It comes last among the rules. Whatever else refuses has done so before, or does after: revocation, deny rules, a patient
//! that is not named, scopes, the tier's own demand.

use super::evidence::{Evidence, Lookup, Need};
use super::outcome::{Challenge, Denial, Findings, Offer};
use super::step::{Question, Stop};
use super::trace::{Stage, Trace};
use super::{Reason, assure, fhir};
use crate::identity::{Caller, Subject};
use crate::policy::break_glass::{BreakGlass, Override};
use crate::policy::requirement::Unmet;
use crate::request::fhir::Interaction;

/// What somebody has opened: one patient's record, for themselves, until a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// By what audit trail and reviewers know it.
    pub id: Box<str>,
    /// The right's name.
    pub right: Box<str>,
    /// The issuer's configured name.
    pub issuer: Box<str>,
    /// The issuer's name for the person.
    pub subject: Box<str>,
    /// Whose record.
    pub patient: Box<str>,
    /// Until when, in Unix seconds.
    pub until: i64,
    /// Whether it was a drill, which opens nothing.
    pub drill: bool,
}

impl Opened {
    /// Whether it is this person's, about this patient, by this right, and not over.
    fn covers(&self, right: &BreakGlass, subject: &Subject, patient: &str, now: i64) -> bool {
        self.right == right.name
            && *self.issuer == *subject.issuer
            && self.subject == subject.id
            && *self.patient == *patient
            && now < self.until
    }
}

/// How it stands with the glass before a request that the rules refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glass {
    /// The caller may break it.
    Offered,
    /// The caller has, in a drill.
    Drill,
    /// The caller has.
    Broken,
}

impl Glass {
    /// The word in audit records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Drill => "drill",
            Self::Broken => "broken",
        }
    }
}

/// The right by which this caller could get beyond this refusal, where there is one.
pub(super) fn right<'q>(
    question: &Question<'q>,
    subject: &Subject,
    reason: Reason,
) -> Option<&'q BreakGlass> {
    let right = question.policy.break_glass.get(question.route.break_glass?)?;
    let refusal = match reason {
        Reason::NoRelation | Reason::DelegationReviewDue => Override::NoRelation,
        Reason::RoleMissing => Override::RoleMissing,
        Reason::ConditionNotMet => Override::ConditionNotMet,
        _ => return None,
    };
    let has_it = subject.caller == Caller::Person
        && subject.actor.is_none()
        && subject.issuer_index == right.issuer
        && right.roles.iter().any(|role| subject.roles.contains(role));
    (has_it && right.overrides.contains(&refusal) && is_in_reach(question, right)).then_some(right)
}

/// Reading, unless the right is good for more; never a channel that stays open, and on FHIR services never an operation: one
/// of them gives everybody's record, and what others do only their authors know.
fn is_in_reach(question: &Question<'_>, right: &BreakGlass) -> bool {
    let facts = question.facts;
    if facts.websocket || facts.method_override {
        return false;
    }
    if question.route.fhir.is_none() {
        return right.writes || facts.method.is_safe();
    }
    match fhir::interaction(question) {
        Some(
            Interaction::Read
            | Interaction::Vread
            | Interaction::HistoryInstance
            | Interaction::SearchType
            | Interaction::SearchCompartment,
        ) => true,
        Some(Interaction::Create | Interaction::Update | Interaction::Patch | Interaction::Delete) => {
            right.writes
        }
        _ => false,
    }
}

/// Gets beyond a refusal of the rules, where the caller has opened this patient's record.
pub(super) fn judge<T: Trace>(
    question: &Question<'_>,
    subject: &Subject,
    denial: Denial,
    (evidence, now): (&Evidence, i64),
    findings: &mut Findings,
    trace: &mut T,
) -> Result<Reason, Stop> {
    let Some(right) = right(question, subject, denial.reason) else { return Err(denial.into()) };
    let Some(patient) = findings.patient.as_deref() else { return Err(denial.into()) };
    let opened = match evidence.break_glass.as_ref().ok_or(Stop::Need(Need::BreakGlass))? {
        Lookup::Unavailable => return Err(Reason::StoreUnavailable.into()),
        Lookup::Absent => None,
        Lookup::Found(opened) => Some(opened).filter(|opened| opened.covers(right, subject, patient, now)),
    };
    match opened {
        Some(opened) if !opened.drill && !right.drill => {
            trace.note(Stage::Authorize, || format!("the glass was broken by right `{}`", right.name));
            findings.break_glass = Some(Glass::Broken);
            Ok(Reason::GlassBroken)
        }
        Some(_) => {
            trace
                .note(Stage::Authorize, || "the glass was broken in a drill, which opens nothing".to_owned());
            findings.break_glass = Some(Glass::Drill);
            Err(denial.into())
        }
        None => {
            trace.note(Stage::Authorize, || {
                format!("the caller may break the glass by right `{}`", right.name)
            });
            findings.break_glass = Some(Glass::Offered);
            let offer = Offer { reason_codes: right.reason_codes.clone(), text_min: right.text_min };
            Err(Denial { break_glass: Some(Box::new(offer)), ..denial }.into())
        }
    }
}

/// What is missing of the proof that a right asks for before it is used; nothing where it is there. `now` is in Unix seconds.
pub fn unproven(
    question: &Question<'_>,
    right: &BreakGlass,
    subject: &Subject,
    now: i64,
) -> Option<Challenge> {
    let mut unmet = smallvec::SmallVec::<[Unmet; 3]>::new();
    if subject.level < right.assurance {
        unmet.push(Unmet::Level);
    }
    // A moment still to come is no proof that somebody is here.
    if subject.age(now).is_none_or(|age| !(0..=right.max_age).contains(&age)) {
        unmet.push(Unmet::Age);
    }
    let first = *unmet.first()?;
    Some(Challenge {
        reason: Reason::StepUpRequired(first),
        unmet,
        acr_values: assure::words_for(question.policy, subject, right.assurance),
        max_age: Some(right.max_age),
        tier: question.route.tier,
        account: None,
        action: None,
    })
}
