//! The audit trail is delivered to Kafka: librdkafka's own cluster of three brokers, which speaks the protocol over TCP. It
//! keeps the newest 5 MiB of each partition, so that what is there is read all the time.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::Value;
use wardgate::audit::formats::Format;
use wardgate::config::settings::{KafkaSettings, RecordFormat, SinkKind};

use super::sinks::{LONG, Running, assert_all_came, key, recorded, run_with};
use super::{JSON, PAY, READ, proofs, setup};
use crate::support::{Recorder, Signer, eventually, http};

pub(super) const TOPIC: &str = "clinic.audit";
const PARTITIONS: i32 = 4;
const BROKERS: std::ops::RangeInclusive<i32> = 1..=3;

/// One message.
#[derive(Debug, Clone)]
struct Taken {
    partition: i32,
    key: String,
    record_key: String,
    body: Vec<u8>,
}

pub(super) struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    read: Arc<Mutex<Vec<Taken>>>,
    is_over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Cluster {
    pub(super) fn start() -> Self {
        let mock = MockCluster::new(3).expect("brokers");
        mock.create_topic(TOPIC, PARTITIONS, 3).expect("a topic");
        let read = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let reader = std::thread::spawn({
            let (read, is_over, brokers) =
                (Arc::clone(&read), Arc::clone(&is_over), mock.bootstrap_servers());
            move || read_all(&brokers, &read, &is_over)
        });
        Self { mock, read, is_over, reader: Some(reader) }
    }

    pub(super) fn brokers(&self) -> Vec<String> {
        self.mock.bootstrap_servers().split(',').map(str::to_owned).collect()
    }

    fn sink(&self) -> SinkKind {
        SinkKind::Kafka(KafkaSettings { brokers: self.brokers(), topic: TOPIC.into() })
    }

    fn messages(&self) -> Vec<Taken> {
        self.read.lock().expect("not poisoned").clone()
    }

    pub(super) fn count(&self) -> usize {
        self.read.lock().expect("not poisoned").len()
    }

    /// The records that are there, each once, in the order in which each first came.
    pub(super) fn kept(&self) -> Vec<Value> {
        let mut seen = HashSet::new();
        let records = self.messages().into_iter().map(|message| {
            let record: Value = serde_json::from_slice(&message.body).expect("JSON");
            assert_eq!(
                (message.key.as_str(), message.record_key),
                (record["origin"].as_str().expect("text"), key(&record))
            );
            record
        });
        records.filter(|record| seen.insert(key(record))).collect()
    }

    fn down(&self) {
        for broker in BROKERS {
            self.mock.broker_down(broker).expect("down");
        }
    }

    fn up(&self) {
        for broker in BROKERS {
            self.mock.broker_up(broker).expect("up");
        }
    }

    fn delay(&self, delay: Duration) {
        for broker in BROKERS {
            self.mock.broker_round_trip_time(broker, delay).expect("delayed");
        }
    }

    fn lead(&self, broker: i32) {
        for partition in 0..PARTITIONS {
            self.mock.partition_leader(TOPIC, partition, Some(broker)).expect("a leader");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn read_all(brokers: &str, read: &Mutex<Vec<Taken>>, is_over: &AtomicBool) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "50")
        .set("fetch.wait.max.ms", "50")
        .set("fetch.error.backoff.ms", "20")
        .create()
        .expect("a consumer");
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(TOPIC, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&partitions).expect("assigned");
    while !is_over.load(Ordering::Relaxed) {
        // While brokers are away there are errors, and then it goes on.
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.expect("there").to_vec()).expect("text");
        let header = message.headers().expect("headers").get(0);
        assert_eq!(header.key, "wardgate.record.key");
        read.lock().expect("not poisoned").push(Taken {
            partition: message.partition(),
            key: text(message.key()),
            record_key: text(header.value),
            body: message.payload().expect("a record").to_vec(),
        });
    }
}

/// All that was recorded is there, each origin in one partition and in its order.
fn assert_all_there(cluster: &Cluster, running: &Running) {
    let all = recorded(running.dir.path()).len();
    let distinct =
        || cluster.messages().into_iter().map(|message| message.record_key).collect::<HashSet<_>>();
    let until = Instant::now() + LONG / 2;
    while distinct().len() < all && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_all_came(running.dir.path(), &cluster.kept());
    let mut partitions = HashMap::new();
    for message in cluster.messages() {
        let partition = *partitions.entry(message.key).or_insert(message.partition);
        assert_eq!(partition, message.partition, "one partition for an origin");
    }
}

