//! Whether the patient has agreed, where a route asks for that, once its own rules allow: it can only take away.
//!
//! It is asked before a policy decision point is, and before anybody is prompted: nobody gives proof for what the patient
//! does not want.

use super::evidence::{Evidence, Lookup, Need};
use super::outcome::{ConsentWord, Findings};
use super::reason::{AccessRefusal, Reason};
use super::step::{Question, Stop, is_high};
use super::trace::{Stage, Trace};
use crate::policy::TierIndex;
use crate::policy::access::WhenUnavailable;

/// Looks whether the patient consents, where the route asks for it. People need nobody's consent for their own record.
pub(super) fn check<T: Trace>(
    question: &Question<'_>,
    evidence: &Evidence,
    tier: TierIndex,
    findings: &mut Findings,
    trace: &mut T,
) -> Result<(), Stop> {
    let Question { policy, route, .. } = question;
    let Some(at) = route.consent else { return Ok(()) };
    let service = policy.consents.get(at);
    let name = service.map_or("", |service| &service.name);
    let mut note = |word: ConsentWord, text: &str| {
        findings.consent = Some(word);
        trace.note(Stage::Authorize, || format!("consent `{name}`: {text}"));
    };
    let entry = findings.rule.and_then(|at| route.any_of.get(at));
    // Where only the reply tells, it is looked at: it shows their own record or nothing.
    if findings.own_record == Some(true) || entry.is_some_and(|entry| entry.patient_self) {
        note(ConsentWord::Own, "it is the caller's own record");
        return Ok(());
    }
    if findings.patient.is_none() {
        note(ConsentWord::NotGiven, "the request does not say whose: refused");
        return Err(Reason::PatientUnresolved.into());
    }
    let need = Need::Consent { lowered: findings.lowered };
    match evidence.consent.as_ref().ok_or(Stop::Need(need))? {
        Lookup::Found(true) => {
            note(ConsentWord::Given, "the patient consents");
            Ok(())
        }
        Lookup::Found(false) => {
            note(ConsentWord::NotGiven, "the patient does not consent: refused");
            Err(AccessRefusal::ConsentNotGiven.into())
        }
        Lookup::Absent => {
            note(ConsentWord::NotUnderstood, "the answer is none that can be believed: refused");
            Err(AccessRefusal::ConsentAnswerRefused.into())
        }
        Lookup::Unavailable => {
            let allows = service.is_some_and(|service| service.when_unavailable == WhenUnavailable::Allow);
            if allows && !is_high(policy.tier(tier)) {
                note(ConsentWord::Unavailable, "no answer; `when_unavailable` allows it at this tier");
                return Ok(());
            }
            note(ConsentWord::Unavailable, "no answer: refused");
            Err(AccessRefusal::ConsentUnavailable.into())
        }
    }
}
