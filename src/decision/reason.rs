//! Every reason a request can be answered with.

mod access;
mod fhir;
mod wording;

pub use access::AccessRefusal;
pub use wording::Wording;

use crate::identity::{DpopFault, TokenFault};
use crate::policy::requirement::Unmet;
use crate::request::Unreadable;

/// Why a request was decided as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A rule allows it.
    Permitted,
    /// The route is public.
    PublicRoute,
    /// Somebody who has not signed in has given proof for this very request.
    AnonymousProven,
    /// The rules refuse, and the caller has broken the glass before this patient's record.
    GlassBroken,
    /// Somebody acts for the patient, and a rule allows that.
    Delegated,
    /// A preflight from an allowed origin.
    PreflightAllowed,
    /// `OPTIONS *`: answered without asking any upstream.
    ServerOptions,
    /// It can be read in more than one way.
    Unreadable(Unreadable),
    /// No route matches.
    NoRoute,
    /// It is below the base of a FHIR service, and FHIR has no such interaction.
    FhirNotUnderstood,
    /// A parameter of a FHIR request is none of those that the service takes.
    FhirParameterRefused,
    /// The body of a request to a FHIR server is not what its address says.
    FhirBodyRefused,
    /// The reply of a FHIR server shows something that is not of the patient to whom the caller is confined.
    FhirReplyForeign,
    /// The reply of a FHIR server to such a caller can't be looked through.
    FhirReplyUnchecked,
    /// A route matches but for its method.
    MethodNotAllowed,
    /// A header, parameter or field asks for another method than the one sent.
    MethodOverride,
    /// A form that should be searched for such a field can't be: too large, compressed.
    FormNotInspectable,
    /// The body is larger than the route or the listener allows, or than what can be read to decide.
    BodyTooLarge,
    /// The client stopped sending the body.
    BodyIncomplete,
    /// The client sent the body, or took the answer, more slowly than the listener allows.
    ClientTooSlow,
    /// There were more requests than a limit allows.
    RateLimited,
    /// The origin or method of a preflight is not allowed.
    PreflightRefused,
    /// Nothing was presented.
    CredentialsMissing,
    /// What was presented can't be used.
    CredentialsMalformed,
    /// A page of another origin makes a browser use its session.
    CrossSite,
    /// The token was refused.
    TokenRefused(TokenFault),
    /// The proof that the caller holds the token's key was refused.
    KeyProofRefused(DpopFault),
    /// The token was revoked.
    TokenRevoked,
    /// What the token allows came to its end while its stream was open.
    TokenEnded,
    /// It is said to be somebody else's request than the token's subject's.
    SubjectDiffers,
    /// Who asks about requests shows no certificate with a name that may.
    PeerUnknown,
    /// A question about a request is none that can be answered.
    EvaluationMalformed,
    /// The issuer's keys can't be had, or are too old for this tier.
    KeysUnavailable,
    /// The state store does not answer.
    StoreUnavailable,
    /// The audit journal can't record.
    AuditUnavailable,
    /// Somebody acts for the subject and no rule allows that.
    ActorNotAllowed,
    /// No rule is for this issuer.
    IssuerNotAllowed,
    /// No rule is for this client.
    ClientNotAllowed,
    /// No rule is for the caller's roles.
    RoleMissing,
    /// The token lacks a scope.
    ScopeMissing,
    /// The request does not say which patient it is about.
    PatientUnresolved,
    /// It is about another patient's record.
    NoRelation,
    /// Nobody has looked in time at the grant by which the caller acts for the patient.
    DelegationReviewDue,
    /// What somebody wants of their delegations can't be understood.
    DelegationMalformed,
    /// A rule's condition does not hold.
    ConditionNotMet,
    /// A condition could not be evaluated.
    ConditionFailed,
    /// A deny rule holds.
    DeniedByRule,
    /// Somebody outside who has a say does not let it pass.
    Access(AccessRefusal),
    /// Machines have no business at this tier.
    ServiceNotAllowed,
    /// A machine's token is too old for this tier.
    ServiceTokenTooOld,
    /// A machine's token is bound to nothing that only the machine holds.
    ServiceNotSenderConstrained,
    /// The authentication is too weak or too old.
    StepUpRequired(Unmet),
    /// The authentication event was already spent on another action.
    ProofAlreadySpent,
    /// A request that was kept has gone on before.
    AlreadySent,
    /// The token is for actions that it names, and this is none that would be named.
    TokenForOtherAction,
    /// The tier asks for more, and offers no way to show it.
    StepUpImpossible,
    /// Nobody has signed in, and the request does not name the one account that it is about.
    AccountUnnamed,
    /// Somebody who has not signed in has tried too often.
    TooManyAttempts,
    /// What was given to break the glass is not what the right asks for.
    BreakGlassMalformed,
    /// There is nothing to break the glass for: the request goes through as it is.
    BreakGlassNotNeeded,
    /// The caller has broken the glass before, and nobody has reviewed that in time.
    BreakGlassSuspended,
    /// Somebody who has not signed in has to prove whose account it is.
    ProofingRequired,
}
