//! From host, path and method to one route, at a cost that does not grow with their number.
//!
//! A tree of path segments per host. The most specific path wins, segment by segment (text, then `{parameter}`, then
//! `**`), the exact host before any host; the method is looked at last, and a path that matches but for its method
//! never falls through to a broader route.

use std::borrow::Cow;

use http::Method;
use smallvec::SmallVec;

use super::Route;
use super::fhir::{FhirIndex, FhirService, Found};
use super::near::Near;
use super::template::Step;
use super::tree::Tree;
use crate::request::target::Target;
use crate::request::{Facts, PathReading, Unreadable};

/// The reading by which the folded tree is made: every one that ignores case folds alike.
const FOLDED: PathReading = PathReading { ignores_case: true, drops_parameters: false, latin1: false };

/// What the index found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// This route, by position.
    Route(usize),
    /// The path is known, the method is not: these are.
    OtherMethod(Vec<Method>),
    /// No route has this path.
    None,
    /// It is below the base of a FHIR service, and FHIR has no such interaction.
    NotFhir,
    /// No upstream could be sent it and be sure to see the path that was decided on.
    Unreadable(Unreadable),
}

/// Two routes that can't be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ambiguous {
    /// The earlier route.
    pub first: usize,
    /// The later one.
    pub second: usize,
    /// Why they can't.
    pub why: Ambiguity,
}

/// Why two routes can't be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ambiguity {
    /// Both could win for some request.
    BothWin,
    /// One upstream makes no difference between the spellings of their paths, the other does.
    Spelling,
}

/// The compiled index.
#[derive(Debug, Default)]
pub struct Index {
    exact: Tree,
    /// The same routes under folded paths, where some upstream makes no difference of capitals.
    folded: Option<Tree>,
    /// The readings of the routes' upstreams, each once; empty where all are strict.
    relaxed: SmallVec<[PathReading; 2]>,
    leaves: Vec<Leaf>,
    near: Near,
    fhir: FhirIndex,
}

#[derive(Debug)]
struct Leaf {
    methods: SmallVec<[Method; 4]>,
    websocket: bool,
    reading: PathReading,
}

impl Index {
    /// Builds the index; positions in it are positions in `routes`.
    ///
    /// # Errors
    /// Every pair of routes that could both win for some request.
    pub fn build(routes: &[Route]) -> Result<Self, Vec<Ambiguous>> {
        Self::build_with(routes, &[])
    }

    /// The same with FHIR services, to which routes refer by position.
    ///
    /// # Errors
    /// As [`Index::build`].
    pub fn build_with(routes: &[Route], services: &[FhirService]) -> Result<Self, Vec<Ambiguous>> {
        let mut index = Self { near: Near::build(routes), ..Self::default() };
        let readings = || routes.iter().map(|route| route.reading);
        if readings().any(|reading| reading != PathReading::STRICT) {
            for reading in readings() {
                if !index.relaxed.contains(&reading) {
                    index.relaxed.push(reading);
                }
            }
        }
        index.folded = readings().any(|reading| reading.ignores_case).then(Tree::default);
        let mut ambiguous = Vec::new();
        index.fhir = FhirIndex::build(services, routes, &mut ambiguous);
        for (position, route) in routes.iter().enumerate() {
            index.leaves.push(Leaf {
                methods: route.methods.iter().cloned().collect(),
                websocket: route.websocket,
                reading: route.reading,
            });
            let Some(leaf) = u32::try_from(position).ok().filter(|_| route.fhir.is_none()) else {
                continue;
            };
            let equals: SmallVec<[u32; 2]> = index.exact.insert(route, leaf, PathReading::STRICT);
            let either = |other: usize| equals.contains(&u32::try_from(other).unwrap_or(u32::MAX));
            let clash = |other: usize| both_win(routes.get(other)?, route).then_some(other);
            for first in equals.iter().filter_map(|other| clash(*other as usize)) {
                ambiguous.push(Ambiguous { first, second: position, why: Ambiguity::BothWin });
            }
            let Some(tree) = &mut index.folded else { continue };
            let folds = tree.insert(route, leaf, FOLDED);
            let others = folds.iter().map(|other| *other as usize).filter(|other| !either(*other));
            for first in others.filter(|other| ignores_case(routes, *other, position)).filter_map(clash) {
                ambiguous.push(Ambiguous { first, second: position, why: Ambiguity::BothWin });
            }
            for (first, earlier) in routes.iter().enumerate().take(position) {
                if spelled_otherwise(earlier, route) {
                    ambiguous.push(Ambiguous { first, second: position, why: Ambiguity::Spelling });
                }
            }
        }
        if ambiguous.is_empty() { Ok(index) } else { Err(ambiguous) }
    }

