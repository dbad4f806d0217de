//! Whether anybody can meet what a route asks for.
//!
//! A caller whom no issuer could ever vouch for strongly enough would be challenged for ever; that is a
//! mistake in the configuration, and it is better found here than by a patient.

use std::collections::HashSet;

use super::assurance::Mapping;
use super::issuers::Issuer;
use super::routes::{Draft, Known};
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{File, State, Text};
use crate::identity::{Caller, Level};
use crate::policy::Tier;

/// Checks each protected route against the issuers it allows, and single-use proof against the store.
pub(super) fn check(file: &File, drafts: &[Draft<'_>], known: &Known<'_>, report: &mut Report<'_>) {
    let mut asked = Asked::default();
    for draft in drafts {
        let report = &mut report.within("route", draft.schema.id.text());
        check_route(draft, known, &mut asked, report);
        check_refined(draft, known, &mut asked, report);
    }
    check_store(file, drafts, known, report);
}

/// Why an issuer's callers can't pass, and what to do about it.
struct Obstacle {
    why: String,
    remedy: String,
}

/// What one route asks for.
#[derive(Clone, Copy)]
struct Wanted<'w> {
    tier: &'w Tier,
    /// The data class with its level.
    data_class: Option<&'w Text>,
    floor: Level,
}

impl Wanted<'_> {
    fn level(&self) -> Level {
        self.tier.assurance.max(self.floor)
    }

    /// Who asks for that level.
    fn asker(&self) -> String {
        match self.data_class {
            Some(class) if self.floor > self.tier.assurance => format!("data class `{}`", class.value),
            Some(_) | None => format!("tier `{}`", self.tier.name),
        }
    }
}

/// What an issuer can't meet; nothing where that can't be told.
fn obstacle(known: &Known<'_>, issuer: &Issuer, wanted: Wanted<'_>) -> Option<Obstacle> {
    let tier = wanted.tier;
    let name = &issuer.rules.name;
    if issuer.rules.callers == Caller::Service {
        return tier.service.is_none().then(|| Obstacle {
            why: format!("`{name}` speaks for services, which tier `{}` does not take", tier.name),
            remedy: "say what services must show, such as `service: { max_token_age: 10m }` in the tier"
                .to_owned(),
        });
    }
    let highest = issuer.mapping.as_ref()?.map.highest();
    if highest >= wanted.level() {
        return None;
    }
    let (reached, level) = (known.levels.name(highest), known.levels.name(wanted.level()));
    Some(Obstacle {
        why: format!("`{name}` reaches `{reached}` at most and {} asks for `{level}`", wanted.asker()),
        remedy: format!("map `{level}` in the `assurance` of issuer `{name}`, or ask for less"),
    })
}

fn check_route(draft: &Draft<'_>, known: &Known<'_>, asked: &mut Asked, report: &mut Report<'_>) {
    let (Some(text), Some(floor)) = (draft.schema.tier.as_ref(), draft.floor) else {
        return;
    };
    let Some(tier) = draft.tier.and_then(|tier| known.tiers.get(tier)) else {
        return;
    };
    let wanted = Wanted { tier, data_class: draft.schema.data_class.as_ref(), floor };
    let mut obstacles = Vec::new();
    for (entry, item) in draft.route.any_of.iter().zip(draft.schema.any_of.items()) {
        let Some(issuer) = entry.issuer.and_then(|at| known.issuers.get(at)) else {
            continue;
        };
        asked.acr(known, issuer, wanted.level(), report);
        if let Some(obstacle) = obstacle(known, issuer, wanted) {
            obstacles.push((obstacle, Place::from(item)));
        }
    }
    let nobody = !obstacles.is_empty() && obstacles.len() == draft.route.any_of.len();
    if nobody {
        let mut reasons: Vec<&str> = obstacles.iter().map(|(obstacle, _)| obstacle.why.as_str()).collect();
        reasons.dedup();
        let remedy = obstacles.first().map(|(obstacle, _)| obstacle.remedy.as_str()).unwrap_or_default();
        let place = wanted.data_class.filter(|_| floor > tier.assurance).unwrap_or(text);
        report.add(
            Code::NobodyCanPass,
            place,
            format!("nobody can pass here: {}", reasons.join("; ")),
            remedy,
        );
    } else {
        for (obstacle, place) in obstacles {
            report.add(
                Code::RuleNeverPasses,
                place,
                format!("this entry allows nobody: {}", obstacle.why),
                obstacle.remedy,
            );
        }
    }
}

