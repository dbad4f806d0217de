//! What the policy promises for one request.

use std::fmt;

use crate::ask::Answer;
use crate::trail::Record;

/// What must come of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    status: u16,
    verdict: &'static str,
    tier: &'static str,
    reason: &'static str,
    reaches_back_end: bool,
}

impl Expected {
    /// Whether that is what came, to the caller and in the audit trail.
    pub fn is_met(&self, answer: &Answer, record: &Record, reached_back_end: bool) -> bool {
        answer.status == self.status
            && record.verdict() == self.verdict
            && record.tier() == self.tier
            && record.reason() == self.reason
            && reached_back_end == self.reaches_back_end
    }

    /// It goes through.
    pub fn permit(tier: &'static str) -> Self {
        Self { status: 200, verdict: "permit", tier, reason: "permitted", reaches_back_end: true }
    }

    /// The protocol is switched.
    pub fn switch(tier: &'static str) -> Self {
        Self { status: 101, ..Self::permit(tier) }
    }

    /// More proof is asked for.
    pub fn challenge(tier: &'static str, reason: &'static str) -> Self {
        Self { status: 401, verdict: "challenge", tier, reason, reaches_back_end: false }
    }

    /// It is refused.
    pub fn deny(status: u16, tier: &'static str, reason: &'static str) -> Self {
        Self { status, verdict: "deny", tier, reason, reaches_back_end: false }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tier = if self.tier.is_empty() { "none" } else { self.tier };
        let end = if self.reaches_back_end { "reaching" } else { "not reaching" };
        write!(
            formatter,
            "{} {}, tier {tier}, reason {}, {end} a back end",
            self.status, self.verdict, self.reason
        )
    }
}
