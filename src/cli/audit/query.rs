//! `wardgate audit query`.

use std::borrow::Cow;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::Value;

use crate::audit::formats::{Encoder, Format, Record};
use crate::audit::trail::trails;

/// Which records; each condition narrows.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The directory of the trail.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Not before this moment (RFC 3339, as `2026-11-22T10:00:00Z`).
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
    /// Before this moment.
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
    /// The event's name: `intent`, `decision`, `session` …
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// The action: a route's id.
    #[arg(long, value_name = "ID")]
    action: Option<String>,
    /// The tier.
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// `permit`, `challenge` or `deny`.
    #[arg(long, value_name = "VERDICT")]
    verdict: Option<String>,
    /// The decision's id, as people are told it.
    #[arg(long, value_name = "ID")]
    decision: Option<String>,
    /// A person's pseudonym (`s_…`).
    #[arg(long, value_name = "PSEUDONYM")]
    subject: Option<String>,
    /// A patient's pseudonym (`p_…`).
    #[arg(long, value_name = "PSEUDONYM")]
    patient: Option<String>,
    /// Print them in another format; without it as they stand.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

impl Arguments {
    fn fits(&self, record: &Value) -> bool {
        let members = [
            ("event", &self.event),
            ("action", &self.action),
            ("tier", &self.tier),
            ("verdict", &self.verdict),
            ("decision", &self.decision),
            ("subject", &self.subject),
            ("patient", &self.patient),
        ];
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        let is_as_asked =
            members.into_iter().all(|(name, wanted)| wanted.is_none() || wanted.as_deref() == text(name));
        let time = text("time").and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let is_then = |time: jiff::Timestamp| {
            self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
        };
        is_as_asked && time.is_some_and(is_then)
    }
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
                let fits = arguments.fits(&record);
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
fn converted(encoder: &mut Encoder, line: &[u8], fits: bool) -> Option<Vec<u8>> {
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
fn unwritten(error: io::Error) -> Result<(), String> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(format!("the records can't be printed: {error}")),
    }
}
