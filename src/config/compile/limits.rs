//! Limits: of listeners, of routes, and on the rate of requests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_saphyr::Spanned;

use super::listeners::networks;
use super::routes::Draft;
use crate::config::codes::Code;
use crate::config::report::Report;
use crate::config::schema::{File, Given, Limits, ProxyProtocol, RateLimit as Schema, Text};
use crate::config::settings::{Announcers, ListenAddress, ListenerLimits};
use crate::config::values::{self, Names, seconds};
use crate::policy::{Access, CountedBy, RateLimit};

/// Beyond this a body is no upload any more but a mistake.
const MOST_BODY_BYTES: u64 = 1024 * 1024 * 1024 * 1024;
/// The most requests that a limit counts.
const MOST_REQUESTS: usize = 1_000_000;
/// The longest path of a Unix socket (`sun_path` of unix(7), without its final NUL).
const LONGEST_SOCKET_PATH: usize = 107;

/// The limits of a listener; each has a default.
pub(super) fn listener(schema: Option<&Limits>, report: &mut Report<'_>) -> ListenerLimits {
    let default = ListenerLimits::default();
    let absent = Limits::default();
    let limits = schema.unwrap_or(&absent);
    let mut duration = |given, default, most| {
        values::duration(report, given, default, Duration::from_millis(100)..=seconds(most))
    };
    let header_deadline = duration(&limits.header_deadline, default.header_deadline, 60);
    let body_grace = duration(&limits.body_grace, default.body_grace, 300);
    let keep_alive = duration(&limits.keep_alive, default.keep_alive, 3_600);
    let rate = values::size(report, &limits.body_min_rate, default.body_min_rate as usize, 1..=1024 * 1024);
    let connections =
        values::count(report, &limits.connections, 1..=1_000_000).unwrap_or(default.connections);
    let slow_bodies = values::count(report, &limits.slow_bodies, 1..=1_000_000);
    let own = values::count(report, &limits.connections_per_client, 1..=1_000_000);
    let h2_streams = values::count(report, &limits.h2_streams, 1..=1_000);
    if let (Some(own), Some(text)) = (own, limits.connections_per_client.as_ref())
        && own > connections
    {
        let message = format!("one client may have {own} connections, but all together only {connections}");
        report.add(Code::LimitsContradict, text, message, "raise `connections`, or lower this");
    }
    ListenerLimits {
        header_deadline,
        body_bytes: body_bytes(report, &limits.body_bytes, default.body_bytes),
        body_min_rate: u32::try_from(rate).unwrap_or(default.body_min_rate),
        body_grace,
        slow_bodies: slow_bodies.unwrap_or(default.slow_bodies),
        keep_alive,
        connections,
        connections_per_client: own.unwrap_or(default.connections_per_client).min(connections),
        h2_streams: h2_streams.and_then(|count| u32::try_from(count).ok()).unwrap_or(default.h2_streams),
    }
}

/// The most bytes of a body.
pub(super) fn body_bytes(report: &mut Report<'_>, given: &Given<Text>, default: u64) -> u64 {
    let default = usize::try_from(default).unwrap_or(usize::MAX);
    u64::try_from(values::size(report, given, default, 1..=MOST_BODY_BYTES)).unwrap_or(u64::MAX)
}

/// `unix:/path`: where a Unix socket is made.
pub(super) fn socket_path(path: &str, text: &Text, report: &mut Report<'_>) -> Option<PathBuf> {
    let problem = if !Path::new(path).is_absolute() || path.ends_with('/') {
        "is not the absolute path of a file"
    } else if path.len() > LONGEST_SOCKET_PATH {
        "is longer than a socket's path may be"
    } else {
        return Some(path.into());
    };
    let help = "write an absolute path of at most 107 bytes, such as `unix:/run/wardgate/edge.sock`";
    report.add(Code::BadSocketPath, text, format!("`{path}` {problem}"), help);
    None
}

