//! Random policies, put together from fragments, and random requests to them.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};
use wardgate::config::{Compiled, load};
use wardgate::decision::evidence::{Evaluation, Identity, Lookup, Revocation, StepUpHint};
use wardgate::identity::{Caller, Level, Subject, TokenFault};
use wardgate::policy::Policy;

use super::world::{Body, Known, NOW, POLICY, Request, person, reading};

/// A patient who is not named in the request.
const LOOKUP: &str = "lookup, url: 'https://index.clinic.example/records/{patient}'";

const TIERS: &[&str] = &["low", "moderate", "high", "critical", "vault"];

/// Conditions that hold for some of the requests below, fail on others, and need the body or not.
const CONDITIONS: &[&str] = &[
    "has(request.query.all)",
    "request.query.zone == 'blocked'",
    "'suspended' in subject.roles",
    "subject.claims.npi != ''",
    "has(body.cc)",
    "body.cents >= 100000",
    "int(request.query.zone) > 3",
];

/// Ways in; the first two are for people, and one of them is in every route.
const ENTRIES: &[&str] = &[
    "{ issuer: patients }",
    "{ issuer: workforce, roles: [nurse, physician] }",
    "{ issuer: patients, clients: [portal], scopes: [records] }",
    "{ issuer: workforce, scopes: [records, more] }",
    "{ issuer: services, clients: [lab-feed] }",
    "{ issuer: services, scopes: [records] }",
];

/// One route of a random policy.
#[derive(Debug, Clone)]
pub struct RouteText {
    tier: usize,
    class: Option<&'static str>,
    patient: Option<&'static str>,
    refine: Vec<(&'static str, usize)>,
    lower: Option<usize>,
    deny: Vec<&'static str>,
    any_of: Vec<&'static str>,
    conditional: Option<(&'static str, &'static str)>,
    own: Option<&'static str>,
    upstream: &'static str,
    pdp: bool,
}

fn route_text() -> impl Strategy<Value = RouteText> {
    let rules = (
        vec((select(CONDITIONS), 0..TIERS.len()), 0..3),
        option::of(0..TIERS.len()),
        subsequence(CONDITIONS, 0..2),
    );
    let ways = (
        0..2usize,
        subsequence(ENTRIES, 0..4),
        option::of((select(&["patients", "workforce"][..]), select(CONDITIONS))),
        option::of(select(&["patients", "workforce"][..])),
    );
    let matter = (
        0..TIERS.len(),
        option::of(select(&["phi", "genetics"][..])),
        option::of(select(&["path.patient", "query.patient", "body.patient", LOOKUP][..])),
        prop_oneof![4 => Just("app"), 1 => Just("plain")],
        prop::bool::weighted(0.3),
    );
    (matter, rules, ways).prop_map(
        |(
            (tier, class, patient, upstream, pdp),
            (refine, lower, deny),
            (first, mut any_of, conditional, own),
        )| {
            if conditional.is_none() && !any_of.contains(&ENTRIES[first]) {
                any_of.push(ENTRIES[first]);
            }
            RouteText {
                tier,
                class,
                patient,
                refine,
                lower: lower.filter(|lower| *lower < tier),
                deny,
                any_of,
                conditional,
                own: own.filter(|_| patient.is_some()),
                upstream,
                pdp,
            }
        },
    )
}

impl RouteText {
    fn write(&self, at: usize, text: &mut String) {
        let _ = write!(
            text,
            "  - {{ id: r{at}, match: {{ path: \"/r{at}/{{patient}}\", methods: [POST] }}, upstream: {}, tier: {}",
            self.upstream, TIERS[self.tier]
        );
        if let Some(class) = self.class {
            let _ = write!(text, ", data_class: {class}");
        }
        if let Some(patient) = self.patient {
            let _ = write!(text, ", patient: {{ from: {patient} }}");
        }
        let refine: Vec<String> = self
            .refine
            .iter()
            .map(|(when, tier)| format!("{{ when: \"{when}\", tier: {} }}", TIERS[*tier]))
            .collect();
        if !refine.is_empty() {
            let _ = write!(text, ", refine: [{}]", refine.join(", "));
        }
        if let Some(lower) = self.lower {
            let _ = write!(
                text,
                ", lower_risk_if_only: {{ fields: [language, cents], tier: {}, id: r{at}.lower }}",
                TIERS[lower]
            );
        }
        let deny: Vec<String> = self.deny.iter().map(|when| format!("{{ when: \"{when}\" }}")).collect();
        if !deny.is_empty() {
            let _ = write!(text, ", deny: [{}]", deny.join(", "));
        }
        let mut entries: Vec<String> = self.any_of.iter().map(|entry| (*entry).to_owned()).collect();
        entries.extend(
            self.conditional.map(|(issuer, when)| format!("{{ issuer: {issuer}, when: \"{when}\" }}")),
        );
        entries.extend(self.own.map(|issuer| format!("{{ issuer: {issuer}, patient: self }}")));
        if self.pdp {
            text.push_str(", pdp: ward");
        }
        let _ = writeln!(text, ", any_of: [{}] }}", entries.join(", "));
    }
}

/// A request to a policy: which of its routes, from whom, with what.
#[derive(Debug, Clone)]
pub struct Situation {
    route: usize,
    query: String,
    overrides: bool,
    body: Option<Body>,
    caller: CallerText,
    revocation: Revocation,
    keys_too_stale: bool,
    evaluation: Lookup<Evaluation>,
    record: Lookup<Box<str>>,
}

/// A caller, before a policy gives names to its numbers.
#[derive(Debug, Clone)]
pub enum CallerText {
    Other(Identity),
    Known {
        issuer: usize,
        record: Option<&'static str>,
        words: [Vec<&'static str>; 3],
        client: Option<&'static str>,
        level: usize,
        time: Option<i64>,
        special: u8,
    },
}

/// Moments from the usual to the absurd.
fn moment() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => (-40..700i64).prop_map(|age| NOW - age),
        2 => (700..40_000i64).prop_map(|age| NOW - age),
        1 => select(&[i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX][..]),
    ]
}

