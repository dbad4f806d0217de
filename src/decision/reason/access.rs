//! Why those beside the rules who have a say do not let a request pass.

use super::wording::{ASK, FORBIDDEN, RETRY, UNAVAILABLE};

/// What a service said, or that it said nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccessRefusal {
    /// The policy decision point says no.
    PdpDenied,
    /// Its answer is none that can be carried out.
    PdpAnswerRefused,
    /// It does not answer.
    PdpUnavailable,
    /// The look-up of the patient does not answer.
    PatientUnavailable,
    /// A signal refuses.
    Signal,
}

impl AccessRefusal {
    /// The reason's stable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::PdpDenied => "pdp_denied",
            Self::PdpAnswerRefused => "pdp_answer_refused",
            Self::PdpUnavailable => "pdp_unavailable",
            Self::PatientUnavailable => "patient_unavailable",
            Self::Signal => "signal_denied",
        }
    }

    /// What operators are told.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::PdpDenied => "the route's `pdp` says no: its own log has the decision's id",
            Self::PdpAnswerRefused => {
                "the route's `pdp` answered with an error, with no boolean `decision`, or with obligations, which are not carried out: see `/readyz` and its own log"
            }
            Self::Signal => {
                "a signal with `effect: { deny: true }` fired: the record's `input.signals` says which"
            }
            Self::PdpUnavailable => {
                "the route's `pdp` did not answer in time: check it, its `timeout` and `concurrency`; `/readyz` says what was wrong"
            }
            Self::PatientUnavailable => {
                "the service behind the route's `patient: { from: lookup }` did not answer in time: check it and its `timeout`; `/readyz` says what was wrong"
            }
        }
    }

    const fn is_outage(self) -> bool {
        match self {
            Self::PdpUnavailable | Self::PatientUnavailable => true,
            Self::PdpDenied | Self::PdpAnswerRefused | Self::Signal => false,
        }
    }

    /// The status; refusals look alike.
    pub const fn status(self) -> u16 {
        if self.is_outage() { 503 } else { 403 }
    }

    /// What callers are told.
    pub const fn title(self) -> &'static str {
        if self.is_outage() { UNAVAILABLE } else { FORBIDDEN }
    }

    /// What callers can do.
    pub const fn remedy(self) -> &'static str {
        if self.is_outage() { RETRY } else { ASK }
    }
}

#[cfg(test)]
mod tests {
    use super::AccessRefusal::{PdpAnswerRefused, PdpDenied, Signal};
    use crate::decision::Reason;

    #[test]
    fn refusals_look_like_any_other() {
        let outward =
            |reason: Reason| (reason.wording().status, reason.wording().title, reason.wording().remedy);
        for why in [PdpDenied, PdpAnswerRefused, Signal] {
            assert_eq!(outward(Reason::Access(why)), outward(Reason::NoRelation));
        }
    }
}
