//! `wardgate delegation`: who may act for which patient. All of it asks the running gateway.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::operators;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Let somebody act for a patient.
    Grant {
        #[command(flatten)]
        staff: Staff,
        /// In what relation: one of `delegation.relations`.
        #[arg(long, value_name = "NAME")]
        relation: String,
        /// Who: the subject (`sub`) by which the relation's issuer knows them.
        #[arg(long, value_name = "SUBJECT")]
        person: String,
        /// What the patient calls them, for the patient's own page.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// For whom, as routes name the patient.
        #[arg(long, value_name = "PATIENT")]
        patient: String,
        /// Only for this action; may be given more than once.
        #[arg(long = "action", value_name = "ROUTE")]
        actions: Vec<String>,
        /// Only until this moment, such as 2027-03-01T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        until: Option<jiff::Timestamp>,
        /// The patient's day of birth, for relations that end at an age; it is not kept.
        #[arg(long, value_name = "DATE")]
        born: Option<jiff::civil::Date>,
    },
    /// List what is in force, one a line; not whose records.
    List {
        /// The gateway's socket: `operators.address` of its configuration, without `unix:`.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
        /// Also what is over.
        #[arg(long)]
        all: bool,
        /// Only what must be looked at within so many days.
        #[arg(long, value_name = "DAYS")]
        due_within: Option<u16>,
    },
    /// Show who acts for one patient; that somebody looked goes on record.
    Show {
        #[command(flatten)]
        staff: Staff,
        /// The patient.
        #[arg(long, value_name = "PATIENT")]
        patient: String,
    },
    /// Say that it was looked at and may go on until its next review.
    Review {
        /// Its name, as `list` prints it.
        id: String,
        #[command(flatten)]
        staff: Staff,
    },
    /// End it, at every gateway.
    Revoke {
        /// Its name, as `list` prints it.
        id: String,
        /// The gateway's socket: `operators.address` of its configuration, without `unix:`.
        #[arg(long, value_name = "PATH")]
        socket: PathBuf,
    },
}

/// Who asks, and where.
#[derive(Debug, clap::Args)]
pub struct Staff {
    /// The gateway's socket: `operators.address` of its configuration, without `unix:`.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// A file with one's own access token.
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
}

/// Does it.
pub fn run(command: &Command) -> ExitCode {
    operators::print(answer(command))
}

fn answer(command: &Command) -> Result<Vec<Value>, String> {
    let one = |told| vec![told];
    let list = |told: Value| told.get("delegations").and_then(Value::as_array).cloned().unwrap_or_default();
    match command {
        Command::Grant { staff, relation, person, name, patient, actions, until, born } => {
            let order = json!({
                "token": operators::token(&staff.token_file)?, "relation": relation, "person": person, "name": name,
                "patient": patient, "actions": actions, "until": until, "born": born,
            });
            operators::ask(&staff.socket, "delegations/grant", &order).map(one)
        }
        Command::List { socket, all, due_within } => {
            let question = json!({ "all": all, "due_within_days": due_within });
            operators::ask(socket, "delegations/list", &question).map(list)
        }
        Command::Show { staff, patient } => {
            let question = json!({ "token": operators::token(&staff.token_file)?, "patient": patient });
            operators::ask(&staff.socket, "delegations/show", &question).map(list)
        }
        Command::Review { id, staff } => {
            let order = json!({ "token": operators::token(&staff.token_file)?, "id": id });
            operators::ask(&staff.socket, "delegations/review", &order).map(one)
        }
        Command::Revoke { id, socket } => {
            operators::ask(socket, "delegations/revoke", &json!({ "id": id })).map(one)
        }
    }
}
