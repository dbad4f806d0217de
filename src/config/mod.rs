//! Floor 2: from text to a policy.
//!
//! ```text
//! text ──parse──▶ schema ──compile──▶ Policy + Settings + Cases
//!        shape:            meaning:
//!        the first error   every error and warning at once
//! ```
//!
//! [`load`] is the only way in. `parse` reads YAML with bounds on size, depth and aliases, refuses keys that
//! are unknown or occur twice, and gives the shape with the place of each value (`schema`). `compile` gives
//! it meaning: it looks up names, reads durations, compiles conditions, builds the route index, and asks
//! whether anybody could ever meet what a route wants. What is found are [`Diagnostic`]s; every [`Code`]
//! stands in one table. Every safe default that a file gives up is gathered in `insecure`.
//!
//! Nothing here keeps state or opens a socket; the only files looked at are those that the configuration
//! names.

mod cases;
mod codes;
mod compile;
mod diagnostic;
pub mod encryption_keys;
mod insecure;
pub mod limits;
mod parse;
pub mod rehearse;
mod report;
mod restart;
mod rules;
mod schema;
mod schema_access;
mod schema_fhir;
mod schema_routes;
mod schema_sign_in;
mod schema_signals;
mod schema_state;
mod schema_step_up;
pub mod settings;
mod settings_access;
mod settings_audit;
mod settings_sign_in;
mod settings_signals;
mod settings_state;
mod settings_step_up;
mod settings_upstreams;
mod values;
mod wording;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};

pub use cases::{Answers, Case, CaseCaller, Expectation, ExpectedOutcome, Persona};
pub use codes::{Code, Severity};
pub use diagnostic::{Diagnostic, Place, Source};
pub use settings::{Compiled, Settings};

use report::Report;

/// Loads a configuration from its text.
///
/// `name` is what diagnostics call the file; relative paths in it begin at `base_dir`. A configuration that
/// is taken comes with its warnings.
///
/// # Errors
/// Every error and warning, in the order of the file. What is not YAML or has not the shape of a
/// configuration is reported alone, since nothing can be read behind it.
pub fn load(name: &str, text: &str, base_dir: &Path) -> Result<(Compiled, Vec<Diagnostic>), Vec<Diagnostic>> {
    load_with(name, text, base_dir, Cases::Run, None)
}

/// Whether the policy tests count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cases {
    /// A failing one refuses the configuration.
    Run,
    /// They are left alone: for tools that help to find out why one fails.
    Skip,
}

fn load_with(
    name: &str,
    text: &str,
    base_dir: &Path,
    cases: Cases,
    running: Option<&Settings>,
) -> Result<(Compiled, Vec<Diagnostic>), Vec<Diagnostic>> {
    let source = Source::new(name, text);
    let file = parse::parse(&source).map_err(|diagnostic| vec![*diagnostic])?;
    let mut found = Vec::new();
    let versions = Versions { file: version(text), rules: version(&rules::rules(text)) };
    let compiled = compile::compile(&file, base_dir, versions, &mut Report::new(&source, &mut found));
    if let Some(running) = running {
        restart::check(&file, &compiled.settings, running, &mut Report::new(&source, &mut found));
    }
    if cases == Cases::Run && found.iter().all(|diagnostic| diagnostic.severity() != Severity::Error) {
        // A policy that has faults of its own would fail its cases for reasons that were just told.
        run_cases(&compiled, &mut Report::new(&source, &mut found));
    }
    found.sort_by_key(|diagnostic| (diagnostic.place, diagnostic.code));
    let refused = found.iter().any(|diagnostic| diagnostic.severity() == Severity::Error);
    if refused { Err(found) } else { Ok((compiled, found)) }
}

/// Runs the policy tests; each one that fails is an error.
fn run_cases(compiled: &Compiled, report: &mut Report<'_>) {
    for case in &compiled.cases {
        if let Err(instead) = rehearse::run_case(&compiled.policy, case) {
            let message = format!("the case `{}` fails: {instead}", case.name);
            report.add(
                Code::CaseFailed,
                case.place,
                message,
                "change the policy, or what the case expects of it",
            );
        }
    }
}

/// Loads a configuration from a file; relative paths in it begin at the file's directory.
///
/// # Errors
/// As [`load`], or the file can't be read.
pub fn load_file(path: &Path, cases: Cases) -> Result<(Compiled, Vec<Diagnostic>), Vec<Diagnostic>> {
    load_file_with(path, cases, None)
}

/// Loads the configuration that is to follow the running one, with its cases; as [`load_file`].
///
/// # Errors
/// As [`load_file`], or it changes what can't change while the gateway runs.
pub fn load_next(path: &Path, running: &Settings) -> Result<(Compiled, Vec<Diagnostic>), Vec<Diagnostic>> {
    load_file_with(path, Cases::Run, Some(running))
}

fn load_file_with(
    path: &Path,
    cases: Cases,
    running: Option<&Settings>,
) -> Result<(Compiled, Vec<Diagnostic>), Vec<Diagnostic>> {
    let name = path.display().to_string();
    let text = read(path).map_err(|(message, help)| {
        vec![Diagnostic::new(&Source::new(&name, ""), Code::FileUnreadable, Place::FILE, message, help)]
    })?;
    load_with(&name, &text, path.parent().unwrap_or_else(|| Path::new("")), cases, running)
}

/// The version of the configuration in a file, as [`crate::policy::Policy::version`] names it; `None` where it can't
/// be read.
pub fn version_of_file(path: &Path) -> Option<Box<str>> {
    read(path).ok().map(|text| version(&text))
}

/// That something the configuration names can't be used, though the file itself is sound.
pub fn unusable(path: &Path, problem: &str) -> Diagnostic {
    let source = Source::new(&path.display().to_string(), "");
    let help = "mend it, or take the change back; SIGHUP tries again";
    Diagnostic::new(&source, Code::PartUnusable, Place::FILE, problem, help)
}

/// Reads at most what is accepted, so that a path to something endless does no harm.
fn read(path: &Path) -> Result<String, (String, &'static str)> {
    let mut bytes = Vec::new();
    let most = u64::try_from(parse::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    if let Err(error) = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)) {
        let message = format!("the file can't be read: {}", values::reason(&error));
        return Err((message, "name a file that the gateway's user may read"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        (format!("the file is not UTF-8: line {line} holds bytes of another encoding"), "save it as UTF-8")
    })
}

/// What a configuration is told apart by.
struct Versions {
    /// The whole file.
    file: Box<str>,
    /// What of it makes the rules.
    rules: Box<str>,
}

/// The first 8 bytes of the text's SHA-256, in hex.
fn version(text: &str) -> Box<str> {
    let mut version = String::with_capacity(16);
    for byte in digest(&SHA256, text.as_bytes()).as_ref().iter().take(8) {
        // Writing to a string can't fail.
        let _ = write!(version, "{byte:02x}");
    }
    version.into()
}
