//! What stands out, and what does not.

use uuid::Uuid;

use super::*;

fn event<'e>(verdict: &'static str, subject: &'e str, patient: &'e str) -> DecisionEvent<'e> {
    DecisionEvent {
        decision: Uuid::nil(),
        listener: "portal",
        verdict,
        reason: "permitted",
        method: "GET",
        action: Some("results.read"),
        template: None,
        tier: Some("high"),
        upstream: None,
        subject: Some(subject),
        actor: None,
        patient: Some(patient),
        session: None,
        account: None,
        address: None,
        bundle: None,
        entries: None,
        actions: Vec::new(),
        rule: None,
        input: None,
    }
}

fn settings() -> Settings {
    let many = |count| Many { count, within: 60 };
    Settings { mass_lookup: many(3), prompt_storm: many(2), unknown_outcomes: many(2), ..Settings::default() }
}

/// The names of what stands out, when one after another happens at these seconds.
fn names(detector: &mut Detector, events: &[(i64, Event<'_>)]) -> Vec<&'static str> {
    let mut found = Vec::new();
    for (second, event) in events {
        let now = jiff::Timestamp::from_second(*second).expect("a time");
        detector.see(event, now, |finding| found.push(finding.name));
    }
    assert!(found.iter().all(|name| NAMES.contains(name)), "what can be found can be disabled: {found:?}");
    found
}

#[test]
fn one_who_looks_at_many_records_stands_out() {
    let mut detector = Detector::new(settings(), HashSet::new());
    let look = |patient| Event::Intent(event("permit", "s_1", patient));
    let looks = [(1, look("p_1")), (2, look("p_2")), (3, look("p_2")), (4, look("p_3")), (5, look("p_4"))];
    assert_eq!(names(&mut detector, &looks), ["mass_lookup"]);
    let mut detector = Detector::new(settings(), HashSet::new());
    let refused = |patient| Event::Decision(event("deny", "s_1", patient));
    assert!(
        names(&mut detector, &[(1, refused("p_1")), (1, refused("p_2")), (1, refused("p_3"))]).is_empty()
    );
    let other = |subject, patient| Event::Intent(event("permit", subject, patient));
    let two = [
        (1, other("s_1", "p_1")),
        (1, other("s_2", "p_2")),
        (1, other("s_1", "p_3")),
        (1, other("s_2", "p_4")),
    ];
    assert!(names(&mut detector, &two).is_empty(), "two people, two records each");
}

#[test]
fn many_prompts_and_unknown_outcomes_stand_out() {
    let prompt = || Event::Decision(event("challenge", "s_1", "p_1"));
    let mut detector = Detector::new(settings(), HashSet::new());
    assert_eq!(names(&mut detector, &[(1, prompt()), (2, prompt()), (90, prompt())]), ["prompt_storm"]);
    let outcome = |result| {
        Event::Outcome(super::super::event::OutcomeEvent {
            decision: Uuid::nil(),
            intent: 1,
            result,
            reason: None,
            status: None,
            response_bytes: 0,
            duration_us: 1,
        })
    };
    let unknown = || outcome(OutcomeResult::Unknown);
    let ended = [(1, unknown()), (2, outcome(OutcomeResult::Completed)), (3, unknown())];
    assert_eq!(names(&mut detector, &ended), [UNKNOWN_OUTCOMES]);
}

#[test]
fn patients_who_are_looked_after_and_odd_hours_stand_out_and_say_whose_they_are() {
    let (from, until) = Hours::read_times("07:00-19:00").expect("times");
    let hours =
        Hours { from, until, days: vec![jiff::civil::Weekday::Monday], zone: jiff::tz::TimeZone::UTC };
    let off_hours = Some(OffHours { hours, tiers: vec!["high".into()] });
    let mut detector = Detector::new(Settings { off_hours, ..settings() }, HashSet::from(["p_vip".into()]));
    let mut found = Vec::new();
    let mut see = |moment: &str, tier, patient| {
        let intent = DecisionEvent { tier: Some(tier), ..event("permit", "s_1", patient) };
        detector.see(&Event::Intent(intent), moment.parse().expect("a time"), |finding| found.push(finding));
    };
    see("2026-11-23T10:00:00Z", "high", "p_1");
    see("2026-11-23T20:00:00Z", "low", "p_1");
    see("2026-11-23T20:00:00Z", "high", "p_1");
    see("2026-11-23T20:09:00Z", "high", "p_1");
    see("2026-11-23T10:00:00Z", "low", "p_vip");
    see("2026-11-23T10:09:00Z", "low", "p_vip");
    let said = |finding: &Finding| (finding.name, finding.subject.clone(), finding.patient.clone());
    assert_eq!(
        found.iter().map(said).collect::<Vec<_>>(),
        [
            ("off_hours", Some("s_1".into()), Some("p_1".into())),
            ("watched_patient", Some("s_1".into()), Some("p_vip".into()))
        ]
    );
}

#[test]
fn what_the_gateway_itself_suffers_stands_out() {
    let mut detector = Detector::new(settings(), HashSet::new());
    let outage =
        |phase, seconds| Event::JournalOutage { phase, kind: "no_room", number: 1, why: "full", seconds };
    let events = [
        (1, Event::ReloadRefused { policy: "p", refused: None, findings: &[] }),
        (1, Event::SinkDown { sink: "siem", why: "it is gone" }),
        (1, outage("begun", None)),
        (2, Event::SinkUp { sink: "siem", seconds: 1 }),
        (2, outage("ended", Some(1))),
        (3, Event::JournalNearQuota { mark: 70, bytes: 70, quota: 100 }),
    ];
    let expected = ["configuration_refused", "sink_down", "journal_outage", "journal_near_quota"];
    assert_eq!(names(&mut detector, &events), expected);
}

#[test]
fn patients_are_looked_after_whatever_records_call_them() {
    let called = |name: &str| HashSet::from([Box::from(name)]);
    let mut detector = Detector::new(settings(), called("p_1.vip"));
    let intent = |patient| Event::Intent(event("permit", "s_1", patient));
    detector.watch_next(called("p_2.vip"));
    // One that began before the epoch did comes later.
    let seen = [(1, intent("p_2.vip")), (2, intent("p_1.vip")), (90, intent("p_2.other"))];
    assert_eq!(names(&mut detector, &seen), ["watched_patient", "watched_patient"]);
    detector.watch_next(called("p_3.vip"));
    assert_eq!(
        names(&mut detector, &[(91, intent("p_1.vip")), (180, intent("p_3.vip"))]),
        ["watched_patient"]
    );
}

#[test]
fn what_nobody_wants_to_be_told_is_not_told() {
    let mut detector = Detector::new(Settings { disabled: vec!["sink_down"], ..settings() }, HashSet::new());
    let events = [
        (1, Event::SinkDown { sink: "siem", why: "it is gone" }),
        (1, Event::ReloadRefused { policy: "p", refused: None, findings: &[] }),
    ];
    assert_eq!(names(&mut detector, &events), ["configuration_refused"]);
}
