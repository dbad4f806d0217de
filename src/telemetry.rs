//! Every metric's name, labels and help in one place, and the set-up of logs.
//!
//! Labels are bounded by the configuration (routes, tiers, issuers, upstreams) or by closed lists in this program;
//! none carries a value from a request.

use std::sync::LazyLock;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

/// One metric for each word of a closed list, looked up once and not with every request.
pub struct ByWord<M> {
    known: Vec<(&'static str, M)>,
    other: M,
}

impl<M> ByWord<M> {
    fn new(words: &[&'static str], of: impl Fn(&str) -> M) -> Self {
        Self { known: words.iter().map(|word| (*word, of(word))).collect(), other: of("other") }
    }

    /// The metric of a word; words that are not on the list share one.
    pub fn of(&self, word: &str) -> &M {
        self.known.iter().find(|(known, _)| *known == word).map_or(&self.other, |(_, metric)| metric)
    }
}

/// The gateway's metrics.
pub struct Metrics {
    registry: Registry,
    /// `wardgate_decisions_total{route,tier,verdict,reason}`
    pub decisions: IntCounterVec,
    /// `wardgate_request_duration_seconds{verdict}`: from the whole header section to the end of the answer.
    pub request_duration: ByWord<Histogram>,
    /// `wardgate_requests_in_flight`
    pub in_flight: IntGauge,
    /// `wardgate_unreadable_requests_total{reason}`
    pub unreadable: IntCounterVec,
    /// `wardgate_uncovered_requests_total{listener}`: no route matched.
    pub uncovered: IntCounterVec,
    /// `wardgate_upstream_responses_total{upstream,class}`
    pub upstream_responses: IntCounterVec,
    /// `wardgate_upstream_failures_total{upstream,kind}`
    pub upstream_failures: IntCounterVec,
    /// `wardgate_key_fetches_total{issuer,result}`
    pub key_fetches: IntCounterVec,
    /// `wardgate_keys_fetched_timestamp_seconds{issuer}`
    pub keys_fetched_at: IntGaugeVec,
    /// `wardgate_introspections_total{issuer,result}`
    pub introspections: IntCounterVec,
    /// `wardgate_token_cache_total{result}`
    pub token_cache: IntCounterVec,
    /// `wardgate_audit_records_total{event}`
    pub audit_records: ByWord<IntCounter>,
    /// `wardgate_audit_failures_total`
    pub audit_failures: IntCounter,
    /// `wardgate_audit_last_sequence`
    pub audit_sequence: IntGauge,
    /// `wardgate_proofs_total{result}`: single-use proofs spent, found spent, or unknown.
    pub proofs: IntCounterVec,
    /// `wardgate_spans_total{result}`: exported, failed with the collector, or dropped before it.
    pub spans: IntCounterVec,
    /// `wardgate_ready`: 1 when `/readyz` says yes.
    pub ready: IntGauge,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// The process's metrics.
pub fn metrics() -> &'static Metrics {
    &METRICS
}

impl Metrics {
    fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)
                .unwrap_or_else(|error| unreachable_metric(name, &error));
            register(&registry, Box::new(counters.clone()));
            counters
        };
        let counter = |name: &str, help: &str| {
            let counter =
                IntCounter::new(name, help).unwrap_or_else(|error| unreachable_metric(name, &error));
            register(&registry, Box::new(counter.clone()));
            counter
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help).unwrap_or_else(|error| unreachable_metric(name, &error));
            register(&registry, Box::new(gauge.clone()));
            gauge
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)
                .unwrap_or_else(|error| unreachable_metric(name, &error));
            register(&registry, Box::new(gauges.clone()));
            gauges
        };
        let histograms = |name: &str, help: &str, labels: &[&str]| {
            let buckets =
                vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
            let histograms = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)
                .unwrap_or_else(|error| unreachable_metric(name, &error));
            register(&registry, Box::new(histograms.clone()));
            histograms
        };
        let durations = histograms(
            "wardgate_request_duration_seconds",
            "Time from the request's headers to the end of its answer.",
            &["verdict"],
        );
        let records =
            counters("wardgate_audit_records_total", "Audit records appended, by event.", &["event"]);
        Self {
            decisions: counters(
                "wardgate_decisions_total",
                "Decisions by route, tier, verdict and reason.",
                &["route", "tier", "verdict", "reason"],
            ),
            request_duration: ByWord::new(&["permit", "challenge", "deny"], |verdict| {
                durations.with_label_values(&[verdict])
            }),
            in_flight: gauge("wardgate_requests_in_flight", "Requests that are being served now."),
            unreadable: counters(
                "wardgate_unreadable_requests_total",
                "Requests refused because they can be read in more than one way.",
                &["reason"],
            ),
            uncovered: counters(
                "wardgate_uncovered_requests_total",
                "Requests refused because no route matches them.",
                &["listener"],
            ),
            upstream_responses: counters(
                "wardgate_upstream_responses_total",
                "Answers of upstreams by status class.",
                &["upstream", "class"],
            ),
            upstream_failures: counters(
                "wardgate_upstream_failures_total",
                "Requests that got no usable answer from their upstream.",
                &["upstream", "kind"],
            ),
            key_fetches: counters(
                "wardgate_key_fetches_total",
                "Fetches of an issuer's keys by result.",
                &["issuer", "result"],
            ),
            keys_fetched_at: gauges(
                "wardgate_keys_fetched_timestamp_seconds",
                "When an issuer's keys were last fetched, in Unix seconds.",
                &["issuer"],
            ),
            introspections: counters(
                "wardgate_introspections_total",
                "Token introspections by result.",
                &["issuer", "result"],
            ),
            token_cache: counters(
                "wardgate_token_cache_total",
                "Look-ups in the cache of verified tokens.",
                &["result"],
            ),
            audit_records: ByWord::new(
                &["intent", "outcome", "decision", "unparsed", "started", "stopping"],
                |event| records.with_label_values(&[event]),
            ),
            audit_failures: counter(
                "wardgate_audit_failures_total",
                "Audit records that could not be appended; their requests were refused.",
            ),
            audit_sequence: gauge(
                "wardgate_audit_last_sequence",
                "The sequence number of the last audit record.",
            ),
            proofs: counters(
                "wardgate_proofs_total",
                "Single-use proofs by what became of them.",
                &["result"],
            ),
            spans: counters("wardgate_spans_total", "Trace spans by what became of them.", &["result"]),
            ready: gauge("wardgate_ready", "1 when the gateway is ready to serve, else 0."),
            registry,
        }
    }

    /// The metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory can't fail; a family that can't be encoded is left out rather than breaking the scrape.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

