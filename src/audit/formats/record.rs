//! One record of the journal as whoever converts it reads it.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// What every record has, and what is not told again among its members.
const HEAD: [&str; 6] = ["seq", "origin", "time", "v", "event", "crc"];

/// A record.
#[derive(Debug, Clone)]
pub struct Record {
    line: Box<str>,
    members: Map<String, Value>,
    sequence: u64,
    origin: Box<str>,
    event: Box<str>,
    time: Timestamp,
}

/// How much somebody should care: syslog's, CEF's and OCSF's severities come from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// As it should be.
    Routine,
    /// As it should be, and worth to know.
    Notable,
    /// Somebody tried what they may not, or nobody knows what came of it.
    Suspect,
    /// The gateway can't do its work.
    Fault,
    /// The trail itself is damaged.
    Grave,
}

impl Record {
    /// Reads a line of the journal, without its end. `None` for what is no record.
    pub fn read(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let members: Map<String, Value> = serde_json::from_str(line).ok()?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        Some(Self {
            sequence: members.get("seq")?.as_u64()?,
            origin: text("origin")?.into(),
            event: text("event")?.into(),
            time: text("time")?.parse().ok()?,
            line: line.into(),
            members,
        })
    }

    /// The line as it stands in the journal.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Its number.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The process that wrote it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The event's name.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// When it was written.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// When it was written, as the record says it (RFC 3339).
    pub fn time_text(&self) -> &str {
        self.text("time").unwrap_or_default()
    }

    /// What it is known by everywhere: `origin:seq`.
    pub fn key(&self) -> String {
        format!("{}:{}", self.origin, self.sequence)
    }

    /// A text of it.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str()
    }

    /// A number of it.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.members.get(name)?.as_u64()
    }

    /// What the decision was made from.
    pub fn input(&self, name: &str) -> Option<&Value> {
        self.members.get("input")?.get(name)
    }

    /// What was known of the caller.
    pub fn caller(&self, name: &str) -> Option<&str> {
        self.input("caller")?.get(name)?.as_str()
    }

    /// The caller's roles.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        let roles = self.input("caller").and_then(|caller| caller.get("roles")).and_then(Value::as_array);
        roles.into_iter().flatten().filter_map(Value::as_str)
    }

    /// All that it says beyond what every record has.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.members
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .filter(|(name, _)| !HEAD.contains(name))
    }

    /// What can be said in one word: texts and numbers. Lists and what they hold are left out.
    pub fn words(&self) -> impl Iterator<Item = (&str, String)> {
        self.members().filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text.clone())),
            Value::Number(number) => Some((name, number.to_string())),
            Value::Bool(is_so) => Some((name, is_so.to_string())),
            _ => None,
        })
    }

    /// Whether what an outcome tells of went as it should: the upstream answered, and not with an error.
    pub fn is_success(&self) -> bool {
        self.text("result") == Some("completed") && self.number("status").is_some_and(|status| status < 400)
    }

    /// How much somebody should care.
    pub fn weight(&self) -> Weight {
        let is = |name: &str, value: &str| self.text(name) == Some(value);
        match self.event() {
            "decision" if is("verdict", "permit") => Weight::Routine,
            "decision" if is("verdict", "challenge") => Weight::Notable,
            "decision" | "aggregated" | "operator_refused" => Weight::Suspect,
            "outcome" if is("result", "completed") || is("result", "client_gone") => Weight::Routine,
            "outcome" => Weight::Suspect,
            "session" if !is("result", "ok") => Weight::Suspect,
            "pseudonym_shred" | "pseudonym_epoch" if is("result", "failed") => Weight::Fault,
            "pseudonym_lookup" | "pseudonym_shred" | "delegation" => Weight::Notable,
            "unparsed" | "reloaded" | "shared_signal" | "retired" => Weight::Notable,
            "revocation" if is("result", "stored") => Weight::Notable,
            "store_outage" | "access_outage" | "journal_outage" if is("phase", "ended") => Weight::Notable,
            "upgrade" if !is("result", "failed") => Weight::Notable,
            "sink_up" => Weight::Notable,
            "revocation" | "store_outage" | "access_outage" | "journal_outage" | "journal_near_quota"
            | "sink_down" | "upgrade" | "reload_refused" => Weight::Fault,
            "break_glass"
                if is("what", "ended")
                    || is("what", "reviewed")
                    || is("what", "shown")
                    || is("what", "codes_issued")
                    || is("what", "restored") =>
            {
                Weight::Notable
            }
            "torn" | "detection" | "break_glass" => Weight::Suspect,
            "segment" if is("why", "quarantined") => Weight::Grave,
            "segment" if is("why", "sync_failed") => Weight::Fault,
            _ => Weight::Routine,
        }
    }

    /// What happened, for people; the same words for the same kind of event.
    pub fn title(&self) -> &'static str {
        match self.event() {
            "intent" => "Request permitted",
            "decision" => match self.text("verdict") {
                Some("permit") => "Request answered",
                Some("challenge") => "Request challenged",
                _ => "Request refused",
            },
            "outcome" => "Request ended",
            "session" => "Session changed",
            "unparsed" => "Connection refused",
            "aggregated" => "Refusals counted",
            "started" => "Gateway started",
            "stopping" => "Gateway stopping",
            "reloaded" => "Configuration changed",
            "reload_refused" => "Configuration refused",
            "revocation" => "Tokens revoked",
            "shared_signal" => "Security event received",
            "operator_refused" => "Operator refused",
            "break_glass" => match self.text("what") {
                Some("opened") => "Glass broken",
                Some("used") => "Broken glass used",
                Some("ended") => "Broken glass ended",
                Some("reviewed") => "Broken glass reviewed",
                Some("shown") => "Broken glass looked at",
                Some("overdue") => "Broken glass not reviewed in time",
                Some("suspended") => "Right to break the glass suspended",
                Some("codes_issued") => "Codes to break the glass issued",
                _ => "Right to break the glass restored",
            },
            "delegation" => match self.text("what") {
                Some("granted") => "Delegation granted",
                Some("reviewed") => "Delegation reviewed",
                Some("shown") => "Delegations looked at",
                _ => "Delegation ended",
            },
            "pseudonym_lookup" => "Pseudonyms looked up",
            "pseudonym_shred" => "Keys of pseudonyms destroyed",
            "pseudonym_epoch" => "Epoch of pseudonyms",
            "store_outage" => "State store outage",
            "access_outage" => "Access service outage",
            "journal_outage" => "Audit journal outage",
            "journal_near_quota" => "Audit delivery far behind",
            "sink_down" => "Audit delivery stopped",
            "sink_up" => "Audit delivery resumed",
            "upgrade" => "Gateway upgrade",
            "detection" => "Something stands out",
            "segment" => "Audit file begun",
            "retired" => "Audit file retired",
            "torn" => "Audit record torn",
            "signer" => "Audit signer changed",
            "checkpoint" => "Audit checkpoint",
            _ => "Other event",
        }
    }
}
