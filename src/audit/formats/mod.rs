//! The journal's records in the formats of others: OCSF, FHIR R4 AuditEvent, CEF and RFC 5424.
//!
//! Pure: the same records give the same bytes, whichever version of the program converts them and how often, so that whoever
//! gets one twice can tell. Nothing is said that the record does not say: persons and patients stay pseudonyms.

pub mod cef;
pub mod fhir;
pub mod ocsf;
mod record;
pub mod syslog;

use std::collections::BTreeMap;

use serde_json::Value;

pub use record::{Record, Weight};

/// So many intents at most wait for their outcome in memory; the oldest is forgotten first.
const MOST_OPEN: usize = 16 * 1024;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Format {
    /// Open Cybersecurity Schema Framework 1.8, one JSON object.
    Ocsf,
    /// HL7 FHIR R4 AuditEvent, one JSON object.
    Fhir,
    /// ArcSight Common Event Format, one line.
    Cef,
    /// The Syslog Protocol (RFC 5424), one message.
    Syslog,
}

/// Converts the records of one trail, in their order.
///
/// An outcome says what came of its intent and nothing else: it is told with the intent before it, where that was seen.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    header: syslog::Header,
    open: BTreeMap<(Box<str>, u64), Record>,
}

impl Encoder {
    /// For one format.
    pub fn new(format: Format) -> Self {
        Self { format, header: syslog::Header::default(), open: BTreeMap::new() }
    }

    /// With what a syslog message says of its sender.
    #[must_use]
    pub fn with_header(mut self, header: syslog::Header) -> Self {
        self.header = header;
        self
    }

    /// One record as one object or line, without a line's end; `None` where the format has no place for it: the journal's
    /// own business in FHIR.
    pub fn encode(&mut self, record: Record) -> Option<Vec<u8>> {
        let intent = self.intent_of(&record);
        let intent = intent.as_ref();
        let encoded = match self.format {
            Format::Ocsf => Some(escaped(&ocsf::event(&record, intent).to_string())),
            Format::Fhir => fhir::audit_event(&record, intent).map(|event| event.to_string()),
            Format::Cef => Some(cef::line(&record, intent)),
            Format::Syslog => Some(syslog::line(&record, intent, &self.header)),
        };
        self.keep(record);
        encoded.map(String::into_bytes)
    }

    /// A record that is not to be converted, but may be the intent of one that is.
    pub fn pass(&mut self, record: Record) {
        self.intent_of(&record);
        self.keep(record);
    }

    fn intent_of(&mut self, record: &Record) -> Option<Record> {
        let number = record.number("intent").filter(|_| record.event() == "outcome")?;
        let intent = self.open.remove(&(record.origin().into(), number))?;
        (intent.text("decision") == record.text("decision")).then_some(intent)
    }

    fn keep(&mut self, record: Record) {
        if record.event() != "intent" {
            return;
        }
        if self.open.len() >= MOST_OPEN {
            self.open.pop_first();
        }
        self.open.insert((record.origin().into(), record.sequence()), record);
    }
}

/// Sets a member where there is something to set.
fn set(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(name.to_owned(), value.into());
    }
}

/// Whether a letter is none: a control, a line's end of any kind, or one that turns the direction of what follows.
fn is_hostile(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The letter that stands for one that must not appear.
const REPLACEMENT: char = '\u{fffd}';

/// JSON in which nothing but escapes stands for such letters: in JSON they stand in texts only.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_hostile(letter) {
            // All of them are in the Basic Multilingual Plane.
            escaped.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

/// A text in which no letter does anything; at most so many bytes of it, and `…` where there were more.
fn plain(text: &str, most: usize) -> String {
    let kept = text.get(..text.floor_char_boundary(most)).unwrap_or_default();
    let mut plain: String =
        kept.chars().map(|letter| if is_hostile(letter) { REPLACEMENT } else { letter }).collect();
    if kept.len() < text.len() {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
