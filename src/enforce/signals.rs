//! Looks at what signals watch, for one request.

use crate::decision::{Evidence, Identity, Question};
use crate::telemetry::metrics;

/// What each signal of the policy says, by its position; `None` where that can't be told. `now` is in Unix seconds.
pub(super) fn look(question: &Question<'_>, evidence: &Evidence, now: i64) -> Vec<Option<bool>> {
    let issuer = match &evidence.identity {
        Some(Identity::Known(subject)) => Some(subject.issuer_index),
        _ => None,
    };
    let signals = question.policy.signals.iter();
    signals
        .map(|signal| {
            let fires = signal.fires(now, question.facts.client);
            if issuer.is_some_and(|issuer| signal.concerns(issuer)) {
                let result = fires.map_or("unknown", |fires| if fires { "fired" } else { "quiet" });
                metrics().signals.with_label_values(&[&*signal.name, result]).inc();
            }
            fires
        })
        .collect()
}
