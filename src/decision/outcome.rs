//! The possible decisions. A [`Permit`] can't be made outside this module's judgement.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::Reason;
use super::break_glass::Glass;
use super::delegation::Mandate;
use super::duties::Claims;
use crate::identity::{Level, NamedAction, Subject};
use crate::policy::anonymous::Attempts;
use crate::policy::requirement::Unmet;
use crate::policy::{RateLimit, TierIndex};
use crate::request::account::Account;
use crate::request::fhir::bundle::BundleKind;
use crate::request::fhir::reply::Awaited;
use crate::state::spent::ProofKey;

/// What was found out on the way to a decision: for the audit record and for `explain`.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The effective tier, once it is known.
    pub tier: Option<TierIndex>,
    /// Whether `lower_risk_if_only` applied, so that the action has its other name.
    pub lowered: bool,
    /// The patient the request is about.
    pub patient: Option<Box<str>>,
    /// The account that somebody names who has not signed in.
    pub account: Option<Box<Account>>,
    /// Whether that patient is the subject.
    pub own_record: Option<bool>,
    /// Each condition that was evaluated, by its place (`refine[0]`), and what came of it; `None` is an error.
    pub conditions: SmallVec<[(ConditionPlace, Option<bool>); 1]>,
    /// Whether the browser was recognised, where a rule asks about it and that can be told.
    pub device: Option<bool>,
    /// The signals that fired, by name, and whether they are enforced.
    pub signals: SmallVec<[(Box<str>, bool); 2]>,
    /// Whether the patient consents, where the route asks for that.
    pub consent: Option<ConsentWord>,
    /// Whether the caller has done what nobody may do together with this.
    pub duties: Option<DutyWord>,
    /// What the policy decision point said, where one was asked.
    pub pdp: Option<PdpWord>,
    /// What would have come of it at the tier that the route tries out.
    pub candidate: Option<Candidate>,
    /// The position of the rule in `any_of` that allowed it.
    pub rule: Option<usize>,
    /// The positions of rules that would allow it to somebody who acts for the patient.
    pub delegable: SmallVec<[usize; 2]>,
    /// By what the caller acts for the patient, where that is why it is allowed.
    pub mandate: Option<Box<Mandate>>,
    /// How it stands with the glass, where the rules refuse and the caller has a right beyond them.
    pub break_glass: Option<Glass>,
    /// Whether the reply will tell whose record the request is about, which the request itself does not say.
    pub reply_tells: bool,
    /// What the requests in it are, where it is a Bundle of several.
    pub bundle: Option<Box<Bundled>>,
}

/// The requests of a Bundle, as far as they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundled {
    /// Which Bundle.
    pub kind: BundleKind,
    /// In their order.
    pub entries: Vec<BundledEntry>,
    /// The strictest level that the data of its routes ask for.
    pub floor: Level,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundledEntry {
    /// Its route's position.
    pub route: usize,
    /// Whether `lower_risk_if_only` applied.
    pub lowered: bool,
}

/// An answer of a policy decision point, as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PdpWord {
    /// Yes.
    Permit,
    /// No.
    Deny,
    /// No, unless there is stronger proof.
    StepUp,
    /// Nothing that can be carried out.
    NotUnderstood,
    /// There was none.
    Unavailable,
}

impl PdpWord {
    /// The word in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
            Self::StepUp => "step_up",
            Self::NotUnderstood => "not_understood",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Whether a patient consents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentWord {
    /// It is the caller's own record.
    Own,
    /// Yes.
    Given,
    /// No.
    NotGiven,
    /// The answer is none that can be believed.
    NotUnderstood,
    /// There was none.
    Unavailable,
}

impl ConsentWord {
    /// The word in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Given => "given",
            Self::NotGiven => "not_given",
            Self::NotUnderstood => "not_understood",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A decision that was not enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The tier.
    pub tier: TierIndex,
    /// `permit`, `challenge` or `deny`; `open` where that depends on what was not looked for.
    pub verdict: &'static str,
}

/// Whether somebody has done the other half of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DutyWord {
    /// No.
    Free,
    /// Yes.
    Other,
    /// Nobody can tell.
    Unavailable,
}

impl DutyWord {
    /// The word in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Other => "other",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Where in a route a condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionPlace {
    /// `refine[n]`.
    Refine(usize),
    /// `deny[n]`.
    Deny(usize),
    /// `any_of[n]`.
    AnyOf(usize),
}

impl ConditionPlace {
    /// The list in the route, and the position there.
    pub const fn parts(self) -> (&'static str, usize) {
        match self {
            Self::Refine(at) => ("refine", at),
            Self::Deny(at) => ("deny", at),
            Self::AnyOf(at) => ("any_of", at),
        }
    }
}

