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
mod described;
mod diagnostic;
pub mod encryption_keys;
mod insecure;
pub mod limits;
mod parse;
pub mod peer_secrets;
pub mod rehearse;
mod report;
mod restart;
mod rules;
mod schema;
mod schema_access;
mod schema_break_glass;
mod schema_delegation;
mod schema_fhir;
mod schema_risk;
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
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

pub use cases::{Answers, Case, CaseCaller, Expectation, ExpectedOutcome, Persona, Tried};
pub use codes::{Code, Severity};
pub use described::schema;
pub use diagnostic::{Diagnostic, Place, Source};
pub use settings::{Compiled, Settings};

use report::Report;

use crate::decision::trace::Silent;

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
    let mut found = Vec::new();
    let compiled = compiled(&source, &[], base_dir, running, &mut found)?;
    if cases == Cases::Run && found.iter().all(|diagnostic| diagnostic.severity() != Severity::Error) {
        // A policy that has faults of its own would fail its cases for reasons that were just told.
        run_cases(&compiled, &mut Report::new(&source, &mut found));
    }
    judged(compiled, found)
}

/// Reads a file, with the cases of further ones, and gives it meaning; what is found on the way is added to `found`.
///
/// # Errors
/// What keeps anything from being read.
fn compiled(
    source: &Source<'_>,
    further: &[Source<'_>],
    base_dir: &Path,
    running: Option<&Settings>,
    found: &mut Vec<Diagnostic>,
) -> Result<Compiled, Vec<Diagnostic>> {
    let file = parse::parse(source).map_err(|diagnostic| vec![*diagnostic])?;
    let mut case_files = Vec::new();
    for source in further {
        let cases = parse::parse_cases(source).map_err(|diagnostic| vec![*diagnostic])?;
        case_files.push((source.clone(), cases));
    }
    let versions = Versions { file: version(source.text()), rules: version(&rules::rules(source.text())) };
    let compiled = compile::compile(&file, &case_files, base_dir, versions, &mut Report::new(source, found));
    if let Some(running) = running {
        restart::check(&file, &compiled.settings, running, &mut Report::new(source, found));
    }
    Ok(compiled)
}

/// Whether it may be used.
fn judged(
    compiled: Compiled,
    mut found: Vec<Diagnostic>,
) -> Result<(Compiled, Vec<Diagnostic>), Vec<Diagnostic>> {
    // Stable, and the files come one after the other.
    found.sort_by_key(|diagnostic| (diagnostic.place, diagnostic.code));
    let refused = found.iter().any(|diagnostic| diagnostic.severity() == Severity::Error);
    if refused { Err(found) } else { Ok((compiled, found)) }
}

/// Loads a configuration from a file for `wardgate test`: with its cases and behind them those of further files. None is run.
///
/// # Errors
/// As [`load_file`], of any of the files.
pub fn load_with_cases(
    path: &Path,
    case_files: &[PathBuf],
) -> Result<(Compiled, Vec<Diagnostic>), Vec<Diagnostic>> {
    let paths: Vec<&Path> = std::iter::once(path).chain(case_files.iter().map(PathBuf::as_path)).collect();
    let texts = paths.iter().map(|path| read_source(path)).collect::<Result<Vec<_>, _>>()?;
    let sources: Vec<Source<'_>> = texts.iter().map(|(name, text)| Source::new(name, text)).collect();
    let [source, further @ ..] = sources.as_slice() else { return Err(Vec::new()) };
    let base_dir = path.parent().unwrap_or_else(|| Path::new(""));
    let mut found = Vec::new();
    let compiled = compiled(source, further, base_dir, None, &mut found)?;
    judged(compiled, found)
}

/// Runs the policy tests; each one that fails is an error.
fn run_cases(compiled: &Compiled, report: &mut Report<'_>) {
    for case in &compiled.cases {
        let tried = rehearse::try_case(&compiled.policy, case, &mut Silent);
        if !tried.is_as_expected(&case.expect) {
            let message =
                format!("the case `{}` fails: it gives {}", case.name, tried.told(&compiled.policy));
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
    let (name, text) = read_source(path)?;
    load_with(&name, &text, path.parent().unwrap_or_else(|| Path::new("")), cases, running)
}

/// A file's name as it is printed, and its text.
fn read_source(path: &Path) -> Result<(String, String), Vec<Diagnostic>> {
    let name = path.display().to_string();
    match read(path) {
        Ok(text) => Ok((name, text)),
        Err((message, help)) => {
            let source = Source::new(&name, "");
            Err(vec![Diagnostic::new(&source, Code::FileUnreadable, Place::FILE, message, help)])
        }
    }
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
