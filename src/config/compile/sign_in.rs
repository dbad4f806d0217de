//! Signing in: with whom, at which hosts, for how long, and what the pages look like.

use std::path::Path;
use std::time::Duration;

use serde_saphyr::Spanned;

use super::recognised_device;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{File, Issuer, Pages, SignIn, Text};
use crate::config::settings::{
    LogoSettings, Origin, PagesSettings, SessionLimits, SignInSettings, StateSettings,
};
use crate::config::values::{self, seconds};
use crate::enforce::sessions::OWN_PATH;
use crate::identity::Caller;
use crate::identity::assurance::Levels;
use crate::request::host::Host;

/// A person who has left is signed out after this long (NIST SP 800-63B-4, 2.3.3 advises at most an hour).
const IDLE: Duration = seconds(15 * 60);
/// The same where the next person already waits.
const IDLE_SHARED: Duration = seconds(2 * 60);
/// A working day.
const ABSOLUTE: Duration = seconds(12 * 3_600);
/// Pages carry the picture in themselves.
const MAX_LOGO_BYTES: u64 = 64 * 1024;
/// What text and what is not text must differ by (WCAG 2.2, 1.4.3).
const CONTRAST: f64 = 4.5;

/// Compiles an issuer's `sign_in`.
pub(super) fn compile(
    schema: &Issuer,
    (callers, levels): (Caller, &Levels),
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Option<SignInSettings> {
    let given = schema.sign_in.as_ref()?;
    let (place, sign_in) = (Place::from(given), &given.value);
    if callers == Caller::Service {
        let help = "take `sign_in` out, or say `callers: people`";
        report.add(Code::NobodyToSignIn, given, "services don't sign in at a page", help);
    }
    let client_id = report.required(&sign_in.client_id, "client_id", place, "portal");
    let secret = report.required(&sign_in.client_secret_file, "client_secret_file", place, "/secrets/oidc");
    report.required(&sign_in.origins, "origins", place, "[https://portal.clinic.example]");
    // An empty list would let nobody sign in anywhere.
    values::texts(report, &sign_in.origins);
    let origins = origins(sign_in, report);
    let shared = sign_in.shared_workstation.as_ref().is_some_and(|shared| shared.value);
    let label = sign_in.label.as_ref().or(schema.name.as_ref());
    Some(SignInSettings {
        client_id: client_id.map(|text| values::filled(report, text)).unwrap_or_default().into(),
        client_secret_file: secret.map(|text| values::file(report, base_dir, text)).unwrap_or_default(),
        origins,
        scopes: scopes(sign_in, report),
        backchannel_logout: sign_in.backchannel_logout.as_ref().is_some_and(|yes| yes.value),
        shared_workstation: shared,
        label: label.map(|text| values::filled(report, text)).unwrap_or_default().into(),
        session: limits(sign_in, shared, report),
        recognised_device: recognised_device::compile(sign_in, shared, levels, report),
    })
}

fn origins(schema: &SignIn, report: &mut Report<'_>) -> Vec<Origin> {
    let mut found: Vec<Origin> = Vec::new();
    for text in schema.origins.items() {
        match origin(&text.value) {
            None => {
                let message = format!("`{}` is not an origin at which people can sign in", text.value);
                let help = "write `https://host` or `https://host:port` in small letters, as browsers show it; `http://` only for `localhost`";
                report.add(Code::BadSignInOrigin, text, message, help);
            }
            Some(origin) if found.iter().any(|other| other.host == origin.host) => {
                let message = format!("the host of `{}` has an origin already", text.value);
                report.add(
                    Code::BadSignInOrigin,
                    text,
                    message,
                    "keep one: cookies don't tell the ports of a host apart",
                );
            }
            Some(origin) => found.push(origin),
        }
    }
    found
}

fn origin(text: &str) -> Option<Origin> {
    let (rest, plain) = match text.strip_prefix("https://") {
        Some(rest) => (rest, false),
        None => (text.strip_prefix("http://")?, true),
    };
    let host = Host::parse(rest.as_bytes()).ok()?;
    // Browsers leave the usual port out, and would then send another origin than this one.
    let is_exact = rest == rest.to_ascii_lowercase() && !rest.ends_with(if plain { ":80" } else { ":443" });
    let name = host.as_str();
    let is_local = name == "localhost" || name.ends_with(".localhost");
    (is_exact && (!plain || is_local)).then(|| Origin { host: name.into(), text: text.into() })
}

fn scopes(schema: &SignIn, report: &mut Report<'_>) -> Vec<Box<str>> {
    let Some(list) = schema.scopes.as_ref() else { return vec!["openid".into()] };
    let scopes = values::texts(report, &schema.scopes);
    if !scopes.iter().any(|scope| scope.as_ref() == "openid") {
        let help = "add `openid`: without it the issuer says nothing of who has signed in";
        report.add(Code::ScopesWithoutOpenid, list, "`openid` is not among the scopes", help);
    }
    scopes
}

fn limits(schema: &SignIn, shared: bool, report: &mut Report<'_>) -> SessionLimits {
    let absent = crate::config::schema::Session::default();
    let session = schema.session.as_ref().map_or(&absent, |session| &session.value);
    let range = seconds(1)..=seconds(30 * 86_400);
    let absolute = values::duration(report, &session.absolute, ABSOLUTE, range.clone());
    let default = if shared { IDLE_SHARED } else { IDLE };
    let idle = values::duration(report, &session.idle, default.min(absolute), range);
    if let Some(text) = session.idle.as_ref()
        && idle > absolute
    {
        let help = "a session that nobody uses can't outlast the longest session";
        report.add(Code::SessionLimits, text, "`idle` is longer than `absolute`", help);
    }
    SessionLimits { idle, absolute }
}

/// What can be seen only with all of the file in view.
pub(super) fn check(file: &File, state: &StateSettings, report: &mut Report<'_>) {
    let sign_ins = || file.issuers.items().iter().filter_map(|item| item.value.sign_in.as_ref());
    let Some(first) = sign_ins().next() else {
        if let Some(pages) = file.pages.as_ref() {
            let help = "take `pages` out, or give an issuer a `sign_in`";
            report.add(Code::PagesWithoutSignIn, pages, "nobody signs in, so no page is ever shown", help);
        }
        return;
    };
    check_apart(file, report);
    let is_shared = matches!(state.store, crate::config::settings::StoreSettings::Redis(_));
    if !is_shared && !state.single_replica {
        report.add(
            Code::SessionsNotShared,
            first,
            "sessions would be known to one gateway only, and so would signing out",
            "say `state: { single_replica: true }` if there is only one, or use `store: redis`",
        );
    }
}

/// Reports routes at paths that the gateway answers itself.
pub(super) fn check_own_paths(file: &File, report: &mut Report<'_>) {
    let has_own = !file.break_glass.entries().is_empty()
        || file.delegation.is_some()
        || file.issuers.items().iter().any(|item| {
            let is_pushed_to =
                item.value.shared_signals.as_ref().is_some_and(|signals| signals.value.push.is_some());
            item.value.sign_in.is_some() || is_pushed_to
        });
    for item in file.routes.items().iter().filter(|_| has_own) {
        let path = item.value.r#match.as_ref().and_then(|matched| matched.value.path.as_ref());
        let Some(path) = path.filter(|path| path.value.starts_with(OWN_PATH)) else { continue };
        let report = &mut report.within("route", item.value.id.text());
        let message = format!(
            "paths under `{OWN_PATH}` are the gateway's own where people sign in, break the glass, or events are pushed"
        );
        report.add(Code::OwnPath, path, message, "serve this route under another path");
    }
}

/// Compiles `pages`.
pub(super) fn pages(
    schema: Option<&Spanned<Pages>>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> PagesSettings {
    let Some(schema) = schema.map(|pages| &pages.value) else { return PagesSettings::default() };
    let report = &mut report.within("pages", None);
    let default = PagesSettings::default();
    let name = schema.name.as_ref().map_or(default.name, |text| values::filled(report, text).into());
    let colour = schema.colour.as_ref().map_or(default.colour, |text| colour(text, report));
    let logo = schema.logo_file.as_ref().and_then(|text| logo(text, base_dir, report));
    let origin = schema.origin.as_ref().and_then(|text| own_origin(text, report));
    PagesSettings { name, colour, logo, origin }
}

fn own_origin(text: &Text, report: &mut Report<'_>) -> Option<Origin> {
    let found = origin(&text.value);
    if found.is_none() {
        let message = format!("`{}` is not an origin at which there can be pages", text.value);
        let help = "write `https://host` or `https://host:port` in small letters, as browsers show it; `http://` only for `localhost`";
        report.add(Code::PagesNotApart, text, message, help);
    }
    found
}

/// Reports a host of the pages' own at which there is an application too: its scripts could press the pages' buttons.
fn check_apart(file: &File, report: &mut Report<'_>) {
    let Some(text) = file.pages.as_ref().and_then(|pages| pages.value.origin.as_ref()) else { return };
    let Some(own) = origin(&text.value) else { return };
    let sign_ins = file.issuers.items().iter().filter_map(|item| item.value.sign_in.as_ref());
    let origins = sign_ins.flat_map(|sign_in| sign_in.value.origins.items());
    let signs_in = origins.filter_map(|text| origin(&text.value)).any(|origin| origin.host == own.host);
    let matches = file.routes.items().iter().filter_map(|item| item.value.r#match.as_ref());
    let hosts = matches.filter_map(|matched| matched.value.host.as_ref());
    let is_served = hosts.into_iter().any(|host| host.value.eq_ignore_ascii_case(&own.host));
    if signs_in || is_served {
        let report = &mut report.within("pages", None);
        let message = format!("`{}` is the host of an application too", own.host);
        let help = "name a host that has nothing but these pages: what an application's scripts can reach there, they can press";
        report.add(Code::PagesNotApart, text, message, help);
    }
}

fn colour(text: &Text, report: &mut Report<'_>) -> Box<str> {
    match contrast_with_white(&text.value) {
        None => {
            let message = format!("`{}` is not a colour", text.value);
            report.add(
                Code::BadBranding,
                text,
                message,
                "write it as `\"#0b5394\"`: two digits each of red, green, blue",
            );
        }
        Some(contrast) if contrast < CONTRAST => {
            let message = format!("`{}` can't be read on white, nor white on it", text.value);
            let help = format!(
                "take a darker one: the contrast is {contrast:.1}, and must be {CONTRAST} (WCAG 2.2, 1.4.3)"
            );
            report.add(Code::BadBranding, text, message, help);
        }
        Some(_) => {}
    }
    text.value.as_str().into()
}

/// The contrast ratio of a colour and white (WCAG 2.2); `None` where it is no colour.
fn contrast_with_white(colour: &str) -> Option<f64> {
    let digits = colour.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.is_ascii())?;
    let part = |at: usize| {
        let value = f64::from(u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?) / 255.0;
        Some(if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) })
    };
    let luminance = 0.2126 * part(0)? + 0.7152 * part(2)? + 0.0722 * part(4)?;
    Some(1.05 / (luminance + 0.05))
}

