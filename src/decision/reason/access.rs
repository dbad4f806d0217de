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
    /// The patient does not consent.
    ConsentNotGiven,
    /// What is said of the patient's consent can't be believed.
    ConsentAnswerRefused,
    /// Whether the patient consents can't be known.
    ConsentUnavailable,
    /// A signal refuses.
    Signal,
    /// The caller has done what nobody may do together with this.
    SameActor,
}

impl AccessRefusal {
    /// The reason's stable name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::PdpDenied => "pdp_denied",
            Self::PdpAnswerRefused => "pdp_answer_refused",
            Self::PdpUnavailable => "pdp_unavailable",
            Self::PatientUnavailable => "patient_unavailable",
            Self::ConsentNotGiven => "consent_not_given",
            Self::ConsentAnswerRefused => "consent_answer_refused",
            Self::ConsentUnavailable => "consent_unavailable",
            Self::Signal => "signal_denied",
            Self::SameActor => "same_actor",
        }
    }

    /// What operators are told.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::PdpDenied => "the route's `pdp` says no: its own log has the decision's id",
            Self::PdpAnswerRefused => {
                "the route's `pdp` answered with an error, with no boolean `decision`, or with obligations, which are not carried out: see `/readyz` and its own log"
            }
            Self::ConsentNotGiven => {
                "the service behind the route's `consent` knows none by which the patient agrees to this, or one by which they don't"
            }
            Self::ConsentAnswerRefused => {
                "the service behind the route's `consent` answered with an error, or with what is no answer to the question: see `/readyz` and its own log"
            }
            Self::ConsentUnavailable => {
                "the service behind the route's `consent` did not answer in time: check it, its `timeout` and `concurrency`; `/readyz` says what was wrong"
            }
            Self::Signal => {
                "a signal with `effect: { deny: true }` fired: the record's `input.signals` says which"
            }
            Self::SameActor => {
                "the same person has done the action of the route's `separation_of_duties` on the same thing: somebody else has to do this one"
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
            Self::PdpUnavailable | Self::PatientUnavailable | Self::ConsentUnavailable => true,
            Self::PdpDenied
            | Self::PdpAnswerRefused
            | Self::ConsentNotGiven
            | Self::ConsentAnswerRefused
            | Self::Signal
            | Self::SameActor => false,
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
    use super::AccessRefusal::{
        ConsentAnswerRefused, ConsentNotGiven, PdpAnswerRefused, PdpDenied, SameActor, Signal,
    };
    use crate::decision::Reason;

    #[test]
    fn refusals_look_like_any_other() {
        let outward =
            |reason: Reason| (reason.wording().status, reason.wording().title, reason.wording().remedy);
        for why in [PdpDenied, PdpAnswerRefused, ConsentNotGiven, ConsentAnswerRefused, Signal, SameActor] {
            assert_eq!(outward(Reason::Access(why)), outward(Reason::NoRelation));
        }
    }
}
