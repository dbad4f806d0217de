//! From where a session may be shown: by the application's own pages.

use super::Reason;
use crate::policy::Route;
use crate::request::Facts;
use crate::request::credentials::Presented;
use crate::request::fetch::From;

/// Browsers send a session's cookie whoever's page asks them to. What changes something, or opens a channel that could,
/// must come from the application's own pages, or from one that the route names.
pub(super) fn check_cross_site(route: &Route, facts: &Facts) -> Result<(), Reason> {
    let is_read = facts.method.is_safe() && !facts.websocket;
    if !matches!(facts.presented, Presented::Session(_)) || is_read || facts.fetch.from == From::Own {
        return Ok(());
    }
    let is_named = route
        .cors
        .as_ref()
        .zip(facts.origin.as_deref())
        .is_some_and(|(cors, origin)| cors.origins.iter().any(|known| known.as_ref() == origin));
    if is_named { Ok(()) } else { Err(Reason::CrossSite) }
}
