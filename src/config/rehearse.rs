//! Decides requests that nobody sent: for the configuration's `cases` and for `wardgate explain`.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value};

use super::cases::{Answers, Case, CaseCaller, ExpectedOutcome, Persona, Tried};
use crate::decision;
use crate::decision::trace::{Silent, Stage, Trace};
use crate::decision::{
    BodyReading, Decision, Delegated, Denial, Evidence, Findings, Identity, Lookup, Need, Possession,
    Question, Reason, Revocation, Step, step, who_acts,
};
use crate::identity::{Caller, NamedActions, Subject};
use crate::policy::{Match, Policy};
use crate::request::body::BodyFacts;
use crate::request::certificate::Thumbprint;
use crate::request::credentials::{KeyBound, Presented, ShownProof, Token};
use crate::request::facts::{Hop, RawRequest, Reading};
use crate::request::{Facts, PathReading, Unreadable};

/// A request and its caller.
#[derive(Debug, Clone)]
pub struct Rehearsal<'r> {
    /// The method.
    pub method: &'r Method,
    /// The target, as a client would send it.
    pub target: &'r str,
    /// The host; `None` is `localhost`, which only routes for any host match.
    pub host: Option<&'r str>,
    /// The body, sent as JSON.
    pub body: Option<&'r Value>,
    /// Who asks.
    pub identity: Identity,
    /// What services outside answer.
    pub answers: Answers,
    /// The moment, in Unix seconds.
    pub now: i64,
}

/// What would come of it.
#[derive(Debug)]
pub struct Rehearsed {
    /// The decision.
    pub decision: Decision,
    /// What led to it.
    pub findings: Findings,
    /// The route that matched, by position.
    pub route: Option<usize>,
}

