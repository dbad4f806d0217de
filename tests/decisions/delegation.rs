//! People who act for patients: what a grant is good for, and everything that it is not.

use wardgate::decision::trace::Silent;
use wardgate::decision::{
    Decision, Delegated, Findings, Identity, Lookup, Need, Question, Reason, Revocation, Step, is_patient,
    step,
};
use wardgate::policy::{Match, Policy};

use super::world::{Known, NOW, POLICY, Request, compile, identity, reading};

const RELATIONS: &str = r#"
delegation:
  by: { issuer: workforce, roles: [records-office], assurance: aal2 }
  relations:
    parent: { issuer: patients, until_age: 13 }
    caregiver: { issuer: patients, review_every: 30d, actions: [own.read, own.paid, own.query, own.denied, own.when, own.scoped] }
  never: [own.never]
routes:
  - { id: own.read, match: { path: "/own/{patient}", methods: [GET, POST] }, upstream: app, tier: low, patient: { from: path.patient },
      any_of: [{ issuer: patients, patient: self }, { issuer: patients, delegate: [parent, caregiver] }, { issuer: workforce, roles: [nurse] }] }
  - { id: own.parents, match: { path: "/parents/{patient}", methods: [GET] }, upstream: app, tier: low, patient: { from: path.patient },
      any_of: [{ issuer: patients, delegate: [parent] }] }
  - { id: own.query, match: { path: "/query", methods: [GET] }, upstream: app, tier: low, patient: { from: query.patient },
      any_of: [{ issuer: patients, delegate: [caregiver] }] }
  - { id: own.denied, match: { path: "/denied/{patient}", methods: [GET] }, upstream: app, tier: low, patient: { from: path.patient },
      deny: [{ when: "true" }], any_of: [{ issuer: patients, delegate: [caregiver] }] }
  - { id: own.when, match: { path: "/when/{patient}", methods: [GET] }, upstream: app, tier: low, patient: { from: path.patient },
      any_of: [{ issuer: patients, delegate: [caregiver], when: "'otp' in subject.methods" }] }
  - { id: own.scoped, match: { path: "/scoped/{patient}", methods: [GET] }, upstream: app, tier: low, patient: { from: path.patient },
      any_of: [{ issuer: patients, delegate: [caregiver], scopes: [records.read] }] }
  - { id: own.paid, match: { path: "/paid/{patient}", methods: [POST] }, upstream: app, tier: high, patient: { from: path.patient },
      any_of: [{ issuer: patients, delegate: [caregiver] }] }
  - { id: own.never, match: { path: "/never/{patient}", methods: [POST] }, upstream: app, tier: low, patient: { from: path.patient },
      any_of: [{ issuer: patients, patient: self }] }
"#;

fn policy() -> Policy {
    let text = POLICY.replacen("\nroutes:\n", RELATIONS, 1);
    assert_ne!(text, POLICY);
    compile(&text).policy
}

/// What `u1`, whose own record is `p1`, was granted for `p2`.
fn granted() -> Delegated {
    Delegated {
        id: "2026-11-23.1".into(),
        relation: "caregiver".into(),
        issuer: "patients".into(),
        person: "u1".into(),
        patient: "p2".into(),
        actions: Vec::new(),
        granted: NOW - 60,
        until: NOW + 60,
        review_due: NOW + 30,
    }
}

fn changed(change: impl Fn(&mut Delegated)) -> Lookup<Delegated> {
    let mut other = granted();
    change(&mut other);
    Lookup::Found(other)
}

/// What is decided, and whether the store was asked.
fn decide(
    policy: &Policy,
    request: &str,
    caller: &str,
    granted: &Lookup<Delegated>,
) -> (Decision, Findings, bool) {
    let facts = Request::parse(request).facts(None, Some("Bearer x")).expect("readable");
    let Match::Route(route) = policy.index.find(&facts) else { panic!("no route for {request}") };
    let question = Question { policy, route: &policy.routes[route], facts: &facts, forms_may_override: true };
    let body = reading(&question, None);
    let known = Known {
        identity: identity(policy, caller),
        keys_too_stale: false,
        revocation: Revocation::Valid,
        body,
        evaluation: Lookup::Absent,
        record: Lookup::Absent,
    };
    let (mut evidence, mut asked) = (known.evidence(), false);
    loop {
        match step(&question, &evidence, NOW, &mut Silent) {
            Step::Decided(decision, findings) => return (decision, findings, asked),
            Step::Need(Need::Delegation) => {
                assert!(!std::mem::replace(&mut asked, true), "asked once");
                evidence.delegation = Some(granted.clone());
            }
            Step::Need(need) => panic!("{need:?}"),
        }
    }
}

