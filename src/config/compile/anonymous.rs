//! What public routes ask for all the same: `anonymous`.

use std::time::Duration;

use http::Method;
use serde_saphyr::Spanned;

use super::matching::Matched;
use super::routes::{Draft, Known};
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{Anonymous as Schema, Attempts as AttemptsSchema, Given, Route, Text};
use crate::config::settings::StateSettings;
use crate::config::settings::StoreSettings;
use crate::config::values::{self, seconds};
use crate::identity::Level;
use crate::policy::anonymous::{Anonymous, Attempts, HintSource};
use crate::policy::{Access, Tier, TierIndex, WayKind};

/// What else is known of the route: whether it is public, its tier and its `match`; `None` where that was reported.
type Of<'m> = (Access, Option<TierIndex>, Option<&'m Matched>);

/// Compiles a route's `anonymous`.
pub(super) fn compile(
    report: &mut Report<'_>,
    known: &Known<'_>,
    route: &Route,
    (access, tier, matched): Of<'_>,
) -> Option<Anonymous> {
    let tier = tier.and_then(|tier| known.tiers.get(tier));
    let Some(schema) = route.anonymous.as_ref() else {
        check_tier(report, known, route, (access, tier));
        return None;
    };
    if access == Access::Protected {
        let message = "`anonymous` is for routes that ask nobody to sign in";
        let help = "write `access: public`, or take `anonymous` out";
        report.add(Code::AnonymousRule, schema, message, help);
    }
    if matched.is_some_and(|matched| matched.websocket) {
        let message = "a WebSocket handshake names no account";
        report.add(Code::AnonymousRule, schema, message, "take `anonymous` or `upgrade` out");
    }
    let hint = hint(report, schema, matched);
    let step_up = ways(report, known, &schema.value);
    if schema.value.step_up.is_none() {
        check_tier(report, known, route, (access, tier));
    } else {
        check_step_up(report, known, schema, matched);
        check_level(report, known, (schema, route), tier, &step_up);
    }
    let attempts = attempts(report, &schema.value.attempts);
    Some(Anonymous { hint: hint?, step_up, attempts })
}

/// Warns of a public route whose tier asks for what nobody is asked for.
fn check_tier(
    report: &mut Report<'_>,
    known: &Known<'_>,
    route: &Route,
    (access, tier): (Access, Option<&Tier>),
) {
    let (Access::Public, Some(text), Some(tier)) = (access, route.tier.as_ref(), tier) else { return };
    if tier.assurance == Level::NONE && !tier.each_action_needs_new_proof {
        return;
    }
    let level = known.levels.name(tier.assurance);
    let message = format!("tier `{}` asks for `{level}`, and a public route asks nobody for it", tier.name);
    let help = "add `anonymous: { hint: body.username, step_up: [proofing] }`, or name a tier with `assurance: none`";
    report.add(Code::PublicTier, text, message, help);
}

fn hint(report: &mut Report<'_>, schema: &Spanned<Schema>, matched: Option<&Matched>) -> Option<HintSource> {
    let text = report.required(&schema.value.hint, "hint", schema.into(), "body.username")?;
    match text.value.split_once('.') {
        Some(("body", name)) if !name.is_empty() => {
            if matched.is_some_and(|matched| !matched.has_body()) {
                let help = "add `POST`, `PUT` or `PATCH` to `methods`, or name a parameter: `query.username`";
                report.add(Code::BodyNeverPresent, text, "no request of this route has a body", help);
            }
            Some(HintSource::Body(name.into()))
        }
        Some(("query", name)) if !name.is_empty() => Some(HintSource::Query(name.into())),
        _ => {
            let message = format!("`{}` is not a place at which a request names an account", text.value);
            let help = "write `body.` or `query.` and a name, such as `body.username`";
            report.add(Code::BadHint, text, message, help);
            None
        }
    }
}

fn ways(report: &mut Report<'_>, known: &Known<'_>, schema: &Schema) -> Vec<usize> {
    values::texts(report, &schema.step_up);
    let mut chosen = Vec::new();
    for text in schema.step_up.items() {
        match known.ways.iter().position(|way| *way.name == *text.value) {
            Some(position) if matches!(known.ways.get(position), Some(way) if is_for_anybody(&way.kind)) => {
                chosen.push(position);
            }
            Some(_) => {
                let message = format!("`{}` asks people who have signed in", text.value);
                let help = "name ways with `type: http`: their service finds out itself who is there";
                report.add(Code::AnonymousWay, text, message, help);
            }
            None => {
                let names = known.ways.iter().map(|way| way.name.as_ref());
                report.unknown(Code::UnknownStepUp, "way to step up", text, names);
            }
        }
    }
    chosen
}

