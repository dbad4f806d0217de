//! Looks at what signals watch, for one request.

use super::gate::Gate;
use super::ports::State;
use crate::decision::{Evidence, Identity, Lookup, Question, patient};
use crate::identity::Subject;
use crate::policy::Signal;
use crate::policy::signal::{Countable, Counted};
use crate::telemetry::metrics;

impl Gate {
    /// What each signal of the policy says, by its position; `None` where that can't be told. `now` is in Unix seconds.
    pub(super) async fn look_at_signals(
        &self,
        question: &Question<'_>,
        evidence: &Evidence,
        now: i64,
    ) -> Vec<Option<bool>> {
        let subject = match &evidence.identity {
            Some(Identity::Known(subject)) => Some(subject),
            _ => None,
        };
        let mut said = Vec::with_capacity(question.policy.signals.len());
        for signal in &question.policy.signals {
            let Some(subject) = subject.filter(|subject| signal.concerns(subject.issuer_index)) else {
                said.push(signal.fires(now, question.facts.client));
                continue;
            };
            let fires = match signal.counted() {
                None => signal.fires(now, question.facts.client),
                Some(counted) => Box::pin(self.count(signal, counted, subject, question, evidence)).await,
            };
            let result = fires.map_or("unknown", |fires| if fires { "fired" } else { "quiet" });
            metrics().signals.with_label_values(&[&*signal.name, result]).inc();
            said.push(fires);
        }
        said
    }

    /// Counts what one person does, whoever they act for, and says whether it is more than it may be.
    async fn count(
        &self,
        signal: &Signal,
        counted: &Counted,
        subject: &Subject,
        question: &Question<'_>,
        evidence: &Evidence,
    ) -> Option<bool> {
        // What is only observed makes nobody wait for the store: this gateway counts by itself.
        let store: &dyn State = match &self.observed {
            Some(observed) if !signal.is_enforced => observed.as_ref(),
            _ => self.state.as_ref(),
        };
        let person = subject.actor.as_deref().unwrap_or(&subject.id);
        // Lengths keep what stands side by side apart. The store digests these names with a key.
        let key = format!("signal:{}:{}:{}:{person}", signal.name, subject.issuer.len(), subject.issuer);
        let most = counted.more_than.saturating_add(1);
        let seen = match counted.what {
            Countable::Requests => match store.window(&key, counted.span).await {
                Lookup::Found(count) => usize::try_from(count).unwrap_or(usize::MAX),
                Lookup::Absent | Lookup::Unavailable => return None,
            },
            Countable::Patients => {
                // About nobody in particular, or told only by the body or somebody outside: that is none more.
                let patient =
                    patient(question, evidence).filter(|patient| subject.patient.as_ref() != Some(patient));
                let Some(patient) = patient else { return Some(false) };
                match store.distinct(&key, &patient, counted.span, most).await {
                    Lookup::Found(count) => count,
                    Lookup::Absent | Lookup::Unavailable => return None,
                }
            }
        };
        Some(seen > counted.more_than)
    }
}
