//! One record under two policies.

use std::collections::HashMap;
use std::rc::Rc;

use http::Method;

use super::otherwise::{self, Otherwise};
use super::places::{self, Places};
use super::record::Recorded;
use super::stage::{Outcome, Stage};
use super::world::{Ran, Unknown, World, explore};
use crate::decision::Reason;
use crate::decision::trace::{Silent, Trace};
use crate::policy::{Policy, Route};

/// What the candidate makes of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Finding {
    /// Nothing that it depends on is another.
    Untouched,
    /// It was decided again.
    Decided {
        /// What came of it then.
        was: Outcome,
        /// What comes of it under the candidate.
        is: Outcome,
    },
    /// It depends on what is not on record.
    Open(Vec<Unknown>),
    /// It does not come out as it did by the rules of its time: what it depended on then is not on record, as a proof that was
    /// spent, or a limit that was used up.
    NotReproduced,
    /// It was recorded under a policy that is not at hand.
    OtherPolicy,
}

/// A record, told step by step.
#[derive(Debug)]
pub struct Explained<T> {
    /// What came of it.
    pub outcome: Outcome,
    /// The way to it.
    pub trace: T,
    /// What was assumed on the way, because it is not on record.
    pub assumed: Vec<Unknown>,
    /// The fewest changes that would have let it through, each way in which so many do, where the rest was as it had to be.
    pub passes_with: Vec<Vec<Otherwise>>,
}

/// The rules of one configuration.
#[derive(Debug)]
pub struct Rules {
    /// The policy.
    pub policy: Policy,
    /// Of each upstream, whether methods that are hidden in bodies are refused before it.
    pub refuses_hidden: Vec<bool>,
}

impl Rules {
    fn refuses_hidden(&self, route: &Route) -> bool {
        self.refuses_hidden.get(route.upstream).copied().unwrap_or(true)
    }
}

/// The rules of the time, and a candidate.
#[derive(Debug)]
pub struct Replay<'p> {
    was: &'p [Rules],
    candidate: &'p Rules,
    /// Which of the policies share all but their routes with the candidate.
    same_around: Vec<bool>,
    /// Every age that some tier asks about, in seconds, the youngest first.
    ages: Vec<i64>,
    relations: Vec<Box<str>>,
    places: HashMap<(usize, usize, Method), Rc<Places>>,
    known: HashMap<Recorded, Rc<Finding>>,
}

/// So many different records are remembered at once.
const MOST_KNOWN: usize = 100_000;

impl<'p> Replay<'p> {
    /// Takes the policies under which records were made, and the one that is tried.
    pub fn new(was: &'p [Rules], candidate: &'p Rules) -> Self {
        let policies = || was.iter().chain([candidate]).map(|rules| &rules.policy);
        let of_tiers = policies().flat_map(|policy| &policy.tiers).flat_map(|tier| {
            tier.max_age.into_iter().chain(tier.service.as_ref().map(|rule| rule.max_token_age))
        });
        let of_rights = policies().flat_map(|policy| &policy.break_glass).map(|right| right.max_age);
        let mut ages: Vec<i64> = of_tiers.chain(of_rights).collect();
        ages.sort_unstable();
        ages.dedup();
        let relations = policies().flat_map(|policy| &policy.delegations.relations);
        let mut relations: Vec<Box<str>> = relations.map(|relation| relation.name.clone()).collect();
        relations.sort_unstable();
        relations.dedup();
        Self {
            same_around: was
                .iter()
                .map(|was| {
                    is_same_around(&was.policy, &candidate.policy)
                        && was.refuses_hidden == candidate.refuses_hidden
                })
                .collect(),
            was,
            candidate,
            ages,
            relations,
            places: HashMap::new(),
            known: HashMap::new(),
        }
    }

    /// Decides a record again.
    pub fn look(&mut self, mut recorded: Recorded) -> Rc<Finding> {
        self.fold_ages(&mut recorded);
        if let Some(finding) = self.known.get(&recorded) {
            return Rc::clone(finding);
        }
        let finding = Rc::new(self.compare(&recorded));
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(recorded, Rc::clone(&finding));
        finding
    }