fn register(registry: &Registry, collector: Box<dyn prometheus::core::Collector>) {
    if let Err(error) = registry.register(collector) {
        tracing::error!(%error, "a metric could not be registered and will be missing");
    }
}

#[allow(clippy::panic, reason = "names and labels are constants of this file; its test builds them all")]
fn unreachable_metric(name: &str, error: &prometheus::Error) -> ! {
    panic!("the metric {name} is malformed: {error}")
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Starts logging to standard error; the level is taken from `WARDGATE_LOG`, else `info`.
///
/// The level is for Wardgate's own lines. Libraries log what they handle (targets, tokens, bodies), so of them only
/// warnings are let through, and of those that see requests nothing.
pub fn start_logs(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WARDGATE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let discreet = tracing_subscriber::filter::filter_fn(|line| is_discreet(line.target(), *line.level()));
    let registry = tracing_subscriber::registry().with(filter).with(discreet);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A second start (in tests) keeps the first subscriber.
    let _ = match format {
        LogFormat::Text => registry.with(layer).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
}

fn is_discreet(target: &str, level: tracing::Level) -> bool {
    let of_wing =
        |wing: &str| target.strip_prefix(wing).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    let sees_requests = [
        "pingora_proxy",
        "pingora_core::protocols",
        "pingora_core::apps",
        "hyper",
        "hyper_util",
        "reqwest",
        "h2",
        "log",
    ];
    of_wing("wardgate") || (level <= tracing::Level::WARN && !sees_requests.iter().any(|wing| of_wing(wing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_that_see_requests_are_not_heard() {
        use tracing::Level;
        assert!(is_discreet("wardgate::serve::proxy", Level::TRACE));
        assert!(is_discreet("pingora_core::services::listening", Level::WARN));
        assert!(!is_discreet("pingora_core::services::listening", Level::INFO));
        assert!(!is_discreet("pingora_proxy", Level::ERROR));
        assert!(!is_discreet("wardgate_like", Level::INFO));
    }

    #[test]
    fn every_metric_is_well_formed() {
        metrics().decisions.with_label_values(&["r", "low", "permit", "permitted"]).inc();
        metrics().request_duration.of("permit").observe(0.1);
        let text = metrics().render();
        assert!(text.contains(
            "wardgate_decisions_total{reason=\"permitted\",route=\"r\",tier=\"low\",verdict=\"permit\"} 1"
        ));
    }
}
