//! Others who have a say in a decision: what the rules know of them. How they are asked is `settings`.

/// What an outage of a service counts as, at tiers that neither record to disk nor spend proofs; the others always refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnavailable {
    /// Refuse with 503.
    Deny,
    /// Go on by the route's own rules.
    Allow,
}

/// A service outside that knows what patients have consented to. It can refuse what the rules allow, never the other way
/// round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// Its name.
    pub name: Box<str>,
    /// What its outage counts as.
    pub when_unavailable: WhenUnavailable,
}

/// A policy decision point outside (OpenID AuthZEN Authorization API 1.0). It can refuse what the rules allow, never the
/// other way round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pdp {
    /// Its name.
    pub name: Box<str>,
    /// What its outage counts as.
    pub when_unavailable: WhenUnavailable,
}
