//! Who vouches for callers, and how their tokens are read.

use std::path::Path;
use std::sync::Arc;

use serde_saphyr::Spanned;

use super::assurance::{self, Mapping};
use super::{keys, shared_signals, sign_in};
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::insecure::PlainHttp;
use crate::config::report::{Report, instead};
use crate::config::schema::{Claims, File, Given, Issuer as Schema, Text, Texts};
use crate::config::settings::IssuerSettings;
use crate::config::values::{self, Names};
use crate::identity::algorithm::SignatureAlgorithm;
use crate::identity::assurance::Levels;
use crate::identity::issuer::{ClaimNames, KeyProofRule};
use crate::identity::{Caller, IssuerRules};

/// The algorithms where the file names none: what almost every issuer signs with.
const DEFAULT_ALGORITHMS: &[SignatureAlgorithm] = &[SignatureAlgorithm::RS256, SignatureAlgorithm::ES256];

/// An issuer, compiled.
#[derive(Debug)]
pub(super) struct Issuer {
    pub(super) rules: IssuerRules,
    pub(super) settings: IssuerSettings,
    /// What it says about assurance; `None` where that was reported, so that nothing is concluded from it.
    pub(super) mapping: Option<Mapping>,
}

/// The position of the issuer that vouches for certain people; where there is only one, it need not be named. What is
/// reported where none is named, and where it vouches for services, comes with its code.
pub(super) fn of_people(
    (place, given): (Place, &Given<Text>),
    issuers: &[Issuer],
    (code, unnamed, of_machines): (Code, &str, &str),
    report: &mut Report<'_>,
) -> usize {
    let names = || issuers.iter().map(|issuer| issuer.rules.name.as_ref());
    let (at, place) = match given.as_ref() {
        Some(text) => {
            let at = names().position(|name| name == text.value);
            if at.is_none() {
                report.unknown(Code::UnknownIssuer, "issuer", text, names());
            }
            (at, Place::from(text))
        }
        None if issuers.len() == 1 => (Some(0), place),
        None => {
            report.add(code, place, unnamed, "name the issuer, such as `issuer: workforce`");
            (None, place)
        }
    };
    if at.and_then(|at| issuers.get(at)).is_some_and(|issuer| issuer.rules.callers != Caller::Person) {
        report.add(code, place, of_machines, "name the issuer of people");
    }
    at.unwrap_or_default()
}

/// Compiles `issuers`, in the order of the file.
pub(super) fn compile<'s>(
    file: &'s File,
    levels: &Levels,
    plain_http: &mut PlainHttp<'s>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Vec<Issuer> {
    let (mut names, mut urls) = (Names::default(), Names::default());
    let mut opaque: Option<&str> = None;
    let mut issuers = Vec::new();
    for item in file.issuers.items() {
        let schema = &item.value;
        let report = &mut report.within("issuer", schema.name.text());
        if let Some(name) = report.required(&schema.name, "name", item.into(), "patients") {
            values::name(report, name);
            names.add(report, "issuer", name);
        }
        if let Some(url) = schema.issuer.as_ref() {
            urls.add(report, "issuer", url);
        }
        let issuer = issuer(item, issuers.len(), levels, plain_http, base_dir, report);
        if let Some(introspection) = schema.introspection.as_ref() {
            if let Some(first) = opaque {
                let message = format!("issuer `{first}` is asked about tokens already");
                let help = "only one issuer may have `introspection`: other tokens than JWTs don't say whose they are";
                report.add(Code::SecondOpaqueIssuer, introspection, message, help);
            }
            opaque = opaque.or(schema.name.text());
        }
        issuers.push(issuer);
    }
    issuers
}

