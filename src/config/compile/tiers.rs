//! Tiers and the ways to reach what they ask for.

use serde_saphyr::Spanned;

use super::assurance;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::{Report, list};
use crate::config::schema::{File, Given, Service, Text, Texts, Tier as Schema};
use crate::config::values::{self, Names};
use crate::identity::Level;
use crate::identity::assurance::Levels;
use crate::policy::tier::{MOST_PROOF_AGE, ServiceRule};
use crate::policy::{Durability, StoreDown, Tier, TierIndex, Way};

/// The tiers, weakest first.
#[derive(Debug)]
pub(super) struct Tiers {
    pub(super) list: Vec<Tier>,
}

impl Tiers {
    /// Finds a tier by its name.
    pub(super) fn find(&self, report: &mut Report<'_>, text: &Text) -> Option<TierIndex> {
        let at = self.list.iter().position(|tier| tier.name.as_ref() == text.value);
        if at.is_none() {
            report.unknown(Code::UnknownTier, "tier", text, self.list.iter().map(|tier| tier.name.as_ref()));
        }
        at.and_then(|at| u8::try_from(at).ok()).map(TierIndex)
    }

    /// A tier by its position.
    pub(super) fn get(&self, index: TierIndex) -> Option<&Tier> {
        self.list.get(index.position())
    }
}

/// Compiles `tiers`.
pub(super) fn compile(file: &File, levels: &Levels, ways: &[Way], report: &mut Report<'_>) -> Tiers {
    let Some(written) = file.tiers.as_ref() else {
        return Tiers { list: built_in(file, levels, ways, report) };
    };
    if written.value.is_empty() {
        report.add(
            Code::Empty,
            written,
            "there is no tier",
            "leave `tiers` out to get `low`, `moderate`, `high` and `critical`",
        );
    }
    if written.value.len() > usize::from(u8::MAX) {
        report.add(Code::BadQuantity, written, "there are more than 255 tiers", "take some out");
    }
    let mut names = Names::default();
    let mut list: Vec<Tier> = Vec::new();
    let mut sound: Vec<Tier> = Vec::new();
    for item in &written.value {
        let errors = report.errors();
        let report = &mut report.within("tier", item.value.name.text());
        if let Some(name) = report.required(&item.value.name, "name", item.into(), "high") {
            values::name(report, name);
            names.add(report, "tier", name);
        }
        let tier = tier(item, levels, ways, report);
        if report.errors() == errors {
            check_order(&sound, &tier, item, report);
            sound.push(tier.clone());
        }
        list.push(tier);
    }
    Tiers { list }
}

/// The tiers of a file that names none. Machines may use the two that ask for nothing recent.
fn built_in(file: &File, levels: &Levels, ways: &[Way], report: &mut Report<'_>) -> Vec<Tier> {
    let (Some(aal1), Some(aal2)) = (levels.find("aal1"), levels.find("aal2")) else {
        let place = file.assurance_levels.as_ref().map_or(Place::FILE, Into::into);
        let message = "the built-in tiers ask for `aal1` and `aal2`, which are not among these levels";
        report.add(Code::BuiltInTiers, place, message, "write `tiers` with levels of your own");
        return Vec::new();
    };
    let machines = Some(ServiceRule { max_token_age: 600, sender_constrained: false });
    let tier = |name: &str, assurance: Level, max_age, audit| Tier {
        name: name.into(),
        assurance,
        max_age,
        each_action_needs_new_proof: false,
        require_methods: Vec::new(),
        step_up: (0..ways.len()).collect(),
        audit,
        when_store_down: StoreDown::Deny,
        service: None,
    };
    vec![
        Tier { service: machines, ..tier("low", aal1, None, Durability::Buffered) },
        Tier { service: machines, ..tier("moderate", aal1, Some(8 * 3_600), Durability::Written) },
        tier("high", aal2, Some(600), Durability::Synced),
        Tier { each_action_needs_new_proof: true, ..tier("critical", aal2, Some(60), Durability::Synced) },
    ]
}

