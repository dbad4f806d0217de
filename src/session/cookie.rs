//! The gateway's cookies: the session's, and one for each sign-in under way.

use crate::request::cookies::{OWN_PREFIX, SESSION};

/// How many sign-ins under way a browser may have cookies for: more are forgotten, so that its requests stay small.
pub const MOST_PENDING: usize = 20;

/// The cookie that binds a sign-in under way to the browser it began in. Each has its own, so that several tabs don't
/// disturb each other. `state_digest` is that of its `state`.
pub fn pending_name(state_digest: &str) -> String {
    format!("{}{}", pending_prefix(), state_digest.get(..16).unwrap_or(state_digest))
}

/// What the names of these cookies begin with.
pub fn pending_prefix() -> String {
    format!("{OWN_PREFIX}tx-")
}

/// Binds a sign-in to this browser for a while, in seconds.
pub fn pending(name: &str, value: &str, seconds: u64) -> String {
    format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax")
}

/// Gives the browser its session. Without an age: it ends with the browser, and in the store when its time has come.
pub fn session(id: &str) -> String {
    format!("{SESSION}={id}; Path=/; Secure; HttpOnly; SameSite=Lax")
}

/// Takes a cookie back.
pub fn gone(name: &str) -> String {
    format!("{name}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax")
}
