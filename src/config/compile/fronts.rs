//! Listeners that answer other proxies: who may ask, and what they can't do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::routes::Draft;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::peer_secrets::PeerSecrets;
use crate::config::report::Report;
use crate::config::schema::{File, Listener, Text};
use crate::config::settings::{ListenAddress, ListenerMode, ListenerSettings};
use crate::config::values;
use crate::tls::{ClientCertificates, TlsSettings};

/// The words of `mode`.
pub(super) const MODES: [(&str, ListenerMode); 5] = [
    ("proxy", ListenerMode::Proxy),
    ("forward_auth", ListenerMode::ForwardAuth),
    ("authzen", ListenerMode::Authzen),
    ("ext_authz", ListenerMode::ExtAuthz),
    ("ext_authz_http", ListenerMode::ExtAuthzHttp),
];

/// More of a file with secrets is not read.
const MOST_SECRET_BYTES: u64 = 4 * 1024;

const ANOTHER_LISTENER: &str =
    "let a gateway with listeners of `mode: proxy` serve this, in a configuration of its own";

/// This machine's own addresses: the proxy that asks is believed about who its client is.
pub(super) fn neighbours() -> Vec<IpNet> {
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(IpNet::from).to_vec()
}

/// The names of the proxies that may ask; those of hosts without regard to capitals (RFC 9525 §6.3).
pub(super) fn peers(schema: &Listener) -> Vec<Box<str>> {
    let names = schema.peers.items().iter().map(|name| name.value.as_str());
    let fold = |name: &str| if name.contains(':') { name.to_owned() } else { name.to_ascii_lowercase() };
    names.map(|name| fold(name).into()).collect()
}

/// The secrets of the proxies that may ask.
pub(super) fn peer_secrets(
    schema: &Listener,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<(PathBuf, PeerSecrets)> {
    let text = schema.peer_secret_file.as_ref()?;
    let path = values::file(report, base_dir, text);
    // What can't be read as a file is told already; this is about what stands in it.
    let bytes = values::read_bounded(&path, MOST_SECRET_BYTES).ok().filter(|bytes| !bytes.is_empty())?;
    let secrets = PeerSecrets::parse(&bytes);
    if secrets.is_none() {
        let message = format!("`{}` holds no secret that can be used", text.value);
        let help = "write one a line, each of 32 to 256 visible letters, as `openssl rand -hex 32` makes them; two at most, the one in use and the next";
        report.add(Code::PeerSecretMalformed, text, message, help);
    }
    secrets.map(|secrets| (path, secrets))
}

/// Reports what only those who ask need, at a listener that forwards.
pub(super) fn refuse_peers(schema: &Listener, report: &mut Report<'_>) {
    let (names, secret) =
        (schema.peers.as_ref().map(Place::from), schema.peer_secret_file.as_ref().map(Place::from));
    for (key, place) in [("peers", names), ("peer_secret_file", secret)] {
        if let Some(place) = place {
            let message = format!(
                "`{key}` means nothing here: this listener forwards requests, and asks each for its token"
            );
            report.add(Code::NotInThisMode, place, message, format!("take `{key}` out"));
        }
    }
}

/// Checks one listener that answers other proxies.
pub(super) fn check_listener(
    schema: &Listener,
    address: &ListenAddress,
    encryption: Option<&TlsSettings>,
    text: &Text,
    report: &mut Report<'_>,
) {
    if let Some(names) = schema.peers.as_ref() {
        let asks = |tls: &TlsSettings| tls.client_certificates == ClientCertificates::Required;
        if names.value.is_empty() {
            let message = "this list is empty, and so anybody would be a peer";
            report.add(
                Code::Empty,
                names,
                message,
                "write the names in the certificates of those who may ask",
            );
        } else if !encryption.is_some_and(asks) {
            let message = "nothing proves that somebody is one of these peers";
            let help = "ask for their certificates: `tls: { …, client_ca_file: clients-ca.pem }`, and no `client_certificates: optional`";
            report.add(Code::PeersUnproven, names, message, help);
        }
    }
    let is_proven = schema.peers.is_some() || schema.peer_secret_file.is_some();
    if let ListenAddress::Tcp(address) = address
        && !address.ip().is_loopback()
    {
        if !is_proven {
            let message = format!(
                "whoever reaches `{address}` could claim to be any proxy, and learn what is permitted"
            );
            let help = "listen where only the proxy reaches it: `127.0.0.1:port`, `[::1]:port` or `unix:/path`; or name the certificates of those who may ask: `peers: [envoy.clinic.example]` with `tls`";
            report.add(Code::ExposedFront, text, message, help);
        } else if let (Some(secret), None) = (schema.peer_secret_file.as_ref(), encryption) {
            let message = format!("on its way to `{address}` others could read the secret, and ask by it");
            let help = "encrypt it: `tls: { cert_file: …, key_file: … }`; or listen at `127.0.0.1:port`, `[::1]:port` or `unix:/path`";
            report.add(Code::PlainPeerSecret, secret, message, help);
        }
    }
    let proxies = schema.trusted_proxies.as_ref().map(Place::from);
    let announcers = schema.proxy_protocol.as_ref().map(Place::from);
    // Who shows a certificate or a secret may be on another machine; who shows none need not.
    let tls = schema.tls.as_ref().filter(|_| !is_proven).map(Place::from);
    for (key, place) in [("trusted_proxies", proxies), ("proxy_protocol", announcers), ("tls", tls)] {
        if let Some(place) = place {
            let message =
                format!("`{key}` means nothing here: the proxy asks from this machine and is believed");
            report.add(Code::NotInThisMode, place, message, format!("take `{key}` out"));
        }
    }
}

/// Refuses what needs more of a request than another proxy tells. Any request may come in at any listener.
pub(super) fn check_policy(
    file: &File,
    listeners: &[ListenerSettings],
    drafts: &[Draft<'_>],
    report: &mut Report<'_>,
) {
    let word_of = |is_meant: fn(ListenerMode) -> bool| {
        let mode = listeners.iter().map(|listener| listener.mode).find(|mode| is_meant(*mode))?;
        MODES.iter().find(|(_, known)| mode == *known).map(|(word, _)| *word)
    };
    let Some(word) = word_of(|mode| mode != ListenerMode::Proxy) else { return };
    let blind = word_of(|mode| !mode.sees_bodies());
    for sign_in in file.issuers.items().iter().filter_map(|issuer| issuer.value.sign_in.as_ref()) {
        let message =
            "people can't sign in where another proxy forwards: their session would reach the application";
        report.add(Code::NotInThisMode, sign_in, message, ANOTHER_LISTENER);
    }
    for draft in drafts {
        let report = &mut report.within("route", Some(draft.route.id.as_ref()));
        let mut refuse =
            |message: String| report.add(Code::NotInThisMode, draft.path, message, ANOTHER_LISTENER);
        if let Some(word) = blind
            && draft.route.needs_body()
        {
            refuse(format!("a rule reads the body, which a listener of `mode: {word}` never sees"));
        }
        if draft.route.anonymous.is_some() {
            refuse("who has not signed in can't confirm anything where another proxy forwards".to_owned());
        }
        if draft.route.fhir.is_some() {
            refuse(match blind {
                Some(word) => format!(
                    "what is searched in FHIR may stand in a form, which a listener of `mode: {word}` never sees"
                ),
                None => format!(
                    "a listener of `mode: {word}` sees no answers, and what FHIR services answer is looked at"
                ),
            });
        }
        if draft.route.cors.is_some() {
            refuse(format!("preflights can't be answered by a listener of `mode: {word}`"));
        }
    }
}
