//! Where an issuer's keys or answers come from.

use std::path::Path;
use std::time::Duration;

use http::Uri;
use serde_saphyr::Spanned;

use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::insecure::PlainHttp;
use crate::config::report::Report;
use crate::config::schema::{Introspection, Issuer, Jwks, Text};
use crate::config::settings::{KeyLifetimes, KeySource};
use crate::config::values::{self, FOREVER, seconds};
use crate::identity::jwk::KeySet;

/// The shortest time that is worth setting a timer for.
const INSTANT: Duration = Duration::from_millis(1);
/// More of a key file is not read.
const MAX_KEY_FILE_BYTES: u64 = 256 * 1024;

/// Compiles `jwks` or `introspection`; with neither, the keys are found by discovery.
pub(super) fn source<'s>(
    report: &mut Report<'_>,
    schema: &'s Issuer,
    plain_http: &mut PlainHttp<'s>,
    base_dir: &Path,
) -> KeySource {
    let name = schema.name.as_ref().map_or("", |name| &name.value);
    let (file, address) = match schema.jwks.as_ref() {
        Some(jwks) => (jwks.value.file.as_ref(), jwks.value.url.as_ref()),
        None => (None, None),
    };
    if let Some(asked) = schema.introspection.as_ref() {
        if let Some(keys) = file.or(address) {
            let message = "keys are of no use where every token is shown to the issuer";
            report.add(Code::ConflictingKeySources, keys, message, "keep either `introspection` or `jwks`");
        }
        return introspection(report, asked, name, plain_http, base_dir);
    }
    if let (Some(_), Some(address)) = (file, address) {
        let message = "the keys come from a file already";
        report.add(Code::ConflictingKeySources, address, message, "keep either `file` or `url`");
    }
    if let Some(address) = address {
        url(report, address, name, plain_http);
    }
    match (file, address) {
        (Some(path), _) => {
            let file = values::file(report, base_dir, path);
            check_key_file(report, path, &file);
            KeySource::File(file)
        }
        (None, Some(address)) => KeySource::Address(address.value.as_str().into()),
        (None, None) => KeySource::Discovery,
    }
}

/// What can't be read as a file is told already; this is about what stands in it.
fn check_key_file(report: &mut Report<'_>, text: &Text, path: &Path) {
    let Ok(bytes) = values::read_bounded(path, MAX_KEY_FILE_BYTES) else { return };
    if !bytes.is_empty()
        && let Err(error) = KeySet::parse(&bytes)
    {
        let message = format!("`{}` holds no keys that can be used: {error}", text.value);
        report.add(
            Code::KeyFileMalformed,
            text,
            message,
            "name a JWK set (RFC 7517) with the issuer's public keys",
        );
    }
}

fn introspection<'s>(
    report: &mut Report<'_>,
    schema: &'s Spanned<Introspection>,
    issuer: &str,
    plain_http: &mut PlainHttp<'s>,
    base_dir: &Path,
) -> KeySource {
    let (place, schema) = (Place::from(schema), &schema.value);
    if let Some(endpoint) = schema.endpoint.as_ref() {
        url(report, endpoint, issuer, plain_http);
    }
    let client_id = report.required(&schema.client_id, "client_id", place, "wardgate");
    let secret =
        report.required(&schema.client_secret_file, "client_secret_file", place, "/secrets/introspection");
    KeySource::Introspection {
        endpoint: schema.endpoint.as_ref().map(|endpoint| endpoint.value.as_str().into()),
        client_id: client_id.map(|text| values::filled(report, text)).unwrap_or_default().into(),
        client_secret_file: secret.map(|text| values::file(report, base_dir, text)).unwrap_or_default(),
        // Every second here is one in which a revoked token still counts.
        cache: values::duration(report, &schema.cache, seconds(10), seconds(0)..=seconds(300)),
        timeout: values::duration(report, &schema.timeout, seconds(2), INSTANT..=seconds(30)),
    }
}

