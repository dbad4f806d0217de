//! What is asked on FHIR services beside the route's rules: the parameters are known ones, the token's SMART scopes
//! cover the interaction, and whoever is confined to one patient names that one.

use super::Reason;
use super::evidence::BodyReading;
use super::outcome::{Confinement, Denial, Findings};
use super::step::Question;
use super::trace::{Stage, Trace};
use crate::identity::smart::{Context, Permissions, SmartScope};
use crate::identity::{Caller, Subject};
use crate::policy::fhir::FhirService;
use crate::request::PathReading;
use crate::request::body::BodyFacts;
use crate::request::credentials::Presented;
use crate::request::fhir::reply::{Awaited, Wanted};
use crate::request::fhir::{
    FhirRequest, Interaction, Naming, Parameters, Version, compartment, content, elements,
};

/// The operation that gives a patient's whole record, and the parameters that it has.
const EVERYTHING: (&str, &[&str]) = ("$everything", &["start", "end", "_since", "_type", "_count"]);
/// The operation that gives everybody's record, and the parameters that it has (Bulk Data Access).
const EXPORT: (&str, &[&str]) = ("$export", &["_outputFormat", "_since", "_type"]);

/// What an interaction asks of scopes: a type, or any, and what is done with it.
type Needed = (Option<&'static str>, Permissions);

/// The patient that a request names; nobody where its parameters can't be read.
pub(super) fn naming(question: &Question<'_>, body: &BodyReading) -> Naming {
    with_request(question, |service, request| {
        if request.interaction == Interaction::Create && !request.conditional {
            return created(service.version, request, body);
        }
        let by_body = request.interaction == Interaction::Operation && !question.facts.method.is_safe();
        let parameters = parameters(question, request, body).filter(|_| !by_body);
        let naming = parameters.map_or(Naming::Nobody, |found| {
            found.naming(request, service.version, service.replies.is_some())
        });
        match (naming, body) {
            // The patient's own resource must not be linked with others.
            (Naming::One(own), BodyReading::Read(BodyFacts::Json(value))) => {
                content::mentions(value, &own).unwrap_or(Naming::One(own))
            }
            (naming, _) => naming,
        }
    })
    .unwrap_or(Naming::Nobody)
}

/// The patient whose record a resource will be that is made: a new `Patient` is nobody's yet.
fn created(version: Version, request: &FhirRequest<'_>, body: &BodyReading) -> Naming {
    let kind = request.resource_type.filter(|kind| *kind != "Patient");
    match body {
        BodyReading::Read(BodyFacts::Json(value))
            if kind.is_some_and(|kind| compartment::parameters(version, kind).is_some()) =>
        {
            content::patient(value)
        }
        _ => Naming::Nobody,
    }
}

/// Whether a request that names no patient asks for something whose reply shows whose it is: a resource by its id, or
/// what the service shares with everybody.
pub(super) fn reply_tells(question: &Question<'_>, body: &BodyReading) -> bool {
    with_request(question, |service, request| {
        let Some(replies) = service.replies.as_ref() else { return false };
        let Some(name) = request.resource_type else { return false };
        let is_shared = replies.shared.contains(&name);
        let parameters = parameters(question, request, body);
        let is_plain = parameters.is_some_and(|found| found.other_types(service.version).is_empty());
        is_plain
            && match request.interaction {
                Interaction::Read | Interaction::Vread | Interaction::HistoryInstance => {
                    is_shared || elements::of(service.version, name).is_some()
                }
                Interaction::SearchType => is_shared,
                _ => false,
            }
    })
    .unwrap_or(false)
}

/// What the reply may show where it goes to somebody who is confined to one patient.
fn confinement(
    question: &Question<'_>,
    subject: &Subject,
    (service, request): (&FhirService, &FhirRequest<'_>),
    findings: &Findings,
) -> Option<Box<Confinement>> {
    // Who acts for a patient sees that one's record and no other.
    let patient = match &findings.mandate {
        Some(_) => findings.patient.clone(),
        None => subject.patient.clone(),
    };
    let patient = patient.filter(|_| service.replies.is_some())?;
    let by_id =
        matches!(request.interaction, Interaction::Read | Interaction::Vread | Interaction::HistoryInstance);
    Some(Box::new(Confinement {
        service: question.route.fhir.as_ref()?.service,
        patient,
        awaited: Awaited::One(Wanted {
            resource: request.resource_type.zip(request.id.map(Into::into)).filter(|_| by_id),
            names_patient: findings.own_record == Some(true) || findings.mandate.is_some(),
        }),
        is_search: request.interaction.is_search(),
    }))
}

/// Checks parameters and scopes; `findings` says whose record it is. Gives what the reply may show, where that is one
/// patient's only.
pub(super) fn check<T: Trace>(
    question: &Question<'_>,
    subject: &Subject,
    body: &BodyReading,
    findings: &Findings,
    trace: &mut T,
) -> Result<Option<Box<Confinement>>, Denial> {
    if question.route.fhir.is_none() {
        return Ok(None);
    }
    let checked = with_request(question, |service, request| {
        let parameters = parameters(question, request, body).filter(|found| {
            found.first_beyond(&service.allowed_parameters, own_parameters(request)).is_none()
        });
        let Some(parameters) = parameters else {
            trace.note(Stage::Authorize, || {
                "a parameter is none of the service's `search_params.allow`, or can't be read".to_owned()
            });
            return Err(Denial::new(Reason::FhirParameterRefused));
        };
        let by_rule = findings.mandate.is_some()
            || findings.rule.and_then(|at| question.route.any_of.get(at)).is_some_and(|it| it.patient_self);
        let by_scopes = check_scopes(question, subject, (service, request), &parameters)?;
        super::content::check(question, body, trace)?;
        if !by_scopes {
            let confined = by_rule.then(|| confinement(question, subject, (service, request), findings));
            return Ok(confined.flatten());
        }
        trace.note(Stage::Authorize, || {
            "the token's scopes are for the patient of its launch context only".to_owned()
        });
        match findings.own_record {
            Some(true) => Ok(confinement(question, subject, (service, request), findings)),
            None if findings.reply_tells => Ok(confinement(question, subject, (service, request), findings)),
            Some(false) => Err(Denial::new(Reason::NoRelation)),
            None => Err(Denial::new(Reason::PatientUnresolved)),
        }
    });
    // The index has read the same request by the same rules.
    checked.unwrap_or_else(|| Err(Denial::new(Reason::FhirNotUnderstood)))
}

/// Does something with the interaction; `None` where the route is no FHIR service's.
pub(super) fn with_request<R>(
    question: &Question<'_>,
    act: impl FnOnce(&FhirService, &FhirRequest<'_>) -> R,
) -> Option<R> {
    let service = question.policy.index.fhir().service(question.route.fhir.as_ref()?.service)?;
    let path = question.facts.target.path_as(PathReading::STRICT).ok()?;
    let request = service.request(&path, question.facts)?;
    Some(act(service, &request))
}

/// What a request does, where the route is a FHIR service's.
pub(super) fn interaction(question: &Question<'_>) -> Option<Interaction> {
    with_request(question, |_, request| request.interaction)
}

fn parameters(question: &Question<'_>, request: &FhirRequest<'_>, body: &BodyReading) -> Option<Parameters> {
    let searched_by_form = question.is_fhir_form();
    let form = match body {
        BodyReading::Read(BodyFacts::Form(fields)) if searched_by_form => fields.as_slice(),
        BodyReading::Absent => &[],
        _ if searched_by_form => return None,
        _ => &[],
    };
    let condition = question.facts.if_none_exist.as_deref().filter(|_| request.conditional);
    Parameters::read(&question.facts.target, form, condition)
}

fn own_parameters(request: &FhirRequest<'_>) -> &'static [&'static str] {
    [EVERYTHING, EXPORT]
        .iter()
        .find(|(name, _)| request.operation == Some(*name))
        .map(|(_, parameters)| *parameters)
        .unwrap_or_default()
}

/// Checks that scopes cover the interaction; says whether only those for one patient do.
///
/// The session of somebody who has signed in here has no token of a client's, and is asked for scopes only where it has
/// any.
fn check_scopes(
    question: &Question<'_>,
    subject: &Subject,
    (service, request): (&FhirService, &FhirRequest<'_>),
    parameters: &Parameters,
) -> Result<bool, Denial> {
    let scopes: Vec<SmartScope> =
        subject.scopes.iter().filter_map(|scope| SmartScope::parse(scope, service.smart)).collect();
    if scopes.is_empty() && matches!(question.facts.presented, Presented::Session(_)) {
        return Ok(false);
    }
    let is_usable = |scope: &&SmartScope| {
        let holds = match scope.context {
            Context::Patient => subject.patient.is_some(),
            Context::User => subject.caller == Caller::Person,
            Context::System => subject.caller == Caller::Service,
        };
        let is_export = request.operation == Some(EXPORT.0);
        let is_in_reach = !is_export || scope.context == Context::System;
        let is_search =
            matches!(request.interaction, Interaction::SearchType | Interaction::SearchCompartment);
        let is_narrow = scope.constraints.is_empty()
            || (is_search && scope.constraints.iter().all(|(name, value)| parameters.asks_for(name, value)));
        holds && is_in_reach && is_narrow
    };
    let usable: Vec<&SmartScope> = scopes.iter().filter(is_usable).collect();
    let mut confined = false;
    for (position, (resource_type, permissions)) in
        needed(request, parameters, service, question).into_iter().enumerate()
    {
        // What a constraint was met for is the type that is searched, not what comes with it.
        let covers = |scope: &&&SmartScope, letter| {
            scope.covers(resource_type)
                && scope.permissions.contains(letter)
                && (position == 0 || scope.constraints.is_empty())
        };
        for letter in permissions.each() {
            let mut all = usable.iter().filter(|scope| covers(scope, letter)).peekable();
            if all.peek().is_none() {
                return Err(missing(subject, resource_type, permissions));
            }
            confined |= all.all(|scope| scope.context == Context::Patient);
        }
    }
    Ok(confined)
}

/// The scope that would do, for the challenge (RFC 6750 §3).
fn missing(subject: &Subject, resource_type: Option<&'static str>, permissions: Permissions) -> Denial {
    let context = match subject.caller {
        Caller::Service => "system",
        Caller::Person if subject.patient.is_some() => "patient",
        Caller::Person => "user",
    };
    let scope = format!("{context}/{}.{permissions}", resource_type.unwrap_or("*"));
    Denial { scopes: vec![scope.into()], ..Denial::new(Reason::ScopeMissing) }
}

/// What an interaction asks for: the type it is about first, then those that come with it.
fn needed(
    request: &FhirRequest<'_>,
    parameters: &Parameters,
    service: &FhirService,
    question: &Question<'_>,
) -> Vec<Needed> {
    let of = |letters: &str| Permissions::parse(letters).unwrap_or(Permissions::ALL);
    let own = request.resource_type;
    let conditional = |letter| if request.conditional { of(letter) | of("s") } else { of(letter) };
    // A form or body of an operation could name types too.
    let of_types = |letters: &str| match parameters.types(service.version) {
        Some(types) if question.facts.method.is_safe() || question.is_fhir_form() => {
            types.into_iter().map(|name| (Some(name), of(letters))).collect()
        }
        _ => vec![(None, of(letters))],
    };
    let mut needed: Vec<Needed> = match request.interaction {
        Interaction::Read | Interaction::Vread | Interaction::HistoryInstance => vec![(own, of("r"))],
        Interaction::SearchType | Interaction::HistoryType => vec![(own, of("s"))],
        Interaction::SearchSystem => of_types("s"),
        Interaction::HistorySystem => vec![(None, of("s"))],
        Interaction::SearchCompartment => vec![(own, of("rs"))],
        Interaction::Create => vec![(own, conditional("c"))],
        Interaction::Update | Interaction::Patch => vec![(own, conditional("u"))],
        Interaction::Delete => vec![(own, conditional("d"))],
        Interaction::Operation if request.operation == Some(EVERYTHING.0) => of_types("rs"),
        Interaction::Operation if request.operation == Some(EXPORT.0) => vec![(None, of("rs"))],
        // What another operation does is known to its author only.
        Interaction::Operation
        | Interaction::Bundle
        | Interaction::Capabilities
        | Interaction::SmartConfiguration => vec![(own, Permissions::ALL)],
    };
    needed.extend(parameters.other_types(service.version).into_iter().map(|name| (name, of("s"))));
    needed
}
