//! `separation_of_duties` on routes: it holds for both of them, whichever says so.

use std::time::Duration;

use super::routes::Draft;
use crate::config::codes::Code;
use crate::config::report::Report;
use crate::config::schema::Text;
use crate::config::settings::{StateSettings, StoreSettings};
use crate::config::values::{self, seconds};
use crate::policy::Access;
use crate::policy::duties::{Duty, DutyObject};

/// How long it is remembered who did what: at most a year.
const WITHIN: std::ops::RangeInclusive<Duration> = seconds(1)..=seconds(365 * 86_400);

/// Compiles the pairs, once all routes are known.
pub(super) fn compile(drafts: &mut [Draft<'_>], state: &StateSettings, report: &mut Report<'_>) {
    let mut pairs = Vec::new();
    for (at, draft) in drafts.iter().enumerate() {
        let Some(spanned) = draft.schema.separation_of_duties.as_ref() else { continue };
        let schema = &spanned.value;
        let report = &mut report.within("route", Some(draft.route.id.as_ref()));
        let other =
            report.required(&schema.not_same_actor_as, "not_same_actor_as", spanned.into(), "prescribe");
        let on = report.required(&schema.on, "on", spanned.into(), "patient");
        let within = report.required(&schema.within, "within", spanned.into(), "24h");
        let within = within
            .map_or(Duration::ZERO, |_| values::duration(report, &schema.within, Duration::ZERO, WITHIN));
        if !state.single_replica && !matches!(state.store, StoreSettings::Redis(_)) {
            let message = "a second gateway would not know who did what";
            let help = "say `state: { single_replica: true }` and run one gateway only, or share the state with `store: redis`";
            report.add(Code::DutiesNotShared, spanned, message, help);
        }
        let Some((other, on)) = other.zip(on) else { continue };
        let Some(found) = drafts.iter().position(|draft| *draft.route.id == *other.value) else {
            report.unknown(
                Code::UnknownRoute,
                "route",
                other,
                drafts.iter().map(|draft| draft.route.id.as_ref()),
            );
            continue;
        };
        if found == at {
            let message = "an action can't be kept apart from itself";
            report.add(Code::BadDuties, other, message, "name the route of the other action");
            continue;
        }
        let Some(object) = object(report, on) else { continue };
        let mut fits = true;
        for draft in [Some(draft), drafts.get(found)].into_iter().flatten() {
            fits &= check_half(draft, &object, on, report);
        }
        if fits {
            pairs.push((at, found, object, within));
        }
    }
    for (at, found, object, within) in pairs {
        let ids = [at, found].map(|at| drafts.get(at).map(|draft| draft.route.id.clone()));
        let [Some(this), Some(other)] = ids else { continue };
        for (at, this, other) in [(at, &this, &other), (found, &other, &this)] {
            let Some(draft) = drafts.get_mut(at) else { continue };
            let duty = Duty::new(this, other, object.clone(), within);
            // Where both say so, it is one pair, and the longer memory counts.
            match draft.route.duties.iter_mut().find(|known| known.pair == duty.pair && known.on == duty.on) {
                Some(known) => known.within = known.within.max(within),
                None => draft.route.duties.push(duty),
            }
        }
    }
}

fn object(report: &mut Report<'_>, on: &Text) -> Option<DutyObject> {
    match on.value.strip_prefix("path.") {
        None if on.value == "patient" => Some(DutyObject::Patient),
        Some(name) if !name.is_empty() => Some(DutyObject::Parameter(name.into())),
        _ => {
            let message = format!("`{}` is nothing that two actions can be about", on.value);
            report.add(
                Code::BadDuties,
                on,
                message,
                "write `patient`, or `path.order` for a parameter of both paths",
            );
            None
        }
    }
}

/// Whether one of the two can tell what it is about, and who does it.
fn check_half(draft: &Draft<'_>, object: &DutyObject, on: &Text, report: &mut Report<'_>) -> bool {
    let route = &draft.route;
    let lacks = match object {
        DutyObject::Patient if route.patient.is_none() => {
            Some("does not say which patient it is about".to_owned())
        }
        DutyObject::Parameter(name) if route.template.parameters().all(|known| *known != **name) => {
            Some(format!("has no parameter `{{{name}}}` in its path"))
        }
        _ if route.access == Access::Public => Some("is public: nobody knows who does it".to_owned()),
        _ if route.fhir.as_ref().is_some_and(|matched| matched.is_bundle()) => {
            Some("takes Bundles, whose requests have routes of their own".to_owned())
        }
        _ => None,
    };
    if let Some(lacks) = &lacks {
        let message = format!("route `{}` {lacks}", route.id);
        let help = "both actions must be about something that both of them name, and be somebody's";
        report.add(Code::BadDuties, on, message, help);
    }
    lacks.is_none()
}
