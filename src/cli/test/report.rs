//! The result for people, and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::routes::aligned;
use crate::config::{Case, CaseCaller};
use crate::policy::Policy;

use super::Ran;
use super::coverage::Coverage;

/// For people: what failed and why, then what nothing looks at.
pub(super) fn text(policy: &Policy, ran: &[Ran<'_>], coverage: Option<&Coverage>) -> String {
    let mut text = String::new();
    for ran in ran.iter().filter(|ran| !ran.passed) {
        failure(&mut text, policy, ran);
    }
    if let Some(coverage) = coverage {
        table(&mut text, coverage);
    }
    let failed = ran.iter().filter(|ran| !ran.passed).count();
    // Writing to a string can't fail, here and below.
    let plural = if ran.len() == 1 { "" } else { "s" };
    let _ = writeln!(text, "{} case{plural}: {} passed, {failed} failed", ran.len(), ran.len() - failed);
    text
}

fn failure(text: &mut String, policy: &Policy, ran: &Ran<'_>) {
    let case = ran.case;
    let _ = writeln!(text, "FAILED: {}", printable(&case.name));
    let _ = writeln!(text, "  --> {}:{}:{}", case.file, case.place.line, case.place.column);
    let _ = writeln!(text, "  {} {}, as {}", case.method, printable(&case.target), caller(policy, case));
    let lines = differences(policy, ran);
    let head = [String::new(), "expected".to_owned(), "came".to_owned()];
    let rows: Vec<[String; 3]> = std::iter::once(head)
        .chain(lines.into_iter().map(|(what, expected, came)| {
            let mark = if expected.as_deref().is_some_and(|expected| expected != came) { "*" } else { " " };
            [format!("  {mark} {what}"), expected.unwrap_or_else(|| "-".to_owned()), came]
        }))
        .collect();
    text.push_str(&aligned(&rows));
    for (number, (stage, note)) in ran.trace.iter().enumerate() {
        let stage = format!("{stage:?}").to_lowercase();
        let _ = writeln!(text, "  {:>3}. {stage:<13} {}", number + 1, printable(note));
    }
    text.push('\n');
}

/// What was looked at: its name, what was expected where the author cares, and what came.
pub(super) fn differences(policy: &Policy, ran: &Ran<'_>) -> [(&'static str, Option<String>, String); 4] {
    let (expect, tried) = (&ran.case.expect, &ran.tried);
    let tier = expect.tier.map(|tier| policy.tier(tier).name.to_string());
    [
        ("verdict", Some(expect.outcome.name().to_owned()), tried.outcome.name().to_owned()),
        ("reason", expect.reason.as_deref().map(str::to_owned), tried.reason.to_owned()),
        ("tier", tier, tried.tier_name(policy).to_owned()),
        (
            "action",
            expect.action.as_deref().map(str::to_owned),
            tried.action.as_deref().unwrap_or("none").to_owned(),
        ),
    ]
}

fn caller(policy: &Policy, case: &Case) -> String {
    let CaseCaller::Known(persona) = &case.caller else { return "nobody".to_owned() };
    let issuer = policy.issuers.get(persona.issuer).map_or("nobody", |issuer| issuer.name.as_ref());
    let mut parts = vec![issuer.to_owned(), policy.levels.name(persona.level).to_owned()];
    parts.extend(persona.patient.as_ref().map(|patient| format!("patient {patient}")));
    parts.extend(persona.roles.iter().map(|role| format!("role {role}")));
    parts.extend((persona.age > 0).then(|| format!("{} s old", persona.age)));
    printable(&parts.join(", "))
}

fn table(text: &mut String, coverage: &Coverage) {
    let head = ["ROUTE", "PERMIT", "CHALLENGE", "DENY", "NO CASE FOR"].map(str::to_owned);
    let rows = coverage.routes.iter().map(|row| {
        let [permit, challenge, deny] = row.cases.map(|count| count.to_string());
        [row.route.clone(), permit, challenge, deny, row.missing.join(", ")]
    });
    text.push_str(&aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    let (wanted, covered) = coverage.counts();
    let _ = writeln!(text, "\n{covered} of {wanted} outcomes are looked at ({} %)", coverage.percent());
}

/// What an author wrote, without what could move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// For programs.
///
/// # Errors
/// It can't be written as JSON.
pub(super) fn json(policy: &Policy, ran: &[Ran<'_>], coverage: Option<&Coverage>) -> Result<String, String> {
    let cases: Vec<Value> = ran.iter().map(|ran| case(policy, ran)).collect();
    let failed = ran.iter().filter(|ran| !ran.passed).count();
    let mut document = json!({ "passed": ran.len() - failed, "failed": failed, "cases": cases });
    if let (Some(coverage), Some(document)) = (coverage, document.as_object_mut()) {
        let routes = serde_json::to_value(&coverage.routes).map_err(|error| error.to_string())?;
        document.insert("coverage".to_owned(), json!({ "percent": coverage.percent(), "routes": routes }));
    }
    serde_json::to_string_pretty(&document).map(|text| text + "\n").map_err(|error| error.to_string())
}

fn case(policy: &Policy, ran: &Ran<'_>) -> Value {
    let looked_at = differences(policy, ran);
    let of = |expected: bool| {
        let pairs = looked_at.iter().filter_map(|(what, wanted, came)| {
            let value = if expected { wanted.as_ref()? } else { came };
            Some(((*what).to_owned(), Value::from(value.as_str())))
        });
        Value::Object(pairs.collect())
    };
    json!({
        "name": ran.case.name, "file": &*ran.case.file, "line": ran.case.place.line, "passed": ran.passed,
        "request": format!("{} {}", ran.case.method, ran.case.target), "expected": of(true), "came": of(false),
        "trace": ran.trace.iter().map(|(stage, note)| json!({ "stage": stage, "finding": note })).collect::<Vec<_>>(),
    })
}
