//! The ways to step up: how a person gets to what a tier asks for, and whom the gateway asks on each.

use std::path::Path;
use std::time::Duration;

use http::Method;
use reqwest::Url;

use super::assurance;
use super::issuers::Issuer;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{File, Resume as ResumeSchema, StepUp as Schema};
use crate::config::settings::{AskerSettings, CibaSettings, HttpAskerSettings};
use crate::config::values::{self, Names, seconds};
use crate::identity::Level;
use crate::identity::assurance::Levels;
use crate::policy::{Resume, Way, WayKind};

/// What the phone shows where nothing else was written.
const BINDING_MESSAGE: &str = "{label} {code}";
/// Longer texts are cut by phones, or refused (OpenID Connect CIBA Core 1.0 §7.1).
const MOST_MESSAGE: usize = 200;
/// A browser's request is never held for longer: proxies before the gateway give up after half a minute or a minute.
const MOST_HOLD: Duration = seconds(50);

/// The ways, in the order of the file.
pub(super) struct Ways {
    pub(super) policy: Vec<Way>,
    pub(super) resume: Resume,
    pub(super) settings: Vec<Option<AskerSettings>>,
}

/// Which keys a type has beside `name`, `type` and `label`.
#[derive(Clone, Copy)]
enum Kind {
    Rfc9470,
    Oidc,
    Ciba,
    Http,
}

const KINDS: [(&str, Kind); 4] =
    [("rfc9470", Kind::Rfc9470), ("oidc", Kind::Oidc), ("ciba", Kind::Ciba), ("http", Kind::Http)];

