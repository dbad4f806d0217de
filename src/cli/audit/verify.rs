//! `wardgate audit verify`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::audit::trail::{Trail, trails};
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

/// What came of a trail, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Clean = 0,
    Incomplete = 2,
    Tampered = 1,
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
    let mut is_kept_met = kept.is_none();
    for (name, trail) in &trails {
        let mut verifier = Verifier::new(&key, kept.clone());
        let read = |error| format!("the trail `{name}` can't be read: {error}");
        match walk(trail, &mut verifier).map_err(read)? {
            Some((place, fault)) => {
                println!("{name}: CHANGED: {place}: {fault}");
                verdicts.push(Verdict::Tampered);
                is_kept_met |= fault == Fault::NotAsKept;
            }
            None => {
                let findings = verifier.finish();
                is_kept_met |= findings.is_as_kept;
                let torn = trail.torn().map_err(read)?;
                verdicts.push(tell(name, trail, &findings, torn));
            }
        }
    }
    if !is_kept_met {
        println!("CHANGED: {}", Fault::NotAsKept);
        verdicts.push(Verdict::Tampered);
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

/// Goes through a trail; the first fault and where it is.
fn walk(trail: &Trail, verifier: &mut Verifier<'_>) -> std::io::Result<Option<(String, Fault)>> {
    trail.lines(|path, number, line| {
        if number == 1 {
            verifier.next_file();
        }
        match verifier.record(line) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => ControlFlow::Break((format!("{}:{number}", path.display()), fault)),
        }
    })
}

/// Says what is in a trail in which nothing was changed.
fn tell(name: &str, trail: &Trail, findings: &Findings, torn: u64) -> Verdict {
    let Findings { records, checkpoints, .. } = findings;
    println!("{name}: {records} records, {checkpoints} checkpoints");
    let mut missing = Vec::new();
    if let Some(first) = findings.begins_at {
        missing.push(format!("begins at record {first}: older files are not here"));
    }
    if findings.unsealed > 0 {
        missing.push(format!("the last {} records have no checkpoint yet", findings.unsealed));
    }
    if torn > 0 {
        missing.push(format!("the last record is cut short, after {torn} bytes"));
    }
    for aside in &trail.put_aside {
        missing.push(format!("`{}` was found damaged and put aside", aside.display()));
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