/// Who announces clients by the PROXY protocol.
pub(super) fn announcers(
    schema: Option<&Spanned<ProxyProtocol>>,
    address: &ListenAddress,
    report: &mut Report<'_>,
) -> Announcers {
    let Some(map) = schema else { return Announcers::default() };
    let from = report.required(&map.value.from, "from", map.into(), "[10.40.0.7]");
    if let Some(list) = from.filter(|list| list.value.is_empty()) {
        report.add(Code::Empty, list, "nobody is named", "name the load balancer's address");
    }
    let (unix, others): (Vec<&Text>, Vec<&Text>) =
        map.value.from.items().iter().partition(|text| text.value == "unix");
    let listens_on_unix = matches!(address, ListenAddress::Unix(_));
    let out_of_place = if listens_on_unix { others.first() } else { unix.first() };
    if let Some(text) = out_of_place {
        let (message, help) = if listens_on_unix {
            (
                "a peer on a Unix socket has no address",
                "write `unix`: whoever may open the socket is believed",
            )
        } else {
            ("no peer of this listener comes over a Unix socket", "name the load balancer's address")
        };
        report.add(Code::NoPeerAddress, *text, message, help);
    }
    Announcers { networks: networks(others, report), unix: !unix.is_empty() }
}

/// Compiles `rate_limits`, and tells each route which of them are its own.
pub(super) fn rate_limits(file: &File, drafts: &mut [Draft<'_>], report: &mut Report<'_>) -> Vec<RateLimit> {
    let mut names = Names::default();
    let mut limits = Vec::new();
    for item in file.rate_limits.items() {
        let report = &mut report.within("rate limit", item.value.name.text());
        if let Some(name) = report.required(&item.value.name, "name", item.into(), "everybody") {
            values::name(report, name);
            names.add(report, "rate limit", name);
        }
        if let Some(limit) = rate_limit(item, report) {
            apply(&limit, limits.len(), &item.value, drafts, report);
            limits.push(limit);
        }
    }
    limits
}

fn rate_limit(item: &Spanned<Schema>, report: &mut Report<'_>) -> Option<RateLimit> {
    let schema = &item.value;
    report.required(&schema.per, "per", item.into(), "address");
    report.required(&schema.requests, "requests", item.into(), "600");
    report.required(&schema.r#in, "in", item.into(), "1m");
    let words =
        [("address", CountedBy::Address), ("subject", CountedBy::Subject), ("route", CountedBy::Route)];
    let per = values::choice(report, &schema.per, &words, CountedBy::Address);
    let requests = values::count(report, &schema.requests, 1..=MOST_REQUESTS);
    let burst = values::count(report, &schema.burst, 1..=MOST_REQUESTS);
    let window = values::whole_seconds(report, &schema.r#in);
    if let (Some(text), Some(86_401..)) = (schema.r#in.as_ref(), window) {
        let message = format!("`{}` is out of range", text.value);
        report.add(Code::BadQuantity, text, message, "write a duration from 1s to 1d");
    }
    let narrow = |number: usize| u32::try_from(number).ok();
    let requests = requests.and_then(narrow)?;
    Some(RateLimit {
        name: schema.name.text().unwrap_or_default().into(),
        per,
        requests,
        window: window.and_then(|window| u32::try_from(window).ok())?,
        burst: burst.and_then(narrow).unwrap_or(requests),
        everywhere: schema.routes.is_none() && per == CountedBy::Address,
    })
}

fn apply(
    limit: &RateLimit,
    position: usize,
    schema: &Schema,
    drafts: &mut [Draft<'_>],
    report: &mut Report<'_>,
) {
    let Some(list) = schema.routes.as_ref() else {
        let asks = |draft: &&mut Draft<'_>| {
            limit.per != CountedBy::Subject || draft.route.access == Access::Protected
        };
        drafts.iter_mut().filter(asks).for_each(|draft| draft.route.rate_limits.push(position));
        return;
    };
    if list.value.is_empty() {
        let help = "name routes, or leave `routes` out: then it holds for all";
        report.add(Code::RateLimitWithoutEffect, list, "the limit names no route", help);
    }
    for text in &list.value {
        match drafts.iter_mut().find(|draft| *draft.route.id == *text.value) {
            None => {
                let ids: Vec<Box<str>> = drafts.iter().map(|draft| draft.route.id.clone()).collect();
                report.unknown(Code::UnknownRoute, "route", text, ids.iter().map(AsRef::as_ref));
            }
            Some(draft) if limit.per == CountedBy::Subject && draft.route.access == Access::Public => {
                let message = format!("route `{}` is public: it has no subject to count by", text.value);
                report.add(Code::RateLimitWithoutEffect, text, message, "write `per: address`");
            }
            Some(draft) if draft.route.rate_limits.contains(&position) => {
                let message = format!("route `{}` is named twice", text.value);
                report.add(Code::RepeatedName, text, message, "take one out");
            }
            Some(draft) => draft.route.rate_limits.push(position),
        }
    }
}
