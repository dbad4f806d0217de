//! The stand-ins of one request: a route whose conditions have their recorded answers, a caller, a patient, a body.

use std::sync::Arc;

use super::record::{Caller, Recorded};
use super::stage::{Depends, NOW, Stage, body};
use super::world::{Unknown, World};
use crate::decision::{BodyReading, Findings, Lookup};
use crate::identity::{self, NamedActions, Subject};
use crate::policy::anonymous::{Anonymous, HintSource};
use crate::policy::route::{LowerRisk, Refine};
use crate::policy::{Access, Condition, Entry, PatientSource, Policy, Route, TierIndex};
use crate::request::certificate::Thumbprint;

/// The one field that is harmless before every stand-in of a route.
pub(super) const HARMLESS: &str = "harmless";

/// The caller's own record, and another's.
const OWN: &str = "own";
const OTHER: &str = "other";

/// The stand-ins.
pub(super) struct Props {
    /// The route, with conditions that are what they were.
    pub route: Route,
    /// Whose record it is.
    pub record: Lookup<Box<str>>,
    /// What stands in the body.
    pub body: BodyReading,
    /// Whether that is refused whatever the rules.
    pub is_hidden: bool,
    /// When a machine's token was issued, in Unix seconds.
    issued_at: i64,
    /// The conditions whose answer nobody knows, each with its place.
    open: Vec<(&'static str, usize, Box<str>)>,
}

/// Whether a refusal is one of the FHIR service itself, whatever the rules of routes.
pub(super) fn is_of_service(reason: &str) -> bool {
    reason.starts_with("fhir_")
}

pub(super) fn of_condition(source: &str) -> Unknown {
    Unknown::Condition(source.into())
}

/// Makes them, or says on what they depend.
pub(super) fn make(stage: &Stage<'_>, recorded: &Recorded, world: &World) -> Result<Props, Depends> {
    let assumed = |what: Unknown, answers: u8| stage.assumed(world, true, what, answers);
    let mut conditions =
        Conditions { known: known_conditions(stage, recorded), world, stage, open: Vec::new() };
    let route = stage.route;
    let mut staged = Route::public(route.id.clone(), route.template.clone());
    staged.host = route.host.clone();
    staged.methods = route.methods.clone();
    staged.websocket = route.websocket;
    staged.upstream = route.upstream;
    staged.reading = route.reading;
    staged.access = route.access;
    staged.tier = route.tier;
    staged.data_floor = route.data_floor;
    staged.pdp = route.pdp;
    staged.consent = route.consent;
    staged.duties = route.duties.clone();
    staged.break_glass = route.break_glass;
    staged.cors = route.cors.clone();
    staged.refine = conditions.of_refine(&route.refine);
    staged.deny = conditions.of_deny(&route.deny);
    staged.any_of = conditions.of_entries(&route.any_of);
    staged.anonymous = route.anonymous.as_ref().map(|anonymous| Anonymous {
        hint: HintSource::Body(if recorded.has_account { HARMLESS.into() } else { "none".into() }),
        ..anonymous.clone()
    });
    let open = conditions.open;

    if route.fhir.is_some() && !serves_alike(stage) && assumed(Unknown::Fhir, 2)? == 1 {
        // As good as any other refusal that comes behind the rules.
        staged.deny.extend(Condition::known("the FHIR service", Some(true)));
    }
    let is_looked_up = matches!(route.patient, Some(PatientSource::Lookup(_))) && stage.place.is_none();
    let record = match whose(stage, recorded) {
        _ if route.patient.is_none() => Lookup::Absent,
        _ if is_looked_up && recorded.input.patient_lookup.as_deref() == Some("unavailable") => {
            Lookup::Unavailable
        }
        Some(Some(is_own)) => Lookup::Found(if is_own { OWN.into() } else { OTHER.into() }),
        Some(None) => Lookup::Absent,
        None => match stage.assumed(world, stage.was_route.patient == route.patient, Unknown::Whose, 3)? {
            0 => Lookup::Found(OWN.into()),
            1 => Lookup::Found(OTHER.into()),
            _ => Lookup::Absent,
        },
    };
    // A FHIR request need not name anybody.
    let is_unnamed_fhir = route.patient == Some(PatientSource::Fhir) && record == Lookup::Absent;
    staged.patient = route.patient.as_ref().filter(|_| !is_unnamed_fhir).map(|_| PatientSource::Lookup(0));

    let (reading, is_hidden) = read_body(stage, (recorded, world))?;
    staged.lower_risk = route.lower_risk.as_ref().map(|lower| LowerRisk {
        fields: vec![HARMLESS.into()],
        tier: lower.tier,
        id: lower.id.clone(),
    });
    if route.needs_body()
        && let Ok(when) = Condition::compile("body == null && false")
    {
        // Raises nothing, and has the body looked at: one that can't be read makes it the route's highest tier.
        staged.refine.push(Refine { when, tier: TierIndex(0) });
    }
    let issued_at = match &recorded.input.caller {
        Some(caller) if caller.kind == "service" => match caller.token_age {
            Some(age) => NOW.saturating_sub(age),
            None if assumed(Unknown::TokenAge, 2)? == 0 => NOW,
            None => 0,
        },
        _ => NOW,
    };
    Ok(Props { route: staged, record, body: reading, is_hidden, issued_at, open })
}

/// What could be read of the body, and whether it is refused whatever the rules.
fn read_body(
    stage: &Stage<'_>,
    (recorded, world): (&Recorded, &World),
) -> Result<(BodyReading, bool), Depends> {
    let (was, route) = (stage.was_route, stage.route);
    let harmless = |route: &Route| route.lower_risk.as_ref().map(|lower| lower.fields.clone());
    let is_told_alike = harmless(was) == harmless(route);
    let is_read = route.needs_body();
    if route.access == Access::Public {
        return Ok((body(true), false));
    }
    let may_hide = stage.refuses_hidden && !matches!(recorded.method.as_str(), "GET" | "HEAD" | "OPTIONS");
    let was_looked_at = recorded.input.body.is_some();
    let was_refused = was_looked_at && is_of_body(&recorded.reason);
    let was_let_pass = was_looked_at && !was_refused && stage.was_refuses_hidden;
    let is_searched_only = !is_read && !matches!(route.patient, Some(PatientSource::Query(_)));
    let how = if is_searched_only { Unknown::Hidden } else { Unknown::HiddenInRead };
    if may_hide && !was_let_pass && stage.assumed(world, true, how, 2)? == 1 {
        return Ok((BodyReading::Absent, true));
    }
    if !is_read {
        return Ok((BodyReading::Absent, false));
    }
    let reading = match recorded.input.body.as_deref() {
        Some("absent") => BodyReading::Absent,
        Some("unreadable" | "searched") => BodyReading::Unreadable,
        Some(_) => match is_harmless(stage, recorded) {
            Some(is_harmless) => body(is_harmless),
            None => body(stage.assumed(world, is_told_alike, Unknown::Body, 2)? == 1),
        },
        None => match stage.assumed(world, is_told_alike, Unknown::Body, 4)? {
            3 => BodyReading::Absent,
            2 => BodyReading::Unreadable,
            answer => body(answer == 1),
        },
    };
    Ok((reading, false))
}

/// Whether a refusal is because of what the body holds, whatever the rules.
pub(super) fn is_of_body(reason: &str) -> bool {
    matches!(reason, "method_override" | "form_not_inspectable" | "credentials_malformed")
}

/// Whose record it was: the caller's own, another's, nobody's; `None` where the record does not tell.
fn whose(stage: &Stage<'_>, recorded: &Recorded) -> Option<Option<bool>> {
    let same = stage.place.is_none() && stage.was_route.patient == stage.route.patient;
    if same
        && matches!(stage.route.patient, Some(PatientSource::Lookup(_)))
        && recorded.input.patient_lookup.as_deref() == Some("none")
    {
        return Some(None);
    }
    match recorded.input.own_record.filter(|_| same) {
        Some(is_own) if recorded.has_patient => Some(Some(is_own)),
        _ => None,
    }
}

/// Whether the body had harmless fields only, those of this route; `None` where the record does not tell.
fn is_harmless(stage: &Stage<'_>, recorded: &Recorded) -> Option<bool> {
    let Some(lower) = &stage.route.lower_risk else { return Some(false) };
    let was = stage.was_route.lower_risk.as_ref().filter(|_| stage.place.is_none())?;
    let all_in = |some: &[Box<str>], others: &[Box<str>]| some.iter().all(|field| others.contains(field));
    match recorded.input.lowered {
        true if all_in(&was.fields, &lower.fields) => Some(true),
        false if all_in(&lower.fields, &was.fields) => Some(false),
        _ => None,
    }
}

/// Whether the FHIR service takes and refuses what it did.
fn serves_alike(stage: &Stage<'_>) -> bool {
    let service = |policy: &Policy, route: &Route| {
        let matched = route.fhir.as_ref()?;
        policy.index.fhir().service(matched.service).cloned()
    };
    stage.place.is_none()
        && match (service(stage.was, stage.was_route), service(stage.policy, stage.route)) {
            (Some(was), Some(mut is)) => {
                is.upstream = was.upstream;
                was == is
            }
            _ => false,
        }
}

/// The conditions of the route of the time, each with what came of it.
fn known_conditions<'s>(stage: &Stage<'s>, recorded: &Recorded) -> Vec<(&'s str, Option<bool>)> {
    if stage.place.is_some() {
        return Vec::new();
    }
    let route = stage.was_route;
    let source = |place: &str| {
        let (list, at) = place.strip_suffix(']')?.split_once('[')?;
        let at: usize = at.parse().ok()?;
        let condition = match list {
            "refine" => route.refine.get(at).map(|refine| &refine.when),
            "deny" => route.deny.get(at),
            _ => route.any_of.get(at)?.when.as_ref(),
        };
        condition.map(Condition::source)
    };
    let conditions = recorded.input.conditions.iter();
    conditions.filter_map(|(place, holds)| Some((source(place)?, *holds))).collect()
}

