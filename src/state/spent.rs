//! Proof that a single-use authentication event was spent, made by state stores only.

use std::fmt;

/// What a critical action is paid with: one authentication event, or one token bound to one action.
///
/// The text is unambiguous: its parts are length-prefixed, so no two events share a key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProofKey {
    text: Box<str>,
    moment: i64,
}

impl ProofKey {
    /// Joins the parts that name one event, which happened at `moment` (Unix seconds).
    pub fn new(parts: &[&str], moment: i64) -> Self {
        let mut text = String::new();
        for part in parts {
            text.push_str(&part.len().to_string());
            text.push(':');
            text.push_str(part);
        }
        Self { text: text.into(), moment }
    }

    /// When the event happened, in Unix seconds: a store whose memory does not reach back so far can't know whether it
    /// was spent.
    pub fn moment(&self) -> i64 {
        self.moment
    }

    /// The key's text, for stores; it names a person, so it is never logged.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ProofKey(hidden)")
    }
}

/// A receipt that this very call spent a proof.
///
/// Only state stores can make one:
/// ```compile_fail,E0624
/// let key = wardgate::state::spent::ProofKey::new(&["x"], 0);
/// let forged = wardgate::state::spent::Spent::new(key);
/// ```
#[derive(Debug)]
pub struct Spent {
    key: ProofKey,
}

impl Spent {
    pub(in crate::state) fn new(key: ProofKey) -> Self {
        Self { key }
    }

    /// What was spent.
    pub fn key(&self) -> &ProofKey {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_events_share_a_key() {
        assert_ne!(ProofKey::new(&["a", "bc"], 0), ProofKey::new(&["ab", "c"], 0));
        assert_ne!(ProofKey::new(&["a1:b"], 0), ProofKey::new(&["a", "b"], 0));
    }
}
