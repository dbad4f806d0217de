//! Proof that an event was recorded.

use uuid::Uuid;

/// A receipt for one audit record, made by journals only:
/// ```compile_fail,E0624
/// let forged = wardgate::audit::receipt::Receipt::new(1, uuid::Uuid::nil());
/// ```
#[derive(Debug)]
pub struct Receipt {
    sequence: u64,
    decision: Uuid,
}

impl Receipt {
    pub(in crate::audit) fn new(sequence: u64, decision: Uuid) -> Self {
        Self { sequence, decision }
    }

    /// The record's sequence number.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The decision it is about.
    pub fn decision(&self) -> Uuid {
        self.decision
    }
}