fn outage(count: usize) {
    let cluster = Cluster::start();
    let running = run_with(cluster.sink(), RecordFormat::Wardgate);
    let is_told = |why: &str| running.sinks.trouble().iter().any(|trouble| trouble.contains(why));
    let distinct =
        || cluster.messages().iter().map(|message| &message.record_key).collect::<HashSet<_>>().len();
    running.append(count / 4);
    eventually("some came", LONG, || cluster.count() > 10);

    // They take what they get, and say so too late.
    cluster.delay(Duration::from_secs(15));
    running.append(count / 4);
    eventually("it is told", LONG, || !running.sinks.trouble().is_empty());
    cluster.delay(Duration::ZERO);

    cluster.down();
    running.append(count / 4);
    eventually("it is told", LONG, || is_told("can't be reached"));
    cluster.up();

    // They answer that they can't now, and leaders change, while records come.
    let before = distinct();
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    for turn in 0..6 {
        cluster.mock.request_errors(RDKafkaApiKey::Produce, &errors);
        cluster.lead(turn % 3 + 1);
        running.append(count / 24);
        eventually("it goes on", LONG * 2, || distinct() > before + turn as usize * count / 24 / 2);
    }
    // What fails once while it stops is left for the next start.
    eventually("all come", LONG * 4, || distinct() > count / 4 * 3 + count / 24 * 6);
    running.finish();
    assert_all_there(&cluster, &running);
    assert!(
        cluster.count() > recorded(running.dir.path()).len(),
        "what was acknowledged too late came twice"
    );
}

#[test]
fn nothing_is_lost_when_brokers_are_slow_gone_or_change() {
    outage(2_400);
}

/// 10 minutes at 200 records a second.
#[test]
#[ignore = "a soak: `make soak`"]
fn soak_nothing_is_lost_in_a_long_outage_of_kafka() {
    outage(120_000);
}

#[test]
fn a_record_that_is_refused_is_named_and_a_topic_that_is_closed_is_told() {
    let cluster = Cluster::start();
    let running = run_with(cluster.sink(), RecordFormat::Wardgate);
    running.append(20);
    eventually("it comes", LONG, || cluster.count() > 20);
    let is_told = |why: &str| running.sinks.trouble().iter().any(|trouble| trouble.contains(why));
    let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD; 64];
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &refusals);
    running.append(1);
    eventually("the record is named", LONG, || is_told("record o:2") && is_told("with InvalidRecord"));
    cluster.mock.clear_request_errors(RDKafkaApiKey::Produce);
    let before = cluster.count();
    eventually("the rest comes", LONG, || cluster.count() > before);
    let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 64];
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &refusals);
    running.append(1);
    eventually("the permission is named", LONG, || is_told("IdempotentWrite"));
    cluster.mock.clear_request_errors(RDKafkaApiKey::Produce);
    running.finish();
    assert_all_there(&cluster, &running);
}

#[test]
fn in_another_format_the_key_is_the_same() {
    let cluster = Cluster::start();
    let running = run_with(cluster.sink(), RecordFormat::Converted(Format::Ocsf));
    running.append(200);
    running.finish();
    let keys = recorded(running.dir.path());
    eventually("all come", LONG, || cluster.count() >= keys.len());
    for message in cluster.messages() {
        let event: Value = serde_json::from_slice(&message.body).expect("JSON");
        assert_eq!(event["metadata"]["uid"], message.record_key);
        assert!(keys.contains(&message.record_key));
    }
}

#[test]
fn a_gateway_delivers_to_it_and_may_wait_for_it() {
    let cluster = Cluster::start();
    let (upstream, signer) = (Recorder::start(), Signer::new());
    let setup = setup(upstream.address, &signer, |text| {
        let brokers: Vec<String> =
            cluster.mock.bootstrap_servers().split(',').map(|broker| format!("\"{broker}\"")).collect();
        let audit = format!(
            "audit: {{ dir: ./audit, sinks: [{{ name: bus, type: kafka, brokers: [{}], topic: {TOPIC} }}] }}
insecure: {{ plain_audit_sinks: true }}
tiers:
  - {{ name: low, assurance: aal1, audit: buffered }}
  - {{ name: moderate, assurance: aal1, audit: written }}
  - {{ name: high, assurance: aal1, audit: remote }}
  - {{ name: critical, assurance: aal2, audit: synced, max_age: 60s, each_action_needs_new_proof: true }}",
            brokers.join(", ")
        );
        text.replace("audit: { dir: ./audit }", &audit)
    });
    let mut gateway = setup.start();
    let token = proofs(&gateway, &signer, 1).remove(0);
    let ask = |method: &str, target: &str, body: &[u8]| {
        let headers = [("Authorization", token.as_str()), JSON];
        http::send(gateway.address, method, target, &headers, body).expect("an answer").status
    };
    assert_eq!(ask("GET", READ, b""), 200);
    assert_eq!(ask("POST", PAY, b"{}"), 200);
    let is_pay = |record: &Value| record["event"] == "intent" && record["action"] == "payment.pay";
    eventually("the intent is there", LONG, || cluster.kept().iter().any(is_pay));
    cluster.down();
    assert_eq!(ask("POST", PAY, b"{}"), 503, "nobody else has its intent");
    assert_eq!(ask("GET", READ, b""), 200, "the others go on");
    cluster.up();
    eventually("it is taken again", LONG, || ask("POST", PAY, b"{}") == 200);
    gateway.signal("TERM");
    gateway.wait(LONG);
    let dir = gateway.dir.path().join("audit");
    let all = recorded(&dir).len();
    eventually("all are read", LONG, || cluster.kept().len() >= all);
    assert_all_came(&dir, &cluster.kept());
    assert_eq!(cluster.kept().iter().filter(|record| record["event"] == "stopping").count(), 1);
}
