//! The order of judgement: identity, revocation, eligibility, floor, body, tier, rules, assurance.

use std::cell::OnceCell;
use std::sync::Arc;

use super::duties::Claims;
use super::evidence::{BodyReading, Evidence, Identity, Lookup, Need, Revocation};
use super::inputs::condition_inputs;
use super::outcome::{Challenge, Confinement, Decision, Denial, Findings, Permit};
use super::presentation::check_cross_site;
use super::reason::AccessRefusal;
use super::trace::{Stage, Trace};
use super::{
    Reason, anonymous, assure, authorize, break_glass, bundle, classify, consent, delegation, duties,
    evaluation, fhir, possession, signals,
};
use crate::identity::Subject;
use crate::policy::anonymous::HintSource;
use crate::policy::{Access, Durability, PatientSource, Policy, Route, StoreDown, Tier, TierIndex};
use crate::request::Facts;
use crate::request::body::BodyFacts;
use crate::request::framing::BodyLength;

/// One request that matched a route.
#[derive(Debug, Clone, Copy)]
pub struct Question<'q> {
    /// The rules.
    pub policy: &'q Policy,
    /// The route that matched.
    pub route: &'q Route,
    /// What is asked.
    pub facts: &'q Facts,
    /// Whether the back end might take a form field as the method, so that forms must be searched.
    pub forms_may_override: bool,
}

impl Question<'_> {
    /// Whether a rule of the route speaks of the body, or of what the body could name too: the patient, or the account.
    pub(super) fn rules_read_body(&self) -> bool {
        if self.facts.body.length != BodyLength::None && (self.is_fhir_form() || self.writes_fhir()) {
            return true;
        }
        let names_patient = matches!(self.route.patient, Some(PatientSource::Query(_)));
        let hint = self.route.anonymous.as_ref().map(|anonymous| &anonymous.hint);
        let names_account = matches!(hint, Some(HintSource::Query(_)));
        self.route.needs_body() || ((names_patient || names_account) && self.facts.body.may_hold_fields())
    }

    /// The body, where a rule or the search for a hidden method asks for it.
    pub(super) fn body<'e>(&self, evidence: &'e Evidence) -> Result<&'e BodyReading, Stop> {
        const NOT_ASKED_FOR: &BodyReading = &BodyReading::Absent;
        if self.rules_read_body() || self.may_hide_method() {
            evidence.body.as_ref().ok_or(Stop::Need(Need::Body))
        } else {
            Ok(NOT_ASKED_FOR)
        }
    }

    /// Whether this is a FHIR search whose parameters stand in a form.
    pub fn is_fhir_form(&self) -> bool {
        self.route.fhir.is_some()
            && self.facts.method == http::Method::POST
            && self.facts.target.path_as(self.route.reading).is_ok_and(|path| path.ends_with("/_search"))
    }

    /// Whether a field of the body could tell the back end to act as another method.
    pub fn may_hide_method(&self) -> bool {
        self.forms_may_override && self.facts.body.may_hide_method(&self.facts.method, self.rules_read_body())
    }
}

/// What to do next.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "it is given back once for each request and kept nowhere")]
pub enum Step {
    /// Find this out and ask again.
    Need(Need),
    /// The decision, with all that led to it.
    Decided(Decision, Findings),
}

/// Takes the decision as far as the evidence allows. `now` is in Unix seconds.
///
/// Monotone: once it has decided, more evidence does not change the decision; it never asks for the body of a caller
/// it does not know.
pub fn step<T: Trace>(question: &Question<'_>, evidence: &Evidence, now: i64, trace: &mut T) -> Step {
    let mut findings = Findings::default();
    match judge(question, evidence, now, &mut findings, trace) {
        Ok(permit) => Step::Decided(Decision::Permit(permit), findings),
        Err(Stop::Need(need)) => Step::Need(need),
        Err(Stop::Challenge(challenge)) => Step::Decided(Decision::Challenge(challenge), findings),
        Err(Stop::Deny(denial)) => Step::Decided(Decision::Deny(denial), findings),
    }
}

pub(super) enum Stop {
    Need(Need),
    Challenge(Challenge),
    Deny(Denial),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Deny(Denial::new(reason))
    }
}

impl From<AccessRefusal> for Stop {
    fn from(why: AccessRefusal) -> Self {
        Reason::Access(why).into()
    }
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Deny(denial)
    }
}

