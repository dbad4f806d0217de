//! Rights to break the glass, and the routes that have one.

use std::time::Duration;

use serde_saphyr::Spanned;

use super::assurance;
use super::issuers::{self, Issuer};
use super::matching::Matched;
use super::routes::Known;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{BreakGlass as Schema, File, Given, Route, Text, Texts};
use crate::config::settings::{KeySource, StateSettings, StoreSettings};
use crate::config::values::{self, Names, seconds};
use crate::identity::assurance::Levels;
use crate::policy::break_glass::{BreakGlass, Override};
use crate::policy::{Access, PatientSource};

/// The longest that a record is open: a shift's first hours, not the shift.
const LONGEST: Duration = seconds(4 * 3_600);
/// The longest that a review may wait.
const LONGEST_REVIEW: Duration = seconds(14 * 86_400);
/// The longest reason in one's own words that may be asked for, in characters.
const MOST_TEXT: usize = 500;

/// Compiles `break_glass`, in the order of the file.
pub(super) fn compile(
    file: &File,
    issuers: &[Issuer],
    levels: &Levels,
    report: &mut Report<'_>,
) -> Vec<BreakGlass> {
    let mut names = Names::default();
    let rights = file.break_glass.entries().iter();
    rights
        .map(|(name, schema)| {
            let report = &mut report.within("break_glass", Some(&name.value));
            values::name(report, name);
            names.add(report, "right to break the glass", name);
            right((name, &schema.value), issuers, levels, report)
        })
        .collect()
}

fn right(
    (name, schema): (&Text, &Schema),
    all: &[Issuer],
    levels: &Levels,
    report: &mut Report<'_>,
) -> BreakGlass {
    let place = Place::from(name);
    let require =
        report.required(&schema.require, "require", place, "{ assurance: aal2, reason_codes: [emergency] }");
    let (absent_require, absent_grant, absent_review) = Default::default();
    let require = require.map_or(&absent_require, |require| &require.value);
    let grant = schema.grant.as_ref().map_or(&absent_grant, |grant| &grant.value);
    let review = report.required(&schema.review, "review", place, "{ within: 72h, by: [privacy-office] }");
    let review = review.map_or(&absent_review, |review| &review.value);
    let text_min = values::count(report, &require.text_min, 1..=MOST_TEXT).unwrap_or(20);
    let most_per_day = values::count(report, &grant.most_per_day, 1..=1_000).unwrap_or(10);
    let assurance = report.required(&require.assurance, "require.assurance", place, "aal2");
    let drill = schema.drill.as_ref().filter(|given| given.value);
    if let Some(given) = drill {
        let message = format!("`{}` is a drill: all of it happens, and nothing opens", name.value);
        report.add(Code::BreakGlassDrill, given, message, "take `drill` out when it is over");
    }
    let issuer = issuers::of_people(
        (place, &schema.issuer),
        all,
        (
            Code::BreakGlassRight,
            "the right does not say whose roles they are, and there is not exactly one issuer",
            "machines break no glass, and this issuer vouches for services only",
        ),
        report,
    );
    BreakGlass {
        name: name.value.as_str().into(),
        issuer,
        offline_codes: offline_codes(&require.offline_codes, all.get(issuer), report),
        roles: needed(&schema.roles, ("roles", "[hospitalist]"), place, report),
        overrides: overrides(&schema.overrides, report),
        writes: values::choice(report, &schema.access, &[("read", false), ("write", true)], false),
        assurance: assurance.and_then(|text| assurance::level(report, levels, text)).unwrap_or_default(),
        max_age: max_age(&require.max_age, report),
        reason_codes: codes(&require.reason_codes, place, report),
        text_min,
        lasts: values::duration(report, &grant.ttl, seconds(30 * 60), seconds(60)..=LONGEST),
        most_per_day: u64::try_from(most_per_day).unwrap_or(1),
        review_within: values::duration(
            report,
            &review.within,
            seconds(72 * 3_600),
            seconds(1)..=LONGEST_REVIEW,
        ),
        reviewers: needed(&review.by, ("review.by", "[privacy-office]"), place, report),
        drill: drill.is_some(),
    }
}