fn logo(text: &Text, base_dir: &Path, report: &mut Report<'_>) -> Option<LogoSettings> {
    let path = values::file(report, base_dir, text);
    let bytes = values::read_bounded(&path, MAX_LOGO_BYTES).ok();
    let media = bytes.as_deref().and_then(|bytes| match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        bytes
            if bytes.trim_ascii_start().starts_with(b"<svg")
                || bytes.trim_ascii_start().starts_with(b"<?xml") =>
        {
            Some("image/svg+xml")
        }
        _ => None,
    });
    match (bytes, media) {
        (Some(bytes), Some(media)) => Some(LogoSettings { media, bytes }),
        _ => {
            if path.is_file() {
                let message = format!("`{}` is not a picture that pages can show", text.value);
                report.add(Code::BadBranding, text, message, "use a PNG or SVG file of at most 64 KiB");
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_send_them() {
        for text in [
            "https://portal.clinic.example",
            "https://p.example:8443",
            "http://localhost:8080",
            "https://[::1]:1",
        ] {
            assert_eq!(origin(text).map(|origin| origin.text.to_string()).as_deref(), Some(text));
        }
        assert_eq!(origin("https://p.example:8443").expect("origin").host.as_ref(), "p.example");
        for text in [
            "portal.clinic.example",
            "http://portal.clinic.example",
            "https://portal.clinic.example/",
            "https://Portal.clinic.example",
            "https://portal.clinic.example:443",
            "http://localhost:80",
            "https://u@portal.clinic.example",
            "https://portal.clinic.example/path",
            "https://",
            "ftp://portal.clinic.example",
            "http://evil-localhost",
        ] {
            assert!(origin(text).is_none(), "{text}");
        }
    }

    #[test]
    fn contrast_is_that_of_wcag() {
        let near = |colour: &str, expected: f64| {
            let contrast = contrast_with_white(colour).expect("a colour");
            assert!((contrast - expected).abs() < 0.05, "{colour}: {contrast}");
        };
        near("#000000", 21.0);
        near("#ffffff", 1.0);
        near("#767676", 4.54);
        near("#0b5394", 7.8);
        for text in ["blue", "#fff", "#12345g", "0b5394", "#é1234"] {
            assert_eq!(contrast_with_white(text), None, "{text}");
        }
    }
}
