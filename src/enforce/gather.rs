//! Finds out what a decision asks for, one thing at a time.

use async_trait::async_trait;
use bytes::Bytes;

use super::Generation;
use super::action;
use super::action::Action;
use super::evaluation;
use super::gate::{Arrival, Gate};
use super::ports::{Identities, RevocationClaim, RevocationKey, State};
use super::sessions::Use;
use crate::decision::trace::Silent;
use crate::decision::{
    BodyReading, Candidate, Decision, Denial, Evidence, Findings, Granted, Identity, Lookup, Need,
    Possession, Question, Reason, Revocation, Step, step, try_out,
};
use crate::identity::Subject;
use crate::policy::TierIndex;
use crate::request::Facts;
use crate::request::credentials::{Presented, Token};
use crate::request::framing::BodyLength;
use crate::telemetry::metrics;

/// Why a body could not be collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// It is larger than allowed.
    TooLarge,
    /// The client stopped sending, or broke the framing.
    Incomplete,
    /// The client sent too slowly.
    TooSlow,
    /// It goes past the gateway: another proxy has it.
    Unseen,
}

impl From<BodyFault> for Reason {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge => Self::BodyTooLarge,
            BodyFault::Incomplete | BodyFault::Unseen => Self::BodyIncomplete,
            BodyFault::TooSlow => Self::ClientTooSlow,
        }
    }
}

/// Where a request's body comes from. The source keeps what it has read, so that it can be forwarded.
#[async_trait]
pub trait BodySource: Send {
    /// Collects the whole body, at most `limit` bytes.
    ///
    /// # Errors
    /// It is larger, or does not arrive.
    async fn collect(&mut self, limit: usize) -> Result<Bytes, BodyFault>;
}

/// What would have come of it at the tier that the route tries out, counted beside what comes of it.
fn tried_out(
    question: &Question<'_>,
    evidence: &Evidence,
    now: i64,
    verdict: &'static str,
) -> Option<Candidate> {
    let candidate = try_out(question, evidence, now)?;
    let labels = [&*question.route.id, verdict, candidate.verdict];
    metrics().candidates.with_label_values(&labels).inc();
    Some(candidate)
}

