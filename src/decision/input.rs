//! What a decision was made from, as it is recorded: facts only, no person, no value of the request.
//!
//! With the policy's text it is enough to decide again what the same request would get under another policy.

use serde::Serialize;

use super::evidence::{BodyReading, Evidence, Identity, Lookup, Revocation, Tried};
use super::outcome::{ConditionPlace, ConsentWord, DutyWord, Findings, PdpWord};
use super::step::Question;
use crate::identity::assurance::Levels;
use crate::identity::{Caller, Subject};
use crate::request::credentials::Presented;

/// The version of the shape; it grows when a field changes its meaning.
pub const VERSION: u8 = 1;

/// The recorded input of one decision.
#[derive(Debug, Serialize)]
pub struct DecisionInput<'i> {
    v: u8,
    policy: &'i str,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<CallerInput<'i>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keys_too_stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'static str>,
    /// Of somebody who has not signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    own_record: Option<bool>,
    /// Whether only the reply tells whose record it is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    reply_tells: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_recognised: Option<bool>,
    /// The step-up that was finished for this very action.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<GrantInput<'i>>,
    /// Whether it was kept during a step-up, and goes on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resumed: bool,
    /// Whether it is known whose record it is, where that was looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    patient_lookup: Option<&'static str>,
    /// Whether the patient consents, where the route asks for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<&'static str>,
    /// Whether the caller has done what nobody may do together with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    duties: Option<&'static str>,
    /// What the policy decision point outside said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pdp: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    break_glass: Option<&'static str>,
    /// In what relation the caller acts for the patient, and by which grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    delegation: Option<DelegationInput>,
    /// The signals that fired.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signals: Vec<(String, &'static str)>,
    /// What would have come of it at the tier that the route tries out.
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<CandidateInput<'i>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    lowered: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<(String, Option<bool>)>,
}

#[derive(Debug, Serialize)]
struct DelegationInput {
    id: Box<str>,
    relation: Box<str>,
}

#[derive(Debug, Serialize)]
struct CandidateInput<'i> {
    tier: &'i str,
    verdict: &'static str,
}

#[derive(Debug, Serialize)]
struct GrantInput<'i> {
    level: &'i str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    methods: &'i [Box<str>],
}

#[derive(Debug, Serialize)]
struct CallerInput<'i> {
    issuer: &'i str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'i str>,
    level: &'i str,
    /// Seconds since `auth_time`; below zero where the issuer's clock is ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    age: Option<i64>,
    /// Seconds since `iat`, of a machine's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_age: Option<i64>,
    /// Whether a browser's session was shown, and no token.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    by_session: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    methods: &'i [Box<str>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    roles: &'i [Box<str>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    scopes: &'i [Box<str>],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    actor: bool,
    /// Whether the token names actions (RFC 9396), or seems to.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    names_actions: bool,
    /// Whether the token is bound to a key or a certificate.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sender_constrained: bool,
}

