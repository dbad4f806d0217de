//! `wardgate check`: says all that is wrong with a configuration, and starts nothing.

use std::path::Path;
use std::process::ExitCode;

use crate::config;

/// Checks a configuration file.
pub fn check(path: &Path) -> ExitCode {
    match config::load_file(path, config::Cases::Run) {
        Ok((compiled, warnings)) => {
            super::print_diagnostics(&warnings);
            let count =
                |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
            println!(
                "{}: ok: {}, {}, {} passed, {}",
                path.display(),
                count(compiled.policy.routes.len(), "route"),
                count(compiled.policy.issuers.len(), "issuer"),
                count(compiled.cases.len(), "case"),
                count(warnings.len(), "warning"),
            );
            ExitCode::SUCCESS
        }
        Err(diagnostics) => {
            super::print_diagnostics(&diagnostics);
            println!("{}: refused: {} findings", path.display(), diagnostics.len());
            ExitCode::FAILURE
        }
    }
}
