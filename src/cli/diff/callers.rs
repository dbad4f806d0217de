//! Callers who show every difference between two routes.
//!
//! Rules only ask that something is there, so whoever fits a rule fits it with no more than it asks for. Where two rules
//! allow somebody, one in each file, a caller with what both ask for shows how the rest differs.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::identity::{Caller, Level};
use crate::policy::{Policy, Route};

/// What somebody is, as far as rules look at it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(in crate::cli) struct Who {
    /// Whose caller; `None` for nobody.
    pub(super) issuer: Option<String>,
    /// Roles.
    pub(super) roles: BTreeSet<String>,
    /// Scopes.
    pub(super) scopes: BTreeSet<String>,
    /// The client.
    pub(super) client: Option<String>,
}

impl Who {
    /// A request without a token.
    pub(super) const NOBODY: Self =
        Self { issuer: None, roles: BTreeSet::new(), scopes: BTreeSet::new(), client: None };

    /// Whoever is both; `None` where nobody can be.
    fn and(&self, other: &Self) -> Option<Self> {
        let clients_agree = self.client.is_none() || other.client.is_none() || self.client == other.client;
        (self.issuer == other.issuer && clients_agree).then(|| Self {
            issuer: self.issuer.clone(),
            roles: self.roles.union(&other.roles).cloned().collect(),
            scopes: self.scopes.union(&other.scopes).cloned().collect(),
            client: self.client.clone().or_else(|| other.client.clone()),
        })
    }

    /// Whether somebody who is the other is this too.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        (self.issuer.is_none() || self.issuer == other.issuer)
            && self.roles.is_subset(&other.roles)
            && self.scopes.is_subset(&other.scopes)
            && (self.client.is_none() || self.client == other.client)
    }
}

/// How somebody signed in, as each of the policies reads it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Proof {
    /// The level that each policy makes of it.
    pub(super) levels: [Level; 2],
    /// The methods that a tier asks for.
    pub(super) methods: Vec<Box<str>>,
}

/// Who has to be tried with two routes, one of each policy; the simplest first.
pub(super) fn who(policies: [&Policy; 2], routes: [Option<&Route>; 2]) -> Vec<Who> {
    let [before, after] = [0, 1].map(|side| match (policies.get(side), routes.get(side)) {
        (Some(policy), Some(Some(route))) => of_rules(policy, route),
        _ => BTreeSet::new(),
    });
    let both = before.iter().flat_map(|one| after.iter().filter_map(|other| one.and(other)));
    let mut all: Vec<Who> = before.iter().chain(&after).cloned().chain(both).collect();
    if routes.into_iter().flatten().any(|route| route.access == crate::policy::Access::Public) {
        all.push(Who::NOBODY);
        let issuers = policies.iter().flat_map(|policy| &policy.issuers);
        all.extend(issuers.map(|issuer| Who { issuer: Some(issuer.name.to_string()), ..Who::NOBODY }));
    }
    all.sort_by_key(|who| {
        (who.roles.len() + who.scopes.len() + usize::from(who.client.is_some()), who.clone())
    });
    all.dedup();
    all
}

/// For each rule, and each of the roles and clients that it takes, somebody who has no more than that.
fn of_rules(policy: &Policy, route: &Route) -> BTreeSet<Who> {
    let mut found = BTreeSet::new();
    let one_of = |list: &[Box<str>]| -> Vec<Option<String>> {
        if list.is_empty() { vec![None] } else { list.iter().map(|text| Some(text.to_string())).collect() }
    };
    for entry in &route.any_of {
        let issuers =
            policy.issuers.iter().enumerate().filter(|(at, _)| entry.issuer.is_none_or(|own| own == *at));
        for (_, issuer) in issuers {
            for role in one_of(&entry.roles) {
                for client in one_of(&entry.clients) {
                    found.insert(Who {
                        issuer: Some(issuer.name.to_string()),
                        roles: role.iter().cloned().collect(),
                        scopes: entry.scopes.iter().map(ToString::to_string).collect(),
                        client,
                    });
                }
            }
        }
    }
    found
}

/// How the callers of an issuer can have signed in, as far as either policy tells it apart.
pub(super) fn proofs(policies: [&Policy; 2], issuer: &str) -> BTreeSet<Proof> {
    let maps = policies.map(|policy| {
        policy.issuers.iter().find(|rules| *rules.name == *issuer).map(|rules| &rules.assurance)
    });
    let required: BTreeSet<Box<str>> = policies
        .iter()
        .flat_map(|policy| &policy.tiers)
        .flat_map(|tier| tier.require_methods.clone())
        .collect();
    let mut acrs: BTreeSet<Option<&str>> = BTreeSet::from([None]);
    let mut amrs: BTreeSet<Option<&str>> = required.iter().map(|method| Some(&**method)).collect();
    amrs.insert(None);
    for map in maps.into_iter().flatten() {
        acrs.extend(map.acr_values(Level::NONE).map(Some));
        amrs.extend(map.methods().map(Some));
    }
    let mut found = BTreeSet::new();
    for acr in &acrs {
        for one in &amrs {
            // Two words suffice: one for the level, one for the method. More would only add to what is reached.
            for other in amrs.iter().filter(|_| acr.is_none()).chain([&None]) {
                let shown: BTreeSet<Box<str>> =
                    [one, other].into_iter().flatten().map(|&text| text.into()).collect();
                let shown: Vec<Box<str>> = shown.into_iter().collect();
                let levels = maps.map(|map| map.map_or(Level::NONE, |map| map.level(*acr, &shown)));
                let methods = shown.into_iter().filter(|method| required.contains(method)).collect();
                found.insert(Proof { levels, methods });
            }
        }
    }
    found
}

/// The ages that make a difference, in seconds: the oldest that a tier takes, and one second more; `None` is not said.
pub(super) fn ages(policies: [&Policy; 2], caller: Caller) -> BTreeSet<Option<i64>> {
    let tiers = policies.into_iter().flat_map(|policy| &policy.tiers);
    let edges = tiers.filter_map(|tier| match caller {
        Caller::Person => tier.max_age,
        Caller::Service => tier.service.map(|rule| rule.max_token_age),
    });
    let mut ages: BTreeSet<Option<i64>> =
        edges.flat_map(|edge| [Some(edge), Some(edge.saturating_add(1))]).collect();
    ages.insert(Some(0));
    if caller == Caller::Person {
        ages.insert(None);
    }
    ages
}
