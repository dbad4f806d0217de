//! Batches and transactions: each request in a Bundle is decided as if it had come by itself.
//!
//! Any refusal refuses all; the riskiest tier counts for the whole, which is one action.

use std::sync::Arc;

use smallvec::SmallVec;

use super::evidence::{BodyReading, Evidence, Need};
use super::outcome::{Bundled, BundledEntry, Confinement, Denial, Findings};
use super::step::{Assessed, Question, Stop, assess, least_tier};
use super::trace::{Silent, Stage, Trace};
use super::{Reason, assure, authorize, fhir};
use crate::identity::{Level, Subject};
use crate::policy::{Access, FhirService, Match, Requirement, Route, TierIndex};
use crate::request::Facts;
use crate::request::body::{BodyFacts, BodyShape};
use crate::request::fhir::bundle::{self, BundleKind, Entry};
use crate::request::fhir::reply::Awaited;
use crate::request::fhir::{FhirRequest, Interaction, Naming};
use crate::request::framing::BodyLength;
use crate::request::target::Target;

/// One request of a Bundle, found like any other.
struct Inner<'p> {
    route: &'p Route,
    position: usize,
    facts: Facts,
    body: BodyReading,
}

/// Whether the request is a Bundle of others.
pub(super) fn is_bundle(question: &Question<'_>) -> bool {
    question.route.fhir.as_ref().is_some_and(|matched| matched.is_bundle())
}

/// Decides on each request of a Bundle; gives the riskiest tier, and the strictest level that their data ask for.
pub(super) fn judge<T: Trace>(
    question: &Question<'_>,
    subject: &Arc<Subject>,
    (evidence, now): (&Evidence, i64),
    findings: &mut Findings,
    trace: &mut T,
) -> Result<(Assessed, Level), Stop> {
    let body = evidence.body.as_ref().ok_or(Stop::Need(Need::Body))?;
    let entries = inner(question, body, findings, trace)?;
    let bases = entries.iter().map(|inner| inner.route.tier);
    findings.tier = Some(bases.fold(question.route.tier, TierIndex::max));
    let protected =
        || entries.iter().enumerate().filter(|(_, inner)| inner.route.access == Access::Protected);
    for (at, inner) in protected() {
        trace.note(Stage::Authorize, || {
            format!("entry {at}: may the caller ever use route `{}`?", inner.route.id)
        });
        authorize::eligible(&inner.question(question), subject, trace)?;
    }
    check_floors(question, &entries, subject, (evidence, now), trace)?;
    let mut tier = question.route.tier;
    let mut floor = question.route.data_floor;
    let mut confinements: Vec<Option<Box<Confinement>>> = vec![None; entries.len()];
    for (at, inner) in protected() {
        trace.note(Stage::Match, || format!("entry {at}: route `{}`", inner.route.id));
        let mut own = Findings::default();
        let assessed =
            assess(&inner.question(question), subject, &inner.body, (evidence, now, false), &mut own, trace);
        merge(findings, at, &own);
        let assessed = assessed?;
        if let (Some(confined), Some(own)) = (assessed.confined, confinements.get_mut(at)) {
            *own = Some(confined);
        }
        tier = tier.max(assessed.tier);
        floor = floor.max(inner.route.data_floor);
    }
    findings.tier = Some(tier);
    let mut confined = None;
    if let Some(bundled) = &mut findings.bundle {
        bundled.floor = floor;
        confined = together(bundled.kind, confinements, trace)?;
    }
    let reason = if findings.mandate.is_some() { Reason::Delegated } else { Reason::Permitted };
    trace.note(Stage::Classify, || format!("the Bundle's tier is `{}`", question.policy.tier(tier).name));
    Ok((Assessed { tier, reason, confined }, floor))
}

impl Inner<'_> {
    fn question<'q>(&'q self, whole: &Question<'q>) -> Question<'q> {
        Question {
            policy: whole.policy,
            route: self.route,
            facts: &self.facts,
            forms_may_override: whole.forms_may_override,
        }
    }
}

