//! The endpoints of an upstream: where they are, which one is asked, and what is done when one fails.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_saphyr::Spanned;

use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{Ejection, Given, HealthCheck, Retries, Text, Upstream as Schema};
use crate::config::settings::{Balance, EjectionSettings, Endpoint, HealthCheckSettings, RetrySettings};
use crate::config::values::{self, seconds};
use crate::request::host::Host;

/// How long an endpoint that comes back may get less than its share.
pub(super) const SLOW_START: RangeInclusive<Duration> = Duration::ZERO..=seconds(3_600);
/// The longest path of a Unix socket that Linux takes (`sun_path` with its closing NUL).
const SOCKET_PATH: usize = 107;

/// The endpoints, each of them once.
pub(super) fn list(schema: &Schema, place: Place, report: &mut Report<'_>) -> Vec<Endpoint> {
    let Some(list) = report.required(&schema.endpoints, "endpoints", place, "[\"127.0.0.1:8080\"]") else {
        return Vec::new();
    };
    if list.value.is_empty() {
        report.add(Code::Empty, list, "there is no endpoint", "write at least one `host:port`");
    }
    let mut seen = HashSet::new();
    let mut endpoints = Vec::new();
    for text in &list.value {
        let Some(endpoint) = parse(&text.value) else {
            let message = format!("`{}` is not an endpoint", text.value);
            let help =
                "write `host:port`, such as `ehr:8080` or `[::1]:8080`, without a scheme, or `unix:/path`";
            report.add(Code::BadEndpoint, text, message, help);
            continue;
        };
        if !seen.insert(text.value.to_ascii_lowercase()) {
            let message = format!("`{}` is listed twice", text.value);
            report.add(Code::RepeatedEndpoint, text, message, "list each endpoint once");
        }
        endpoints.push(endpoint);
    }
    endpoints
}

fn parse(text: &str) -> Option<Endpoint> {
    if let Some(path) = text.strip_prefix("unix:") {
        let fits = path.len() <= SOCKET_PATH && !path.contains('\0') && Path::new(path).is_absolute();
        return fits.then(|| Endpoint::Unix(path.into()));
    }
    let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let fits = port.is_some_and(|port| port != 0) && Host::parse(text.as_bytes()).is_ok();
    fits.then(|| Endpoint::Network(text.into()))
}

/// Which endpoint gets the next request.
pub(super) fn balance(schema: &Schema, report: &mut Report<'_>) -> Balance {
    let words = [
        ("round_robin", Balance::RoundRobin),
        ("least_connections", Balance::LeastConnections),
        ("consistent_hash", Balance::ConsistentHash),
    ];
    values::choice(report, &schema.balance, &words, Balance::RoundRobin)
}

