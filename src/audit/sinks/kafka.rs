//! Delivery to a topic of Kafka: one message for each record, keyed by its origin so that the records of one are in one
//! partition, in their order.
//!
//! A batch that fails ends its producer, and the next attempt has another one. What brokers append of each producer's messages
//! is always the first of them in a row (idempotence, one request at a time), so that the place where a record first stands is
//! behind that of the record before it, however many attempts are mixed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::failure::{Failure, Stopped};
use super::item::Item;
use crate::config::settings::KafkaSettings;

/// How long a batch may take, with the connection and all reports of its delivery.
const DEADLINE: Duration = Duration::from_secs(10);
/// The header that holds `origin:seq`.
const KEY: &str = "wardgate.record.key";

/// A topic.
pub(super) struct KafkaSink {
    settings: KafkaSettings,
    producer: Option<(FutureProducer<Watcher>, Watcher)>,
}

impl KafkaSink {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        Self { settings: settings.clone(), producer: None }
    }

    pub(super) async fn deliver(&mut self, items: &[Item]) -> Result<(), Stopped> {
        let (producer, watcher) = match self.producer.take() {
            Some(open) => open,
            None => open(&self.settings)?,
        };
        let sent = send(&producer, &watcher, &self.settings.topic, items).await;
        if sent.is_ok() {
            // Only one that has delivered all is used again.
            self.producer = Some((producer, watcher));
        } else {
            // It takes back what is not on its way, and joins its threads.
            let _ = tokio::task::spawn_blocking(move || drop(producer)).await;
        }
        sent
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        // Not on a thread that others' tasks run on.
        if let (Some(producer), Ok(runtime)) = (self.producer.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || drop(producer));
        }
    }
}

/// Hands over all, and waits for the report on each.
async fn send(
    producer: &FutureProducer<Watcher>,
    watcher: &Watcher,
    topic: &str,
    items: &[Item],
) -> Result<(), Stopped> {
    let until = Instant::now() + DEADLINE;
    let mut reports = Vec::with_capacity(items.len());
    let mut unsent = None;
    for item in items {
        let origin = item.key.split_once(':').map_or(item.key.as_str(), |(origin, _)| origin);
        let header = Header { key: KEY, value: Some(&item.key) };
        let record = FutureRecord::to(topic)
            .key(origin)
            .payload(item.body.as_slice())
            .timestamp(item.time.as_millisecond())
            .headers(OwnedHeaders::new_with_capacity(1).insert(header));
        match producer.send_result(record) {
            Ok(report) => reports.push(report),
            Err((error, _)) => {
                unsent = Some(of(&error, item));
                break;
            }
        }
    }
    let handed_over = reports.len();
    for (taken, (report, item)) in reports.into_iter().zip(items).enumerate() {
        let why = match timeout_at(until, report).await {
            Ok(Ok(Ok(_))) => continue,
            Ok(Ok(Err((error, _)))) => of(&error, item),
            Ok(Err(_)) => Failure::Unreachable,
            Err(_) => watcher.why(),
        };
        return Err(Stopped { taken, why });
    }
    unsent.map_or(Ok(()), |why| Err(Stopped { taken: handed_over, why }))
}

/// A producer. It connects by itself, once it has something to send.
fn open(settings: &KafkaSettings) -> Result<(FutureProducer<Watcher>, Watcher), Failure> {
    let watcher = Watcher::default();
    let options = [
        ("bootstrap.servers", &*settings.brokers.join(",")),
        ("client.id", "wardgate"),
        ("acks", "all"),
        ("enable.idempotence", "true"),
        // Whatever would leave a gap ends the producer.
        ("enable.gapless.guarantee", "true"),
        // A batch is one request, so that nothing is slower for it.
        ("max.in.flight.requests.per.connection", "1"),
        // Its own giving up would leave gaps; the deadline is ours.
        ("message.timeout.ms", "0"),
        ("request.timeout.ms", "5000"),
        ("socket.connection.setup.timeout.ms", "5000"),
        ("reconnect.backoff.max.ms", "1000"),
        // A topic that is not there is told as such within the deadline.
        ("topic.metadata.propagation.max.ms", "5000"),
        // No more than one batch waits in it, in any format.
        ("queue.buffering.max.kbytes", "16384"),
    ];
    let mut config = ClientConfig::new();
    for (name, value) in options {
        config.set(name, value);
    }
    let unusable = |error: KafkaError| Failure::Own(format!("its client can't be started: {error}"));
    let producer = config.create_with_context(watcher.clone()).map_err(unusable)?;
    Ok((producer, watcher))
}

/// What an error means; it holds nothing of what a broker wrote, but its code.
fn of(error: &KafkaError, item: &Item) -> Failure {
    use RDKafkaErrorCode as Code;
    let Some(code) = error.rdkafka_error_code() else { return Failure::Unintelligible };
    match code {
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve => Failure::Unreachable,
        Code::MessageTimedOut | Code::OperationTimedOut | Code::RequestTimedOut => Failure::TimedOut,
        Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition => {
            Failure::Own("its `topic` is not there: create it".to_owned())
        }
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => Failure::Own(
            "it lets nobody write to `topic` who does not sign in: allow it (`Write` and `IdempotentWrite`)"
                .to_owned(),
        ),
        Code::MessageSizeTooLarge | Code::InvalidMessage | Code::InvalidRecord | Code::PolicyViolation => {
            Failure::Refused { answer: format!("{code:?}"), key: item.key.clone() }
        }
        code => Failure::Said(format!("{code:?}")),
    }
}

/// What the client says of its connections, which stands in no report.
#[derive(Debug, Clone, Default)]
struct Watcher {
    /// The last that was said is that a connection broke or can't be made.
    is_gone: Arc<AtomicBool>,
    fatal: Arc<Mutex<Option<RDKafkaErrorCode>>>,
}

impl Watcher {
    /// Why there is no report in time.
    fn why(&self) -> Failure {
        let fatal = *self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        match fatal {
            Some(code) => Failure::Said(format!("{code:?}")),
            None if self.is_gone.load(Ordering::Relaxed) => Failure::Unreachable,
            None => Failure::TimedOut,
        }
    }
}

impl ClientContext for Watcher {
    /// It names addresses again and again; what matters is told as the sink's failure.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, _: &str) {
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve,
            ) => self.is_gone.store(true, Ordering::Relaxed),
            Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::RequestTimedOut) => {
                self.is_gone.store(false, Ordering::Relaxed);
            }
            Some(code @ (RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::Authentication)) => {
                *self.fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
            }
            _ => {}
        }
    }
}
