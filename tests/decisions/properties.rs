//! What holds for every policy, request and evidence: tried on random ones.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::Config;
use wardgate::config::Compiled;
use wardgate::decision::evidence::{BodyReading, Evaluation, Identity, Lookup, Revocation};
use wardgate::decision::trace::{Recorder, Silent, Stage};
use wardgate::decision::{Decision, Evidence, Findings, Need, Question, Reason, Step, step};
use wardgate::identity::{Caller, Subject};
use wardgate::policy::access::WhenUnavailable;
use wardgate::policy::{Access, Durability, Route, StoreDown, TierIndex};

use super::fragments::{CallerText, caller, setting};
use super::matrix::{Matrix, matrix};
use super::world::{Known, NOW, POLICY, compile, identity};

/// A request, with all that could be found out about it.
pub struct Asked<'q> {
    pub question: Question<'q>,
    pub known: Known,
}

/// A decision in the terms that must not change.
#[derive(Debug, PartialEq)]
struct Verdict {
    verdict: &'static str,
    reason: Reason,
    tier: Option<TierIndex>,
    lowered: bool,
    spends: Option<String>,
    /// Whether it got as far as the tier of this very request.
    classified: bool,
}

impl Verdict {
    fn is_permit(&self) -> bool {
        self.verdict == "permit"
    }
}

fn ask(question: &Question<'_>, evidence: &Evidence) -> Result<Verdict, Need> {
    let mut trace = Recorder::default();
    match step(question, evidence, NOW, &mut trace) {
        Step::Need(need) => Err(need),
        Step::Decided(decision, findings) => {
            let classified = trace.notes.iter().any(|(stage, _)| *stage == Stage::Classify);
            Ok(verdict(&decision, &findings, classified))
        }
    }
}

fn verdict(decision: &Decision, findings: &Findings, classified: bool) -> Verdict {
    let spends = match decision {
        Decision::Permit(permit) => permit.to_spend().map(|key| key.as_str().to_owned()),
        Decision::Challenge(_) | Decision::Deny(_) => None,
    };
    Verdict {
        verdict: decision.verdict(),
        reason: decision.reason(),
        tier: findings.tier,
        lowered: findings.lowered,
        spends,
        classified,
    }
}

