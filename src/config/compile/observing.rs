//! What the gateway tells others about requests: spans to a collector, `Proxy-Status` to clients.

use reqwest::Url;

use crate::config::codes::Code;
use crate::config::report::Report;
use crate::config::schema::{File, ProxyStatus, Text};
use crate::config::settings::{ProxyStatusSettings, TraceSettings};
use crate::config::values;

/// The share of requests that are recorded where nothing is said.
const SAMPLE: f64 = 0.01;

/// Compiles `telemetry.traces`.
pub(super) fn traces(file: &File, report: &mut Report<'_>) -> Option<TraceSettings> {
    let schema = file.telemetry.as_ref()?.value.traces.as_ref()?;
    let report = &mut report.within("telemetry", None);
    let sample = schema.value.sample.as_ref().map_or(SAMPLE, |text| share(report, text));
    let otlp = report.required(&schema.value.otlp, "otlp", schema.into(), "\"http://127.0.0.1:4318\"")?;
    collector(report, otlp).map(|collector| TraceSettings { collector, sample })
}

fn share(report: &mut Report<'_>, text: &Text) -> f64 {
    match text.value.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => share,
        _ => {
            let message = format!("`{}` is not a share of requests", text.value);
            report.add(Code::BadShare, text, message, "write a number from 0 to 1, such as `0.01`");
            SAMPLE
        }
    }
}

/// The collector's address; the path that OTLP gives traces is added where there is none.
fn collector(report: &mut Report<'_>, text: &Text) -> Option<Url> {
    let url = Url::parse(&text.value).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let Some(mut url) = url else {
        let message = format!("`{}` is not the address of a collector", text.value);
        let help = "write the address of its OTLP/HTTP receiver, such as `http://127.0.0.1:4318`";
        report.add(Code::BadCollector, text, message, help);
        return None;
    };
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    Some(url)
}

/// Compiles `proxy_status`.
pub(super) fn proxy_status(schema: Option<&ProxyStatus>, report: &mut Report<'_>) -> ProxyStatusSettings {
    let absent = ProxyStatus::default();
    let schema = schema.unwrap_or(&absent);
    let report = &mut report.within("proxy_status", None);
    if let Some(name) = schema.name.as_ref() {
        values::name(report, name);
    }
    let words = [("drop", false), ("pass", true)];
    ProxyStatusSettings {
        name: schema.name.text().unwrap_or("gateway").into(),
        passes_upstream: values::choice(report, &schema.from_upstream, &words, false),
    }
}