pub fn caller() -> impl Strategy<Value = CallerText> {
    let others = vec![
        Identity::Nobody,
        Identity::Malformed("x"),
        Identity::Refused(TokenFault::Expired),
        Identity::Unavailable,
    ];
    let words = [
        subsequence(&["nurse", "physician", "suspended"][..], 0..=3).boxed(),
        subsequence(&["records", "more"][..], 0..=2).boxed(),
        subsequence(&["pwd", "otp", "hwk"][..], 0..=3).boxed(),
    ];
    let known = (
        0..3usize,
        option::of(select(&["p1", "p2"][..])),
        words,
        option::weighted(0.9, select(&["portal", "lab-feed", "other"][..])),
        0..3usize,
        option::weighted(0.9, moment()),
        // Mostly nothing special: an actor, a token without a name, a claim.
        prop_oneof![6 => Just(0u8), 1 => Just(1), 1 => Just(2), 4 => Just(3)],
    );
    prop_oneof![
        1 => select(others).prop_map(CallerText::Other),
        9 => known.prop_map(|(issuer, record, words, client, level, time, special)| CallerText::Known { issuer, record, words, client, level, time, special }),
    ]
}

impl CallerText {
    pub fn identity(&self, policy: &Policy) -> Identity {
        let Self::Known { issuer, record, words: [roles, scopes, methods], client, level, time, special } =
            self
        else {
            let Self::Other(identity) = self else { unreachable!() };
            return identity.clone();
        };
        let boxed =
            |words: &[&'static str]| words.iter().map(|word| Box::from(*word)).collect::<Vec<Box<str>>>();
        let caller = policy.issuers[*issuer].callers;
        let levels: Vec<Level> =
            ["none", "aal1", "aal2"].iter().map(|name| policy.levels.find(name).expect("a level")).collect();
        let base = person(policy, *issuer, "u1", "portal");
        Identity::Known(Arc::new(Subject {
            caller,
            patient: record.map(Into::into),
            roles: boxed(roles),
            scopes: boxed(scopes),
            methods: boxed(methods),
            client: client.map(Into::into),
            level: levels[*level],
            auth_time: time.filter(|_| caller == Caller::Person),
            issued_at: if caller == Caller::Service { time.unwrap_or(i64::MIN) } else { NOW },
            actor: (*special == 1).then(|| "somebody".into()),
            token_id: (*special != 2).then(|| "j1".into()),
            claims: Arc::new(if *special == 3 {
                Map::from_iter([("npi".to_owned(), json!("1"))])
            } else {
                Map::new()
            }),
            ..base
        }))
    }
}

fn json_body() -> impl Strategy<Value = Vec<u8>> {
    let fields: Vec<(&str, Value)> = vec![
        ("language", json!("de")),
        ("cents", json!(4200)),
        ("cents", json!(100_000)),
        ("cents", json!("many")),
        ("patient", json!("p1")),
        ("patient", json!("p2")),
        ("cc", json!(null)),
        ("_method", json!("DELETE")),
    ];
    // Written by hand, so that a field can occur twice.
    subsequence(fields, 0..4).prop_map(|fields| {
        let members: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    })
}

fn body() -> impl Strategy<Value = Option<Body>> {
    let media = prop_oneof![
        6 => Just("application/json"),
        2 => Just("application/x-www-form-urlencoded"),
        1 => Just("multipart/form-data; boundary=x"),
        1 => Just("text/plain"),
    ];
    let form =
        select(&["language=de", "cents=5&language=de", "a=1&a=2", "_method=PUT", "patient=p1", "\u{e9}"][..]);
    option::weighted(
        0.8,
        (media, json_body(), form, prop::bool::weighted(0.1)).prop_map(|(media, json, form, gzip)| Body {
            media_type: media.to_owned(),
            gzip,
            bytes: if media.contains("json") { json } else { form.as_bytes().to_vec() },
        }),
    )
}

/// What a look-up gives.
fn record() -> impl Strategy<Value = Lookup<Box<str>>> {
    prop_oneof![
        3 => Just(Lookup::Found("p1".into())),
        1 => Just(Lookup::Found("p2".into())),
        1 => Just(Lookup::Absent),
        1 => Just(Lookup::Unavailable),
    ]
}

/// What a policy decision point says.
fn evaluation() -> impl Strategy<Value = Lookup<Evaluation>> {
    let hint = |acr: &[&str], max_age| {
        let acr_values = acr.iter().map(|word| Box::from(*word)).collect();
        Lookup::Found(Evaluation::StepUp(StepUpHint { acr_values, max_age }))
    };
    prop_oneof![
        6 => Just(Lookup::Found(Evaluation::Permitted)),
        1 => Just(Lookup::Found(Evaluation::Denied)),
        1 => Just(Lookup::Found(Evaluation::NotUnderstood)),
        1 => Just(Lookup::Unavailable),
        1 => Just(hint(&["strong", "card"], None)),
        1 => Just(hint(&[], Some(60))),
        1 => Just(hint(&["retina"], Some(1))),
    ]
}

pub fn situation() -> impl Strategy<Value = Situation> {
    let query = subsequence(
        &["all=1", "zone=blocked", "zone=7", "patient=p1", "patient=p2", "_method=PUT"][..],
        0..3,
    );
    let revocation = prop_oneof![4 => Just(Revocation::Valid), 1 => Just(Revocation::Revoked), 1 => Just(Revocation::Unknown)];
    (
        0..100usize,
        query,
        prop::bool::weighted(0.03),
        body(),
        caller(),
        revocation,
        prop::bool::weighted(0.2),
        (evaluation(), record()),
    )
        .prop_map(
            |(route, query, overrides, body, caller, revocation, keys_too_stale, (evaluation, record))| {
                Situation {
                    route,
                    query: query.join("&"),
                    overrides,
                    body,
                    caller,
                    revocation,
                    keys_too_stale,
                    evaluation,
                    record,
                }
            },
        )
}

/// A policy with some routes, and requests to it.
#[derive(Debug, Clone)]
pub struct Setting {
    pub routes: Vec<RouteText>,
    pub situations: Vec<Situation>,
}

pub fn setting() -> impl Strategy<Value = Setting> {
    (vec(route_text(), 1..4), vec(situation(), 24))
        .prop_map(|(routes, situations)| Setting { routes, situations })
}

impl Setting {
    /// The situations, each with the route it is for among so many.
    pub fn routed(&self, routes: usize) -> Vec<Situation> {
        let routed =
            |situation: &Situation| Situation { route: situation.route % routes, ..situation.clone() };
        self.situations.iter().map(routed).collect()
    }

