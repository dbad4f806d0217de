//! What operators are told of a service.

use http::StatusCode;

use super::Outcome;
use crate::enforce::prompts::{Answered, PromptFault};
use crate::telemetry::metrics;

/// What to do about a service that does something else than it should.
pub const CONTRACT: &str = "compare the service with docs/step-up-service.yaml";

/// What to do about a status that says that nobody is asked.
pub fn remedy(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 | 403 => "compare `secret_file` with the secret that the service expects",
        404 | 405 => "check `url`: `/prompts` must be below it",
        429 => "nothing, if it is seldom: the service takes no more prompts at the moment",
        500.. => "check the service, and its own logs",
        _ => CONTRACT,
    }
}

/// What is counted of a look; nothing, where there is no answer yet.
pub fn result(outcome: &Outcome<Answered>) -> Option<&'static str> {
    Some(match outcome {
        Ok(Answered::Waiting(_)) => return None,
        Ok(Answered::Proven(_)) => "proven",
        Ok(Answered::Declined) => "declined",
        Ok(Answered::Expired) => "expired",
        Err(PromptFault::Refused(_)) => "refused",
        Err(PromptFault::NotReachable) => "not_reachable",
        Err(PromptFault::Unavailable) => "unavailable",
    })
}

/// Counts a prompt.
pub fn count(result: &str) {
    metrics().prompts.with_label_values(&["http", result]).inc();
}
