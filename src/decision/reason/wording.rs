//! The words of every reason: to the caller, and to operators.

mod exceptions;
mod unmet;

use super::{Reason, fhir};
use crate::identity::TokenFault;

/// What a reason means to the outside and to operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wording {
    /// The stable name in audit records, metrics, traces and the configuration's `cases`.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// The problem's title (RFC 9457): says nothing that helps an attacker.
    pub title: &'static str,
    /// What the caller can do now.
    pub remedy: &'static str,
    /// What an operator should know or do; never sent to the caller.
    pub operator: &'static str,
}

/// What several reasons say alike.
pub(super) const FORBIDDEN: &str = "You may not do this";
pub(super) const ASK: &str = "If you should be able to do this, contact support and quote the decision id.";
pub(super) const UNAVAILABLE: &str = "Temporarily unavailable";
pub(super) const RETRY: &str =
    "This is a passing fault. Try again in a few seconds; nothing has been changed.";

impl Reason {
    /// The one place where each reason chooses its status and its words. There is no catch-all, so a new reason
    /// can't go without.
    pub const fn wording(self) -> Wording {
        const REFUSED: &str = "The token is not accepted";
        const SIGN_IN: &str = "Sign in again and repeat the request with the new token.";
        const STRONGER: &str = "Stronger proof is needed";
        const CONFIRM: &str =
            "Confirm that it is you: sign in again as the challenge asks, then repeat the request.";
        let (code, status, title, remedy, operator) = match self {
            Self::Permitted => ("permitted", 200, "Permitted", "", "a rule of `any_of` allows it"),
            Self::PublicRoute => ("public_route", 200, "Permitted", "", "the route is `access: public`"),
            Self::AnonymousProven => (
                "anonymous_proven",
                200,
                "Permitted",
                "",
                "proof was given for this request on one of the route's `anonymous.step_up`",
            ),
            Self::GlassBroken => (
                "glass_broken",
                200,
                "Permitted",
                "",
                "the rules refuse, and the caller has broken the glass: somebody else reviews it",
            ),
            Self::Delegated => (
                "delegated",
                200,
                "Permitted",
                "",
                "a rule of `any_of` allows it to somebody who acts for the patient, and the caller does",
            ),
            Self::PreflightAllowed => {
                ("preflight_allowed", 204, "Permitted", "", "the origin is one of the route's `cors.origins`")
            }
            Self::ServerOptions => {
                ("server_options", 204, "Permitted", "", "`OPTIONS *` is about the gateway itself")
            }
            Self::Unreadable(why) => (
                why.code(),
                why.status(),
                "The request can't be read",
                if why.status() == 431 {
                    "Send fewer and shorter headers."
                } else {
                    "Send a plain HTTP request: no dot segments, no encoded delimiters, one Host, one way of framing the body."
                },
                "two servers could read this request differently, so no rule can be sure of it",
            ),
            Self::NoRoute => (
                "no_route",
                404,
                "Not found",
                "Check the address.",
                "no route matches host and path, or only in another spelling (trailing slash, letter case): add one if this should be reachable",
            ),
            Self::FhirNotUnderstood => fhir::FHIR_NOT_UNDERSTOOD,
            Self::FhirParameterRefused => fhir::FHIR_PARAMETER_REFUSED,
            Self::FhirBodyRefused => fhir::FHIR_BODY_REFUSED,
            Self::FhirReplyForeign => fhir::FHIR_REPLY_FOREIGN,
            Self::FhirReplyUnchecked => fhir::FHIR_REPLY_UNCHECKED,
            Self::MethodNotAllowed => (
                "method_not_allowed",
                405,
                "Method not allowed",
                "Use one of the methods in the Allow header.",
                "the most specific route for this path does not list the method; broader routes are not tried",
            ),
            Self::MethodOverride => (
                "method_override",
                400,
                "The method can't be overridden",
                "Send the request with the method that is meant.",
                "a header, parameter or form field names another method, which the application might obey",
            ),
            Self::FormNotInspectable => (
                "form_not_inspectable",
                413,
                "The body can't be inspected",
                "Send it uncompressed, in UTF-8 and smaller, or the data in another format.",
                "forms and JSON are searched for `_method`; if this application never honours it say `method_override: never` on its upstream",
            ),
            Self::BodyTooLarge => (
                "body_too_large",
                413,
                "The body is too large",
                "Send less in one request.",
                "it is larger than `body_bytes` of the route or listener, or than the 256 KiB that a route's rules read",
            ),
            Self::BodyIncomplete => (
                "body_incomplete",
                400,
                "The body ended early",
                "Send the request again, whole.",
                "the client stopped sending, or broke the framing",
            ),
            Self::ClientTooSlow => (
                "client_too_slow",
                408,
                "The request came too slowly",
                "Send it again over a better connection.",
                "the client was slower than `limits.body_min_rate` for longer than `limits.body_grace`",
            ),
            Self::RateLimited => (
                "rate_limited",
                429,
                "Too many requests",
                "Wait as long as Retry-After says, then go on more slowly.",
                "one of `rate_limits` is used up; the RateLimit-Policy header names it",
            ),
            Self::PreflightRefused => {
                ("preflight_refused", 403, FORBIDDEN, ASK, "the origin is none of the route's `cors.origins`")
            }
            Self::CredentialsMissing => (
                "credentials_missing",
                401,
                "Sign in first",
                "Send an access token in the Authorization header.",
                "nothing was presented on a protected route",
            ),
            Self::CredentialsMalformed => (
                "credentials_malformed",
                400,
                "The credentials can't be used",
                "Send exactly one access token, as `Authorization: Bearer`.",
                "the token came in another way than one `Authorization: Bearer` header",
            ),
            Self::CrossSite => (
                "cross_site",
                403,
                FORBIDDEN,
                "Use the application's own pages for this.",
                "a session's cookie came with a request that changes something, and the browser does not say that it is from this origin: name the other page's origin in the route's `cors.origins`, if it is meant",
            ),
            Self::TokenRefused(TokenFault::SessionEnded) => (
                TokenFault::SessionEnded.code(),
                401,
                "The session has ended",
                "Sign in again.",
                "it was signed out, was idle for too long, has reached its longest time, or the store has lost it",
            ),
            Self::TokenRefused(fault) => (
                fault.code(),
                401,
                REFUSED,
                SIGN_IN,
                "compare the token's claims with the issuer's section of the configuration",
            ),
            Self::KeyProofRefused(fault) => {
                (fault.code(), 401, "The proof of possession is not accepted", fault.remedy(), fault.hint())
            }
            Self::TokenEnded => (
                "token_ended",
                401,
                REFUSED,
                SIGN_IN,
                "the token, or a role in it, ended while the stream was open",
            ),
            Self::TokenRevoked => (
                "token_revoked",
                401,
                REFUSED,
                SIGN_IN,
                "the subject, session, client or token was revoked after it was issued",
            ),
            Self::SubjectDiffers => (
                "subject_differs",
                403,
                FORBIDDEN,
                ASK,
                "`subject.id` of the evaluation is not the `sub` of the token that came with it: whoever asks takes one of them from elsewhere",
            ),
            Self::PeerUnknown => (
                "peer_unknown",
                403,
                FORBIDDEN,
                "Ask the operator to name you among those who may ask here.",
                "who asks about requests shows no certificate with a name of the listener's `peers`, or no secret of its `peer_secret_file`: if it is a proxy of yours, add its name or give it the secret",
            ),
            Self::EvaluationMalformed => (
                "evaluation_malformed",
                400,
                "This is no evaluation request",
                "Send JSON as AuthZEN 1.0 has it: `subject`, `action` and `resource`, each member once.",
                "what asks at a listener of `mode: authzen` or `ext_authz` sends something else; its answer says what is wrong",
            ),
            Self::KeysUnavailable => (
                "keys_unavailable",
                503,
                UNAVAILABLE,
                RETRY,
                "the issuer's keys are missing, or older than `stale_for` (`stale_for_critical`): check that the issuer can be reached",
            ),
            Self::StoreUnavailable => (
                "store_unavailable",
                503,
                UNAVAILABLE,
                RETRY,
                "the state store did not answer: check it, or the tier's `when_store_down`",
            ),
            Self::AuditUnavailable => (
                "audit_unavailable",
                503,
                UNAVAILABLE,
                RETRY,
                "the audit directory can't be written: check its disk and permissions",
            ),
            Self::ActorNotAllowed => (
                "actor_not_allowed",
                403,
                FORBIDDEN,
                ASK,
                "the token has an `act` claim, and no rule of the route has `delegate`",
            ),
            Self::IssuerNotAllowed => {
                ("issuer_not_allowed", 403, FORBIDDEN, ASK, "no rule of the route is for this issuer")
            }
            Self::ClientNotAllowed => {
                ("client_not_allowed", 403, FORBIDDEN, ASK, "no rule of the route is for this client")
            }
            Self::RoleMissing => {
                ("role_missing", 403, FORBIDDEN, ASK, "no rule of the route is for the caller's roles")
            }
            Self::ScopeMissing => (
                "scope_missing",
                403,
                "The token does not cover this",
                "Ask for a token with the scopes named in the challenge.",
                "the token lacks scopes that the closest rule asks for",
            ),
            Self::PatientUnresolved => (
                "patient_unresolved",
                403,
                FORBIDDEN,
                ASK,
                "the route's `patient.from` found nothing, or more than one value",
            ),
            Self::NoRelation => ("no_relation", 403, FORBIDDEN, ASK, "the record is not the caller's own"),
            Self::DelegationReviewDue => exceptions::DELEGATION_REVIEW_DUE,
            Self::DelegationMalformed => exceptions::DELEGATION_MALFORMED,
            Self::ConditionNotMet => {
                ("condition_not_met", 403, FORBIDDEN, ASK, "the closest rule's `when` does not hold")
            }
            Self::ConditionFailed => (
                "condition_failed",
                403,
                FORBIDDEN,
                ASK,
                "a `when` could not be evaluated on this request: see the trace of `wardgate explain`",
            ),
            Self::DeniedByRule => {
                ("denied_by_rule", 403, FORBIDDEN, ASK, "one of the route's `deny` rules holds")
            }
            Self::Access(why) => (why.code(), why.status(), why.title(), why.remedy(), why.hint()),
            Self::ServiceNotAllowed => (
                "service_not_allowed",
                403,
                FORBIDDEN,
                ASK,
                "the tier has no `service:` rule, so no machine may use it",
            ),
            Self::ServiceTokenTooOld => (
                "service_token_too_old",
                401,
                REFUSED,
                "Get a new token and repeat the request.",
                "the machine's token is older than the tier's `service.max_token_age`",
            ),
            Self::ServiceNotSenderConstrained => (
                "service_not_sender_constrained",
                401,
                REFUSED,
                "Get a token that is bound to a key of yours (DPoP) or to your client certificate.",
                "the tier says `service: { sender_constrained: required }`, and the machine's token is bound to nothing",
            ),
            Self::StepUpRequired(unmet) => {
                let (code, operator) = unmet::words(unmet);
                (code, 401, STRONGER, CONFIRM, operator)
            }
            Self::ProofAlreadySpent => (
                "proof_already_spent",
                401,
                STRONGER,
                "Each of these actions needs its own confirmation: sign in again, then repeat the request.",
                "this authentication event has paid for another action",
            ),
            Self::TokenForOtherAction => (
                "token_for_other_action",
                403,
                FORBIDDEN,
                ASK,
                "the token's `authorization_details` name single-use actions, and it is good for these alone",
            ),
            Self::AlreadySent => (
                "already_sent",
                409,
                "This was already sent",
                "It goes out once: look whether it was done before you do it again.",
                "the kept request was confirmed before",
            ),
            Self::StepUpImpossible => (
                "step_up_impossible",
                403,
                FORBIDDEN,
                ASK,
                "the tier asks for more than the token shows, and lists no `step_up`",
            ),
            Self::AccountUnnamed => (
                "account_unnamed",
                400,
                "The account can't be read",
                "Name one account, once, in a form or in JSON that is not compressed.",
                "the route's `anonymous.hint` found nothing, more than one value, or a body that has no one meaning",
            ),
            Self::TooManyAttempts => (
                "too_many_attempts",
                429,
                "Too many requests",
                "Wait as long as Retry-After says, then try again.",
                "the route's `anonymous.attempts` are used up for this account or this network; the metric tells which",
            ),
            Self::BreakGlassMalformed => exceptions::GLASS_MALFORMED,
            Self::BreakGlassNotNeeded => exceptions::GLASS_NOT_NEEDED,
            Self::BreakGlassSuspended => exceptions::GLASS_SUSPENDED,
            Self::ProofingRequired => (
                "proofing_required",
                401,
                STRONGER,
                "Confirm that it is you: open `step_up_url`, then repeat the request.",
                "the route's `anonymous.step_up` asks for proof before anybody has signed in",
            ),
        };
        Wording { code, status, title, remedy, operator }
    }

    /// The stable name.
    pub const fn code(self) -> &'static str {
        self.wording().code
    }
}

#[cfg(test)]
mod tests;
