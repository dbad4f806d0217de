//! Cross-origin callers: the preflight's answer and the headers on real answers (Fetch standard, CORS protocol).

use http::Method;

use super::Reason;
use crate::policy::Route;
use crate::policy::route::Cors;
use crate::request::Facts;

/// Answers a preflight for the route that its wanted method leads to.
///
/// # Errors
/// The route has no cross-origin callers, or this is none of them.
pub fn preflight<'p>(route: &'p Route, facts: &Facts) -> Result<&'p Cors, Reason> {
    allowed(route, facts).ok_or(Reason::PreflightRefused)
}

/// The route's settings where the request comes from an origin it allows.
pub fn allowed<'p>(route: &'p Route, facts: &Facts) -> Option<&'p Cors> {
    let origin = facts.origin.as_deref()?;
    route.cors.as_ref().filter(|cors| cors.origins.iter().any(|known| known.as_ref() == origin))
}

/// The methods a preflight's answer names.
pub fn methods(route: &Route) -> String {
    route.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}