fn judge<T: Trace>(
    question: &Question<'_>,
    evidence: &Evidence,
    now: i64,
    findings: &mut Findings,
    trace: &mut T,
) -> Result<Permit, Stop> {
    let Question { policy, route, facts, .. } = question;
    if route.access == Access::Public {
        findings.tier = Some(route.tier);
        if let Some(asked) = &route.anonymous {
            return anonymous::judge(question, asked, evidence, findings, trace);
        }
        // The back end would act on a path that is public for this method, and protected for the one it obeys.
        if facts.method_override && question.forms_may_override {
            return Err(Reason::MethodOverride.into());
        }
        trace.note(Stage::Authorize, || "the route is public".to_owned());
        return Ok(Permit {
            subject: None,
            reason: Reason::PublicRoute,
            spend: None,
            confined: None,
            claims: Claims::new(),
        });
    }
    findings.tier = Some(route.tier);
    if facts.method_override {
        return Err(Reason::MethodOverride.into());
    }
    check_cross_site(route, facts)?;
    let subject = authenticate(question, evidence, trace)?;
    let revocation = evidence.revocation.ok_or(Stop::Need(Need::Revocation))?;
    if revocation == Revocation::Revoked {
        trace.note(Stage::Authenticate, || "the token was revoked".to_owned());
        return Err(Reason::TokenRevoked.into());
    }
    let least = signals::least_tier(question, evidence, subject, findings, trace)?;
    let (assessed, floor) = if bundle::is_bundle(question) {
        bundle::judge(question, subject, (evidence, now), findings, trace)?
    } else {
        if let Err(denial) = authorize::eligible(question, subject, trace) {
            // Whoever may get beyond this goes on, and the rules refuse once more when all else has been looked at.
            break_glass::right(question, subject, denial.reason).ok_or(denial)?;
        }
        check_floor(question, evidence, subject, now, trace)?;
        let body = question.body(evidence)?;
        (assess(question, subject, body, (evidence, now, true), findings, trace)?, route.data_floor)
    };
    let Assessed { tier, reason, confined } = assessed;
    let tier_index = least.map_or(tier, |least| tier.max(least));
    findings.tier = Some(tier_index);
    check_outages(policy.tier(tier_index), evidence, revocation, trace)?;
    let claims = duties::check(question, evidence, subject, findings, trace)?;
    consent::check(question, evidence, tier_index, findings, trace)?;
    evaluation::check(question, evidence, tier_index, (subject, now), findings, trace)?;
    let spend = assure::assure(question, evidence, (tier_index, floor), subject, now, trace)?;
    Ok(Permit { subject: Some(Arc::clone(subject)), reason, spend, confined, claims })
}

/// What comes of the rules for one action.
pub(super) struct Assessed {
    /// Its tier.
    pub tier: TierIndex,
    /// Why it is permitted.
    pub reason: Reason,
    /// What the reply may show, where that is one patient's record only.
    pub confined: Option<Box<Confinement>>,
}

/// Finds the tier of one action, and applies the rules to it. The glass can be broken where it comes alone: `now` is in Unix
/// seconds.
pub(super) fn assess<T: Trace>(
    question: &Question<'_>,
    subject: &Arc<Subject>,
    body: &BodyReading,
    (evidence, now, is_alone): (&Evidence, i64, bool),
    findings: &mut Findings,
    trace: &mut T,
) -> Result<Assessed, Stop> {
    let route = question.route;
    if question.forms_may_override {
        check_hidden_method(body, question.may_hide_method())?;
    }
    let device = device(question, evidence)?;
    findings.device = device.filter(|_| route.reads_device());
    let cell = OnceCell::new();
    let inputs = || {
        cell.get_or_init(|| condition_inputs(question, subject, body, device)).as_ref().map_err(String::clone)
    };
    let tier = classify::classify(question, body, &inputs, findings, trace);
    check_record(route, evidence, trace)?;
    authorize::resolve_patient(question, subject, (body, evidence), findings, trace);
    let reason = match authorize::authorize(question, subject, &inputs, findings, trace) {
        Ok(()) => Reason::Permitted,
        Err(denial) => {
            match delegation::judge(question, subject, denial, (evidence, now), findings, trace)? {
                None => Reason::Delegated,
                Some(denial) if is_alone => {
                    break_glass::judge(question, subject, denial, (evidence, now), findings, trace)?
                }
                Some(denial) => return Err(denial.into()),
            }
        }
    };
    let confined = fhir::check(question, subject, body, findings, trace)?;
    Ok(Assessed { tier, reason, confined })
}

/// The least tier that a route's request can turn out to have.
pub(super) fn least_tier(route: &Route) -> TierIndex {
    route.lower_risk.as_ref().map_or(route.tier, |lower| lower.tier.min(route.tier))
}

fn authenticate<'e, T: Trace>(
    question: &Question<'_>,
    evidence: &'e Evidence,
    trace: &mut T,
) -> Result<&'e Arc<Subject>, Stop> {
    match evidence.identity.as_ref().ok_or(Stop::Need(Need::Identity))? {
        Identity::Nobody => Err(Reason::CredentialsMissing.into()),
        Identity::Malformed(why) => {
            trace.note(Stage::Authenticate, || format!("the credentials can't be used: {why}"));
            Err(Reason::CredentialsMalformed.into())
        }
        Identity::Refused(fault) => {
            trace.note(Stage::Authenticate, || format!("the token was refused: {}", fault.code()));
            Err(Reason::TokenRefused(*fault).into())
        }
        Identity::Unavailable => Err(Reason::KeysUnavailable.into()),
        Identity::SessionUnavailable => Err(Reason::StoreUnavailable.into()),
        Identity::Known(subject) => {
            trace.note(Stage::Authenticate, || format!("a subject of issuer `{}`", subject.issuer));
            match possession::check(question, subject, evidence) {
                Ok(None) => Ok(subject),
                Ok(Some(need)) => Err(Stop::Need(need)),
                Err(reason) => {
                    trace.note(Stage::Authenticate, || format!("the token was refused: {}", reason.code()));
                    Err(reason.into())
                }
            }
        }
    }
}

