//! Which pages of other origins may call a route.

use serde_saphyr::Spanned;

use super::inject::is_header;
use crate::config::codes::Code;
use crate::config::report::Report;
use crate::config::schema::{Cors as Schema, Text};
use crate::config::values::{self, seconds};
use crate::policy::route::Cors;
use crate::request::host::Host;

/// Compiles `cors`.
pub(super) fn compile(report: &mut Report<'_>, schema: &Spanned<Schema>) -> Cors {
    let Schema { origins, headers, max_age } = &schema.value;
    report.required(origins, "origins", schema.into(), "[\"https://portal.clinic.example\"]");
    values::texts(report, origins);
    values::texts(report, headers);
    for text in origins.items() {
        check_origin(report, text);
    }
    for text in headers.items().iter().filter(|text| !is_header(&text.value.to_ascii_lowercase())) {
        let message = format!("`{}` is not the name of a header", text.value);
        report.add(Code::BadHeader, text, message, "name each header, such as `content-type`");
    }
    let max_age = values::duration(report, max_age, seconds(600), seconds(0)..=seconds(86_400));
    Cors {
        origins: origins.items().iter().map(|text| text.value.as_str().into()).collect(),
        headers: headers.items().iter().map(|text| text.value.to_ascii_lowercase().into()).collect(),
        max_age: u32::try_from(max_age.as_secs()).unwrap_or(u32::MAX),
    }
}

fn check_origin(report: &mut Report<'_>, text: &Text) {
    let origin = text.value.as_str();
    if is_origin(origin) {
        return;
    }
    if origin == "*" {
        let message = "every page of the web could call this with the caller's token";
        report.add(Code::BadOrigin, text, message, "name each origin");
    } else {
        let message = format!("`{origin}` is not an origin as browsers send it");
        let help =
            "write `https://host`, and `:port` only where it is not the usual one; no path, no capitals";
        report.add(Code::BadOrigin, text, message, help);
    }
}

/// Whether a browser would serialise an origin so: lower case, no path, no default port (RFC 6454 §6.2).
fn is_origin(origin: &str) -> bool {
    let parts = [("https://", ":443"), ("http://", ":80")];
    parts.iter().any(|(scheme, usual_port)| {
        origin.strip_prefix(scheme).is_some_and(|host| {
            let lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
            lower && !host.ends_with(usual_port) && Host::parse(host.as_bytes()).is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for origin in
            ["https://portal.clinic.example", "https://a:8443", "http://localhost:3000", "https://[::1]"]
        {
            assert!(is_origin(origin), "{origin}");
        }
        for origin in [
            "*",
            "null",
            "https://a/",
            "https://A",
            "https://a:443",
            "http://a:80",
            "a",
            "https://*.a",
            "ftp://a",
            "",
        ] {
            assert!(!is_origin(origin), "{origin}");
        }
    }
}
