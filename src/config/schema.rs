//! The shape of the file, key by key, before anything in it is understood.
//!
//! Values that have a form of their own (durations, names, words from a list) stay [`Text`] here: what is
//! wrong with them is found during compilation, where one finding does not hide the next. Every key is
//! optional for the same reason. The names are those of the file, so they match `policy` and `settings` only
//! by accident.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_saphyr::Spanned;

pub(super) use super::schema_access::{Consent, Pdp};
pub(super) use super::schema_break_glass::BreakGlass;
pub(super) use super::schema_delegation::{Delegation, Relation};
pub(super) use super::schema_fhir::{Bundles, FhirMatch, FhirService};
pub(super) use super::schema_risk::Signal;
pub(super) use super::schema_routes::{
    Anonymous, AnyOf, Attempts, Caller, Case, CaseAnswers, Cors, LowerRisk, Match, Patient, Person, Refine,
    Route, RouteTimeouts, When,
};
pub(super) use super::schema_sign_in::{Pages, Session, SignIn};
pub(super) use super::schema_signals::{SharedSignals, SignalPoll, SignalPush};
pub(super) use super::schema_state::{EncryptionKey, Redis, State};
pub(super) use super::schema_step_up::{Resume, StepUp};

/// A single value as written, with its place.
pub(super) type Text = Spanned<String>;
/// A list of single values.
pub(super) type Texts = Spanned<Vec<Text>>;
/// A list of maps.
pub(super) type Items<T> = Spanned<Vec<Spanned<T>>>;

/// A key that may be left out but not left empty: `max_age:` with nothing behind it is a mistake, not a
/// default.
#[derive(Debug)]
pub(super) struct Given<T>(Option<T>);

impl<T> Default for Given<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Deref for Given<T> {
    type Target = Option<T>;

    fn deref(&self) -> &Option<T> {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|value| Self(Some(value)))
    }
}

impl Given<Text> {
    /// The text, if any.
    pub(super) fn text(&self) -> Option<&str> {
        self.as_ref().map(|text| text.value.as_str())
    }
}

impl<T> Given<Spanned<Vec<T>>> {
    /// The list's items; none where it was left out.
    pub(super) fn items(&self) -> &[T] {
        self.as_ref().map_or(&[], |list| &list.value)
    }
}

/// A map with names of the user's own, in the order of the file.
#[derive(Debug)]
pub(super) struct Entries<T>(Vec<(Text, T)>);

