//! Which route a lenient server would take a path for: one that drops a trailing slash or ignores the letter case.
//!
//! A path that misses a precise route by its spelling alone must not fall to a broader one: `/export/` and `/Export`
//! may well run what `/export` runs. So the same templates are kept a second time, in one spelling, and a match is
//! refused where another, more specific template is as near.

use foldhash::HashMap;
use smallvec::SmallVec;

use super::Route;
use super::template::{Step, Template};

/// How specific a match is, in the order of the index: exact host before any host, then text before `{parameter}`
/// before the end of an open template. Of two that match one path the greater is the more specific.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Precision(SmallVec<[u8; 16]>);

const OPEN_END: u8 = 0;
const END: u8 = 1;
const PARAMETER: u8 = 2;
const TEXT: u8 = 3;

impl Precision {
    fn new(has_host: bool, template: &Template) -> Self {
        let steps = without_slash(template).iter().map(|step| match step {
            Step::Literal(_) => TEXT,
            Step::Parameter(_) => PARAMETER,
        });
        let end = if template.is_open() { OPEN_END } else { END };
        Self(std::iter::once(u8::from(has_host)).chain(steps).chain([end]).collect())
    }

    /// Whether nothing that matches the same path could be more specific.
    fn is_highest(&self) -> bool {
        self.0.iter().skip(1).all(|rank| *rank == TEXT || *rank == END)
    }
}

/// The steps without the empty one that a trailing slash is.
fn without_slash(template: &Template) -> &[Step] {
    match template.steps().split_last() {
        Some((Step::Literal(text), rest)) if text.is_empty() && !template.is_open() => rest,
        _ => template.steps(),
    }
}

#[derive(Debug, Default)]
struct Node {
    texts: HashMap<Box<str>, usize>,
    parameter: Option<usize>,
    here: Option<Precision>,
    below: Option<Precision>,
}

/// The templates in one spelling.
#[derive(Debug, Default)]
pub struct Near {
    nodes: Vec<Node>,
    hosts: HashMap<Box<str>, usize>,
    any_host: Option<usize>,
    /// By route.
    precisions: Vec<(Precision, bool)>,
    /// Whether a route is written with a trailing slash.
    any_slash: bool,
    /// Whether a route is written with a capital letter.
    any_capital: bool,
    /// Whether there are routes for one host only.
    any_of_host: bool,
}

impl Near {
    /// Keeps the templates of these routes.
    pub fn build(routes: &[Route]) -> Self {
        let mut near = Self::default();
        for route in routes {
            let has_host = route.host.is_some();
            let precision = Precision::new(has_host, &route.template);
            near.any_of_host |= has_host;
            near.any_slash |= without_slash(&route.template).len() < route.template.steps().len();
            near.any_capital |= route.template.steps().iter().any(
                |step| matches!(step, Step::Literal(text) if text.bytes().any(|byte| byte.is_ascii_uppercase())),
            );
            near.insert(route, &precision);
            near.precisions.push((precision, has_host));
        }
        near
    }

    /// Whether a lenient server could take this path, which matched `route` as that route's upstream reads it, for one
    /// of a more specific route.
    ///
    /// Costs nothing but a look at the path's bytes where it has neither a trailing slash nor capitals, and no
    /// route has.
    pub fn is_another(&self, host: &str, path: &str, route: usize) -> bool {
        let may_differ = path.ends_with('/')
            || self.any_slash
            || self.any_capital
            || path.bytes().any(|byte| byte.is_ascii_uppercase());
        let Some((found, has_host)) = self.precisions.get(route).filter(|_| may_differ) else {
            return false;
        };
        if found.is_highest() && (*has_host || !self.any_of_host) {
            return false;
        }
        let plain = path.to_ascii_lowercase();
        let plain = plain.strip_suffix('/').unwrap_or(&plain);
        let segments: SmallVec<[&str; 16]> =
            plain.get(1..).map(|rest| rest.split('/').collect()).unwrap_or_default();
        let roots = [self.hosts.get(host).copied(), self.any_host];
        let best = roots.into_iter().flatten().find_map(|root| self.walk(root, &segments));
        best.is_some_and(|best| best > found)
    }

