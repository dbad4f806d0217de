//! Floor 1: the rules, immutable once compiled.
//!
//! `config` builds a [`Policy`] from the YAML file; `decision` reads it. Nothing here does I/O or knows the time.

pub mod access;
pub mod anonymous;
pub mod break_glass;
pub mod condition;
pub mod delegation;
pub mod duties;
pub mod fhir;
pub mod index;
mod near;
pub mod rate;
pub mod requirement;
pub mod route;
pub mod signal;
pub mod step_up;
pub mod template;
pub mod tier;
mod tree;

use crate::identity::IssuerRules;
use crate::identity::assurance::Levels;

pub use access::{Consent, Pdp};
pub use anonymous::Anonymous;
pub use break_glass::BreakGlass;
pub use condition::Condition;
pub use delegation::Delegations;
pub use fhir::{Bundles, FhirMatch, FhirService};
pub use index::{Index, Match};
pub use rate::{CountedBy, RateLimit};
pub use requirement::Requirement;
pub use route::{Access, Entry, PatientSource, Route};
pub use signal::Signal;
pub use step_up::{Resume, Way, WayKind};
pub use template::Template;
pub use tier::{Durability, StoreDown, Tier, TierIndex};

/// Everything a decision is made from, for one version of the configuration.
#[derive(Debug)]
pub struct Policy {
    /// A digest of the configuration's text, in hex: names the version in audit records.
    pub version: Box<str>,
    /// A digest of what of it makes the rules: the same at gateways that differ only in where they listen and write.
    pub rules: Box<str>,
    /// The configured levels of assurance.
    pub levels: Levels,
    /// The trusted issuers.
    pub issuers: Vec<IssuerRules>,
    /// The tiers, weakest first.
    pub tiers: Vec<Tier>,
    /// The ways to step up, in the order of the file; tiers refer to them by position.
    pub ways: Vec<Way>,
    /// What is kept of requests meanwhile.
    pub resume: Resume,
    /// The routes, in the order of the file.
    pub routes: Vec<Route>,
    /// From host, path and method to a route.
    pub index: Index,
    /// The limits on the rate of requests; routes refer to them by position.
    pub rate_limits: Vec<RateLimit>,
    /// Those outside who are asked about requests; routes refer to them by position.
    pub pdps: Vec<Pdp>,
    /// The services that know what patients have consented to; routes refer to them by position.
    pub consents: Vec<Consent>,
    /// What makes requests riskier whatever their routes say.
    pub signals: Vec<Signal>,
    /// The rights to break the glass; routes refer to them by position.
    pub break_glass: Vec<BreakGlass>,
    /// Who may act for patients.
    pub delegations: Delegations,
    /// The upstreams' names; routes refer to them by position.
    pub upstreams: Vec<Box<str>>,
}

impl Policy {
    /// A route by its position, which [`Index`] gives.
    pub fn route(&self, index: usize) -> Option<&Route> {
        self.routes.get(index)
    }

    /// A tier by its position. The compiler of the configuration only makes positions that exist.
    pub fn tier(&self, index: TierIndex) -> &Tier {
        self.tiers.get(index.position()).unwrap_or(&tier::STRICTEST)
    }

    /// The requirement of a route at a tier.
    pub fn requirement(&self, route: &Route, tier: TierIndex) -> Requirement<'_> {
        Requirement::new(self.tier(tier), route.data_floor)
    }
}