/// Whether somebody can take a way whom no issuer vouches for.
fn is_for_anybody(kind: &WayKind) -> bool {
    match kind {
        WayKind::Http { .. } => true,
        WayKind::Rfc9470 | WayKind::Oidc | WayKind::Ciba { .. } => false,
    }
}

/// Reports a step-up whose request can't be kept, or whose pages are nowhere.
fn check_step_up(
    report: &mut Report<'_>,
    known: &Known<'_>,
    schema: &Spanned<Schema>,
    matched: Option<&Matched>,
) {
    let place = schema.value.step_up.as_ref().map_or(schema.into(), Place::from);
    let Some(matched) = matched else { return };
    if let Some(method) = matched.methods.iter().find(|method| Method::is_safe(method)) {
        let message = format!("a `{method}` is not kept, so nobody could confirm it");
        let help = "give the route for it an `id` of its own, and keep `step_up` where something is changed";
        report.add(Code::AnonymousRule, place, message, help);
    }
    let origins = known.issuers.iter().filter_map(|issuer| issuer.settings.sign_in.as_ref());
    let is_served = match &matched.host {
        Some(host) => origins.clone().any(|sign_in| sign_in.origin(host).is_some()),
        None => origins.clone().next().is_some(),
    };
    if !is_served {
        let message = "the pages of a step-up lie where people sign in, and nobody signs in here";
        let help = "give an issuer a `sign_in` with this host among its `origins`";
        report.add(Code::NoPagesHere, place, message, help);
    }
}

/// Reports a tier that none of the ways reaches.
fn check_level(
    report: &mut Report<'_>,
    known: &Known<'_>,
    (schema, route): (&Spanned<Schema>, &Route),
    tier: Option<&Tier>,
    step_up: &[usize],
) {
    let Some(tier) = tier.filter(|_| !step_up.is_empty()) else { return };
    let granted = |way: &usize| match known.ways.get(*way)?.kind {
        WayKind::Http { grants } => Some(grants),
        _ => None,
    };
    let highest = step_up.iter().filter_map(granted).max().unwrap_or(Level::NONE);
    if highest >= tier.assurance {
        return;
    }
    let place: Place = match (route.tier.as_ref(), schema.value.step_up.as_ref()) {
        (Some(text), _) => text.into(),
        (None, Some(list)) => list.into(),
        (None, None) => schema.into(),
    };
    let (reached, asked) = (known.levels.name(highest), known.levels.name(tier.assurance));
    let message = format!(
        "nobody can pass here: its ways to step up grant `{reached}` at most and tier `{}` asks for `{asked}`",
        tier.name
    );
    let help = format!("let one of them say `grants: {asked}`, if its proof is worth that, or ask for less");
    report.add(Code::NobodyCanPass, place, message, help);
}

fn attempts(report: &mut Report<'_>, given: &Given<Spanned<AttemptsSchema>>) -> Attempts {
    let default = Attempts::default();
    let Some(schema) = given.as_ref().map(|given| &given.value) else { return default };
    values::choice(report, &schema.effect, &[("deny", ())], ());
    let number = |count: Option<usize>| count.and_then(|count| u64::try_from(count).ok());
    let more_than = number(values::count(report, &schema.more_than, 1..=10_000)).unwrap_or(default.more_than);
    let per_network = number(values::count(report, &schema.per_network, 1..=1_000_000)).unwrap_or(more_than);
    let (least, most) = (seconds(60), Duration::from_secs(30 * 86_400));
    let span = values::duration(report, &schema.r#in, default.span, least..=most);
    Attempts { more_than, per_network, span }
}

/// Attempts are counted by one process, unless the store is shared: with a second replica each would have its own.
pub(super) fn check_store(drafts: &[Draft<'_>], state: &StateSettings, report: &mut Report<'_>) {
    if state.single_replica || matches!(state.store, StoreSettings::Redis(_)) {
        return;
    }
    let found = drafts.iter().find_map(|draft| Some((draft, draft.schema.anonymous.as_ref()?)));
    if let Some((draft, place)) = found {
        let message = "attempts are counted, but a second replica would not know how many there were";
        let help = "say `state: { single_replica: true }` and run one replica only, or share the state with `store: redis`";
        let id: Option<&str> = draft.schema.id.as_ref().map(|id: &Text| id.value.as_str());
        report.within("route", id).add(Code::NeedsSingleReplica, place, message, help);
    }
}
