//! From where a session may be shown: by the application's own pages.

use super::Reason;
use crate::policy::Route;
use crate::request::Facts;
use crate::request::credentials::Presented;
use crate::request::fetch::From;

/// Browsers send a session's cookie whoever's page asks them to. What changes something, or opens a channel that could,
/// must come from the application's own pages, or from one that the route names.
pub(super) fn check_cross_site(route: &Route, facts: &Facts) -> Result<(), Reason> {
    if !matches!(facts.presented, Presented::Session(_)) || facts.fetch.from == From::Own {
        return Ok(());
    }
    check_origin(route, facts)
}

/// The same where nobody has signed in: another site's page must not use up its visitors' attempts, nor have them asked
/// for proof, not even by a picture that it shows. A link may be followed. Who is no browser says nothing of pages.
pub(super) fn check_own_page(route: &Route, facts: &Facts) -> Result<(), Reason> {
    let is_followed = facts.method.is_safe() && facts.fetch.navigation;
    if facts.fetch.from != From::Other || is_followed { Ok(()) } else { check_named(route, facts) }
}

fn check_origin(route: &Route, facts: &Facts) -> Result<(), Reason> {
    if facts.method.is_safe() && !facts.websocket { Ok(()) } else { check_named(route, facts) }
}

fn check_named(route: &Route, facts: &Facts) -> Result<(), Reason> {
    let is_named = route
        .cors
        .as_ref()
        .zip(facts.origin.as_deref())
        .is_some_and(|(cors, origin)| cors.origins.iter().any(|known| known.as_ref() == origin));
    if is_named { Ok(()) } else { Err(Reason::CrossSite) }
}
