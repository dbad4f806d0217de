//! Puts a request to those outside who have a say in it.

use super::Generation;
use super::gate::Arrival;
use super::ports::{ConsentRequest, EvaluationRequest, PatientRequest};
use crate::decision::{Evaluation, Evidence, Identity, Lookup, Question, patient, who_acts};
use crate::policy::{PatientSource, TierIndex};

/// What the route's policy decision point says of the action at this tier; `lowered` where the action has its less risky name.
pub(super) async fn evaluate(
    generation: &Generation,
    question: &Question<'_>,
    arrival: &Arrival<'_>,
    evidence: &Evidence,
    (tier, lowered): (TierIndex, bool),
) -> Lookup<Evaluation> {
    let Question { policy, route, facts, .. } = question;
    let (Some(services), Some(pdp)) = (&generation.access, route.pdp) else { return Lookup::Unavailable };
    let Some(Identity::Known(subject)) = &evidence.identity else { return Lookup::Unavailable };
    let Ok(path) = facts.target.path_as(route.reading) else { return Lookup::Unavailable };
    let path = route.reading.fold(path);
    let parameters: Vec<(&str, &str)> = route
        .template
        .parameters()
        .filter_map(|name| Some((name, route.template.value(name, &path)?)))
        .collect();
    let patient = patient(question, evidence);
    let request = EvaluationRequest {
        id: arrival.id,
        subject,
        level: policy.levels.name(subject.level),
        method: facts.method.as_str(),
        action: route.lower_risk.as_ref().filter(|_| lowered).map_or(&route.id, |lower| &lower.id),
        template: route.template.as_str(),
        host: facts.host.as_str(),
        path: &path,
        parameters: &parameters,
        patient: patient.as_deref(),
        tier: &policy.tier(tier).name,
        client: facts.client,
    };
    services.evaluate(pdp, &request).await
}

/// Whether the patient whom the request is about consents; `lowered` where the action has its less risky name.
pub(super) async fn consent_of(
    generation: &Generation,
    question: &Question<'_>,
    arrival: &Arrival<'_>,
    evidence: &Evidence,
    lowered: bool,
) -> Lookup<bool> {
    let route = question.route;
    let (Some(services), Some(at)) = (&generation.access, route.consent) else { return Lookup::Unavailable };
    let Some(Identity::Known(subject)) = &evidence.identity else { return Lookup::Unavailable };
    let Some(patient) = patient(question, evidence) else { return Lookup::Absent };
    let request = ConsentRequest {
        id: arrival.id,
        patient: &patient,
        action: route.lower_risk.as_ref().filter(|_| lowered).map_or(&route.id, |lower| &lower.id),
        issuer: &subject.issuer,
        subject: who_acts(subject).unwrap_or(&subject.id),
        now: arrival.now,
    };
    services.consents(at, &request).await
}

/// Whose record it is, where the route has that looked up.
pub(super) async fn patient_of(
    generation: &Generation,
    question: &Question<'_>,
    arrival: &Arrival<'_>,
) -> Lookup<Box<str>> {
    let Question { route, facts, .. } = question;
    let (Some(services), Some(PatientSource::Lookup(at))) = (&generation.access, &route.patient) else {
        return Lookup::Unavailable;
    };
    let Ok(path) = facts.target.path_as(route.reading) else { return Lookup::Unavailable };
    // As they are spelled: which orders differ in capitals only is the service's to say.
    let parameters: Vec<(&str, &str)> = route
        .template
        .parameters()
        .filter_map(|name| Some((name, route.template.value(name, &path)?)))
        .collect();
    services.patient(*at, &PatientRequest { id: arrival.id, parameters: &parameters }).await
}