fn of(request: &str, caller: &str, granted: &Lookup<Delegated>) -> (Reason, bool) {
    let (decision, findings, asked) = decide(&policy(), request, caller, granted);
    let permitted = matches!(decision, Decision::Permit(_));
    assert_eq!(permitted, decision.reason().wording().status == 200, "{request} {caller}");
    if permitted {
        assert_eq!(findings.mandate.is_some(), decision.reason() == Reason::Delegated, "{request} {caller}");
    }
    (decision.reason(), asked)
}

const PATIENT: &str = "patient aal1 30s";

#[test]
fn whoever_was_granted_it_acts_for_the_one_patient() {
    let delegated = (Reason::Delegated, true);
    assert_eq!(of("GET /own/p2", PATIENT, &Lookup::Found(granted())), delegated);
    assert_eq!(of("GET /query?patient=p2", PATIENT, &Lookup::Found(granted())), delegated);
    assert_eq!(of("GET /own/p2", "patient aal1 30s recordless", &Lookup::Found(granted())), delegated);
    let parent = changed(|it| it.relation = "parent".into());
    assert_eq!(of("GET /parents/p2", PATIENT, &parent), delegated);
    assert_eq!(of("GET /own/p2", PATIENT, &parent), delegated);
    // Who needs none is not asked about: not for their own record, nor staff.
    assert_eq!(of("GET /own/p1", PATIENT, &Lookup::Unavailable), (Reason::Permitted, false));
    assert_eq!(
        of("GET /own/p2", "staff aal1 30s role:nurse", &Lookup::Unavailable),
        (Reason::Permitted, false)
    );
    assert_eq!(of("GET /own/p2", "staff aal1 30s", &Lookup::Found(granted())).0, Reason::RoleMissing);
    let (_, findings, _) = decide(&policy(), "GET /own/p2", PATIENT, &Lookup::Found(granted()));
    assert_eq!((findings.rule, findings.own_record), (Some(1), Some(false)));
}

/// Whatever the store gives, it counts for this person, this patient, this relation, this action and this time only.
#[test]
fn a_grant_is_good_for_nothing_else() {
    for (what, granted) in [
        ("another patient", changed(|it| it.patient = "p3".into())),
        ("another person", changed(|it| it.person = "u2".into())),
        ("another issuer", changed(|it| it.issuer = "workforce".into())),
        ("an unknown relation", changed(|it| it.relation = "friend".into())),
        ("other actions", changed(|it| it.actions = vec!["own.query".into()])),
        ("the past", changed(|it| it.until = NOW)),
        ("longer than the relation lasts", changed(|it| it.granted = NOW - 365 * 86_400)),
        ("nothing", Lookup::Absent),
    ] {
        assert_eq!(of("GET /own/p2", PATIENT, &granted), (Reason::NoRelation, true), "{what}");
    }
    assert_eq!(of("GET /parents/p2", PATIENT, &Lookup::Found(granted())), (Reason::NoRelation, true));
    let narrowed = changed(|it| it.actions = vec!["own.query".into(), "own.read".into()]);
    assert_eq!(of("GET /own/p2", PATIENT, &narrowed).0, Reason::Delegated);
    let due = changed(|it| it.review_due = NOW);
    assert_eq!(of("GET /own/p2", PATIENT, &due).0, Reason::DelegationReviewDue);
    assert_eq!(of("GET /own/p2", PATIENT, &Lookup::Unavailable), (Reason::StoreUnavailable, true));
}