/// Leave to forward one request. Made by [`super::step`] only:
/// ```compile_fail,E0451
/// let forged = wardgate::decision::Permit { subject: None, reason: wardgate::decision::Reason::Permitted, spend: None, confined: None, claims: Default::default() };
/// ```
#[derive(Debug)]
pub struct Permit {
    pub(in crate::decision) subject: Option<Arc<Subject>>,
    pub(in crate::decision) reason: Reason,
    pub(in crate::decision) spend: Option<ProofKey>,
    pub(in crate::decision) confined: Option<Box<Confinement>>,
    pub(in crate::decision) claims: Claims,
}

/// What the reply to a permitted request may show, at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// The FHIR service's position.
    pub service: usize,
    /// Whose records.
    pub patient: Box<str>,
    /// What it answers.
    pub awaited: Awaited,
    /// Whether a search is in it, which a server may be asked to take strictly.
    pub is_search: bool,
}

impl Permit {
    /// Whom it was given to; nobody on a public route.
    pub fn subject(&self) -> Option<&Arc<Subject>> {
        self.subject.as_ref()
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether the rules refuse, and the glass was broken.
    pub fn broke_glass(&self) -> bool {
        self.reason == Reason::GlassBroken
    }

    /// What the reply must be looked through for before it goes out; `None` where it may show anything.
    pub fn confinement(&self) -> Option<&Confinement> {
        self.confined.as_deref()
    }

    /// What has to be claimed before the request may go out, so that the same person does not do its other half.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What has to be spent before the request may go out.
    pub fn to_spend(&self) -> Option<&ProofKey> {
        self.spend.as_ref()
    }
}

/// A request for stronger proof (RFC 9470).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// The first thing that is missing.
    pub reason: Reason,
    /// Everything that is missing.
    pub unmet: SmallVec<[Unmet; 3]>,
    /// The issuer's words for a sufficient level, the weakest first.
    pub acr_values: Vec<Box<str>>,
    /// The oldest authentication that will do, in seconds.
    pub max_age: Option<i64>,
    /// The tier that asks.
    pub tier: TierIndex,
    /// The account that has to be proven to be the person's, where nobody has signed in.
    pub account: Option<Box<Account>>,
    /// What the client may ask the issuer for: a token that names this very action (RFC 9396).
    pub action: Option<Box<NamedAction>>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// The scopes that would do, where scopes are what is missing (RFC 6750 §3.1).
    pub scopes: Vec<Box<str>>,
    /// The limit on the rate of requests that is used up, where that is why.
    pub exceeded: Option<Box<Exceeded>>,
    /// What it takes to break the glass, where the caller may.
    pub break_glass: Option<Box<Offer>>,
}

/// What it takes to break the glass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The reasons that can be given.
    pub reason_codes: Vec<Box<str>>,
    /// The fewest characters of the reason in one's own words.
    pub text_min: usize,
}

/// A limit that is used up, as the caller is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// The limit's name.
    pub limit: Box<str>,
    /// How many requests it lets through in each window.
    pub requests: u32,
    /// The window's length, in seconds.
    pub window: u32,
    /// After how many seconds the next request has a chance.
    pub retry_after: u64,
}

impl Exceeded {
    /// `wait` is how long it takes until there is a request again; told in whole seconds, never too few.
    pub fn new(limit: &RateLimit, wait: Duration) -> Self {
        let retry_after = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self {
            limit: limit.name.clone(),
            requests: limit.requests,
            window: limit.window,
            retry_after: retry_after.max(1),
        }
    }

    /// The attempts of somebody who has not signed in. Which of the two counters is used up must not be seen; both are
    /// empty again when nothing was tried for the whole span.
    pub fn attempts(limit: &Attempts) -> Self {
        let seconds = limit.span.as_secs();
        Self {
            limit: "attempts".into(),
            requests: u32::try_from(limit.more_than).unwrap_or(u32::MAX),
            window: u32::try_from(seconds).unwrap_or(u32::MAX),
            retry_after: seconds,
        }
    }
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

impl Denial {
    /// A refusal that has nothing to add to its reason.
    pub fn new(reason: Reason) -> Self {
        Self { reason, scopes: Vec::new(), exceeded: None, break_glass: None }
    }
}

/// A decision.
#[derive(Debug)]
pub enum Decision {
    /// Forward it.
    Permit(Permit),
    /// Ask for stronger proof.
    Challenge(Challenge),
    /// Refuse it.
    Deny(Denial),
}

impl Decision {
    /// Its reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Permit(permit) => permit.reason,
            Self::Challenge(challenge) => challenge.reason,
            Self::Deny(denial) => denial.reason,
        }
    }

    /// `permit`, `challenge` or `deny`.
    pub fn verdict(&self) -> &'static str {
        match self {
            Self::Permit(_) => "permit",
            Self::Challenge(_) => "challenge",
            Self::Deny(_) => "deny",
        }
    }
}
