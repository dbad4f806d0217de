//! The wordings of what FHIR services alone refuse.

/// Code, status, title, remedy, and what operators read.
type Words = (&'static str, u16, &'static str, &'static str, &'static str);

/// No interaction of the specification.
pub(super) const FHIR_NOT_UNDERSTOOD: Words = (
    "fhir_not_understood",
    400,
    "This is no FHIR interaction",
    "Send one of the interactions of FHIR's RESTful API, with the types of the server's version.",
    "the request is below the base of a FHIR service, and method and path are those of no interaction that is known; types and ids are case-sensitive",
);

/// A parameter that is not on the list.
pub(super) const FHIR_PARAMETER_REFUSED: Words = (
    "fhir_parameter_refused",
    400,
    "A parameter is not accepted",
    "Leave out what the server does not list as a search parameter, and encode names and values once.",
    "a parameter is none of the service's `search_params.allow`, or a form can't be read",
);

/// A body that does not go with its address.
pub(super) const FHIR_BODY_REFUSED: Words = (
    "fhir_body_refused",
    400,
    "The body does not go with the address",
    "Send JSON in UTF-8, not compressed, with the type and id of the address.",
    "the body's `resourceType` or `id` is another than the address has, or it is not JSON with one reading of at most 1 MiB: the trace of `wardgate explain` says which",
);

pub(super) const FHIR_REPLY_FOREIGN: Words = (
    "fhir_reply_foreign",
    404,
    "Nothing of the patient's is there",
    "Ask for a record of the patient for whom you have access.",
    "the server's reply to a caller who is confined to one patient shows something of another's, or of nobody's; see that the server obeys its search parameters, and list in `shared_types` what everybody may see",
);

pub(super) const FHIR_REPLY_UNCHECKED: Words = (
    "fhir_reply_unchecked",
    502,
    "The answer can't be passed on",
    "Ask for JSON, and for less at a time. Whether a change took effect is not known: look before you repeat it.",
    "the server's reply to a caller who is confined to one patient can't be looked through: it is no plain JSON of one meaning, compressed, longer than `max_reply_bytes`, or leads to another server; `wardgate_fhir_replies_total` says which",
);
