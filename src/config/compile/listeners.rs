//! Where the gateway listens, and how it stops.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::{fronts, limits, tls};
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{File, Given, Limits, Listener, Text};
use crate::config::settings::{
    ListenAddress, ListenerMode, ListenerSettings, ShutdownSettings, UpgradeSettings,
};
use crate::config::values::{self, seconds};
use crate::request::facts::Reading;

/// The HTTP parser's own limits, beyond which a greater setting would mean nothing.
const MOST_HEADER_BYTES: u64 = 1024 * 1024;
const MOST_HEADERS: usize = 256;

/// What the process as a whole does.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) listeners: Vec<ListenerSettings>,
    pub(super) telemetry: Option<SocketAddr>,
    pub(super) operators: Option<PathBuf>,
    pub(super) shutdown: ShutdownSettings,
    pub(super) upgrade: UpgradeSettings,
    pub(super) threads: Option<usize>,
}

/// Compiles `listeners`, `telemetry`, `shutdown`, `upgrade` and `threads`.
pub(super) fn compile(file: &File, base_dir: &Path, report: &mut Report<'_>) -> Listening {
    let start = Place { line: 1, column: 1, length: 1 };
    let example = "[{ name: edge, address: \"0.0.0.0:8080\" }]";
    if let Some(list) = report.required(&file.listeners, "listeners", start, example)
        && list.value.is_empty()
    {
        report.add(Code::Empty, list, "there is no listener", format!("write `listeners: {example}`"));
    }
    let mut taken = Taken::default();
    let mut names = values::Names::default();
    let mut listeners = Vec::new();
    for item in file.listeners.items() {
        let report = &mut report.within("listener", item.value.name.text());
        if let Some(name) = report.required(&item.value.name, "name", item.into(), "edge") {
            values::name(report, name);
            names.add(report, "listener", name);
        }
        listeners.extend(listener(&item.value, item.into(), base_dir, &mut taken, report));
    }
    let telemetry = file.telemetry.as_ref().and_then(|map| {
        let report = &mut report.within("telemetry", None);
        let address = report.required(&map.value.address, "address", map.into(), "\"127.0.0.1:9901\"")?;
        taken.address(address, report)
    });
    let operators = file.operators.as_ref().and_then(|map| {
        let report = &mut report.within("operators", None);
        let example = "\"unix:/run/wardgate/operators.sock\"";
        let address = report.required(&map.value.address, "address", map.into(), example)?;
        let Some(path) = address.value.strip_prefix("unix:") else {
            let message =
                format!("`{}` is no Unix socket, and whoever reaches it could revoke", address.value);
            report.add(Code::NotAUnixSocket, address, message, format!("write `address: {example}`"));
            return None;
        };
        taken.path(path, address, report)
    });
    let threads = values::count(report, &file.threads, 1..=1024);
    let (shutdown, upgrade) = (shutdown(file, report), upgrade(file, report));
    Listening { listeners, telemetry, operators, shutdown, upgrade, threads }
}

fn listener<'s>(
    schema: &'s Listener,
    place: Place,
    base_dir: &Path,
    taken: &mut Taken<'s>,
    report: &mut Report<'_>,
) -> Option<ListenerSettings> {
    let mode = values::choice(report, &schema.mode, &fronts::MODES, ListenerMode::Proxy);
    let mut trusted_proxies = networks(schema.trusted_proxies.items(), report);
    let (header_bytes, header_count) = headers(schema.limits.as_ref(), report);
    let limits = limits::listener(schema.limits.as_ref(), report);
    let tls = schema.tls.as_ref().map(|map| tls::compile(map, base_dir, report));
    // gRPC is spoken over HTTP/2 alone.
    let h2c = tls::h2c(schema, report) || (mode == ListenerMode::ExtAuthz && tls.is_none());
    let text = report.required(&schema.address, "address", place, "\"0.0.0.0:8080\"")?;
    let address = match text.value.strip_prefix("unix:") {
        Some(path) => ListenAddress::Unix(taken.path(path, text, report)?),
        None => ListenAddress::Tcp(taken.address(text, report)?),
    };
    if let (ListenAddress::Unix(_), Some(proxy)) = (&address, schema.trusted_proxies.items().first()) {
        let help = "let the peer announce its clients: `proxy_protocol: { from: [unix] }`";
        report.add(Code::NoPeerAddress, proxy, "a peer on a Unix socket has no address", help);
    }
    if mode == ListenerMode::Proxy {
        fronts::refuse_peers(schema, report);
    } else {
        fronts::check_listener(schema, &address, tls.as_ref(), text, report);
        trusted_proxies = fronts::neighbours();
    }
    let announcers = limits::announcers(schema.proxy_protocol.as_ref(), &address, report);
    let name = schema.name.as_ref().map_or_else(Box::default, |name| name.value.as_str().into());
    let reading = Reading { trusted_proxies, header_bytes, header_count };
    let peers = fronts::peers(schema);
    let (peer_secret_file, peer_secrets) = fronts::peer_secrets(schema, base_dir, report).unzip();
    Some(ListenerSettings {
        name,
        address,
        mode,
        reading,
        limits,
        announcers,
        tls,
        h2c,
        peers,
        peer_secret_file,
        peer_secrets,
    })
}

