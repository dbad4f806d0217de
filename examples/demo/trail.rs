//! The audit file: what the gateway wrote about one decision, and what it writes from now on.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a record may take; the gateway buffers those of low risk for a moment.
const PATIENCE: Duration = Duration::from_secs(2);

/// The audit file from a place on.
pub struct Trail {
    path: PathBuf,
    from: u64,
}

/// What was written about one request.
#[derive(Debug)]
pub struct Record {
    /// The intent to forward it, or the decision not to.
    pub decision: Value,
    /// What came of an intent.
    pub outcome: Option<Value>,
}

impl Trail {
    /// Everything that is written from now on.
    pub fn from_here(path: &Path) -> Self {
        let from = std::fs::metadata(path).map_or(0, |found| found.len());
        Self { path: path.to_owned(), from }
    }

    /// The records of a decision, by its id from the header `x-wardgate-decision`.
    pub async fn find(&self, id: &str) -> Result<Record, String> {
        let begun = Instant::now();
        loop {
            let patient = begun.elapsed() < PATIENCE;
            match self.look_for(id)? {
                Some(record) if record.is_whole() || !patient => return Ok(record),
                None if !patient => {
                    return Err(format!("{} has no record of decision {id}", self.path.display()));
                }
                _ => tokio::time::sleep(Duration::from_millis(25)).await,
            }
        }
    }

    fn look_for(&self, id: &str) -> Result<Option<Record>, String> {
        let lines = read_from(&self.path, self.from)?;
        let of_it = lines
            .lines()
            .filter(|line| line.contains(id))
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let (outcomes, decisions): (Vec<_>, Vec<_>) =
            of_it.partition(|event| text(event, "event") == "outcome");
        Ok(decisions
            .into_iter()
            .next()
            .map(|decision| Record { decision, outcome: outcomes.into_iter().next() }))
    }

    /// The decisions since the last call.
    pub fn news(&mut self) -> Result<Vec<Value>, String> {
        let text = read_from(&self.path, self.from)?;
        // A line without its end is still being written.
        let whole = text.rfind('\n').map_or("", |end| text.get(..=end).unwrap_or_default());
        self.from += u64::try_from(whole.len()).unwrap_or_default();
        let events = whole.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(events.filter(|event| event.get("decision").is_some()).collect())
    }
}

impl Record {
    fn is_whole(&self) -> bool {
        self.outcome.is_some() || text(&self.decision, "event") == "decision"
    }

    /// The verdict. A permit that could not be paid for was never carried out: the caller was asked for a new proof.
    pub fn verdict(&self) -> &str {
        match &self.outcome {
            Some(outcome) if text(outcome, "result") == "not_forwarded" => "challenge",
            _ => text(&self.decision, "verdict"),
        }
    }

    /// The reason for it.
    pub fn reason(&self) -> &str {
        let late = self.outcome.as_ref().map_or("", |outcome| text(outcome, "reason"));
        if late.is_empty() { text(&self.decision, "reason") } else { late }
    }

    /// The tier; empty where the request got no further than the routes.
    pub fn tier(&self) -> &str {
        text(&self.decision, "tier")
    }

    /// The lines, shortened to what a reader looks for first.
    pub fn lines(&self) -> Vec<String> {
        let decision = ["seq", "event", "verdict", "reason", "action", "tier", "patient"];
        let outcome = ["seq", "event", "intent", "result", "reason", "status"];
        let mut lines = vec![shorten(&self.decision, &decision)];
        lines.extend(self.outcome.iter().map(|event| shorten(event, &outcome)));
        lines
    }
}

/// A field's text, or nothing.
pub fn text<'v>(event: &'v Value, name: &str) -> &'v str {
    event.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn shorten(event: &Value, names: &[&str]) -> String {
    let field = |name: &&str| {
        let value = match event.get(*name)? {
            // Pseudonyms are long, and their beginnings tell them apart.
            Value::String(long) if long.len() > 32 => format!("\"{}…\"", long.get(..8).unwrap_or_default()),
            value => value.to_string(),
        };
        Some(format!("\"{name}\":{value}"))
    };
    format!("{{{}}}", names.iter().filter_map(field).collect::<Vec<_>>().join(","))
}

fn read_from(path: &Path, from: u64) -> Result<String, String> {
    let fault = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
    let mut file = File::open(path).map_err(fault)?;
    file.seek(SeekFrom::Start(from)).map_err(fault)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(fault)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
