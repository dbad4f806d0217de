//! `wardgate test`: runs the policy tests, says how what came differs from what was expected, and what no test looks at.

mod coverage;
mod junit;
mod report;
mod watch;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use crate::config::settings::Compiled;
use crate::config::{self, Case, Tried};
use crate::decision::trace::{Recorder, Stage};

use coverage::Coverage;

/// What to test.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file, whose own `cases` are run.
    #[arg(value_name = "FILE")]
    config: PathBuf,
    /// Files with nothing but `cases`, run behind them.
    #[arg(value_name = "CASES")]
    case_files: Vec<PathBuf>,
    /// Run only cases whose name holds this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How the result is told.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Fail where fewer of what can come of the routes is looked at by a case, in percent.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_coverage: Option<u8>,
    /// Run again whenever one of the files changes, until it is interrupted.
    #[arg(long)]
    watch: bool,
}

/// How the result is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// JUnit's XML, which build servers read.
    Junit,
}

/// One case and what came of it.
struct Ran<'c> {
    case: &'c Case,
    tried: Tried,
    passed: bool,
    /// The way to the decision, where it failed.
    trace: Vec<(Stage, String)>,
}

/// Runs the cases.
pub fn test(arguments: &Arguments) -> ExitCode {
    if arguments.watch {
        let files = std::iter::once(&arguments.config).chain(&arguments.case_files);
        watch::whenever_changed(files.collect(), || once(arguments));
    }
    if once(arguments) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Loads, runs and tells; whether all is well.
fn once(arguments: &Arguments) -> bool {
    let compiled = match config::load_with_cases(&arguments.config, &arguments.case_files) {
        Ok((compiled, warnings)) => {
            super::print_diagnostics(&warnings);
            compiled
        }
        Err(found) => {
            super::print_diagnostics(&found);
            return false;
        }
    };
    let ran = run(&compiled, arguments.only.as_deref());
    // Of a part of the cases nothing can be said about what all of them look at.
    let coverage = arguments.only.is_none().then(|| Coverage::of(&compiled.policy, &ran));
    let told = match arguments.format {
        Format::Text => Ok(report::text(&compiled.policy, &ran, coverage.as_ref())),
        Format::Json => report::json(&compiled.policy, &ran, coverage.as_ref()),
        Format::Junit => junit::document(&compiled.policy, &ran),
    };
    let written = told.and_then(|text| {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| error.to_string())
    });
    if let Err(problem) = written {
        eprintln!("error: the result can't be written: {problem}");
        return false;
    }
    if ran.is_empty() {
        eprintln!("error: no case was run: write `cases`, or another text behind `--only`");
        return false;
    }
    let is_covered = match (arguments.min_coverage, &coverage) {
        (Some(wanted), Some(coverage)) if coverage.percent() < wanted => {
            eprintln!(
                "error: {} % of what can come of the routes is looked at, and {wanted} % are wanted: write the cases that the table misses",
                coverage.percent()
            );
            false
        }
        _ => true,
    };
    is_covered && ran.iter().all(|ran| ran.passed)
}

fn run<'c>(compiled: &'c Compiled, only: Option<&str>) -> Vec<Ran<'c>> {
    let chosen = compiled.cases.iter().filter(|case| only.is_none_or(|text| case.name.contains(text)));
    chosen
        .map(|case| {
            let mut recorder = Recorder::default();
            let tried = config::rehearse::try_case(&compiled.policy, case, &mut recorder);
            let passed = tried.is_as_expected(&case.expect);
            Ran { case, tried, passed, trace: if passed { Vec::new() } else { recorder.notes } }
        })
        .collect()
}
