//! Levels of assurance: their order, what issuers call them, and the floors of data classes.

use std::collections::HashMap;

use serde_saphyr::Spanned;

use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{Assurance, DataClass, Entries, Given, Text, Texts, Words};
use crate::config::values::{self, Names};
use crate::identity::Level;
use crate::identity::assurance::{AssuranceMap, LevelWords, Levels};

/// The levels where the file names none (NIST SP 800-63B).
const DEFAULT_LEVELS: &[&str] = &["aal1", "aal2", "aal3"];

/// What one issuer says, and where it is written.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) map: AssuranceMap,
    /// The mapped levels with their places, weakest first.
    pub(super) places: Vec<(Level, Place)>,
}

/// A data class with its floor; `None` where that was reported as unknown.
#[derive(Debug)]
pub(super) struct DataFloor {
    pub(super) name: Box<str>,
    pub(super) floor: Option<Level>,
}

/// Compiles `assurance_levels`.
pub(super) fn levels(report: &mut Report<'_>, schema: &Given<Texts>) -> Levels {
    let Some(list) = schema.as_ref() else {
        return Levels::new(DEFAULT_LEVELS.iter().copied());
    };
    let mut names = Names::default();
    for text in &list.value {
        values::name(report, text);
        names.add(report, "level", text);
        if text.value == "none" {
            report.add(
                Code::BadName,
                text,
                "`none` lies beneath all levels by itself",
                "take it out of the list",
            );
        }
    }
    Levels::new(values::texts(report, schema))
}

/// Finds a level; `none` is one.
pub(super) fn level(report: &mut Report<'_>, levels: &Levels, text: &Text) -> Option<Level> {
    let level = levels.find(&text.value);
    if level.is_none() {
        report.unknown(Code::UnknownLevel, "level", text, levels.names());
    }
    level
}

/// Compiles an issuer's `assurance`; `None` where a part of it was reported.
pub(super) fn mapping(
    report: &mut Report<'_>,
    levels: &Levels,
    schema: &Given<Entries<Spanned<Assurance>>>,
) -> Option<Mapping> {
    let mut meanings = Meanings::default();
    let mut entries = Vec::new();
    let mut places = Vec::new();
    for (key, map) in schema.entries() {
        let level = mapped_level(report, levels, key);
        let example = "{ acr: [\"urn:clinic:loa:2\"] }";
        let any_of = report.required(&map.value.any_of, "any_of", map.into(), example);
        let words = any_of.and_then(|any_of| words(report, any_of));
        if let Some(any_of) = any_of {
            meanings.add(report, "acr", &any_of.value.acr, key);
            meanings.add(report, "amr", &any_of.value.amr, key);
        }
        if let (Some(level), Some(words)) = (level, words) {
            places.push((level, key.into()));
            entries.push((level, words));
        }
    }
    places.sort_unstable();
    let complete = entries.len() == schema.entries().len();
    complete.then(|| Mapping { map: AssuranceMap::new(entries), places })
}

fn mapped_level(report: &mut Report<'_>, levels: &Levels, key: &Text) -> Option<Level> {
    if key.value == "none" {
        let message = "`none` is what everything means that is not mapped";
        report.add(Code::BadName, key, message, "map it to a level, or leave it out");
        return None;
    }
    level(report, levels, key)
}

fn words(report: &mut Report<'_>, schema: &Spanned<Words>) -> Option<LevelWords> {
    let acr = values::texts(report, &schema.value.acr);
    let amr = values::texts(report, &schema.value.amr);
    if schema.value.acr.is_none() && schema.value.amr.is_none() {
        report.add(
            Code::Empty,
            schema,
            "no `acr` or `amr` stands for this level",
            "list the values that the issuer sends",
        );
    }
    let any = !acr.is_empty() || !amr.is_empty();
    any.then_some(LevelWords { acr, amr })
}

/// What each word of one issuer stands for: one level only, or nobody could tell which was meant.
#[derive(Debug, Default)]
struct Meanings<'s>(HashMap<(&'static str, &'s str), &'s str>);

impl<'s> Meanings<'s> {
    fn add(
        &mut self,
        report: &mut Report<'_>,
        claim: &'static str,
        words: &'s Given<Texts>,
        level: &'s Text,
    ) {
        for word in words.items() {
            let first = *self.0.entry((claim, word.value.as_str())).or_insert(&level.value);
            if first != level.value {
                let message = format!("`{}` stands for `{first}` already", word.value);
                report.add(
                    Code::AmbiguousWord,
                    word,
                    message,
                    format!("keep the `{claim}` value under one level"),
                );
            }
        }
    }
}

/// Compiles `data_classes`. Without any there is `phi`, which asks for the lowest level.
pub(super) fn data_classes(
    report: &mut Report<'_>,
    levels: &Levels,
    schema: &Given<Entries<Spanned<DataClass>>>,
) -> Vec<DataFloor> {
    if schema.is_none() {
        let lowest = levels.names().next().and_then(|name| levels.find(name));
        return vec![DataFloor { name: "phi".into(), floor: lowest }];
    }
    let mut classes = Vec::new();
    for (name, map) in schema.entries() {
        let report = &mut report.within("data class", Some(&name.value));
        values::name(report, name);
        let text = report.required(&map.value.assurance, "assurance", map.into(), "aal1");
        let floor = text.and_then(|text| level(report, levels, text));
        classes.push(DataFloor { name: name.value.as_str().into(), floor });
    }
    classes
}
