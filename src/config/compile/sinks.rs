//! Those to whom the audit trail is delivered.

mod servers;

use std::path::Path;

use reqwest::Url;

use self::servers::{is_bare, kafka, or_no_address, redis_stream, syslog};
use super::shared_signals::authorization_file;
use crate::audit::formats::Format;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{Audit, File, Sink, Text};
use crate::config::settings::{
    BatchShape, FhirSinkSettings, HttpEndpoint, HttpSinkSettings, RecordFormat, SinkKind, SinkSettings,
};
use crate::config::values;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Http,
    Otlp,
    RedisStream,
    Kafka,
    File,
    Stdout,
    Syslog,
}

const TYPES: [(&str, Type); 7] = [
    ("http", Type::Http),
    ("otlp", Type::Otlp),
    ("redis_stream", Type::RedisStream),
    ("kafka", Type::Kafka),
    ("file", Type::File),
    ("stdout", Type::Stdout),
    ("syslog", Type::Syslog),
];

const FORMATS: [(&str, RecordFormat); 5] = [
    ("wardgate", RecordFormat::Wardgate),
    ("ocsf", RecordFormat::Converted(Format::Ocsf)),
    ("fhir", RecordFormat::Converted(Format::Fhir)),
    ("cef", RecordFormat::Converted(Format::Cef)),
    ("syslog", RecordFormat::Converted(Format::Syslog)),
];

impl Type {
    /// The formats it carries, the first where nothing is said.
    fn formats(self) -> &'static [&'static str] {
        match self {
            Self::Http => &["wardgate", "ocsf", "fhir"],
            Self::Otlp => &["wardgate"],
            Self::Kafka => &["wardgate", "ocsf", "cef"],
            Self::RedisStream | Self::File | Self::Stdout => &["wardgate", "ocsf", "fhir", "cef", "syslog"],
            Self::Syslog => &["syslog", "cef", "ocsf", "wardgate"],
        }
    }
}

