//! `wardgate schema`: the JSON Schema of the configuration.

use std::process::ExitCode;

use crate::config;

/// Prints it.
pub fn print() -> ExitCode {
    println!("{:#}", config::schema());
    ExitCode::SUCCESS
}
