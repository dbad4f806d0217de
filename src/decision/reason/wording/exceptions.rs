//! The words of where the rules bend for care: delegation, and glass that is broken.

/// Code, status, title, remedy, and what an operator should know.
type Words = (&'static str, u16, &'static str, &'static str, &'static str);

pub(super) const GLASS_MALFORMED: Words = (
    "break_glass_malformed",
    400,
    "The reason is not complete",
    "Name the request, one of the reason codes, and say in your own words why: as long as is asked for.",
    "see docs/break-glass.md for what is sent",
);
pub(super) const GLASS_NOT_NEEDED: Words = (
    "break_glass_not_needed",
    409,
    "There is nothing to open",
    "Repeat the request itself: it is not refused for want of a relation or a role.",
    "the request is permitted, or the glass was broken before",
);
pub(super) const GLASS_SUSPENDED: Words = (
    "break_glass_suspended",
    403,
    "Your right to break the glass is suspended",
    "Earlier uses of it were not reviewed in time. Ask whoever reviews them.",
    "`wardgate break-glass list` shows what is overdue; a review ends the suspension",
);
pub(super) const DELEGATION_REVIEW_DUE: Words = (
    "delegation_review_due",
    403,
    "Your permission to act for this person has to be looked at again",
    "Ask whoever granted it to renew it. Nothing has been changed.",
    "nobody has reviewed the grant in time: `wardgate delegation list`, then `review` or `revoke`",
);
pub(super) const DELEGATION_MALFORMED: Words = (
    "delegation_malformed",
    400,
    "The order can't be understood",
    "Send JSON with the name of the delegation that is to end. Nothing has been changed.",
    "see docs/delegation.md for what is sent",
);
