//! Which requests are decided in another way: each that shows a difference is decided under both policies, by the very rules
//! that the gateway decides by.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde::Serialize;

use super::callers::{self, Proof, Who};
use super::meaning::Meaning;
use super::tried::{NOW, Tried, patients};
use super::witnesses;
use crate::config::Answers;
use crate::config::rehearse::{Rehearsal, rehearse};
use crate::decision::Identity;
use crate::decision::trace::Silent;
use crate::identity::Caller;
use crate::policy::{PatientSource, Policy, Route};

/// A group of requests that get another verdict.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(in crate::cli) struct Changed {
    /// The route that they matched; `None` where none took them.
    pub(super) route_before: Option<String>,
    /// The route that they match.
    pub(super) route_after: Option<String>,
    /// Their methods.
    pub(super) methods: BTreeSet<String>,
    /// Who asks, at least.
    pub(super) who: Who,
    /// What else holds of the caller: whose record it is, in which relation.
    pub(super) situation: String,
    /// The verdict as it was.
    pub(super) before: &'static str,
    /// The verdict as it is.
    pub(super) after: &'static str,
    /// With which sign-ins; empty where it makes no difference.
    pub(super) signed_in: Vec<String>,
}

/// A pair of routes whose requests may get another verdict, by something that can't be tried.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(in crate::cli) struct MayDiffer {
    /// The route that they matched.
    pub(super) route_before: Option<String>,
    /// The route that they match.
    pub(super) route_after: Option<String>,
    /// What it hangs on.
    pub(super) because: BTreeSet<&'static str>,
}

/// Compares what two policies decide.
pub(super) fn compare(policies: [&Policy; 2], meanings: &[Meaning; 2]) -> (Vec<Changed>, Vec<MayDiffer>) {
    let mut pairs = Pairs {
        policies,
        meanings,
        seen: BTreeSet::new(),
        changed: BTreeMap::new(),
        may_differ: BTreeSet::new(),
    };
    pairs.fhir();
    let [before, after] = policies;
    let is_changed = |route: &Route| {
        let find = |policy: &Policy| policy.routes.iter().any(|other| other.id == route.id);
        let facts = |meaning: &Meaning| meaning.routes.get(&*route.id).cloned();
        let [was, is] = meanings;
        !find(before) || !find(after) || facts(was) != facts(is)
    };
    let methods: BTreeSet<&str> = policies
        .iter()
        .flat_map(|policy| &policy.routes)
        .flat_map(|route| route.methods.iter().map(Method::as_str))
        .chain(["GET", "HEAD", "POST"])
        .collect();
    let methods: Vec<Method> = methods.into_iter().filter_map(|name| name.parse().ok()).collect();
    for path in witnesses::paths(policies, &is_changed) {
        for host in witnesses::hosts(policies) {
            for method in &methods {
                pairs.request(host.as_deref(), &path, method);
            }
        }
    }
    (pairs.changed(), pairs.may_differ.into_iter().collect())
}

/// Requests of one method that one pair of routes takes, by one sort of caller.
type Key = (Option<usize>, Option<usize>, String, Who, String);
/// What became of what, with which sign-ins.
type Outcomes = BTreeMap<(&'static str, &'static str), BTreeSet<String>>;

struct Pairs<'p> {
    policies: [&'p Policy; 2],
    meanings: &'p [Meaning; 2],
    seen: BTreeSet<(Option<usize>, Option<usize>, String, bool)>,
    /// What was tried, with all outcomes: those that are the same on both sides too.
    changed: BTreeMap<Key, Outcomes>,
    may_differ: BTreeSet<MayDiffer>,
}

