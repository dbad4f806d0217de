//! Which routes of another policy could take the requests that a route took.
//!
//! Records hold no paths. What is known of a request is the template that it matched, its method, and that no more specific
//! route of its time took it.

use http::Method;

use crate::policy::template::Step;
use crate::policy::{Policy, Route};
use crate::request::names::fold;

/// Where a route's requests go under another policy.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The route at the very same place, by position.
    pub same: Option<usize>,
    /// Others that could take some of them.
    pub rivals: Vec<usize>,
}

/// Finds where the requests of `route` by `method` go under `candidate`.
pub fn find(was: &Policy, route: &Route, method: &Method, candidate: &Policy) -> Places {
    let mut places = Places::default();
    for (position, other) in candidate.routes.iter().enumerate() {
        if is_same_place(was, route, candidate, other) && other.methods.contains(method) {
            places.same = Some(position);
        }
    }
    for (position, other) in candidate.routes.iter().enumerate() {
        // A route that was there before, and did not take the request then, does not take it now.
        let was_there = || {
            let mut routes = was.routes.iter();
            routes.any(|known| known.methods.contains(method) && is_same_place(was, known, candidate, other))
        };
        let takes = other.methods.contains(method) && overlap(route, other);
        if takes && places.same != Some(position) && (places.same.is_none() || !was_there()) {
            places.rivals.push(position);
        }
    }
    places
}

fn is_same_place(was: &Policy, route: &Route, candidate: &Policy, other: &Route) -> bool {
    let service = |policy: &Policy, route: &Route| {
        let matched = route.fhir.as_ref()?;
        policy
            .index
            .fhir()
            .service(matched.service)
            .map(|service| (service.host.clone(), service.base.clone()))
    };
    let same_fhir = match (&route.fhir, &other.fhir) {
        (None, None) => true,
        (Some(one), Some(two)) => {
            one.interactions == two.interactions
                && one.types == two.types
                && one.operations == two.operations
                && service(was, route) == service(candidate, other)
        }
        _ => false,
    };
    same_fhir
        && route.host == other.host
        && route.template == other.template
        && route.websocket == other.websocket
        && route.reading == other.reading
}

/// Whether some request could be meant for both, in the eyes of the most lenient server.
fn overlap(one: &Route, other: &Route) -> bool {
    let same_host = one.host.is_none() || other.host.is_none() || one.host == other.host;
    if !same_host || one.websocket != other.websocket {
        return false;
    }
    let (ones, others) = (steps(one), steps(other));
    let fits = ones.iter().zip(others).all(|pair| match pair {
        (Step::Literal(one), Step::Literal(other)) => fold(one) == fold(other),
        _ => true,
    });
    fits && match ones.len().cmp(&others.len()) {
        std::cmp::Ordering::Equal => true,
        std::cmp::Ordering::Less => one.template.is_open(),
        std::cmp::Ordering::Greater => other.template.is_open(),
    }
}

/// The steps without the empty one that a trailing slash is.
fn steps(route: &Route) -> &[Step] {
    match route.template.steps().split_last() {
        Some((Step::Literal(text), rest)) if text.is_empty() => rest,
        _ => route.template.steps(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps() {
        let route = |host: &str, path: &str| Route::sample(host, path, "GET");
        for (one, other, expected) in [
            (("", "/a/{x}"), ("", "/a/export"), true),
            (("", "/a/{x}"), ("", "/a/{x}/b"), false),
            (("", "/a/**"), ("", "/a/{x}/b"), true),
            (("", "/a/Export/"), ("", "/A/export"), true),
            (("", "/a/b"), ("", "/a/c"), false),
            (("one.example", "/a"), ("two.example", "/a"), false),
            (("one.example", "/a"), ("", "/a"), true),
            (("", "/**"), ("", "/"), true),
        ] {
            let (one, other) = (route(one.0, one.1), route(other.0, other.1));
            assert_eq!(overlap(&one, &other), expected, "{:?} {:?}", one.template, other.template);
            assert_eq!(overlap(&other, &one), expected, "the other way round");
        }
    }
}
