//! The forecast in words.

use crate::replay::{Change, Counted, Forecast, Kind};

/// So many of what can't be said are named.
const MOST_TOLD: usize = 10;

/// Prints it.
pub fn print(forecast: &Forecast) {
    let (Some(from), Some(until)) = (forecast.from, forecast.until) else {
        println!("There is no decision on record.");
        tell_rest(forecast);
        return;
    };
    println!("{} decisions from {from:.0} to {until:.0}", forecast.decisions);
    if forecast.changes.is_empty() {
        println!("\nOf what can be said, nothing changes.");
    }
    let days = forecast.days();
    for kind in [Kind::NewPermit, Kind::NewRefusal, Kind::NewPrompt, Kind::RefusalToPrompt, Kind::OtherTier] {
        let of_kind = || forecast.changes.iter().filter(|(change, _)| change.kind == kind);
        if of_kind().next().is_none() {
            continue;
        }
        println!("\n{}", title(kind));
        for (change, counted) in of_kind() {
            println!("  {}", line(forecast, change, counted, days));
            println!("      for example {}", counted.decisions.join(", "));
        }
    }
    tell_rest(forecast);
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::NewPermit => "Would go through, and did not:",
        Kind::NewRefusal => "Would be refused, and were not:",
        Kind::NewPrompt => "Would be asked for proof, and were not:",
        Kind::RefusalToPrompt => "Would be asked for proof, and were refused:",
        Kind::OtherTier => "Would have another tier, and end alike:",
    }
}

fn line(forecast: &Forecast, change: &Change, counted: &Counted, days: Option<f64>) -> String {
    let mut line = format!("`{}`, {}: {} requests", change.action, change.callers, counted.requests);
    if let Some(days) = days {
        line.push_str(&format!(" (+{} a day)", per_day(counted.requests, days)));
    }
    let all = forecast.people.get(&change.callers).copied().unwrap_or(0);
    if counted.people > 0 {
        let share = 100.0 * counted.people as f64 / all.max(1) as f64;
        line.push_str(&format!(" of {} callers, {share:.0} % of those on record", counted.people));
    }
    if change.kind == Kind::NewPrompt {
        line.push_str(&format!(", {} prompts", counted.prompts));
        if let Some(days) = days {
            line.push_str(&format!(" (+{} a day)", per_day(counted.prompts, days)));
        }
    }
    let tier =
        |tier: &Option<Box<str>>| tier.as_deref().map_or(String::new(), |tier| format!(" at `{tier}`"));
    line.push_str(&format!(
        "\n      {}{} becomes {}{} ({})",
        change.was,
        tier(&change.was_tier),
        change.is,
        tier(&change.is_tier),
        change.reason
    ));
    line
}

fn per_day(count: u64, days: f64) -> String {
    let a_day = count as f64 / days;
    if a_day >= 10.0 { format!("{a_day:.0}") } else { format!("{a_day:.1}") }
}

/// Tells what stays, and of what nothing can be said.
fn tell_rest(forecast: &Forecast) {
    println!("\nStay as they are: {}", forecast.unchanged);
    let rest = [
        (forecast.open, "depend on what is not on record:"),
        (
            forecast.not_reproduced,
            "do not come out as they did by the rules of their time: a spent proof, a limit, a page of another origin",
        ),
        (forecast.other_policy, "were decided under a configuration that was not given (`--in-force`)"),
        (forecast.before_rules, "were answered before any rule was asked: unreadable, no route, a preflight"),
        (forecast.only_counted, "more answers were only counted, as there were so many"),
        (forecast.unreadable, "lines can't be read: see `wardgate audit verify`"),
    ];
    if rest.iter().any(|(count, _)| *count > 0) {
        println!("Nothing can be said of:");
    }
    for (count, what) in rest.into_iter().filter(|(count, _)| *count > 0) {
        println!("  {count} {what}");
        if what.ends_with(':') {
            for (action, on, count) in forecast.open_for.iter().take(MOST_TOLD) {
                println!("      {count} of `{action}` on {on}");
            }
            if forecast.open_for.len() > MOST_TOLD {
                println!("      … and {} more, see `--json`", forecast.open_for.len() - MOST_TOLD);
            }
        }
    }
}
