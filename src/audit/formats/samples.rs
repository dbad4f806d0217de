//! A record of every kind, with everything said that one can say; the outside checkers' input.

mod lines;

use std::sync::LazyLock;

use uuid::Uuid;

pub(super) use self::lines::Lines;
use super::Record;
use crate::audit::event::{
    BreakGlassEvent, DecisionEvent, DelegationEvent, DetectionEvent, Event, OutcomeEvent, OutcomeResult,
    PseudonymEpochEvent, PseudonymLookupEvent, PseudonymShredEvent, Quarantined, RetiredEvent,
    RevocationEvent, SegmentEvent, SessionEvent, SharedSignalEvent,
};
use crate::audit::pseudonym::Kind;
use crate::decision::input::DecisionInput;

static METHODS: LazyLock<[Box<str>; 2]> = LazyLock::new(|| ["pwd".into(), "otp".into()]);
static ROLES: LazyLock<[Box<str>; 2]> = LazyLock::new(|| ["physician".into(), "ward-7".into()]);
static SCOPES: LazyLock<[Box<str>; 1]> = LazyLock::new(|| ["patient/*.rs".into()]);

fn input() -> DecisionInput<'static> {
    DecisionInput::full(&*METHODS, &*ROLES, &*SCOPES)
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0198_c2f1_4cf0_7c31_9f5e_2f6c_2f8a_0000 + number)
}

fn decision(number: u128, verdict: &'static str, reason: &'static str) -> DecisionEvent<'static> {
    DecisionEvent {
        decision: id(number),
        listener: "portal",
        verdict,
        reason,
        method: "POST",
        action: Some("payment.pay"),
        template: Some("/patients/{patient}/payments"),
        tier: Some("high"),
        upstream: Some("billing"),
        subject: Some("s_5f0c4Ydg-o_8"),
        actor: Some("s_0b7e"),
        patient: Some("p_91aaRk02"),
        session: Some("n_77b1"),
        account: Some("u_9e1d"),
        address: Some("a_c0ffee"),
        bundle: None,
        entries: None,
        actions: Vec::new(),
        rule: Some(0),
        input: Some(input()),
    }
}

fn bare(number: u128, reason: &'static str) -> DecisionEvent<'static> {
    DecisionEvent {
        action: None,
        template: None,
        tier: None,
        upstream: None,
        subject: None,
        patient: None,
        session: None,
        account: None,
        address: None,
        rule: None,
        input: None,
        method: "other",
        ..decision(number, "deny", reason)
    }
}

fn outcome(number: u128, intent: u64, result: OutcomeResult, status: Option<u16>) -> OutcomeEvent<'static> {
    OutcomeEvent {
        decision: id(number),
        intent,
        result,
        reason: (result != OutcomeResult::Completed).then_some("body_too_large"),
        status,
        response_bytes: 5120,
        duration_us: 48_211,
    }
}

fn session(what: &'static str, result: &'static str) -> SessionEvent<'static> {
    SessionEvent {
        decision: id(99),
        listener: "portal",
        what,
        result,
        issuer: Some("patients"),
        subject: Some("s_5f0c4Ydg-o_8"),
        session: Some("n_77b1"),
        account: Some("u_9e1d"),
        address: Some("a_c0ffee"),
    }
}

/// Intents with what came of them.
fn requests(lines: &mut Lines) {
    use OutcomeResult::{
        ClientGone, Completed, NotCompleted, NotForwarded, NotObserved, Unknown, UpstreamUnreachable,
    };
    let mut number = 0;
    let mut pair = |change: &dyn Fn(&mut DecisionEvent<'static>), result, status| {
        number += 1;
        let mut event = decision(number, "permit", "permitted");
        change(&mut event);
        let intent = lines.add(&Event::Intent(event));
        lines.add(&Event::Outcome(outcome(number, intent, result, status)));
    };
    for (method, template) in [
        ("GET", "/fhir/Observation/{id}"),
        ("HEAD", "/fhir/Observation"),
        ("POST", "/fhir/Observation"),
        ("POST", "/fhir/Observation/_search"),
        ("POST", "/fhir/Patient/{patient}/$everything"),
        ("PUT", "/fhir/Observation/{id}"),
        ("PATCH", "/fhir/Observation/{id}"),
        ("DELETE", "/fhir/Observation/{id}"),
        ("OPTIONS", "/fhir/metadata"),
        ("other", "/fhir/{rest}/**"),
    ] {
        pair(&|event| (event.method, event.template) = (method, Some(template)), Completed, Some(200));
        let without_patient = |event: &mut DecisionEvent<'static>| {
            (event.method, event.template, event.patient) = (method, Some(template), None);
            (event.subject, event.session, event.address, event.input) = (None, None, None, None);
        };
        pair(&without_patient, Completed, Some(204));
    }
    for (result, status) in [
        (Completed, Some(404)),
        (Completed, Some(502)),
        (NotForwarded, None),
        (UpstreamUnreachable, Some(502)),
        (Unknown, None),
        (ClientGone, Some(200)),
        (NotCompleted, Some(413)),
        (NotObserved, None),
    ] {
        pair(&|_| (), result, status);
    }
}

