//! `wardgate replay`: what a changed configuration would have made of the requests on record.

mod text;

use std::io::{self, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use crate::audit::trail::trails;
use crate::config::settings::Compiled;
use crate::replay::record::{Read, read};
use crate::replay::{Decided, Finding, Forecast, Kind, Replay, Rules, Tally};

/// What is decided again.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The changed configuration.
    #[arg(value_name = "FILE")]
    candidate: PathBuf,
    /// The directory of the audit trail.
    #[arg(long, value_name = "DIR")]
    audit: PathBuf,
    /// The configuration under which the requests were decided; several, where it was changed meanwhile. Each must be as it was,
    /// byte for byte: records name it by its digest.
    #[arg(long = "in-force", value_name = "FILE", required = true)]
    in_force: Vec<PathBuf>,
    /// Only requests from this moment on (RFC 3339, as `2026-11-22T10:00:00Z`).
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
    /// Only requests before this moment.
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
    /// Fail where more requests than this would be refused that were not.
    #[arg(long, value_name = "COUNT")]
    max_new_denials: Option<u64>,
    /// Fail where more requests than this would be asked for proof that were not.
    #[arg(long, value_name = "COUNT")]
    max_new_prompts: Option<u64>,
    /// Fail where more requests than this would go through that did not.
    #[arg(long, value_name = "COUNT")]
    max_new_permits: Option<u64>,
    /// Fail where it can't be said of more requests than this: they depend on what is not on record, or were decided under a
    /// configuration that is not given.
    #[arg(long, value_name = "COUNT")]
    max_open: Option<u64>,
    /// Print a line of JSON for each decision that would be another or can't be said, and no forecast.
    #[arg(long, conflicts_with = "json")]
    list: bool,
    /// Print JSON instead.
    #[arg(long)]
    json: bool,
}

/// One decision, for `--list`.
#[derive(Serialize)]
struct Listed<'l> {
    decision: &'l str,
    finding: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    was: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'l str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<String>,
}

/// Between two words about how far it is: so many decisions.
const PROGRESS: u64 = 100_000;

