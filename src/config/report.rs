//! Collects what is found, so that one run shows everything.

use std::sync::Arc;

use super::codes::{Code, Severity};
use super::diagnostic::{Diagnostic, Place, Source};
use super::schema::{Given, Text};

/// Where compilation writes its findings; each gets the context of the report it is added to.
#[derive(Debug)]
pub(super) struct Report<'r> {
    source: &'r Source<'r>,
    found: &'r mut Vec<Diagnostic>,
    context: Option<Box<str>>,
}

impl<'r> Report<'r> {
    /// Adds to `found` what is found in `source`.
    pub(super) fn new(source: &'r Source<'r>, found: &'r mut Vec<Diagnostic>) -> Self {
        Self { source, found, context: None }
    }

    /// A report for one part of the file, which its findings name as in ``route `payment.pay` ``.
    pub(super) fn within(&mut self, kind: &str, name: Option<&str>) -> Report<'_> {
        let context = match name {
            Some(name) => format!("{kind} `{name}`"),
            None => kind.to_owned(),
        };
        Report { source: self.source, found: self.found, context: Some(context.into()) }
    }

    /// A report on another file, whose findings come beside this one's.
    pub(super) fn on<'s>(&'s mut self, source: &'s Source<'s>) -> Report<'s> {
        Report { source, found: self.found, context: None }
    }

    /// The name of the file.
    pub(super) fn file(&self) -> &Arc<str> {
        self.source.name()
    }

    /// Adds a finding with its remedy.
    pub(super) fn add(
        &mut self,
        code: Code,
        place: impl Into<Place>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let mut diagnostic = Diagnostic::new(self.source, code, place.into(), message, help);
        diagnostic.context.clone_from(&self.context);
        self.found.push(diagnostic);
    }

    /// Adds that a name means nothing, with the nearest of those that do.
    pub(super) fn unknown<'n>(
        &mut self,
        code: Code,
        what: &str,
        text: &Text,
        known: impl IntoIterator<Item = &'n str>,
    ) {
        let help = instead(&text.value, known);
        self.add(code, text, format!("unknown {what} `{}`", text.value), help);
    }

    /// The value of a key that must be there; `place` is the map it is missing from.
    pub(super) fn required<'s, T>(
        &mut self,
        given: &'s Given<T>,
        key: &str,
        place: Place,
        example: &str,
    ) -> Option<&'s T> {
        if given.is_none() {
            self.add(
                Code::MissingKey,
                place,
                format!("`{key}` is missing"),
                format!("write `{key}: {example}`"),
            );
        }
        given.as_ref()
    }

    /// How many errors there are so far; where it has not grown, what was read since is sound.
    pub(super) fn errors(&self) -> usize {
        self.found.iter().filter(|found| found.severity() == Severity::Error).count()
    }
}

/// The help line for a word that is not known: the nearest known one, else all of them.
pub(super) fn instead<'n>(wrong: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    let mut known: Vec<&str> = known.into_iter().filter(|name| !name.is_empty()).collect();
    known.dedup();
    let distance = |name: &str| strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase());
    let nearest = known.iter().map(|name| (distance(name), *name)).min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, name)) if distance <= wrong.chars().count().div_ceil(3) => {
            format!("did you mean `{name}`?")
        }
        Some((_, only)) if known.len() == 1 => format!("only `{only}` is known"),
        Some(_) => format!("known are {}", list(&known)),
        None => "none is configured".to_owned(),
    }
}

/// `` `a`, `b` and `c` ``.
pub(super) fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [most @ .., last] => {
            let most: Vec<String> = most.iter().map(|name| format!("`{name}`")).collect();
            format!("{} and `{last}`", most.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_the_nearest_or_all() {
        assert_eq!(instead("hgih", ["low", "high"]), "did you mean `high`?");
        assert_eq!(instead("HIGH", ["low", "high"]), "did you mean `high`?");
        assert_eq!(instead("x", ["low", "high", "top"]), "known are `low`, `high` and `top`");
        assert_eq!(instead("x", ["low"]), "only `low` is known");
        assert_eq!(instead("x", []), "none is configured");
    }
}
