//! Policy tests that stand in the configuration itself, checked for sense but not yet run.

use std::sync::Arc;

use http::Method;
use serde_json::{Map, Value};

use super::diagnostic::Place;
use crate::decision::{Evaluation, Lookup};
use crate::identity::Level;
use crate::policy::{Policy, TierIndex};

/// One policy test: who asks for what, and what must come of it.
#[derive(Debug)]
pub struct Case {
    /// What it shows, in the author's words.
    pub name: Box<str>,
    /// The file it stands in, as it was named.
    pub file: Arc<str>,
    /// Where it stands there, for a diagnostic when it fails.
    pub place: Place,
    /// Who asks.
    pub caller: CaseCaller,
    /// The method.
    pub method: Method,
    /// The request target as a client would send it. It begins with `/`, but may be one that is refused as
    /// unreadable.
    pub target: Box<str>,
    /// The host asked for, in lower case; `None` where the author does not care.
    pub host: Option<Box<str>>,
    /// The body, sent as JSON.
    pub body: Option<Value>,
    /// What services outside answer.
    pub answers: Answers,
    /// What must come of it.
    pub expect: Expectation,
}

/// What services outside answer where nobody asks them: in tests, and for `wardgate explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// The route's policy decision point.
    pub pdp: Lookup<Evaluation>,
    /// Whether the patient consents.
    pub consent: Lookup<bool>,
    /// Whether the caller has done what nobody may do together with this.
    pub other_duty: Lookup<bool>,
    /// The look-up of the patient.
    pub patient: Lookup<Box<str>>,
    /// The relation in which the caller acts for whatever patient it is about.
    pub delegation: Option<Box<str>>,
}

impl Default for Answers {
    /// Every dependency in good order, nobody against it, and nothing found.
    fn default() -> Self {
        Self {
            pdp: Lookup::Found(Evaluation::Permitted),
            consent: Lookup::Found(true),
            other_duty: Lookup::Found(false),
            patient: Lookup::Absent,
            delegation: None,
        }
    }
}

impl Answers {
    /// The words for whether the caller has done what nobody may do together with this.
    pub const OTHER_DUTY: [(&str, Lookup<bool>); 3] = [
        ("not_done", Lookup::Found(false)),
        ("done", Lookup::Found(true)),
        ("unavailable", Lookup::Unavailable),
    ];

    /// The words for whether the patient consents.
    pub const CONSENT: [(&str, Lookup<bool>); 3] = [
        ("given", Lookup::Found(true)),
        ("not_given", Lookup::Found(false)),
        ("unavailable", Lookup::Unavailable),
    ];
    /// The words for what a policy decision point may say.
    pub const PDP: [(&str, Lookup<Evaluation>); 3] = [
        ("permit", Lookup::Found(Evaluation::Permitted)),
        ("deny", Lookup::Found(Evaluation::Denied)),
        ("unavailable", Lookup::Unavailable),
    ];
}

/// Who makes a test's request.
#[derive(Debug)]
pub enum CaseCaller {
    /// A request without a token.
    Nobody,
    /// A request with one.
    Known(Box<Persona>),
}

/// A caller as an issuer would vouch for them.
#[derive(Debug)]
pub struct Persona {
    /// The issuer's position in the policy.
    pub issuer: usize,
    /// `sub`, where it matters.
    pub subject: Option<Box<str>>,
    /// The patient record that is the caller's own.
    pub patient: Option<Box<str>>,
    /// Roles.
    pub roles: Vec<Box<str>>,
    /// Scopes.
    pub scopes: Vec<Box<str>>,
    /// The client the token was issued to.
    pub client: Option<Box<str>>,
    /// The level of assurance; [`Level::NONE`] for services.
    pub level: Level,
    /// `amr`.
    pub methods: Vec<Box<str>>,
    /// Seconds since the authentication, or since a service's token was issued.
    pub age: i64,
    /// The one who acts for the caller.
    pub actor: Option<Box<str>>,
    /// Further claims, for conditions.
    pub claims: Map<String, Value>,
}

/// What must come of a test's request. What is `None` is not looked at.
#[derive(Debug)]
pub struct Expectation {
    /// The decision.
    pub outcome: ExpectedOutcome,
    /// The reason's code.
    pub reason: Option<Box<str>>,
    /// The tier that the request ends up in.
    pub tier: Option<TierIndex>,
    /// The action: a route's id, or that of its `lower_risk_if_only`.
    pub action: Option<Box<str>>,
}

/// What came of a test's request.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The decision.
    pub outcome: ExpectedOutcome,
    /// The reason's code.
    pub reason: &'static str,
    /// The tier that the request ended up in, where it came so far.
    pub tier: Option<TierIndex>,
    /// The action, where a route matched.
    pub action: Option<Box<str>>,
    /// The position of the route that matched.
    pub route: Option<usize>,
}

impl Tried {
    /// Whether it is what was expected.
    pub fn is_as_expected(&self, expect: &Expectation) -> bool {
        self.outcome == expect.outcome
            && expect.reason.as_deref().is_none_or(|wanted| wanted == self.reason)
            && expect.tier.is_none_or(|wanted| self.tier == Some(wanted))
            && expect.action.as_deref().is_none_or(|wanted| self.action.as_deref() == Some(wanted))
    }

    /// The name of its tier.
    pub fn tier_name<'p>(&self, policy: &'p Policy) -> &'p str {
        self.tier.map_or("none", |tier| policy.tier(tier).name.as_ref())
    }

    /// All of it, in words for the author.
    pub fn told(&self, policy: &Policy) -> String {
        let action = self.action.as_deref().unwrap_or("none");
        let (outcome, tier) = (self.outcome.name(), self.tier_name(policy));
        format!("`{outcome}` with reason `{}`, tier `{tier}`, action `{action}`", self.reason)
    }
}

/// A decision, as far as a test can tell decisions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExpectedOutcome {
    /// The request is forwarded.
    Permit,
    /// More proof is asked for.
    Challenge,
    /// The request is refused.
    Deny,
}

impl ExpectedOutcome {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Permit, Self::Challenge, Self::Deny];

    /// As it is written in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Challenge => "challenge",
            Self::Deny => "deny",
        }
    }
}
