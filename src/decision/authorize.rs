//! Who may: the rules of `any_of`, in two passes.
//!
//! The first looks only at the caller (issuer, client, roles, scopes): nobody is prompted for what could never be
//! allowed. The second looks at *this* resource, and only runs once the route's base assurance is met.

use super::outcome::{ConditionPlace, Denial, Findings};
use super::step::Question;
use super::trace::{Stage, Trace};
use super::{BodyReading, Evidence, Lookup, Reason, bundle, fhir};
use crate::identity::{Caller, Subject};
use crate::policy::condition::Inputs;
use crate::policy::{Entry, PatientSource, Policy};
use crate::request::fhir::Naming;
use crate::request::framing::BodyLength;
use crate::request::names::is_near;

/// Whether the caller is a patient here: a rule about their own record could be for them.
pub fn is_patient(policy: &Policy, subject: &Subject) -> bool {
    let mut entries = policy.routes.iter().flat_map(|route| &route.any_of);
    subject.caller == Caller::Person
        && subject.actor.is_none()
        && entries.any(|entry| entry.patient_self && mismatch(entry, subject).is_none())
}

/// Refuses callers whom no rule could ever allow.
pub fn eligible<T: Trace>(question: &Question<'_>, subject: &Subject, trace: &mut T) -> Result<(), Denial> {
    if subject.actor.is_some() && question.route.any_of.iter().all(|entry| entry.delegate.is_empty()) {
        trace.note(Stage::Authorize, || {
            "the token has an actor (`act`), and no rule lets anybody act for another".to_owned()
        });
        return Err(Denial::new(Reason::ActorNotAllowed));
    }
    let mut closest = Denial::new(Reason::IssuerNotAllowed);
    let mut best = 0;
    for (at, entry) in entries(question, subject) {
        match mismatch(entry, subject) {
            None => return Ok(()),
            Some((rank, denial)) => {
                trace.note(Stage::Authorize, || format!("any_of[{at}]: miss, {}", denial.reason.code()));
                if rank > best {
                    (best, closest) = (rank, denial);
                }
            }
        }
    }
    Err(closest)
}

/// The entries that can be for this caller, each with its position: for somebody who acts for another those that say so.
fn entries<'q>(question: &Question<'q>, subject: &Subject) -> impl Iterator<Item = (usize, &'q Entry)> {
    let acts = subject.actor.is_some();
    question.route.any_of.iter().enumerate().filter(move |(_, entry)| !acts || !entry.delegate.is_empty())
}

/// What an entry misses in the caller, ranked by how much of it did fit.
fn mismatch(entry: &Entry, subject: &Subject) -> Option<(u8, Denial)> {
    if entry.issuer.is_some_and(|issuer| issuer != subject.issuer_index) {
        return Some((1, Denial::new(Reason::IssuerNotAllowed)));
    }
    let client_fits = entry.clients.is_empty()
        || subject.client.as_ref().is_some_and(|client| entry.clients.contains(client));
    if !client_fits {
        return Some((2, Denial::new(Reason::ClientNotAllowed)));
    }
    if !entry.roles.is_empty() && !entry.roles.iter().any(|role| subject.roles.contains(role)) {
        return Some((3, Denial::new(Reason::RoleMissing)));
    }
    if !entry.scopes.iter().all(|scope| subject.scopes.contains(scope)) {
        return Some((4, Denial { scopes: entry.scopes.clone(), ..Denial::new(Reason::ScopeMissing) }));
    }
    None
}

