//! What signals make of a request: they raise its tier, or refuse it. Nothing of theirs ever lowers one.

use super::evidence::{Evidence, Need};
use super::outcome::Findings;
use super::reason::AccessRefusal;
use super::step::{Question, Stop};
use super::trace::{Stage, Trace};
use crate::identity::Subject;
use crate::policy::TierIndex;
use crate::policy::signal::Effect;

/// The least tier that signals about this caller leave; `None` where they ask for nothing. Those that are only observed are
/// noted, and change nothing.
pub(super) fn least_tier<T: Trace>(
    question: &Question<'_>,
    evidence: &Evidence,
    subject: &Subject,
    findings: &mut Findings,
    trace: &mut T,
) -> Result<Option<TierIndex>, Stop> {
    let policy = question.policy;
    if !policy.signals.iter().any(|signal| signal.concerns(subject.issuer_index)) {
        return Ok(None);
    }
    let seen = evidence.signals.as_ref().ok_or(Stop::Need(Need::Signals))?;
    let (mut raised, mut is_denied) = (None, false);
    for (at, signal) in policy.signals.iter().enumerate() {
        if !signal.concerns(subject.issuer_index) {
            continue;
        }
        let fires = seen.get(at).copied().flatten();
        let counts = fires.unwrap_or(signal.fires_unknown);
        trace.note(Stage::Classify, || {
            let what = match fires {
                Some(true) => "fires",
                Some(false) => "is quiet",
                None if counts => "can't be told, which counts as fired",
                None => "can't be told, which is ignored",
            };
            let effect = match (counts, signal.is_enforced, signal.effect) {
                (false, ..) => String::new(),
                (true, false, _) => ": only observed".to_owned(),
                (true, true, Effect::Deny) => ": refused".to_owned(),
                (true, true, Effect::RaiseTo(tier)) => format!(": at least `{}`", policy.tier(tier).name),
            };
            format!("signal `{}` {what}{effect}", signal.name)
        });
        if !counts {
            continue;
        }
        findings.signals.push((signal.name.clone(), signal.is_enforced));
        match signal.effect {
            Effect::RaiseTo(least) if signal.is_enforced => raised = raised.max(Some(least)),
            Effect::Deny if signal.is_enforced => is_denied = true,
            Effect::RaiseTo(_) | Effect::Deny => {}
        }
    }
    if is_denied { Err(AccessRefusal::Signal.into()) } else { Ok(raised) }
}
