//! Conditions of rules that read what nothing here gives: they would never hold, or always.

use crate::config::codes::Code;
use crate::config::report::Report;
use crate::config::schema::File;
use crate::policy::Condition;

/// Reports each condition in the routes that reads something that is not to be had; `told` is the message and the remedy.
pub(super) fn check(
    file: &File,
    report: &mut Report<'_>,
    reads: fn(&Condition) -> bool,
    code: Code,
    told: (&str, &str),
) {
    for route in file.routes.items().iter().map(|item| &item.value) {
        let report = &mut report.within("route", route.id.text());
        let refined = route.refine.items().iter().filter_map(|rule| rule.value.when.as_ref());
        let denied = route.deny.items().iter().filter_map(|rule| rule.value.when.as_ref());
        let allowed = route.any_of.items().iter().filter_map(|entry| entry.value.when.as_ref());
        for text in refined.chain(denied).chain(allowed) {
            if Condition::compile(&text.value).is_ok_and(|condition| reads(&condition)) {
                report.add(code, text, told.0, told.1);
            }
        }
    }
}