/// Applies the rules to this request; notes in `findings` which one allowed it, or which would allow it to somebody who acts
/// for the patient.
pub fn authorize<'i, T: Trace>(
    question: &Question<'_>,
    subject: &Subject,
    inputs: &dyn Fn() -> Result<&'i Inputs, String>,
    findings: &mut Findings,
    trace: &mut T,
) -> Result<(), Denial> {
    for (at, condition) in question.route.deny.iter().enumerate() {
        let holds = inputs().and_then(|inputs| condition.holds(inputs));
        findings.conditions.push((ConditionPlace::Deny(at), holds.as_ref().ok().copied()));
        match holds {
            Ok(false) => {
                trace.note(Stage::Authorize, || format!("deny[{at}] `{}` does not hold", condition.source()))
            }
            Ok(true) => {
                trace
                    .note(Stage::Authorize, || format!("deny[{at}] `{}` holds: refused", condition.source()));
                return Err(Denial::new(Reason::DeniedByRule));
            }
            Err(why) => {
                trace.note(Stage::Authorize, || {
                    format!("deny[{at}] `{}` failed ({why}): refused", condition.source())
                });
                return Err(Denial::new(Reason::ConditionFailed));
            }
        }
    }
    // A FHIR request need not be about one patient: only rules about one ask for that.
    let must_name = question.route.patient.as_ref().is_some_and(|source| *source != PatientSource::Fhir);
    if must_name && findings.patient.is_none() {
        trace.note(Stage::Authorize, || {
            "the request does not say which patient it is about: refused".to_owned()
        });
        return Err(Denial::new(Reason::PatientUnresolved));
    }
    let mut closest = Denial::new(Reason::IssuerNotAllowed);
    let mut best = 0;
    let mut by_reply = None;
    for (at, entry) in entries(question, subject) {
        match resource_mismatch(at, entry, subject, inputs, findings) {
            // A rule that needs no look at the reply comes first.
            None if entry.patient_self && findings.own_record != Some(true) => {
                trace.note(Stage::Authorize, || {
                    format!("any_of[{at}]: hit if the reply is the subject's own record")
                });
                by_reply.get_or_insert(at);
            }
            None if !entry.delegate.is_empty() => {
                trace.note(Stage::Authorize, || {
                    format!("any_of[{at}]: hit if the caller acts for the patient")
                });
                findings.delegable.push(at);
                if best < 5 {
                    (best, closest) = (5, Denial::new(Reason::NoRelation));
                }
            }
            None => {
                findings.rule = Some(at);
                trace.note(Stage::Authorize, || format!("any_of[{at}]: hit"));
                return Ok(());
            }
            Some((rank, denial, detail)) => {
                trace.note(Stage::Authorize, || {
                    format!("any_of[{at}]: miss, {}{detail}", denial.reason.code())
                });
                if rank > best {
                    (best, closest) = (rank, denial);
                }
            }
        }
    }
    findings.rule = by_reply;
    by_reply.map(|_| ()).ok_or(closest)
}

fn resource_mismatch<'i>(
    at: usize,
    entry: &Entry,
    subject: &Subject,
    inputs: &dyn Fn() -> Result<&'i Inputs, String>,
    findings: &mut Findings,
) -> Option<(u8, Denial, String)> {
    if let Some((rank, denial)) = mismatch(entry, subject) {
        return Some((rank, denial, String::new()));
    }
    let reply_tells = findings.reply_tells && findings.own_record.is_none() && subject.patient.is_some();
    if entry.patient_self && findings.own_record != Some(true) && !reply_tells {
        let reason =
            if findings.own_record.is_none() { Reason::PatientUnresolved } else { Reason::NoRelation };
        return Some((5, Denial::new(reason), String::new()));
    }
    if !entry.delegate.is_empty() && findings.patient.is_none() {
        return Some((5, Denial::new(Reason::PatientUnresolved), String::new()));
    }
    let condition = entry.when.as_ref()?;
    let holds = inputs().and_then(|inputs| condition.holds(inputs));
    findings.conditions.push((ConditionPlace::AnyOf(at), holds.as_ref().ok().copied()));
    match holds {
        Ok(true) => None,
        Ok(false) => Some((6, Denial::new(Reason::ConditionNotMet), format!(": `{}`", condition.source()))),
        Err(why) => Some((
            6,
            Denial::new(Reason::ConditionFailed),
            format!(": `{}` failed ({why})", condition.source()),
        )),
    }
}

