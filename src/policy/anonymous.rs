//! Public routes by which a thief would come in: recovery of an account, registration, enrolment of a factor. Nobody has
//! signed in there, so what is asked for hangs on the account that the request itself names.

use std::time::Duration;

/// Where a request names the account that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HintSource {
    /// A field of the body: a form's, or JSON's; dots step into nested objects of JSON.
    Body(Box<str>),
    /// A query parameter, present once.
    Query(Box<str>),
}

/// How often somebody may try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// So often about one account, from one network.
    pub more_than: u64,
    /// So often from one network, whatever the account.
    pub per_network: u64,
    /// In how long.
    pub span: Duration,
}

impl Attempts {
    /// So often about one account, from all networks together: what one network may use of it leaves as much again to the
    /// account's own person.
    pub fn of_account(&self) -> u64 {
        self.more_than.saturating_mul(2)
    }
}

impl Default for Attempts {
    fn default() -> Self {
        Self { more_than: 5, per_network: 5, span: Duration::from_secs(3_600) }
    }
}

/// What a public route asks of somebody who has not signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anonymous {
    /// Where the account is named.
    pub hint: HintSource,
    /// The ways to prove who one is, in order of preference: positions in [`super::Policy::ways`], all of them
    /// [`super::WayKind::Http`]. Without any, attempts are counted and that is all.
    pub step_up: Vec<usize>,
    /// How often.
    pub attempts: Attempts,
}

impl Anonymous {
    /// Whether the decision has to read the body.
    pub fn reads_body(&self) -> bool {
        matches!(self.hint, HintSource::Body(_))
    }
}
