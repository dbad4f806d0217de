//! From host, path and method to one route, at a cost that does not grow with their number.
//!
//! A tree of path segments per host. The most specific path wins, segment by segment (text, then `{parameter}`, then
//! `**`), the exact host before any host; the method is looked at last, and a path that matches but for its method
//! never falls through to a broader route.

use foldhash::HashMap;
use http::Method;
use smallvec::SmallVec;

use super::Route;
use super::near::Near;
use super::template::{Step, Template};
use crate::request::Facts;
use crate::request::target::Target;

/// What the index found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// This route, by position.
    Route(usize),
    /// The path is known, the method is not: these are.
    OtherMethod(Vec<Method>),
    /// No route has this path.
    None,
}

/// Two routes that could both win.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ambiguous {
    /// The earlier route.
    pub first: usize,
    /// The later one.
    pub second: usize,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, u32>,
    parameter: Option<u32>,
    here: SmallVec<[u32; 2]>,
    below: SmallVec<[u32; 2]>,
}

/// The compiled tree.
#[derive(Debug, Default)]
pub struct Index {
    nodes: Vec<Node>,
    hosts: HashMap<Box<str>, u32>,
    any_host: Option<u32>,
    leaves: Vec<Leaf>,
    near: Near,
}

#[derive(Debug)]
struct Leaf {
    methods: SmallVec<[Method; 4]>,
    websocket: bool,
}

impl Index {
    /// Builds the tree; positions in it are positions in `routes`.
    ///
    /// # Errors
    /// Every pair of routes that could both win for some request.
    pub fn build(routes: &[Route]) -> Result<Self, Vec<Ambiguous>> {
        let mut index = Self { near: Near::build(routes), ..Self::default() };
        let mut ambiguous = Vec::new();
        for (position, route) in routes.iter().enumerate() {
            index
                .leaves
                .push(Leaf { methods: route.methods.iter().cloned().collect(), websocket: route.websocket });
            let root = index.root(route.host.as_deref());
            let siblings = index.slot(root, &route.template);
            let Ok(leaf) = u32::try_from(position) else {
                continue;
            };
            for other in siblings.iter().map(|other| *other as usize) {
                let both_win = routes.get(other).is_some_and(|other| {
                    other.websocket == route.websocket
                        && other.methods.iter().any(|method| route.methods.contains(method))
                });
                if both_win {
                    ambiguous.push(Ambiguous { first: other, second: position });
                }
            }
            siblings.push(leaf);
        }
        if ambiguous.is_empty() { Ok(index) } else { Err(ambiguous) }
    }

    /// Finds the route of a request; a preflight is looked up by the method it asks about.
    pub fn find(&self, facts: &Facts) -> Match {
        let method = facts.preflight.as_ref().map_or(&facts.method, |preflight| &preflight.method);
        self.look_up(facts.host.as_str(), &facts.target, method, facts.websocket)
    }

    /// Finds nothing where the path is another spelling of a more specific route's.
    fn look_up(&self, host: &str, target: &Target, method: &Method, websocket: bool) -> Match {
        let segments: SmallVec<[&str; 16]> = target.segments().collect();
        let roots = [self.hosts.get(host).copied(), self.any_host];
        for root in roots.into_iter().flatten() {
            if let Some(leaves) = self.walk(root, &segments) {
                let found = self.choose(leaves, method, websocket);
                return match found {
                    Match::Route(route) if self.near.is_another(host, target, route) => Match::None,
                    found => found,
                };
            }
        }
        Match::None
    }

    /// The leaves of the most specific path. Each node is visited at most once, so a request can't make this slow.
    fn walk(&self, at: u32, segments: &[&str]) -> Option<&[u32]> {
        let node = self.nodes.get(at as usize)?;
        let Some((segment, rest)) = segments.split_first() else {
            return [&node.here, &node.below]
                .into_iter()
                .find(|leaves| !leaves.is_empty())
                .map(|leaves| leaves.as_slice());
        };
        let by_text = node.literals.get(*segment).and_then(|next| self.walk(*next, rest));
        let by_parameter =
            || node.parameter.filter(|_| !segment.is_empty()).and_then(|next| self.walk(next, rest));
        by_text
            .or_else(by_parameter)
            .or_else(|| if node.below.is_empty() { None } else { Some(node.below.as_slice()) })
    }

    fn choose(&self, leaves: &[u32], method: &Method, websocket: bool) -> Match {
        let of_kind = || {
            leaves
                .iter()
                .filter_map(|leaf| Some((*leaf as usize, self.leaves.get(*leaf as usize)?)))
                .filter(|(_, leaf)| leaf.websocket == websocket)
        };
        if let Some((position, _)) = of_kind().find(|(_, leaf)| leaf.methods.contains(method)) {
            return Match::Route(position);
        }
        let methods: Vec<Method> = of_kind().flat_map(|(_, leaf)| leaf.methods.iter().cloned()).collect();
        if methods.is_empty() { Match::None } else { Match::OtherMethod(methods) }
    }

