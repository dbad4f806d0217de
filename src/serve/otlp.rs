//! Spans to a collector, as OTLP over HTTP in JSON (OpenTelemetry Protocol 1.x), beside the requests and never before
//! them: what does not fit into the queue is dropped and counted.
//!
//! Written here rather than with the OpenTelemetry SDK: that would bring some thirty crates for a dozen fields, exports on
//! threads of its own and does not say what it dropped (`docs/tracing.md`).

use std::borrow::Cow;
use std::time::Duration;

use reqwest::{Client, Url};
use serde_json::{Value as Json, json};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::config::settings::TraceSettings;
use crate::outgoing::{self, Authorities, ClientError};
use crate::request::trace_context::{TraceContext, hex};
use crate::telemetry::metrics;

/// Spans that wait; beyond, they are dropped. Some 2 MiB.
const QUEUE: usize = 4096;
/// The most spans in one message.
const BATCH: usize = 512;
/// How long spans are gathered for one message.
const GATHER: Duration = Duration::from_secs(1);
/// How long a collector may take for one message.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long the last spans may take when the gateway stops.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Which side of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request that came in.
    Server = 2,
    /// The one that went out.
    Client = 3,
}

/// A span's attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A name from the configuration or a closed list.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned().into())
    }
}

/// One finished span.
#[derive(Debug)]
pub struct Span {
    /// Its own place.
    pub context: TraceContext,
    /// The span that called.
    pub parent: Option<[u8; 8]>,
    /// The action's name.
    pub name: Box<str>,
    /// Which side.
    pub kind: Kind,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// What is told of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it failed.
    pub failed: bool,
}

enum Message {
    Span(Box<Span>),
    Flush(oneshot::Sender<()>),
}

/// Hands spans to a task that sends them.
pub struct Exporter {
    queue: mpsc::Sender<Message>,
    threshold: u64,
}

impl Exporter {
    /// Starts the sending task on `runtime`.
    ///
    /// # Errors
    /// The system has no certificate authorities for a collector behind TLS.
    pub fn start(settings: &TraceSettings, runtime: &tokio::runtime::Handle) -> Result<Self, ClientError> {
        let authorities = Authorities::of(&settings.collector, None);
        let client = outgoing::client(authorities, Some(DEADLINE), 1)?;
        let (queue, inbox) = mpsc::channel(QUEUE);
        let sender = Sender { client, collector: settings.collector.clone(), failing: false };
        runtime.spawn(sender.run(inbox));
        Ok(Self { queue, threshold: threshold(settings.sample) })
    }

    /// Whether a request whose trace begins here is recorded: by the random bits of its id, the same way everywhere.
    pub fn samples(&self, decision: Uuid) -> bool {
        // The end of a version 7 UUID is random (RFC 9562 §5.7); its beginning is the time.
        let [.., a, b, c, d] = decision.into_bytes();
        u64::from(u32::from_be_bytes([a, b, c, d])) < self.threshold
    }

    /// Queues a span, or drops and counts it.
    pub fn export(&self, span: Span) {
        if self.queue.try_send(Message::Span(Box::new(span))).is_err() {
            metrics().spans.with_label_values(&["dropped"]).inc();
        }
    }

    /// Sends what waits, and waits for that a moment. Not to be called on a runtime's own threads.
    pub fn flush(&self) {
        let (done, finished) = oneshot::channel();
        if self.queue.try_send(Message::Flush(done)).is_err() {
            return;
        }
        let waiting = std::thread::Builder::new().name("last spans".to_owned());
        let (told, heard) = std::sync::mpsc::sync_channel(1);
        let spawned = waiting.spawn(move || {
            let _ = finished.blocking_recv();
            let _ = told.send(());
        });
        if spawned.is_ok() {
            let _ = heard.recv_timeout(LAST_WORDS);
        }
    }

    /// One whose spans go nowhere.
    #[cfg(test)]
    pub fn discarding(sample: f64) -> Self {
        Self { queue: mpsc::channel(1).0, threshold: threshold(sample) }
    }
}

/// The part of 2^32 that is sampled.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a fraction of 2^32 from 0 to 1"
)]
fn threshold(sample: f64) -> u64 {
    const ALL: u64 = 1 << 32;
    (sample.clamp(0.0, 1.0) * ALL as f64) as u64
}

struct Sender {
    client: Client,
    collector: Url,
    failing: bool,
}

