//! `wardgate audit query`.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::Value;

use super::conditions::Conditions;
use crate::audit::formats::{Encoder, Format, Record};
use crate::audit::trail::trails;

/// Which records, and how they are printed.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The directory of the trail.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    conditions: Conditions,
    /// Print them in another format; without it as they stand.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

/// Prints what fits.
pub fn query(arguments: &Arguments) -> Result<(), String> {
    let dir = &arguments.dir;
    let trails = trails(dir).map_err(|error| format!("`{}` can't be read: {error}", dir.display()))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut unreadable = 0;
    for trail in trails.values() {
        let mut encoder = arguments.format.map(Encoder::new);
        let stopped = trail
            .lines(|path, line| {
                let record: Value = match serde_json::from_slice(line.bytes) {
                    Ok(record) => record,
                    // The newest record may be on its way.
                    Err(_) if !line.is_ended && trail.active.as_deref() == Some(path) => {
                        return ControlFlow::Continue(());
                    }
                    Err(_) => {
                        unreadable += 1;
                        if unreadable <= MOST_TOLD {
                            let path = path.to_string_lossy();
                            eprintln!("warning: {}:{} can't be read", path.escape_debug(), line.number);
                        }
                        return ControlFlow::Continue(());
                    }
                };
                let fits = arguments.conditions.fit(&record);
                let shown = match &mut encoder {
                    None => fits.then_some(Cow::Borrowed(line.bytes)),
                    Some(encoder) => converted(encoder, line.bytes, fits).map(Cow::Owned),
                };
                let Some(shown) = shown else { return ControlFlow::Continue(()) };
                let written = out.write_all(&shown).and_then(|()| out.write_all(b"\n"));
                written.map_or_else(ControlFlow::Break, ControlFlow::Continue)
            })
            .map_err(|error| format!("the trail can't be read: {error}"))?;
        if let Some(error) = stopped {
            return unwritten(error);
        }
    }
    if unreadable > 0 {
        eprintln!("warning: {unreadable} lines can't be read: see `wardgate audit verify`");
    }
    out.flush().or_else(unwritten)
}

/// The record in another format. One without a number, a time or an event is none: `verify` names it.
pub(super) fn converted(encoder: &mut Encoder, line: &[u8], fits: bool) -> Option<Vec<u8>> {
    let record = Record::read(line)?;
    if !fits {
        encoder.pass(record);
        return None;
    }
    encoder.encode(record)
}

/// So many lines that can't be read are named.
const MOST_TOLD: u64 = 10;

/// Whoever reads may have enough, as `head` has.
pub(super) fn unwritten(error: io::Error) -> Result<(), String> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(format!("the records can't be printed: {error}")),
    }
}
