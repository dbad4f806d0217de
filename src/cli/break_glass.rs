//! `wardgate break-glass`: what was opened in emergencies, and the review of it. All of it asks the running gateway.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::operators;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List what waits for its review, one a line.
    List {
        /// The gateway's socket: `operators.address` of its configuration, without `unix:`.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
        /// Also what was reviewed.
        #[arg(long)]
        all: bool,
    },
    /// Show whose record it was and why, to somebody who may review it; that they looked goes on record.
    Show {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        reviewer: Reviewer,
    },
    /// Review it: nobody reviews what they have done themselves.
    Review {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        reviewer: Reviewer,
        /// What was found.
        #[arg(long, value_enum)]
        finding: Finding,
    },
    /// Make codes for when the issuer can't be reached, one a line. They are not shown again.
    Codes {
        /// The right, which has `offline_codes: true`.
        #[arg(long, value_name = "NAME")]
        right: String,
        /// How many.
        #[arg(long, default_value_t = 10)]
        count: u32,
        /// For how many days they are good.
        #[arg(long, default_value_t = 90)]
        days: u32,
        /// The gateway's socket: `operators.address` of its configuration, without `unix:`.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
    },
    /// Close what is open before its time, at every gateway.
    End {
        #[command(flatten)]
        one: One,
    },
}

/// Where, and which.
#[derive(Debug, clap::Args)]
pub struct One {
    /// Its name, as `list` prints it.
    id: String,
    /// The gateway's socket: `operators.address` of its configuration, without `unix:`.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
}

/// Who asks.
#[derive(Debug, clap::Args)]
pub struct Reviewer {
    /// A file with the reviewer's own access token.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
}

/// What a review found.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Finding {
    /// It was an emergency.
    Justified,
    /// It was none.
    Unjustified,
}

/// Does it.
pub fn run(command: &Command) -> ExitCode {
    operators::print(answer(command))
}

fn answer(command: &Command) -> Result<Vec<Value>, String> {
    let one = |told| vec![told];
    match command {
        Command::List { socket, all } => {
            let told = operators::ask(socket, "break-glass/list", &json!({ "all": all }))?;
            Ok(told.get("break_glass").and_then(Value::as_array).cloned().unwrap_or_default())
        }
        Command::Show { one: One { id, socket }, reviewer } => {
            let order = json!({ "id": id, "token": operators::token(&reviewer.token_file)? });
            operators::ask(socket, "break-glass/show", &order).map(one)
        }
        Command::Review { one: One { id, socket }, reviewer, finding } => {
            let finding = match finding {
                Finding::Justified => "justified",
                Finding::Unjustified => "unjustified",
            };
            let order =
                json!({ "id": id, "token": operators::token(&reviewer.token_file)?, "finding": finding });
            operators::ask(socket, "break-glass/review", &order).map(one)
        }
        Command::Codes { right, count, days, socket } => {
            let order = json!({ "right": right, "count": count, "days": days });
            let told = operators::ask(socket, "break-glass/codes", &order)?;
            Ok(told.get("codes").and_then(Value::as_array).cloned().unwrap_or_default())
        }
        Command::End { one: One { id, socket } } => {
            operators::ask(socket, "break-glass/end", &json!({ "id": id })).map(one)
        }
    }
}
