//! What would have let a request through: the fewest changes to who asked, how it was proven, and what others said.

use std::fmt;

use crate::policy::{Policy, Route};

/// One thing that could have been otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Otherwise {
    /// A proof at this level.
    Level(Box<str>),
    /// A proof just given; how old it may be in the end depends on the tier.
    Fresh,
    /// A proof by this method.
    Method(Box<str>),
    /// A step-up for this very action.
    ForThisAction,
    /// A token that holds this role.
    Role(Box<str>),
    /// A token that holds this scope.
    Scope(Box<str>),
    /// The caller's own record.
    OwnRecord,
    /// A grant to act for the patient in this relation.
    ActsAs(Box<str>),
    /// The patient's consent.
    Consent,
    /// Leave by the policy decision point.
    Evaluation,
    /// A broken glass.
    BrokenGlass,
    /// Without what this signal watches for.
    Quiet(Box<str>),
}

impl fmt::Display for Otherwise {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(name) => write!(formatter, "level `{name}`"),
            Self::Fresh => formatter.write_str("a proof just given"),
            Self::Method(name) => write!(formatter, "a proof by `{name}`"),
            Self::ForThisAction => formatter.write_str("a step-up for this very action"),
            Self::Role(name) => write!(formatter, "role `{name}`"),
            Self::Scope(name) => write!(formatter, "scope `{name}`"),
            Self::OwnRecord => formatter.write_str("the caller's own record"),
            Self::ActsAs(relation) => write!(formatter, "a grant to act for the patient as `{relation}`"),
            Self::Consent => formatter.write_str("the patient's consent"),
            Self::Evaluation => formatter.write_str("a permit by the policy decision point"),
            Self::BrokenGlass => formatter.write_str("the glass broken for this patient"),
            Self::Quiet(name) => write!(formatter, "signal `{name}` quiet"),
        }
    }
}

/// Everything that the rules of a route could be met by, for callers of an issuer.
pub fn all(policy: &Policy, route: &Route, issuer: &str) -> Vec<Otherwise> {
    let mut all = Vec::new();
    let mut add = |what: Otherwise| {
        if !all.contains(&what) {
            all.push(what);
        }
    };
    policy.levels.names().for_each(|name| add(Otherwise::Level(name.into())));
    add(Otherwise::Fresh);
    for tier in policy.tiers.iter().skip(route.tier.position()) {
        tier.require_methods.iter().for_each(|name| add(Otherwise::Method(name.clone())));
    }
    add(Otherwise::ForThisAction);
    let at = policy.issuers.iter().position(|rules| *rules.name == *issuer);
    for entry in route.any_of.iter().filter(|entry| entry.issuer.is_none() || entry.issuer == at) {
        entry.roles.iter().for_each(|name| add(Otherwise::Role(name.clone())));
        entry.scopes.iter().for_each(|name| add(Otherwise::Scope(name.clone())));
        if entry.patient_self {
            add(Otherwise::OwnRecord);
        }
        let relations = entry.delegate.iter().filter_map(|at| policy.delegations.relations.get(*at));
        relations.for_each(|relation| add(Otherwise::ActsAs(relation.name.clone())));
    }
    if route.consent.is_some() {
        add(Otherwise::Consent);
    }
    if route.pdp.is_some() {
        add(Otherwise::Evaluation);
    }
    if route.break_glass.is_some() {
        add(Otherwise::BrokenGlass);
    }
    policy
        .signals
        .iter()
        .filter(|signal| signal.is_enforced)
        .for_each(|signal| add(Otherwise::Quiet(signal.name.clone())));
    all
}

/// More than so many at once are no advice.
const MOST_AT_ONCE: usize = 3;

/// So many different ways are enough.
const MOST_WAYS: usize = 5;

/// The fewest that together let it through, each way in which so many do; empty where none do.
pub fn fewest(all: &[Otherwise], lets_through: impl Fn(&[&Otherwise]) -> bool) -> Vec<Vec<Otherwise>> {
    for size in 1..=MOST_AT_ONCE {
        let mut ways = Vec::new();
        choose(all, size, &mut Vec::new(), &mut |chosen| {
            let levels = chosen.iter().filter(|what| matches!(what, Otherwise::Level(_))).count();
            if levels <= 1 && ways.len() < MOST_WAYS && lets_through(chosen) {
                ways.push(chosen.iter().map(|what| (*what).clone()).collect());
            }
        });
        if !ways.is_empty() {
            return without_stronger(ways);
        }
    }
    Vec::new()
}

/// Leaves out ways that are another with a higher level: the weaker one comes first.
fn without_stronger(ways: Vec<Vec<Otherwise>>) -> Vec<Vec<Otherwise>> {
    let rest = |way: &[Otherwise]| -> Vec<Otherwise> {
        way.iter().filter(|what| !matches!(what, Otherwise::Level(_))).cloned().collect()
    };
    let mut kept: Vec<Vec<Otherwise>> = Vec::new();
    for way in ways {
        let is_stronger = kept.iter().any(|known| {
            known.len() == way.len() && rest(known).len() < way.len() && rest(known) == rest(&way)
        });
        if !is_stronger {
            kept.push(way);
        }
    }
    kept
}

fn choose<'a>(
    from: &'a [Otherwise],
    size: usize,
    chosen: &mut Vec<&'a Otherwise>,
    each: &mut impl FnMut(&[&'a Otherwise]),
) {
    if size == 0 {
        return each(chosen);
    }
    for (at, what) in from.iter().enumerate() {
        chosen.push(what);
        choose(from.get(at + 1..).unwrap_or_default(), size - 1, chosen, each);
        chosen.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_and_the_weakest() {
        let level = |name: &str| Otherwise::Level(name.into());
        let all = [level("aal1"), level("aal2"), level("aal3"), Otherwise::Fresh, Otherwise::Consent];
        let ways = fewest(&all, |chosen| {
            let strong = chosen.iter().any(|what| **what == level("aal2") || **what == level("aal3"));
            strong && chosen.contains(&&Otherwise::Fresh)
        });
        assert_eq!(ways, [[level("aal2"), Otherwise::Fresh]]);
        assert!(fewest(&all, |_| false).is_empty());
    }
}
