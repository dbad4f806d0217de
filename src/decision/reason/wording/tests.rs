//! That refusals look alike to the outside, and each says what to do.

use super::*;

#[test]
fn refusals_look_alike_outward() {
    let reasons = [
        Reason::NoRelation,
        Reason::RoleMissing,
        Reason::PatientUnresolved,
        Reason::ConditionNotMet,
        Reason::DeniedByRule,
        Reason::ActorNotAllowed,
    ];
    let outward = |reason: Reason| (reason.wording().status, reason.wording().title, reason.wording().remedy);
    assert!(reasons.iter().all(|reason| outward(*reason) == outward(Reason::NoRelation)));
}