/// Decides a request as the gateway would, with every dependency in good order and nothing revoked.
pub fn rehearse<T: Trace>(policy: &Policy, rehearsal: &Rehearsal<'_>, trace: &mut T) -> Rehearsed {
    let refused = |reason, route| Rehearsed {
        decision: Decision::Deny(Denial::new(reason)),
        findings: Findings::default(),
        route,
    };
    let mut facts = match facts(rehearsal) {
        Ok(facts) => facts,
        Err(why) => {
            trace.note(Stage::Canonicalise, || {
                format!("the request can be read in more than one way: {}", why.code())
            });
            return refused(Reason::Unreadable(why), None);
        }
    };
    if let Some(presented) = key_bound(&rehearsal.identity) {
        facts.presented = presented;
        trace.note(Stage::Authenticate, || "the proof of the token's key is taken as shown".to_owned());
    }
    if let Ok(path) = facts.target.path_as(PathReading::STRICT) {
        trace
            .note(Stage::Canonicalise, || format!("the path reads `{path}`, host `{}`", facts.host.as_str()));
    }
    let mut found = policy.index.find(&facts);
    if found == Match::None && *rehearsal.method == Method::GET {
        // A route for WebSockets only: the author means its handshake.
        facts.websocket = true;
        found = policy.index.find(&facts);
    }
    let index = match found {
        Match::Route(index) => index,
        Match::OtherMethod(methods) => {
            trace.note(Stage::Match, || format!("the path is known, but only for {methods:?}"));
            return refused(Reason::MethodNotAllowed, None);
        }
        Match::Unreadable(why) => {
            trace.note(Stage::Canonicalise, || {
                format!("the request can be read in more than one way: {}", why.code())
            });
            return refused(Reason::Unreadable(why), None);
        }
        Match::NotFhir => {
            trace.note(Stage::Match, || "below a FHIR base, and no interaction of FHIR".to_owned());
            return refused(Reason::FhirNotUnderstood, None);
        }
        Match::None => {
            trace.note(Stage::Match, || "no route has this host and path".to_owned());
            return refused(Reason::NoRoute, None);
        }
    };
    let Some(route) = policy.route(index) else {
        return refused(Reason::NoRoute, None);
    };
    trace.note(Stage::Match, || format!("route `{}` by `{}`", route.id, route.template.as_str()));
    if let Ok(path) = facts.target.path_as(route.reading)
        && route.reading != PathReading::STRICT
    {
        let path = route.reading.fold(path);
        trace.note(Stage::Match, || format!("the route's upstream reads the path as `{path}`"));
    }
    let question = Question { policy, route, facts: &facts, forms_may_override: true };
    let mut evidence = Evidence::default();
    loop {
        // Only the last pass is told: the earlier ones stop half-way and would tell the same again.
        match step(&question, &evidence, rehearsal.now, &mut Silent) {
            Step::Need(Need::Identity) => evidence.identity = Some(rehearsal.identity.clone()),
            Step::Need(Need::Possession) => evidence.possession = Some(Possession::Proven),
            Step::Need(Need::Revocation) => evidence.revocation = Some(Revocation::Valid),
            Step::Need(Need::Body) => {
                evidence.body =
                    Some(rehearsal.body.map_or(BodyReading::Absent, |body| {
                        BodyReading::Read(BodyFacts::Json(body.clone()))
                    }));
            }
            // Nobody has given proof for what is only rehearsed, nor will anybody be told what to ask for.
            Step::Need(Need::Grant(_)) => evidence.grant = Some(Lookup::Absent),
            Step::Need(Need::Attempts) => evidence.attempts = Some(Lookup::Found(decision::Tried::Within)),
            Step::Need(Need::Device) => evidence.device = Some(Lookup::Absent),
            Step::Need(Need::Patient) => evidence.record = Some(rehearsal.answers.patient.clone()),
            Step::Need(Need::Consent { .. }) => evidence.consent = Some(rehearsal.answers.consent.clone()),
            Step::Need(Need::Duties) => evidence.duties = Some(rehearsal.answers.other_duty.clone()),
            Step::Need(Need::Evaluation { .. }) => evidence.evaluation = Some(rehearsal.answers.pdp.clone()),
            // What is rehearsed has no hour and comes from nowhere.
            Step::Need(Need::Signals) => evidence.signals = Some(vec![Some(false); policy.signals.len()]),
            Step::Need(Need::BreakGlass) => evidence.break_glass = Some(Lookup::Absent),
            Step::Need(Need::Delegation) => {
                evidence.delegation = Some(delegated(&question, rehearsal, &evidence));
            }
            Step::Need(Need::Content) => evidence.content = Some(Lookup::Absent),
            Step::Decided(..) => break,
        }
    }
    match step(&question, &evidence, rehearsal.now, trace) {
        Step::Decided(decision, mut findings) => {
            findings.candidate = decision::try_out(&question, &evidence, rehearsal.now);
            Rehearsed { decision, findings, route: Some(index) }
        }
        Step::Need(_) => refused(Reason::KeysUnavailable, Some(index)),
    }
}

/// What would have been granted to the caller, where the case says that something was.
fn delegated(question: &Question<'_>, rehearsal: &Rehearsal<'_>, evidence: &Evidence) -> Lookup<Delegated> {
    let (Some(relation), Some(Identity::Known(subject))) =
        (&rehearsal.answers.delegation, &evidence.identity)
    else {
        return Lookup::Absent;
    };
    let (Some(person), Some(patient)) = (who_acts(subject), decision::patient(question, evidence)) else {
        return Lookup::Absent;
    };
    Lookup::Found(Delegated {
        id: "case".into(),
        relation: relation.clone(),
        issuer: (*subject.issuer).into(),
        person: person.into(),
        patient,
        actions: Vec::new(),
        granted: i64::MAX,
        until: i64::MAX,
        review_due: i64::MAX,
    })
}

/// How a subject whose token is bound to a key comes.
fn key_bound(identity: &Identity) -> Option<Presented> {
    let Identity::Known(subject) = identity else { return None };
    subject.bound_key?;
    let token = Token::new("rehearsed")?;
    Some(Presented::Dpop(Box::new(KeyBound { token, proof: ShownProof::Missing })))
}

