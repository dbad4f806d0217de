//! `wardgate revoke`: tells a running gateway to refuse somebody's tokens.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::operators;

/// Where, and what to revoke.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The gateway's socket: `operators.address` of its configuration, without `unix:`.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// The issuer's name in the configuration.
    #[arg(long, value_name = "NAME")]
    issuer: String,
    #[command(flatten)]
    named: Named,
    /// Refuse only tokens that were issued before this moment, in Unix seconds.
    #[arg(long, value_name = "SECONDS")]
    not_before: Option<i64>,
}

/// Whose tokens.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Named {
    /// A subject: every token issued to them until now (`sub`).
    #[arg(long, value_name = "SUB")]
    subject: Option<String>,
    /// A session: every token of it, for good (`sid`).
    #[arg(long, value_name = "SID")]
    session: Option<String>,
    /// A single token, for good (`jti`).
    #[arg(long, value_name = "JTI")]
    token_id: Option<String>,
    /// A client: every token issued to it until now (`client_id`, `azp`).
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
}

/// Revokes.
pub fn revoke(arguments: &Arguments) -> ExitCode {
    match ask(arguments) {
        Ok(told) => {
            println!("revoked: {told}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn ask(arguments: &Arguments) -> Result<Value, String> {
    let Arguments { socket, issuer, named, not_before } = arguments;
    let Named { subject, session, token_id, client } = named;
    let mut order = json!({ "issuer": issuer });
    let members = [("subject", subject), ("session", session), ("token_id", token_id), ("client", client)];
    if let Value::Object(order) = &mut order {
        order
            .extend(members.into_iter().filter_map(|(name, it)| Some((name.to_owned(), it.clone()?.into()))));
        order.extend(not_before.map(|moment| ("not_before".to_owned(), moment.into())));
    }
    operators::ask(socket, "revocations", &order)
}