/// Compiles the top-level `step_up`. Without it API clients are told what is missing, and browsers sent to the issuer
/// where people sign in.
pub(super) fn compile(
    file: &File,
    issuers: &[Issuer],
    levels: &Levels,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Ways {
    let mut ways = Ways { policy: Vec::new(), resume: Resume::default(), settings: Vec::new() };
    if file.step_up.is_none() {
        if issuers.iter().any(|issuer| issuer.settings.sign_in.is_some()) {
            ways.add("browser", None, WayKind::Oidc, None);
        }
        ways.add("api", None, WayKind::Rfc9470, None);
        return ways;
    }
    let known = Known { issuers, levels, base_dir };
    let mut names = Names::default();
    let mut resume_at: Option<Place> = None;
    for item in file.step_up.items() {
        let schema = &item.value;
        let report = &mut report.within("step-up", schema.name.text());
        let name = report.required(&schema.name, "name", item.into(), "browser");
        report.required(&schema.r#type, "type", item.into(), "oidc");
        let kind = values::choice(report, &schema.r#type, &KINDS, Kind::Rfc9470);
        check_keys(schema, kind, report);
        let place = Place::from(item);
        let (kind, asker) = match kind {
            Kind::Rfc9470 => (WayKind::Rfc9470, None),
            Kind::Oidc => {
                known.check_sign_in(place, report);
                (WayKind::Oidc, None)
            }
            Kind::Ciba => known.ciba(schema, place, report),
            Kind::Http => known.http(schema, place, report),
        };
        if let Some(given) = schema.resume.as_ref() {
            if resume_at.is_some() {
                let help = "say it at one way: it holds for all of them";
                report.add(Code::StepUpKey, given, "`resume` stands at another way already", help);
            }
            resume_at = Some(given.into());
            ways.resume = resume(&given.value, report);
        }
        let label = schema.label.as_ref().map(|text| values::filled(report, text));
        if let Some(name) = name {
            values::name(report, name);
            names.add(report, "way to step up", name);
            ways.add(&name.value, label, kind, asker);
        }
    }
    ways
}

impl Ways {
    fn add(&mut self, name: &str, label: Option<&str>, kind: WayKind, asker: Option<AskerSettings>) {
        self.policy.push(Way { name: name.into(), label: label.map(Into::into), kind });
        self.settings.push(asker);
    }
}

/// Reports keys that belong to other types.
fn check_keys(schema: &Schema, kind: Kind, report: &mut Report<'_>) {
    let (ciba, http) = (matches!(kind, Kind::Ciba), matches!(kind, Kind::Http));
    let browser = !matches!(kind, Kind::Rfc9470);
    let text =
        |given: &crate::config::schema::Given<crate::config::schema::Text>| given.as_ref().map(Place::from);
    let keys = [
        ("label", text(&schema.label), browser),
        ("resume", schema.resume.as_ref().map(Place::from), browser),
        ("issuer", text(&schema.issuer), ciba),
        ("client_id", text(&schema.client_id), ciba),
        ("client_secret_file", text(&schema.client_secret_file), ciba),
        ("scopes", schema.scopes.as_ref().map(Place::from), ciba),
        ("binding_message", text(&schema.binding_message), ciba),
        ("hold_request", text(&schema.hold_request), ciba),
        ("delivery", text(&schema.delivery), ciba),
        ("url", text(&schema.url), http),
        ("secret_file", text(&schema.secret_file), http),
        ("keys_file", text(&schema.keys_file), http),
        ("grants", text(&schema.grants), http),
        ("timeout", text(&schema.timeout), ciba || http),
    ];
    for (key, place, belongs) in keys {
        if let (Some(place), false) = (place, belongs) {
            let message = format!("`{key}` means nothing for a way of this type");
            report.add(
                Code::StepUpKey,
                place,
                message,
                "take it out, or see docs/step-up.md for the type's keys",
            );
        }
    }
}

struct Known<'k> {
    issuers: &'k [Issuer],
    levels: &'k Levels,
    base_dir: &'k Path,
}

impl Known<'_> {
    /// Reports a way of browsers where no browser has a session.
    fn check_sign_in(&self, place: Place, report: &mut Report<'_>) {
        if self.issuers.iter().all(|issuer| issuer.settings.sign_in.is_none()) {
            let help = "give an issuer a `sign_in`, or use `type: rfc9470` for API clients";
            report.add(Code::StepUpWithoutSignIn, place, "nobody signs in with a browser", help);
        }
    }

    fn ciba(
        &self,
        schema: &Schema,
        place: Place,
        report: &mut Report<'_>,
    ) -> (WayKind, Option<AskerSettings>) {
        let issuer = report.required(&schema.issuer, "issuer", place, "patients").and_then(|text| {
            let found = self.issuers.iter().position(|issuer| *issuer.rules.name == *text.value);
            if found.is_none() {
                let names = self.issuers.iter().map(|issuer| issuer.rules.name.as_ref());
                report.unknown(Code::UnknownIssuer, "issuer", text, names);
            }
            found
        });
        if issuer.and_then(|at| self.issuers.get(at)).is_some_and(|issuer| issuer.settings.sign_in.is_none())
        {
            let help = "give this issuer a `sign_in`: its people are asked on the phone for what they do in the browser";
            report.add(
                Code::StepUpWithoutSignIn,
                place,
                "nobody signs in at this issuer with a browser",
                help,
            );
        }
        let client_id = report.required(&schema.client_id, "client_id", place, "gateway-ciba");
        let secret =
            report.required(&schema.client_secret_file, "client_secret_file", place, "/secrets/ciba");
        let scopes = match schema.scopes.as_ref() {
            None => vec!["openid".into()],
            Some(list) => {
                let scopes = values::texts(report, &schema.scopes);
                if !scopes.iter().any(|scope| scope.as_ref() == "openid") {
                    let help = "add `openid`: without it the issuer says nothing of who has agreed";
                    report.add(Code::ScopesWithoutOpenid, list, "`openid` is not among the scopes", help);
                }
                scopes
            }
        };
        let message = schema.binding_message.as_ref().map_or(BINDING_MESSAGE, |text| {
            if !text.value.contains("{code}") || text.value.len() > MOST_MESSAGE {
                let message = "the person could not tell this prompt from somebody else's";
                let help = format!("write at most {MOST_MESSAGE} letters with `{{code}}` among them: the same code stands on the page");
                report.add(Code::BindingMessage, text, message, help);
            }
            &text.value
        });
        let zero = Duration::ZERO;
        let hold = schema
            .hold_request
            .as_ref()
            .map(|_| values::duration(report, &schema.hold_request, zero, seconds(1)..=MOST_HOLD));
        let ping = values::choice(report, &schema.delivery, &[("poll", false), ("ping", true)], false);
        let issuer = issuer.unwrap_or_default();
        let settings = CibaSettings {
            issuer,
            client_id: client_id.map(|text| values::filled(report, text)).unwrap_or_default().into(),
            client_secret_file: secret
                .map(|text| values::file(report, self.base_dir, text))
                .unwrap_or_default(),
            scopes,
            binding_message: message.into(),
            timeout: timeout(schema, report),
        };
        (WayKind::Ciba { issuer, hold, ping }, Some(AskerSettings::Ciba(settings)))
    }

    fn http(
        &self,
        schema: &Schema,
        place: Place,
        report: &mut Report<'_>,
    ) -> (WayKind, Option<AskerSettings>) {
        let grants = report.required(&schema.grants, "grants", place, "aal2");
        let grants =
            grants.and_then(|text| assurance::level(report, self.levels, text)).unwrap_or(Level::NONE);
        if grants == Level::NONE
            && let Some(text) = schema.grants.as_ref().filter(|text| text.value == "none")
        {
            let help = "name the level that the service's proof is worth, such as `aal2`";
            report.add(Code::StepUpKey, text, "a proof that grants `none` is worth nothing", help);
        }
        let secret = report.required(&schema.secret_file, "secret_file", place, "/secrets/proofing");
        let keys = report.required(&schema.keys_file, "keys_file", place, "/secrets/proofing.jwks");
        let mut file = |text| values::file(report, self.base_dir, text);
        let (secret_file, keys_file) =
            (secret.map(&mut file).unwrap_or_default(), keys.map(&mut file).unwrap_or_default());
        let timeout = timeout(schema, report);
        let url = report.required(&schema.url, "url", place, "https://proofing.clinic.example/v1");
        let asker = url.and_then(|text| {
            let url = base_address(&text.value);
            if url.is_none() {
                let message = format!("`{}` is not a base address of a service", text.value);
                let help = "write `https://host/path` without `?` and `#`; `http://` only for this machine (`127.0.0.1`, `localhost`)";
                report.add(Code::BadStepUpAddress, text, message, help);
            }
            Some(HttpAskerSettings { url: url?, secret_file, keys_file, grants, timeout })
        });
        (WayKind::Http { grants }, asker.map(AskerSettings::Http))
    }
}

fn timeout(schema: &Schema, report: &mut Report<'_>) -> Duration {
    values::duration(report, &schema.timeout, seconds(2), Duration::from_millis(100)..=seconds(10))
}

/// An address below which others can be named.
fn base_address(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim_end_matches('/')).ok()?;
    let host = url.host_str()?;
    let is_here = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
    let is_sound = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && (url.scheme() == "https" || (url.scheme() == "http" && is_here));
    is_sound.then_some(url)
}

fn resume(schema: &ResumeSchema, report: &mut Report<'_>) -> Resume {
    let default = Resume::default();
    let methods = if schema.methods.is_none() {
        default.methods.clone()
    } else {
        values::texts(report, &schema.methods);
        let mut methods = Vec::new();
        for text in schema.methods.items() {
            match default.methods.iter().find(|method| method.as_str() == text.value) {
                Some(method) => methods.push(Method::clone(method)),
                None => report.unknown(
                    Code::BadMethod,
                    "method",
                    text,
                    default.methods.iter().map(Method::as_str),
                ),
            }
        }
        methods
    };
    let most_body = values::size(report, &schema.max_body, default.most_body, 1..=1024 * 1024);
    let ttl = values::duration(report, &schema.ttl, default.ttl, seconds(30)..=seconds(1_800));
    Resume { methods, most_body, ttl }
}