fn tier(item: &Spanned<Schema>, levels: &Levels, ways: &[Way], report: &mut Report<'_>) -> Tier {
    let schema = &item.value;
    let assurance = report.required(&schema.assurance, "assurance", item.into(), "aal1");
    let each_action_needs_new_proof =
        schema.each_action_needs_new_proof.as_ref().is_some_and(|given| given.value);
    if let Some(given) = schema.each_action_needs_new_proof.as_ref()
        && given.value
        && schema.max_age.is_none()
    {
        let message = "a proof that is spent by one action must also be recent";
        report.add(Code::ProofWithoutAge, given, message, "add `max_age`, such as `max_age: 60s`");
    }
    let max_age = values::whole_seconds(report, &schema.max_age);
    if each_action_needs_new_proof
        && max_age.is_some_and(|age| age > MOST_PROOF_AGE)
        && let Some(text) = schema.max_age.as_ref()
    {
        let message = "a proof for a single action must not be that old";
        report.add(Code::BadQuantity, text, message, "write at most `1h`; `60s` is usual");
    }
    let durations = [
        ("buffered", Durability::Buffered),
        ("written", Durability::Written),
        ("synced", Durability::Synced),
        ("remote", Durability::Remote),
    ];
    let outages = [
        ("deny", StoreDown::Deny),
        ("allow_without_revocation_check", StoreDown::AllowWithoutRevocationCheck),
    ];
    Tier {
        name: schema.name.text().unwrap_or_default().into(),
        assurance: assurance.and_then(|text| assurance::level(report, levels, text)).unwrap_or_default(),
        max_age,
        each_action_needs_new_proof,
        require_methods: values::texts(report, &schema.require_methods),
        step_up: step_up(&schema.step_up, ways, report),
        audit: values::choice(report, &schema.audit, &durations, Durability::Synced),
        when_store_down: values::choice(report, &schema.when_store_down, &outages, StoreDown::Deny),
        service: schema.service.as_ref().and_then(|service| service_rule(service, report)),
    }
}

fn service_rule(schema: &Spanned<Service>, report: &mut Report<'_>) -> Option<ServiceRule> {
    let words = [("required", true), ("optional", false)];
    let sender_constrained = values::choice(report, &schema.value.sender_constrained, &words, false);
    // A token that only its owner can use may be as old as its issuer lets it be.
    if sender_constrained && schema.value.max_token_age.is_none() {
        return Some(ServiceRule { max_token_age: i64::MAX, sender_constrained });
    }
    report.required(&schema.value.max_token_age, "max_token_age", schema.into(), "10m")?;
    values::whole_seconds(report, &schema.value.max_token_age)
        .map(|max_token_age| ServiceRule { max_token_age, sender_constrained })
}

fn step_up(schema: &Given<Texts>, ways: &[Way], report: &mut Report<'_>) -> Vec<usize> {
    if schema.is_none() {
        return (0..ways.len()).collect();
    }
    let mut chosen = Vec::new();
    for text in schema.items() {
        match ways.iter().position(|way| *way.name == *text.value) {
            Some(position) => chosen.push(position),
            None => {
                let names = ways.iter().map(|way| way.name.as_ref());
                report.unknown(Code::UnknownStepUp, "way to step up", text, names);
            }
        }
    }
    chosen
}

/// Warns of a tier that asks for less than one before it: routes are raised to later tiers, never lowered.
fn check_order(before: &[Tier], later: &Tier, item: &Spanned<Schema>, report: &mut Report<'_>) {
    let weaker = before.iter().rev().find_map(|earlier| {
        let aspects = less(earlier, later);
        if aspects.is_empty() { None } else { Some((earlier, aspects)) }
    });
    if let Some((earlier, aspects)) = weaker {
        let place = item.value.name.as_ref().map_or(item.into(), Place::from);
        let message = format!(
            "tier `{}` asks for less than `{}` before it: {}",
            later.name,
            earlier.name,
            list(&aspects)
        );
        report.add(Code::TierOrder, place, message, "put the tiers in order, the strictest last");
    }
}

/// In what a later tier asks for less than an earlier one.
fn less(earlier: &Tier, later: &Tier) -> Vec<&'static str> {
    let longer = earlier.max_age.is_some_and(|most| later.max_age.is_none_or(|age| age > most));
    let single_use = earlier.each_action_needs_new_proof && !later.each_action_needs_new_proof;
    let aspects = [
        ("assurance", later.assurance < earlier.assurance),
        ("max_age", longer),
        ("each_action_needs_new_proof", single_use),
        ("audit", later.audit < earlier.audit),
    ];
    aspects.into_iter().filter(|(_, weaker)| *weaker).map(|(name, _)| name).collect()
}