/// Reads the Bundle and finds the route of each of its requests.
fn inner<'p, T: Trace>(
    question: &Question<'p>,
    body: &BodyReading,
    findings: &mut Findings,
    trace: &mut T,
) -> Result<Vec<Inner<'p>>, Stop> {
    let refuse = |trace: &mut T, why: &str| {
        trace.note(Stage::Authorize, || format!("the Bundle is refused: {why}"));
        Stop::from(Denial::new(Reason::FhirBodyRefused))
    };
    let service = question
        .route
        .fhir
        .as_ref()
        .and_then(|matched| question.policy.index.fhir().service(matched.service));
    let Some((service, bundles)) = service.and_then(|service| Some((service, service.bundles.as_ref()?)))
    else {
        return Err(Reason::FhirNotUnderstood.into());
    };
    let value = match body {
        BodyReading::Read(BodyFacts::Json(value)) if question.facts.body.patch.is_none() => value,
        _ => {
            return Err(refuse(
                trace,
                "it is not JSON with one reading, in UTF-8, not compressed, of at most 1 MiB",
            ));
        }
    };
    let bundle = match bundle::read(value, bundles.most_entries) {
        Ok(bundle) if bundles.kinds.contains(&bundle.kind) => bundle,
        Ok(_) => return Err(refuse(trace, "the service's `bundles.allow` does not have its type")),
        Err(fault) => return Err(refuse(trace, fault.0)),
    };
    let mut bundled = Bundled { kind: bundle.kind, entries: Vec::new(), floor: question.route.data_floor };
    let mut found = Vec::with_capacity(bundle.entries.len());
    let mut changed: SmallVec<[(&'static str, Box<str>); 8]> = SmallVec::new();
    for (at, entry) in bundle.entries.iter().enumerate() {
        match find(question, service, entry, &mut changed) {
            // It answers on one action, and is not asked about several.
            Ok(inner) if is_asked_alone(inner.route) => {
                findings.bundle = Some(Box::new(bundled));
                let why = format!(
                    "entry {at}: route `{}` has a `pdp`, asks for consent or separates duties",
                    inner.route.id
                );
                return Err(refuse(trace, &why));
            }
            Ok(inner) => {
                bundled.entries.push(BundledEntry { route: inner.position, lowered: false });
                found.push(inner);
            }
            Err(reason) => {
                trace.note(Stage::Match, || format!("entry {at}: {}", reason.wording().operator));
                findings.bundle = Some(Box::new(bundled));
                return Err(reason.into());
            }
        }
    }
    findings.bundle = Some(Box::new(bundled));
    Ok(found)
}

/// Whether a route asks somebody, or claims something, for one action only.
fn is_asked_alone(route: &Route) -> bool {
    route.pdp.is_some() || route.consent.is_some() || !route.duties.is_empty()
}

/// Finds the route of one request. `changed` holds what the ones before it change.
fn find<'p>(
    question: &Question<'p>,
    service: &FhirService,
    entry: &Entry<'_>,
    changed: &mut SmallVec<[(&'static str, Box<str>); 8]>,
) -> Result<Inner<'p>, Reason> {
    let target = Target::parse(format!("{}/{}", service.base, entry.url).as_bytes())
        .map_err(|_| Reason::FhirNotUnderstood)?;
    let length = entry.content.as_ref().map(|content| content.value.to_string().len());
    let patch = entry.content.as_ref().and_then(|content| content.patch);
    let shape = BodyShape::of_json(length, patch);
    let facts = question.facts.within(entry.method.clone(), target, shape, entry.if_none_exist);
    let position = match question.policy.index.find(&facts) {
        Match::Route(position) => position,
        Match::None => return Err(Reason::NoRoute),
        Match::OtherMethod(_) | Match::NotFhir | Match::Unreadable(_) => {
            return Err(Reason::FhirNotUnderstood);
        }
    };
    let route = question.policy.route(position).ok_or(Reason::NoRoute)?;
    let body = entry
        .content
        .as_ref()
        .map_or(BodyReading::Absent, |content| BodyReading::Read(BodyFacts::Json(content.value.clone())));
    let inner = Inner { route, position, facts, body };
    let own = inner.question(question);
    let is_of_service = route.fhir.as_ref().map(|matched| matched.service)
        == question.route.fhir.as_ref().map(|matched| matched.service);
    if !is_of_service || is_bundle(&own) || own.is_fhir_form() {
        return Err(Reason::FhirNotUnderstood);
    }
    if inner.facts.method_override {
        return Err(Reason::MethodOverride);
    }
    let has_room = route.body_bytes.is_none_or(|most| {
        matches!(inner.facts.body.length, BodyLength::Known(bytes) if bytes <= most) || length.is_none()
    });
    if !has_room {
        return Err(Reason::BodyTooLarge);
    }
    let is_sound = fhir::with_request(&own, |_, request| {
        let names = request.resource_type.zip(request.id);
        entry.full_url.is_none_or(|name| bundle::may_be_named(name, names)) && is_alone(request, changed)
    });
    if is_sound == Some(true) { Ok(inner) } else { Err(Reason::FhirBodyRefused) }
}

/// Whether no request before this one changes the same resource: which of two counts, servers see differently.
fn is_alone(request: &FhirRequest<'_>, changed: &mut SmallVec<[(&'static str, Box<str>); 8]>) -> bool {
    let changes =
        matches!(request.interaction, Interaction::Update | Interaction::Patch | Interaction::Delete);
    let Some((kind, id)) = request.resource_type.zip(request.id).filter(|_| changes) else { return true };
    if changed.iter().any(|(other, known)| *other == kind && known.as_ref() == id) {
        return false;
    }
    changed.push((kind, id.into()));
    true
}

