//! How a decision on record came about.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::Note;
use crate::audit::trail::trails;
use crate::cli::replay::rules;
use crate::config::settings::Compiled;
use crate::decision::trace::Recorder;
use crate::replay::record::{Line, Read, read};
use crate::replay::{Explained, Replay};

#[derive(Serialize)]
struct Account<'a> {
    decision: &'a str,
    time: jiff::Timestamp,
    verdict: &'a str,
    reason: &'a str,
    action: &'a str,
    tier: Option<&'a str>,
    trace: Vec<Note<'a>>,
    assumed: Vec<String>,
    passes_with: Vec<Vec<String>>,
}

/// Explains it. The exit code is that of `explain`.
pub fn explain(decision: &str, audit: &Path, compiled: Compiled, as_json: bool) -> ExitCode {
    match account(decision, audit, compiled, as_json) {
        Ok(code) => code,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn account(decision: &str, audit: &Path, compiled: Compiled, as_json: bool) -> Result<ExitCode, String> {
    let line = find(decision, audit)?;
    let time = line.time;
    let Some(recorded) = line.recorded() else {
        return Err(format!(
            "decision `{decision}` fell before any rule was asked: `wardgate audit query {} --decision {decision}` shows its reason",
            audit.display()
        ));
    };
    let rules = [rules(compiled)];
    let policy = &rules[0].policy;
    if *policy.version != *recorded.input.policy {
        return Err(format!(
            "it was decided under version `{}`, and this file is `{}`: give the file as it was then",
            recorded.input.policy, policy.version
        ));
    }
    let replay = Replay::new(&rules, &rules[0]);
    let Some(explained) = replay.explain::<Recorder>(&recorded) else {
        return Err(format!(
            "the record does not tell how it came to `{}`: that depended on more than the rules (a spent proof, a limit, a page of another origin), or on a Bundle's requests",
            recorded.reason
        ));
    };
    let Explained { trace, assumed, passes_with, .. } = &explained;
    let told = Account {
        decision,
        time,
        verdict: &recorded.verdict,
        reason: &recorded.reason,
        action: &recorded.action,
        tier: recorded.tier.as_deref(),
        trace: trace.notes.iter().map(|(stage, finding)| Note { stage: *stage, finding }).collect(),
        assumed: assumed.iter().map(ToString::to_string).collect(),
        passes_with: passes_with.iter().map(|way| way.iter().map(ToString::to_string).collect()).collect(),
    };
    if as_json {
        let text = serde_json::to_string_pretty(&told).map_err(|error| error.to_string())?;
        println!("{text}");
    } else {
        print(&told);
    }
    Ok(match told.verdict {
        "permit" => ExitCode::SUCCESS,
        "challenge" => ExitCode::from(3),
        _ => ExitCode::from(4),
    })
}

fn print(told: &Account<'_>) {
    println!("{} at {:.0}\n", told.action, told.time);
    for (number, note) in told.trace.iter().enumerate() {
        println!("{:>3}. {:<13} {}", number + 1, format!("{:?}", note.stage).to_lowercase(), note.finding);
    }
    let tier = told.tier.map_or(String::new(), |tier| format!(" at tier `{tier}`"));
    println!("\n     {} ({}){tier}", told.verdict, told.reason);
    for way in &told.passes_with {
        println!("     passes with {}", way.join(" and "));
    }
    if told.passes_with.is_empty() && told.verdict != "permit" {
        println!("     nothing that the caller could show, and nobody's leave, lets it through");
    }
    for what in &told.assumed {
        println!("     not on record, and taken as it fits: {what}");
    }
}

/// Finds a decision's record.
fn find(decision: &str, audit: &Path) -> Result<Line, String> {
    let dir = audit.display();
    let trails = trails(audit).map_err(|error| format!("`{dir}` can't be read: {error}"))?;
    let finder = memchr::memmem::Finder::new(decision.as_bytes());
    for trail in trails.values() {
        let found = trail
            .lines(|_, line| {
                if finder.find(line.bytes).is_none() {
                    return ControlFlow::Continue(());
                }
                match read(line.bytes) {
                    Read::Decision(line) if line.decision == decision => ControlFlow::Break(line),
                    _ => ControlFlow::Continue(()),
                }
            })
            .map_err(|error| format!("the trail can't be read: {error}"))?;
        if let Some(line) = found {
            return Ok(*line);
        }
    }
    Err(format!(
        "there is no decision `{decision}` in `{dir}`: is it another gateway's, or too old to be kept?"
    ))
}