/// Decides them again.
pub fn replay(arguments: &Arguments) -> ExitCode {
    let load = |path: &PathBuf| super::load(path, crate::config::Cases::Skip).map(rules);
    let Some(candidate) = load(&arguments.candidate) else { return ExitCode::from(2) };
    let mut was = Vec::new();
    for path in &arguments.in_force {
        let Some(policy) = load(path) else { return ExitCode::from(2) };
        was.push(policy);
    }
    match forecast(arguments, &was, &candidate) {
        Ok(forecast) => conclude(arguments, &forecast),
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

/// What of a configuration decides.
pub(super) fn rules(compiled: Compiled) -> Rules {
    let upstreams = compiled.settings.upstreams.iter();
    Rules {
        refuses_hidden: upstreams.map(|upstream| upstream.refuse_hidden_method).collect(),
        policy: compiled.policy,
    }
}

fn forecast(arguments: &Arguments, was: &[Rules], candidate: &Rules) -> Result<Forecast, String> {
    let dir = arguments.audit.display();
    let trails = trails(&arguments.audit).map_err(|error| format!("`{dir}` can't be read: {error}"))?;
    if trails.is_empty() {
        return Err(format!(
            "there is no audit trail in `{dir}`: it is the directory of the setting `audit: dir`"
        ));
    }
    let mut replay = Replay::new(was, candidate);
    let mut tally = Tally::default();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let shows_progress = io::stderr().is_terminal();
    for trail in trails.values() {
        let stopped = trail
            .lines(|path, line| {
                let line = match read(line.bytes) {
                    Read::Decision(line) => line,
                    Read::Counted(count) => {
                        tally.add_counted(count);
                        return ControlFlow::Continue(());
                    }
                    Read::Other => return ControlFlow::Continue(()),
                    Read::Unreadable => {
                        // The newest record may be on its way.
                        if line.is_ended || trail.active.as_deref() != Some(path) {
                            tally.add_unreadable();
                        }
                        return ControlFlow::Continue(());
                    }
                };
                let (time, id, subject) = (line.time, line.decision.clone(), line.subject.clone());
                let is_then = arguments.since.is_none_or(|since| since <= time)
                    && arguments.until.is_none_or(|until| time < until);
                if !is_then {
                    return ControlFlow::Continue(());
                }
                let Some(recorded) = line.recorded() else {
                    tally.add_before_rules(time);
                    return ControlFlow::Continue(());
                };
                let action = recorded.action.clone();
                let issuer = recorded.input.caller.as_ref().map(|caller| caller.issuer.clone());
                let finding = replay.look(recorded);
                let decided = Decided {
                    time,
                    id: &id,
                    action: &action,
                    issuer: issuer.as_deref(),
                    subject: subject.as_deref(),
                };
                let kind = tally.add(decided, &finding);
                if shows_progress && tally.decisions() % PROGRESS == 0 {
                    eprint!("\r{} decisions", tally.decisions());
                }
                let listed = listed(&id, kind, &finding).filter(|_| arguments.list);
                let Some(listed) = listed else { return ControlFlow::Continue(()) };
                let written = serde_json::to_writer(&mut out, &listed).map_err(io::Error::from);
                let written = written.and_then(|()| out.write_all(b"\n"));
                written.map_or_else(ControlFlow::Break, ControlFlow::Continue)
            })
            .map_err(|error| format!("the trail can't be read: {error}"))?;
        if let Some(error) = stopped {
            return Err(format!("the decisions can't be printed: {error}"));
        }
    }
    if shows_progress && tally.decisions() >= PROGRESS {
        eprintln!("\r{} decisions", tally.decisions());
    }
    out.flush().map_err(|error| format!("the decisions can't be printed: {error}"))?;
    Ok(tally.forecast())
}

fn listed<'l>(id: &'l str, kind: Option<Kind>, finding: &'l Finding) -> Option<Listed<'l>> {
    let empty = Listed {
        decision: id,
        finding: "open",
        was: None,
        is: None,
        tier: None,
        reason: None,
        depends_on: Vec::new(),
    };
    match finding {
        Finding::Untouched => None,
        Finding::OtherPolicy => Some(Listed { finding: "other_policy", ..empty }),
        Finding::NotReproduced => Some(Listed { finding: "not_reproduced", ..empty }),
        Finding::Open(unknowns) => {
            Some(Listed { depends_on: unknowns.iter().map(ToString::to_string).collect(), ..empty })
        }
        Finding::Decided { was, is } => kind.map(|_| Listed {
            finding: "changed",
            was: Some(was.verdict),
            is: Some(is.verdict),
            tier: is.tier.as_deref(),
            reason: Some(&is.reason),
            ..empty
        }),
    }
}

/// Tells what was found, and whether that is too much.
fn conclude(arguments: &Arguments, forecast: &Forecast) -> ExitCode {
    if arguments.json {
        match serde_json::to_string_pretty(forecast) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("error: the forecast can't be printed: {error}");
                return ExitCode::from(2);
            }
        }
    } else if !arguments.list {
        text::print(forecast);
    }
    let unsaid = forecast.open + forecast.other_policy + forecast.not_reproduced;
    let limits = [
        ("--max-new-denials", arguments.max_new_denials, forecast.requests(Kind::NewRefusal)),
        ("--max-new-prompts", arguments.max_new_prompts, forecast.requests(Kind::NewPrompt)),
        ("--max-new-permits", arguments.max_new_permits, forecast.requests(Kind::NewPermit)),
        ("--max-open", arguments.max_open, unsaid),
    ];
    let mut is_too_much = false;
    for (name, most, count) in limits {
        if let Some(most) = most.filter(|most| count > *most) {
            eprintln!("error: {count} requests, and `{name}` is {most}");
            is_too_much = true;
        }
    }
    if is_too_much { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