fn needed(
    given: &Given<Texts>,
    (key, example): (&'static str, &'static str),
    place: Place,
    report: &mut Report<'_>,
) -> Vec<Box<str>> {
    report.required(given, key, place, example);
    values::texts(report, given)
}

fn codes(given: &Given<Texts>, place: Place, report: &mut Report<'_>) -> Vec<Box<str>> {
    for code in given.items() {
        values::name(report, code);
    }
    needed(given, ("require.reason_codes", "[emergency, covering]"), place, report)
}

/// A recent proof: what opens records must not be a browser that somebody has left behind.
fn max_age(given: &Given<Text>, report: &mut Report<'_>) -> i64 {
    const USUAL: i64 = 300;
    const MOST: i64 = 3_600;
    let age = values::whole_seconds(report, given).unwrap_or(USUAL);
    if age > MOST
        && let Some(text) = given.as_ref()
    {
        let message = "the proof that breaks the glass must not be that old";
        report.add(Code::BadQuantity, text, message, "write at most `1h`; `5m` is usual");
    }
    age
}

/// Codes in the place of a proof: where it can be told that there is none to be had.
fn offline_codes(given: &Given<Spanned<bool>>, issuer: Option<&Issuer>, report: &mut Report<'_>) -> bool {
    let Some(given) = given.as_ref().filter(|given| given.value) else { return false };
    let is_asked = issuer
        .is_none_or(|issuer| matches!(issuer.settings.source, KeySource::Address(_) | KeySource::Discovery));
    if !is_asked {
        let message = "codes count where the issuer can't be reached, and this one is not asked for its keys";
        let help =
            "take `offline_codes` out, or let the issuer's keys come from the issuer (`jwks: { url: … }`)";
        report.add(Code::BreakGlassRight, given, message, help);
    }
    true
}

fn overrides(given: &Given<Texts>, report: &mut Report<'_>) -> Vec<Override> {
    if given.is_none() {
        return vec![Override::NoRelation, Override::RoleMissing];
    }
    let mut found = Vec::new();
    for text in given.items() {
        match Override::ALL.iter().find(|(word, _)| *word == text.value) {
            Some((_, refusal)) => found.push(*refusal),
            None => {
                let words = Override::ALL.iter().map(|(word, _)| *word);
                report.unknown(Code::UnknownWord, "refusal that can be overridden", text, words);
            }
        }
    }
    found
}

/// The position of a route's right.
pub(super) fn of_route(
    report: &mut Report<'_>,
    known: &Known<'_>,
    schema: &Route,
    (access, patient, matched): (Access, Option<&PatientSource>, Option<&Matched>),
) -> Option<usize> {
    let text = schema.break_glass.as_ref()?;
    let names = || known.break_glass.iter().map(|right| right.name.as_ref());
    let at = names().position(|name| name == text.value);
    if at.is_none() {
        report.unknown(Code::UnknownBreakGlass, "right to break the glass", text, names());
    }
    let wrong = match (access, patient) {
        (Access::Public, _) => Some("the route is public: there is no glass before it"),
        (_, None) => Some(
            "the route does not say which patient it is about, and one patient's record is what is opened",
        ),
        (_, Some(PatientSource::Body(_))) => {
            Some("which patient it is about stands in the body, and the record is opened before that is sent")
        }
        _ if matched.is_some_and(|matched| matched.websocket) => {
            Some("a WebSocket stays open for longer than a record does")
        }
        _ => None,
    };
    if let Some(message) = wrong {
        report.add(Code::BreakGlassRoute, text, message, "take `break_glass` out of this route");
    }
    at
}

/// What was opened at one gateway must be known at the next, and so must what was suspended.
pub(super) fn check_store(file: &File, state: &StateSettings, report: &mut Report<'_>) {
    if state.single_replica || matches!(state.store, StoreSettings::Redis(_)) {
        return;
    }
    if let Some((name, _)) = file.break_glass.entries().first() {
        let message = "a second gateway would know neither what was opened nor who may not do so any more";
        let help = "say `state: { single_replica: true }` and run one gateway only, or share the state with `store: redis`";
        report.add(Code::BreakGlassNotShared, name, message, help);
    }
}
