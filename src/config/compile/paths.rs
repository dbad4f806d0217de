//! How upstreams read paths, and whether their routes can be told apart then.

use http::Method;
use serde_saphyr::Spanned;

use super::fhir;
use super::routes::Draft;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::{Report, instead, list};
use crate::config::schema::{Text, Upstream, When};
use crate::config::values;
use crate::policy::index::{Ambiguity, Ambiguous};
use crate::policy::{FhirService, Index, Route};
use crate::request::PathReading;

/// What `allow` may name.
const RELAXATIONS: [&str; 2] = ["path_params", "latin1"];

/// Reads an upstream's `path_case` and `allow`.
pub(super) fn reading(schema: &Upstream, report: &mut Report<'_>) -> PathReading {
    let cases = [("sensitive", false), ("insensitive", true)];
    let mut reading = PathReading {
        ignores_case: values::choice(report, &schema.path_case, &cases, false),
        ..PathReading::STRICT
    };
    values::texts(report, &schema.allow);
    for text in schema.allow.items() {
        match text.value.as_str() {
            "path_params" => reading.drops_parameters = true,
            "latin1" => reading.latin1 = true,
            other => {
                let message = format!("`{other}` is not one of the choices here");
                report.add(Code::UnknownWord, text, message, instead(other, RELAXATIONS));
            }
        }
    }
    reading
}

/// Checks each route against the reading of its own upstream.
pub(super) fn check(drafts: &[Draft<'_>], report: &mut Report<'_>) {
    for draft in drafts {
        let reading = draft.route.reading;
        if reading == PathReading::STRICT {
            continue;
        }
        let report = &mut report.within("route", draft.schema.id.text());
        if let Err(why) = draft.route.template.check_reading(reading) {
            let message = format!("no request can have this path as its upstream reads it: {}", why.code());
            let help = "use letters that have one spelling there, or take the upstream's relaxation out";
            report.add(Code::PathNeverRead, draft.path, message, help);
        }
        if reading.ignores_case {
            check_conditions(draft, report);
        }
    }
}

/// Conditions see the path in small letters where capitals make no difference: one that is written with capitals would
/// never hold, and a `deny` rule that never holds fails open.
fn check_conditions(draft: &Draft<'_>, report: &mut Report<'_>) {
    let refine = draft.schema.refine.items().iter().filter_map(|item| item.value.when.as_ref());
    let deny = draft.schema.deny.items().iter().filter_map(condition_of);
    let any_of = draft.schema.any_of.items().iter().filter_map(|item| item.value.when.as_ref());
    for text in refine.chain(deny).chain(any_of) {
        let reads_path = text.value.contains("path") || text.value.contains("parameters");
        if reads_path && has_capital_in_quotes(&text.value) {
            let message = "paths are in small letters here, so text with capitals never equals a part of one";
            let help = "write the text in small letters: this upstream makes no difference of capitals";
            report.add(Code::CapitalsNeverMatch, text, message, help);
        }
    }
}

fn condition_of(item: &Spanned<When>) -> Option<&Text> {
    item.value.when.as_ref()
}

fn has_capital_in_quotes(condition: &str) -> bool {
    let mut quote = None;
    for letter in condition.chars() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if letter == open => quote = None,
            (Some(_), letter) if letter.is_uppercase() => return true,
            _ => {}
        }
    }
    false
}

/// Builds the index, and reports each route that an earlier one leaves undecided. `places` are those of the
/// paths.
pub(super) fn index(
    routes: &[Route],
    services: &[FhirService],
    places: &[Place],
    report: &mut Report<'_>,
) -> Index {
    let mut ambiguous = match Index::build_with(routes, services) {
        Ok(index) => return index,
        Err(ambiguous) => ambiguous,
    };
    // One finding for each route suffices: the pairs come grouped by the later one.
    ambiguous.dedup_by_key(|pair| pair.second);
    for Ambiguous { first, second, why } in ambiguous {
        let (at_first, at_second) = (places.get(first), places.get(second));
        if let (Some(first), Some(second), Some(at_first), Some(at_second)) =
            (routes.get(first), routes.get(second), at_first, at_second)
        {
            let report = &mut report.within("route", Some(&second.id));
            match why {
                Ambiguity::BothWin if second.fhir.is_some() => {
                    fhir::both_take(report, (first, *at_first), *at_second);
                }
                Ambiguity::BothWin => both_win(first, second, at_first, *at_second, report),
                Ambiguity::Spelling => spelling(first, at_first, *at_second, report),
            }
        }
    }
    Index::default()
}

fn both_win(first: &Route, second: &Route, at_first: &Place, at_second: Place, report: &mut Report<'_>) {
    let both: Vec<&str> =
        second.methods.iter().filter(|method| first.methods.contains(method)).map(Method::as_str).collect();
    let message =
        format!("route `{}` in line {} takes {} here as well", first.id, at_first.line, list(&both));
    let help = "no order decides: give the routes different paths, hosts or methods (`GET` brings `HEAD`)";
    report.add(Code::AmbiguousRoutes, at_second, message, help);
}

fn spelling(first: &Route, at_first: &Place, at_second: Place, report: &mut Report<'_>) {
    let message = format!(
        "route `{}` in line {} spells this path with other capitals, and only one of the two upstreams sees the difference",
        first.id, at_first.line
    );
    let help = "spell both alike, give them different hosts, or let both upstreams have the same `path_case`";
    report.add(Code::MixedReadings, at_second, message, help);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_count_only_inside_quotes() {
        assert!(has_capital_in_quotes(r#"request.parameters.user == "Root""#));
        assert!(has_capital_in_quotes("request.path.startsWith('/A')"));
        assert!(!has_capital_in_quotes(r#"request.path.startsWith("/a") && subject.patient == B"#));
    }
}