fn of_the_gateway(lines: &mut Lines) {
    let texts = ["insecure.http: listener `portal` speaks plain HTTP".to_owned()];
    let edge = ["5mNdhIvkjH0CVfbBFL6gXf2sVAlN2CDpQFpZ1n1Ekmo=".to_owned()];
    let quarantined = |why, quarantined| {
        Event::Segment(SegmentEvent {
            log: "wardgate/0198",
            tree_first: 1,
            size: 17,
            edge: &edge,
            why,
            quarantined,
        })
    };
    let revocation = |source, uid, claim, result| {
        let name = "s_5f0c4Ydg-o_8";
        Event::Revocation(RevocationEvent {
            source,
            uid,
            issuer: "patients",
            claim,
            name,
            not_before: 1_795_342_500,
            result,
        })
    };
    let signal = |delivery, what, result, token| {
        Event::SharedSignal(SharedSignalEvent { issuer: "patients", delivery, what, result, token })
    };
    let glass = |what, code, result| {
        Event::BreakGlass(BreakGlassEvent {
            decision: if what == "used" { id(97) } else { Uuid::nil() },
            what,
            glass: "2026-11-22.1",
            right: "treatment",
            action: Some("results.read"),
            subject: Some("s_5f0c4Ydg-o_8"),
            patient: Some("p_91aaRk02"),
            code,
            until: Some(1_795_342_500),
            result,
            ..BreakGlassEvent::default()
        })
    };
    let narrowed: [Box<str>; 1] = ["results.read".into()];
    let delegation = |what, result: Option<&'static str>| {
        Event::Delegation(DelegationEvent {
            what,
            delegation: Some("2026-11-22.1"),
            relation: Some("caregiver"),
            subject: Some("s_5f0c4Ydg-o_8"),
            patient: Some("p_91aaRk02"),
            actions: &narrowed,
            until: Some(1_826_878_500),
            review_due: Some(1_803_118_500),
            by: result.is_none().then_some("s_0b7e"),
            uid: result.is_none().then_some(1000),
            result,
        })
    };
    let days = ["2026-03-18".to_owned(), "2026-06-16".to_owned()];
    let access_outage = |phase, seconds| {
        let (kind, service, why) = ("pdp", "clinic", "it is too slow");
        Event::AccessOutage { phase, kind, service, number: 1, why, seconds }
    };
    for event in [
        Event::Unparsed { listener: "portal", address: Some("a_c0ffee") },
        Event::Unparsed { listener: "portal", address: None },
        Event::Aggregated { listener: "portal", cause: "rate_limited", count: 912, seconds: 10 },
        Event::Started { version: "0.1.0", policy: "3b9f5a7c", relaxations: &texts },
        Event::Stopping,
        Event::Reloaded { policy: "77aa01bc", previous: "3b9f5a7c", relaxations: &texts },
        Event::ReloadRefused { policy: "77aa01bc", refused: Some("deadbeef"), findings: &texts },
        Event::ReloadRefused { policy: "77aa01bc", refused: None, findings: &[] },
        revocation("operator", Some(1000), "sub", "stored"),
        revocation("shared_signals", None, "sid", "unavailable"),
        signal("push", Some("session-revoked"), "revoked", Some("t_0a1b")),
        signal("poll", None, "unreadable", None),
        Event::OperatorRefused { action: "revoke", uid: Some(1001), why: "peer" },
        Event::OperatorRefused { action: "connect", uid: None, why: "malformed" },
        Event::Detection(DetectionEvent {
            name: "mass_lookup",
            subject: Some("s_5f0c"),
            patient: None,
            action: None,
            count: 100,
            within: Some(600),
        }),
        glass("opened", Some("emergency"), None),
        glass("used", None, None),
        glass("ended", None, Some("operator")),
        Event::BreakGlass(BreakGlassEvent {
            what: "reviewed",
            glass: "2026-11-22.1",
            right: "treatment",
            subject: Some("s_5f0c4Ydg-o_8"),
            patient: Some("p_91aaRk02"),
            result: Some("justified"),
            reviewer: Some("s_0b7e"),
            uid: Some(1000),
            drill: true,
            ..BreakGlassEvent::default()
        }),
        glass("shown", None, None),
        glass("overdue", None, None),
        glass("suspended", None, None),
        glass("restored", None, None),
        delegation("granted", None),
        delegation("reviewed", None),
        delegation("ended", Some("patient")),
        Event::Delegation(DelegationEvent {
            what: "shown",
            patient: Some("p_91aaRk02"),
            by: Some("s_0b7e"),
            uid: Some(1000),
            ..DelegationEvent::default()
        }),
        Event::BreakGlass(BreakGlassEvent {
            what: "codes_issued",
            right: "treatment",
            until: Some(1_795_342_500),
            result: Some("10"),
            uid: Some(0),
            ..BreakGlassEvent::default()
        }),
        Event::PseudonymLookup(PseudonymLookupEvent {
            uid: 1000,
            reason: "case 4711",
            kind: Kind::Patient,
            name: "p_20260914.91aaRk02",
        }),
        Event::PseudonymShred(PseudonymShredEvent {
            phase: "begun",
            uid: 1000,
            reason: "retention",
            epochs: &days,
            result: None,
        }),
        Event::PseudonymShred(PseudonymShredEvent {
            phase: "ended",
            uid: 1000,
            reason: "retention",
            epochs: &days,
            result: Some("destroyed"),
        }),
        Event::PseudonymShred(PseudonymShredEvent {
            phase: "ended",
            uid: 1000,
            reason: "retention",
            epochs: &days,
            result: Some("failed"),
        }),
        Event::PseudonymEpoch(PseudonymEpochEvent {
            epoch: "2026-09-14",
            previous: "2026-06-16",
            result: "begun",
            why: None,
        }),
        Event::PseudonymEpoch(PseudonymEpochEvent {
            epoch: "2026-09-14",
            previous: "2026-06-16",
            result: "failed",
            why: Some(
                "the key of the pseudonyms' epoch 2026-09-14 can't be used: Permission denied (os error 13)",
            ),
        }),
        Event::JournalOutage {
            phase: "begun",
            kind: "no_room",
            number: 1,
            why: "the disk of the audit trail has no more room: No space left on device (os error 28)",
            seconds: None,
        },
        Event::JournalOutage {
            phase: "ended",
            kind: "unwritable",
            number: 2,
            why: "the audit journal can't be written: No space left on device (os error 28)",
            seconds: Some(9),
        },
        Event::JournalNearQuota { mark: 85, bytes: 18_253_611_008, quota: 21_474_836_480 },
        Event::Retired(RetiredEvent {
            file: "audit.00000000000000000001.jsonl",
            first: 1,
            last: 4711,
            newest: "2020-11-22T10:15:00.123456Z",
            log: "5f0c4ad9e1b27701",
            size: 4711,
            root: "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
        }),
        Event::StoreOutage { phase: "begun", number: 1, why: "it does not answer in time", seconds: None },
        Event::StoreOutage { phase: "ended", number: 1, why: "it refused the connection", seconds: Some(62) },
        access_outage("begun", None),
        access_outage("ended", Some(17)),
        Event::SinkDown { sink: "siem", why: "it does not answer in time" },
        Event::SinkUp { sink: "siem", seconds: 620 },
        quarantined("started", None),
        quarantined("quarantined", Some(Quarantined { file: "audit.damaged-1.jsonl", line: 12 })),
        Event::Torn { bytes: 211 },
        Event::Signer {
            key: "wardgate/0198+3d4f+AQID",
            certificate: "wardgate/0198\nkey\n\n— operators AQID\n",
        },
        Event::Checkpoint { note: "wardgate/0198\n17\n5mNd=\n\n— wardgate/0198 AQID\n" },
        Event::Upgrade { result: "handed_over", why: None },
        Event::Upgrade { result: "failed", why: Some("the new program ended with status 1") },
    ] {
        lines.add(&event);
    }
}

