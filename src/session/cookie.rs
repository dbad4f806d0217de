//! The gateway's cookies: the session's, and one for each sign-in under way.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::target;
use crate::request::cookies::{ANONYMOUS, DEVICE, OWN_PREFIX, SESSION};

/// By what a browser is known on a host of the pages' own.
pub const PAGES: &str = "__Host-wardgate-pages";

/// How many sign-ins under way a browser may have cookies for: more are forgotten, so that its requests stay small.
pub const MOST_PENDING: usize = 20;

/// How long a browser remembers where a person was going, in seconds: longer than the sign-in itself lasts, so that
/// somebody who comes back from the issuer too late is led there all the same.
const REMEMBERED: u64 = 3_600;
/// Longer targets are not remembered, so that a browser's requests stay small.
const LONGEST_TARGET: usize = 150;

/// The cookie that binds a sign-in under way to the browser it began in. Each has its own, so that several tabs don't
/// disturb each other. `state_digest` is that of its `state`.
pub fn pending_name(state_digest: &str) -> String {
    format!("{}{}", pending_prefix(), state_digest.get(..16).unwrap_or(state_digest))
}

/// What the names of these cookies begin with.
pub fn pending_prefix() -> String {
    format!("{OWN_PREFIX}tx-")
}

/// Binds a sign-in to this browser for a while, and lets it remember where it was going.
pub fn pending(name: &str, binding: &str, to: &str) -> String {
    let to = match to {
        "/" => String::new(),
        to if to.len() > LONGEST_TARGET => String::new(),
        to => format!(".{}", URL_SAFE_NO_PAD.encode(to)),
    };
    format!("{name}={binding}{to}; Path=/; Max-Age={REMEMBERED}; Secure; HttpOnly; SameSite=Lax")
}

/// Reads such a cookie's value: the binding, and where the browser was going. That is the browser's own word, and held
/// to what every such target is held to.
pub fn read_pending(value: &str) -> (&str, String) {
    let (binding, to) = value.split_once('.').unwrap_or((value, ""));
    let to = URL_SAFE_NO_PAD.decode(to).ok().and_then(|to| String::from_utf8(to).ok());
    (binding, target::safe(to.as_deref()).to_owned())
}

/// Gives the browser its session. Without an age: it ends with the browser, and in the store when its time has come.
pub fn session(id: &str) -> String {
    format!("{SESSION}={id}; Path=/; Secure; HttpOnly; SameSite=Lax")
}

/// Binds what somebody has begun to this browser who has not signed in, for as long as it waits. What comes back from
/// another service's page must show it too.
pub fn anonymous(id: &str, ttl: Duration) -> String {
    format!("{ANONYMOUS}={id}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Lax", ttl.as_secs())
}

/// Lets the browser show that it was recognised.
pub fn device(id: &str, lasts: Duration) -> String {
    format!("{DEVICE}={id}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Lax", lasts.as_secs())
}

/// Lets a browser be known on a host of the pages' own, for so many seconds.
pub fn pages(id: &str, seconds: u64) -> String {
    format!("{PAGES}={id}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax")
}

/// Takes a cookie back.
pub fn gone(name: &str) -> String {
    format!("{name}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(line: &str) -> &str {
        line.split(';').next().unwrap().split_once('=').unwrap().1
    }

    #[test]
    fn a_browser_remembers_where_it_was_going() {
        for (to, remembered) in [
            ("/", "/"),
            ("/patients/p1?a=b&c=%2F", "/patients/p1?a=b&c=%2F"),
            (&format!("/{}", "a".repeat(LONGEST_TARGET)), "/"),
        ] {
            let line = pending("__Host-x", "binding", to);
            assert_eq!(read_pending(value(&line)), ("binding", remembered.to_owned()), "{line}");
        }
        assert_eq!(read_pending("binding"), ("binding", "/".to_owned()));
        for told in
            ["//evil.example", "https://evil.example", "/\\evil.example", "/_wardgate/sign-out", "\u{0}"]
        {
            let forged = format!("binding.{}", URL_SAFE_NO_PAD.encode(told));
            assert_eq!(read_pending(&forged), ("binding", "/".to_owned()), "{told}");
        }
        for broken in ["binding.", "binding.?", "binding.a.b", "binding._w"] {
            assert_eq!(read_pending(broken), ("binding", "/".to_owned()), "{broken}");
        }
    }
}