fn headers(schema: Option<&Limits>, report: &mut Report<'_>) -> (usize, usize) {
    let absent = Limits::default();
    let limits = schema.unwrap_or(&absent);
    let bytes = values::size(report, &limits.header_bytes, 32 * 1024, 1024..=MOST_HEADER_BYTES);
    let count = values::count(report, &limits.header_count, 1..=MOST_HEADERS);
    (bytes, count.unwrap_or(100))
}

/// Addresses of trusted peers; a whole range gets a warning.
pub(super) fn networks<'s>(texts: impl IntoIterator<Item = &'s Text>, report: &mut Report<'_>) -> Vec<IpNet> {
    let mut ranges = Vec::new();
    for text in texts {
        let one = text.value.parse::<IpAddr>().map(IpNet::from).ok();
        let Some(range) = one.or_else(|| text.value.parse::<IpNet>().ok()) else {
            let message = format!("`{}` is not an address or a range of addresses", text.value);
            report.add(Code::BadAddress, text, message, "write the proxy's address, such as `10.40.0.7`");
            continue;
        };
        if range.prefix_len() < range.max_prefix_len() {
            let message = format!("every peer in {} is believed about who the client is", range.trunc());
            report.add(Code::BroadTrust, text, message, "name the addresses of the proxies one by one");
        }
        ranges.push(range.trunc());
    }
    ranges
}

fn shutdown(file: &File, report: &mut Report<'_>) -> ShutdownSettings {
    let (lame_duck, grace) = (seconds(5), seconds(30));
    let Some(schema) = file.shutdown.as_ref() else {
        return ShutdownSettings { lame_duck, grace };
    };
    let report = &mut report.within("shutdown", None);
    ShutdownSettings {
        lame_duck: values::duration(report, &schema.lame_duck, lame_duck, seconds(0)..=seconds(600)),
        grace: values::duration(report, &schema.grace, grace, seconds(0)..=seconds(3_600)),
    }
}

fn upgrade(file: &File, report: &mut Report<'_>) -> UpgradeSettings {
    let report = &mut report.within("upgrade", None);
    let absent = Given::default();
    let given = file.upgrade.as_ref().map_or(&absent, |schema| &schema.ready_within);
    UpgradeSettings {
        ready_within: values::duration(report, given, seconds(60), seconds(1)..=seconds(3_600)),
    }
}

/// The addresses that are taken already, with what takes them.
#[derive(Debug, Default)]
struct Taken<'s> {
    addresses: Vec<(SocketAddr, &'s Text)>,
    paths: Vec<(PathBuf, &'s Text)>,
}

impl<'s> Taken<'s> {
    fn address(&mut self, text: &'s Text, report: &mut Report<'_>) -> Option<SocketAddr> {
        let Ok(address) = text.value.parse::<SocketAddr>() else {
            let message = format!("`{}` is not an address to listen on", text.value);
            report.add(
                Code::BadAddress,
                text,
                message,
                "write `ip:port`, such as `0.0.0.0:8080` or `[::1]:8080`, or `unix:/path`",
            );
            return None;
        };
        if let Some((_, first)) = self.addresses.iter().find(|(other, _)| overlap(*other, address)) {
            let message =
                format!("`{address}` is taken by `{}` in line {}", first.value, Place::from(*first).line);
            report.add(Code::AddressInUse, text, message, "choose another port");
        }
        self.addresses.push((address, text));
        Some(address)
    }

    fn path(&mut self, path: &str, text: &'s Text, report: &mut Report<'_>) -> Option<PathBuf> {
        let path = limits::socket_path(path, text, report)?;
        if let Some((_, first)) = self.paths.iter().find(|(other, _)| *other == path) {
            let message = format!("`{}` is taken in line {}", text.value, Place::from(*first).line);
            report.add(Code::AddressInUse, text, message, "choose another path");
        }
        self.paths.push((path.clone(), text));
        Some(path)
    }
}

/// Whether two sockets can't both be opened: `0.0.0.0` takes every address. Port 0 is whatever is free.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_family && (one.ip() == other.ip() || everywhere)
}

#[cfg(test)]
mod tests {
    fn overlap(one: &str, other: &str) -> bool {
        super::overlap(one.parse().expect("one"), other.parse().expect("other"))
    }

    #[test]
    fn any_address_overlaps_each() {
        assert!(overlap("0.0.0.0:80", "10.0.0.1:80"));
        assert!(overlap("10.0.0.1:80", "10.0.0.1:80"));
        assert!(!overlap("10.0.0.1:80", "10.0.0.2:80"));
        assert!(!overlap("0.0.0.0:80", "0.0.0.0:81"));
        assert!(!overlap("0.0.0.0:0", "0.0.0.0:0"));
        assert!(!overlap("0.0.0.0:80", "[::1]:80"));
    }
}
