//! `wardgate diff`: what another configuration means, and which requests it decides in another way.

mod callers;
mod meaning;
mod print;
#[cfg(test)]
mod tests;
mod tried;
mod verdicts;
mod witnesses;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

use crate::config::Cases;
use crate::policy::Policy;

pub(super) use meaning::Change;
pub(super) use verdicts::{Changed, MayDiffer};

/// What to compare.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration as it is.
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The configuration as it is to be.
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// How the result is told.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How the result is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// What differs.
#[derive(Debug, Default, Serialize)]
pub(super) struct Differences {
    /// What the files say in other ways.
    pub(super) settings: Vec<Change>,
    /// Who gets another verdict for what.
    pub(super) verdicts: Vec<Changed>,
    /// Where that hangs on what can't be tried without a request.
    pub(super) may_differ: Vec<MayDiffer>,
}

impl Differences {
    fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.verdicts.is_empty() && self.may_differ.is_empty()
    }
}

/// Compares two configurations: exit code 0 where they mean the same, 1 where they don't, 2 for a fault.
pub fn diff(arguments: &Arguments) -> ExitCode {
    const FAULT: u8 = 2;
    let (Some(before), Some(after)) =
        (super::load(&arguments.before, Cases::Skip), super::load(&arguments.after, Cases::Skip))
    else {
        return ExitCode::from(FAULT);
    };
    let found = compare(&before.policy, &after.policy);
    match arguments.output {
        Output::Text => print!("{}", print::text(&found)),
        Output::Json => match serde_json::to_string_pretty(&found) {
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("error: {error}");
                return ExitCode::from(FAULT);
            }
        },
    }
    ExitCode::from(u8::from(!found.is_empty()))
}

/// Compares two policies.
pub(super) fn compare(before: &Policy, after: &Policy) -> Differences {
    let meanings = [meaning::of(before), meaning::of(after)];
    let (verdicts, may_differ) = verdicts::compare([before, after], &meanings);
    let [was, is] = &meanings;
    Differences { settings: meaning::changes(was, is), verdicts, may_differ }
}
