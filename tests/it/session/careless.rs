//! Issuers that don't do as they were asked, and several of them at one gateway: a good signature is not enough.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::browser::{Browser, portal};
use super::{RESULTS, config, events, running, start, with_staff};
use crate::support::{Gateway, Idp, Recorder};

/// What becomes of a sign-in at the moment: the page's status, and what is recorded.
fn attempt(gateway: &Gateway, url: &str) -> (u16, String) {
    let mut browser = Browser::new(gateway.address, "alice");
    let callback = browser.go_until_callback(url);
    let status = browser.step(&callback).status;
    assert_eq!(browser.session().is_some(), status == 303, "a session and nothing but where it is due");
    (status, events(gateway).last().expect("recorded").1.clone())
}

#[test]
fn an_id_token_must_be_an_answer_to_our_request() {
    let idp = Idp::start();
    let (gateway, upstream) = start(&idp, "desk", "");
    let now = Timestamp::now().as_second();
    for (lie, why) in [
        (json!({ "nonce": "of-another-sign-in" }), "id_token_nonce"),
        (json!({ "nonce": null }), "id_token_nonce"),
        (json!({ "aud": "desk-short" }), "id_token_audience"),
        (json!({ "aud": ["desk", "desk-short"] }), "id_token_audience"),
        (json!({ "aud": ["desk", "desk-short"], "azp": "desk-short" }), "id_token_audience"),
        (json!({ "aud": null }), "id_token_audience"),
        (json!({ "iss": "https://evil.example" }), "token_unknown_issuer"),
        (json!({ "sub": null }), "id_token_claim"),
        (json!({ "exp": now - 60 }), "id_token_time"),
        (json!({ "iat": now - 3_600 }), "id_token_time"),
        (json!({ "events": {} }), "id_token_type"),
        // It was asked for no sign-in older than the longest session (`max_age`), and gives one of three days ago.
        (json!({ "auth_time": now - 3 * 86_400 }), "id_token_authentication"),
        (json!({ "auth_time": now + 3_600 }), "id_token_time"),
    ] {
        idp.lie(&lie);
        assert_eq!(attempt(&gateway, &portal(RESULTS)), (403, why.to_owned()), "{lie}");
    }
    assert_eq!(upstream.count(), 0);
    idp.lie(&Value::Null);
    assert_eq!(attempt(&gateway, &portal(RESULTS)), (303, "ok".to_owned()));
}

#[test]
fn whoever_asks_for_a_new_sign_in_gets_no_old_one() {
    let idp = Idp::start();
    let (gateway, _upstream) = start(&idp, "desk", "");
    let change = portal("/_wardgate/sign-in?change=1");
    // The issuer takes `prompt=login` for nothing, and lets in who was there an hour ago; or does not say when.
    for lie in [json!({ "auth_time": Timestamp::now().as_second() - 3_600 }), json!({ "auth_time": null })] {
        idp.lie(&lie);
        assert_eq!(attempt(&gateway, &change), (403, "id_token_authentication".to_owned()), "{lie}");
    }
    idp.lie(&Value::Null);
    assert_eq!(attempt(&gateway, &change), (303, "ok".to_owned()));
}

#[test]
fn a_level_that_nobody_vouched_for_opens_nothing() {
    let idp = Idp::start();
    let (gateway, upstream) = start(&idp, "desk", "");
    // The issuer says nothing of how somebody signed in, or what nobody here has heard of.
    for lie in [json!({ "acr": null, "amr": null }), json!({ "acr": "loa:99", "amr": ["magic"] })] {
        idp.lie(&lie);
        let mut browser = Browser::new(gateway.address, "alice");
        let arrived = browser.go(&portal(RESULTS));
        assert_eq!(arrived.answer.status, 401, "signed in, and still not enough: {lie}");
        assert!(arrived.answer.header("www-authenticate").is_some_and(|it| it.contains("insufficient_user")));
        assert!(arrived.way.len() <= 7, "no loop: {:#?}", arrived.way);
    }
    // A word for a level that is known counts for a tier only as long as it is fresh.
    let old = Timestamp::now().as_second() - 1_800;
    idp.lie(&json!({ "acr": "urn:clinic:loa:2", "amr": ["pwd", "otp"], "auth_time": old }));
    let mut browser = Browser::new(gateway.address, "alice");
    assert_eq!(browser.go(&portal(RESULTS)).answer.status, 200);
    let before = upstream.count();
    let payment = browser.go(&portal("/patients/p1/payments"));
    let challenge = payment.answer.header("www-authenticate").unwrap_or_default();
    assert!(payment.answer.status == 401 && challenge.contains("max_age=\"600\""), "{challenge}");
    assert_eq!(upstream.count(), before);
}

#[test]
fn one_issuers_answer_is_none_of_anothers() {
    let (honest, other) = (Idp::start(), Idp::start());
    let upstream = Recorder::start();
    let text = config(&honest.issuer, "desk", "      label: Patients", upstream.address);
    let gateway = running(&with_staff(&text, &other.issuer, "Staff"));
    let begin = |issuer: &str| {
        let mut browser = Browser::new(gateway.address, "alice");
        let link = format!("/_wardgate/sign-in?issuer={issuer}&to=%2Fpatients%2Fp1%2Fresults%2F1");
        let callback = browser.go_until_callback(&portal(&link));
        (browser, reqwest::Url::parse(&callback).expect("an address"))
    };
    let part = |url: &reqwest::Url, name: &str| {
        url.query_pairs().find(|(known, _)| known == name).expect("there").1.into_owned()
    };
    // Mix-up (RFC 9207 §1): what one issuer gave is brought back as if it were the other's, with and without the
    // issuer's true name. Both know our client by the same name and secret.
    for (tell, why) in [(&other.issuer, "other_issuer"), (&honest.issuer, "code_refused")] {
        let ((mut victim, mine), (_, theirs)) = (begin("patients"), begin("workforce"));
        let mixed = form_urlencoded::Serializer::new(String::new())
            .append_pair("code", &part(&theirs, "code"))
            .append_pair("state", &part(&mine, "state"))
            .append_pair("iss", tell)
            .finish();
        let asked = (honest.asked("token"), other.asked("token"));
        let answer = victim.step(&portal(&format!("/_wardgate/callback?{mixed}")));
        assert_eq!((answer.status, victim.session()), (403, None));
        assert_eq!(events(&gateway).last().expect("recorded").1, why);
        // A code goes to nobody but the issuer that was asked, and not at all where another one answers.
        let sent = u64::from(why == "code_refused");
        assert_eq!((honest.asked("token"), other.asked("token")), (asked.0 + sent, asked.1));
    }
    // Nor is a session of one issuer anything where the other must vouch.
    let (mut alice, mine) = begin("workforce");
    assert_eq!(alice.step(mine.as_str()).status, 303);
    assert_eq!(alice.fetch("GET", RESULTS).status, 403);
    assert_eq!(upstream.count(), 0);
}
