//! People who act for patients: the relations, and the rules that name them.

use std::collections::HashSet;
use std::time::Duration;

use super::assurance;
use super::issuers::{self, Issuer};
use super::routes::Known;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{Delegation, File, Given, Relation as Schema, Route, Text, Texts};
use crate::config::settings::{StateSettings, StoreSettings};
use crate::config::values::{self, Names, seconds};
use crate::identity::assurance::Levels;
use crate::policy::delegation::{Delegations, Grantors, Relation};

const DAY: u64 = 86_400;
/// The longest that a grant holds, and that it may go unseen: what the store keeps.
const LONGEST: Duration = seconds(365 * DAY);
/// The ages at which somebody may begin to act for themselves, in years.
const AGES: std::ops::RangeInclusive<usize> = 1..=25;

/// Compiles `delegation`, its relations in the order of the file.
pub(super) fn compile(
    file: &File,
    issuers: &[Issuer],
    levels: &Levels,
    report: &mut Report<'_>,
) -> Delegations {
    let Some(schema) = file.delegation.as_ref() else { return Delegations::default() };
    let report = &mut report.within("delegation", None);
    let Delegation { by, relations, .. } = &schema.value;
    let place = Place::from(schema);
    let by = report.required(by, "by", place, "{ issuer: workforce, roles: [records-office] }");
    let grantors = by.map(|by| {
        let place = Place::from(by);
        let by = &by.value;
        report.required(&by.roles, "by.roles", place, "[records-office]");
        let assurance = report.required(&by.assurance, "by.assurance", place, "aal2");
        Grantors {
            issuer: issuers::of_people((place, &by.issuer), issuers, NO_ISSUER, report),
            roles: values::texts(report, &by.roles),
            assurance: assurance.and_then(|text| assurance::level(report, levels, text)).unwrap_or_default(),
        }
    });
    if relations.entries().is_empty() {
        let message = "there is no relation in which anybody could act for a patient";
        report.add(Code::DelegationRelation, place, message, "write `relations: { caregiver: {} }`");
    }
    let mut names = Names::default();
    let relations = relations.entries().iter().map(|(name, schema)| {
        values::name(report, name);
        names.add(report, "relation", name);
        relation((name, &schema.value), issuers, report)
    });
    Delegations { relations: relations.collect(), grantors }
}

fn relation((name, schema): (&Text, &Schema), issuers: &[Issuer], report: &mut Report<'_>) -> Relation {
    let until_age = values::count(report, &schema.until_age, AGES).and_then(|age| u8::try_from(age).ok());
    Relation {
        name: name.value.as_str().into(),
        issuer: issuers::of_people((Place::from(name), &schema.issuer), issuers, NO_ISSUER, report),
        review_every: values::duration(report, &schema.review_every, seconds(90 * DAY), seconds(1)..=LONGEST),
        lasts: values::duration(report, &schema.lasts, LONGEST, seconds(1)..=LONGEST),
        until_age,
        actions: values::texts(report, &schema.actions),
    }
}

const NO_ISSUER: (Code, &str, &str) = (
    Code::DelegationRelation,
    "it does not say whose people they are, and there is not exactly one issuer",
    "machines act for no patient, and this issuer vouches for services only",
);

/// The positions of the relations that a rule names; `patient_self` where the rule is about one's own record.
pub(super) fn of_entry(
    report: &mut Report<'_>,
    known: &Known<'_>,
    given: &Given<Texts>,
    (has_patient, patient_self): (bool, bool),
) -> Vec<usize> {
    let Some(list) = given.as_ref() else { return Vec::new() };
    let names = || known.delegations.relations.iter().map(|relation| relation.name.as_ref());
    if list.value.is_empty() {
        let message = "nobody acts for a patient in no relation";
        report.add(Code::DelegationRule, list, message, "name relations, such as `delegate: [caregiver]`");
    }
    if !has_patient {
        let message = "this route does not say which patient it is about";
        let help = "add `patient: { from: path.patient }` to the route";
        report.add(Code::DelegationRule, list, message, help);
    }
    if patient_self {
        let message = "a rule is about one's own record, or about that of somebody whom one acts for";
        report.add(Code::DelegationRule, list, message, "write two entries");
    }
    let mut found = Vec::new();
    for text in given.items() {
        match names().position(|name| name == text.value) {
            Some(at) => found.push(at),
            None => report.unknown(Code::UnknownRelation, "relation", text, names()),
        }
    }
    found
}

/// Checks what can be known once all routes are: which actions there are, and who could do what with them.
pub(super) fn check(file: &File, delegations: &Delegations, state: &StateSettings, report: &mut Report<'_>) {
    let Some(schema) = file.delegation.as_ref() else { return };
    let routes = || file.routes.items().iter().map(|item| &item.value);
    let ids: HashSet<&str> = routes().filter_map(|route| route.id.text()).collect();
    let relations = schema.value.relations.entries().iter();
    let lists = relations.map(|(_, relation)| &relation.value.actions).chain([&schema.value.never]);
    for text in lists.flat_map(Given::items).filter(|text| !ids.contains(text.value.as_str())) {
        report.unknown(Code::UnknownRoute, "route", text, ids.iter().copied());
    }
    let never: HashSet<&str> = schema.value.never.items().iter().map(|text| text.value.as_str()).collect();
    for route in routes() {
        check_route(route, delegations, &never, report);
    }
    if !state.single_replica && !matches!(state.store, StoreSettings::Redis(_)) {
        let message = "a second gateway would know neither what was granted nor what was ended";
        let help = "say `state: { single_replica: true }` and run one gateway only, or share the state with `store: redis`";
        report.add(Code::DelegationNotShared, schema, message, help);
    }
}

fn check_route(route: &Route, delegations: &Delegations, never: &HashSet<&str>, report: &mut Report<'_>) {
    let Some(id) = route.id.text() else { return };
    let report = &mut report.within("route", Some(id));
    let entries = route.any_of.items().iter();
    for text in entries.flat_map(|entry| entry.value.delegate.items()) {
        if never.contains(id) {
            let message = format!("`delegation.never` says that nobody does `{id}` for a patient");
            report.add(
                Code::DelegationRule,
                text,
                message,
                "take the entry out, or the action out of `never`",
            );
        } else if delegations.relation(&text.value).is_some_and(|relation| !relation.covers(id)) {
            let message = format!("the relation `{}` is not good for `{id}`", text.value);
            let help = format!("add `{id}` to the relation's `actions`, or take it out here");
            report.add(Code::DelegationRule, text, message, help);
        }
    }
}
