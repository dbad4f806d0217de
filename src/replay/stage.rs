//! A recorded request once more before the rules: with the facts and the evidence that the record tells of.
//!
//! The rules themselves are the gateway's: [`crate::decision::step`] decides, as it does for requests that come. What a record
//! does not hold (paths, bodies, names) is put in its place by stand-ins of which the rules can't tell more than the
//! record does.

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::json;

use super::props::{self, Props, of_condition};
use super::record::Recorded;
use super::world::{ASKED_OTHERWISE, Place, Ran, Unknown, World};
use crate::decision::trace::Trace;
use crate::decision::{BodyReading, Decision, Evidence, Findings, Question, Reason, Step, step};
use crate::policy::{Access, Policy, Route};
use crate::request::Facts;
use crate::request::body::BodyFacts;
use crate::request::credentials::{KeyBound, Presented, SessionId, ShownProof, Token};
use crate::request::facts::{Hop, RawRequest, Reading};
use crate::request::fetch::From;
use crate::state::spent::ProofKey;

/// The moment at which it is decided again: ages are kept, dates are not.
pub(super) const NOW: i64 = 1_800_000_000;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `permit`, `challenge` or `deny`.
    pub verdict: &'static str,
    /// The effective tier.
    pub tier: Option<Box<str>>,
    /// The reason's stable name.
    pub reason: Box<str>,
    /// For how many seconds the proof that is asked for is good for more requests at this tier; `None` where it is good
    /// for this one alone.
    pub lasts: Option<i64>,
}

/// On what a decision depends: where, what, and how many answers there are.
pub(super) type Depends = (Place, Unknown, u8);

/// A place at which a record is decided again.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'p> {
    /// The rules of the time.
    pub was: &'p Policy,
    /// The route of the time.
    pub was_route: &'p Route,
    /// The rules by which it is decided.
    pub policy: &'p Policy,
    /// The route by which it is decided.
    pub route: &'p Route,
    /// Whether methods that were hidden in bodies were refused.
    pub was_refuses_hidden: bool,
    /// Whether they are.
    pub refuses_hidden: bool,
    /// Which other route that is; `None` at the very place of which the record speaks.
    pub place: Place,
    /// The names of all relations in which people act for others, under both.
    pub relations: &'p [Box<str>],
}