/// A rule that raises a request to where none of the route's callers can follow is a refusal in disguise.
fn check_refined(draft: &Draft<'_>, known: &Known<'_>, asked: &mut Asked, report: &mut Report<'_>) {
    let Some(floor) = draft.floor else { return };
    let issuers =
        || draft.route.any_of.iter().filter_map(|entry| entry.issuer.and_then(|at| known.issuers.get(at)));
    for item in draft.schema.refine.items() {
        let Some(text) = item.value.tier.as_ref() else {
            continue;
        };
        let Some(tier) = known.tiers.list.iter().find(|tier| tier.name.as_ref() == text.value) else {
            continue;
        };
        let wanted = Wanted { tier, data_class: draft.schema.data_class.as_ref(), floor };
        issuers().for_each(|issuer| asked.acr(known, issuer, wanted.level(), report));
        let obstacles: Option<Vec<Obstacle>> =
            issuers().map(|issuer| obstacle(known, issuer, wanted)).collect();
        if let Some(obstacle) = obstacles.and_then(|obstacles| obstacles.into_iter().next()) {
            report.add(
                Code::RuleNeverPasses,
                text,
                format!("this rule refuses everybody: {}", obstacle.why),
                obstacle.remedy,
            );
        }
    }
}

/// The levels that routes ask of issuers, each looked at once.
#[derive(Debug, Default)]
struct Asked(HashSet<(usize, Level)>);

impl Asked {
    /// Warns of a level that a challenge has no name for. The lowest one an issuer knows needs none: to sign
    /// in is enough.
    fn acr(&mut self, known: &Known<'_>, issuer: &Issuer, wanted: Level, report: &mut Report<'_>) {
        let Some(Mapping { map, places }) = issuer.mapping.as_ref() else {
            return;
        };
        let is_person = issuer.rules.callers == Caller::Person;
        let at = places.iter().position(|(level, _)| *level >= wanted).filter(|at| *at > 0 && is_person);
        let Some((level, place)) = at.and_then(|at| places.get(at)) else {
            return;
        };
        if self.0.insert((issuer.rules.index, *level)) && map.acr_values(wanted).next().is_none() {
            let level = known.levels.name(*level);
            let message = format!("a challenge for `{level}` can't name it: it has no `acr` value");
            let help = "add the `acr` value by which a client can ask the issuer for it";
            report.within("issuer", Some(&issuer.rules.name)).add(Code::NoAcrToAskFor, *place, message, help);
        }
    }
}

/// What is used up is known to one process, unless the store is shared: a second replica would take the same proof
/// again.
fn check_store(file: &File, drafts: &[Draft<'_>], known: &Known<'_>, report: &mut Report<'_>) {
    let is_shared_or_alone = |state: &State| {
        state.store.text() == Some("redis") || state.single_replica.as_ref().is_some_and(|alone| alone.value)
    };
    if file.state.as_ref().is_some_and(is_shared_or_alone) {
        return;
    }
    let mut seen: HashSet<&str> = HashSet::new();
    for draft in drafts {
        let refined = draft.schema.refine.items().iter().filter_map(|rule| rule.value.tier.as_ref());
        let lower = draft.schema.lower_risk_if_only.as_ref().and_then(|lower| lower.value.tier.as_ref());
        for text in draft.schema.tier.as_ref().into_iter().chain(refined).chain(lower) {
            let spends = known
                .tiers
                .list
                .iter()
                .any(|tier| tier.name.as_ref() == text.value && tier.each_action_needs_new_proof);
            if spends && seen.insert(&text.value) {
                needs_single_replica(draft, text, report);
            }
        }
    }
}

fn needs_single_replica(draft: &Draft<'_>, text: &Text, report: &mut Report<'_>) {
    let message = format!(
        "tier `{}` spends each proof once, but a second replica would not know it was spent",
        text.value
    );
    let help = "say `state: { single_replica: true }` and run one replica only, or share the state with `store: redis`";
    report.within("route", draft.schema.id.text()).add(Code::NeedsSingleReplica, text, message, help);
}
