//! Breaking the glass: what it gets beyond, and everything that it never does.

use wardgate::decision::trace::Silent;
use wardgate::decision::{
    Decision, Findings, Glass, Lookup, Need, Opened, Question, Reason, Revocation, Step, step,
};
use wardgate::policy::{Match, Policy};

use super::world::{Known, NOW, POLICY, Request, compile, identity, reading};

const RIGHTS: &str = r#"
break_glass:
  treatment:
    issuer: workforce
    roles: [hospitalist, ed-nurse]
    require: { assurance: aal2, reason_codes: [emergency, covering], text_min: 20 }
    review: { within: 72h, by: [privacy-office] }
  other:
    issuer: workforce
    roles: [hospitalist]
    access: write
    overrides: [role_missing]
    require: { assurance: aal2, reason_codes: [emergency] }
    review: { within: 72h, by: [privacy-office] }
routes:
  - { id: glass.read, match: { path: "/glass/{patient}", methods: [GET, POST] }, upstream: app, tier: low, patient: { from: path.patient },
      break_glass: treatment, any_of: [{ issuer: workforce, roles: [nurse] }, { issuer: workforce, roles: [ed-nurse], patient: self }] }
  - { id: glass.denied, match: { path: "/denied/{patient}", methods: [GET] }, upstream: app, tier: low, patient: { from: path.patient },
      break_glass: treatment, deny: [{ when: "true" }], any_of: [{ issuer: workforce, roles: [nurse] }] }
  - { id: glass.scoped, match: { path: "/scoped/{patient}", methods: [GET] }, upstream: app, tier: low, patient: { from: path.patient },
      break_glass: treatment, any_of: [{ issuer: workforce, scopes: [ehr.read] }] }
  - { id: glass.query, match: { path: "/query", methods: [GET] }, upstream: app, tier: low, patient: { from: query.patient },
      break_glass: treatment, any_of: [{ issuer: workforce, roles: [nurse] }] }
  - { id: glass.high, match: { path: "/high/{patient}", methods: [GET] }, upstream: app, tier: high, patient: { from: path.patient },
      break_glass: treatment, any_of: [{ issuer: workforce, roles: [nurse] }] }
  - { id: glass.write, match: { path: "/write/{patient}", methods: [GET, PUT] }, upstream: app, tier: low, patient: { from: path.patient },
      break_glass: other, any_of: [{ issuer: workforce, roles: [nurse] }, { issuer: workforce, roles: [hospitalist], patient: self }] }
"#;

fn policy() -> Policy {
    let text = POLICY.replacen("\nroutes:\n", RIGHTS, 1);
    assert_ne!(text, POLICY);
    compile(&text).policy
}

fn opened() -> Opened {
    Opened {
        id: "2026-11-23.1".into(),
        right: "treatment".into(),
        issuer: "workforce".into(),
        subject: "s1".into(),
        patient: "p2".into(),
        until: NOW + 60,
        drill: false,
    }
}

/// What is decided, and whether the store was asked.
fn decide(
    policy: &Policy,
    request: &str,
    caller: &str,
    revocation: Revocation,
    opened: &Lookup<Opened>,
) -> (Decision, Findings, bool) {
    let facts = Request::parse(request).facts(None, Some("Bearer x")).expect("readable");
    let Match::Route(route) = policy.index.find(&facts) else { panic!("no route for {request}") };
    let question = Question { policy, route: &policy.routes[route], facts: &facts, forms_may_override: true };
    let body = reading(&question, None);
    let evaluation = Lookup::Absent;
    let known = Known {
        identity: identity(policy, caller),
        keys_too_stale: false,
        revocation,
        body,
        evaluation,
        record: Lookup::Absent,
    };
    let (mut evidence, mut asked) = (known.evidence(), false);
    loop {
        match step(&question, &evidence, NOW, &mut Silent) {
            Step::Decided(decision, findings) => return (decision, findings, asked),
            Step::Need(Need::BreakGlass) => {
                assert!(!std::mem::replace(&mut asked, true), "asked once");
                evidence.break_glass = Some(opened.clone());
            }
            Step::Need(need) => panic!("{need:?}"),
        }
    }
}

const HOSPITALIST: &str = "staff aal1 30s role:hospitalist";

