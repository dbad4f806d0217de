//! Limits on the rate of requests.

/// Whose requests a limit counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountedBy {
    /// Those of one client address (IPv6: of one /64), before anybody is asked who they are.
    Address,
    /// Those of one subject, once it is known.
    Subject,
    /// Everybody's on the limit's routes. On a protected route only those of a known subject.
    Route,
}

/// One limit: a bucket of `burst` requests that fills again evenly, by `requests` in each window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Its name: in answers, audit records and metrics.
    pub name: Box<str>,
    /// Whose requests are counted together.
    pub per: CountedBy,
    /// How many requests there may be in each window.
    pub requests: u32,
    /// The window's length, in seconds.
    pub window: u32,
    /// How many there may be at once.
    pub burst: u32,
    /// Whether it also holds where no route matches.
    pub everywhere: bool,
}
