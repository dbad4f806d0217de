//! Every kind of record, and every value that somebody may have made to break a line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::samples;
use super::*;

const FORMATS: [Format; 4] = [Format::Ocsf, Format::Fhir, Format::Cef, Format::Syslog];

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn encoded(format: Format, records: &[Record]) -> Vec<Option<String>> {
    let mut encoder = Encoder::new(format).with_header(syslog::Header::new(13, "gate-1.clinic.example"));
    let bytes = records.iter().map(|record| encoder.encode(record.clone()));
    bytes.map(|bytes| bytes.map(|bytes| String::from_utf8(bytes).expect("text"))).collect()
}

/// The outside checkers read this file; here it is seen that it is what the constructors make.
#[test]
fn the_checkers_get_every_kind_of_record() {
    let path = file("tests/it/operate/formats/records.jsonl");
    let text: String =
        samples::lines().iter().map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect();
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &text).expect("writable");
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == text,
        "the records' shape has changed: change docs/audit-record.schema.json too, then run this again with \
         UPDATE_EXPECTED=1"
    );
}

/// What the schema says of one object: its members' names, and of those that hold one, the schema of that.
fn undeclared(value: &Value, schema: &Value, root: &Value, at: &str, found: &mut BTreeSet<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(to) => root.pointer(to.trim_start_matches('#')).expect("what is referred to"),
        None => schema,
    };
    if let Some(items) = value.as_array() {
        items.iter().for_each(|item| undeclared(item, &schema["items"], root, at, found));
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        match schema["properties"].get(name) {
            Some(schema) => undeclared(value, schema, root, &at, found),
            None => _ = found.insert(at),
        }
    }
}

#[test]
fn every_member_of_every_record_is_in_the_published_schema() {
    let text = std::fs::read_to_string(file("docs/audit-record.schema.json")).expect("the schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    let mut found = BTreeSet::new();
    let mut events = BTreeSet::new();
    for line in samples::lines() {
        let record: Value = serde_json::from_slice(&line).expect("JSON");
        let event = record["event"].as_str().expect("an event");
        events.insert(event.to_owned());
        undeclared(&record, &schema["$defs"][event], &schema, event, &mut found);
    }
    assert!(found.is_empty(), "docs/audit-record.schema.json does not know {found:?}");
    let published = schema["oneOf"].as_array().expect("the kinds").iter();
    let published: BTreeSet<String> =
        published.map(|kind| kind["$ref"].as_str().expect("text").replace("#/$defs/", "")).collect();
    assert_eq!(published, events);
}

#[test]
fn each_format_has_a_place_for_what_happened() {
    let records = samples::records();
    for format in FORMATS {
        for (record, encoded) in records.iter().zip(encoded(format, &records)) {
            let is_own = matches!(record.event(), "signer" | "checkpoint")
                || record.event() == "segment" && record.text("why") != Some("quarantined");
            assert_eq!(encoded.is_none(), format == Format::Fhir && is_own, "{format:?} {}", record.line());
        }
    }
}

#[test]
fn the_same_records_give_the_same_bytes() {
    let records = samples::records();
    for format in FORMATS {
        assert_eq!(encoded(format, &records), encoded(format, &records));
    }
}

#[test]
fn intents_wait_in_bounded_memory() {
    let mut encoder = Encoder::new(Format::Cef);
    let intent = samples::records().remove(0);
    for number in 0..MOST_OPEN as u64 + 100 {
        let line = intent.line().replace(r#""seq":1,"#, &format!(r#""seq":{number},"#));
        encoder.encode(Record::read(line.as_bytes()).expect("a record"));
    }
    assert_eq!(encoder.open.len(), MOST_OPEN);
    // One that is another decision's is not told as this outcome's.
    let outcome = samples::records().remove(1);
    let other = outcome.line().replace("8a0001", "8a0009");
    let with_intent = |line: &str| {
        let mut encoder = Encoder::new(Format::Cef);
        encoder.encode(intent.clone());
        let line = encoder.encode(Record::read(line.as_bytes()).expect("a record")).expect("a line");
        String::from_utf8(line).expect("text").contains("cs4Label=patient")
    };
    assert!(with_intent(outcome.line()) && !with_intent(&other));
}

#[test]
fn the_documents_examples_are_what_is_made() {
    let text = std::fs::read_to_string(file("docs/audit.md")).expect("the document");
    let (_, section) = text.split_once("\n## Formats\n").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("the next section");
    let blocks = |language: &str| -> Vec<&str> {
        let start = format!("```{language}\n");
        let parts = section.split(start.as_str()).skip(1);
        parts.map(|part| part.split_once("\n```").expect("its end").0).collect()
    };
    let lines = blocks("jsonl");
    let records: Vec<Record> = lines[0]
        .lines()
        .inspect(|line| assert!(crate::audit::frame::is_whole(line.as_bytes())))
        .map(|line| Record::read(line.as_bytes()).expect("a record"))
        .collect();
    let made = |format| {
        let mut encoder = Encoder::new(format);
        let lines = records.iter().map(|record| encoder.encode(record.clone()).expect("an event"));
        String::from_utf8(lines.last().expect("one")).expect("text")
    };
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let (shown, text) = (blocks("json"), blocks("text"));
    assert_eq!(json(shown[0]), json(&made(Format::Ocsf)));
    assert_eq!(json(shown[1]), json(&made(Format::Fhir)));
    assert_eq!(text, [made(Format::Cef), made(Format::Syslog)]);
}

/// Reads a line of CEF as its specification says: the header's fields, then keys and values.
fn read_cef(line: &str) -> (Vec<String>, Vec<(String, String)>) {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while fields.len() < 8 {
        match letters.next().expect("eight fields") {
            '\\' => fields.last_mut().expect("one").push(letters.next().expect("an escape")),
            '|' => fields.push(String::new()),
            letter => fields.last_mut().expect("one").push(letter),
        }
    }
    // Each `=` that is not escaped ends a key, which began behind the last space.
    let rest: Vec<char> = letters.collect();
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut text = String::new();
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            '\\' => {
                at += 1;
                assert!(matches!(rest[at], '\\' | '=' | 'n' | 'r'), "{line}");
                text.push(if rest[at] == '=' { '\u{1}' } else { rest[at] });
            }
            '=' => {
                let key = text.rfind(' ').map_or(0, |space| space + 1);
                let name = text.split_off(key);
                if let Some((_, value)) = pairs.last_mut() {
                    *value = std::mem::take(&mut text);
                }
                text.clear();
                pairs.push((name, String::new()));
            }
            letter => text.push(letter),
        }
        at += 1;
    }
    pairs.last_mut().expect("one").1 = text;
    (fields, pairs)
}

