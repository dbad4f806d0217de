//! One request through the gate.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::flood::Flood;
use super::gather::BodySource;
use super::limits::check_size;
use super::ports::{Journal, Nonces, Rates, State};
use super::record::OpenIntent;
use super::streams::OpenStreams;
use super::{Admission, Generation, settle};
use crate::audit::pseudonym::InForce;
use crate::decision::{Challenge, Denial, Question, Reason, cors};
use crate::policy::{Match, Policy, Route};
use crate::request::{Facts, Unreadable};
use crate::state::spent::ProofKey;

/// What records and spends, whatever the version of the configuration.
pub struct Gate {
    pub(super) state: Arc<dyn State>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) rates: Arc<dyn Rates>,
    pub(super) streams: Arc<OpenStreams>,
    pub(super) nonces: Option<Arc<dyn Nonces>>,
    /// Where what is only observed is counted.
    pub(super) observed: Option<Arc<dyn State>>,
    pub(super) flood: Flood,
    pub(super) pseudonyms: Arc<InForce>,
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
    /// Whose request it is, as who asks says: nobody else's token is good for it.
    pub subject: Option<&'a str>,
    /// The moment, in Unix seconds.
    pub now: i64,
    /// The same on the clock that durations are measured by.
    pub at: Instant,
    /// What is spent in any case, where a request that was kept goes on.
    pub resumes: Option<&'a ProofKey>,
    /// The most bytes of a body that the listener takes, where the route does not say otherwise.
    pub body_bytes: u64,
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
        state: Arc<dyn State>,
        journal: Arc<dyn Journal>,
        rates: Arc<dyn Rates>,
        pseudonyms: Arc<InForce>,
    ) -> Self {
        let (streams, flood) = (Arc::default(), Flood::default());
        Self { state, journal, rates, streams, nonces: None, observed: None, flood, pseudonyms }
    }

    /// What runs.
    pub fn streams(&self) -> &Arc<OpenStreams> {
        &self.streams
    }

    /// The same gate with a store of its own for what is only observed, so that nobody waits for that.
    #[must_use]
    pub fn with_observed(mut self, observed: Arc<dyn State>) -> Self {
        self.observed = Some(observed);
        self
    }

    /// The same gate with nonces to give out; without them no proof can hold one.
    #[must_use]
    pub fn with_nonces(mut self, nonces: Arc<dyn Nonces>) -> Self {
        self.nonces = Some(nonces);
        self
    }

    /// The nonce for the next proof of possession (RFC 9449 §8.2). `now` is in Unix seconds.
    pub fn nonce(&self, now: i64) -> Option<String> {
        self.nonces.as_ref()?.current(now)
    }

    /// Takes one request to its outcome, under one version of the configuration. Every request, also an unreadable
    /// one, leaves an audit record.
    pub async fn admit(
        &self,
        generation: &Generation,
        arrival: &Arrival<'_>,
        body: &mut dyn BodySource,
    ) -> Settled {
        let policy = Arc::clone(&generation.policy);
        let facts = match arrival.facts {
            Ok(facts) => facts,
            Err(why) => {
                return self.refuse(arrival, policy, None, Vec::new(), Reason::Unreadable(why)).await;
            }
        };
        let found = policy.index.find(facts);
        let matched = if let Match::Route(index) = &found { policy.route(*index) } else { None };
        if let Err(denial) = self.limit_anybody(&policy, matched, facts) {
            let index = if let Match::Route(index) = found { Some(index) } else { None };
            return self.refuse(arrival, Arc::clone(&policy), index, Vec::new(), denial).await;
        }
        let index = match found {
            Match::Route(index) => index,
            Match::OtherMethod(allow) => {
                return self.refuse(arrival, policy, None, allow, Reason::MethodNotAllowed).await;
            }
            Match::None => {
                return self.refuse(arrival, policy, None, Vec::new(), Reason::NoRoute).await;
            }
            Match::NotFhir => {
                return self.refuse(arrival, policy, None, Vec::new(), Reason::FhirNotUnderstood).await;
            }
            Match::Unreadable(why) => {
                return self.refuse(arrival, policy, None, Vec::new(), Reason::Unreadable(why)).await;
            }
        };
        let Some(route) = policy.route(index) else {
            return self.refuse(arrival, policy, None, Vec::new(), Reason::NoRoute).await;
        };
        if facts.preflight.is_some() {
            return Box::pin(self.preflight(arrival, Arc::clone(&policy), index, route, facts)).await;
        }
        if let Err(denial) = check_size(route, facts, arrival.body_bytes) {
            return self.refuse(arrival, Arc::clone(&policy), Some(index), Vec::new(), denial).await;
        }
        let forms_may_override = generation.search_forms.get(route.upstream).copied().unwrap_or(true);
        let question = Question { policy: &policy, route, facts, forms_may_override };
        let (decision, findings, evidence) = self.decide(generation, &question, arrival, body).await;
        let context = settle::Context { arrival, question, findings: &findings, evidence: &evidence };
        let (outcome, intent, verdict) = self.settle(&context, decision).await;
        Settled { route: Some(index), outcome, allow: Vec::new(), intent, verdict, policy }
    }

    /// Answers `OPTIONS *`, which is about the gateway itself (RFC 9110 §9.3.7).
    pub async fn server_options(&self, generation: &Generation, arrival: &Arrival<'_>) -> Settled {
        let policy = Arc::clone(&generation.policy);
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

    /// Boxed, as is the answer to a preflight, so that the requests that go through need not carry room for it.
    fn refuse<'f>(
        &'f self,
        arrival: &'f Arrival<'f>,
        policy: Arc<Policy>,
        route: Option<usize>,
        allow: Vec<http::Method>,
        denial: impl Into<Denial>,
    ) -> Pin<Box<dyn Future<Output = Settled> + Send + 'f>> {
        let denial = denial.into();
        Box::pin(async move {
            let matched = route.and_then(|index| policy.route(index));
            // A refusal stands whether or not it can be recorded: the failure is counted and logged by the journal.
            self.record_answer(arrival, matched, "deny", denial.reason).await;
            Settled { route, outcome: Outcome::Refused(denial), allow, intent: None, verdict: "deny", policy }
        })
    }
}