impl Gate {
    /// Decides, gathering evidence as `step` asks for it. Each thing is looked for once.
    pub(super) async fn decide(
        &self,
        generation: &Generation,
        question: &Question<'_>,
        arrival: &Arrival<'_>,
        body: &mut dyn BodySource,
    ) -> (Decision, Findings, Evidence) {
        let mut evidence = Evidence { resumes: arrival.resumes.cloned(), ..Evidence::default() };
        let now = arrival.now;
        let refused = |denial: Denial| {
            let findings = Findings { tier: Some(question.route.tier), ..Findings::default() };
            (Decision::Deny(denial), findings)
        };
        loop {
            match step(question, &evidence, now, &mut Silent) {
                Step::Decided(decision, mut findings) => {
                    findings.candidate = tried_out(question, &evidence, now, decision.verdict());
                    let decision = match self.limit_entries(question, &decision, &findings) {
                        Ok(()) => decision,
                        Err(denial) => Decision::Deny(denial),
                    };
                    return (decision, findings, evidence);
                }
                Step::Need(Need::Identity) => {
                    self.identify(generation, question.facts, arrival, &mut evidence).await;
                    if let (Some(Identity::Known(subject)), Some(said)) =
                        (&evidence.identity, arrival.subject)
                        && *subject.id != *said
                    {
                        let (decision, findings) = refused(Reason::SubjectDiffers.into());
                        return (decision, findings, evidence);
                    }
                    if let Some(Identity::Known(subject)) = &evidence.identity
                        && let Err(denial) = self.limit_subject(question.policy, question.route, subject)
                    {
                        let (decision, findings) = refused(denial);
                        return (decision, findings, evidence);
                    }
                }
                Step::Need(Need::Possession) => {
                    evidence.possession = match &evidence.identity {
                        Some(Identity::Known(subject)) => {
                            Some(self.possession(question, arrival, subject).await)
                        }
                        _ => Some(Possession::Unknown),
                    };
                }
                Step::Need(Need::Revocation) => {
                    evidence.revocation = match &evidence.identity {
                        Some(Identity::Known(subject)) => Some(self.revocation(subject).await),
                        _ => Some(Revocation::Unknown),
                    };
                }
                Step::Need(Need::Body) => match read_body(question, arrival.body_bytes, body).await {
                    Ok(reading) => evidence.body = Some(reading),
                    Err(reason) => {
                        let (decision, findings) = refused(reason.into());
                        return (decision, findings, evidence);
                    }
                },
                Step::Need(Need::Attempts) => {
                    evidence.attempts = Some(self.attempts(question, arrival, &evidence).await);
                }
                Step::Need(Need::BreakGlass) => {
                    evidence.break_glass = Some(Box::pin(self.opened(question, &evidence)).await);
                }
                Step::Need(Need::Delegation) => {
                    evidence.delegation = Some(Box::pin(self.delegated(question, &evidence)).await);
                }
                Step::Need(Need::Signals) => {
                    evidence.signals = Some(self.look_at_signals(question, &evidence, now).await);
                }
                Step::Need(Need::Device) => {
                    evidence.device = Some(device(generation, question.facts, arrival.now, &evidence).await);
                }
                Step::Need(Need::Patient) => {
                    evidence.record = Some(evaluation::patient_of(generation, question, arrival).await);
                }
                Step::Need(Need::Duties) => {
                    evidence.duties = Some(Box::pin(self.other_duty(question, &evidence)).await);
                }
                Step::Need(Need::Consent { lowered }) => {
                    let asked = evaluation::consent_of(generation, question, arrival, &evidence, lowered);
                    evidence.consent = Some(asked.await);
                }
                Step::Need(Need::Evaluation { tier, lowered }) => {
                    let asked =
                        evaluation::evaluate(generation, question, arrival, &evidence, (tier, lowered));
                    evidence.evaluation = Some(asked.await);
                }
                Step::Need(Need::Content) => match content(question, arrival.body_bytes, body).await {
                    Ok(content) => evidence.content = Some(content),
                    Err(reason) => {
                        let (decision, findings) = refused(reason.into());
                        return (decision, findings, evidence);
                    }
                },
                Step::Need(Need::Grant(tier)) => {
                    match self.grant(generation, (question, tier), arrival, &evidence, body).await {
                        Ok(grant) => evidence.grant = Some(grant),
                        Err(reason) => {
                            let (decision, findings) = refused(reason.into());
                            return (decision, findings, evidence);
                        }
                    }
                }
            }
        }
    }

    pub(super) async fn identify(
        &self,
        generation: &Generation,
        facts: &Facts,
        arrival: &Arrival<'_>,
        evidence: &mut Evidence,
    ) {
        let identities = generation.identities.as_ref();
        let identity = match &facts.presented {
            Presented::Nothing => Identity::Nobody,
            Presented::Malformed(why) => Identity::Malformed(why),
            Presented::Bearer(token) => known(identities, token, arrival.now, evidence).await,
            Presented::Dpop(bound) => known(identities, &bound.token, arrival.now, evidence).await,
            Presented::Session(id) => match &generation.sessions {
                Some(sessions) => {
                    let resumed = sessions.resume(id, facts.host.as_str(), Use::Request, arrival.now).await;
                    if let Some(fact) = &resumed.fact {
                        // The session goes on or has ended already; a failure to record is counted and logged by the
                        // journal.
                        self.record_session(arrival, fact).await;
                    }
                    evidence.keys_too_stale = resumed.identified.too_stale_for_critical;
                    resumed.identified.identity
                }
                None => Identity::Nobody,
            },
        };
        evidence.identity = Some(identity);
    }