/// Reads a message as RFC 5424 §6 says: the header, the parameters, the text.
fn read_syslog(line: &str) -> (Vec<String>, Vec<(String, String)>, String) {
    let (header, rest) = line.split_once('[').expect("structured data");
    let header: Vec<String> = header.trim_end().split(' ').map(str::to_owned).collect();
    let (id, mut rest) = rest.split_once(' ').expect("an element");
    assert_eq!(id, "wardgate@32473");
    let mut parameters = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("a parameter");
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next().expect("the value's end") {
                (_, '\\') => value.push(letters.next().expect("an escape").1),
                (at, '"') => break at + 1,
                (_, ']') => panic!("not escaped: {line}"),
                (_, letter) => value.push(letter),
            }
        };
        parameters.push((name.trim_start().to_owned(), value));
        rest = &after[end..];
        if let Some(text) = rest.strip_prefix(']') {
            return (header, parameters, text.trim_start().to_owned());
        }
    }
}

/// Every text of a record but its head's becomes this one.
fn with_texts(record: &Record, text: &str) -> Record {
    let mut members: Value = serde_json::from_str(record.line()).expect("JSON");
    fn replace(value: &mut Value, text: &str) {
        match value {
            Value::String(own) => *own = text.to_owned(),
            Value::Array(items) => items.iter_mut().for_each(|item| replace(item, text)),
            Value::Object(members) => members.values_mut().for_each(|member| replace(member, text)),
            _ => {}
        }
    }
    let keep = ["origin", "time", "event", "crc"];
    for (name, value) in members.as_object_mut().expect("an object") {
        if !keep.contains(&name.as_str()) {
            replace(value, text);
        }
    }
    Record::read(members.to_string().as_bytes()).expect("a record")
}

fn names(pairs: &[(String, String)]) -> Vec<&str> {
    let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "one name stands twice: {names:?}");
    names
}

/// One of each kind: that the others hold too does not need to be tried with every text.
static KINDS: std::sync::LazyLock<Vec<Record>> = std::sync::LazyLock::new(|| {
    let mut seen = BTreeSet::new();
    let mut records = samples::records();
    records
        .retain(|record| seen.insert((record.event().to_owned(), record.text("verdict").map(str::to_owned))));
    records
});