    /// The policy; warnings are as they may be, for instance of a rule that changes nothing.
    pub fn compile(&self) -> Compiled {
        let (head, _) = POLICY.split_once("routes:\n").expect("a policy with routes");
        let mut text = format!("{head}routes:\n");
        for (at, route) in self.routes.iter().enumerate() {
            route.write(at, &mut text);
        }
        match load("random.yaml", &text, Path::new("")) {
            Ok((compiled, _)) => compiled,
            Err(found) => panic!("{}\n{text}", found[0]),
        }
    }

    /// Each situation as a question, with all that could be found out.
    pub fn questions(&self, compiled: &Compiled, mut each: impl FnMut(&super::properties::Asked<'_>)) {
        let policy = &compiled.policy;
        for situation in &self.situations {
            let at = situation.route % self.routes.len();
            let route = &policy.routes[at];
            let request = Request {
                method: http::Method::POST,
                target: format!(
                    "/r{at}/p1{}{}",
                    if situation.query.is_empty() { "" } else { "?" },
                    situation.query
                ),
                overrides: situation.overrides,
                handshake: false,
            };
            let facts =
                request.facts(situation.body.as_ref(), Some("Bearer a.b.c")).expect("a readable request");
            let forms_may_override = compiled.settings.upstreams[route.upstream].refuse_hidden_method;
            let question = wardgate::decision::Question { policy, route, facts: &facts, forms_may_override };
            let known = Known {
                identity: situation.caller.identity(policy),
                keys_too_stale: situation.keys_too_stale,
                revocation: situation.revocation,
                body: reading(&question, situation.body.as_ref()),
                evaluation: situation.evaluation.clone(),
                record: situation.record.clone(),
            };
            each(&super::properties::Asked { question, known });
        }
    }
}
