//! Every metric's name, labels and help in one place.
//!
//! Labels are bounded by the configuration (routes, tiers, issuers, upstreams) or by closed lists in this program;
//! none carries a value from a request.

mod definitions;
mod logs;

use std::sync::LazyLock;

use prometheus::{
    Encoder as _, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

pub use logs::{LogFormat, start_logs};

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
    /// `wardgate_upstream_endpoint_healthy{upstream,endpoint}`: 1 where the endpoint gets requests.
    pub endpoint_healthy: IntGaugeVec,
    /// `wardgate_upstream_ejections_total{upstream,endpoint}`
    pub endpoint_ejections: IntCounterVec,
    /// `wardgate_upstream_health_checks_total{upstream,endpoint,result}`
    pub health_checks: IntCounterVec,
    /// `wardgate_upstream_retries_total{upstream,kind}`: `connect` before anything was sent, `resend` after.
    pub upstream_retries: IntCounterVec,
    /// `wardgate_fhir_replies_total{service,result}`: replies that were looked through.
    pub fhir_replies: IntCounterVec,
    /// `wardgate_upstream_lookups_total{upstream,result}`
    pub upstream_lookups: IntCounterVec,
    /// `wardgate_upstream_certificates_total{upstream,result}`: looks at changed files.
    pub upstream_certificates: IntCounterVec,
    /// `wardgate_key_fetches_total{issuer,result}`
    pub key_fetches: IntCounterVec,
    /// `wardgate_keys_fetched_timestamp_seconds{issuer}`
    pub keys_fetched_at: IntGaugeVec,
    /// `wardgate_signals_total{signal,result}`
    pub signals: IntCounterVec,
    /// `wardgate_access_questions_total{kind,service,result}`
    pub access_questions: IntCounterVec,
    /// `wardgate_access_outages_total{kind,service}`: times one began to give no answers.
    pub access_outages: IntCounterVec,
    /// `wardgate_introspections_total{issuer,result}`
    pub introspections: IntCounterVec,
    /// `wardgate_token_cache_total{result}`
    pub token_cache: IntCounterVec,
    /// `wardgate_audit_records_total{event}`
    pub audit_records: ByWord<IntCounter>,
    /// `wardgate_audit_failures_total`
    pub audit_failures: IntCounter,
    /// `wardgate_audit_retired_files_total`
    pub audit_retired: IntCounter,
    /// `wardgate_audit_undelivered_bytes`
    pub audit_undelivered: IntGauge,
    /// `wardgate_audit_last_sequence`
    pub audit_sequence: IntGauge,
    /// Whether the next epoch of pseudonyms should have begun, and could not.
    pub pseudonym_rotation_late: IntGauge,
    /// `wardgate_audit_sink_up{sink}`: 0 while records can't be delivered to it.
    pub sink_up: IntGaugeVec,
    /// `wardgate_audit_sink_lag_records{sink}`: records that wait for it, about.
    pub sink_lag_records: IntGaugeVec,
    /// `wardgate_audit_sink_lag_seconds{sink}`: age of the oldest of them.
    pub sink_lag_seconds: IntGaugeVec,
    /// `wardgate_audit_sink_delivered_total{sink}`: records that it has acknowledged.
    pub sink_delivered: IntCounterVec,
    /// `wardgate_audit_sink_failures_total{sink}`: attempts that failed.
    pub sink_failures: IntCounterVec,
    /// `wardgate_break_glass_total{right,what}`: emergencies, and what became of them.
    pub break_glass: IntCounterVec,
    /// `wardgate_delegations_total{relation,what}`: who may act for whom, and what became of that.
    pub delegations: IntCounterVec,
    /// `wardgate_detections_total{name}`: what stood out.
    pub detections: IntCounterVec,
    /// `wardgate_audit_sink_left_out_total{sink}`: damaged lines.
    pub sink_left_out: IntCounterVec,
    /// `wardgate_proofs_total{result}`: single-use proofs spent, found spent, or unknown.
    pub proofs: IntCounterVec,
    /// `wardgate_session_events_total{what,result}`: sign-ins, refreshes and sign-outs, and why they failed.
    pub sessions: IntCounterVec,
    /// `wardgate_step_up_prompts_total{asker,result}`: questions to people on the phone, and what became of them.
    pub prompts: IntCounterVec,
    /// `wardgate_anonymous_attempts_total{result}`: requests of people who have not signed in, within their limit, beyond
    /// it, or not to be counted.
    pub attempts: IntCounterVec,
    /// `wardgate_key_proofs_total{result}`: proofs of possession (DPoP) that were good, refused and why, or unknown.
    pub key_proofs: IntCounterVec,
    /// `wardgate_revocations_total{source,result}`: `stored` or `unavailable`.
    pub revocations: IntCounterVec,
    /// Decisions on routes that try out a tier, by route, verdict, and the candidate's.
    pub candidates: IntCounterVec,
    /// Claims of halves of separations of duties, by result.
    pub duties: IntCounterVec,
    /// `wardgate_shared_signals_total{issuer,event,result}`: security events, and what became of them.
    pub shared_signals: IntCounterVec,
    /// `wardgate_shared_signal_polls_total{issuer,result}`: requests for events.
    pub shared_signal_polls: IntCounterVec,
    /// `wardgate_shared_signals_up{issuer}`: 0 while it is known that no events come.
    pub shared_signals_up: IntGaugeVec,
    /// `wardgate_streams_ended_total{why}`: requests that were ended while they ran, `revoked` or `expired`.
    pub streams_ended: IntCounterVec,
    /// `wardgate_store_up`: 1 while the state store can be used, for everything.
    pub store_up: IntGauge,
    /// `wardgate_store_outages_total`: times it began to fail.
    pub store_outages: IntCounter,
    /// `wardgate_store_subscribed`: 1 while revocations at other gateways are announced to this one.
    pub store_subscribed: IntGauge,
    /// `wardgate_store_announcements_total`: revocations that an announcement made known here.
    pub store_announcements: IntCounter,
    /// `wardgate_store_operations_total{operation,result}`: `answered` or `unavailable`.
    pub store_operations: IntCounterVec,
    /// `wardgate_store_unopened_total{why}`: sealed pieces that no key of the ring opens.
    pub store_unopened: IntCounterVec,
    /// `wardgate_store_epochs_total{kind}`: memory that a shared store has lost, `proofs` or `revocations`.
    pub store_epochs: IntCounterVec,
    /// `wardgate_connections{listener}`: open now.
    pub connections: IntGaugeVec,
    /// `wardgate_connections_closed_total{listener,cause}`: closed by the gateway because of a limit.
    pub connections_closed: IntCounterVec,
    /// `wardgate_rate_limit_keys{limit}`: how many callers a limit remembers.
    pub rate_limit_keys: IntGaugeVec,
    /// `wardgate_config_reloads_total{result}`: `accepted` or `refused`.
    pub config_reloads: IntCounterVec,
    /// `wardgate_config_last_reload_successful`: 0 while the file on disk is not the one in force.
    pub config_last_reload: IntGauge,
    /// `wardgate_config_loaded_timestamp_seconds`
    pub config_loaded_at: IntGauge,
    /// `wardgate_upgrades_total{result}`: `handed_over`, `failed` or `took_over`.
    pub upgrades: IntCounterVec,
    /// `wardgate_tls_handshake_failures_total{listener,reason}`
    pub tls_failures: IntCounterVec,
    /// `wardgate_tls_reloads_total{listener,result}`: changed certificate files that were taken or refused.
    pub tls_reloads: IntCounterVec,
    /// `wardgate_certificate_not_after_timestamp_seconds{listener,certificate}`
    pub certificate_ends_at: IntGaugeVec,
    /// `wardgate_http2_goaways_total{code}`: connections that were given up, by error code.
    pub h2_goaways: IntCounterVec,
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
    /// The metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory can't fail; a family that can't be encoded is left out rather than breaking the scrape.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
