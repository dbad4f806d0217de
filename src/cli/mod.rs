//! The command line.

mod audit;
mod break_glass;
mod check;
mod delegation;
mod diff;
mod doctor;
mod drain;
mod explain;
mod init;
mod operators;
mod replay;
mod revoke;
mod routes;
mod schema;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::Launch;
use crate::config;
use crate::config::settings::Compiled;
use crate::config::{Cases, Diagnostic};
use crate::telemetry::{LogFormat, start_logs};

/// An authorization gateway for health care: asks for proof in proportion to the risk of the action.
#[derive(Debug, Parser)]
#[command(name = "wardgate", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    ///
    /// Checks the configuration first, `cases` included, and refuses to start where anything is wrong. SIGTERM stops
    /// it gracefully: `/readyz` says no at once, requests are served for `shutdown.lame_duck`, and running ones may
    /// take `shutdown.grace` more. Logs go to standard error; set WARDGATE_LOG to change their level (`debug`).
    ///
    /// A changed configuration file is put in force within seconds, without a signal; SIGHUP reads it at once. A file
    /// with a fault is refused as a whole and the one before stays in force: /readyz, metrics and the audit trail say
    /// so. SIGUSR2 starts the program that now lies at this path and lets it take over without a lost request. SIGUSR1 sends
    /// clients elsewhere: see `wardgate drain`.
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// How logs look.
        #[arg(long, value_enum, default_value_t = LogFormat::Text)]
        log_format: LogFormat,
        /// Write the process id here once it serves; after an upgrade it is the new program's.
        #[arg(long, value_name = "FILE")]
        pid_file: Option<PathBuf>,
    },
    /// Check a configuration file and run its `cases`; starts nothing.
    ///
    /// Prints every fault and warning with file, line, column and remedy. Exits with 0 where the file can be run
    /// (warnings allowed), else 1.
    Check {
        /// The configuration file.
        #[arg(value_name = "FILE")]
        config: PathBuf,
    },
    /// Run the configuration's `cases`, and files of further ones; starts nothing.
    ///
    /// Says of each case that fails what was expected, what came, and the way to it, step by step; then which outcomes of which
    /// routes no case looks at. Exits with 0 where all pass, else 1.
    Test(test::Arguments),
    /// Draft a configuration from an OpenAPI document or a FHIR CapabilityStatement, with the reason for each choice.
    ///
    /// The draft is on the careful side, and marks with `FILL IN` what no document says; until then it lets nobody in. Exits
    /// with 0 where it loads.
    Init(init::Arguments),
    /// Compare two configurations by what they mean: what is said in other ways, and who gets another verdict for what.
    ///
    /// Requests and callers are made up from both files and decided under each. What hangs on more, such as a condition, is listed
    /// as what may differ. Exits with 0 where nothing differs, 1 where something does, 2 for a fault.
    Diff(diff::Arguments),
    /// Show what each route asks for, as a table.
    Routes {
        /// The configuration file.
        #[arg(value_name = "FILE")]
        config: PathBuf,
        /// Print JSON instead.
        #[arg(long)]
        json: bool,
    },
    /// Explain step by step how a request would be decided, without sending it, or how one on record was.
    ///
    /// Exits with 0 for permit, 3 for challenge, 4 for deny, 1 for a fault.
    Explain(explain::Arguments),
    /// Forecast what a changed configuration would make of the requests on record; starts nothing.
    ///
    /// Decides the requests of an audit trail once more, by the changed rules, and says what would be another: what goes through,
    /// is refused or is asked for proof that was not, for whom and how often. What can't be said is counted, and never guessed.
    /// Exits with 0; with 1 where a limit (`--max-…`) is passed; with 2 where something can't be read.
    Replay(replay::Arguments),
    /// Look at the world around a configuration, from where the gateway runs: what can be reached, and around it what.
    ///
    /// Loads the configuration as `check` does. Then it asks: can the applications be reached around the gateway? Do upstreams,
    /// issuers, Redis and audit sinks answer, with clocks in step? When do certificates end, who may read secrets, is there room?
    /// Nothing is changed but a key of its own in Redis, and no audit record is sent. Exits with 1 where something must be
    /// mended, else 0.
    Doctor(doctor::Arguments),
    /// Have a running gateway send its clients elsewhere, before what it protects is stopped.
    ///
    /// From then on `/readyz` says no and answers ask clients to close their connections, but every request is still
    /// served until SIGTERM, which then skips as much of `shutdown.lame_duck` as has passed. It is for the `preStop`
    /// hook of a sidecar, whose application ends before it. The same as SIGUSR1; there is no way back.
    Drain(drain::Arguments),
    /// Refuse somebody's tokens, at every gateway that shares the state, and end what runs with them.
    ///
    /// Asks the running gateway on its operators' socket. Exits with 0 once the state store has it.
    Revoke(revoke::Arguments),
    /// List, review and end what was opened in emergencies.
    ///
    /// Asks the running gateway on its operators' socket. See docs/break-glass.md.
    #[command(subcommand)]
    BreakGlass(break_glass::Command),
    /// Say who may act for which patient: grant, list, review and end it.
    ///
    /// Asks the running gateway on its operators' socket. See docs/delegation.md.
    #[command(subcommand)]
    Delegation(delegation::Command),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Check, prove and search the audit trail, which needs no running gateway; look up pseudonyms and destroy their keys.
    #[command(subcommand)]
    Audit(audit::Command),
}

/// Runs the program.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config, log_format, pid_file } => run(config, log_format, pid_file),
        Command::Check { config } => check::check(&config),
        Command::Test(arguments) => test::test(&arguments),
        Command::Diff(arguments) => diff::diff(&arguments),
        Command::Init(arguments) => init::init(&arguments),
        Command::Routes { config, json } => with_config(&config, |compiled| routes::print(&compiled, json)),
        Command::Replay(arguments) => replay::replay(&arguments),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Drain(arguments) => drain::drain(&arguments),
        Command::Revoke(arguments) => revoke::revoke(&arguments),
        Command::BreakGlass(command) => break_glass::run(&command),
        Command::Delegation(command) => delegation::run(&command),
        Command::Schema => schema::print(),
        Command::Audit(command) => audit::run(&command),
        Command::Explain(arguments) => {
            with_config(&arguments.config.clone(), |compiled| explain::explain(&arguments, compiled))
        }
    }
}

fn run(config: PathBuf, log_format: LogFormat, pid_file: Option<PathBuf>) -> ExitCode {
    start_logs(log_format);
    let Some(compiled) = load(&config, Cases::Run) else {
        return ExitCode::FAILURE;
    };
    match crate::app::run(compiled, Launch { config, pid_file }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn with_config(path: &Path, command: impl FnOnce(Compiled) -> ExitCode) -> ExitCode {
    // A failing case is often the very question.
    load(path, Cases::Skip).map_or(ExitCode::FAILURE, command)
}

/// Loads a configuration; prints what is wrong or doubtful with it.
fn load(path: &Path, cases: Cases) -> Option<Compiled> {
    match config::load_file(path, cases) {
        Ok((compiled, warnings)) => {
            print_diagnostics(&warnings);
            Some(compiled)
        }
        Err(diagnostics) => {
            print_diagnostics(&diagnostics);
            None
        }
    }
}

fn print_diagnostics(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        eprintln!("{diagnostic}");
    }
}