/// Compiles how long keys live. Defaults give way to what is written, so that only what is written can
/// contradict itself.
pub(super) fn lifetimes(report: &mut Report<'_>, schema: Option<&Jwks>) -> KeyLifetimes {
    let absent = Jwks::default();
    let jwks = schema.unwrap_or(&absent);
    let refresh = values::duration(report, &jwks.refresh, seconds(300), seconds(1)..=FOREVER);
    let default_stale = seconds(3_600).max(refresh);
    let stale_for = values::duration(report, &jwks.stale_for, default_stale, seconds(0)..=FOREVER);
    let default_critical = seconds(600).max(refresh).min(stale_for);
    let stale_for_critical =
        values::duration(report, &jwks.stale_for_critical, default_critical, seconds(0)..=FOREVER);
    if let Some(text) = jwks.stale_for.as_ref()
        && stale_for < refresh
    {
        let help = "keys would be refused before they are fetched again; write a longer `stale_for`";
        report.add(Code::KeyLifetimes, text, "`stale_for` is shorter than `refresh`", help);
    }
    if let Some(text) = jwks.stale_for_critical.as_ref()
        && stale_for_critical < refresh
    {
        let help = "the critical tiers would refuse between two fetches; write a longer `stale_for_critical`";
        report.add(Code::KeyLifetimes, text, "`stale_for_critical` is shorter than `refresh`", help);
    }
    if let Some(text) = jwks.stale_for_critical.as_ref()
        && stale_for_critical > stale_for
    {
        let help = "the critical tiers can't trust keys for longer than the others";
        report.add(Code::KeyLifetimes, text, "`stale_for_critical` is longer than `stale_for`", help);
    }
    KeyLifetimes {
        refresh,
        stale_for,
        stale_for_critical,
        unknown_kid_interval: values::duration(
            report,
            &jwks.unknown_kid_interval,
            seconds(30),
            seconds(1)..=FOREVER,
        ),
        timeout: values::duration(report, &jwks.timeout, seconds(5), INSTANT..=seconds(60)),
    }
}

/// Reports a URL that an issuer can't have, or may not have without leave.
pub(super) fn url<'s>(report: &mut Report<'_>, text: &'s Text, issuer: &str, plain_http: &mut PlainHttp<'s>) {
    match scheme(&text.value) {
        Some("https") => {}
        Some("http") => {
            if !plain_http.allows(issuer) {
                let message =
                    format!("`{}` is not encrypted: who sits between can make up tokens", text.value);
                let help =
                    format!("use `https://`; for a test, `insecure: {{ plain_http_issuers: [{issuer}] }}`");
                report.add(Code::PlainHttp, text, message, help);
            }
        }
        _ => {
            let message = format!("`{}` is not a URL that can be used here", text.value);
            let help = "write `https://host/path`, without query, fragment, user and password";
            report.add(Code::BadUrl, text, message, help);
        }
    }
}

/// The scheme of an absolute URL without query, fragment and user information (OpenID Connect Discovery 1.0
/// §3).
fn scheme(url: &str) -> Option<&'static str> {
    let parsed: Uri = url.parse().ok()?;
    let plain = parsed.query().is_none()
        && !url.contains(['#', '@'])
        && parsed.host().is_some_and(|host| !host.is_empty());
    match parsed.scheme_str() {
        Some("https") if plain => Some("https"),
        Some("http") if plain => Some("http"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_absolute_urls() {
        assert_eq!(scheme("https://login.clinic.example/realms/a"), Some("https"));
        assert_eq!(scheme("http://127.0.0.1:9000"), Some("http"));
        for url in [
            "login.clinic.example",
            "/realms",
            "ftp://a",
            "https://",
            "https://u@a/",
            "https://a/?q",
            "https://a/#f",
            "https://a b",
        ] {
            assert_eq!(scheme(url), None, "{url}");
        }
    }
}
