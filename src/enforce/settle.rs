//! After the decision: record the intent, spend the proof, and only then admit.

use std::time::Duration;

use super::duties::Attempt;
use super::gate::{Arrival, Gate, Outcome};
use super::ports::Consumed;
use super::record::OpenIntent;
use super::{Admission, Ending};
use crate::decision::reason::AccessRefusal;
use crate::decision::{Challenge, Decision, Denial, Evidence, Findings, Glass, Permit, Question, Reason};
use crate::policy::tier::MOST_PROOF_AGE;
use crate::telemetry::metrics;

/// Spent proofs are remembered this much longer than any tier would take them.
const REMEMBER_MARGIN: Duration = Duration::from_secs(300);

/// One decided request.
pub(super) struct Context<'c> {
    pub arrival: &'c Arrival<'c>,
    pub question: Question<'c>,
    pub findings: &'c Findings,
    pub evidence: &'c Evidence,
}

impl Gate {
    /// Carries a decision out: gives the outcome, the intent to close, and the verdict that was recorded.
    pub(super) async fn settle(
        &self,
        context: &Context<'_>,
        decision: Decision,
    ) -> (Outcome, Option<OpenIntent>, &'static str) {
        let verdict = decision.verdict();
        let reason = decision.reason();
        match decision {
            Decision::Permit(permit) => self.settle_permit(context, permit).await,
            Decision::Challenge(challenge) => {
                let recorded = self.record_decision(context, verdict, reason).await;
                let outcome = if recorded {
                    Outcome::Challenged(challenge)
                } else {
                    Outcome::Refused(Denial::new(Reason::AuditUnavailable))
                };
                (outcome, None, verdict)
            }
            Decision::Deny(denial) => {
                self.record_decision(context, verdict, reason).await;
                (Outcome::Refused(denial), None, verdict)
            }
        }
    }

    async fn settle_permit(
        &self,
        context: &Context<'_>,
        permit: Permit,
    ) -> (Outcome, Option<OpenIntent>, &'static str) {
        let reason = permit.reason();
        let (outcome, intent) = self.record_and_spend(context, permit).await;
        let (verdict, reason) = match &outcome {
            Outcome::Admitted(_) | Outcome::Preflight => ("permit", reason),
            Outcome::Challenged(challenge) => ("challenge", challenge.reason),
            Outcome::Refused(denial) => ("deny", denial.reason),
        };
        Self::count_settled(context, verdict, reason);
        (outcome, intent, verdict)
    }

    async fn record_and_spend(&self, context: &Context<'_>, permit: Permit) -> (Outcome, Option<OpenIntent>) {
        let refuse = |reason| Outcome::Refused(Denial::new(reason));
        if context.findings.break_glass == Some(Glass::Broken)
            && !Box::pin(self.record_glass_used(context)).await
        {
            return (refuse(Reason::AuditUnavailable), None);
        }
        let Ok((receipt, intent)) = self.record_intent(context, &permit).await else {
            return (refuse(Reason::AuditUnavailable), None);
        };
        let spent = match permit.to_spend() {
            None => None,
            Some(key) => match self
                .state
                .consume(
                    key,
                    remember(context.arrival.now, permit.subject().map(|subject| subject.expires_at)),
                )
                .await
            {
                Consumed::Done(spent) => {
                    metrics().proofs.with_label_values(&["spent"]).inc();
                    Some(spent)
                }
                Consumed::Already => {
                    metrics().proofs.with_label_values(&["already_spent"]).inc();
                    let is_resumed = context.evidence.resumes.is_some();
                    let reason = if is_resumed { Reason::AlreadySent } else { Reason::ProofAlreadySpent };
                    self.close(&intent, Ending::not_forwarded(context.arrival, reason)).await;
                    if is_resumed {
                        return (refuse(reason), None);
                    }
                    return (spent_before(context, &permit), None);
                }
                Consumed::Unknown => {
                    metrics().proofs.with_label_values(&["unknown"]).inc();
                    return self.not_forwarded(context, &intent, Reason::StoreUnavailable).await;
                }
            },
        };
        // Last: a claim stays, and would keep its person from the other half where this one was never done.
        let claimed = match Box::pin(self.claim(permit.claims())).await {
            Attempt::Done(claimed) => claimed,
            // Both halves came at once, and the other one was first.
            Attempt::Other => {
                return self.not_forwarded(context, &intent, Reason::Access(AccessRefusal::SameActor)).await;
            }
            Attempt::Unknown => return self.not_forwarded(context, &intent, Reason::StoreUnavailable).await,
        };
        match Admission::new(permit, receipt, spent, &claimed) {
            Some(admission) => (Outcome::Admitted(Box::new(admission)), Some(intent)),
            None => self.not_forwarded(context, &intent, Reason::StoreUnavailable).await,
        }
    }

    async fn not_forwarded(
        &self,
        context: &Context<'_>,
        intent: &OpenIntent,
        reason: Reason,
    ) -> (Outcome, Option<OpenIntent>) {
        self.close(intent, Ending::not_forwarded(context.arrival, reason)).await;
        (Outcome::Refused(Denial::new(reason)), None)
    }
}

/// Longer than `max_age` may be in any configuration, and than the token lasts, so that a forgotten proof is a worthless
/// one. What this configuration takes says nothing about the next.
fn remember(now: i64, token_ends: Option<i64>) -> Duration {
    let token = token_ends.map_or(0, |ends| ends.saturating_sub(now));
    Duration::from_secs(u64::try_from(MOST_PROOF_AGE.max(token)).unwrap_or(0)) + REMEMBER_MARGIN
}

/// What a machine or a person is told whose proof had been spent.
fn spent_before(context: &Context<'_>, permit: &Permit) -> Outcome {
    let tier = context.findings.tier.unwrap_or(context.question.route.tier);
    let bundle = context.findings.bundle.as_ref();
    let floor = bundle.map_or(context.question.route.data_floor, |bundled| bundled.floor);
    match permit.subject() {
        Some(subject) => Outcome::Challenged(Challenge::after_spent_proof(
            &context.question,
            context.evidence,
            (tier, floor),
            subject,
        )),
        // Somebody who has not signed in, and sends the same once more: as anything else of theirs it needs a proof.
        None => match context.findings.account.clone() {
            Some(account) => Outcome::Challenged(Challenge::of_account(tier, account)),
            None => Outcome::Refused(Denial::new(Reason::StoreUnavailable)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also where the configuration that takes it a second time permits more than the one under which it was spent.
    #[test]
    fn a_spent_proof_outlasts_every_configuration_and_its_token() {
        let at_least = |seconds| Duration::from_secs(seconds) + REMEMBER_MARGIN;
        let most = u64::try_from(MOST_PROOF_AGE).expect("positive");
        for (token_ends, least) in
            [(None, most), (Some(1_010), most), (Some(0), most), (Some(1_000 + 9_000), 9_000)]
        {
            assert!(remember(1_000, token_ends) >= at_least(least), "{token_ends:?}");
        }
    }
}