    /// Finds the route of a request; a preflight is looked up by the method it asks about.
    ///
    /// Where upstreams read paths in different ways, the request is looked up in each of these ways, and a route counts
    /// only if its own upstream reads in the way in which it was found: then nothing that upstream serves for these
    /// bytes lies under a route that was not considered. Two ways that lead to two answers refuse.
    pub fn find(&self, facts: &Facts) -> Match {
        match self.fhir.find(facts) {
            Some(Found::Route(route)) => return Match::Route(route),
            Some(Found::NoRoute) => return Match::None,
            Some(Found::NotUnderstood) => return Match::NotFhir,
            None => {}
        }
        let method = facts.preflight.as_ref().map_or(&facts.method, |preflight| &preflight.method);
        self.look_up(facts.host.as_str(), &facts.target, method, facts.websocket)
    }

    /// The FHIR services and their routes.
    pub fn fhir(&self) -> &FhirIndex {
        &self.fhir
    }

    /// Finds nothing where the path is another spelling of a more specific route's.
    fn look_up(&self, host: &str, target: &Target, method: &Method, websocket: bool) -> Match {
        let found = self.read_and_choose(host, target, method, websocket);
        let Match::Route(route) = found else { return found };
        let reading = self.leaves.get(route).map_or(PathReading::STRICT, |leaf| leaf.reading);
        match target.path_as(reading) {
            Ok(path) if self.near.is_another(host, &path, route) => Match::None,
            Ok(_) => found,
            Err(why) => Match::Unreadable(why),
        }
    }

    fn read_and_choose(&self, host: &str, target: &Target, method: &Method, websocket: bool) -> Match {
        let strict = target.path_as(PathReading::STRICT);
        if self.relaxed.is_empty() {
            return match strict {
                Ok(path) => self.choose(self.exact.leaves(host, &path), None, method, websocket),
                Err(why) => Match::Unreadable(why),
            };
        }
        let mut found = Match::None;
        for reading in &self.relaxed {
            let Ok(path) = target.path_as(*reading) else {
                continue;
            };
            let path = reading.fold(path);
            let tree = self.folded.as_ref().filter(|_| reading.ignores_case).unwrap_or(&self.exact);
            let this = self.choose(tree.leaves(host, &path), Some(*reading), method, websocket);
            found = match (found, this) {
                (Match::None, this) => this,
                (found, Match::None) => found,
                (found @ Match::OtherMethod(_), Match::OtherMethod(_)) => found,
                (found, this) if found == this => found,
                _ => return Match::Unreadable(Unreadable::AmbiguousReading),
            };
        }
        match (found, strict) {
            (Match::None, Err(why)) => Match::Unreadable(why),
            (found, _) => found,
        }
    }

    /// Chooses among the leaves of a path. With a `reading`, only what belongs to an upstream that reads so counts.
    fn choose(
        &self,
        leaves: &[u32],
        reading: Option<PathReading>,
        method: &Method,
        websocket: bool,
    ) -> Match {
        let of_kind = || {
            leaves
                .iter()
                .filter_map(|leaf| Some((*leaf as usize, self.leaves.get(*leaf as usize)?)))
                .filter(|(_, leaf)| leaf.websocket == websocket)
        };
        let reads_so = |leaf: &Leaf| reading.is_none_or(|reading| leaf.reading == reading);
        if let Some((position, leaf)) = of_kind().find(|(_, leaf)| leaf.methods.contains(method)) {
            return if reads_so(leaf) { Match::Route(position) } else { Match::None };
        }
        let methods: Vec<Method> = of_kind()
            .filter(|(_, leaf)| reads_so(leaf))
            .flat_map(|(_, leaf)| leaf.methods.iter().cloned())
            .collect();
        if methods.is_empty() { Match::None } else { Match::OtherMethod(methods) }
    }
}

/// Whether two routes of one path could take the same request.
fn both_win(one: &Route, other: &Route) -> bool {
    one.websocket == other.websocket && one.methods.iter().any(|method| other.methods.contains(method))
}

/// Whether at least one of two routes has an upstream that makes no difference of capitals.
fn ignores_case(routes: &[Route], one: usize, other: usize) -> bool {
    [one, other].iter().any(|at| routes.get(*at).is_some_and(|route| route.reading.ignores_case))
}

/// Whether two routes' paths, as far as they are the same, are spelled in two ways of which only one upstream sees the
/// difference. Then nobody could say which of the two territories a third spelling is in.
fn spelled_otherwise(one: &Route, other: &Route) -> bool {
    let same_host = one.host.is_none() || other.host.is_none() || one.host == other.host;
    if !same_host || one.reading.ignores_case == other.reading.ignores_case {
        return false;
    }
    for pair in one.template.steps().iter().zip(other.template.steps()) {
        match pair {
            (Step::Literal(one), Step::Literal(other)) if one == other => {}
            (Step::Literal(one), Step::Literal(other)) => {
                let fold = |text| FOLDED.fold(Cow::Borrowed(text));
                return fold(one) == fold(other);
            }
            (Step::Parameter(_), Step::Parameter(_)) => {}
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests;