fn of(request: &str, caller: &str, opened: Lookup<Opened>) -> (Reason, Option<Glass>, bool) {
    let (decision, findings, asked) = decide(&policy(), request, caller, Revocation::Valid, &opened);
    let offers = matches!(&decision, Decision::Deny(denial) if denial.break_glass.is_some());
    assert_eq!(offers, findings.break_glass == Some(Glass::Offered), "{request} {caller}");
    assert_eq!(matches!(decision, Decision::Permit(_)), decision.reason().wording().status == 200);
    (decision.reason(), findings.break_glass, asked)
}

#[test]
fn who_has_the_right_is_offered_it_and_gets_one_patients_record() {
    let offered = |reason| (reason, Some(Glass::Offered), true);
    assert_eq!(of("GET /glass/p2", HOSPITALIST, Lookup::Absent), offered(Reason::RoleMissing));
    let own_nurse = "staff aal1 30s role:ed-nurse record:p9";
    assert_eq!(of("GET /glass/p2", own_nurse, Lookup::Absent), offered(Reason::NoRelation));
    let broken = (Reason::GlassBroken, Some(Glass::Broken), true);
    for caller in [HOSPITALIST, own_nurse] {
        assert_eq!(of("GET /glass/p2", caller, Lookup::Found(opened())), broken);
        assert_eq!(of("HEAD /glass/p2", caller, Lookup::Found(opened())), broken);
    }
    assert_eq!(of("GET /query?patient=p2", HOSPITALIST, Lookup::Found(opened())), broken);
    // Who needs none is not asked about.
    assert_eq!(
        of("GET /glass/p2", "staff aal1 30s role:nurse role:hospitalist", Lookup::Unavailable),
        (Reason::Permitted, None, false)
    );
}

/// Whatever the store gives, it counts for this person, this patient, this right and this time only.
#[test]
fn what_was_opened_is_good_for_nothing_else() {
    let other = |change: fn(&mut Opened)| {
        let mut other = opened();
        change(&mut other);
        Lookup::Found(other)
    };
    for (what, opened) in [
        ("another patient", other(|it| it.patient = "p3".into())),
        ("another person", other(|it| it.subject = "s2".into())),
        ("another issuer", other(|it| it.issuer = "patients".into())),
        ("another right", other(|it| it.right = "other".into())),
        ("over", other(|it| it.until = NOW)),
    ] {
        let expected = (Reason::RoleMissing, Some(Glass::Offered), true);
        assert_eq!(of("GET /glass/p2", HOSPITALIST, opened), expected, "{what}");
    }
    let drill = other(|it| it.drill = true);
    assert_eq!(of("GET /glass/p2", HOSPITALIST, drill), (Reason::RoleMissing, Some(Glass::Drill), true));
    let outage = (Reason::StoreUnavailable, None, true);
    assert_eq!(of("GET /glass/p2", HOSPITALIST, Lookup::Unavailable), outage);
}

#[test]
fn nothing_else_is_overridden() {
    let found = || Lookup::Found(opened());
    for (request, caller, reason) in [
        ("GET /denied/p2", HOSPITALIST, Reason::DeniedByRule),
        ("GET /scoped/p2", HOSPITALIST, Reason::ScopeMissing),
        ("GET /query", HOSPITALIST, Reason::PatientUnresolved),
        ("GET /query?patient=p2&patient=p3", HOSPITALIST, Reason::PatientUnresolved),
        ("POST /glass/p2", HOSPITALIST, Reason::RoleMissing),
        ("GET /glass/p2", "staff aal1 30s role:hospitalist actor", Reason::ActorNotAllowed),
        ("GET /glass/p2", "staff aal1 30s role:clerk", Reason::RoleMissing),
        // The roles are those of the right's own issuer.
        ("GET /glass/p2", "patient aal1 30s role:hospitalist", Reason::IssuerNotAllowed),
        ("GET /glass/p2", "feed 30s role:hospitalist", Reason::IssuerNotAllowed),
        // A refusal that this right does not name.
        ("GET /write/p2", "staff aal1 30s role:hospitalist record:p9", Reason::NoRelation),
    ] {
        assert_eq!(of(request, caller, found()), (reason, None, false), "{request} {caller}");
    }
    let (decision, findings, asked) =
        decide(&policy(), "GET /glass/p2", HOSPITALIST, Revocation::Revoked, &found());
    assert_eq!((decision.reason(), findings.break_glass, asked), (Reason::TokenRevoked, None, false));
    let (decision, ..) = decide(&policy(), "GET /high/p2", HOSPITALIST, Revocation::Valid, &found());
    assert!(matches!(decision, Decision::Challenge(_)), "the tier asks for the same as ever: {decision:?}");
    let strong = "staff aal2 30s role:hospitalist";
    assert_eq!(of("GET /high/p2", strong, found()).0, Reason::GlassBroken);
    let (decision, ..) = decide(&policy(), "GET /high/p2", strong, Revocation::Unknown, &found());
    assert_eq!(decision.reason(), Reason::StoreUnavailable);
}