struct Conditions<'c> {
    known: Vec<(&'c str, Option<bool>)>,
    world: &'c World,
    stage: &'c Stage<'c>,
    open: Vec<(&'static str, usize, Box<str>)>,
}

impl Conditions<'_> {
    /// A condition that is what this one was; where nobody knows, one that does not hold, until that is asked.
    fn fixed(&mut self, list: &'static str, at: usize, condition: &Condition) -> Option<Condition> {
        let source = condition.source();
        let known = self.known.iter().find(|(known, _)| *known == source).map(|(_, holds)| *holds);
        let assumed =
            || self.world.answer(self.stage.place, &of_condition(source)).map(|answer| Some(answer == 1));
        let Some(holds) = known.or_else(assumed) else {
            self.open.push((list, at, source.into()));
            return Condition::known(source, Some(false)).ok();
        };
        Condition::known(source, holds).ok()
    }

    fn of_refine(&mut self, refine: &[Refine]) -> Vec<Refine> {
        let fixed = refine.iter().enumerate().filter_map(|(at, refine)| {
            Some(Refine { when: self.fixed("refine", at, &refine.when)?, tier: refine.tier })
        });
        fixed.collect()
    }

    fn of_deny(&mut self, deny: &[Condition]) -> Vec<Condition> {
        deny.iter().enumerate().filter_map(|(at, condition)| self.fixed("deny", at, condition)).collect()
    }

    fn of_entries(&mut self, entries: &[Entry]) -> Vec<Entry> {
        let fixed = entries.iter().enumerate().map(|(at, entry)| Entry {
            issuer: entry.issuer,
            roles: entry.roles.clone(),
            scopes: entry.scopes.clone(),
            clients: entry.clients.clone(),
            patient_self: entry.patient_self,
            delegate: entry.delegate.clone(),
            when: entry.when.as_ref().and_then(|when| self.fixed("any_of", at, when)),
        });
        fixed.collect()
    }
}

