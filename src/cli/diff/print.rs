//! The differences, for people.

use std::fmt::Write as _;

use super::Differences;
use super::callers::Who;

/// All of them, as text.
pub(super) fn text(found: &Differences) -> String {
    let mut text = String::new();
    if found.is_empty() {
        return "the same\n".to_owned();
    }
    if !found.settings.is_empty() {
        text.push_str("What is said:\n");
    }
    for change in &found.settings {
        let _ = match (&change.before, &change.after) {
            (None, Some(after)) => writeln!(text, "  + {}: {after}", change.what),
            (Some(before), None) => writeln!(text, "  - {}: {before}", change.what),
            (before, after) => writeln!(
                text,
                "  ~ {}: {} -> {}",
                change.what,
                shown(before.as_deref()),
                shown(after.as_deref())
            ),
        };
    }
    text.push_str(if found.verdicts.is_empty() {
        "No verdict was seen to change.\n"
    } else {
        "Verdicts that change:\n"
    });
    for change in &found.verdicts {
        let methods = change.methods.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let mut who = vec![who(&change.who)];
        who.extend(Some(change.situation.clone()).filter(|situation| !situation.is_empty()));
        if !change.signed_in.is_empty() {
            who.push(change.signed_in.join(" or "));
        }
        let _ = writeln!(
            text,
            "  {} {methods}: {}: {} -> {}",
            pair(change.route_before.as_deref(), change.route_after.as_deref()),
            who.join(", "),
            change.before,
            change.after
        );
    }
    if !found.may_differ.is_empty() {
        text.push_str("Verdicts that may differ, by what can't be tried here:\n");
    }
    for pair_of in &found.may_differ {
        let because = pair_of.because.iter().copied().collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            text,
            "  {}: {because}",
            pair(pair_of.route_before.as_deref(), pair_of.route_after.as_deref())
        );
    }
    text
}

fn shown(value: Option<&str>) -> &str {
    value.filter(|value| !value.is_empty()).unwrap_or("none")
}

/// A route, or from which to which.
fn pair(before: Option<&str>, after: Option<&str>) -> String {
    match (before, after) {
        (Some(before), Some(after)) if before == after => format!("`{before}`"),
        (before, after) => format!("`{}` -> `{}`", before.unwrap_or("no route"), after.unwrap_or("no route")),
    }
}

fn who(who: &Who) -> String {
    let Some(issuer) = &who.issuer else { return "without a token".to_owned() };
    let mut parts = vec![issuer.clone()];
    for (name, values) in [("role", &who.roles), ("scope", &who.scopes)] {
        parts.extend(values.iter().map(|value| format!("{name} {value}")));
    }
    parts.extend(who.client.as_ref().map(|client| format!("client {client}")));
    parts.join(" + ")
}
