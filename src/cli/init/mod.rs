//! `wardgate init`: drafts a configuration from what an application says of itself, and gives the reason for each choice.
//!
//! The draft is on the careful side, and what only the operator knows is marked in it. Until that is filled in, it loads but
//! lets nobody in.

mod capability;
mod draft;
mod openapi;
mod risk;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::config::{self, Severity};
use draft::Draft;

/// The largest document: 16 MiB.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What to draft from.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// An OpenAPI 3 document, in YAML or JSON: a route for every operation.
    #[arg(long, value_name = "FILE", required_unless_present = "capability_statement")]
    openapi: Option<PathBuf>,
    /// A FHIR server's CapabilityStatement, in JSON (`GET /metadata`): routes for what it says it can do.
    #[arg(long, value_name = "FILE", conflicts_with = "openapi")]
    capability_statement: Option<PathBuf>,
    /// Write the draft here, where nothing is yet; without it, to standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Drafts a configuration.
pub fn init(arguments: &Arguments) -> ExitCode {
    match drafted(arguments).and_then(|draft| deliver(&draft, arguments.output.as_deref())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn drafted(arguments: &Arguments) -> Result<Draft, String> {
    if let Some(path) = &arguments.openapi {
        return openapi::draft(&document(path)?).map_err(|why| format!("`{}`: {why}", path.display()));
    }
    let Some(path) = &arguments.capability_statement else {
        return Err("name a document: `--openapi FILE` or `--capability-statement FILE`".to_owned());
    };
    capability::draft(&document(path)?).map_err(|why| format!("`{}`: {why}", path.display()))
}

/// Reads JSON, or YAML.
fn document(path: &Path) -> Result<Value, String> {
    let unreadable = |error: std::io::Error| format!("`{}` can't be read: {error}", path.display());
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
        return Err(format!("`{}` is larger than 16 MiB: split it", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parsed(&text).map_err(|why| format!("`{}`: {why}", path.display()))
}

fn parsed(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: 2_000_000, max_events: 4_000_000, max_depth: 64 },
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| format!("it is neither JSON nor YAML: {error}"))
}

/// Writes a draft, and says what comes next; whether it loads.
fn deliver(draft: &Draft, output: Option<&Path>) -> Result<bool, String> {
    let text = draft.render();
    let name = output.map_or_else(|| "draft".to_owned(), |path| path.display().to_string());
    match output {
        None => print!("{text}"),
        Some(path) => write_new(path, &text)?,
    }
    let base = output.and_then(Path::parent).unwrap_or(Path::new("."));
    let found = config::load(&name, &text, base);
    let diagnostics = match &found {
        Ok((_, warnings)) => warnings,
        Err(diagnostics) => diagnostics,
    };
    let faults = diagnostics.iter().filter(|diagnostic| diagnostic.severity() == Severity::Error);
    for fault in faults {
        eprintln!("{fault}");
    }
    eprintln!(
        "{name}: {} routes, {} left out; look for `FILL IN` ({} times), then `wardgate check`",
        draft.routes.len(),
        draft.left_out.len(),
        text.matches("FILL IN:").count(),
    );
    Ok(found.is_ok())
}

/// Writes a file where none is.
fn write_new(path: &Path, text: &str) -> Result<(), String> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            format!(
                "`{}` is there already, and nothing is overwritten: give `--output` another name",
                path.display()
            )
        }
        _ => format!("`{}` can't be written: {error}", path.display()),
    })
}