/// What no terminal and no reader of lines may get: C0, DEL, C1, the ends of lines and paragraphs, the turns of direction.
fn does_something(letter: char) -> bool {
    matches!(
        u32::from(letter),
        0..=0x1f | 0x7f..=0x9f | 0x2028..=0x202e | 0x2066..=0x2069 | 0xfeff
    )
}

fn holds(text: &str) {
    let records = &*KINDS;
    let hostile: Vec<Record> = records.iter().map(|record| with_texts(record, text)).collect();
    for format in FORMATS {
        for (line, record) in encoded(format, &hostile).into_iter().zip(&hostile) {
            let Some(line) = line else { continue };
            assert!(!line.contains(does_something), "{format:?} {line:?}");
            match format {
                Format::Cef => {
                    let plain = cef::line(&with_texts(record, "x"), None);
                    let (fields, pairs) = read_cef(&cef::line(record, None));
                    let (plain_fields, plain_pairs) = read_cef(&plain);
                    assert_eq!((&fields[..5], &names(&pairs)), (&plain_fields[..5], &names(&plain_pairs)));
                }
                Format::Syslog => {
                    let header = syslog::Header::default();
                    let (fields, parameters, text) = read_syslog(&syslog::line(record, None, &header));
                    let (_, plain, _) = read_syslog(&syslog::line(&with_texts(record, "x"), None, &header));
                    assert_eq!(names(&parameters), names(&plain));
                    assert_eq!(fields.len(), 6, "{fields:?}");
                    let told = (!text.is_empty()).then(|| Record::read(text.as_bytes()).expect("a record"));
                    assert!(told.is_none_or(|told| told.members().eq(record.members())));
                }
                Format::Ocsf | Format::Fhir => {
                    assert!(serde_json::from_str::<Value>(&line).is_ok_and(|event| event.is_object()));
                }
            }
        }
    }
}

#[test]
fn no_known_trick_ends_a_line_or_a_value() {
    for text in [
        "",
        " ",
        "\\",
        "\\\\",
        "=",
        "\\=",
        "a\\",
        "]",
        "\"",
        "\\\"",
        "\\]",
        "x\" forged=\"y",
        "x] [forged@1 y=\"1\"",
        "|",
        "\\|",
        "a|b|c|10|act=forged",
        "x act=forged",
        "x\nact=forged",
        "x\r\n<13>1 - - - - - -",
        "\u{85}<13>1",
        "\u{2028}x",
        "\u{202e}drac",
        "\0",
        "\u{7f}",
        "\u{1b}[2J",
        "\u{feff}",
        "💉 🏥",
        "é\u{301}",
        "${jndi:ldap://x}",
        "<script>",
    ] {
        holds(text);
    }
    holds(&"\\=|]\"é".repeat(3000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_text_ends_a_line_or_a_value(
        text in any::<String>(),
        quoted in "[ a-z=|\\\\\"\\]\\[\u{0}-\u{1f}\u{7f}-\u{9f}é💉\u{2028}\u{202e}]{0,60}",
    ) {
        holds(&text);
        holds(&quoted);
    }

    /// What is written is what is read: in RFC 5424 whole, in CEF but for the letters that no line may hold.
    #[test]
    fn a_value_is_read_as_it_was_recorded(text in "[ -~é💉]{1,60}") {
        let record = with_texts(&samples::records().remove(0), &text);
        let value = |pairs: Vec<(String, String)>, name: &str| pairs.into_iter().find(|(own, _)| own == name);
        let (_, parameters, _) = read_syslog(&syslog::line(&record, None, &syslog::Header::default()));
        prop_assert_eq!(value(parameters, "patient"), Some(("patient".to_owned(), text.clone())));
        let (_, pairs) = read_cef(&cef::line(&record, None));
        let read = value(pairs, "cs4").map(|(_, value)| value.replace('\u{1}', "="));
        prop_assert_eq!(read.as_deref().map(str::trim_end), Some(text.trim_end()));
    }
}

#[test]
fn what_is_no_record_is_not_read() {
    for line in [&b""[..], b"{}", b"[]", b"\xff", br#"{"seq":"1","origin":"o","time":"t","event":"e"}"#] {
        assert!(Record::read(line).is_none());
    }
}