/// All else that is asked of a request is asked of this one too.
#[test]
fn a_grant_stands_in_for_the_relation_and_nothing_else() {
    let granted = Lookup::Found(granted());
    assert_eq!(of("GET /denied/p2", PATIENT, &granted), (Reason::DeniedByRule, false));
    assert_eq!(of("GET /when/p2", PATIENT, &granted), (Reason::ConditionNotMet, false));
    assert_eq!(of("GET /when/p2", "patient aal1 30s otp", &granted).0, Reason::Delegated);
    assert_eq!(of("GET /scoped/p2", PATIENT, &granted), (Reason::ScopeMissing, false));
    assert_eq!(of("GET /scoped/p2", "patient aal1 30s scope:records.read", &granted).0, Reason::Delegated);
    assert_eq!(of("GET /query", PATIENT, &granted), (Reason::PatientUnresolved, false));
    assert_eq!(of("POST /never/p2", PATIENT, &granted), (Reason::NoRelation, false));
    assert!(matches!(of("POST /paid/p2", PATIENT, &granted).0, Reason::StepUpRequired(_)));
    assert_eq!(of("GET /own/p2", "feed 30s", &granted).0, Reason::IssuerNotAllowed);
}

/// Somebody with a token of the patient's, which says who they are (`act`).
#[test]
fn an_actor_has_what_rules_for_actors_give() {
    let actor = "patient aal1 30s actor";
    let granted = |patient: &'static str| {
        changed(|it| {
            it.person = "somebody".into();
            it.patient = patient.into();
        })
    };
    assert_eq!(of("GET /own/p1", actor, &granted("p1")), (Reason::Delegated, true));
    // Not as if they were the patient, whose own grants are not theirs either.
    assert_eq!(of("GET /own/p1", actor, &Lookup::Absent), (Reason::NoRelation, true));
    assert_eq!(of("GET /own/p1", actor, &changed(|it| it.patient = "p1".into())), (Reason::NoRelation, true));
    assert_eq!(of("POST /never/p1", actor, &granted("p1")), (Reason::ActorNotAllowed, false));
    // The token is for one patient, and so is what the actor does with it.
    assert_eq!(of("GET /own/p2", actor, &granted("p2")), (Reason::NoRelation, false));
    assert_eq!(
        of("GET /own/p2", "staff aal1 30s role:nurse actor", &granted("p2")).0,
        Reason::IssuerNotAllowed
    );
}

/// On FHIR services replies are looked through for the patient whom somebody acts for, and scopes of one's own record give
/// nothing of another's.
#[test]
fn replies_to_somebody_who_acts_show_that_patient() {
    let text = include_str!("../config/good/fhir.yaml");
    let text = text.replace(
        "      - { issuer: patients, patient: self }\n",
        "      - { issuer: patients, patient: self }\n      - { issuer: patients, delegate: [caregiver] }\n",
    );
    let relations = "delegation:\n  by: { issuer: workforce, roles: [office], assurance: aal1 }\n  relations: { caregiver: { issuer: patients } }\nroutes:\n";
    let policy = compile(&text.replacen("routes:\n", relations, 1)).policy;
    let found = Lookup::Found(granted());
    let user = "patient aal1 30s scope:user/*.rs";
    let (decision, ..) = decide(&policy, "GET /fhir/Observation?patient=p2", user, &found);
    let Decision::Permit(permit) = decision else { panic!("{decision:?}") };
    let confinement = permit.confinement().expect("confined");
    assert_eq!((&*confinement.patient, confinement.awaited.names_patient()), ("p2", true));
    for (request, caller) in [
        ("GET /fhir/Observation?patient=p2", "patient aal1 30s scope:patient/*.rs"),
        ("GET /fhir/Observation?patient=p3", user),
        ("GET /fhir/Observation?code=1", user),
    ] {
        let (decision, ..) = decide(&policy, request, caller, &found);
        assert!(matches!(decision, Decision::Deny(_)), "{request} {caller}: {decision:?}");
    }
}

/// Only whom a rule about their own record could be for has one, whatever patient a token names.
#[test]
fn a_clinician_is_no_patient() {
    let policy = policy();
    let is = |caller: &str| match identity(&policy, caller) {
        Identity::Known(subject) => is_patient(&policy, &subject),
        _ => panic!("{caller} is known"),
    };
    assert!(is(PATIENT));
    assert!(!is("staff aal1 30s role:nurse"));
}