/// Compiles `audit.sinks`; `dir` is the trail's own directory.
pub(super) fn compile(
    file: &File,
    schema: Option<&Audit>,
    dir: &Path,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Vec<SinkSettings> {
    let leave = file.insecure.as_ref().and_then(|insecure| insecure.plain_audit_sinks.as_ref());
    let may_be_plain = leave.is_some_and(|leave| leave.value);
    let mut names = values::Names::default();
    let mut found: Vec<SinkSettings> = Vec::new();
    for item in schema.map(|audit| audit.sinks.items()).unwrap_or_default() {
        let report = &mut report.within("sink", item.value.name.text());
        let name = report.required(&item.value.name, "name", item.into(), "siem");
        if let Some(name) = name {
            values::name(report, name);
            // It is the name of a file.
            names.add_ignoring_case(report, "sink", name);
        }
        let Some(word) = report.required(&item.value.r#type, "type", item.into(), "http") else { continue };
        let Some(kind) = TYPES.iter().find(|(name, _)| *name == word.value).map(|(_, kind)| *kind) else {
            values::choice(report, &item.value.r#type, &TYPES, Type::Http);
            continue;
        };
        check_keys(&item.value, kind, &word.value, report);
        let format = format(&item.value, kind, &word.value, report);
        let settings = settings(kind, format, &item.value, item.into(), base_dir, report);
        if let (Some(SinkKind::File(path)), Some(text)) = (&settings, item.value.path.as_ref())
            && path.parent() == Some(dir)
        {
            // What is written to the trail would be delivered to the trail, and so on.
            let message = "this is the trail's own directory";
            report.add(Code::SinkSettings, text, message, "name a file outside of `audit.dir`");
        }
        if kind == Type::Kafka && !cfg!(feature = "kafka") {
            let message = "this program was built without Kafka";
            let help = "build it with `cargo build --release --features kafka`";
            report.add(Code::KafkaNotBuilt, word, message, help);
        }
        let address = item.value.url.as_ref().or(item.value.address.as_ref());
        let address = address.or_else(|| item.value.brokers.items().first());
        if let (Some(settings), Some(address)) = (&settings, address)
            && settings.is_plain()
            && !may_be_plain
        {
            let message = "audit records would go over the network unencrypted";
            let (encrypted, otherwise) = match kind {
                Type::Syslog => ("write `tls: {}`", "for a test"),
                Type::RedisStream => ("write `rediss://`", "for a test"),
                Type::Kafka => (
                    "Kafka is spoken to without TLS",
                    "where the network itself encrypts all the way to every broker",
                ),
                _ => ("write `https://`", "for a test"),
            };
            let help = format!("{encrypted}; {otherwise}, `insecure: {{ plain_audit_sinks: true }}`");
            report.add(Code::PlainSink, address, message, help);
        }
        if let (Some(name), Some(kind)) = (name, settings) {
            found.push(SinkSettings { name: name.value.as_str().into(), format, kind });
        }
    }
    if let Some(leave) = leave {
        if may_be_plain && found.iter().any(|sink| sink.kind.is_plain()) {
            let message = "audit records go over the network unencrypted";
            let help = "who sits between reads who did what, and the credentials of the collector";
            report.add(Code::PlainSinkAllowed, leave, message, help);
        } else {
            let message = "no audit record goes over the network unencrypted";
            report.add(Code::AllowanceNotNeeded, leave, message, "take the entry out");
        }
    }
    found
}

/// Reports keys that say nothing at this type.
fn check_keys(schema: &Sink, kind: Type, word: &str, report: &mut Report<'_>) {
    use Type::{File, Http, Kafka, Otlp, RedisStream, Syslog};
    let text = |given: Option<&Text>| given.map(Place::from);
    let keys: [(&str, Option<Place>, &[Type]); 10] = [
        ("url", text(schema.url.as_ref()), &[Http, Otlp, RedisStream]),
        ("batch", text(schema.batch.as_ref()), &[Http]),
        ("authorization_file", text(schema.authorization_file.as_ref()), &[Http, Otlp]),
        ("ca_file", text(schema.ca_file.as_ref()), &[Http, Otlp, RedisStream]),
        ("key", text(schema.key.as_ref()), &[RedisStream]),
        ("max_records", text(schema.max_records.as_ref()), &[RedisStream]),
        ("username", text(schema.username.as_ref()), &[RedisStream]),
        ("password_file", text(schema.password_file.as_ref()), &[RedisStream]),
        ("path", text(schema.path.as_ref()), &[File]),
        ("address", text(schema.address.as_ref()), &[Syslog]),
    ];
    let others: [(&str, Option<Place>, &[Type]); 3] = [
        ("brokers", schema.brokers.as_ref().map(Place::from), &[Kafka]),
        ("topic", text(schema.topic.as_ref()), &[Kafka]),
        ("tls", schema.tls.as_ref().map(Place::from), &[Syslog]),
    ];
    for (key, place, kinds) in keys.into_iter().chain(others) {
        if let Some(place) = place.filter(|_| !kinds.contains(&kind)) {
            let help =
                if (kind, key) == (Syslog, "ca_file") { "write it under `tls`" } else { "leave it out" };
            report.add(
                Code::SinkSettings,
                place,
                format!("`{key}` says nothing about a sink of type `{word}`"),
                help,
            );
        }
    }
}

fn format(schema: &Sink, kind: Type, word: &str, report: &mut Report<'_>) -> RecordFormat {
    let carried = kind.formats();
    let of = |name: &str| FORMATS.iter().find(|(word, _)| *word == name).map(|(_, format)| *format);
    let default = carried.first().and_then(|name| of(name)).unwrap_or(RecordFormat::Wardgate);
    let chosen = values::choice(report, &schema.format, &FORMATS, default);
    if let Some(text) = schema.format.as_ref()
        && of(&text.value).is_some()
        && !carried.contains(&text.value.as_str())
    {
        let message = format!("a sink of type `{word}` does not carry `{}`", text.value);
        let known: Vec<String> = carried.iter().map(|name| format!("`{name}`")).collect();
        report.add(Code::SinkSettings, text, message, format!("it carries {}", known.join(", ")));
    }
    chosen
}

fn settings(
    kind: Type,
    format: RecordFormat,
    schema: &Sink,
    place: Place,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<SinkKind> {
    match kind {
        Type::Http => http(format, schema, place, base_dir, report),
        Type::Otlp => {
            let example = "\"https://collector.example:4318/v1/logs\"";
            endpoint(example, schema, place, base_dir, report).map(SinkKind::Otlp)
        }
        Type::RedisStream => redis_stream(schema, place, base_dir, report).map(SinkKind::RedisStream),
        Type::Kafka => kafka(schema, place, report).map(SinkKind::Kafka),
        Type::File => {
            let path = report.required(&schema.path, "path", place, "/mnt/audit/copy.jsonl")?;
            Some(SinkKind::File(base_dir.join(values::filled(report, path))))
        }
        Type::Stdout => Some(SinkKind::Stdout),
        Type::Syslog => syslog(schema, place, base_dir, report).map(SinkKind::Syslog),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Batch {
    Lines(BatchShape),
    /// FHIR's.
    Single,
    Bundle,
}

const BATCHES: [(&str, Batch); 5] = [
    ("ndjson", Batch::Lines(BatchShape::Ndjson)),
    ("splunk", Batch::Lines(BatchShape::Splunk)),
    ("bulk", Batch::Lines(BatchShape::Bulk)),
    ("single", Batch::Single),
    ("bundle", Batch::Bundle),
];

fn http(
    format: RecordFormat,
    schema: &Sink,
    place: Place,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<SinkKind> {
    let is_fhir = format == RecordFormat::Converted(Format::Fhir);
    let default = if is_fhir { Batch::Single } else { Batch::Lines(BatchShape::Ndjson) };
    let batch = values::choice(report, &schema.batch, &BATCHES, default);
    if let Some(text) = schema.batch.as_ref()
        && matches!(batch, Batch::Lines(_)) == is_fhir
        && BATCHES.iter().any(|(word, _)| *word == text.value)
    {
        let message = format!("`{}` is no batch of this format", text.value);
        let help = "FHIR's are `single` and `bundle`, the others' `ndjson`, `splunk` and `bulk`";
        report.add(Code::SinkSettings, text, message, help);
    }
    let server = endpoint("\"https://collector.example/audit\"", schema, place, base_dir, report)?;
    if let Some(text) = schema.url.as_ref().filter(|_| is_fhir && server.url.query().is_some()) {
        let help = "write the server's base, as in `https://fhir.example/r4`";
        or_no_address::<()>(None, text, help, report);
    }
    Some(match batch {
        Batch::Lines(batch) => SinkKind::Http(HttpSinkSettings { server, batch }),
        Batch::Single => SinkKind::Fhir(FhirSinkSettings { server, is_bundled: false }),
        Batch::Bundle => SinkKind::Fhir(FhirSinkSettings { server, is_bundled: true }),
    })
}

fn endpoint(
    example: &str,
    schema: &Sink,
    place: Place,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<HttpEndpoint> {
    let authorization_file =
        schema.authorization_file.as_ref().map(|text| authorization_file(text, base_dir, report));
    let ca_file = schema.ca_file.as_ref().map(|text| values::file(report, base_dir, text));
    let text = report.required(&schema.url, "url", place, example)?;
    // A query is part of it, as in `_bulk?filter_path=…`.
    let url = Url::parse(&text.value).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && is_bare(url) && url.fragment().is_none()
    });
    let help = "write `https://host/path`, without user and password: those belong into `authorization_file`";
    let url = or_no_address(url, text, help, report)?;
    Some(HttpEndpoint { url, authorization_file, ca_file })
}