impl Props {
    /// The condition whose answer nobody knows and that was looked at first.
    pub fn first_open(&self, findings: &Findings) -> Option<&str> {
        let looked_at = findings.conditions.iter().map(|(place, _)| place.parts());
        let mut open = looked_at.filter_map(|(list, at)| {
            let mut open = self.open.iter();
            open.find(|(name, place, _)| *name == list && *place == at).map(|(_, _, source)| source.as_ref())
        });
        open.next()
    }

    /// The patient it is about.
    pub fn patient(&self) -> &str {
        match &self.record {
            Lookup::Found(patient) => patient,
            Lookup::Absent | Lookup::Unavailable => OTHER,
        }
    }

    /// The caller, under a policy that knows the issuer and the level.
    pub fn subject(&self, policy: &Policy, caller: &Caller) -> Option<Subject> {
        let rules = policy.issuers.iter().find(|rules| *rules.name == *caller.issuer)?;
        let texts = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        let kind =
            if caller.kind == "service" { identity::Caller::Service } else { identity::Caller::Person };
        Some(Subject {
            issuer: Arc::clone(&rules.name),
            issuer_index: rules.index,
            id: "replay".into(),
            caller: kind,
            client: caller.client.as_deref().map(Into::into),
            actor: caller.actor.then(|| "actor".into()),
            patient: Some(OWN.into()),
            roles: texts(&caller.roles),
            scopes: texts(&caller.scopes),
            level: policy.levels.find(&caller.level)?,
            methods: texts(&caller.methods),
            auth_time: caller.age.map(|age| NOW.saturating_sub(age)),
            issued_at: self.issued_at,
            expires_at: i64::MAX,
            token_id: Some("replay".into()),
            session: None,
            bound_to: None,
            bound_key: caller.sender_constrained.then(|| Thumbprint::of(b"replay")),
            // What it names is not on record: a decision that depends on that does not come out as it did.
            names: if caller.names_actions { NamedActions::Unreadable } else { NamedActions::Nothing },
            changes_at: None,
            claims: Arc::default(),
        })
    }
}
