//! The ways to be allowed: `any_of`.

use serde_saphyr::Spanned;

use super::delegation;
use super::routes::Known;
use super::rules::Ground;
use crate::config::codes::Code;
use crate::config::diagnostic::Place;
use crate::config::report::Report;
use crate::config::schema::{AnyOf, Items, Text};
use crate::config::values;
use crate::policy::Entry;

/// Compiles the entries, in the order of the file; one that names no known issuer has none.
pub(super) fn compile(
    report: &mut Report<'_>,
    known: &Known<'_>,
    ground: Ground<'_>,
    has_patient: bool,
    schema: &Items<AnyOf>,
) -> Vec<Entry> {
    if schema.value.is_empty() {
        report.add(
            Code::NoWayIn,
            schema,
            "nobody is allowed here",
            "write who is, such as `any_of: [{ issuer: patients }]`",
        );
    }
    schema.value.iter().map(|item| entry(report, known, ground, has_patient, item)).collect()
}

fn entry(
    report: &mut Report<'_>,
    known: &Known<'_>,
    ground: Ground<'_>,
    has_patient: bool,
    item: &Spanned<AnyOf>,
) -> Entry {
    let AnyOf { issuer, roles, scopes, clients, patient, delegate, when } = &item.value;
    let lists = [roles, scopes, clients, delegate];
    if issuer.is_none() && patient.is_none() && when.is_none() && lists.iter().all(|list| list.is_none()) {
        report.add(
            Code::NoWayIn,
            item,
            "this entry says nothing about who is allowed",
            "write `issuer: …` at least",
        );
        return Entry::default();
    }
    let issuer = find_issuer(report, known, issuer.as_ref(), item.into());
    let patient_self = patient.as_ref().is_some_and(|text| is_self(report, text, has_patient));
    if let Some(issuer) = issuer.and_then(|at| known.issuers.get(at)) {
        let claims = &issuer.rules.claims;
        let name = &issuer.rules.name;
        if let Some(text) = patient.as_ref().filter(|_| claims.patient.is_none()) {
            unmapped(report, text.into(), name, "patient", "patient_id");
        }
        if let Some(list) = roles.as_ref().filter(|_| claims.roles.is_none()) {
            unmapped(report, list.into(), name, "roles", "groups");
        }
    }
    Entry {
        issuer,
        roles: values::texts(report, roles),
        scopes: values::texts(report, scopes),
        clients: values::texts(report, clients),
        patient_self,
        delegate: delegation::of_entry(report, known, delegate, (has_patient, patient_self)),
        when: when.as_ref().and_then(|text| ground.condition(report, text)),
    }
}

/// The issuer that an entry is about; where there is only one, it need not be named.
fn find_issuer(
    report: &mut Report<'_>,
    known: &Known<'_>,
    text: Option<&Text>,
    place: Place,
) -> Option<usize> {
    if let Some(text) = text {
        return known.issuer(report, text);
    }
    match known.issuers {
        [_] => return Some(0),
        [] => report.add(
            Code::IssuerNotNamed,
            place,
            "no issuer is configured",
            "write `issuers` at the top of the file",
        ),
        _ => {
            let message = "this entry does not say whose callers it is about";
            report.add(
                Code::IssuerNotNamed,
                place,
                message,
                "add `issuer: …`, since there are several issuers",
            );
        }
    }
    None
}

fn is_self(report: &mut Report<'_>, text: &Text, has_patient: bool) -> bool {
    if text.value != "self" {
        report.unknown(Code::UnknownWord, "relation", text, ["self"]);
        return false;
    }
    if !has_patient {
        let message = "this route does not say which patient it is about";
        report.add(
            Code::SelfWithoutPatient,
            text,
            message,
            "add `patient: { from: path.patient }` to the route",
        );
    }
    true
}

fn unmapped(report: &mut Report<'_>, place: Place, issuer: &str, kind: &str, example: &str) {
    let message = format!("issuer `{issuer}` does not say which claim holds `{kind}`");
    report.add(
        Code::ClaimNotMapped,
        place,
        message,
        format!("add `claims: {{ {kind}: {example} }}` to the issuer"),
    );
}