impl<'p> Pairs<'p> {
    fn route(&self, side: usize, at: Option<usize>) -> Option<&'p Route> {
        self.policies.get(side)?.route(at?)
    }

    fn request(&mut self, host: Option<&str>, path: &str, method: &Method) {
        let found = self.policies.map(|policy| {
            let rehearsal = Rehearsal {
                method,
                target: path,
                host,
                body: None,
                identity: Identity::Nobody,
                answers: Answers::default(),
                now: NOW,
            };
            rehearse(policy, &rehearsal, &mut Silent).route
        });
        let [before, after] = found;
        let routes = [self.route(0, before), self.route(1, after)];
        if self.is_same(routes) {
            return;
        }
        let queries: BTreeSet<&str> = routes
            .iter()
            .flatten()
            .filter_map(|route| match &route.patient {
                Some(PatientSource::Query(name)) => Some(name.as_ref()),
                _ => None,
            })
            .collect();
        for has_query in [false, true] {
            if (has_query && queries.is_empty())
                || !self.seen.insert((before, after, method.to_string(), has_query))
            {
                continue;
            }
            let query: Vec<String> = queries.iter().map(|name| format!("{name}=q")).collect();
            let target = if has_query { format!("{path}?{}", query.join("&")) } else { path.to_owned() };
            self.pair(found, (host, path, &target, method));
        }
        self.untried(routes);
    }

    /// Whether whatever the decision hangs on is the same on both sides.
    fn is_same(&self, routes: [Option<&Route>; 2]) -> bool {
        let ([before, after], [was, is]) = (self.policies, self.meanings);
        match routes {
            [None, None] => true,
            [Some(one), Some(other)] => {
                one.id == other.id && was.deciding(before, one) == is.deciding(after, other)
            }
            _ => false,
        }
    }

    fn untried(&mut self, routes: [Option<&Route>; 2]) {
        let sides = routes.into_iter().zip(self.policies);
        let because: BTreeSet<&'static str> =
            sides.filter_map(|(route, policy)| Some(untried(policy, route?))).flatten().collect();
        if !because.is_empty() {
            let [route_before, route_after] = routes.map(|route| route.map(|route| route.id.to_string()));
            self.may_differ.insert(MayDiffer { route_before, route_after, because });
        }
    }

    /// Routes of FHIR services are compared by what they say.
    fn fhir(&mut self) {
        let ids: BTreeSet<&str> = self
            .policies
            .iter()
            .flat_map(|policy| &policy.routes)
            .filter(|route| route.fhir.is_some())
            .map(|route| route.id.as_ref())
            .collect();
        for id in ids {
            let routes = self.policies.map(|policy| policy.routes.iter().find(|route| *route.id == *id));
            if !self.is_same(routes) {
                self.untried(routes);
            }
        }
    }

    fn pair(&mut self, found: [Option<usize>; 2], request: (Option<&str>, &str, &str, &Method)) {
        let (host, path, target, method) = request;
        let [before, after] = found;
        let routes = [self.route(0, before), self.route(1, after)];
        let whose = patients(routes, path);
        for who in callers::who(self.policies, routes) {
            for tried in self.tries(&who, &whose, routes) {
                let mut verdicts = ["deny"; 2];
                for (side, (policy, verdict)) in self.policies.iter().zip(&mut verdicts).enumerate() {
                    let delegation = tried.relation.clone();
                    let rehearsal = Rehearsal {
                        method,
                        target,
                        host,
                        body: None,
                        identity: tried.identity(policy, side),
                        answers: Answers { delegation, ..Answers::default() },
                        now: NOW,
                    };
                    *verdict = rehearse(policy, &rehearsal, &mut Silent).decision.verdict();
                }
                let key = (before, after, method.to_string(), who.clone(), tried.situation(&whose));
                let [was, is] = verdicts;
                self.changed
                    .entry(key)
                    .or_default()
                    .entry((was, is))
                    .or_default()
                    .insert(tried.signed_in(self.policies));
            }
        }
    }

    fn tries<'t>(
        &self,
        who: &'t Who,
        whose: &[(String, Option<String>)],
        routes: [Option<&Route>; 2],
    ) -> Vec<Tried<'t>> {
        let Some(issuer) = &who.issuer else {
            let proof = Proof { levels: Default::default(), methods: Vec::new() };
            return vec![Tried {
                who,
                patient: None,
                relation: None,
                has_actor: false,
                proof,
                age: None,
                is_bound: false,
            }];
        };
        let rules: Vec<_> = self
            .policies
            .iter()
            .flat_map(|policy| &policy.issuers)
            .filter(|rules| *rules.name == **issuer)
            .collect();
        let mut relations: BTreeSet<Option<Box<str>>> = BTreeSet::from([None]);
        for (policy, route) in self.policies.iter().zip(routes) {
            let named = route.into_iter().flat_map(|route| &route.any_of).flat_map(|entry| &entry.delegate);
            let named = named.filter_map(|at| policy.delegations.relations.get(*at));
            relations.extend(named.map(|relation| Some(relation.name.clone())));
        }
        let actors: &[bool] = if relations.len() > 1 { &[false, true] } else { &[false] };
        let proofs = callers::proofs(self.policies, issuer);
        let ages: BTreeSet<Option<i64>> =
            rules.iter().flat_map(|rules| callers::ages(self.policies, rules.callers)).collect();
        let bound: &[bool] = if rules.iter().any(|rules| rules.callers == Caller::Service) {
            &[false, true]
        } else {
            &[false]
        };
        let mut all = Vec::new();
        for (_, patient) in whose {
            for relation in &relations {
                for has_actor in actors {
                    for proof in &proofs {
                        for age in &ages {
                            for is_bound in bound {
                                all.push(Tried {
                                    who,
                                    patient: patient.clone(),
                                    relation: relation.clone(),
                                    has_actor: *has_actor,
                                    proof: proof.clone(),
                                    age: *age,
                                    is_bound: *is_bound,
                                });
                            }
                        }
                    }
                }
            }
        }
        all
    }

    /// The groups, those of several methods together; who needs more for the same is left out.
    fn changed(&self) -> Vec<Changed> {
        let mut groups: BTreeMap<Changed, BTreeSet<String>> = BTreeMap::new();
        for ((before, after, method, who, situation), outcomes) in &self.changed {
            for ((was, is), signed_in) in outcomes.iter().filter(|((was, is), _)| was != is) {
                let simpler = self.changed.iter().any(|((b, a, m, other, s), others)| {
                    (b, a, m, s) == (before, after, method, situation)
                        && other != who
                        && other.issuer == who.issuer
                        && other.is_within(who)
                        && others.get(&(*was, *is)).is_some_and(|found| signed_in.is_subset(found))
                });
                if simpler {
                    continue;
                }
                let always = outcomes.len() == 1;
                let group = Changed {
                    route_before: self.route(0, *before).map(|route| route.id.to_string()),
                    route_after: self.route(1, *after).map(|route| route.id.to_string()),
                    methods: BTreeSet::new(),
                    who: who.clone(),
                    situation: situation.clone(),
                    before: was,
                    after: is,
                    signed_in: if always { Vec::new() } else { signed_in.iter().cloned().collect() },
                };
                groups.entry(group).or_default().insert(method.clone());
            }
        }
        groups.into_iter().map(|(group, methods)| Changed { methods, ..group }).collect()
    }
}

