//! Servers that are named by a host and a port: Redis, Kafka, syslog.

use std::path::Path;

use reqwest::Url;

use crate::config::codes::Code;
use crate::config::compile::upstream_tls::client;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{Sink, Text};
use crate::config::settings::{KafkaSettings, RedisStreamSettings, SyslogSettings, SyslogTls};
use crate::config::values;

/// The port of syslog over TLS (RFC 5425 §4.1), of Redis, and of Kafka.
const SYSLOG_PORT: u16 = 6514;
const REDIS_PORT: u16 = 6379;
const KAFKA_PORT: u16 = 9092;

/// A stream of Redis.
pub(super) fn redis_stream(
    schema: &Sink,
    place: Place,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<RedisStreamSettings> {
    let ca_file = schema.ca_file.as_ref().map(|text| values::file(report, base_dir, text));
    let password_file = schema.password_file.as_ref().map(|text| values::file(report, base_dir, text));
    let username = schema.username.as_ref().map(|text| values::filled(report, text).into());
    let most_records = values::count(report, &schema.max_records, 1..=1_000_000_000);
    let key = schema.key.as_ref().map_or("wardgate:audit", |text| values::filled(report, text));
    let text = report.required(&schema.url, "url", place, "\"rediss://redis.example:6380\"")?;
    let url = Url::parse(&text.value).ok().filter(|url| {
        matches!(url.scheme(), "redis" | "rediss")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && is_bare(url)
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let database = url.as_ref().and_then(|url| match url.path().trim_start_matches('/') {
        "" => Some(0),
        number => number.parse().ok().filter(|number| (0..=1_000_000).contains(number)),
    });
    let help = "write `rediss://host:port`; user and password stand in `username` and `password_file`";
    let (url, database) = or_no_address(url.zip(database), text, help, report)?;
    Some(RedisStreamSettings {
        host: url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(REDIS_PORT),
        tls: url.scheme() == "rediss",
        database,
        username,
        password_file,
        ca_file,
        key: key.into(),
        most_records,
    })
}

/// A topic of Kafka.
pub(super) fn kafka(schema: &Sink, place: Place, report: &mut Report<'_>) -> Option<KafkaSettings> {
    let help = "write `host:port`, as in `kafka-1.example:9092`";
    let mut brokers = Vec::new();
    for text in schema.brokers.items() {
        if let Some((host, port)) = host_and_port(text, KAFKA_PORT, help, report) {
            brokers.push(if host.contains(':') {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            });
        }
    }
    let list = report.required(&schema.brokers, "brokers", place, "[\"kafka-1.example:9092\"]")?;
    if list.value.is_empty() {
        report.add(Code::BadSinkAddress, list, "no broker is named", help);
    }
    let topic = report.required(&schema.topic, "topic", place, "wardgate-audit")?;
    // Kafka's own rule for names of topics.
    let is_name = (1..=249).contains(&topic.value.len())
        && topic.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !matches!(topic.value.as_str(), "." | "..");
    if !is_name {
        let message = "this is no name of a topic";
        report.add(
            Code::BadSinkAddress,
            topic,
            message,
            "write letters, digits, `.`, `_` and `-`, 249 at most",
        );
    }
    (is_name && !brokers.is_empty()).then(|| KafkaSettings { brokers, topic: topic.value.as_str().into() })
}

/// A syslog server.
pub(super) fn syslog(
    schema: &Sink,
    place: Place,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<SyslogSettings> {
    let tls = schema.tls.as_ref().map(|tls| {
        let tls = &tls.value;
        let ca_file = tls.ca_file.as_ref().map(|text| values::file(report, base_dir, text));
        let server_name = tls.server_name.as_ref().map(|text| values::filled(report, text).into());
        let identity = match (tls.cert_file.as_ref(), tls.key_file.as_ref()) {
            (Some(certificate), Some(key)) => Some(client(report, base_dir, certificate, key)),
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => {
                let message = "a certificate and its key belong together";
                report.add(Code::MissingKey, one, message, "write both `cert_file` and `key_file`");
                None
            }
        };
        SyslogTls { ca_file, server_name, identity }
    });
    let text = report.required(&schema.address, "address", place, "\"siem.example:6514\"")?;
    let help = "write `host:port`, as in `siem.example:6514`";
    let (host, port) = host_and_port(text, SYSLOG_PORT, help, report)?;
    Some(SyslogSettings { host, port, tls })
}

fn host_and_port(text: &Text, default: u16, help: &str, report: &mut Report<'_>) -> Option<(String, u16)> {
    // With a scheme before it an address is read as a URL's: brackets, ports and all.
    let url = Url::parse(&format!("tcp://{}", text.value)).ok().filter(|url| {
        url.host_str().is_some_and(|host| !host.is_empty())
            && is_bare(url)
            && url.path().is_empty()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let url = or_no_address(url, text, help, report)?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    Some((host, url.port().unwrap_or(default)))
}

/// Whether it holds no user and no password.
pub(super) fn is_bare(url: &Url) -> bool {
    url.username().is_empty() && url.password().is_none()
}

/// Reports what is no address.
pub(super) fn or_no_address<T>(
    read: Option<T>,
    text: &Text,
    help: &str,
    report: &mut Report<'_>,
) -> Option<T> {
    if read.is_none() {
        // What is written there may hold a password.
        report.add(Code::BadSinkAddress, text, "this is not the address of a collector", help);
    }
    read
}
