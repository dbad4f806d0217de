//! Shared signals: whose security events are taken, and how they come.

use std::path::Path;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::issuers::algorithms;
use super::keys;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::insecure::PlainHttp;
use crate::config::report::Report;
use crate::config::schema::{File, Issuer, SharedSignals, SignalPoll, SignalPush, Text};
use crate::config::settings::{IssuerSettings, SignalDelivery, SignalSettings, StateSettings, StoreSettings};
use crate::config::values::{self, seconds};
use crate::identity::algorithm::SignatureAlgorithm;
use crate::identity::security_event::{CredentialChange, OpaqueIds, StreamRules};
use crate::request::host::Host;

/// What ends what was begun with a credential where the file does not say: all but that there is one more.
const CREDENTIAL_CHANGES: [CredentialChange; 3] =
    [CredentialChange::Update, CredentialChange::Revoke, CredentialChange::Delete];
/// Far more than any header with a token.
const MAX_AUTHORIZATION_BYTES: u64 = 8 * 1024;

/// Compiles an issuer's `shared_signals`.
pub(super) fn compile<'s>(
    schema: &'s Issuer,
    of_issuer: &[SignatureAlgorithm],
    plain_http: &mut PlainHttp<'s>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<SignalSettings> {
    let given = schema.shared_signals.as_ref()?;
    let (place, signals) = (Place::from(given), &given.value);
    let issuer = schema.name.text().unwrap_or_default();
    let transmitter =
        report.required(&signals.transmitter, "transmitter", place, "https://login.clinic.example");
    let audience = report.required(&signals.audience, "audience", place, "wardgate");
    for url in transmitter.into_iter().chain(signals.jwks_url.as_ref()) {
        keys::url(report, url, issuer, plain_http);
    }
    let rules = StreamRules {
        issuer: schema.issuer.text().unwrap_or_default().into(),
        transmitter: transmitter.map(|url| url.value.as_str()).unwrap_or_default().into(),
        audience: audience.map(|text| values::filled(report, text)).unwrap_or_default().into(),
        algorithms: match signals.algorithms.as_ref() {
            Some(_) => algorithms(report, &signals.algorithms),
            None => of_issuer.to_vec(),
        },
        opaque_ids: opaque_ids(signals, report),
        credential_changes: credential_changes(signals, report),
    };
    let (delivery, authorization) = match (signals.push.as_ref(), signals.poll.as_ref()) {
        (Some(push), None) => (pushed(push, report), push.value.authorization_file.as_ref()),
        (None, Some(poll)) => {
            (polled(poll, issuer, plain_http, report), poll.value.authorization_file.as_ref())
        }
        (push, poll) => {
            let message = match (push, poll) {
                (None, _) => "no event ever comes: they are neither pushed nor fetched",
                (Some(_), _) => "a stream's events are pushed or fetched, never both (SSF 1.0, 8.1.1)",
            };
            let help = "write `push: { hosts: [portal.clinic.example] }` or `poll: { url: https://… }`";
            report.add(Code::SignalDelivery, poll.map_or(place, Place::from), message, help);
            (SignalDelivery::Push(Vec::new()), None)
        }
    };
    Some(SignalSettings {
        rules,
        jwks_url: signals.jwks_url.as_ref().map(|url| url.value.as_str().into()),
        delivery,
        authorization_file: authorization.map(|text| authorization_file(text, base_dir, report)),
    })
}

fn opaque_ids(schema: &SharedSignals, report: &mut Report<'_>) -> Option<OpaqueIds> {
    let words = [("none", None), ("sub", Some(OpaqueIds::Subject)), ("sid", Some(OpaqueIds::Session))];
    values::choice(report, &schema.opaque_ids, &words, None)
}