#[test]
fn a_right_may_be_good_for_changes() {
    let other = || Lookup::Found(Opened { right: "other".into(), ..opened() });
    let caller = "staff aal1 30s role:hospitalist role:ed-nurse";
    let text = RIGHTS.replace(
        "{ issuer: workforce, roles: [hospitalist], patient: self }",
        "{ issuer: workforce, roles: [clerk] }",
    );
    let policy = compile(&POLICY.replacen("\nroutes:\n", &text, 1)).policy;
    for (request, expected) in
        [("GET /write/p2", Reason::GlassBroken), ("PUT /write/p2", Reason::GlassBroken)]
    {
        let (decision, ..) = decide(&policy, request, caller, Revocation::Valid, &other());
        assert_eq!(decision.reason(), expected, "{request}");
    }
}

/// A whole record is what one operation of FHIR gives, and everybody's what another does: neither is opened.
#[test]
fn on_fhir_services_only_reading_and_searching_is_opened() {
    let text = include_str!("../config/good/fhir.yaml");
    let rights = r#"
break_glass:
  treatment:
    issuer: workforce
    roles: [hospitalist]
    require: { assurance: aal2, reason_codes: [emergency] }
    review: { within: 72h, by: [privacy-office] }
routes:
  - { id: glass.all, match: { fhir: { service: ehr-fhir, interactions: [history-instance, history-type, search-system] } },
      tier: moderate, break_glass: treatment, any_of: [{ issuer: workforce, roles: [nobody] }] }
"#;
    let text = text.replacen("\nroutes:\n", rights, 1).replacen(
        "    tier: moderate\n    any_of:\n      - { issuer: patients, patient: self }",
        "    tier: moderate\n    break_glass: treatment\n    any_of:\n      - { issuer: patients, patient: self }",
        1,
    );
    let text = ["$everything\"] } }\n    tier: moderate\n", "$export\"] } }\n    tier: moderate\n"]
        .iter()
        .fold(text, |text, rest| {
            let changed = text.replacen(rest, &format!("{rest}    break_glass: treatment\n"), 1);
            assert_ne!(changed, text);
            changed
        });
    let text =
        text.replace("{ issuer: services, clients: [warehouse] }", "{ issuer: workforce, roles: [nobody] }");
    let (start, _) = text.split_once("\ncases:").expect("cases");
    let policy = compile(start).policy;
    let caller = "staff aal1 30s role:hospitalist scope:user/*.cruds";
    for (request, expected) in [
        ("GET /fhir/Patient/p2", Reason::GlassBroken),
        ("GET /fhir/Observation?patient=p2", Reason::GlassBroken),
        ("GET /fhir/Observation?patient=p3", Reason::RoleMissing),
        ("GET /fhir/Observation/o1", Reason::RoleMissing),
        ("GET /fhir/Observation", Reason::RoleMissing),
        ("GET /fhir/$export", Reason::RoleMissing),
        ("GET /fhir/Patient/$export", Reason::RoleMissing),
        ("GET /fhir/Patient/p2/$everything", Reason::RoleMissing),
        ("GET /fhir/Observation/_history", Reason::RoleMissing),
    ] {
        let (decision, ..) = decide(&policy, request, caller, Revocation::Valid, &Lookup::Found(opened()));
        assert_eq!(decision.reason(), expected, "{request}");
    }
}