    /// The most specific template; each node is visited at most once.
    fn walk(&self, at: usize, segments: &[&str]) -> Option<&Precision> {
        let node = self.nodes.get(at)?;
        let Some((segment, rest)) = segments.split_first() else {
            return node.here.as_ref().or(node.below.as_ref());
        };
        let by_text = node.texts.get(*segment).and_then(|next| self.walk(*next, rest));
        let by_parameter = || node.parameter.and_then(|next| self.walk(next, rest));
        by_text.or_else(by_parameter).or(node.below.as_ref())
    }

    fn insert(&mut self, route: &Route, precision: &Precision) {
        let known = match route.host.as_deref() {
            Some(host) => self.hosts.get(host).copied(),
            None => self.any_host,
        };
        let mut at = known.unwrap_or_else(|| self.new_node());
        match route.host.as_deref() {
            Some(host) => drop(self.hosts.insert(host.into(), at)),
            None => self.any_host = Some(at),
        }
        for step in without_slash(&route.template) {
            let text = match step {
                Step::Literal(text) => Some(text.to_ascii_lowercase()),
                Step::Parameter(_) => None,
            };
            let known = self.nodes.get(at).and_then(|node| match &text {
                Some(text) => node.texts.get(text.as_str()).copied(),
                None => node.parameter,
            });
            let next = known.unwrap_or_else(|| self.new_node());
            if let Some(node) = self.nodes.get_mut(at) {
                match text {
                    Some(text) => drop(node.texts.insert(text.into(), next)),
                    None => node.parameter = Some(next),
                }
            }
            at = next;
        }
        if let Some(node) = self.nodes.get_mut(at) {
            let place = if route.template.is_open() { &mut node.below } else { &mut node.here };
            *place = Some(precision.clone());
        }
    }

    fn new_node(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_another(routes: &[(&str, &str)], host: &str, path: &str, route: usize) -> bool {
        let routes: Vec<Route> = routes.iter().map(|(host, path)| Route::sample(host, path, "GET")).collect();
        Near::build(&routes).is_another(host, path, route)
    }

    #[test]
    fn another_spelling_of_a_more_specific_route_is_seen() {
        let routes =
            [("", "/p/{id}/**"), ("", "/p/{id}/export"), ("", "/p/{id}/Notes/"), ("h", "/q"), ("", "/q/**")];
        for (host, path, found, another) in [
            ("a", "/p/7/export", 1, false),
            ("a", "/p/7/export/", 0, true),
            ("a", "/p/7/Export", 0, true),
            ("a", "/P/7/EXPORT/", 0, true),
            ("a", "/p/7/export/x/", 0, false),
            ("a", "/p/7/exports/", 0, false),
            ("a", "/p/7/", 0, false),
            ("a", "/p/Seven/other", 0, false),
            ("a", "/p/7/Notes/", 2, false),
            ("a", "/p/7/Notes", 0, true),
            ("a", "/p/7/notes/", 0, true),
            ("a", "/q/", 4, false),
            ("h", "/q/", 4, true),
            ("h", "/Q", 4, true),
        ] {
            assert_eq!(is_another(&routes, host, path, found), another, "{host}{path}");
        }
    }

    #[test]
    fn two_spellings_that_are_both_routes_stand() {
        let routes = [("", "/a"), ("", "/a/"), ("", "/A"), ("", "/"), ("", "/**")];
        for (path, found) in [("/a", 0), ("/a/", 1), ("/A", 2), ("/", 3), ("/b/", 4), ("/B", 4)] {
            assert!(!is_another(&routes, "h", path, found), "{path}");
        }
        assert!(is_another(&routes, "h", "/A/", 4));
    }
}