impl<'i> DecisionInput<'i> {
    /// Collects the input from what was known when the decision fell. `now` is in Unix seconds.
    pub fn new(question: &Question<'i>, evidence: &'i Evidence, findings: &Findings, now: i64) -> Self {
        let levels = &question.policy.levels;
        let caller = match &evidence.identity {
            Some(Identity::Known(subject)) => {
                let by_session = matches!(question.facts.presented, Presented::Session(_));
                Some(CallerInput { by_session, ..CallerInput::new(subject, levels, now) })
            }
            _ => None,
        };
        let grant = match &evidence.grant {
            Some(Lookup::Found(granted)) => {
                Some(GrantInput { level: levels.name(granted.level), methods: &granted.methods })
            }
            _ => None,
        };
        Self {
            v: VERSION,
            policy: &question.policy.version,
            caller,
            revoked: evidence.revocation.map(|revocation| match revocation {
                Revocation::Valid => "no",
                Revocation::Revoked => "yes",
                Revocation::Unknown => "unknown",
            }),
            keys_too_stale: evidence.keys_too_stale,
            body: evidence.body.as_ref().map(|body| match body {
                BodyReading::Absent => "absent",
                BodyReading::Read(_) => "read",
                BodyReading::Searched { .. } => "searched",
                BodyReading::Unreadable => "unreadable",
            }),
            attempts: evidence.attempts.as_ref().map(|tried| match tried {
                Lookup::Found(Tried::Within) => "within",
                Lookup::Found(Tried::Beyond) => "beyond",
                Lookup::Absent | Lookup::Unavailable => "unknown",
            }),
            own_record: findings.own_record,
            reply_tells: findings.reply_tells,
            device_recognised: findings.device,
            grant,
            resumed: evidence.resumes.is_some(),
            patient_lookup: evidence.record.as_ref().map(|record| match record {
                Lookup::Found(_) => "found",
                Lookup::Absent => "none",
                Lookup::Unavailable => "unavailable",
            }),
            consent: findings.consent.map(ConsentWord::word),
            duties: findings.duties.map(DutyWord::word),
            pdp: findings.pdp.map(PdpWord::word),
            break_glass: findings.break_glass.map(super::Glass::word),
            delegation: findings.mandate.as_deref().map(|mandate| DelegationInput {
                id: mandate.id.clone(),
                relation: mandate.relation.clone(),
            }),
            signals: findings
                .signals
                .iter()
                .map(|(name, enforced)| (name.to_string(), if *enforced { "enforced" } else { "observed" }))
                .collect(),
            candidate: findings.candidate.map(|candidate| CandidateInput {
                tier: &question.policy.tier(candidate.tier).name,
                verdict: candidate.verdict,
            }),
            lowered: findings.lowered,
            conditions: findings
                .conditions
                .iter()
                .map(|(place, holds)| (place_name(*place), *holds))
                .collect(),
        }
    }
}

impl<'i> CallerInput<'i> {
    fn new(subject: &'i Subject, levels: &'i Levels, now: i64) -> Self {
        let is_machine = subject.caller == Caller::Service;
        Self {
            issuer: &subject.issuer,
            kind: subject.caller_word(),
            client: subject.client.as_deref(),
            level: levels.name(subject.level),
            age: subject.auth_time.map(|at| now.saturating_sub(at)),
            token_age: is_machine.then(|| now.saturating_sub(subject.issued_at)),
            by_session: false,
            methods: &subject.methods,
            roles: &subject.roles,
            scopes: &subject.scopes,
            actor: subject.actor.is_some(),
            names_actions: !subject.names.is_nothing(),
            sender_constrained: subject.is_sender_constrained(),
        }
    }
}

fn place_name(place: ConditionPlace) -> String {
    let (list, at) = place.parts();
    format!("{list}[{at}]")
}

#[cfg(test)]
impl DecisionInput<'static> {
    /// One in which everything is said that can be. Without `..`, so that a new field is not forgotten where the
    /// records' shape is published.
    pub fn full(
        methods: &'static [Box<str>],
        roles: &'static [Box<str>],
        scopes: &'static [Box<str>],
    ) -> Self {
        Self {
            v: VERSION,
            policy: "3b9f5a7c",
            caller: Some(CallerInput {
                issuer: "patients",
                kind: "person",
                client: Some("portal-app"),
                level: "aal2",
                age: Some(12),
                token_age: Some(7),
                by_session: true,
                methods,
                roles,
                scopes,
                actor: true,
                names_actions: true,
                sender_constrained: true,
            }),
            revoked: Some("no"),
            keys_too_stale: true,
            body: Some("read"),
            attempts: Some("within"),
            own_record: Some(true),
            reply_tells: true,
            device_recognised: Some(false),
            grant: Some(GrantInput { level: "aal2", methods }),
            resumed: true,
            patient_lookup: Some("found"),
            consent: Some("given"),
            duties: Some("free"),
            pdp: Some("permit"),
            break_glass: Some("broken"),
            delegation: Some(DelegationInput { id: "2026-11-22.1".into(), relation: "caregiver".into() }),
            signals: vec![("off_hours".to_owned(), "observed")],
            candidate: Some(CandidateInput { tier: "high", verdict: "challenge" }),
            lowered: true,
            conditions: vec![("refine[0]".to_owned(), Some(true)), ("any_of[1]".to_owned(), None)],
        }
    }
}
