//! One route: what it matches, how risky it is, who may use it.

use std::time::Duration;

use http::Method;

use super::duties::Duty;
use super::{Anonymous, Condition, FhirMatch, Template, TierIndex};
use crate::identity::Level;
use crate::request::PathReading;

/// Whether a route needs a caller at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody; still cleaned, limited and audited.
    Public,
    /// Only whom a rule allows.
    Protected,
}

/// Where a request says which patient it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatientSource {
    /// A `{parameter}` of the path.
    Path(Box<str>),
    /// A query parameter, present once.
    Query(Box<str>),
    /// A field of the body.
    Body(Box<str>),
    /// The interaction of a FHIR request, which need not name any.
    Fhir,
    /// A service outside knows: the look-up's position.
    Lookup(usize),
}

/// One way to be allowed: everything in it must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entry {
    /// The issuer's position.
    pub issuer: Option<usize>,
    /// At least one of these roles.
    pub roles: Vec<Box<str>>,
    /// All of these scopes.
    pub scopes: Vec<Box<str>>,
    /// At least one of these clients.
    pub clients: Vec<Box<str>>,
    /// The request must be about the subject's own record.
    pub patient_self: bool,
    /// Whoever asks must act for the patient in one of these relations, by their position; nobody has to where it is empty.
    pub delegate: Vec<usize>,
    /// A condition that must hold.
    pub when: Option<Condition>,
}

/// A condition under which the action is riskier.
#[derive(Debug, Clone, PartialEq)]
pub struct Refine {
    /// When it applies; an error counts as yes.
    pub when: Condition,
    /// At least this tier then.
    pub tier: TierIndex,
}

/// The one way down: a body proven to hold nothing but these fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowerRisk {
    /// The harmless fields.
    pub fields: Vec<Box<str>>,
    /// The tier then.
    pub tier: TierIndex,
    /// The action's name then.
    pub id: Box<str>,
}

/// Which pages of other origins may call a route (Fetch standard).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Exact origins.
    pub origins: Vec<Box<str>>,
    /// Headers a page may send.
    pub headers: Vec<Box<str>>,
    /// How long a browser may remember the answer, in seconds.
    pub max_age: u32,
}

/// How long a route's upstream may take, where that differs from the upstream's own times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpstreamTimeouts {
    /// For a connection.
    pub connect: Option<Duration>,
    /// For the next bytes of an answer.
    pub read: Option<Duration>,
    /// To send the next bytes of a request.
    pub write: Option<Duration>,
}

/// One route.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name: the action in audit records.
    pub id: Box<str>,
    /// What people call the action.
    pub label: Option<Box<str>>,
    /// The exact host, or any.
    pub host: Option<Box<str>>,
    /// The path.
    pub template: Template,
    /// Which FHIR requests below the path it takes, where it is a FHIR service's; all others are for other routes.
    pub fhir: Option<FhirMatch>,
    /// The methods; `GET` brings `HEAD` with it.
    pub methods: Vec<Method>,
    /// Whether it takes WebSocket handshakes, and only those.
    pub websocket: bool,
    /// The upstream's position.
    pub upstream: usize,
    /// How that upstream reads paths.
    pub reading: PathReading,
    /// How long that may take.
    pub timeouts: UpstreamTimeouts,
    /// Public or protected.
    pub access: Access,
    /// What a public route asks for all the same.
    pub anonymous: Option<Anonymous>,
    /// The base tier.
    pub tier: TierIndex,
    /// The level its data class asks for.
    pub data_floor: Level,
    /// Which patient it is about.
    pub patient: Option<PatientSource>,
    /// Conditions that raise the tier.
    pub refine: Vec<Refine>,
    /// The one way down.
    pub lower_risk: Option<LowerRisk>,
    /// Conditions that refuse, whatever else allows.
    pub deny: Vec<Condition>,
    /// The ways to be allowed.
    pub any_of: Vec<Entry>,
    /// The position of the policy decision point that is asked too.
    pub pdp: Option<usize>,
    /// The position of the service that must know of the patient's consent.
    pub consent: Option<usize>,
    /// What nobody may do together with this.
    pub duties: Vec<Duty>,
    /// The position of the right by which somebody can get beyond a refusal of these rules.
    pub break_glass: Option<usize>,
    /// The same with a tier that is tried out: decided beside it, never enforced.
    pub candidate: Option<Box<Route>>,
    /// Cross-origin callers.
    pub cors: Option<Cors>,
    /// The most bytes of a body, instead of the listener's limit.
    pub body_bytes: Option<u64>,
    /// The positions of the limits on the rate of its requests.
    pub rate_limits: Vec<usize>,
}

impl Route {
    /// Whether the decision has to read the body.
    pub fn needs_body(&self) -> bool {
        self.lower_risk.is_some()
            || self.anonymous.as_ref().is_some_and(Anonymous::reads_body)
            || matches!(self.patient, Some(PatientSource::Body(_)))
            || self.refine.iter().any(|refine| refine.when.reads_body())
            || self.deny.iter().any(Condition::reads_body)
            || self.any_of.iter().any(|entry| entry.when.as_ref().is_some_and(Condition::reads_body))
    }

    /// Whether the decision has to know about the browser.
    pub fn reads_device(&self) -> bool {
        self.refine.iter().any(|refine| refine.when.reads_device())
            || self.deny.iter().any(Condition::reads_device)
            || self.any_of.iter().any(|entry| entry.when.as_ref().is_some_and(Condition::reads_device))
    }

    /// The most bytes a body may have, where the listener allows `listener`.
    pub fn body_limit(&self, listener: u64) -> u64 {
        self.body_bytes.unwrap_or(listener)
    }

    /// The riskiest tier that the route's own rules can reach: what an unreadable body counts as.
    pub fn highest_tier(&self) -> TierIndex {
        self.refine.iter().map(|refine| refine.tier).fold(self.tier, TierIndex::max)
    }

    /// A public route of the lowest tier, to the first upstream, that takes no method yet and asks for nothing.
    pub fn public(id: impl Into<Box<str>>, template: Template) -> Self {
        Self {
            id: id.into(),
            label: None,
            host: None,
            template,
            fhir: None,
            methods: Vec::new(),
            websocket: false,
            upstream: 0,
            reading: PathReading::STRICT,
            timeouts: UpstreamTimeouts::default(),
            access: Access::Public,
            anonymous: None,
            tier: TierIndex(0),
            data_floor: Level::NONE,
            patient: None,
            refine: Vec::new(),
            lower_risk: None,
            deny: Vec::new(),
            any_of: Vec::new(),
            pdp: None,
            consent: None,
            duties: Vec::new(),
            break_glass: None,
            candidate: None,
            cors: None,
            body_bytes: None,
            rate_limits: Vec::new(),
        }
    }

    /// A bare route for tests of what only looks at host, path and methods (comma-separated).
    #[cfg(test)]
    pub fn sample(host: &str, path: &str, methods: &str) -> Self {
        Self {
            host: if host.is_empty() { None } else { Some(host.into()) },
            methods: methods.split(',').map(|method| method.parse().expect("method")).collect(),
            ..Self::public(path, Template::parse(path).expect("template"))
        }
    }
}
