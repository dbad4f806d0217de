//! What somebody might try with a proof, or with what waits for one: nothing is forwarded.

use serde_json::json;

use super::*;
use crate::session::signed_in;

/// Alice has given proof for one action; her browser, and the page that asks whether to do it.
pub fn proven(gateway: &Gateway) -> (Browser, Answer) {
    proven_at(gateway, PROFILE)
}

/// The same for an action of one's own.
pub fn proven_at(gateway: &Gateway, target: &str) -> (Browser, Answer) {
    let mut browser = signed_in(gateway, "alice");
    let asked = send(&mut browser, "POST", target, &[FORM], b"street=1");
    let page = prove(&mut browser, &asked);
    assert!(page.body.contains("<form"), "{page:?}");
    (browser, page)
}

#[test]
fn of_two_requests_that_are_alike_one_proof_pays_for_one() {
    let (gateway, upstream) = start(Idp::shared());
    let mut browser = signed_in(&gateway, "alice");
    let first = send(&mut browser, "POST", PROFILE, &[FORM], b"street=1");
    let second = send(&mut browser, "POST", PROFILE, &[FORM], b"street=1");
    let before = upstream.count();
    let page = prove(&mut browser, &first);
    let way = link(&second, "/_wardgate/step-up?");
    let name = way.split_once("intent=").expect("a name").1.split('&').next().expect("a name").to_owned();
    let other = format!("{PROFILE}?wardgate-intent={name}");
    let answer = send(&mut browser, "POST", &other, &[FORM], b"");
    assert_eq!((answer.status, upstream.count()), (401, before), "{answer:?}");
    assert_eq!((confirm(&mut browser, &page).status, upstream.count()), (200, before + 1));
    let answer = send(&mut browser, "POST", &other, &[FORM], b"");
    // It was never sent, so it waits for a proof of its own.
    assert_eq!((answer.status, upstream.count()), (401, before + 1), "{answer:?}");
}

#[test]
fn who_has_sent_it_by_hand_does_not_send_it_again_by_confirming() {
    let (gateway, upstream) = start(Idp::shared());
    let (mut browser, page) = proven(&gateway);
    let before = upstream.count();
    assert_eq!(send(&mut browser, "POST", PROFILE, &[FORM], b"street=1").status, 200);
    let answer = confirm(&mut browser, &page);
    assert_eq!((answer.status, upstream.count()), (409, before + 1), "{answer:?}");
    assert!(!answer.body.contains("/_wardgate/step-up"), "{}", answer.body);
}

#[test]
fn nothing_is_kept_or_confirmed_for_another_page() {
    let (gateway, upstream) = start(Idp::shared());
    let (mut browser, page) = proven(&gateway);
    let before = upstream.count();
    for site in ["cross-site", "same-site"] {
        let mut headers = NAVIGATION.to_vec();
        headers.extend([("Sec-Fetch-Site", site), ("Origin", "https://evil.example"), FORM]);
        let kept = browser.ask("POST", &portal(PROFILE), &headers, b"street=evil");
        assert_eq!(kept.status, 403, "{kept:?}");
        assert!(!kept.body.contains("step-up"), "{}", kept.body);
        let confirmed = browser.ask("POST", &portal(&action(&page)), &headers, b"");
        // A script of the application's own shows nobody what it confirms.
        let by_script = fetch(&mut browser, "POST", &action(&page), &[FORM], b"");
        assert_eq!((by_script.status, upstream.count()), (400, before), "{by_script:?}");
        assert_eq!((confirmed.status, upstream.count()), (400, before), "{confirmed:?}");
    }
    // Nor can the page be framed, so that a click on it is somebody else's.
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("frame-ancestors 'none'") && page.header("x-frame-options") == Some("DENY"));
    assert_eq!((confirm(&mut browser, &page).status, upstream.count()), (200, before + 1));
}