/// Level and methods of the least that each request can turn out to ask, the riskiest first, so that one proof does.
fn check_floors<T: Trace>(
    question: &Question<'_>,
    entries: &[Inner<'_>],
    subject: &Subject,
    (evidence, now): (&Evidence, i64),
    trace: &mut T,
) -> Result<(), Stop> {
    let policy = question.policy;
    let protected = entries.iter().filter(|inner| inner.route.access == Access::Protected);
    let mut asked: Vec<(TierIndex, Level)> =
        protected.map(|inner| (least_tier(inner.route), inner.route.data_floor)).collect();
    asked.sort_unstable_by(|one, other| other.cmp(one));
    asked.dedup();
    for (least, floor) in asked {
        let requirement = Requirement::new(policy.tier(least), floor);
        if !requirement.floor_met(subject) {
            trace.note(Stage::Floor, || {
                format!(
                    "level `{}` is below the floor of one of the entries",
                    policy.levels.name(subject.level)
                )
            });
            let unmet = requirement.unmet(subject, now);
            return Err(assure::challenge(question, evidence, requirement, least, subject, unmet));
        }
    }
    Ok(())
}

/// The one patient whom requests of a Bundle are about, where those that name somebody name the same.
pub(super) fn patient(question: &Question<'_>, evidence: &Evidence) -> Option<Box<str>> {
    let body = evidence.body.as_ref()?;
    let entries = inner(question, body, &mut Findings::default(), &mut Silent).ok()?;
    let mut found: Option<Box<str>> = None;
    for entry in &entries {
        match authorize::named_patient(&entry.question(question), &entry.body, evidence) {
            Naming::Nobody => {}
            Naming::One(patient) if found.as_ref().is_none_or(|first| *first == patient) => {
                found = Some(patient);
            }
            Naming::One(_) | Naming::Several => return None,
        }
    }
    found
}

/// What the answer may show: to each request what it could have been answered alone.
fn together<T: Trace>(
    kind: BundleKind,
    each: Vec<Option<Box<Confinement>>>,
    trace: &mut T,
) -> Result<Option<Box<Confinement>>, Stop> {
    let Some(first) = each.iter().flatten().next() else { return Ok(None) };
    let (service, patient) = (first.service, first.patient.clone());
    if each.iter().flatten().any(|one| one.patient != patient) {
        trace.note(Stage::Authorize, || {
            "the entries are about two patients' records: each needs a Bundle of its own".to_owned()
        });
        return Err(Reason::PatientUnresolved.into());
    }
    let is_search = each.iter().flatten().any(|one| one.is_search);
    let wanted = each.into_iter().map(|one| match one?.awaited {
        Awaited::One(wanted) => Some(wanted),
        Awaited::Each(..) => None,
    });
    let awaited = Awaited::Each(kind, wanted.collect());
    Ok(Some(Box::new(Confinement { service, patient, awaited, is_search })))
}

/// Adds what was found out about one request: the Bundle is about a patient where all of it is.
fn merge(findings: &mut Findings, at: usize, own: &Findings) {
    let is_first = at == 0;
    findings.patient = match (findings.patient.take(), &own.patient) {
        (None, Some(patient)) if is_first => Some(patient.clone()),
        (Some(known), Some(patient)) if known == *patient => Some(known),
        _ => None,
    };
    findings.own_record = match (findings.own_record, own.own_record) {
        (_, Some(false)) | (Some(false), _) => Some(false),
        (known, own) if is_first || known == own => own,
        _ => None,
    };
    findings.device = findings.device.or(own.device);
    findings.mandate = findings.mandate.take().or_else(|| own.mandate.clone());
    if let Some(entry) = findings.bundle.as_mut().and_then(|bundled| bundled.entries.get_mut(at)) {
        entry.lowered = own.lowered;
    }
}
