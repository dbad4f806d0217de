//! Which of the outcomes that a route can have are looked at by a case.

use serde::Serialize;

use crate::config::ExpectedOutcome;
use crate::identity::Level;
use crate::policy::{Access, Policy, Route};

use super::Ran;

/// One route's.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) route: String,
    /// How many cases ended so: `permit`, `challenge`, `deny`.
    pub(super) cases: [usize; 3],
    /// What can come of a request for it, and no case shows.
    pub(super) missing: Vec<&'static str>,
    #[serde(skip)]
    wanted: usize,
}

/// That of all routes, in their order.
#[derive(Debug, Serialize)]
pub(super) struct Coverage {
    pub(super) routes: Vec<Row>,
}

impl Coverage {
    pub(super) fn of(policy: &Policy, ran: &[Ran<'_>]) -> Self {
        let row = |(at, route): (usize, &Route)| {
            let cases = ExpectedOutcome::ALL.map(|outcome| {
                // One that came out otherwise than its author thinks shows nothing.
                let is_one = |ran: &&Ran<'_>| {
                    ran.passed && ran.tried.route == Some(at) && ran.tried.outcome == outcome
                };
                ran.iter().filter(is_one).count()
            });
            let possible = possible(policy, route);
            let of = ExpectedOutcome::ALL.into_iter().zip(cases);
            let missing = of.filter(|(outcome, count)| *count == 0 && possible.contains(outcome));
            Row {
                route: route.id.to_string(),
                cases,
                missing: missing.map(|(outcome, _)| outcome.name()).collect(),
                wanted: possible.len(),
            }
        };
        Self { routes: policy.routes.iter().enumerate().map(row).collect() }
    }

    /// How many outcomes there can be, and how many of them are looked at.
    pub(super) fn counts(&self) -> (usize, usize) {
        let wanted: usize = self.routes.iter().map(|row| row.wanted).sum();
        let missing: usize = self.routes.iter().map(|row| row.missing.len()).sum();
        (wanted, wanted.saturating_sub(missing))
    }

    /// The share that is looked at, in hundredths, rounded down: 100 is all.
    pub(super) fn percent(&self) -> u8 {
        let (wanted, covered) = self.counts();
        u8::try_from(covered.saturating_mul(100).checked_div(wanted).unwrap_or(100)).unwrap_or(100)
    }
}

/// What can come of a request that reaches a route, from somebody who has signed in at all. One for everybody refuses nobody;
/// one whose tiers are content with the lowest level, however old, asks for no more proof.
fn possible(policy: &Policy, route: &Route) -> Vec<ExpectedOutcome> {
    if route.access == Access::Public {
        return vec![ExpectedOutcome::Permit];
    }
    let levels = &policy.levels;
    let lowest = levels.names().next().and_then(|name| levels.find(name)).unwrap_or(Level::NONE);
    let tiers = route.refine.iter().map(|refine| refine.tier).chain([route.tier]);
    let asks = tiers.map(|at| policy.tier(at)).any(|tier| {
        tier.max_age.is_some()
            || tier.each_action_needs_new_proof
            || tier.assurance.max(route.data_floor) > lowest
    });
    if asks { ExpectedOutcome::ALL.to_vec() } else { vec![ExpectedOutcome::Permit, ExpectedOutcome::Deny] }
}
