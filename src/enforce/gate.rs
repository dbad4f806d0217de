//! One request through the gate.

use std::sync::Arc;

use arc_swap::ArcSwap;
use uuid::Uuid;

use super::gather::BodySource;
use super::ports::{Identities, Journal, State};
use super::record::OpenIntent;
use super::{Admission, settle};
use crate::audit::pseudonym::Pseudonyms;
use crate::decision::{Challenge, Denial, Question, Reason, cors};
use crate::policy::{Match, Policy, Route};
use crate::request::{Facts, Unreadable};

/// Everything that decides, records and spends.
pub struct Gate {
    pub(super) policy: ArcSwap<Policy>,
    pub(super) identities: Arc<dyn Identities>,
    pub(super) state: Arc<dyn State>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) pseudonyms: Pseudonyms,
    /// By upstream: whether forms are searched for a field that overrides the method.
    pub(super) search_forms: Vec<bool>,
}

/// A request at a listener.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// The decision's id: made for this request, told to the caller.
    pub id: Uuid,
    /// The listener's name.
    pub listener: &'a str,
    /// The method as it came.
    pub method: &'a http::Method,
    /// What was read, or why it could not be.
    pub facts: Result<&'a Facts, Unreadable>,
    /// The moment, in Unix seconds.
    pub now: i64,
}

/// What to do with a request.
#[derive(Debug)]
pub enum Outcome {
    /// Forward it with this key.
    Admitted(Box<Admission>),
    /// Ask for stronger proof.
    Challenged(Challenge),
    /// Refuse it.
    Refused(Denial),
    /// Answer a preflight for this route.
    Preflight,
}

/// An outcome, and what is needed to carry it out.
#[derive(Debug)]
pub struct Settled {
    /// The policy it was decided by.
    pub policy: Arc<Policy>,
    /// The route's position, where one matched.
    pub route: Option<usize>,
    /// The outcome.
    pub outcome: Outcome,
    /// Methods that the path does take, for `Allow`.
    pub allow: Vec<http::Method>,
    /// What to close with an outcome record, where an intent was recorded.
    pub intent: Option<OpenIntent>,
    /// `permit`, `challenge` or `deny`.
    pub verdict: &'static str,
}

impl Settled {
    /// The route that matched.
    pub fn route(&self) -> Option<&Route> {
        self.route.and_then(|index| self.policy.route(index))
    }
}

impl Gate {
    /// Puts the parts together.
    pub fn new(
        policy: Policy,
        identities: Arc<dyn Identities>,
        state: Arc<dyn State>,
        journal: Arc<dyn Journal>,
        pseudonyms: Pseudonyms,
        search_forms: Vec<bool>,
    ) -> Self {
        Self { policy: ArcSwap::from_pointee(policy), identities, state, journal, pseudonyms, search_forms }
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// Takes one request to its outcome. Every request, also an unreadable one, leaves an audit record.
    pub async fn admit(&self, arrival: &Arrival<'_>, body: &mut dyn BodySource) -> Settled {
        let policy = self.policy();
        let facts = match arrival.facts {
            Ok(facts) => facts,
            Err(why) => {
                return self.refuse(arrival, policy, None, Vec::new(), Reason::Unreadable(why)).await;
            }
        };
        let index = match policy.index.find(facts) {
            Match::Route(index) => index,
            Match::OtherMethod(allow) => {
                return self.refuse(arrival, policy, None, allow, Reason::MethodNotAllowed).await;
            }
            Match::None => {
                return self.refuse(arrival, policy, None, Vec::new(), Reason::NoRoute).await;
            }
            Match::Unreadable(why) => {
                return self.refuse(arrival, policy, None, Vec::new(), Reason::Unreadable(why)).await;
            }
        };
        let Some(route) = policy.route(index) else {
            return self.refuse(arrival, policy, None, Vec::new(), Reason::NoRoute).await;
        };
        if facts.preflight.is_some() {
            return self.preflight(arrival, Arc::clone(&policy), index, route, facts).await;
        }
        let forms_may_override = self.search_forms.get(route.upstream).copied().unwrap_or(true);
        let question = Question { policy: &policy, route, facts, forms_may_override };
        let (decision, findings, evidence) = self.decide(&question, arrival.now, body).await;
        let context = settle::Context { arrival, question, findings: &findings, evidence: &evidence };
        let (outcome, intent, verdict) = self.settle(&context, decision).await;
        Settled { route: Some(index), outcome, allow: Vec::new(), intent, verdict, policy }
    }

    /// Answers `OPTIONS *`, which is about the gateway itself (RFC 9110 §9.3.7).
    pub async fn server_options(&self, arrival: &Arrival<'_>) -> Settled {
        let policy = self.policy();
        let recorded = self.record_answer(arrival, None, "permit", Reason::ServerOptions).await;
        let outcome = if recorded {
            Outcome::Preflight
        } else {
            Outcome::Refused(Denial::new(Reason::AuditUnavailable))
        };
        Settled { route: None, outcome, allow: Vec::new(), intent: None, verdict: "permit", policy }
    }

    async fn preflight(
        &self,
        arrival: &Arrival<'_>,
        policy: Arc<Policy>,
        index: usize,
        route: &Route,
        facts: &Facts,
    ) -> Settled {
        match cors::preflight(route, facts) {
            Err(reason) => self.refuse(arrival, Arc::clone(&policy), Some(index), Vec::new(), reason).await,
            Ok(_) => {
                let recorded =
                    self.record_answer(arrival, Some(route), "permit", Reason::PreflightAllowed).await;
                let outcome = if recorded {
                    Outcome::Preflight
                } else {
                    Outcome::Refused(Denial::new(Reason::AuditUnavailable))
                };
                Settled {
                    route: Some(index),
                    outcome,
                    allow: Vec::new(),
                    intent: None,
                    verdict: "permit",
                    policy: Arc::clone(&policy),
                }
            }
        }
    }

    async fn refuse(
        &self,
        arrival: &Arrival<'_>,
        policy: Arc<Policy>,
        route: Option<usize>,
        allow: Vec<http::Method>,
        reason: Reason,
    ) -> Settled {
        // A refusal stands whether or not it can be recorded: the failure is counted and logged by the journal.
        self.record_answer(arrival, route.and_then(|index| policy.route(index)), "deny", reason).await;
        Settled {
            route,
            outcome: Outcome::Refused(Denial::new(reason)),
            allow,
            intent: None,
            verdict: "deny",
            policy,
        }
    }
}
