//! Policy tests: what they refer to must exist, so that a failing one says something about the policy.

use std::collections::HashSet;
use std::sync::Arc;

use http::Method;
use serde_saphyr::Spanned;

use super::assurance;
use super::matching::compile_host;
use super::routes::Known;
use crate::config::cases::{Answers, Case, CaseCaller, Expectation, ExpectedOutcome, Persona};
use crate::config::codes::Code;
use crate::config::diagnostic::{Place, Source};
use crate::config::report::Report;
use crate::config::schema::{
    Caller as CallerSchema, Case as Schema, CaseAnswers, CaseFile, File, Given, Person, Text,
};
use crate::config::values::{self, FOREVER, seconds};
use crate::decision::Lookup;
use crate::identity::{Caller, Level};

/// Compiles `cases`, in the order of the file, and behind them those of further files; one that can't be run is left out,
/// since it was reported.
pub(super) fn compile(
    file: &File,
    further: &[(Source<'_>, CaseFile)],
    known: &Known<'_>,
    report: &mut Report<'_>,
) -> Vec<Case> {
    let actions = actions(file);
    let mut cases = Vec::new();
    for item in file.cases.items() {
        let report = &mut report.within("case", item.value.name.text());
        cases.extend(case(report, known, &actions, item));
    }
    for (source, file) in further {
        for item in file.cases.items() {
            let mut report = report.on(source);
            let report = &mut report.within("case", item.value.name.text());
            cases.extend(case(report, known, &actions, item));
        }
    }
    cases
}

fn case(
    report: &mut Report<'_>,
    known: &Known<'_>,
    actions: &HashSet<&str>,
    item: &Spanned<Schema>,
) -> Option<Case> {
    let schema = &item.value;
    let name = report.required(&schema.name, "name", item.into(), "a patient reads her own results");
    let caller = report.required(&schema.r#as, "as", item.into(), "nobody");
    let caller = caller.and_then(|schema| self::caller(report, known, schema));
    let request = report.required(&schema.request, "request", item.into(), "GET /patients/p1/results");
    let request = request.and_then(|text| request_line(report, text));
    let expect = expectation(report, known, actions, item);
    let host = schema.host.as_ref().map(|host| compile_host(report, host));
    let answers =
        schema.answers.as_ref().map(|schema| answers(report, known, &schema.value)).unwrap_or_default();
    let (method, target) = request?;
    Some(Case {
        name: name?.value.as_str().into(),
        file: Arc::clone(report.file()),
        place: name?.into(),
        caller: caller?,
        method,
        target,
        host: host.flatten(),
        body: schema.body.as_ref().cloned(),
        answers,
        expect: expect?,
    })
}

fn answers(report: &mut Report<'_>, known: &Known<'_>, schema: &CaseAnswers) -> Answers {
    let pdp = chosen(report, &schema.pdp, &Answers::PDP);
    let consent = chosen(report, &schema.consent, &Answers::CONSENT);
    let other_duty = chosen(report, &schema.other_duty, &Answers::OTHER_DUTY);
    let found = schema.patient.text().map_or(Lookup::Absent, |patient| Lookup::Found(patient.into()));
    let is_silent =
        values::choice(report, &schema.patient_lookup, &[("answers", false), ("unavailable", true)], false);
    let patient = if is_silent { Lookup::Unavailable } else { found };
    let relations = || known.delegations.relations.iter().map(|relation| relation.name.as_ref());
    if let Some(text) = schema.delegation.as_ref().filter(|text| relations().all(|name| name != text.value)) {
        report.unknown(Code::UnknownRelation, "relation", text, relations());
    }
    let delegation = schema.delegation.text().map(Into::into);
    let all_well = Answers::default();
    Answers {
        pdp: pdp.unwrap_or(all_well.pdp),
        consent: consent.unwrap_or(all_well.consent),
        other_duty: other_duty.unwrap_or(all_well.other_duty),
        patient,
        delegation,
    }
}

/// What one of the words stands for; the first where none is given.
fn chosen<T: Clone>(report: &mut Report<'_>, given: &Given<Text>, answers: &[(&str, T); 3]) -> Option<T> {
    let words = [0, 1, 2].map(|at| (answers.get(at).map_or("", |(word, _)| *word), at));
    let at = values::choice(report, given, &words, 0);
    answers.get(at).map(|(_, answer)| answer.clone())
}

fn request_line(report: &mut Report<'_>, text: &Text) -> Option<(Method, Box<str>)> {
    let parts =
        text.value.split_once(' ').filter(|(_, target)| target.starts_with('/') && !target.contains(' '));
    let request =
        parts.and_then(|(method, target)| Some((Method::from_bytes(method.as_bytes()).ok()?, target.into())));
    if request.is_none() {
        let message = format!("`{}` is not a request", text.value);
        report.add(
            Code::BadCase,
            text,
            message,
            "write the method, a space and the path, such as `GET /patients/p1`",
        );
    }
    request
}

fn caller(report: &mut Report<'_>, known: &Known<'_>, schema: &Spanned<CallerSchema>) -> Option<CaseCaller> {
    match &schema.value {
        CallerSchema::Word(word) if word == "nobody" => Some(CaseCaller::Nobody),
        CallerSchema::Word(word) => {
            let help = "write `nobody`, or a caller such as `{ issuer: patients, level: aal1 }`";
            report.add(Code::BadCase, schema, format!("`{word}` is no caller"), help);
            None
        }
        CallerSchema::Person(person) => {
            persona(report, known, person, schema.into()).map(|persona| CaseCaller::Known(Box::new(persona)))
        }
    }
}

fn persona(report: &mut Report<'_>, known: &Known<'_>, person: &Person, place: Place) -> Option<Persona> {
    let issuer = report.required(&person.issuer, "issuer", place, "patients");
    let issuer = issuer.and_then(|text| known.issuer(report, text));
    let callers = issuer.and_then(|at| known.issuers.get(at)).map(|issuer| issuer.rules.callers);
    if callers == Some(Caller::Person) {
        report.required(&person.level, "level", place, "aal1");
    }
    let level = match person.level.as_ref() {
        Some(text) => assurance::level(report, known.levels, text)?,
        None => Level::NONE,
    };
    let age = values::duration(report, &person.age, seconds(0), seconds(0)..=FOREVER);
    let text = |given: &Given<Text>| given.text().map(Into::into);
    Some(Persona {
        issuer: issuer?,
        subject: text(&person.subject),
        patient: text(&person.patient),
        roles: values::texts(report, &person.roles),
        scopes: values::texts(report, &person.scopes),
        client: text(&person.client),
        level,
        methods: values::texts(report, &person.methods),
        age: i64::try_from(age.as_secs()).unwrap_or(i64::MAX),
        actor: text(&person.actor),
        claims: person
            .claims
            .entries()
            .iter()
            .map(|(name, value)| (name.value.clone(), value.clone()))
            .collect(),
    })
}

fn expectation(
    report: &mut Report<'_>,
    known: &Known<'_>,
    actions: &HashSet<&str>,
    item: &Spanned<Schema>,
) -> Option<Expectation> {
    let schema = &item.value;
    report.required(&schema.expect, "expect", item.into(), "permit")?;
    let outcomes = [
        ("permit", ExpectedOutcome::Permit),
        ("challenge", ExpectedOutcome::Challenge),
        ("deny", ExpectedOutcome::Deny),
    ];
    if let Some(action) = schema.route.as_ref().filter(|action| !actions.contains(action.value.as_str())) {
        report.unknown(Code::UnknownRoute, "route", action, actions.iter().copied());
    }
    Some(Expectation {
        outcome: values::choice(report, &schema.expect, &outcomes, ExpectedOutcome::Deny),
        reason: schema.reason.text().map(Into::into),
        tier: schema.tier.as_ref().and_then(|text| known.tiers.find(report, text)),
        action: schema.route.text().map(Into::into),
    })
}

/// The ids of routes, and those of their `lower_risk_if_only`.
fn actions(file: &File) -> HashSet<&str> {
    let routes = file.routes.items().iter().map(|item| &item.value);
    routes
        .flat_map(|route| {
            let lower = route.lower_risk_if_only.as_ref().and_then(|lower| lower.value.id.text());
            route.id.text().into_iter().chain(lower)
        })
        .collect()
}
