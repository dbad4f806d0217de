//! `wardgate revoke`: tells a running gateway to refuse somebody's tokens.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

/// How long the gateway may take to answer.
const TIME: Duration = Duration::from_secs(15);

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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("a runtime can't be started: {error}"))?;
    let shown = socket.display();
    let (status, text) = runtime
        .block_on(async {
            let client = reqwest::Client::builder().unix_socket(socket.as_path()).timeout(TIME).build()?;
            let request = client.post("http://localhost/v1/revocations").body(order.to_string());
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
        })
        .map_err(|error| {
            format!(
                "the gateway can't be asked on `{shown}`: {error}; is `operators` configured, and do you run as the gateway's user or root?"
            )
        })?;
    let told: Value =
        serde_json::from_str(&text).map_err(|_| format!("`{shown}` gave no answer of Wardgate's"))?;
    if status.is_success() {
        return Ok(told);
    }
    Err(told.get("error").and_then(Value::as_str).unwrap_or("the gateway refused").to_owned())
}
