//! `wardgate audit verify`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::audit::trail::{Trail, Walked, trails, walk};
use crate::audit::verify::{Fault, Findings, Kept, Verifier};

/// What to check, and by what.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The directory of the trail: `audit.dir` of the configuration, or a copy of it.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The public key, as kept elsewhere; else `checkpoints.pub` of the directory, which proves less.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A checkpoint that was kept elsewhere: without one nobody can tell whether the newest records were cut off.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

/// What came of a trail; the number is what the program exits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Clean = 0,
    Tampered = 1,
    Incomplete = 2,
}

/// Verifies.
pub fn verify(arguments: &Arguments) -> ExitCode {
    match verify_all(arguments) {
        Ok(verdicts) => {
            let is = |verdict| verdicts.contains(&verdict);
            let worst = if is(Verdict::Tampered) {
                Verdict::Tampered
            } else if is(Verdict::Incomplete) {
                Verdict::Incomplete
            } else {
                Verdict::Clean
            };
            ExitCode::from(worst as u8)
        }
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(Verdict::Incomplete as u8)
        }
    }
}

fn verify_all(arguments: &Arguments) -> Result<Vec<Verdict>, String> {
    let dir = &arguments.dir;
    let key = super::key(arguments.key.as_ref(), dir)?;
    let kept = arguments.checkpoint.as_deref().map(read_kept).transpose()?;
    let trails = trails(dir).map_err(|error| format!("`{}` can't be read: {error}", dir.display()))?;
    if trails.is_empty() {
        return Err(format!("there is no trail in `{}`", dir.display()));
    }
    let mut verdicts = Vec::new();
    // Of several trails the kept checkpoint is one's; it must be met in one of them.
    let (mut is_kept_met, mut is_kept_older, mut is_unread) = (kept.is_none(), false, false);
    for (name, trail) in &trails {
        let name = &shown(name);
        let mut verifier = Verifier::new(&key, kept.clone());
        match walk(trail.readers(), &mut verifier) {
            Ok(Walked::Stopped { file, line, fault }) => {
                let path = trail.path(file).map(shown_path).unwrap_or_default();
                println!("{name}: CHANGED: {path}:{line}: {fault}");
                verdicts.push(Verdict::Tampered);
                is_kept_met |= fault == Fault::NotAsKept;
            }
            Ok(Walked::Through { torn }) => {
                let findings = verifier.finish();
                is_kept_met |= findings.is_as_kept;
                is_kept_older |= findings.is_kept_older;
                verdicts.push(tell(name, trail, &findings, torn));
            }
            Err(error) => {
                println!("{name}: INCOMPLETE: a file can't be read: {error}");
                verdicts.push(Verdict::Incomplete);
                is_unread = true;
            }
        }
    }
    if !is_kept_met {
        let (says, verdict) = match (is_kept_older, is_unread) {
            (true, _) => (
                "INCOMPLETE: the kept checkpoint is of records before the first one here",
                Verdict::Incomplete,
            ),
            (_, true) => (
                "INCOMPLETE: what the kept checkpoint was signed for may be in a file that can't be read",
                Verdict::Incomplete,
            ),
            _ => (
                "CHANGED: the trail is not the one that the kept checkpoint was signed for",
                Verdict::Tampered,
            ),
        };
        println!("{says}");
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

fn read_kept(path: &Path) -> Result<Kept, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("the checkpoint `{}` can't be read: {error}", path.display()))?;
    Kept::read(&text).ok_or_else(|| {
        format!("`{}` is no checkpoint: keep the `note` of a `checkpoint` record, as text", path.display())
    })
}

/// A name that somebody else may have given, so that nothing in it is taken for what this program says.
fn shown(name: &str) -> String {
    name.escape_debug().to_string()
}

fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// Says what is in a trail in which nothing was changed.
fn tell(name: &str, trail: &Trail, findings: &Findings, torn: u64) -> Verdict {
    let Findings { records, checkpoints, .. } = findings;
    println!("{name}: {records} records, {checkpoints} checkpoints");
    if let Some((first, time)) = &findings.retired {
        println!("{name}: the files before record {first} were retired, the last of them at {}", shown(time));
    }
    let mut missing = Vec::new();
    if let Some(first) = findings.begins_at {
        missing.push(format!("begins at record {first}: older files are not here"));
    }
    if findings.unsealed > 0 {
        missing.push(format!("the last {} records have no checkpoint yet", findings.unsealed));
    }
    for (first, last) in &findings.unvouched {
        missing
            .push(format!("records {first} to {last} were not vouched for by the process that wrote them"));
    }
    if torn > 0 {
        missing.push(format!("the last record is cut short, after {torn} bytes"));
    }
    if findings.quarantines > 0 {
        let times = findings.quarantines;
        missing.push(format!("a new log began {times} times because records were damaged or missing"));
    }
    let is_there = |file: &&String| {
        trail.put_aside.iter().any(|path| path.file_name().is_some_and(|name| name == file.as_str()))
    };
    for gone in findings.put_aside.iter().filter(|file| !is_there(file)) {
        missing.push(format!("`{}` was put aside and is not here any more", shown(gone)));
    }
    for aside in &trail.put_aside {
        missing.push(format!("`{}` was found damaged and put aside", shown_path(aside)));
    }
    for other in &trail.no_files {
        missing.push(format!("`{}` is no file, and was not read", shown_path(other)));
    }
    if trail.active.is_none() {
        missing.push("the file that was written to last is not here".to_owned());
    }
    if !findings.is_ended && !trail.is_written() {
        missing.push("it does not end as the trail of a gateway that was stopped".to_owned());
    }
    for what in &missing {
        println!("{name}: INCOMPLETE: {what}");
    }
    if missing.is_empty() {
        println!("{name}: whole");
        Verdict::Clean
    } else {
        Verdict::Incomplete
    }
}
