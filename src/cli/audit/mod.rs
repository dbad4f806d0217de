//! `wardgate audit`: reads the trail as anybody could who has a copy of it; and asks the gateway about pseudonyms.

mod conditions;
mod prove;
mod pseudonym;
mod query;
mod tail;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use crate::audit::signing::Trusted;

/// What is done with the trail.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check that nothing was changed, taken out or put in.
    ///
    /// Exits with 0 where the trail is whole, 1 where it was changed (the first place is named), 2 where nothing is wrong
    /// and something is missing: the last records have no checkpoint yet, or older files were removed.
    Verify(verify::Arguments),
    /// Print one record with what proves it to somebody who has nothing else.
    Prove(prove::Arguments),
    /// Check what `prove` printed; needs nothing but the public key.
    ///
    /// Exits with 0 and prints the record where it is proven, else with 1.
    CheckProof(prove::CheckArguments),
    /// Print the records that fit, one a line.
    Query(query::Arguments),
    /// Print the records that fit as they are written, one a line, until it is interrupted.
    Tail(tail::Arguments),
    /// Print the pseudonyms of somebody, one for each epoch whose key is there.
    ///
    /// Asks the running gateway on its operators' socket. That it was asked is on record before it answers.
    Pseudonym(pseudonym::Arguments),
    /// Destroy the keys of epochs that are over: nobody can find out any more who is behind their pseudonyms.
    ///
    /// Asks the running gateway on its operators' socket. It can't be taken back.
    Shred(pseudonym::ShredArguments),
}

/// Runs it.
pub fn run(command: &Command) -> ExitCode {
    let done = match command {
        Command::Verify(arguments) => return verify::verify(arguments),
        Command::Prove(arguments) => prove::prove(arguments),
        Command::CheckProof(arguments) => prove::check(arguments),
        Command::Query(arguments) => query::query(arguments),
        Command::Tail(arguments) => tail::tail(arguments),
        Command::Pseudonym(arguments) => pseudonym::look_up(arguments),
        Command::Shred(arguments) => pseudonym::shred(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the key that the trail is checked with: a file, else the one that lies beside the trail.
fn key(named: Option<&PathBuf>, dir: &Path) -> Result<Trusted, String> {
    let own = dir.join("checkpoints.pub");
    let path = named.unwrap_or(&own);
    if named.is_none() {
        eprintln!(
            "warning: the key `{}` lies beside the trail: whoever can change one can change both\n  \
             = help: give the copy that you keep elsewhere: `--key FILE`",
            path.display()
        );
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the key `{}` can't be read: {error}", path.display()))?;
    Trusted::read(&text).ok_or_else(|| {
        format!("`{}` is no public key: copy `checkpoints.pub` of the gateway", path.display())
    })
}