/// How endpoints are asked whether they are well.
pub(super) fn health_check(schema: &Spanned<HealthCheck>, report: &mut Report<'_>) -> HealthCheckSettings {
    let HealthCheck { path, interval, timeout, healthy_after, unhealthy_after, expect } = &schema.value;
    let written = report.required(path, "path", schema.into(), "/health");
    if let Some(text) = written
        && !is_path(&text.value)
    {
        let message = format!("`{}` can't be asked for", text.value);
        report.add(Code::BadHealthCheck, text, message, "write a path such as `/health`, in visible ASCII");
    }
    let interval =
        values::duration(report, interval, seconds(5), Duration::from_millis(100)..=seconds(3_600));
    let timeout = values::duration(report, timeout, seconds(2), Duration::from_millis(10)..=seconds(60));
    let mut times = |given, default| number(report, given, 1..=100, default);
    let (healthy_after, unhealthy_after) = (times(healthy_after, 2), times(unhealthy_after, 3));
    values::texts(report, expect);
    let mut statuses = Vec::new();
    for text in expect.items() {
        match status_range(&text.value) {
            Some(range) => statuses.push(range),
            None => {
                let message = format!("`{}` is no status of a final answer", text.value);
                let help = "write a status such as `204`, or a class such as `2xx`";
                report.add(Code::BadHealthCheck, text, message, help);
            }
        }
    }
    if statuses.is_empty() {
        statuses.push((200, 299));
    }
    HealthCheckSettings {
        path: written.map(|text| text.value.as_str()).unwrap_or_default().into(),
        interval,
        timeout,
        healthy_after,
        unhealthy_after,
        expect: statuses,
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// `204`, or `2xx` for the whole class; never an interim answer.
fn status_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = match text.strip_suffix("xx") {
        Some(class) => {
            let class = class.parse::<u16>().ok()?;
            (class.checked_mul(100)?, class.checked_mul(100)?.checked_add(99)?)
        }
        None => {
            let status = text.parse().ok()?;
            (status, status)
        }
    };
    ((200..=599).contains(&first) && !text.starts_with('+')).then_some((first, last))
}

/// When an endpoint that fails requests is left out.
pub(super) fn ejection(schema: Option<&Ejection>, report: &mut Report<'_>) -> EjectionSettings {
    let absent = Ejection::default();
    let Ejection { after, time, max_time, max_percent } = schema.unwrap_or(&absent);
    let range = || Duration::from_millis(100)..=seconds(86_400);
    let time = values::duration(report, time, seconds(10), range());
    let max_time = values::duration(report, max_time, seconds(300), range());
    EjectionSettings {
        after: number(report, after, 1..=1_000, 5),
        time,
        max_time: max_time.max(time),
        max_percent: number(report, max_percent, 0..=100, 50),
    }
}

/// What is sent again.
pub(super) fn retries(schema: &Spanned<Retries>, report: &mut Report<'_>) -> RetrySettings {
    let Retries { max, methods } = &schema.value;
    let max = number(report, max, 0..=5, 1);
    values::texts(report, methods);
    let mut wanted: Vec<Method> = Vec::new();
    for text in methods.items() {
        match text.value.parse::<Method>() {
            Ok(method) if method.is_idempotent() && method != Method::TRACE => wanted.push(method),
            _ => {
                let message = format!("`{}` may take effect twice when it is sent again", text.value);
                let help = "take it out: only `GET`, `HEAD`, `OPTIONS`, `PUT` and `DELETE` are sent again";
                report.add(Code::NotIdempotent, text, message, help);
            }
        }
    }
    if methods.is_none() {
        wanted.push(Method::GET);
    }
    if wanted.contains(&Method::GET) && !wanted.contains(&Method::HEAD) {
        wanted.push(Method::HEAD);
    }
    RetrySettings { max, methods: wanted }
}

fn number(report: &mut Report<'_>, given: &Given<Text>, range: RangeInclusive<usize>, default: u32) -> u32 {
    values::count(report, given, range).and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_host_and_port_or_sockets() {
        for text in ["ehr:8080", "127.0.0.1:80", "[::1]:8080", "ehr.clinic.example:443", "unix:/run/app.sock"]
        {
            let endpoint = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(endpoint.name(), text);
        }
        for text in [
            "ehr",
            "ehr:",
            "ehr:0",
            "ehr:99999",
            "http://ehr:80",
            "::1:80",
            "unix:run/a",
            "unix:",
            "a b:80",
            ":80",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert!(parse(&format!("unix:/{}", "a".repeat(SOCKET_PATH))).is_none());
        let host = |text| parse(text).map(|endpoint| endpoint.host().to_owned());
        assert_eq!(host("[::1]:8080").as_deref(), Some("::1"));
        assert_eq!(host("ehr:8080").as_deref(), Some("ehr"));
    }

    #[test]
    fn statuses_are_final() {
        assert_eq!(status_range("204"), Some((204, 204)));
        assert_eq!(status_range("2xx"), Some((200, 299)));
        for text in ["1xx", "6xx", "99", "100", "600", "xx", "", "ok", "+204", "-2xx", "700xx"] {
            assert_eq!(status_range(text), None, "{text}");
        }
    }
}
