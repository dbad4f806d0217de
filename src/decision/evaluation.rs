//! What a policy decision point outside says, once the route's own rules allow: it can only take away.
//!
//! It is asked last before the proof is looked at: nobody is prompted for what it refuses, and it does not hear of what is
//! refused anyway.

use super::assure;
use super::evidence::{Evaluation, Evidence, Lookup, Need, StepUpHint};
use super::outcome::{Findings, PdpWord};
use super::reason::AccessRefusal;
use super::step::{Question, Stop, is_high};
use super::trace::{Stage, Trace};
use crate::identity::{Level, Subject};
use crate::policy::access::WhenUnavailable;
use crate::policy::{Policy, TierIndex};

/// Asks the route's policy decision point, where it has one. `now` is in Unix seconds.
pub(super) fn check<T: Trace>(
    question: &Question<'_>,
    evidence: &Evidence,
    tier: TierIndex,
    (subject, now): (&Subject, i64),
    findings: &mut Findings,
    trace: &mut T,
) -> Result<(), Stop> {
    let Question { policy, route, .. } = question;
    let Some(at) = route.pdp else { return Ok(()) };
    let need = Need::Evaluation { tier, lowered: findings.lowered };
    let answer = evidence.evaluation.as_ref().ok_or(Stop::Need(need))?;
    let pdp = policy.pdps.get(at);
    let name = pdp.map_or("", |pdp| &pdp.name);
    let mut note = |word: PdpWord, text: &str| {
        findings.pdp = Some(word);
        trace.note(Stage::Authorize, || format!("pdp `{name}`: {text}"));
    };
    match answer {
        Lookup::Found(Evaluation::Permitted) => {
            note(PdpWord::Permit, "permitted");
            Ok(())
        }
        Lookup::Found(Evaluation::Denied) => {
            note(PdpWord::Deny, "denied");
            Err(AccessRefusal::PdpDenied.into())
        }
        Lookup::Found(Evaluation::NotUnderstood) => {
            note(PdpWord::NotUnderstood, "the answer is none that can be carried out: refused");
            Err(AccessRefusal::PdpAnswerRefused.into())
        }
        Lookup::Found(Evaluation::StepUp(hint)) => {
            let raised = raised(policy, subject, tier, hint);
            note(
                PdpWord::StepUp,
                match raised {
                    Some(_) => "denied, unless there is stronger proof",
                    None => "denied, unless there is proof that no tier asks for: refused",
                },
            );
            let raised = raised.ok_or(Stop::from(AccessRefusal::PdpDenied))?;
            findings.tier = Some(raised);
            let requirement = policy.requirement(route, raised);
            let unmet = requirement.unmet(subject, now);
            // It has all it asks for and says no; or it would never hear of the proof, which is given for one action only.
            if unmet.is_empty() || assure::binds_single_use(question, subject, raised) {
                return Err(AccessRefusal::PdpDenied.into());
            }
            Err(assure::challenge(question, evidence, requirement, raised, subject, unmet))
        }
        Lookup::Absent | Lookup::Unavailable => {
            let allows = pdp.is_some_and(|pdp| pdp.when_unavailable == WhenUnavailable::Allow);
            if allows && !is_high(policy.tier(tier)) {
                note(PdpWord::Unavailable, "no answer; `when_unavailable` allows it at this tier");
                return Ok(());
            }
            note(PdpWord::Unavailable, "no answer: refused");
            Err(AccessRefusal::PdpUnavailable.into())
        }
    }
}

/// The lowest tier from this one on that asks for as much as the hint does; it never leads down. `None` where nobody here
/// can be asked for that.
fn raised(policy: &Policy, subject: &Subject, tier: TierIndex, hint: &StepUpHint) -> Option<TierIndex> {
    let level = if hint.acr_values.is_empty() {
        Level::NONE
    } else {
        let issuer = policy.issuers.get(subject.issuer_index)?;
        let known = hint.acr_values.iter().map(|acr| issuer.assurance.level(Some(acr), &[]));
        known.filter(|level| *level > Level::NONE).min()?
    };
    let covers = |position: &usize| {
        policy.tiers.get(*position).is_some_and(|tier| {
            let is_fresh = hint.max_age.is_none_or(|wanted| tier.max_age.is_some_and(|most| most <= wanted));
            tier.assurance >= level && is_fresh
        })
    };
    let found = (tier.position()..policy.tiers.len()).find(covers)?;
    u8::try_from(found).ok().map(TierIndex)
}