/// Finds the patient a request is about, and whether it is the subject.
pub fn resolve_patient<T: Trace>(
    question: &Question<'_>,
    subject: &Subject,
    (body, evidence): (&BodyReading, &Evidence),
    findings: &mut Findings,
    trace: &mut T,
) {
    if question.route.patient.is_none() {
        return;
    }
    let found = match named_patient(question, body, evidence) {
        Naming::One(patient) => Some(patient),
        Naming::Several => {
            findings.own_record = Some(false);
            None
        }
        Naming::Nobody => {
            findings.reply_tells = fhir::reply_tells(question, body);
            None
        }
    };
    if let Some(patient) = &found {
        findings.own_record = Some(subject.patient.as_ref() == Some(patient));
    }
    trace.note(Stage::Authorize, || match findings.own_record {
        Some(true) => "the record is the subject's own".to_owned(),
        Some(false) => "the record is not the subject's own".to_owned(),
        None => "the record's patient is not named".to_owned(),
    });
    findings.patient = found;
}

/// The one patient that a request is about, as far as the evidence says.
pub fn patient(question: &Question<'_>, evidence: &Evidence) -> Option<Box<str>> {
    const NOT_ASKED_FOR: &BodyReading = &BodyReading::Absent;
    let body = evidence.body.as_ref().unwrap_or(NOT_ASKED_FOR);
    if bundle::is_bundle(question) {
        return bundle::patient(question, evidence);
    }
    match named_patient(question, body, evidence) {
        Naming::One(patient) => Some(patient),
        Naming::Several | Naming::Nobody => None,
    }
}

/// The patient that a request names.
pub(super) fn named_patient(question: &Question<'_>, body: &BodyReading, evidence: &Evidence) -> Naming {
    let Some(source) = &question.route.patient else { return Naming::Nobody };
    let found: Option<Box<str>> = match source {
        // As it is spelled: who is whom is the issuer's to say, and it may tell capitals apart.
        PatientSource::Path(name) => question
            .facts
            .target
            .path_as(question.route.reading)
            .ok()
            .and_then(|path| question.route.template.value(name, &path).map(Into::into)),
        PatientSource::Query(name) => {
            let value = question.facts.target.query_alone(name).filter(|value| !value.is_empty());
            value.filter(|_| !body_may_name(question, body, name)).map(Into::into)
        }
        PatientSource::Body(name) => match body {
            BodyReading::Read(facts) => facts.field(name).filter(|value| !value.is_empty()).map(Into::into),
            BodyReading::Absent | BodyReading::Searched { .. } | BodyReading::Unreadable => None,
        },
        PatientSource::Fhir => return fhir::naming(question, body),
        PatientSource::Lookup(_) => match &evidence.record {
            Some(Lookup::Found(patient)) => Some(patient.clone()),
            None | Some(Lookup::Absent | Lookup::Unavailable) => None,
        },
    };
    found.map_or(Naming::Nobody, Naming::One)
}

/// Whether a framework that makes one list of parameters of query and body could find this one in the body.
pub(super) fn body_may_name(question: &Question<'_>, body: &BodyReading, parameter: &str) -> bool {
    let shape = question.facts.body;
    let has_no_use_for_it =
        question.facts.method == http::Method::GET || question.facts.method == http::Method::HEAD;
    match body {
        _ if shape.length == BodyLength::None => false,
        // Who sends one with these means something by it.
        _ if has_no_use_for_it => true,
        BodyReading::Read(facts) => facts.every_name().into_iter().any(|name| is_near(name, parameter)),
        // Not looked at, or in vain.
        BodyReading::Absent | BodyReading::Searched { .. } | BodyReading::Unreadable => {
            shape.may_hold_fields()
        }
    }
}