    fn root(&mut self, host: Option<&str>) -> u32 {
        let known = match host {
            Some(host) => self.hosts.get(host).copied(),
            None => self.any_host,
        };
        if let Some(root) = known {
            return root;
        }
        let root = self.new_node();
        match host {
            Some(host) => drop(self.hosts.insert(host.into(), root)),
            None => self.any_host = Some(root),
        }
        root
    }

    fn new_node(&mut self) -> u32 {
        self.nodes.push(Node::default());
        u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
    }

    fn slot(&mut self, root: u32, template: &Template) -> &mut SmallVec<[u32; 2]> {
        let mut at = root;
        for step in template.steps() {
            let known = self.nodes.get(at as usize).and_then(|node| match step {
                Step::Literal(text) => node.literals.get(text).copied(),
                Step::Parameter(_) => node.parameter,
            });
            let next = match known {
                Some(next) => next,
                None => {
                    let next = self.new_node();
                    if let Some(node) = self.nodes.get_mut(at as usize) {
                        match step {
                            Step::Literal(text) => drop(node.literals.insert(text.clone(), next)),
                            Step::Parameter(_) => node.parameter = Some(next),
                        }
                    }
                    next
                }
            };
            at = next;
        }
        #[allow(clippy::indexing_slicing, reason = "`at` was made by `new_node` on this very index")]
        let node = &mut self.nodes[at as usize];
        if template.is_open() { &mut node.below } else { &mut node.here }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(routes: &[(&str, &str, &str)]) -> Result<Index, Vec<Ambiguous>> {
        let routes: Vec<Route> =
            routes.iter().map(|(host, path, methods)| Route::sample(host, path, methods)).collect();
        Index::build(&routes)
    }

    fn find(index: &Index, host: &str, path: &str, method: &str) -> Match {
        let method = Method::from_bytes(method.as_bytes()).expect("method");
        index.look_up(host, &Target::parse(path.as_bytes()).expect("target"), &method, false)
    }

    #[test]
    fn the_most_specific_path_wins() {
        let index = index(&[
            ("", "/**", "GET"),
            ("", "/p/{id}", "GET"),
            ("", "/p/new", "GET"),
            ("", "/p/{id}/x/**", "GET"),
            ("h", "/p/**", "GET"),
            ("", "/p/new/y", "GET"),
        ])
        .expect("unambiguous");
        for (host, path, route) in [
            ("a", "/", 0),
            ("a", "/other/deep", 0),
            ("a", "/p/7", 1),
            ("a", "/p/new", 2),
            ("a", "/p/new/x", 3),
            ("a", "/p/new/x/", 3),
            ("a", "/p/new/y", 5),
            ("a", "/p/new/z", 0),
            ("a", "/p/", 0),
            ("h", "/p/new", 4),
            ("h", "/p", 4),
            ("h", "/q", 0),
        ] {
            assert_eq!(find(&index, host, path, "GET"), Match::Route(route), "{host}{path}");
        }
    }

    #[test]
    fn a_known_path_never_falls_through_by_method() {
        let index = index(&[("", "/**", "GET,POST"), ("", "/p/{id}", "GET"), ("h", "/p/{id}", "PUT")])
            .expect("unambiguous");
        assert_eq!(find(&index, "a", "/p/7", "POST"), Match::OtherMethod(vec![Method::GET]));
        assert_eq!(find(&index, "h", "/p/7", "GET"), Match::OtherMethod(vec![Method::PUT]));
        assert_eq!(find(&index, "a", "/p/7/x", "POST"), Match::Route(0));
        assert_eq!(find(&index, "a", "/p/7", "GETX"), Match::OtherMethod(vec![Method::GET]));
    }

    #[test]
    fn another_spelling_of_a_precise_route_never_falls_to_a_broader_one() {
        let index =
            index(&[("", "/p/{id}/**", "GET,POST"), ("", "/p/{id}/export", "POST")]).expect("unambiguous");
        assert_eq!(find(&index, "a", "/p/7/export", "POST"), Match::Route(1));
        for path in ["/p/7/export/", "/p/7/Export", "/p/7/EXPORT/"] {
            // Also for a method that the precise route does not take: its path does not fall through by method either.
            assert_eq!(find(&index, "a", path, "POST"), Match::None, "{path}");
            assert_eq!(find(&index, "a", path, "GET"), Match::None, "{path}");
        }
        assert_eq!(find(&index, "a", "/p/7/other/", "POST"), Match::Route(0));
    }

    #[test]
    fn two_winners_refuse_the_build() {
        assert_eq!(
            index(&[("", "/p/{a}", "GET,PUT"), ("", "/p/{b}", "PUT")]).expect_err("ambiguous"),
            vec![Ambiguous { first: 0, second: 1 }]
        );
        assert!(index(&[("", "/p/{a}", "GET"), ("", "/p/{b}", "PUT"), ("h", "/p/{c}", "GET")]).is_ok());
    }
}