/// What of a route's decision hangs on more than caller and path.
fn untried(policy: &Policy, route: &Route) -> BTreeSet<&'static str> {
    let mut entries = route.any_of.iter();
    let hangs_on = [
        (
            "conditions",
            !route.refine.is_empty()
                || !route.deny.is_empty()
                || route.any_of.iter().any(|entry| entry.when.is_some()),
        ),
        ("the body", route.lower_risk.is_some() || matches!(route.patient, Some(PatientSource::Body(_)))),
        ("a look-up of the patient", matches!(route.patient, Some(PatientSource::Lookup(_)))),
        ("what is asked of the FHIR service", route.fhir.is_some()),
        ("a policy decision point", route.pdp.is_some()),
        ("consent", route.consent.is_some()),
        ("separation of duties", !route.duties.is_empty()),
        ("breaking the glass", route.break_glass.is_some()),
        ("what was granted", entries.any(|entry| !entry.delegate.is_empty())),
        ("proof without an account", route.anonymous.is_some()),
        ("rate limits", !route.rate_limits.is_empty()),
        ("signals", !policy.signals.is_empty()),
        ("WebSocket handshakes", route.websocket),
    ];
    hangs_on.into_iter().filter(|(_, does)| *does).map(|(name, _)| name).collect()
}