#[test]
fn an_issuer_that_does_not_do_what_it_was_asked_proves_nothing() {
    let idp = Idp::start();
    let (gateway, upstream) = start(&idp);
    let mut browser = signed_in(&gateway, "alice");
    let before = upstream.count();
    let asked = send(&mut browser, "POST", PROFILE, &[FORM], b"street=1");
    let url = portal(&link(&asked, "/_wardgate/step-up?"));
    let long_ago = jiff::Timestamp::now().as_second() - 3_600;
    for (lie, why) in [
        (json!({ "acr": "urn:clinic:loa:1" }), "proof_too_weak"),
        (json!({ "acr": null }), "proof_too_weak"),
        (json!({ "auth_time": long_ago }), "id_token_authentication"),
        (json!({ "sub": "bob" }), "id_token_subject"),
    ] {
        idp.lie(&lie);
        let page = browser.go(&url).answer;
        assert_eq!((page.status, upstream.count()), (403, before), "{why}: {page:?}");
        assert_eq!(crate::session::events(&gateway).last().expect("one"), &("step_up".into(), why.into()));
    }
    idp.lie(&json!({}));
    // Attempts are bounded: the fifth is the last.
    assert_eq!(browser.clone().go(&url).answer.status, 200);
    let page = browser.go(&url).answer;
    assert!(page.status == 401 && !page.body.contains("way="), "{page:?}");
    assert_eq!(upstream.count(), before);
}

#[test]
fn the_answer_to_a_step_up_counts_once_and_for_who_began_it() {
    let idp = Idp::shared();
    let (gateway, upstream) = start(idp);
    let mut alice = signed_in(&gateway, "alice");
    let before = upstream.count();
    let asked = send(&mut alice, "POST", PROFILE, &[FORM], b"street=1");
    let callback = alice.go_until_callback(&portal(&link(&asked, "/_wardgate/step-up?")));
    // In another's browser, with another's session.
    let mut bob = signed_in(&gateway, "bob");
    let answer = bob.step(&callback);
    assert!(answer.header("location").is_none_or(|to| !to.contains("confirm")), "{answer:?}");
    // In the same browser, where somebody else has signed in meanwhile.
    let mut shared = signed_in(&gateway, "bob");
    let begun = alice.cookies.iter().filter(|(of, name, _)| of == "portal.example" && name.contains("-tx-"));
    shared.cookies.extend(begun.cloned());
    let answer = shared.step(&callback);
    assert!([403, 410].contains(&answer.status), "{answer:?}");
    assert_eq!(upstream.requests()[before..].iter().filter(|it| it.line.starts_with("POST")).count(), 0);
    // Replayed: no second grant, no second sending.
    let mut alice = signed_in(&gateway, "alice");
    let asked = send(&mut alice, "POST", PROFILE, &[FORM], b"street=1");
    let callback = alice.go_until_callback(&portal(&link(&asked, "/_wardgate/step-up?")));
    let page = alice.go(&callback).answer;
    assert_eq!(confirm(&mut alice, &page).status, 200);
    let sent = upstream.count();
    let replayed = alice.go(&callback).answer;
    assert!(!replayed.body.contains("<form"), "{replayed:?}");
    assert_eq!(upstream.requests()[sent..].iter().filter(|it| it.line.starts_with("POST")).count(), 0);
}

#[test]
fn who_signs_out_leaves_nothing_to_confirm() {
    let (gateway, upstream) = start(Idp::shared());
    let (mut browser, page) = proven(&gateway);
    let before = upstream.count();
    send(&mut browser, "POST", "/_wardgate/sign-out", &[FORM], b"");
    assert_eq!((confirm(&mut browser, &page).status, upstream.count()), (401, before));
    browser.go(&portal("/_wardgate/sign-in?to=%2F"));
    let posts = || upstream.requests().iter().filter(|it| it.line.starts_with("POST")).count();
    assert_eq!((confirm(&mut browser, &page).status, posts()), (403, 0));
}
