//! Tokens that name actions (RFC 9396): what they pay for, what they are worth elsewhere, and what a client is told to
//! ask for.

use std::sync::Arc;

use serde_json::{Value, json};
use wardgate::decision::trace::Silent;
use wardgate::decision::{
    Challenge, Decision, Evidence, Identity, Lookup, Need, Question, Reason, Revocation, Step, step,
};
use wardgate::enforce::action::content_digest;
use wardgate::identity::{NamedActions, Subject};
use wardgate::policy::requirement::Unmet;
use wardgate::policy::{Match, Policy};

use super::world::{self, Body, NOW, POLICY, Request, compile, reading};

const EXPORT: &str = "POST /patients/p1/export";
/// The body that is agreed to.
const BODY: &str = r#"{"year":2024}"#;

struct Clinic {
    policy: Policy,
}

impl Clinic {
    /// Its patients' issuer takes details of actions.
    fn new() -> Self {
        let mut policy = compile(POLICY).policy;
        policy.issuers[0].names_actions = true;
        Self { policy }
    }

    fn patient(&self, words: &str) -> Subject {
        match world::identity(&self.policy, &format!("patient {words}")) {
            Identity::Known(subject) => subject.as_ref().clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Decides; gives what was asked for and the decision.
    fn ask(&self, request: &str, body: &str, subject: &Subject) -> (Vec<Need>, Decision) {
        self.ask_with(request, body, subject, Lookup::Found(content_digest(body.as_bytes()).into()))
    }

    fn ask_with(
        &self,
        request: &str,
        body: &str,
        subject: &Subject,
        content: Lookup<Box<str>>,
    ) -> (Vec<Need>, Decision) {
        let body = Body { media_type: "application/json".into(), gzip: false, bytes: body.into() };
        let facts = Request::parse(request).facts(Some(&body), Some("Bearer a.b.c")).expect("readable");
        let Match::Route(route) = self.policy.index.find(&facts) else { panic!("no route for {request}") };
        let route = &self.policy.routes[route];
        let question = Question { policy: &self.policy, route, facts: &facts, forms_may_override: true };
        let (mut asked, mut evidence) = (Vec::new(), Evidence::default());
        loop {
            match step(&question, &evidence, NOW, &mut Silent) {
                Step::Decided(decision, _) => return (asked, decision),
                Step::Need(need) => {
                    assert!(!asked.contains(&need), "{need:?} is asked for twice");
                    asked.push(need);
                    match need {
                        Need::Identity => {
                            evidence.identity = Some(Identity::Known(Arc::new(subject.clone())))
                        }
                        Need::Revocation => evidence.revocation = Some(Revocation::Valid),
                        Need::Body => evidence.body = Some(reading(&question, Some(&body))),
                        Need::Content => evidence.content = Some(content.clone()),
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    }

    fn challenge(&self, request: &str, body: &str, subject: &Subject) -> Challenge {
        match self.ask(request, body, subject).1 {
            Decision::Challenge(challenge) => challenge,
            other => panic!("{other:?}"),
        }
    }

    /// What the client is told to ask for.
    fn details(&self, request: &str, body: &str) -> Value {
        let weak = self.challenge(request, body, &self.patient("aal1 30s pwd"));
        serde_json::to_value(weak.action.expect("details")).expect("JSON")
    }

    /// A subject whose token has these details.
    fn holder(&self, words: &str, details: &[Value]) -> Subject {
        let names = NamedActions::read(Some(&Value::Array(details.to_vec())));
        Subject { names, ..self.patient(words) }
    }

    fn price(&self, request: &str, body: &str, subject: &Subject) -> Option<String> {
        match self.ask(request, body, subject).1 {
            Decision::Permit(permit) => permit.to_spend().map(|key| key.as_str().to_owned()),
            _ => None,
        }
    }
}

#[test]
fn a_challenge_says_what_to_ask_for_and_such_a_token_pays_for_that_alone() {
    let clinic = Clinic::new();
    let details = clinic.details(EXPORT, BODY);
    assert_eq!(
        details,
        json!({
            "type": "urn:wardgate:action", "locations": ["http://portal.clinic.example"], "route": "record.export",
            "method": "POST", "target": "/patients/p1/export", "body_digest": content_digest(BODY.as_bytes()),
            "rules": clinic.policy.rules,
        })
    );
    let holder = clinic.holder("aal2 30s otp", std::slice::from_ref(&details));
    assert!(clinic.price(EXPORT, BODY, &holder).expect("a permit").contains("action"));
    for (request, body) in [
        (EXPORT, r#"{"year":2025}"#),
        (EXPORT, ""),
        ("POST /patients/p1/export?all", BODY),
        ("PUT /patients/p1/profile", BODY),
    ] {
        let challenge = clinic.challenge(request, body, &holder);
        assert_eq!(challenge.reason, Reason::StepUpRequired(Unmet::OtherAction), "{request} {body}");
        let told = serde_json::to_value(challenge.action.expect("what to ask for")).expect("JSON");
        assert!(
            clinic.price(request, body, &clinic.holder("aal2 30s otp", &[told])).is_some(),
            "{request} {body}"
        );
    }
}

#[test]
fn every_member_has_to_be_the_actions_own() {
    let clinic = Clinic::new();
    let details = clinic.details(EXPORT, BODY);
    for (name, value) in details.as_object().expect("an object").clone() {
        let mut other = details.clone();
        other[&name] = match value {
            Value::Array(_) => json!(["https://portal.clinic.example"]),
            _ => json!("urn:wardgate:other"),
        };
        let holder = clinic.holder("aal2 30s otp", &[other]);
        assert_eq!(clinic.challenge(EXPORT, BODY, &holder).unmet.as_slice(), [Unmet::OtherAction], "{name}");
    }
}

/// It would pay for one action beside those that the person has agreed to with the same authentication.
#[test]
fn where_actions_can_be_named_no_ordinary_token_pays() {
    let mut clinic = Clinic::new();
    let details = clinic.details(EXPORT, BODY);
    let theirs = clinic.holder("aal2 30s otp", &[json!({ "type": "urn:example:theirs" })]);
    for ordinary in [clinic.patient("aal2 30s otp"), theirs.clone()] {
        let challenge = clinic.challenge(EXPORT, BODY, &ordinary);
        assert_eq!(challenge.unmet.as_slice(), [Unmet::OtherAction]);
        assert_eq!(serde_json::to_value(challenge.action).expect("JSON"), details);
        let (_, decision) = clinic.ask("GET /patients/p1/results/1", "", &ordinary);
        assert!(matches!(decision, Decision::Permit(_)), "it is good for all else: {decision:?}");
    }
    clinic.policy.issuers[0].names_actions = false;
    for ordinary in [clinic.patient("aal2 30s otp"), theirs] {
        assert!(clinic.price(EXPORT, BODY, &ordinary).expect("a permit").contains("event"));
    }
}

#[test]
fn it_is_for_nothing_else() {
    let clinic = Clinic::new();
    let details = clinic.details(EXPORT, BODY);
    for subject in
        [clinic.holder("aal2 30s otp", &[details]), clinic.holder("aal2 30s otp", &[json!({"type": 1})])]
    {
        for request in ["GET /news", "GET /patients/p1/results/1", "POST /observations?patient=p1"] {
            let (asked, decision) = clinic.ask(request, "", &subject);
            assert_eq!(decision.reason(), Reason::TokenForOtherAction, "{request}");
            assert!(!asked.contains(&Need::Content), "{request}");
        }
    }
}

#[test]
fn what_can_not_be_understood_pays_for_nothing() {
    let clinic = Clinic::new();
    let mut odd = clinic.details(EXPORT, BODY);
    odd["until"] = json!("noon");
    let challenge = clinic.challenge(EXPORT, BODY, &clinic.holder("aal2 30s otp", &[odd]));
    assert_eq!(challenge.reason, Reason::StepUpRequired(Unmet::UnreadableDetails));
    assert!(challenge.action.is_some(), "the client is told what would do");
}

#[test]
fn level_age_and_methods_are_asked_for_all_the_same() {
    let clinic = Clinic::new();
    let details = clinic.details(EXPORT, BODY);
    for (words, missing) in [
        ("aal1 30s otp", Unmet::Level),
        ("aal2 61s otp", Unmet::Age),
        ("aal2 ageless otp", Unmet::Age),
        ("aal2 30s pwd", Unmet::Methods),
    ] {
        let challenge = clinic.challenge(EXPORT, BODY, &clinic.holder(words, std::slice::from_ref(&details)));
        assert_eq!(challenge.unmet.as_slice(), [missing], "{words}");
    }
}

#[test]
fn one_agreement_is_paid_with_once_whatever_token_shows_it() {
    let clinic = Clinic::new();
    let details = [clinic.details(EXPORT, BODY), clinic.details(EXPORT, "{}")];
    let price = |change: fn(&mut Subject)| {
        let mut subject = clinic.holder("aal2 30s otp", &details);
        change(&mut subject);
        clinic.price(EXPORT, BODY, &subject).expect("a permit")
    };
    let first = price(|_| {});
    // A refresh gives the client another token for the same consent.
    assert_eq!(first, price(|subject| subject.token_id = Some("j2".into())));
    assert_eq!(first, price(|subject| subject.token_id = None), "an opaque token has no name");
    assert_ne!(first, price(|subject| subject.auth_time = Some(NOW - 31)));
    assert_ne!(first, price(|subject| subject.client = Some("other".into())));
    assert_ne!(first, price(|subject| subject.id = "u2".into()));
    // Two actions of one token, each once.
    let both = clinic.holder("aal2 30s otp", &details);
    let second = clinic.price(EXPORT, "{}", &both).expect("a permit");
    assert_ne!(first, second);
    assert_eq!(
        second,
        clinic.price(EXPORT, "{}", &clinic.holder("aal2 30s otp", &details[1..])).expect("a permit")
    );
}

#[test]
fn the_body_is_read_for_nobody_else() {
    let mut clinic = Clinic::new();
    let (plain, weak) = (clinic.patient("aal2 30s otp"), clinic.patient("aal1 30s pwd"));
    assert!(clinic.ask(EXPORT, BODY, &weak).0.contains(&Need::Content));
    // A tier without single use has nothing to name.
    assert!(!clinic.ask("PUT /patients/p1/contact", BODY, &weak).0.contains(&Need::Content));
    let details = clinic.details(EXPORT, BODY);
    clinic.policy.issuers[0].names_actions = false;
    // Who passes with an authentication event needs no name for the action.
    assert!(!clinic.ask(EXPORT, BODY, &plain).0.contains(&Need::Content));
    let (asked, decision) = clinic.ask(EXPORT, BODY, &weak);
    assert!(!asked.contains(&Need::Content));
    assert!(matches!(decision, Decision::Challenge(Challenge { action: None, .. })));
    // What a token says counts whether or not clients are told.
    let holder = clinic.holder("aal2 30s otp", &[details]);
    assert!(clinic.price(EXPORT, BODY, &holder).is_some() && clinic.price(EXPORT, "", &holder).is_none());
}

#[test]
fn a_body_that_is_not_read_is_agreed_to_by_nobody() {
    let clinic = Clinic::new();
    let holder = clinic.holder("aal2 30s otp", &[clinic.details(EXPORT, BODY)]);
    let (_, decision) = clinic.ask_with(EXPORT, BODY, &holder, Lookup::Absent);
    let Decision::Challenge(challenge) = decision else { panic!("{decision:?}") };
    assert_eq!(challenge.reason, Reason::StepUpRequired(Unmet::OtherAction));
    assert_eq!(challenge.action, None, "there is no name for it");
}
