//! The shape of routes and of policy tests.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_saphyr::Spanned;

use super::schema::{Entries, FhirMatch, Items, Text, Texts, maps};

maps! {
    /// One action.
    Route {
        id: Text,
        label: Text,
        r#match: Spanned<Match>,
        upstream: Text,
        timeouts: Spanned<RouteTimeouts>,
        access: Text,
        anonymous: Spanned<Anonymous>,
        tier: Text,
        data_class: Text,
        patient: Spanned<Patient>,
        refine: Items<Refine>,
        lower_risk_if_only: Spanned<LowerRisk>,
        deny: Items<When>,
        any_of: Items<AnyOf>,
        pdp: Text,
        consent: Text,
        separation_of_duties: Spanned<SeparationOfDuties>,
        candidate: Spanned<Candidate>,
        break_glass: Text,
        cors: Spanned<Cors>,
        body_bytes: Text,
    }
    /// How long its upstream may take, where that differs from the upstream's own.
    RouteTimeouts { connect: Text, read: Text, write: Text, }
    /// Which requests it takes.
    Match { host: Text, path: Text, methods: Texts, upgrade: Text, fhir: Spanned<FhirMatch>, }
    /// What is asked of people who have not signed in.
    Anonymous { hint: Text, step_up: Texts, attempts: Spanned<Attempts>, }
    /// How often they may try.
    Attempts { more_than: Text, r#in: Text, per_network: Text, effect: Text, }
    /// Where a request says which patient it is about.
    Patient { from: Text, url: Text, secret_file: Text, ca_file: Text, timeout: Text, concurrency: Text, cache: Text, }
    /// When it is riskier.
    Refine { when: Text, tier: Text, }
    /// When it is less risky.
    LowerRisk { fields: Texts, tier: Text, id: Text, }
    /// A bare condition.
    When { when: Text, }
    /// One way to be allowed.
    AnyOf { issuer: Text, roles: Texts, scopes: Texts, clients: Texts, patient: Text, delegate: Texts, when: Text, }
    /// What is tried out.
    Candidate { tier: Text, }
    /// What the same person may not do as well.
    SeparationOfDuties { not_same_actor_as: Text, on: Text, within: Text, }
    /// Which pages of other origins may call.
    Cors { origins: Texts, headers: Texts, max_age: Text, }

    /// A policy test.
    Case {
        name: Text,
        r#as: Spanned<Caller>,
        request: Text,
        host: Text,
        body: serde_json::Value,
        answers: Spanned<CaseAnswers>,
        expect: Text,
        reason: Text,
        tier: Text,
        route: Text,
    }
    /// What services outside answer in a test.
    CaseAnswers { pdp: Text, consent: Text, other_duty: Text, patient: Text, patient_lookup: Text, delegation: Text, }
    /// Who makes a test's request.
    Person {
        issuer: Text,
        subject: Text,
        patient: Text,
        roles: Texts,
        scopes: Texts,
        client: Text,
        level: Text,
        methods: Texts,
        age: Text,
        actor: Text,
        claims: Entries<serde_json::Value>,
    }
}

/// Who makes a test's request: `nobody`, or a caller.
#[derive(Debug)]
pub(super) enum Caller {
    /// A bare word; only `nobody` means something.
    Word(String),
    /// A caller with a token.
    Person(Box<Person>),
}

impl<'de> Deserialize<'de> for Caller {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrMap;

        impl<'de> Visitor<'de> for WordOrMap {
            type Value = Caller;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("`nobody` or a map such as `{ issuer: patients, level: aal1 }`")
            }

            fn visit_str<E>(self, word: &str) -> Result<Caller, E> {
                Ok(Caller::Word(word.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Caller, A::Error> {
                Person::deserialize(MapAccessDeserializer::new(map))
                    .map(|person| Caller::Person(Box::new(person)))
            }
        }

        deserializer.deserialize_any(WordOrMap)
    }
}
