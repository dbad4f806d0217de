//! What would come of a request at the tier that its route tries out: from the same evidence, without looking for more.

use super::evidence::Evidence;
use super::outcome::{Candidate, Findings};
use super::step::{Question, Step, step};
use super::trace::Silent;

/// Decides once more, beside the decision that counts. Nothing outside can tell that it did.
pub fn try_out(question: &Question<'_>, evidence: &Evidence, now: i64) -> Option<Candidate> {
    let route = question.route.candidate.as_deref()?;
    Some(match step(&Question { route, ..*question }, evidence, now, &mut Silent) {
        Step::Decided(decision, Findings { tier, .. }) => {
            Candidate { tier: tier.unwrap_or(route.tier), verdict: decision.verdict() }
        }
        Step::Need(_) => Candidate { tier: route.tier, verdict: "open" },
    })
}