fn issuer<'s>(
    item: &'s Spanned<Schema>,
    index: usize,
    levels: &Levels,
    plain_http: &mut PlainHttp<'s>,
    base_dir: &Path,
    report: &mut Report<'_>,
) -> Issuer {
    let schema = &item.value;
    let text = |given: &Given<Text>| given.as_ref().map(|text| text.value.clone()).unwrap_or_default();
    let name: Arc<str> = text(&schema.name).into();
    report.required(&schema.issuer, "issuer", item.into(), "https://login.clinic.example/realms/patients");
    report.required(&schema.audiences, "audiences", item.into(), "[portal-api]");
    if let Some(url) = schema.issuer.as_ref() {
        keys::url(report, url, &name, plain_http);
    }
    let mapping = assurance::mapping(report, levels, &schema.assurance);
    let callers = [("people", Caller::Person), ("services", Caller::Service)];
    let mut rules = IssuerRules {
        name: Arc::clone(&name),
        index,
        issuer: text(&schema.issuer).into(),
        audiences: values::texts(report, &schema.audiences),
        algorithms: algorithms(report, &schema.algorithms),
        callers: values::choice(report, &schema.callers, &callers, Caller::Person),
        plain_jwt: takes_plain_jwt(report, &schema.token_types),
        max_token_lifetime: values::whole_seconds(report, &schema.max_token_lifetime),
        has_sessions: schema.sign_in.is_some(),
        recognises_for: None,
        names_actions: schema.authorization_details.as_ref().is_some_and(|given| given.value),
        dpop: key_proof_rule(report, schema),
        assurance: mapping.as_ref().map(|mapping| mapping.map.clone()).unwrap_or_default(),
        claims: claims(report, schema.claims.as_ref()),
    };
    let settings = IssuerSettings {
        name: name.as_ref().into(),
        issuer: rules.issuer.clone(),
        source: keys::source(report, schema, plain_http, base_dir),
        keys: keys::lifetimes(report, schema.jwks.as_ref().map(|jwks| &jwks.value)),
        sign_in: sign_in::compile(schema, (rules.callers, levels), base_dir, report),
        signals: shared_signals::compile(schema, &rules.algorithms, plain_http, base_dir, report),
    };
    let device = settings.sign_in.as_ref().and_then(|sign_in| sign_in.recognised_device);
    rules.recognises_for = device.and_then(|device| i64::try_from(device.lasts.as_secs()).ok());
    Issuer { rules, settings, mapping }
}

fn key_proof_rule(report: &mut Report<'_>, schema: &Schema) -> KeyProofRule {
    let words = [("required", true), ("optional", false)];
    let usual = KeyProofRule::default();
    KeyProofRule {
        required: values::choice(report, &schema.dpop, &words, usual.required),
        needs_nonce: values::choice(report, &schema.dpop_nonce, &words, usual.needs_nonce),
    }
}

pub(super) fn algorithms(report: &mut Report<'_>, schema: &Given<Texts>) -> Vec<SignatureAlgorithm> {
    if schema.is_none() {
        return DEFAULT_ALGORITHMS.to_vec();
    }
    // An empty list would refuse every token.
    values::texts(report, schema);
    let mut algorithms = Vec::new();
    for text in schema.items() {
        let Some(algorithm) = SignatureAlgorithm::from_name(&text.value) else {
            let (message, help) = why_not(&text.value);
            report.add(Code::BadAlgorithm, text, message, help);
            continue;
        };
        if !algorithms.contains(&algorithm) {
            algorithms.push(algorithm);
        }
    }
    algorithms
}

fn why_not(name: &str) -> (String, String) {
    match name {
        "HS256" | "HS384" | "HS512" => (
            format!("`{name}` is signed with a secret that whoever verifies could sign with too"),
            "let the issuer sign with `ES256` or `RS256`".to_owned(),
        ),
        "none" => {
            ("`none` is no signature".to_owned(), "let the issuer sign with `ES256` or `RS256`".to_owned())
        }
        _ => {
            let known = SignatureAlgorithm::ALL.iter().map(|algorithm| algorithm.name());
            (format!("unknown algorithm `{name}`"), instead(name, known))
        }
    }
}

/// Whether tokens are taken that do not say they are access tokens. RFC 9068's are always taken.
fn takes_plain_jwt(report: &mut Report<'_>, schema: &Given<Texts>) -> bool {
    values::texts(report, schema);
    for text in schema.items().iter().filter(|text| text.value != "JWT" && text.value != "at+jwt") {
        report.unknown(Code::UnknownWord, "token type", text, ["at+jwt", "JWT"]);
    }
    schema.items().iter().any(|text| text.value == "JWT")
}

fn claims(report: &mut Report<'_>, schema: Option<&Claims>) -> ClaimNames {
    let Some(schema) = schema else {
        return ClaimNames::default();
    };
    let mut claim = |given: &Given<Text>| given.as_ref().map(|text| values::filled(report, text).into());
    let names = ClaimNames {
        patient: claim(&schema.patient),
        roles: claim(&schema.roles),
        role_ends: claim(&schema.role_ends),
    };
    if let (None, Some(ends)) = (&names.roles, schema.role_ends.as_ref()) {
        let message = "there are no roles that could end";
        report.add(
            Code::RoleEndsWithoutRoles,
            ends,
            message,
            "name the claim with the roles: `roles: groups`",
        );
    }
    names
}