    /// Tells how a record came out, by the rules of its time; `None` where it does not come out so.
    pub fn explain<T: Trace + Default>(&self, recorded: &Recorded) -> Option<Explained<T>> {
        let (_, was, route) = self.of_the_time(recorded)?;
        let stage = self.stage((was, route), (was, route), None);
        let worlds: Vec<World> =
            consistent(&stage, recorded).ok()?.into_iter().map(|(world, _)| world).collect();
        let world = worlds.first()?;
        let issuer = recorded.input.caller.as_ref().map(|caller| caller.issuer.as_str());
        let issuer = issuer.filter(|_| recorded.verdict != "permit");
        let ways = issuer.map(|issuer| otherwise::all(&was.policy, route, issuer)).unwrap_or_default();
        let passes_with = otherwise::fewest(&ways, |chosen| {
            let mut changed = recorded.clone();
            chosen.iter().for_each(|what| changed.change(what));
            let worlds = explore(worlds.iter().cloned(), |world| stage.run(&changed, world, &mut Silent));
            worlds.is_ok_and(|worlds| worlds.iter().any(|(_, outcome)| outcome.verdict == "permit"))
        });
        let assumed = world.unknowns().cloned().collect();
        let mut trace = T::default();
        match stage.run(recorded, world, &mut trace) {
            Ran::Decided(outcome) => Some(Explained { outcome, trace, assumed, passes_with }),
            Ran::Depends(..) | Ran::Beyond(_) => None,
        }
    }

    fn compare(&mut self, recorded: &Recorded) -> Finding {
        let Some(version) = self.was.iter().position(|was| *was.policy.version == *recorded.input.policy)
        else {
            return Finding::OtherPolicy;
        };
        let Some((position, was, route)) = self.of_the_time(recorded) else { return Finding::NotReproduced };
        let Ok(method) = Method::from_bytes(recorded.method.as_bytes()) else {
            return Finding::NotReproduced;
        };
        let candidate = &self.candidate.policy;
        let places = Rc::clone(
            self.places
                .entry((version, position, method.clone()))
                .or_insert_with(|| Rc::new(places::find(&was.policy, route, &method, candidate))),
        );
        let same = places.same.and_then(|at| candidate.route(at));
        let same_around = self.same_around.get(version).copied().unwrap_or(false);
        if same_around && places.rivals.is_empty() && same == Some(route) {
            return Finding::Untouched;
        }
        let worlds = match consistent(&self.stage((was, route), (was, route), None), recorded) {
            Ok(worlds) => worlds,
            Err(open) => return Finding::Open(vec![open]),
        };
        let Some(first) = worlds.first().map(|(_, outcome)| outcome.clone()) else {
            return Finding::NotReproduced;
        };
        let worlds: Vec<World> = worlds.into_iter().map(|(world, _)| world).collect();
        self.decide((was, route), &places, recorded, &worlds, first)
    }

