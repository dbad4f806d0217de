//! What becomes of a browser's request that needs stronger proof: it is kept, the person gives the proof, and the same
//! request goes on, once.

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::sessions::{Choice, Page};
use crate::policy::TierIndex;
use crate::request::Facts;
use crate::request::account::Account;
use crate::request::credentials::SessionId;
use crate::state::spent::ProofKey;

/// The name under which a confirmed request comes back: a parameter of its query, so that what the application answers
/// stands at the application's own address.
pub const CONFIRMS: &str = "wardgate-intent";

/// A request of a browser that was answered with a challenge.
pub struct Challenged<'c> {
    /// Whose it is.
    pub asker: Asker<'c>,
    /// What is asked.
    pub facts: &'c Facts,
    /// Its headers.
    pub headers: &'c HeaderMap,
    /// Its whole body; `None` where that is too long to be kept.
    pub body: Option<Bytes>,
    /// The route's position.
    pub route: usize,
    /// The tier whose demand is not met.
    pub tier: TierIndex,
    /// Now, in Unix seconds.
    pub now: i64,
}

/// Whose request was challenged.
#[derive(Clone, Copy)]
pub enum Asker<'c> {
    /// Somebody's who is signed in.
    Session(&'c SessionId),
    /// Nobody has signed in.
    Nobody {
        /// By what the browser is known, where it is.
        id: Option<&'c SessionId>,
        /// The account that the request names.
        account: &'c Account,
    },
}

/// What a person is offered in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offered {
    /// The name under which the request is kept.
    pub name: Option<String>,
    /// Where the step-up begins, whatever the way; none where it could not be kept in mind.
    pub link: Option<String>,
    /// The ways, in the tier's order.
    pub ways: Vec<Choice>,
    /// Whether what was sent is kept; `None` where nothing was sent that would have to be.
    pub kept: Option<bool>,
    /// What binds it to the browser of somebody who has not signed in: a `Set-Cookie` line.
    pub cookie: Option<String>,
}

/// What the names of requests begin with that were kept for somebody who has not signed in.
pub const ANONYMOUS: &str = "anonymous-";

/// Whether a kept request's name is that of somebody who has not signed in.
pub fn is_anonymous(name: &str) -> bool {
    name.strip_prefix(ANONYMOUS).is_some_and(|rest| rest.len() == SessionId::LENGTH)
}

/// What it takes to keep a request once more that was taken out. What it holds is between the sessions and their store.
pub struct Again {
    /// The request's name.
    pub name: Box<str>,
    /// As it lay in the store, without its body.
    pub kept: Box<str>,
}

impl std::fmt::Debug for Again {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Again(…)")
    }
}

/// A request that was kept and confirmed, as it came.
#[derive(Debug)]
pub struct Confirmed {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub target: String,
    /// Those of its headers that are the application's business.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// What is spent so that it goes on once.
    pub once: ProofKey,
    /// For where it is refused after all.
    pub again: Again,
    /// Where the person goes back to, where the application's answer was meant for a script.
    pub back: Option<String>,
}

/// What came of a confirmation.
#[derive(Debug)]
pub enum Taken {
    /// It goes on.
    Request(Box<Confirmed>),
    /// It does not, and this is said; the word is the audit record's.
    Page(Page, &'static str),
}

/// The name of the request that a target confirms, and the target without it.
///
/// It stands last in the query, where the gateway's own page has put it: anything else is the application's.
pub fn confirms(target: &str) -> Option<(&str, &str)> {
    let (rest, name) = target.rsplit_once(CONFIRMS)?;
    let name = name.strip_prefix('=')?;
    let rest = rest.strip_suffix(['?', '&'])?;
    let is_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    is_name.then_some((rest, name))
}

/// The target by which a request of this name is confirmed.
pub fn confirming(target: &str, name: &str) -> String {
    let joint = if target.contains('?') { '&' } else { '?' };
    format!("{target}{joint}{CONFIRMS}={name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_confirms_is_told_from_what_does_not() {
        for target in ["/", "/patients/p1/profile", "/a?b=c", "/a?", "/a?b=wardgate-intent"] {
            let confirming = confirming(target, "AZ-_09");
            assert_eq!(confirms(&confirming), Some((target, "AZ-_09")), "{confirming}");
        }
        for other in [
            "/a?wardgate-intent=",
            "/a?wardgate-intent=b&c",
            "/a?wardgate-intent=b%20",
            "/wardgate-intent=b",
            "/a?xwardgate-intent=b",
            "/a?wardgate-intents=b",
            "/a?wardgate-intent",
        ] {
            assert_eq!(confirms(other), None, "{other}");
        }
    }
}
