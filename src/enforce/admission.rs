//! The only key to an upstream.

use super::duties::Claimed;
use crate::audit::receipt::Receipt;
use crate::decision::Permit;
use crate::state::spent::Spent;

/// A permit that was recorded and paid for. Whatever opens a connection to an upstream takes one of these:
/// ```compile_fail,E0451
/// fn forge(permit: wardgate::decision::Permit, receipt: wardgate::audit::receipt::Receipt) -> wardgate::enforce::Admission {
///     wardgate::enforce::Admission { permit, receipt, spent: None }
/// }
/// ```
#[derive(Debug)]
pub struct Admission {
    permit: Permit,
    receipt: Receipt,
    spent: Option<Spent>,
}

impl Admission {
    /// Joins them; `None` where the permit asks for a proof that this is not, or claims what is not claimed, which only a mistake in this
    /// program can bring about.
    pub(in crate::enforce) fn new(
        permit: Permit,
        receipt: Receipt,
        spent: Option<Spent>,
        claimed: &Claimed,
    ) -> Option<Self> {
        let paid = permit.to_spend() == spent.as_ref().map(Spent::key);
        if paid && claimed.covers(&permit) { Some(Self { permit, receipt, spent }) } else { None }
    }

    /// The permit.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The receipt of the recorded intent.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// What was spent; nothing where the tier spends nothing.
    pub fn spent(&self) -> Option<&Spent> {
        self.spent.as_ref()
    }
}
