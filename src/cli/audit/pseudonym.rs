//! `wardgate audit pseudonym` and `shred`: what somebody is called in the trail, and the end of that. Both ask the running
//! gateway: only it can put on record that they were asked for.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::operators;

/// Where, and who to look for.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    asked: Asked,
    /// The issuer's name in the configuration, for a subject, a session and a token.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    #[command(flatten)]
    named: Named,
}

/// The socket, and why.
#[derive(Debug, clap::Args)]
struct Asked {
    /// The gateway's socket: `operators.address` of its configuration, without `unix:`.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// Why, as the number of a case; it goes on record, so it must name nobody.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Whose pseudonyms.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Named {
    /// A person or machine (`sub`).
    #[arg(long, value_name = "SUB", requires = "issuer")]
    subject: Option<String>,
    /// A sign-in session (`sid`).
    #[arg(long, value_name = "SID", requires = "issuer")]
    session: Option<String>,
    /// A token (`jti`).
    #[arg(long, value_name = "JTI", requires = "issuer")]
    token_id: Option<String>,
    /// A patient record.
    #[arg(long, value_name = "ID")]
    patient: Option<String>,
    /// A client's address.
    #[arg(long, value_name = "IP")]
    address: Option<String>,
    /// An account, as somebody names it who has not signed in.
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
}

/// Where, and which keys.
#[derive(Debug, clap::Args)]
pub struct ShredArguments {
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    epochs: Epochs,
}

/// Which epochs.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Epochs {
    /// The epoch that begins on this day (`2026-09-14`).
    #[arg(long, value_name = "DATE")]
    epoch: Option<String>,
    /// Every epoch that was over when this day began.
    #[arg(long, value_name = "DATE")]
    before: Option<String>,
}

/// Looks up.
pub fn look_up(arguments: &Arguments) -> Result<(), String> {
    let Arguments { asked: Asked { socket, reason }, issuer, named } = arguments;
    let Named { subject, session, token_id, patient, address, account } = named;
    let kinds = [
        ("subject", subject),
        ("session", session),
        ("token", token_id),
        ("patient", patient),
        ("address", address),
        ("account", account),
    ];
    let asked = kinds.into_iter().find_map(|(kind, value)| Some((kind, value.as_ref()?)));
    let (kind, value) = asked.ok_or("nobody is named")?;
    let mut inquiry = json!({ "kind": kind, "value": value, "reason": reason });
    if let (Value::Object(inquiry), Some(issuer)) = (&mut inquiry, issuer) {
        inquiry.insert("issuer".to_owned(), issuer.as_str().into());
    }
    let told = operators::ask(socket, "pseudonyms/lookup", &inquiry)?;
    let text = |alias: &Value, name: &str| alias.get(name).and_then(Value::as_str).map(str::to_owned);
    for alias in told.get("pseudonyms").and_then(Value::as_array).into_iter().flatten() {
        let pseudonym = text(alias, "pseudonym").unwrap_or_default();
        match (text(alias, "epoch"), text(alias, "until")) {
            (Some(from), Some(until)) => println!("{pseudonym}  from {from} until {until}"),
            _ => println!("{pseudonym}  without an epoch"),
        }
    }
    for epoch in told.get("unreadable").and_then(Value::as_array).into_iter().flatten() {
        let epoch = epoch.as_str().unwrap_or_default();
        eprintln!("warning: the key of the epoch that begins on {epoch} can't be used");
    }
    Ok(())
}

/// Destroys.
pub fn shred(arguments: &ShredArguments) -> Result<(), String> {
    let ShredArguments { asked: Asked { socket, reason }, epochs: Epochs { epoch, before } } = arguments;
    let order = match (epoch, before) {
        (Some(epoch), _) => json!({ "epoch": epoch, "reason": reason }),
        (None, before) => json!({ "before": before, "reason": reason }),
    };
    let told = operators::ask(socket, "pseudonyms/shred", &order)?;
    let gone = told.get("destroyed").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if gone.is_empty() {
        println!("there was no such key");
    }
    for epoch in gone {
        println!("destroyed: the key of the epoch that began on {}", epoch.as_str().unwrap_or_default());
    }
    Ok(())
}
