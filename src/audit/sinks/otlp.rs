//! Delivery to an OpenTelemetry collector: OTLP over HTTP, log records in JSON (OpenTelemetry Protocol 1.x; the encoding is
//! that of Protocol Buffers in JSON, where a number of 64 bits is a text).

use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::{Value, json};

use super::exchange::{Exchange, Judged, judge, read};
use super::failure::{Failure, Stopped};
use super::item::Item;
use crate::audit::formats::{Record, Weight};
use crate::config::settings::HttpEndpoint;

/// A collector.
pub(super) struct OtlpSink {
    exchange: Exchange,
}

impl OtlpSink {
    pub(super) fn open(server: &HttpEndpoint) -> Result<Self, String> {
        Ok(Self { exchange: Exchange::open(server)? })
    }

    pub(super) async fn deliver(&self, items: &[Item]) -> Result<(), Stopped> {
        let request = self.exchange.client.post(self.exchange.server.url.clone());
        let body = request_of(items).to_string();
        let answer = self.exchange.send(request.header(CONTENT_TYPE, "application/json").body(body)).await?;
        let status = answer.status();
        if judge(status) != Judged::Taken || rejected(&read(answer).await?)? > 0 {
            // It says how many it rejects, and not which: what it took of these comes again, known by its key.
            return Err(Failure::refused(status, items).into());
        }
        Ok(())
    }
}

/// An `ExportLogsServiceRequest`.
fn request_of(items: &[Item]) -> Value {
    let records: Vec<Value> = items.iter().map(log_record).collect();
    json!({ "resourceLogs": [{
        "resource": { "attributes": [attribute("service.name", "wardgate")] },
        "scopeLogs": [{
            "scope": { "name": "wardgate.audit", "version": env!("CARGO_PKG_VERSION") },
            "logRecords": records,
        }],
    }] })
}

/// The exact record as text: whoever has it can check it against the signed tree.
fn log_record(item: &Item) -> Value {
    let record = Record::read(&item.body);
    let (number, text) = severity(record.as_ref().map_or(Weight::Routine, Record::weight));
    let time = item.time.as_nanosecond().to_string();
    let mut attributes = vec![attribute("wardgate.record.key", &item.key)];
    let event = record.as_ref().map(Record::event).unwrap_or_default();
    attributes.push(attribute("event.name", &format!("wardgate.{event}")));
    json!({
        "timeUnixNano": time,
        // Seen by the gateway itself, when it happened: the same however often the record is sent.
        "observedTimeUnixNano": time,
        "severityNumber": number,
        "severityText": text,
        "body": { "stringValue": String::from_utf8_lossy(&item.body) },
        "attributes": attributes,
    })
}

/// `SeverityNumber`, and its short name.
fn severity(weight: Weight) -> (u8, &'static str) {
    match weight {
        Weight::Routine => (9, "INFO"),
        Weight::Notable => (10, "INFO2"),
        Weight::Suspect => (13, "WARN"),
        Weight::Fault => (17, "ERROR"),
        Weight::Grave => (21, "FATAL"),
    }
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// How many of them a collector says it has not taken. Its words for that are not looked at: they may repeat what was sent.
fn rejected(answer: &[u8]) -> Result<u64, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        partial_success: Option<Partial>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Partial {
        #[serde(default)]
        rejected_log_records: Value,
    }
    // Full success has no fields: some collectors answer with nothing at all.
    if answer.is_empty() {
        return Ok(0);
    }
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| Failure::Unintelligible)?;
    match answer.partial_success.map(|partial| partial.rejected_log_records) {
        None | Some(Value::Null) => Ok(0),
        Some(Value::Number(number)) => number.as_u64().ok_or(Failure::Unintelligible),
        Some(Value::String(text)) => text.parse().map_err(|_| Failure::Unintelligible),
        Some(_) => Err(Failure::Unintelligible),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_collector_rejects_is_counted_however_the_number_is_written() {
        let read = |text: &str| rejected(text.as_bytes());
        for text in ["", "{}", r#"{"partialSuccess":null}"#, r#"{"partialSuccess":{"errorMessage":"slow"}}"#]
        {
            assert_eq!(read(text), Ok(0), "{text}");
        }
        assert_eq!(read(r#"{"partialSuccess":{"rejectedLogRecords":"3"}}"#), Ok(3));
        assert_eq!(read(r#"{"partialSuccess":{"rejectedLogRecords":3}}"#), Ok(3));
        for text in ["<html>", "[]", r#"{"partialSuccess":{"rejectedLogRecords":"some"}}"#] {
            assert_eq!(read(text), Err(Failure::Unintelligible), "{text}");
        }
    }

    #[test]
    fn a_record_is_the_same_bytes_however_often_it_is_sent() {
        let line = r#"{"seq":1,"origin":"o","time":"2026-11-22T10:15:00.123456Z","v":1,"event":"sink_down","crc":"0"}"#;
        let item = Item {
            key: "o:1".to_owned(),
            time: "2026-11-22T10:15:00.123456Z".parse().expect("a time"),
            body: line.as_bytes().to_vec(),
        };
        let sent = log_record(&item);
        assert_eq!(sent, log_record(&item));
        assert_eq!(sent["body"]["stringValue"], line);
        assert_eq!(sent["timeUnixNano"], "1795342500123456000", "64 bits are a text");
    }
}