fn credential_changes(schema: &SharedSignals, report: &mut Report<'_>) -> Vec<CredentialChange> {
    if schema.credential_changes.is_none() {
        return CREDENTIAL_CHANGES.to_vec();
    }
    values::texts(report, &schema.credential_changes);
    let mut found = Vec::new();
    for text in schema.credential_changes.items() {
        match CredentialChange::ALL.iter().find(|(word, _)| *word == text.value) {
            Some((_, change)) => found.push(*change),
            None => {
                let words = CredentialChange::ALL.iter().map(|(word, _)| *word);
                report.unknown(Code::UnknownWord, "change of a credential", text, words);
            }
        }
    }
    found
}

fn pushed(push: &Spanned<SignalPush>, report: &mut Report<'_>) -> SignalDelivery {
    report.required(&push.value.hosts, "hosts", push.into(), "[portal.clinic.example]");
    values::texts(report, &push.value.hosts);
    let host = |text: &Text| {
        let host = Host::parse(text.value.as_bytes()).ok().filter(|host| host.as_str() == text.value);
        if host.is_none() && !text.value.is_empty() {
            let message = format!("`{}` is not a host that transmitters can push to", text.value);
            let help = "write its name in small letters, without scheme and port";
            report.add(Code::BadHost, text, message, help);
        }
        host.map(|host| host.as_str().into())
    };
    SignalDelivery::Push(push.value.hosts.items().iter().filter_map(host).collect())
}

fn polled<'s>(
    poll: &'s Spanned<SignalPoll>,
    issuer: &str,
    plain_http: &mut PlainHttp<'s>,
    report: &mut Report<'_>,
) -> SignalDelivery {
    let example = "https://login.clinic.example/ssf/poll/1";
    let url = report.required(&poll.value.url, "url", poll.into(), example);
    if let Some(url) = url {
        keys::url(report, url, issuer, plain_http);
    }
    let wait = values::duration(report, &poll.value.wait, seconds(30), Duration::from_secs(1)..=seconds(300));
    SignalDelivery::Poll { url: url.map(|url| url.value.as_str()).unwrap_or_default().into(), wait }
}

pub(super) fn authorization_file(
    text: &Text,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> std::path::PathBuf {
    let path = values::file(report, base_dir, text);
    // What can't be read as a file is told already.
    if let Ok(bytes) = values::read_bounded(&path, MAX_AUTHORIZATION_BYTES) {
        let value = bytes.trim_ascii();
        // A scheme and what goes with it (RFC 9110 §11.6.2).
        let is_header = value.contains(&b' ') && value.iter().all(|byte| (0x20..0x7f).contains(byte));
        if !is_header && !bytes.is_empty() {
            let message = format!("`{}` holds no value of an `Authorization` header", text.value);
            let help = "write the whole value on one line, such as `Bearer` and a long random word";
            report.add(Code::BadAuthorization, text, message, help);
        }
    }
    path
}

/// What can be seen only with all of the file in view.
pub(super) fn check(
    file: &File,
    settings: &[IssuerSettings],
    state: &StateSettings,
    report: &mut Report<'_>,
) {
    let mut first = None;
    for (at, (item, own)) in file.issuers.items().iter().zip(settings).enumerate() {
        let (Some(given), Some(signals)) = (item.value.shared_signals.as_ref(), own.signals.as_ref()) else {
            continue;
        };
        first.get_or_insert(given);
        let report = &mut report.within("issuer", item.value.name.text());
        let is_same = |other: &&IssuerSettings| {
            other.signals.as_ref().is_some_and(|other| {
                other.rules.transmitter == signals.rules.transmitter
                    && other.rules.audience == signals.rules.audience
            })
        };
        if let Some(other) = settings.iter().take(at).find(is_same) {
            let message = format!(
                "issuer `{}` takes the events of this transmitter for this audience already",
                other.name
            );
            let help = "give each stream an `audience` of its own: one's events could be shown to the other";
            report.add(Code::SameStream, given, message, help);
        }
    }
    let is_shared = matches!(state.store, StoreSettings::Redis(_));
    if let Some(first) = first.filter(|_| !is_shared && !state.single_replica) {
        report.add(
            Code::SignalsNotShared,
            first,
            "what an event ends would end at the one gateway that it comes to",
            "say `state: { single_replica: true }` if there is only one, or use `store: redis`",
        );
    }
}