fn decided(question: &Question<'_>, known: &Known) -> Verdict {
    ask(question, &known.evidence()).expect("a decision, since everything is known")
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// Whether a rule could allow this caller: written again, apart from the code under test.
fn is_eligible(route: &Route, subject: &Subject) -> bool {
    let holds = |list: &[Box<str>], one: &str| list.iter().any(|item| item.as_ref() == one);
    subject.actor.is_none()
        && route.any_of.iter().any(|entry| {
            entry.issuer == Some(subject.issuer_index)
                && (entry.clients.is_empty()
                    || holds(&entry.clients, subject.client.as_deref().unwrap_or_default()))
                && (entry.roles.is_empty() || entry.roles.iter().any(|role| holds(&subject.roles, role)))
                && entry.scopes.iter().all(|scope| holds(&subject.scopes, scope))
        })
}

/// Whether the least that the route can ask for is met in its level.
fn is_above_floor(question: &Question<'_>, subject: &Subject) -> bool {
    let tiers = [Some(question.route.tier), question.route.lower_risk.as_ref().map(|lower| lower.tier)];
    let least = tiers.into_iter().flatten().min().expect("a tier");
    let tier = question.policy.tier(least);
    let methods = &tier.require_methods;
    subject.caller == Caller::Service
        || (subject.level >= tier.assurance.max(question.route.data_floor)
            && (methods.is_empty() || subject.methods.iter().any(|method| methods.contains(method))))
}

/// What is decided once stays decided, in whatever order the evidence comes in; each thing is asked for when the time
/// has come, and the body only of a caller who could be allowed.
fn check_monotone(asked: &Asked<'_>) {
    let Asked { question, known } = asked;
    let part = |bits: u8| ask(question, &known.part(bits & 1 != 0, bits & 2 != 0, bits & 4 != 0));
    let parts: Vec<Result<Verdict, Need>> = (0..8).map(part).collect();
    for (bits, early) in parts.iter().enumerate() {
        match early {
            Ok(early) => {
                for (later, verdict) in parts.iter().enumerate().filter(|(later, _)| later & bits == bits) {
                    assert_eq!(verdict.as_ref(), Ok(early), "{bits:b} decides, {later:b} decides otherwise");
                }
            }
            Err(need) => {
                let wanted = [(Need::Identity, 1), (Need::Revocation, 2), (Need::Body, 4)];
                let bit = wanted.iter().find(|(known, _)| known == need).expect("a need").1;
                assert_eq!(bits & bit, 0, "{need:?} is asked for though it is known");
                assert_eq!(bits & (bit - 1), bit - 1, "{need:?} is asked for before its time");
            }
        }
    }
    assert!(parts[7].is_ok());
    if parts.contains(&Err(Need::Body)) {
        let Identity::Known(subject) = &known.identity else { panic!("the body is asked of nobody") };
        assert_ne!(known.revocation, Revocation::Revoked);
        assert!(is_eligible(question.route, subject) && is_above_floor(question, subject));
    }
}

/// More proof is never less: a higher level or a more recent authentication keeps every permit. Only a moment still to
/// come pays for nothing yet.
fn check_stronger(asked: &Asked<'_>) {
    let Asked { question, known } = asked;
    let (Identity::Known(subject), true) = (&known.identity, decided(question, known).is_permit()) else {
        return;
    };
    let with = |stronger: Subject| Known { identity: Identity::Known(Arc::new(stronger)), ..known.clone() };
    let base = || subject.as_ref().clone();
    let levels =
        question.policy.levels.names().map(|name| question.policy.levels.find(name).expect("a level"));
    let mut tried: Vec<Subject> =
        levels.filter(|level| *level > subject.level).map(|level| Subject { level, ..base() }).collect();
    let (is_person, now) = (subject.caller == Caller::Person, [NOW - 60, NOW - 1, NOW, NOW + 30]);
    let latest = if decided(question, known).spends.is_some() { NOW } else { i64::MAX };
    let later =
        |old: Option<i64>| now.into_iter().filter(move |at| *at <= latest && old.is_none_or(|old| *at > old));
    if is_person {
        tried.extend(later(subject.auth_time).map(|at| Subject { auth_time: Some(at), ..base() }));
    } else {
        tried.extend(later(Some(subject.issued_at)).map(|at| Subject { issued_at: at, ..base() }));
    }
    for stronger in tried {
        let said = format!("{:?}, {:?}, {}", stronger.level, stronger.auth_time, stronger.issued_at);
        assert!(decided(question, &with(stronger)).is_permit(), "{said}");
    }
}

/// What can't be found out never helps: no refusal becomes a permit, no action less risky. The one exception is what
/// the tier itself names, and never where a proof is spent or the record has to be on disk.
fn check_outages(asked: &Asked<'_>) {
    let Asked { question, known } = asked;
    let before = decided(question, known);
    for outages in 1..64u8 {
        let out = |bit: u8| outages & bit != 0;
        let after = Known {
            identity: if out(1) { Identity::Unavailable } else { known.identity.clone() },
            keys_too_stale: known.keys_too_stale || out(2),
            revocation: if out(4) { Revocation::Unknown } else { known.revocation },
            body: if out(8) { BodyReading::Unreadable } else { known.body.clone() },
            record: if out(32) { Lookup::Unavailable } else { known.record.clone() },
            evaluation: if out(16) { Lookup::Unavailable } else { known.evaluation.clone() },
        };
        let after = decided(question, &after);
        if after.is_permit() && !before.is_permit() {
            let tier = question.policy.tier(after.tier.expect("a tier"));
            let by_store = out(4) && known.revocation == Revocation::Revoked;
            let by_pdp = out(16) && question.route.pdp.is_some();
            assert!(by_store || by_pdp, "{outages:b}: {before:?} becomes {after:?}");
            assert!(!by_store || tier.when_store_down == StoreDown::AllowWithoutRevocationCheck);
            let pdp = question.route.pdp.map(|at| question.policy.pdps[at].when_unavailable);
            assert!(by_store || pdp == Some(WhenUnavailable::Allow));
            assert!(!tier.each_action_needs_new_proof && tier.audit != Durability::Synced);
        }
        // What was raised by somebody who is not heard any more, or not asked after a refusal, is lower without them.
        let is_raised =
            question.route.pdp.is_some() && matches!(known.evaluation, Lookup::Found(Evaluation::StepUp(_)));
        if before.classified && after.classified && !is_raised {
            assert!(after.tier >= before.tier, "{outages:b}: {before:?} becomes {after:?}");
        }
    }
}

/// A permit names whom it is for and what it costs.
fn check_permit(asked: &Asked<'_>) {
    let Asked { question, known } = asked;
    let Step::Decided(decision, findings) = step(question, &known.evidence(), NOW, &mut Silent) else {
        panic!("undecided")
    };
    let Decision::Permit(permit) = decision else {
        return;
    };
    let tier = question.policy.tier(findings.tier.expect("a tier"));
    match (question.route.access, permit.subject()) {
        (Access::Public, None) => assert!(permit.to_spend().is_none()),
        (Access::Protected, Some(subject)) => {
            assert_eq!(permit.to_spend().is_some(), tier.each_action_needs_new_proof);
            assert!(is_eligible(question.route, subject) && is_above_floor(question, subject));
            assert!(
                subject.caller == Caller::Service
                    || subject.level >= tier.assurance.max(question.route.data_floor)
            );
            assert!(
                subject.caller == Caller::Service
                    || tier.max_age.is_none_or(|most| subject.age(NOW).is_some_and(|age| age <= most))
            );
            assert!(subject.caller == Caller::Person || tier.service.is_some());
            assert!(known.revocation != Revocation::Revoked);
        }
        (access, subject) => panic!("a permit for {subject:?} on a route that is {access:?}"),
    }
}

/// Runs a check on random policies.
fn on_random_policies(check: fn(&Asked<'_>)) {
    proptest!(config(192), |(setting in setting())| {
        let compiled = setting.compile();
        setting.questions(&compiled, check);
    });
}

/// Runs a check on every row of the matrix.
fn on_the_matrix(check: fn(&Asked<'_>)) {
    let compiled = compile(POLICY);
    let policy = &compiled.policy;
    for row in &matrix(policy).rows {
        let (facts, route) = (row.facts(), &policy.routes[row.route]);
        let forms_may_override = compiled.settings.upstreams[route.upstream].refuse_hidden_method;
        let question = Question { policy, route, facts: &facts, forms_may_override };
        let known = row.known(&question);
        check(&Asked { question, known });
    }
}

#[test]
fn what_is_decided_stays_decided() {
    on_the_matrix(check_monotone);
    on_random_policies(check_monotone);
}

#[test]
fn stronger_proof_keeps_every_permit() {
    on_the_matrix(check_stronger);
    on_random_policies(check_stronger);
}

#[test]
fn an_outage_never_opens_a_way() {
    on_the_matrix(check_outages);
    on_random_policies(check_outages);
}

#[test]
fn a_permit_names_its_subject_and_its_price() {
    on_the_matrix(check_permit);
    on_random_policies(check_permit);
}

/// What names one authentication event: of a person, or a machine's token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Payment {
    Person { issuer: String, id: String, client: Option<String>, at: i64 },
    Machine { issuer: String, token: String },
}

fn payment() -> impl Strategy<Value = Payment> {
    // Few letters, among them those that separate the parts of a key.
    let text = || "[1:a]{1,4}|5:event|8:patients";
    prop_oneof![
        (text(), text(), prop::option::of(text()), 0..=60i64)
            .prop_map(|(issuer, id, client, age)| { Payment::Person { issuer, id, client, at: NOW - age } }),
        (text(), text()).prop_map(|(issuer, token)| Payment::Machine { issuer, token }),
    ]
}

fn price(compiled: &Compiled, matrix: &Matrix, payment: &Payment) -> String {
    let policy = &compiled.policy;
    let (heading, caller) = match payment {
        Payment::Person { .. } => ("POST /patients/p1/export", "patient aal2 30s otp"),
        Payment::Machine { .. } => ("POST /feed?replace=1", "feed 30s"),
    };
    let row = matrix.rows.iter().find(|row| row.heading == heading && row.body.is_none()).expect("a row");
    let Identity::Known(subject) = identity(policy, caller) else { panic!("`{caller}`") };
    let base = subject.as_ref().clone();
    let subject = match payment {
        Payment::Person { issuer, id, client, at } => Subject {
            issuer: issuer.as_str().into(),
            id: id.as_str().into(),
            client: client.as_deref().map(Into::into),
            auth_time: Some(*at),
            ..base
        },
        Payment::Machine { issuer, token } => {
            Subject { issuer: issuer.as_str().into(), token_id: Some(token.as_str().into()), ..base }
        }
    };
    let (facts, route) = (row.facts(), &policy.routes[row.route]);
    let question = Question { policy, route, facts: &facts, forms_may_override: true };
    let known = Known {
        identity: Identity::Known(Arc::new(subject)),
        keys_too_stale: false,
        revocation: Revocation::Valid,
        body: BodyReading::Absent,
        evaluation: Lookup::Found(Evaluation::Permitted),
        record: Lookup::Absent,
    };
    decided(&question, &known).spends.expect("a price")
}

#[test]
fn no_two_events_have_one_price() {
    let compiled = compile(POLICY);
    let matrix = matrix(&compiled.policy);
    proptest!(config(64), |(payments in prop::collection::vec(payment(), 64))| {
        let mut prices: HashMap<String, &Payment> = HashMap::new();
        for payment in &payments {
            let price = price(&compiled, &matrix, payment);
            if let Some(other) = prices.insert(price, payment) {
                prop_assert_eq!(other, payment);
            }
        }
    });
}

#[test]
fn nothing_panics() {
    let compiled = compile(POLICY);
    let policy = &compiled.policy;
    let matrix = matrix(policy);
    let facts: Vec<_> = matrix.rows.iter().map(|row| row.facts()).collect();
    let readings: Vec<BodyReading> = matrix
        .rows
        .iter()
        .zip(&facts)
        .flat_map(|(row, facts)| {
            let route = &policy.routes[row.route];
            [true, false].map(|forms_may_override| {
                row.known(&Question { policy, route, facts, forms_may_override }).body
            })
        })
        .fold(Vec::new(), |mut seen, reading| {
            if !seen.contains(&reading) {
                seen.push(reading);
            }
            seen
        });
    let revocations = [None, Some(Revocation::Valid), Some(Revocation::Revoked), Some(Revocation::Unknown)];
    // 400 times 250 on average. The request, the route and what is known of the body need not fit together: nothing of that may matter.
    let mixed = (
        0..facts.len(),
        0..policy.routes.len(),
        0..22usize,
        any::<bool>(),
        0..revocations.len(),
        0..=readings.len(),
        any::<bool>(),
    );
    let now = prop_oneof![9 => Just(NOW), 1 => any::<i64>()];
    let settings = (prop::collection::vec(caller(), 20), prop::collection::vec(mixed, 1..=500), now);
    proptest!(config(400), |((callers, mixed, now) in settings)| {
        let identities: Vec<Identity> = callers.iter().map(|caller: &CallerText| caller.identity(policy)).collect();
        for (at, route, caller, keys_too_stale, revocation, body, forms_may_override) in mixed {
            let question = Question { policy, route: &policy.routes[route], facts: &facts[at], forms_may_override };
            let identity = identities.get(caller).cloned();
            let evidence = Evidence { identity, keys_too_stale, possession: None, revocation: revocations[revocation], body: readings.get(body).cloned(), ..Evidence::default() };
            if let Step::Decided(decision, findings) = step(&question, &evidence, now, &mut Silent) {
                prop_assert!(findings.tier.is_some());
                let for_somebody = matches!(&decision, Decision::Permit(permit) if permit.subject().is_some());
                prop_assert!(findings.rule.is_some() || !for_somebody);
            }
        }
    });
}