impl Sender {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut batch = Vec::new();
        let mut flushed = Vec::new();
        while let Some(first) = inbox.recv().await {
            take(first, &mut batch, &mut flushed);
            let gathered = tokio::time::Instant::now() + GATHER;
            while batch.len() < BATCH && flushed.is_empty() {
                match tokio::time::timeout_at(gathered, inbox.recv()).await {
                    Ok(Some(message)) => take(message, &mut batch, &mut flushed),
                    Ok(None) | Err(_) => break,
                }
            }
            if !batch.is_empty() {
                self.send(&batch).await;
                batch.clear();
            }
            for done in flushed.drain(..) {
                // Who asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    /// Sends a batch once: a collector that is down costs spans, never memory.
    async fn send(&mut self, batch: &[Span]) {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let body = message(batch).to_string();
        let sent = self
            .client
            .post(self.collector.clone())
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await;
        let fault = match sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status().as_u16())),
            Err(error) => Some(error.without_url().to_string()),
        };
        let result = if fault.is_none() { "exported" } else { "failed" };
        metrics().spans.with_label_values(&[result]).inc_by(count);
        match fault {
            Some(fault) if !self.failing => {
                tracing::warn!(
                    "spans can't be sent to the collector and are lost: {fault}; check `telemetry.traces.otlp` and the collector"
                );
                self.failing = true;
            }
            None if self.failing => {
                tracing::info!("the collector takes spans again");
                self.failing = false;
            }
            _ => {}
        }
    }
}

fn take(message: Message, batch: &mut Vec<Span>, flushed: &mut Vec<oneshot::Sender<()>>) {
    match message {
        Message::Span(span) => batch.push(*span),
        Message::Flush(done) => flushed.push(done),
    }
}

/// An `ExportTraceServiceRequest` in OTLP's JSON mapping: ids in hexadecimal, 64-bit numbers as strings.
fn message(batch: &[Span]) -> Json {
    let version = env!("CARGO_PKG_VERSION");
    let resource =
        [("service.name", Value::Text("wardgate".into())), ("service.version", Value::Text(version.into()))];
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes(&resource) },
        "scopeSpans": [{
            "scope": { "name": "wardgate", "version": version },
            "spans": batch.iter().map(span).collect::<Vec<_>>(),
        }],
    }] })
}

fn span(span: &Span) -> Json {
    json!({
        "traceId": hex(&span.context.trace_id),
        "spanId": hex(&span.context.span_id),
        "parentSpanId": span.parent.map(|parent| hex(&parent)).unwrap_or_default(),
        "flags": u8::from(span.context.sampled),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": attributes(&span.attributes),
        "status": if span.failed { json!({ "code": 2 }) } else { json!({}) },
    })
}

fn attributes(attributes: &[(&'static str, Value)]) -> Json {
    let value = |value: &Value| match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
    };
    attributes.iter().map(|(key, held)| json!({ "key": key, "value": value(held) })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_span() -> Span {
        let context = TraceContext { trace_id: [1; 16], span_id: [2; 8], sampled: true };
        Span {
            context,
            parent: Some([3; 8]),
            name: "results.read".into(),
            kind: Kind::Server,
            start: 1_700_000_000_000_000_001,
            end: 1_700_000_000_000_000_002,
            attributes: vec![("http.response.status_code", Value::Number(200))],
            failed: false,
        }
    }

    #[test]
    fn numbers_and_ids_are_written_as_the_protocol_maps_them() {
        let written = message(&[a_span()]);
        let span = &written["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "01010101010101010101010101010101");
        assert_eq!((&span["parentSpanId"], &span["kind"]), (&json!("0303030303030303"), &json!(2)));
        assert_eq!(span["endTimeUnixNano"], "1700000000000000002");
        assert_eq!(span["attributes"][0]["value"]["intValue"], "200");
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_counted() {
        let before = metrics().spans.with_label_values(&["dropped"]).get();
        let exporter = Exporter { queue: mpsc::channel(1).0, threshold: 0 };
        exporter.export(a_span());
        assert_eq!(metrics().spans.with_label_values(&["dropped"]).get(), before + 1, "nobody takes it");
        let (queue, _inbox) = mpsc::channel(1);
        let exporter = Exporter { queue, threshold: 0 };
        exporter.export(a_span());
        exporter.export(a_span());
        assert_eq!(metrics().spans.with_label_values(&["dropped"]).get(), before + 2, "the queue is full");
    }

    #[test]
    fn a_share_of_requests_is_sampled() {
        let exporter = |sample| Exporter { queue: mpsc::channel(1).0, threshold: threshold(sample) };
        let share = |sample| {
            let exporter = exporter(sample);
            (0..4000).filter(|_| exporter.samples(Uuid::now_v7())).count()
        };
        assert_eq!((share(0.0), share(1.0)), (0, 4000));
        // Six standard deviations to both sides.
        assert!((810..1190).contains(&share(0.25)));
    }
}