impl<T> Given<Entries<T>> {
    /// The entries; none where the map was left out.
    pub(super) fn entries(&self) -> &[(Text, T)] {
        self.as_ref().map_or(&[], |map| &map.0)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Entries<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// Declares the maps of the file: unknown keys are refused, known ones may be left out.
macro_rules! maps {
    ($($(#[doc = $doc:literal])* $name:ident { $($key:ident: $type:ty,)* })*) => {
        $(
            $(#[doc = $doc])*
            #[derive(Debug, Default, serde::Deserialize)]
            #[serde(default, deny_unknown_fields)]
            pub(in crate::config) struct $name {
                $(pub(in crate::config) $key: $crate::config::schema::Given<$type>,)*
            }

            impl $crate::config::described::Described for $name {
                fn describe(
                    definitions: &mut $crate::config::described::Definitions,
                ) -> serde_json::Value {
                    let keys: &[$crate::config::described::Key] = &[
                        $((stringify!($key), <$type as $crate::config::described::Described>::describe),)*
                    ];
                    $crate::config::described::map(
                        definitions,
                        stringify!($name),
                        concat!($($doc),*),
                        keys,
                    )
                }
            }
        )*
    };
}
pub(super) use maps;

maps! {
    /// The whole file.
    File {
        version: Text,
        listeners: Items<Listener>,
        telemetry: Spanned<Telemetry>,
        operators: Spanned<Operators>,
        proxy_status: ProxyStatus,
        threads: Text,
        shutdown: Shutdown,
        upgrade: Upgrade,
        state: State,
        assurance_levels: Texts,
        issuers: Items<Issuer>,
        insecure: Insecure,
        pages: Spanned<Pages>,
        step_up: Items<StepUp>,
        tiers: Items<Tier>,
        data_classes: Entries<Spanned<DataClass>>,
        upstreams: Entries<Spanned<Upstream>>,
        fhir_services: Items<FhirService>,
        pdps: Items<Pdp>,
        consents: Items<Consent>,
        signals: Items<Signal>,
        break_glass: Entries<Spanned<BreakGlass>>,
        delegation: Spanned<Delegation>,
        routes: Items<Route>,
        rate_limits: Items<RateLimit>,
        audit: Audit,
        cases: Items<Case>,
    }

    /// A file that holds cases only.
    CaseFile { cases: Items<Case>, }

    /// Where the gateway listens.
    Listener {
        name: Text,
        address: Text,
        mode: Text,
        trusted_proxies: Texts,
        limits: Limits,
        proxy_protocol: Spanned<ProxyProtocol>,
        peers: Texts,
        peer_secret_file: Text,
        tls: Spanned<Tls>,
        h2c: Spanned<bool>,
    }
    /// Its TLS.
    Tls {
        certificates: Items<Certificate>,
        cert_file: Text,
        key_file: Text,
        client_ca_file: Text,
        client_certificates: Text,
        min_version: Text,
    }
    /// A chain of certificates and its key.
    Certificate { cert_file: Text, key_file: Text, }
    /// How much of a request is read, and how long that may take.
    Limits {
        header_bytes: Text,
        header_count: Text,
        header_deadline: Text,
        body_bytes: Text,
        body_min_rate: Text,
        body_grace: Text,
        slow_bodies: Text,
        keep_alive: Text,
        connections: Text,
        connections_per_client: Text,
        h2_streams: Text,
    }
    /// Who announces clients by the PROXY protocol.
    ProxyProtocol { from: Texts, }
    /// How many requests there may be.
    RateLimit { name: Text, per: Text, requests: Text, r#in: Text, burst: Text, routes: Texts, }
    /// Health and metrics.
    Telemetry { address: Text, traces: Spanned<Traces>, }
    /// The operators' API.
    Operators { address: Text, }
    /// Spans for a collector.
    Traces { otlp: Text, sample: Text, }
    /// `Proxy-Status` (RFC 9209).
    ProxyStatus { name: Text, from_upstream: Text, }
    /// How it stops.
    Shutdown { lame_duck: Text, grace: Text, }
    /// How a new program takes over.
    Upgrade { ready_within: Text, }

    /// Who vouches for callers.
    Issuer {
        name: Text,
        issuer: Text,
        audiences: Texts,
        algorithms: Texts,
        jwks: Spanned<Jwks>,
        introspection: Spanned<Introspection>,
        sign_in: Spanned<SignIn>,
        shared_signals: Spanned<SharedSignals>,
        callers: Text,
        token_types: Texts,
        max_token_lifetime: Text,
        dpop: Text,
        dpop_nonce: Text,
        authorization_details: Spanned<bool>,
        assurance: Entries<Spanned<Assurance>>,
        claims: Claims,
    }
    /// Where its keys come from, and how long they live.
    Jwks {
        file: Text,
        url: Text,
        refresh: Text,
        stale_for: Text,
        stale_for_critical: Text,
        unknown_kid_interval: Text,
        timeout: Text,
    }
    /// How it is asked about each token.
    Introspection { endpoint: Text, client_id: Text, client_secret_file: Text, cache: Text, timeout: Text, }
    /// What it must say for one level.
    Assurance { any_of: Spanned<Words>, }
    /// Values of `acr` and `amr`.
    Words { acr: Texts, amr: Texts, }
    /// Which of its claims hold what.
    Claims { patient: Text, roles: Text, role_ends: Text, }
    /// Every safe default that is given up by name.
    Insecure { plain_http_issuers: Texts, plain_redis: Spanned<bool>, plain_audit_sinks: Spanned<bool>, }

    /// How risky an action is, and what that asks for.
    Tier {
        name: Text,
        assurance: Text,
        max_age: Text,
        each_action_needs_new_proof: Spanned<bool>,
        require_methods: Texts,
        step_up: Texts,
        audit: Text,
        when_store_down: Text,
        service: Spanned<Service>,
    }
    /// What a tier asks of machines.
    Service { max_token_age: Text, sender_constrained: Text, }
    /// A floor for a kind of data.
    DataClass { assurance: Text, }

    /// What stands behind the gateway.
    Upstream {
        endpoints: Texts,
        balance: Text,
        health_check: Spanned<HealthCheck>,
        ejection: Spanned<Ejection>,
        slow_start: Text,
        retries: Spanned<Retries>,
        protocol: Text,
        tls: Spanned<UpstreamTls>,
        timeouts: Timeouts,
        identity: Spanned<Identity>,
        inject: Entries<Text>,
        pass_bearer: bool,
        method_override: Text,
        path_case: Text,
        allow: Texts,
    }
    /// How long an upstream may take.
    Timeouts { connect: Text, read: Text, write: Text, idle: Text, }
    /// How its endpoints are asked whether they are well.
    HealthCheck {
        path: Text,
        interval: Text,
        timeout: Text,
        healthy_after: Text,
        unhealthy_after: Text,
        expect: Texts,
    }
    /// When an endpoint that fails is left out.
    Ejection { after: Text, time: Text, max_time: Text, max_percent: Text, }
    /// What is sent again.
    Retries { max: Text, methods: Texts, }
    /// How its certificate is checked, and which one it is shown.
    UpstreamTls {
        ca_file: Text,
        client_cert_file: Text,
        client_key_file: Text,
        server_name: Text,
        verify: Text,
    }
    /// The signed assertion it gets.
    Identity { header: Text, audience: Text, ttl: Text, }

    /// The audit trail.
    Audit { dir: Text, pseudonyms: Spanned<Pseudonyms>, checkpoint: Spanned<Checkpoint>, reserve: Text, retention: Text, undelivered_quota: Text, remote_sink: Text, detections: Spanned<Detections>, sinks: Items<Sink>, }
    /// What stands out among its records.
    Detections {
        mass_lookup: Spanned<Many>,
        prompt_storm: Spanned<Many>,
        unknown_outcomes: Spanned<Many>,
        off_hours: Spanned<OffHours>,
        watched_patients_file: Text,
        disabled: Texts,
    }
    /// So often within some time.
    Many { count: Text, within: Text, }
    /// Hours in which actions of some tiers are expected.
    OffHours { hours: Text, days: Texts, time_zone: Text, tiers: Texts, }
    /// Who gets its records.
    Sink {
        name: Text,
        r#type: Text,
        format: Text,
        url: Text,
        batch: Text,
        authorization_file: Text,
        ca_file: Text,
        key: Text,
        max_records: Text,
        username: Text,
        password_file: Text,
        path: Text,
        address: Text,
        brokers: Texts,
        topic: Text,
        tls: Spanned<SinkTls>,
    }
    /// How connections to a syslog server are encrypted.
    SinkTls { ca_file: Text, server_name: Text, cert_file: Text, key_file: Text, }
    /// The key behind its pseudonyms, and how often it changes.
    Pseudonyms { key_file: Text, rotate: Text, dir: Text, }
    /// What vouches for the trail.
    Checkpoint { signing_key_file: Text, }
}