impl Stage<'_> {
    /// Decides the recorded request in one world.
    pub fn run<T: Trace>(&self, recorded: &Recorded, world: &World, trace: &mut T) -> Ran<Outcome> {
        let protected = self.route.access == Access::Protected;
        if protected && recorded.input.caller.is_none() && self.was_route.access == Access::Public {
            return Ran::Beyond(Unknown::Caller);
        }
        if let Some(caller) = recorded.input.caller.as_ref().filter(|_| protected)
            && !self.reads_tokens_alike(&caller.issuer)
        {
            return Ran::Beyond(Unknown::Issuer(caller.issuer.as_str().into()));
        }
        let by_session = recorded.input.caller.as_ref().is_some_and(|caller| caller.by_session);
        if (by_session || self.route.anonymous.is_some()) && self.was_route.cors != self.route.cors {
            return Ran::Beyond(Unknown::Page);
        }
        if recorded.is_bundle && self.route.fhir.is_some() {
            return Ran::Beyond(Unknown::Bundle);
        }
        let props = match props::make(self, recorded, world) {
            Ok(props) => props,
            Err((place, what, answers)) => return Ran::Depends(place, what, answers),
        };
        let Some(facts) = facts(recorded, &props) else {
            return Ran::Beyond(Unknown::Route(self.route.id.clone()));
        };
        let question = Question {
            policy: self.policy,
            route: &props.route,
            facts: &facts,
            forms_may_override: props.is_hidden,
        };
        let mut evidence = Evidence { keys_too_stale: recorded.input.keys_too_stale, ..Evidence::default() };
        evidence.resumes = recorded.input.resumed.then(spent);
        let (decision, findings) = loop {
            match step(&question, &evidence, NOW, &mut crate::decision::trace::Silent) {
                Step::Decided(decision, findings) => break (decision, findings),
                Step::Need(need) => {
                    if let Err((place, what, answers)) =
                        self.find_out(need, (recorded, world), &props, &mut evidence)
                    {
                        return Ran::Depends(place, what, answers);
                    }
                }
            }
        };
        if let Some(source) = props.first_open(&findings) {
            return Ran::Depends(self.place, of_condition(source), 2);
        }
        // The last pass is the one that is told.
        let _ = step(&question, &evidence, NOW, trace);
        Ran::Decided(self.outcome(recorded, &decision, &findings))
    }

    fn outcome(&self, recorded: &Recorded, decision: &Decision, findings: &Findings) -> Outcome {
        let tier = findings.tier.map(|tier| self.policy.tier(tier));
        let refused_by_service = |verdict| {
            self.place.is_none()
                && self.route.fhir.is_some()
                && verdict != "deny"
                && recorded.verdict == "deny"
                && props::is_of_service(&recorded.reason)
        };
        let reason = match (&recorded.input.caller, decision) {
            // Which fault a token had makes no difference to the rules.
            (None, Decision::Deny(_)) if recorded.verdict == "deny" => recorded.reason.as_str().into(),
            (_, Decision::Deny(denial))
                if denial.reason == Reason::MethodOverride && props::is_of_body(&recorded.reason) =>
            {
                recorded.reason.as_str().into()
            }
            _ => decision.reason().code().into(),
        };
        let tier_name = tier.map(|tier| tier.name.clone());
        if refused_by_service(decision.verdict()) {
            return Outcome {
                verdict: "deny",
                tier: tier_name,
                reason: recorded.reason.as_str().into(),
                lasts: None,
            };
        }
        let lasts = tier
            .filter(|tier| !tier.each_action_needs_new_proof)
            .map(|tier| tier.max_age.unwrap_or(i64::MAX));
        Outcome { verdict: decision.verdict(), tier: tier_name, reason, lasts }
    }

    /// Whether a token of this issuer makes the same caller under both policies.
    fn reads_tokens_alike(&self, issuer: &str) -> bool {
        let rules = |policy: &Policy| policy.issuers.iter().find(|rules| *rules.name == *issuer).cloned();
        match (rules(self.was), rules(self.policy)) {
            (Some(was), Some(mut is)) => {
                // How long browsers are recognised, and whether people sign in there, is no matter of the token.
                is.index = was.index;
                is.recognises_for = was.recognises_for;
                is.has_sessions = was.has_sessions;
                was == is && self.was.levels == self.policy.levels
            }
            _ => false,
        }
    }

    /// Whether the record speaks of what is asked here, where that is asked alike.
    pub(super) fn is_here(&self, alike: bool) -> bool {
        alike && self.place.is_none()
    }

    /// What is assumed in this world, or that it depends on it.
    pub(super) fn assumed(
        &self,
        world: &World,
        alike: bool,
        what: Unknown,
        answers: u8,
    ) -> Result<u8, Depends> {
        let place = if alike { self.place } else { self.place.or(ASKED_OTHERWISE) };
        world.answer(place, &what).ok_or((place, what, answers))
    }
}

/// What stands for a proof that was given for one action.
pub(super) fn spent() -> ProofKey {
    ProofKey::new(&["replay"], 0)
}

/// The facts of a request that the route takes, as far as the record knows them.
fn facts(recorded: &Recorded, props: &Props) -> Option<Facts> {
    let method = Method::from_bytes(recorded.method.as_bytes()).ok()?;
    let route = &props.route;
    let host = route.host.as_deref().unwrap_or("localhost");
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_str(host).ok()?);
    let target = route.template.sample();
    let mut section = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\n");
    if props.is_hidden {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("11"));
        section.push_str("content-type: application/x-www-form-urlencoded\r\ncontent-length: 11\r\n");
    }
    section.push_str("\r\n");
    let raw = RawRequest {
        method: &method,
        version: http::Version::HTTP_11,
        target: target.as_bytes(),
        headers: &headers,
        section: section.as_bytes(),
        peer: None,
        hop: Hop::default(),
    };
    let reading = Reading { trusted_proxies: Vec::new(), header_bytes: usize::MAX, header_count: usize::MAX };
    let mut facts = Facts::read(&raw, &reading).ok()?;
    facts.websocket = route.websocket;
    // Before anybody was known: in a header, or the query.
    facts.method_override = recorded.reason == "method_override" && recorded.input.caller.is_none();
    facts.fetch.from = if recorded.reason == "cross_site" { From::Other } else { From::Own };
    if let Some(caller) = &recorded.input.caller {
        facts.presented = if caller.by_session {
            Presented::Session(SessionId::parse(&"r".repeat(SessionId::LENGTH))?)
        } else if caller.sender_constrained {
            Presented::Dpop(Box::new(KeyBound { token: Token::new("replay")?, proof: ShownProof::Missing }))
        } else {
            Presented::Bearer(Token::new("replay")?)
        };
    }
    Some(facts)
}

/// A body in which only the field stands that is the harmless one, or only another.
pub(super) fn body(is_harmless: bool) -> BodyReading {
    let field = if is_harmless { props::HARMLESS } else { "other" };
    BodyReading::Read(BodyFacts::Json(json!({ field: "replay" })))
}