/// Level and methods of the least that this route can turn out to ask, before anything about the resource is decided:
/// a stolen password must not find out who is related to whom.
fn check_floor<T: Trace>(
    question: &Question<'_>,
    evidence: &Evidence,
    subject: &Subject,
    now: i64,
    trace: &mut T,
) -> Result<(), Stop> {
    let Question { policy, route, .. } = question;
    let least = least_tier(route);
    let requirement = policy.requirement(route, least);
    if requirement.floor_met(subject) {
        trace
            .note(Stage::Floor, || format!("level `{}` is enough to ask", policy.levels.name(subject.level)));
        return Ok(());
    }
    trace.note(Stage::Floor, || {
        format!(
            "level `{}` with {:?} is below the route's floor: level `{}`, one of {:?}",
            policy.levels.name(subject.level),
            subject.methods,
            policy.levels.name(requirement.level()),
            policy.tier(least).require_methods
        )
    });
    Err(assure::challenge(question, evidence, requirement, least, subject, requirement.unmet(subject, now)))
}

fn check_hidden_method(body: &BodyReading, may_hide_method: bool) -> Result<(), Stop> {
    match body {
        BodyReading::Read(facts) if may_hide_method && facts.hides_method() => {
            Err(Reason::MethodOverride.into())
        }
        // A second token beside the one in the header (RFC 6750 §2.2, §3.1).
        BodyReading::Read(BodyFacts::Form(fields))
            if fields.iter().any(|(name, _)| name == "access_token") =>
        {
            Err(Reason::CredentialsMalformed.into())
        }
        BodyReading::Searched { hides_method: true } => Err(Reason::MethodOverride.into()),
        BodyReading::Unreadable if may_hide_method => Err(Reason::FormNotInspectable.into()),
        BodyReading::Absent
        | BodyReading::Read(_)
        | BodyReading::Searched { hides_method: false }
        | BodyReading::Unreadable => Ok(()),
    }
}

/// Whether it is known whose record it is, where that has to be looked up.
fn check_record<T: Trace>(route: &Route, evidence: &Evidence, trace: &mut T) -> Result<(), Stop> {
    if !matches!(route.patient, Some(PatientSource::Lookup(_))) {
        return Ok(());
    }
    match evidence.record.as_ref().ok_or(Stop::Need(Need::Patient))? {
        Lookup::Found(_) => Ok(()),
        // Refused with every other request that names no patient.
        Lookup::Absent => {
            trace.note(Stage::Authorize, || "the look-up knows of no patient".to_owned());
            Ok(())
        }
        Lookup::Unavailable => {
            trace.note(Stage::Authorize, || "the look-up of the patient does not answer: refused".to_owned());
            Err(AccessRefusal::PatientUnavailable.into())
        }
    }
}

/// The tiers of the right-hand column of the failure table: those that record to disk or spend proofs.
pub(super) fn is_high(tier: &Tier) -> bool {
    tier.each_action_needs_new_proof || tier.audit >= Durability::Synced
}

fn check_outages<T: Trace>(
    tier: &Tier,
    evidence: &Evidence,
    revocation: Revocation,
    trace: &mut T,
) -> Result<(), Stop> {
    if evidence.keys_too_stale && is_high(tier) {
        trace.note(Stage::Assure, || "the issuer's keys are too old for this tier".to_owned());
        return Err(Reason::KeysUnavailable.into());
    }
    if revocation == Revocation::Unknown && (is_high(tier) || tier.when_store_down == StoreDown::Deny) {
        trace.note(Stage::Assure, || "whether the token was revoked can't be known".to_owned());
        return Err(Reason::StoreUnavailable.into());
    }
    Ok(())
}

/// Whether the browser was recognised; `None` where that can't be told. Asked only where a rule wants to know, and where a
/// browser shows something: clients that are none are not recognised.
fn device(question: &Question<'_>, evidence: &Evidence) -> Result<Option<bool>, Stop> {
    if !question.route.reads_device() || question.facts.device.is_none() {
        return Ok(Some(false));
    }
    match evidence.device.as_ref().ok_or(Stop::Need(Need::Device))? {
        Lookup::Found(()) => Ok(Some(true)),
        Lookup::Absent => Ok(Some(false)),
        Lookup::Unavailable => Ok(None),
    }
}
