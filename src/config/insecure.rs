//! Every relaxation of a safe default, in one place: what allows it, and the list that is logged at start.

use std::collections::BTreeSet;

use super::codes::Code;
use super::report::Report;
use super::schema::{File, Text};
use super::settings::{KeySource, RedisTopology, Settings, SignalSettings, StoreSettings};
use crate::policy::{Policy, StoreDown};
use crate::request::PathReading;

/// The issuers that may be spoken to over plain HTTP, by name.
#[derive(Debug)]
pub(super) struct PlainHttp<'s> {
    listed: &'s [Text],
    used: BTreeSet<&'s str>,
}

impl<'s> PlainHttp<'s> {
    /// Reads `insecure.plain_http_issuers`.
    pub(super) fn new(file: &'s File) -> Self {
        let listed = file.insecure.as_ref().map_or(&[][..], |insecure| insecure.plain_http_issuers.items());
        Self { listed, used: BTreeSet::new() }
    }

    /// Whether an issuer's URLs may begin with `http://`; remembers that one does.
    pub(super) fn allows(&mut self, issuer: &str) -> bool {
        let entry = self.listed.iter().find(|text| text.value == issuer);
        self.used.extend(entry.map(|text| text.value.as_str()));
        entry.is_some()
    }

    /// Warns of each entry: because it is used, or because it is not.
    pub(super) fn review(&self, issuers: &[&str], report: &mut Report<'_>) {
        let report = &mut report.within("insecure", None);
        for text in self.listed {
            let name = text.value.as_str();
            if !issuers.contains(&name) {
                report.unknown(Code::UnknownIssuer, "issuer", text, issuers.iter().copied());
            } else if self.used.contains(name) {
                let message = format!("issuer `{name}` is spoken to over plain HTTP");
                let help = "who sits between can make up tokens and keys: for tests on one machine only";
                report.add(Code::PlainHttpAllowed, text, message, help);
            } else {
                let message = format!("no URL of issuer `{name}` begins with `http://`");
                report.add(Code::AllowanceNotNeeded, text, message, "take the entry out");
            }
        }
    }
}

/// Every relaxation that a configuration makes use of, one sentence each.
pub(super) fn relaxations(policy: &Policy, settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    for listener in &settings.listeners {
        for range in listener
            .reading
            .trusted_proxies
            .iter()
            .filter(|range| range.prefix_len() < range.max_prefix_len())
        {
            let name = &listener.name;
            found.push(format!("listener `{name}` believes every peer in {range} about who the client is"));
        }
    }
    for issuer in &settings.issuers {
        let addresses = match &issuer.source {
            KeySource::Address(url) => Some(url),
            KeySource::Introspection { endpoint, .. } => endpoint.as_ref(),
            KeySource::File(_) | KeySource::Discovery => None,
        };
        let of_signals = issuer.signals.iter().flat_map(SignalSettings::addresses);
        if addresses
            .into_iter()
            .chain([&issuer.issuer])
            .chain(of_signals)
            .any(|url| url.starts_with("http://"))
        {
            found.push(format!("issuer `{}` is spoken to over plain HTTP", issuer.name));
        }
    }
    for issuer in policy.issuers.iter().filter(|issuer| issuer.plain_jwt) {
        found
            .push(format!("issuer `{}`: tokens that are not marked as access tokens are taken", issuer.name));
    }
    for service in policy.index.fhir().services().iter().filter(|service| service.replies.is_none()) {
        let name = &service.name;
        found.push(format!(
            "FHIR service `{name}`: replies to patients go out unread, whosever records they show"
        ));
    }
    for tier in
        policy.tiers.iter().filter(|tier| tier.when_store_down == StoreDown::AllowWithoutRevocationCheck)
    {
        found.push(format!(
            "tier `{}` goes on without the revocation check when the store is down",
            tier.name
        ));
    }
    if let StoreSettings::Redis(redis) = &settings.state.store {
        if !redis.tls && !redis.is_local() {
            found.push("the state store is spoken to without TLS".to_owned());
        }
        if redis.topology != RedisTopology::Standalone && redis.min_replicas == 0 {
            found.push(
                "no replica confirms a spent proof, so a failover can let it be spent again".to_owned(),
            );
        }
    }
    if let Some(traces) = &settings.traces
        && traces.collector.scheme() == "http"
        && !is_loopback(&traces.collector)
    {
        found.push("spans go to the collector unencrypted".to_owned());
    }
    for sink in &settings.audit.sinks {
        if sink.kind.is_plain() {
            found.push(format!("audit records go to sink `{}` unencrypted", sink.name));
        }
    }
    for upstream in &settings.upstreams {
        if upstream.tls.as_ref().is_some_and(|tls| !tls.verify_name) {
            found.push(format!("upstream `{}` may show a certificate with any name", upstream.name));
        }
        if upstream.pass_bearer {
            found.push(format!("upstream `{}` is given the caller's token", upstream.name));
        }
        if !upstream.refuse_hidden_method {
            found.push(format!("upstream `{}` is sent forms that may ask for another method", upstream.name));
        }
        let PathReading { ignores_case, drops_parameters, latin1 } = upstream.path_reading;
        for (relaxed, what) in [
            (ignores_case, "paths that differ in capitals only count as one"),
            (drops_parameters, "`;` parameters are taken in paths, and count for nothing"),
            (latin1, "paths that are not UTF-8 are taken as ISO 8859-1"),
        ] {
            if relaxed {
                found.push(format!("upstream `{}`: {what}", upstream.name));
            }
        }
    }
    found
}

/// Whether an address is on this machine.
pub(super) fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
