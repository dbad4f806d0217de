//! The words for what an authentication lacks.

use crate::policy::requirement::Unmet;

/// Its stable name, and what an operator should know.
pub(super) const fn words(unmet: Unmet) -> (&'static str, &'static str) {
    match unmet {
        Unmet::Level => {
            ("level_too_low", "the token's level is below the tier's, or its `acr` and `amr` are not mapped")
        }
        Unmet::Age => {
            ("authentication_too_old", "`auth_time` is older than the tier's `max_age`, or missing")
        }
        Unmet::Methods => {
            ("method_not_strong_enough", "none of the tier's `require_methods` is in the token's `amr`")
        }
        Unmet::OtherAction => (
            "action_not_named",
            "the token's `authorization_details` name no action, or another: another body, address, method or set of rules",
        ),
        Unmet::UnreadableDetails => (
            "action_details_unreadable",
            "the token's `authorization_details` are malformed, or have members that are not known here",
        ),
        Unmet::ServiceNotAllowed => ("service_not_allowed", "the tier has no `service:` rule"),
        Unmet::ServiceTokenAge => ("service_token_too_old", "the machine's token is too old"),
        Unmet::ServiceNotSenderConstrained => {
            ("service_not_sender_constrained", "the machine's token is bound to nothing")
        }
    }
}
