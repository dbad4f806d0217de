//! The Syslog Protocol: one message (RFC 5424), without the length that stands before it in a stream (RFC 5425 §4.3).

use std::fmt::Write as _;

use super::{Record, Weight, escaped, plain};

/// The element that holds what the record says. 32473 is the number that is kept for documentation (RFC 5612): the
/// project has none of its own.
const ELEMENT: &str = "wardgate@32473";

/// A parameter's value that is longer is cut, in bytes.
const MOST_VALUE: usize = 1024;

/// A record that is longer does not become the message: many receivers cut at 8 KiB (RFC 5425 §4.3.1).
const MOST_MESSAGE: usize = 6 * 1024;

/// What a message says of its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    facility: u8,
    hostname: String,
}

impl Default for Header {
    /// Facility 13, the log audit; no host's name.
    fn default() -> Self {
        Self::new(13, "")
    }
}

impl Header {
    /// With a facility from 0 to 23 (RFC 5424 §6.2.1), and the host's name.
    pub fn new(facility: u8, hostname: &str) -> Self {
        Self { facility: facility.min(23), hostname: printable(hostname, 255) }
    }
}

/// The record as a message; an outcome with its intent. The message's text is the record as it stands in the journal.
pub fn line(record: &Record, intent: Option<&Record>, header: &Header) -> String {
    let priority = u16::from(header.facility) * 8 + severity(record.weight());
    let mut line = format!(
        "<{priority}>1 {} {} wardgate {} {} [{ELEMENT} record=\"",
        printable(record.time_text(), 32),
        header.hostname,
        printable(record.origin(), 128),
        printable(record.event(), 32),
    );
    value(&record.key(), &mut line);
    line.push('"');
    let of_intent =
        intent.into_iter().flat_map(Record::words).filter(|(name, _)| record.text(name).is_none());
    for (name, text) in record.words().chain(of_intent.filter(|(name, _)| *name != "reason")) {
        let _ = write!(line, " {}=\"", parameter(name));
        value(&text, &mut line);
        line.push('"');
    }
    line.push(']');
    if record.line().len() <= MOST_MESSAGE {
        line.push(' ');
        line.push_str(&escaped(record.line()));
    }
    line
}

/// RFC 5424 §6.2.1.
fn severity(weight: Weight) -> u16 {
    match weight {
        Weight::Routine => 6,
        Weight::Notable => 5,
        Weight::Suspect => 4,
        Weight::Fault => 3,
        Weight::Grave => 2,
    }
}

/// Printable ASCII without spaces, at most so many; `-` where nothing is left.
fn printable(text: &str, most: usize) -> String {
    let kept: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if kept.is_empty() { "-".to_owned() } else { kept }
}

/// A parameter's name: printable ASCII but `=`, `]` and `"`, at most 32 (§6.3.3).
fn parameter(name: &str) -> String {
    let kept: String =
        name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '_').take(32).collect();
    if kept.is_empty() { "other".to_owned() } else { kept }
}

/// §6.3.3: `"`, `\` and `]` are escaped, nothing else is.
fn value(text: &str, line: &mut String) {
    for letter in plain(text, MOST_VALUE).chars() {
        if matches!(letter, '"' | '\\' | ']') {
            line.push('\\');
        }
        line.push(letter);
    }
}
