//! How a person gets from what a request shows to what its action asks for.

use std::time::Duration;

use http::Method;

use crate::identity::Level;

/// A way to get stronger proof from a person. Tiers refer to it by its position in [`super::Policy::ways`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Its configured name.
    pub name: Box<str>,
    /// What people call it; the issuer's or the gateway's own words where nothing was written.
    pub label: Option<Box<str>>,
    /// What happens.
    pub kind: WayKind,
}

/// What happens on a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WayKind {
    /// The API client is told what is missing and asks the issuer itself (RFC 9470).
    Rfc9470,
    /// The browser goes to the issuer of its session and comes back (OpenID Connect Core 1.0 §3.1).
    Oidc,
    /// The issuer asks on the person's phone (OpenID Connect CIBA Core 1.0).
    Ciba {
        /// The issuer's position: it asks its own subjects only.
        issuer: usize,
        /// How long a browser's request may be held open meanwhile; never, without it.
        hold: Option<Duration>,
        /// Whether it sends word when there is an answer (ping, CIBA Core 1.0 §5), and is looked at seldom (poll) beside.
        ping: bool,
    },
    /// Another service asks.
    Http {
        /// The level that its word is worth.
        grants: Level,
    },
}

impl Way {
    /// Whether who asks sends word when there is an answer.
    pub fn sends_word(&self) -> bool {
        matches!(self.kind, WayKind::Ciba { ping: true, .. })
    }

    /// Whether a browser's person can take it who was vouched for by this issuer (position).
    pub fn fits_browser(&self, issuer: usize) -> bool {
        match self.kind {
            WayKind::Rfc9470 => false,
            WayKind::Oidc | WayKind::Http { .. } => true,
            WayKind::Ciba { issuer: own, .. } => own == issuer,
        }
    }
}

/// What is kept of a browser's request while its person gives proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// Requests of these methods are kept.
    pub methods: Vec<Method>,
    /// The longest body that is kept, in bytes.
    pub most_body: usize,
    /// For how long.
    pub ttl: Duration,
}

impl Default for Resume {
    fn default() -> Self {
        Self {
            methods: vec![Method::POST, Method::PUT, Method::PATCH, Method::DELETE],
            most_body: 256 * 1024,
            ttl: Duration::from_secs(300),
        }
    }
}
