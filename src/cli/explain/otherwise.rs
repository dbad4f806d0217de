//! What would let a request through that nobody sent.

use std::sync::Arc;

use crate::config::rehearse::{Rehearsal, Rehearsed, rehearse};
use crate::decision::trace::Silent;
use crate::decision::{Decision, Evaluation, Identity, Lookup};
use crate::identity::{Caller, Subject};
use crate::policy::Policy;
use crate::replay::otherwise::{Otherwise, all, fewest};

/// The fewest changes that would, each way in which so many do; none where it goes through, or nobody is known to ask.
pub fn passes_with(policy: &Policy, rehearsal: &Rehearsal<'_>, result: &Rehearsed) -> Vec<Vec<Otherwise>> {
    let route = result.route.and_then(|at| policy.route(at));
    let (Identity::Known(subject), Some(route)) = (&rehearsal.identity, route) else { return Vec::new() };
    if matches!(result.decision, Decision::Permit(_)) {
        return Vec::new();
    }
    fewest(&all(policy, route, &subject.issuer), |chosen| {
        let mut subject = subject.as_ref().clone();
        let mut changed = rehearsal.clone();
        for what in chosen {
            change(what, (policy, result), &mut subject, &mut changed);
        }
        changed.identity = Identity::Known(Arc::new(subject));
        matches!(rehearse(policy, &changed, &mut Silent).decision, Decision::Permit(_))
    })
}

fn change(
    what: &Otherwise,
    (policy, result): (&Policy, &Rehearsed),
    subject: &mut Subject,
    changed: &mut Rehearsal<'_>,
) {
    match what {
        Otherwise::Level(name) => subject.level = policy.levels.find(name).unwrap_or(subject.level),
        Otherwise::Fresh if subject.caller == Caller::Person => subject.auth_time = Some(changed.now),
        Otherwise::Fresh => subject.issued_at = changed.now,
        Otherwise::Method(name) => subject.methods.push(name.clone()),
        Otherwise::Role(name) => subject.roles.push(name.clone()),
        Otherwise::Scope(name) => subject.scopes.push(name.clone()),
        Otherwise::OwnRecord => {
            if let Some(patient) = &result.findings.patient {
                subject.patient = Some(patient.clone());
            }
        }
        Otherwise::ActsAs(relation) => changed.answers.delegation = Some(relation.clone()),
        Otherwise::Consent => changed.answers.consent = Lookup::Found(true),
        Otherwise::Evaluation => changed.answers.pdp = Lookup::Found(Evaluation::Permitted),
        // Nobody has opened or given anything for what is only rehearsed, and no signal fires.
        Otherwise::ForThisAction | Otherwise::BrokenGlass | Otherwise::Quiet(_) => {}
    }
}