    /// Looks for a step-up that was finished for this very action. A body that is too long to be kept is not read: nobody
    /// can have given proof for it.
    async fn grant(
        &self,
        generation: &Generation,
        (question, tier): (&Question<'_>, TierIndex),
        arrival: &Arrival<'_>,
        evidence: &Evidence,
        source: &mut dyn BodySource,
    ) -> Result<Lookup<Granted>, Reason> {
        let Question { policy, route, facts, .. } = question;
        let Some(sessions) = &generation.sessions else { return Ok(Lookup::Absent) };
        let (id, subject) = match (&facts.presented, &facts.anonymous, &evidence.identity) {
            (_, Some(id), _) if route.anonymous.is_some() => (id, None),
            (_, None, _) if route.anonymous.is_some() => return Ok(Lookup::Absent),
            (Presented::Session(id), _, Some(Identity::Known(subject))) => (id, Some(&**subject)),
            _ => return Ok(Lookup::Absent),
        };
        let most = action::most_bytes(policy, route, arrival.body_bytes);
        let Some(body) = action::whole_body(facts, most, source).await? else { return Ok(Lookup::Absent) };
        let action = Action { policy, route, tier, facts, subject, body: &body };
        Ok(match subject {
            Some(_) => sessions.grant(id, &action.digest(), arrival.now).await,
            None => sessions.anonymous_grant(id, facts.host.as_str(), &action.digest()).await,
        })
    }

    pub(super) async fn revocation(&self, subject: &Subject) -> Revocation {
        revocation(self.state.as_ref(), subject).await
    }
}

/// Whether a subject's token, or session, was revoked.
pub async fn revocation(state: &dyn State, subject: &Subject) -> Revocation {
    match state.not_before(&revocation_keys(subject)).await {
        Lookup::Absent => Revocation::Valid,
        Lookup::Found(moment) if subject.issued_at < moment => Revocation::Revoked,
        Lookup::Found(_) => Revocation::Valid,
        Lookup::Unavailable => Revocation::Unknown,
    }
}

async fn known(identities: &dyn Identities, token: &Token, now: i64, evidence: &mut Evidence) -> Identity {
    let identified = identities.identify(token, now).await;
    evidence.keys_too_stale = identified.too_stale_for_critical;
    identified.identity
}

/// Every name by which this token may have been revoked.
fn revocation_keys(subject: &Subject) -> smallvec::SmallVec<[RevocationKey<'_>; 5]> {
    let names = [
        (RevocationClaim::Subject, Some(subject.id.as_ref())),
        // Who acts for the subject is a subject of the same issuer.
        (RevocationClaim::Subject, subject.actor.as_deref()),
        (RevocationClaim::Session, subject.session.as_deref()),
        (RevocationClaim::TokenId, subject.token_id.as_deref()),
        (RevocationClaim::Client, subject.client.as_deref()),
    ];
    let key = |(claim, value): (_, Option<_>)| {
        Some(RevocationKey { issuer: &subject.issuer, claim, value: value? })
    };
    names.into_iter().filter_map(key).collect()
}

/// Whether the browser was recognised as that of the session's person.
async fn device(generation: &Generation, facts: &Facts, now: i64, evidence: &Evidence) -> Lookup<()> {
    let (Some(device), Some(sessions), Some(Identity::Known(subject))) =
        (&facts.device, &generation.sessions, &evidence.identity)
    else {
        return Lookup::Absent;
    };
    sessions.recognises(device, facts.host.as_str(), subject, now).await
}

/// The digest of the whole body, where it is short enough to be read and says so.
async fn content(
    question: &Question<'_>,
    listener_bytes: u64,
    source: &mut dyn BodySource,
) -> Result<Lookup<Box<str>>, Reason> {
    let most = action::most_bytes(question.policy, question.route, listener_bytes);
    let body = action::whole_body(question.facts, most, source).await?;
    Ok(body.map_or(Lookup::Absent, |body| Lookup::Found(action::content_digest(&body).into())))
}

/// Reads the body for classification. What can't be understood is `Unreadable`; what can't be had stops the request.
async fn read_body(
    question: &Question<'_>,
    listener_bytes: u64,
    source: &mut dyn BodySource,
) -> Result<BodyReading, Reason> {
    if question.facts.body.length == BodyLength::None {
        return Ok(BodyReading::Absent);
    }
    if !question.may_be_read() {
        return Ok(BodyReading::Unreadable);
    }
    let allowed = usize::try_from(question.route.body_limit(listener_bytes)).unwrap_or(usize::MAX);
    let bytes = match source.collect(allowed.min(question.most_read())).await {
        Ok(bytes) => bytes,
        Err(BodyFault::Unseen) => return Ok(BodyReading::Unreadable),
        Err(fault) => return Err(fault.into()),
    };
    Ok(question.reading(&bytes))
}
