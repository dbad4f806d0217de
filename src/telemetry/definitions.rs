//! What every metric is called, and what is said about it where it is read.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::{ByWord, Metrics};

impl Metrics {
    pub(super) fn new() -> Self {
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
            endpoint_healthy: gauges(
                "wardgate_upstream_endpoint_healthy",
                "1 when an upstream's endpoint gets requests, else 0.",
                &["upstream", "endpoint"],
            ),
            endpoint_ejections: counters(
                "wardgate_upstream_ejections_total",
                "Times an endpoint was left out because requests kept failing there.",
                &["upstream", "endpoint"],
            ),
            health_checks: counters(
                "wardgate_upstream_health_checks_total",
                "Health checks by result.",
                &["upstream", "endpoint", "result"],
            ),
            upstream_retries: counters(
                "wardgate_upstream_retries_total",
                "Further tries: `connect` before anything was sent, `resend` after.",
                &["upstream", "kind"],
            ),
            fhir_replies: counters(
                "wardgate_fhir_replies_total",
                "Replies of FHIR servers to callers confined to one patient, by what came of looking through them.",
                &["service", "result"],
            ),
            upstream_lookups: counters(
                "wardgate_upstream_lookups_total",
                "Look-ups of endpoints' names by result.",
                &["upstream", "result"],
            ),
            upstream_certificates: counters(
                "wardgate_upstream_certificates_total",
                "Certificate files found changed, by whether they could be used.",
                &["upstream", "result"],
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
                &[
                    "intent",
                    "outcome",
                    "decision",
                    "session",
                    "unparsed",
                    "aggregated",
                    "started",
                    "stopping",
                    "reloaded",
                    "reload_refused",
                    "upgrade",
                    "revocation",
                    "shared_signal",
                    "operator_refused",
                    "break_glass",
                    "delegation",
                    "pseudonym_lookup",
                    "pseudonym_shred",
                    "pseudonym_epoch",
                ],
                |event| records.with_label_values(&[event]),
            ),
            audit_failures: counter(
                "wardgate_audit_failures_total",
                "Audit records that could not be written when they should have been.",
            ),
            audit_retired: counter(
                "wardgate_audit_retired_files_total",
                "Files of the audit trail that were removed at the end of their retention.",
            ),
            audit_undelivered: gauge(
                "wardgate_audit_undelivered_bytes",
                "Bytes of the audit trail that wait for the slowest sink, where `audit.undelivered_quota` is set.",
            ),
            pseudonym_rotation_late: gauge(
                "wardgate_pseudonym_rotation_late",
                "1 while the next epoch of pseudonyms can't begin, else 0.",
            ),
            audit_sequence: gauge(
                "wardgate_audit_last_sequence",
                "The sequence number of the last audit record.",
            ),
            sink_up: gauges(
                "wardgate_audit_sink_up",
                "1 while audit records can be delivered to a sink, else 0.",
                &["sink"],
            ),
            sink_lag_records: gauges(
                "wardgate_audit_sink_lag_records",
                "Audit records that wait to be delivered, about.",
                &["sink"],
            ),
            sink_lag_seconds: gauges(
                "wardgate_audit_sink_lag_seconds",
                "Age of the oldest audit record that waits to be delivered, in seconds.",
                &["sink"],
            ),
            sink_delivered: counters(
                "wardgate_audit_sink_delivered_total",
                "Audit records that a sink has acknowledged.",
                &["sink"],
            ),
            sink_failures: counters(
                "wardgate_audit_sink_failures_total",
                "Attempts to deliver audit records that failed.",
                &["sink"],
            ),
            detections: counters(
                "wardgate_detections_total",
                "What stood out among audit records, by name.",
                &["name"],
            ),
            sink_left_out: counters(
                "wardgate_audit_sink_left_out_total",
                "Damaged lines of the audit trail that were not delivered.",
                &["sink"],
            ),
            proofs: counters(
                "wardgate_proofs_total",
                "Single-use proofs by what became of them.",
                &["result"],
            ),
            sessions: counters(
                "wardgate_session_events_total",
                "Sign-ins, refreshes and sign-outs, by what became of them.",
                &["what", "result"],
            ),
            prompts: counters(
                "wardgate_step_up_prompts_total",
                "Questions to people elsewhere than in the browser, by who asks and what became of them.",
                &["asker", "result"],
            ),
            signals: counters(
                "wardgate_signals_total",
                "Requests that signals looked at, by signal and what it said: fired, quiet, unknown.",
                &["signal", "result"],
            ),
            access_questions: counters(
                "wardgate_access_questions_total",
                "Questions to services that have a say in decisions, by what the service is for, its name and what came of it.",
                &["kind", "service", "result"],
            ),
            access_outages: counters(
                "wardgate_access_outages_total",
                "Times a service that has a say in decisions began to give no answers, by what the service is for and its name.",
                &["kind", "service"],
            ),
            revocations: counters(
                "wardgate_revocations_total",
                "Names that were revoked here, by who asked and what came of it.",
                &["source", "result"],
            ),
            break_glass: counters(
                "wardgate_break_glass_total",
                "What became of rights to break the glass: opened, used, refused, ended, reviewed, overdue, suspended, codes_issued, code_used.",
                &["right", "what"],
            ),
            delegations: counters(
                "wardgate_delegations_total",
                "What became of grants to act for patients: granted, reviewed, ended.",
                &["relation", "what"],
            ),
            candidates: counters(
                "wardgate_candidate_decisions_total",
                "Decisions on routes that try out another tier, by route, the verdict, and what it would have been: permit, challenge, deny, open.",
                &["route", "verdict", "candidate"],
            ),
            duties: counters(
                "wardgate_duties_total",
                "Claims of one half of a separation of duties: claimed, other (the same person holds the other half), unknown.",
                &["result"],
            ),
            shared_signals: counters(
                "wardgate_shared_signals_total",
                "Security events of transmitters, by type and what became of them.",
                &["issuer", "event", "result"],
            ),
            shared_signal_polls: counters(
                "wardgate_shared_signal_polls_total",
                "Requests for security events by result.",
                &["issuer", "result"],
            ),
            shared_signals_up: gauges(
                "wardgate_shared_signals_up",
                "0 while a transmitter is known to send no security events, or can't be asked for them.",
                &["issuer"],
            ),
            streams_ended: counters("wardgate_streams_ended_total", "Requests that were cut.", &["why"]),
            attempts: counters(
                "wardgate_anonymous_attempts_total",
                "Attempts of people who have not signed in, by what became of them.",
                &["result"],
            ),
            key_proofs: counters("wardgate_key_proofs_total", "DPoP proofs, by result.", &["result"]),
            store_up: gauge("wardgate_store_up", "1 while the state store can be used, else 0."),
            store_outages: counter("wardgate_store_outages_total", "Times the state store began to fail."),
            store_subscribed: gauge(
                "wardgate_store_subscribed",
                "1 while revocations at other gateways are announced to this one (Redis), else 0.",
            ),
            store_announcements: counter(
                "wardgate_store_announcements_total",
                "Revocations at other gateways that an announcement made known here.",
            ),
            store_operations: counters(
                "wardgate_store_operations_total",
                "Operations of the state store by whether it answered.",
                &["operation", "result"],
            ),
            store_unopened: counters(
                "wardgate_store_unopened_total",
                "Sealed pieces that no key of the ring opens, by why.",
                &["why"],
            ),
            store_epochs: counters(
                "wardgate_store_epochs_total",
                "Times the state store was found to have lost memory, by what it had forgotten.",
                &["kind"],
            ),
            connections: gauges(
                "wardgate_connections",
                "Client connections that are open now.",
                &["listener"],
            ),
            connections_closed: counters(
                "wardgate_connections_closed_total",
                "Client connections that the gateway closed because of a limit, by limit.",
                &["listener", "cause"],
            ),
            rate_limit_keys: gauges(
                "wardgate_rate_limit_keys",
                "Callers that a limit on the rate of requests remembers.",
                &["limit"],
            ),
            config_reloads: counters(
                "wardgate_config_reloads_total",
                "Attempts to load a changed configuration, by result.",
                &["result"],
            ),
            config_last_reload: gauge(
                "wardgate_config_last_reload_successful",
                "1 when the last configuration that was read is in force, 0 when it was refused.",
            ),
            config_loaded_at: gauge(
                "wardgate_config_loaded_timestamp_seconds",
                "When the configuration in force was loaded, in Unix seconds.",
            ),
            upgrades: counters(
                "wardgate_upgrades_total",
                "Attempts to let a new program take over, by result.",
                &["result"],
            ),
            tls_failures: counters(
                "wardgate_tls_handshake_failures_total",
                "TLS handshakes that failed, by reason.",
                &["listener", "reason"],
            ),
            tls_reloads: counters(
                "wardgate_tls_reloads_total",
                "Changed certificate files, by whether they were taken.",
                &["listener", "result"],
            ),
            certificate_ends_at: gauges(
                "wardgate_certificate_not_after_timestamp_seconds",
                "When a listener's certificate ends, in Unix seconds.",
                &["listener", "certificate"],
            ),
            h2_goaways: counters(
                "wardgate_http2_goaways_total",
                "HTTP/2 connections that were given up, by error code.",
                &["code"],
            ),
            spans: counters("wardgate_spans_total", "Trace spans by what became of them.", &["result"]),
            ready: gauge("wardgate_ready", "1 when the gateway is ready to serve, else 0."),
            registry,
        }
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
