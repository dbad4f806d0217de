//! `wardgate audit query`.

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::Value;

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
    for trail in trails.values() {
        let stopped = trail
            .lines(|_, _, line| {
                let fits = serde_json::from_slice(line).is_ok_and(|record| arguments.fits(&record));
                if !fits {
                    return ControlFlow::Continue(());
                }
                match out.write_all(line).and_then(|()| out.write_all(b"\n")) {
                    Ok(()) => ControlFlow::Continue(()),
                    // Whoever reads has enough, as `head` has.
                    Err(error) => ControlFlow::Break(error),
                }
            })
            .map_err(|error| format!("the trail can't be read: {error}"))?;
        if stopped.is_some() {
            return Ok(());
        }
    }
    out.flush().or(Ok(()))
}
