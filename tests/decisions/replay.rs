//! What is forecast of recorded requests is what comes of the same requests: random ones, under random pairs of policies.

use proptest::prelude::*;
use proptest::test_runner::Config;
use wardgate::audit::event::{DecisionEvent, Event};
use wardgate::config::Compiled;
use wardgate::decision::input::DecisionInput;
use wardgate::decision::trace::Silent;
use wardgate::decision::{Decision, Evidence, Findings, Identity, Step, step};
use wardgate::replay::record::{Read, read};
use wardgate::replay::{Finding, Replay, Rules};

use super::fragments::setting;
use super::properties::Asked;
use super::world::NOW;

/// Decides as the gate does: what is not asked for is not found out, and not recorded.
fn decide(asked: &Asked<'_>) -> (Decision, Findings, Evidence) {
    let all = asked.known.evidence();
    let mut evidence = Evidence::default();
    loop {
        use wardgate::decision::Need;
        match step(&asked.question, &evidence, NOW, &mut Silent) {
            Step::Decided(decision, findings) => return (decision, findings, evidence),
            Step::Need(Need::Identity) => {
                evidence.identity.clone_from(&all.identity);
                evidence.keys_too_stale =
                    all.keys_too_stale && matches!(all.identity, Some(Identity::Known(_)));
            }
            Step::Need(Need::Revocation) => evidence.revocation = all.revocation,
            Step::Need(Need::Body) => evidence.body.clone_from(&all.body),
            Step::Need(Need::Patient) => evidence.record.clone_from(&all.record),
            Step::Need(Need::Evaluation { .. }) => evidence.evaluation.clone_from(&all.evaluation),
            Step::Need(other) => panic!("{other:?} is asked for"),
        }
    }
}

/// The line that the gateway would write.
fn line(asked: &Asked<'_>, decision: &Decision, findings: &Findings, evidence: &Evidence) -> Vec<u8> {
    let question = &asked.question;
    let route = question.route;
    let action = route.lower_risk.as_ref().filter(|_| findings.lowered).map_or(&route.id, |lower| &lower.id);
    let event = Event::Decision(DecisionEvent {
        decision: uuid::Uuid::nil(),
        listener: "edge",
        verdict: decision.verdict(),
        reason: decision.reason().code(),
        method: question.facts.method.as_str(),
        action: Some(action),
        template: Some(route.template.as_str()),
        tier: findings.tier.map(|tier| &*question.policy.tier(tier).name),
        upstream: None,
        subject: Some("s_1"),
        actor: None,
        patient: findings.patient.as_ref().map(|_| "p_1"),
        session: None,
        account: findings.account.as_ref().map(|_| "a_1"),
        address: None,
        bundle: None,
        entries: None,
        actions: Vec::new(),
        rule: findings.rule,
        input: Some(DecisionInput::new(question, evidence, findings, NOW)),
    });
    let mut value = serde_json::to_value(&event).expect("an event");
    value["seq"] = 1.into();
    value["time"] = "2026-11-22T10:15:00Z".into();
    serde_json::to_vec(&value).expect("a line")
}

fn rules(compiled: Compiled) -> Rules {
    let upstreams = compiled.settings.upstreams.iter();
    Rules {
        refuses_hidden: upstreams.map(|upstream| upstream.refuse_hidden_method).collect(),
        policy: compiled.policy,
    }
}

#[derive(Debug, Default)]
struct Seen {
    same: u32,
    changed: u32,
    open: u32,
    not_reproduced: u32,
}

#[test]
fn what_is_forecast_is_what_comes() {
    let mut seen = Seen::default();
    let cases = std::env::var("REPLAY_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let seen = std::sync::Mutex::new(&mut seen);
    proptest!(config, |(mut was in setting(), is in setting(), swaps in prop::collection::vec(any::<bool>(), 4))| {
        // Half of the routes stay as they are.
        let mut is = is;
        for ((at, route), swap) in is.routes.iter_mut().enumerate().zip(swaps) {
            if let Some(known) = was.routes.get(at).filter(|_| swap) {
                *route = known.clone();
            }
        }
        let (before, after) = (was.compile(), is.compile());
        let mut then = Vec::new();
        was.questions(&before, |asked| {
            let (decision, findings, evidence) = decide(asked);
            let text = line(asked, &decision, &findings, &evidence);
            then.push((text, decision.verdict(), findings.tier.map(|tier| asked.question.policy.tier(tier).name.clone())));
        });
        // The same requests to the other policy; those to routes that it has not are left out.
        let all = was.routes.len();
        let mut now = Vec::new();
        was.routes.truncate(is.routes.len());
        let fits = all <= is.routes.len();
        if fits {
            let padded = super::fragments::Setting { routes: is.routes.clone(), situations: was.routed(all) };
            padded.questions(&after, |asked| {
                let (decision, findings, _) = decide(asked);
                now.push((decision.verdict(), findings.tier.map(|tier| asked.question.policy.tier(tier).name.clone()), decision.reason().code()));
            });
        }
        let (before, after) = ([rules(before)], rules(after));
        let mut replay = Replay::new(&before, &after);
        for ((text, verdict, tier), now) in then.iter().zip(&now) {
            let Read::Decision(line) = read(text) else { panic!("a decision") };
            let recorded = line.recorded().expect("with an input");
            let finding = replay.look(recorded);
            let mut seen = seen.lock().expect("alone");
            let shown = String::from_utf8_lossy(text);
            match &*finding {
                Finding::Untouched => {
                    seen.same += 1;
                    prop_assert_eq!((*verdict, tier), (now.0, &now.1), "{}", shown);
                }
                Finding::Decided { was, is } => {
                    prop_assert_eq!((was.verdict, &was.tier), (*verdict, tier));
                    prop_assert_eq!(is.verdict, now.0, "{} {:?} {}", shown, is, now.2);
                    if is.verdict != "deny" {
                        prop_assert_eq!(&is.tier, &now.1, "{}", shown);
                    }
                    if is.verdict == *verdict { seen.same += 1 } else { seen.changed += 1 }
                }
                Finding::Open(_) => seen.open += 1,
                Finding::NotReproduced => seen.not_reproduced += 1,
                Finding::OtherPolicy => panic!("it is at hand"),
            }
        }
    });
    let seen = seen.into_inner().expect("alone");
    println!("{seen:?}");
    let (said, unsaid) = (seen.same + seen.changed, seen.open + seen.not_reproduced);
    assert!(seen.changed > 20 && said > unsaid, "it says something: {seen:?}");
    assert!(seen.not_reproduced * 20 < said + unsaid, "nearly all come out as they did: {seen:?}");
}
