//! How risky the action is: the base tier, then what raises it, and the one thing that lowers it.

use super::content;
use super::evidence::BodyReading;
use super::outcome::{ConditionPlace, Findings};
use super::step::Question;
use super::trace::{Stage, Trace};
use crate::policy::TierIndex;
use crate::policy::condition::Inputs;

/// Finds the effective tier and notes it in `findings`.
pub fn classify<'i, T: Trace>(
    question: &Question<'_>,
    body: &BodyReading,
    inputs: &dyn Fn() -> Result<&'i Inputs, String>,
    findings: &mut Findings,
    trace: &mut T,
) -> TierIndex {
    let Question { policy, route, .. } = question;
    let mut tier = base(question, body, findings, trace);
    for (at, refine) in route.refine.iter().enumerate() {
        let holds = inputs().and_then(|inputs| refine.when.holds(inputs));
        findings.conditions.push((ConditionPlace::Refine(at), holds.as_ref().ok().copied()));
        match holds {
            Ok(false) => trace
                .note(Stage::Classify, || format!("refine[{at}] `{}` does not hold", refine.when.source())),
            Ok(true) => {
                tier = tier.max(refine.tier);
                trace.note(Stage::Classify, || {
                    format!(
                        "refine[{at}] `{}` holds: at least `{}`",
                        refine.when.source(),
                        policy.tier(refine.tier).name
                    )
                });
            }
            Err(why) => {
                tier = tier.max(refine.tier);
                trace.note(Stage::Classify, || {
                    format!(
                        "refine[{at}] `{}` failed ({why}), which counts as yes: at least `{}`",
                        refine.when.source(),
                        policy.tier(refine.tier).name
                    )
                });
            }
        }
    }
    findings.tier = Some(tier);
    trace.note(Stage::Classify, || format!("the action's tier is `{}`", policy.tier(tier).name));
    tier
}

fn base<T: Trace>(
    question: &Question<'_>,
    body: &BodyReading,
    findings: &mut Findings,
    trace: &mut T,
) -> TierIndex {
    let Question { policy, route, facts, .. } = question;
    trace.note(Stage::Classify, || format!("the route's base tier is `{}`", policy.tier(route.tier).name));
    if matches!(body, BodyReading::Unreadable | BodyReading::Searched { .. }) && route.needs_body() {
        trace.note(Stage::Classify, || "the body can't be read: the route's highest tier counts".to_owned());
        return route.highest_tier();
    }
    let Some(lower) = &route.lower_risk else {
        return route.tier;
    };
    let only_harmless = match body {
        // Many frameworks merge the query into the fields of the body.
        _ if !facts.target.query().is_empty() => false,
        BodyReading::Read(_) => content::changes(question, body).only(&lower.fields),
        BodyReading::Absent | BodyReading::Searched { .. } | BodyReading::Unreadable => false,
    };
    if only_harmless {
        findings.lowered = true;
        trace.note(Stage::Classify, || {
            format!(
                "the body has no field beside {:?}: `{}` counts as `{}`",
                lower.fields,
                lower.id,
                policy.tier(lower.tier).name
            )
        });
        lower.tier
    } else {
        trace.note(Stage::Classify, || {
            format!("body and query are not proven to have only {:?}", lower.fields)
        });
        route.tier
    }
}