fn facts(rehearsal: &Rehearsal<'_>) -> Result<Facts, Unreadable> {
    let mut headers = HeaderMap::new();
    let host = rehearsal.host.unwrap_or("localhost");
    headers.insert(header::HOST, HeaderValue::from_str(host).map_err(|_| Unreadable::BadHost)?);
    let mut section = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", rehearsal.method, rehearsal.target);
    if let Some(body) = rehearsal.body {
        // A list of operations can be nothing else.
        let is_patch = *rehearsal.method == Method::PATCH && body.is_array();
        let kind = if is_patch { "application/json-patch+json" } else { "application/json" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        section.push_str(&format!("content-type: {kind}\r\ncontent-length: {}\r\n", body.to_string().len()));
    }
    section.push_str("\r\n");
    let raw = RawRequest {
        method: rehearsal.method,
        version: http::Version::HTTP_11,
        target: rehearsal.target.as_bytes(),
        headers: &headers,
        section: section.as_bytes(),
        peer: None,
        hop: Hop::default(),
    };
    Facts::read(
        &raw,
        &Reading { trusted_proxies: Vec::new(), header_bytes: usize::MAX, header_count: usize::MAX },
    )
}

/// Decides the request of one case.
pub fn try_case<T: Trace>(policy: &Policy, case: &Case, trace: &mut T) -> Tried {
    // Any moment will do: a case speaks of ages, never of dates.
    const NOW: i64 = 1_800_000_000;
    let identity = match &case.caller {
        CaseCaller::Nobody => Identity::Nobody,
        CaseCaller::Known(caller) => Identity::Known(Arc::new(subject(policy, caller, NOW))),
    };
    let rehearsal = Rehearsal {
        method: &case.method,
        target: &case.target,
        host: case.host.as_deref(),
        body: case.body.as_ref(),
        identity,
        answers: case.answers.clone(),
        now: NOW,
    };
    let result = rehearse(policy, &rehearsal, trace);
    let action = result.route.and_then(|index| policy.route(index)).map(|route| match &route.lower_risk {
        Some(lower) if result.findings.lowered => lower.id.clone(),
        _ => route.id.clone(),
    });
    Tried {
        outcome: match result.decision {
            Decision::Permit(_) => ExpectedOutcome::Permit,
            Decision::Challenge(_) => ExpectedOutcome::Challenge,
            Decision::Deny(_) => ExpectedOutcome::Deny,
        },
        reason: result.decision.reason().code(),
        tier: result.findings.tier,
        action,
        route: result.route,
    }
}

fn subject(policy: &Policy, caller: &Persona, now: i64) -> Subject {
    let issuer = policy.issuers.get(caller.issuer);
    let kind = issuer.map_or(Caller::Person, |issuer| issuer.callers);
    let moment = now.saturating_sub(caller.age);
    let claims: Map<String, Value> = caller.claims.clone();
    Subject {
        issuer: issuer.map_or_else(|| Arc::from("none"), |issuer| Arc::clone(&issuer.name)),
        issuer_index: caller.issuer,
        id: caller.subject.clone().unwrap_or_else(|| "someone".into()),
        caller: kind,
        client: caller.client.clone(),
        actor: caller.actor.clone(),
        patient: caller.patient.clone(),
        roles: caller.roles.clone(),
        scopes: caller.scopes.clone(),
        level: caller.level,
        methods: caller.methods.clone(),
        auth_time: if kind == Caller::Person { Some(moment) } else { None },
        issued_at: if kind == Caller::Person { now } else { moment },
        expires_at: now.saturating_add(300),
        token_id: Some("case".into()),
        session: None,
        bound_to: None,
        // Whoever speaks of a caller means one who comes as the issuer's callers must.
        bound_key: issuer.filter(|issuer| issuer.dpop.required).map(|_| Thumbprint::of(b"a case's key")),
        names: NamedActions::Nothing,
        changes_at: None,
        claims: Arc::new(claims),
    }
}
