//! ArcSight Common Event Format (CEF 0): `CEF:0|vendor|product|version|event|title|severity|key=value …`.

use std::fmt::Write as _;

use super::{REPLACEMENT, Record, Weight, is_hostile, plain};

/// A value that is longer is cut, in bytes.
const MOST_VALUE: usize = 1023;

/// Where the format has a key for what the record says. The rest gets keys of its own: `wardgateIssuer`.
const KEYS: [(&str, &str); 14] = [
    ("verdict", "act"),
    ("reason", "reason"),
    ("result", "outcome"),
    ("method", "requestMethod"),
    ("subject", "suid"),
    ("listener", "deviceFacility"),
    ("upstream", "destinationServiceName"),
    ("response_bytes", "out"),
    ("count", "cnt"),
    ("action", "cs1"),
    ("template", "cs2"),
    ("tier", "cs3"),
    ("patient", "cs4"),
    ("decision", "cs5"),
];

/// What the numbered ones hold.
const LABELS: [(&str, &str); 5] =
    [("cs1", "action"), ("cs2", "template"), ("cs3", "tier"), ("cs4", "patient"), ("cs5", "decision")];

/// The record as a line without its end; an outcome with its intent.
pub fn line(record: &Record, intent: Option<&Record>) -> String {
    let mut line = String::from("CEF:0|Wardgate|Wardgate|");
    // The version of the records' shape: the program's says nothing of what wrote them.
    for field in [&crate::audit::event::VERSION.to_string(), record.event(), record.title()] {
        header(field, &mut line);
    }
    header(severity(record.weight()), &mut line);
    let _ = write!(line, "rt={} externalId=", record.time().as_millisecond());
    value(&record.key(), &mut line);
    line.push_str(" deviceExternalId=");
    value(record.origin(), &mut line);
    let of_intent =
        intent.into_iter().flat_map(Record::words).filter(|(name, _)| record.text(name).is_none());
    for (name, text) in record.words().chain(of_intent.filter(|(name, _)| *name != "reason")) {
        let key = KEYS.iter().find(|(own, _)| *own == name).map(|(_, key)| *key);
        if let Some((key, label)) = LABELS.iter().find(|(labelled, _)| Some(*labelled) == key) {
            let _ = write!(line, " {key}Label={label}");
        }
        line.push(' ');
        match key {
            Some(key) => line.push_str(key),
            None => own_key(name, &mut line),
        }
        line.push('=');
        value(&text, &mut line);
    }
    line
}

/// 0 to 10; from 7 on it is high, from 9 on very high.
fn severity(weight: Weight) -> &'static str {
    match weight {
        Weight::Routine => "1",
        Weight::Notable => "3",
        Weight::Suspect => "5",
        Weight::Fault => "7",
        Weight::Grave => "9",
    }
}

/// A field of the header, with the bar that ends it.
fn header(field: &str, line: &mut String) {
    for letter in plain(field, MOST_VALUE).chars() {
        if matches!(letter, '|' | '\\') {
            line.push('\\');
        }
        line.push(letter);
    }
    line.push('|');
}

fn value(text: &str, line: &mut String) {
    // Cut first, so that no escape is.
    let kept = text.get(..text.floor_char_boundary(MOST_VALUE)).unwrap_or_default();
    for letter in kept.chars() {
        match letter {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\\' | '=' => line.extend(['\\', letter]),
            _ if is_hostile(letter) => line.push(REPLACEMENT),
            _ => line.push(letter),
        }
    }
    if kept.len() < text.len() {
        line.push('…');
    }
}

/// `response_code` becomes `wardgateResponseCode`; keys are letters and digits only.
fn own_key(name: &str, line: &mut String) {
    line.push_str("wardgate");
    for word in name.split(|letter: char| !letter.is_ascii_alphanumeric()) {
        let mut letters = word.chars();
        line.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        line.push_str(letters.as_str());
    }
}