    /// Decides it under the candidate, in each of these worlds, at each place where it could go.
    fn decide(
        &self,
        (was, route): (&'p Rules, &'p Route),
        places: &Places,
        recorded: &Recorded,
        worlds: &[World],
        first: Outcome,
    ) -> Finding {
        let mut found: Vec<Outcome> = Vec::new();
        let mut open: Vec<Unknown> = Vec::new();
        let mut add = |outcome: Outcome| {
            // Where a refusal comes before the tier is known, that is no matter to anybody.
            let alike = |known: &Outcome| {
                known.verdict == outcome.verdict && (known.verdict == "deny" || known.tier == outcome.tier)
            };
            if !found.iter().any(alike) {
                found.push(outcome);
            }
        };
        let candidate = &self.candidate.policy;
        let rivals = places.rivals.iter().map(|at| (*at, Some(*at)));
        for (at, place) in places.same.map(|at| (at, None)).into_iter().chain(rivals) {
            let Some(other) = candidate.route(at) else { continue };
            if place.is_some() {
                open.push(Unknown::Route(other.id.clone()));
            }
            let stage = self.stage((was, route), (self.candidate, other), place);
            match explore(worlds.iter().cloned(), |world| stage.run(recorded, world, &mut Silent)) {
                Ok(outcomes) => {
                    for (world, outcome) in outcomes {
                        open.extend(world.unknowns().cloned());
                        add(outcome);
                    }
                }
                Err(what) => return Finding::Open(vec![what]),
            }
        }
        // Between two routes, or under none, what is spelled unusually goes nowhere.
        if places.same.is_none() || !places.rivals.is_empty() {
            let reason = Reason::NoRoute.code().into();
            add(Outcome { verdict: "deny", tier: None, reason, lasts: None });
        }
        match (found.pop(), found.is_empty()) {
            (Some(is), true) => Finding::Decided { was: first, is },
            _ => {
                open.sort_unstable();
                open.dedup();
                Finding::Open(open)
            }
        }
    }

    /// The rules under which a record was made, and the route that took it.
    fn of_the_time(&self, recorded: &Recorded) -> Option<(usize, &'p Rules, &'p Route)> {
        let was = self.was.iter().find(|was| *was.policy.version == *recorded.input.policy)?;
        let position = was.policy.routes.iter().position(|route| {
            let lowered = route.lower_risk.as_ref().filter(|_| recorded.input.lowered);
            let id = lowered.map_or(&route.id, |lower| &lower.id);
            **id == *recorded.action && route.template.as_str() == recorded.template
        })?;
        Some((position, was, was.policy.route(position)?))
    }

    fn stage<'s>(
        &'s self,
        (was, was_route): (&'s Rules, &'s Route),
        (rules, route): (&'s Rules, &'s Route),
        place: Option<usize>,
    ) -> Stage<'s> {
        Stage {
            was: &was.policy,
            was_route,
            policy: &rules.policy,
            route,
            was_refuses_hidden: was.refuses_hidden(was_route),
            refuses_hidden: rules.refuses_hidden(route),
            place,
            relations: &self.relations,
        }
    }

    /// Makes of ages that no tier tells apart one.
    fn fold_ages(&self, recorded: &mut Recorded) {
        let fold = |age: i64| {
            if age < 0 {
                // Still to come: it pays for nothing yet.
                return -1;
            }
            let over = self.ages.last().map_or(0, |most| most.saturating_add(1));
            self.ages.iter().copied().find(|known| age <= *known).unwrap_or(over)
        };
        if let Some(caller) = &mut recorded.input.caller {
            caller.age = caller.age.map(fold);
            caller.token_age = caller.token_age.map(fold);
        }
    }
}

/// The worlds in which a record comes out as it did.
fn consistent(stage: &Stage<'_>, recorded: &Recorded) -> Result<Vec<(World, Outcome)>, Unknown> {
    let worlds = explore([World::default()], |world| stage.run(recorded, world, &mut Silent))?;
    let as_recorded = |outcome: &Outcome| {
        outcome.verdict == recorded.verdict
            && *outcome.reason == *recorded.reason
            && outcome.tier.as_deref() == recorded.tier.as_deref()
    };
    Ok(worlds.into_iter().filter(|(_, outcome)| as_recorded(outcome)).collect())
}

/// Whether all that routes refer to is the same.
fn is_same_around(was: &Policy, is: &Policy) -> bool {
    was.levels == is.levels
        && was.issuers == is.issuers
        && was.tiers == is.tiers
        && was.ways == is.ways
        && was.resume == is.resume
        && was.pdps == is.pdps
        && was.consents == is.consents
        && was.signals == is.signals
        && was.break_glass == is.break_glass
        && was.delegations == is.delegations
        && was.rate_limits == is.rate_limits
        && was.upstreams == is.upstreams
        && was.index.fhir().services() == is.index.fhir().services()
}