/// Every kind; where something may be missing, once with and once without it.
pub(super) fn lines() -> Vec<Vec<u8>> {
    let mut lines = Lines { lines: Vec::new() };
    requests(&mut lines);
    for event in [
        decision(70, "deny", "no_relation"),
        decision(71, "challenge", "step_up_required.too_old"),
        decision(72, "permit", "preflight_allowed"),
        bare(73, "no_route"),
    ] {
        lines.add(&Event::Decision(event));
    }
    lines.add(&Event::Outcome(outcome(98, 4711, OutcomeResult::Completed, Some(200))));
    for (what, result) in [
        ("sign_in", "ok"),
        ("sign_in", "state_mismatch"),
        ("step_up", "ok"),
        ("ciba_ping", "ok"),
        ("handover", "ok"),
        ("confirm", "ok"),
        ("refresh", "ok"),
        ("sign_out", "ok"),
        ("back_channel_logout", "ok"),
    ] {
        lines.add(&Event::Session(session(what, result)));
    }
    let nobody = SessionEvent {
        issuer: None,
        subject: None,
        session: None,
        address: None,
        ..session("sign_in", "expired")
    };
    lines.add(&Event::Session(nobody));
    of_the_gateway(&mut lines);
    lines.lines
}

pub(super) fn records() -> Vec<Record> {
    lines().iter().map(|line| Record::read(line).expect("a record")).collect()
}
