//! On the phone: the page waits, or a script's request does; whatever is not a yes of this very person forwards nothing.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::session::{events, signed_in};
use crate::support::eventually;

const LONG: Duration = Duration::from_secs(30);
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A gateway whose people have a phone and a browser. `hold` is for how long a request is held.
fn with_phones(idp: &Idp, hold: &str) -> (Gateway, Recorder) {
    let upstream = Recorder::start();
    let ways = format!(
        "step_up:\n  - {{ name: phone, type: ciba, label: On my phone, issuer: patients, client_id: desk-phone, \
         client_secret_file: phone-secret{hold} }}\n  - {{ name: browser, type: oidc }}\nupstreams:"
    );
    let text = text(idp, &upstream, "desk").replacen("upstreams:", &ways, 1);
    let gateway = Gateway::start(&text, |dir| {
        std::fs::write(dir.join("secret"), "desk-secret\n").expect("written");
        std::fs::write(dir.join("phone-secret"), "desk-phone-secret\n").expect("written");
    });
    gateway.wait_until_proofs_count();
    (gateway, upstream)
}

fn posts(upstream: &Recorder) -> usize {
    upstream.requests().iter().filter(|it| !it.line.starts_with("GET ")).count()
}

/// Looks again until the page is another.
fn look_until(browser: &mut Browser, page: &Answer, wanted: u16) -> Answer {
    let here = portal(&link(page, "/_wardgate/step-up?"));
    let mut last = None;
    eventually("the answer is there", LONG, || {
        std::thread::sleep(Duration::from_millis(500));
        let arrived = browser.go(&here).answer;
        let is_there = arrived.status == wanted && !arrived.body.contains("I said yes on my phone");
        last = Some(arrived);
        is_there
    });
    last.expect("a page")
}

/// The link to the phone on a page.
fn to_phone(page: &Answer) -> String {
    let mut rest = page.body.as_str();
    while let Some((_, after)) = rest.split_once("href=\"") {
        let to = plain(after.split('"').next().expect("a link"));
        if to.contains("way=phone") {
            return portal(&to);
        }
        rest = after;
    }
    panic!("no phone: {}", page.body)
}

#[test]
fn the_page_waits_for_the_phone() {
    let idp = Idp::start();
    let (gateway, upstream) = with_phones(&idp, "");
    let mut browser = signed_in(&gateway, "alice");
    let asked = send(&mut browser, "POST", PROFILE, &[FORM], b"street=1");
    let page = browser.go(&to_phone(&asked)).answer;
    assert_eq!((page.status, posts(&upstream)), (200, 0), "{page:?}");
    let shown = idp.shown();
    assert_eq!(shown.len(), 1, "{shown:?}");
    // The code on the page is the one on the phone.
    let message = shown[0]["binding_message"].as_str().expect("a message");
    // This issuer takes no blanks, and not many letters.
    let code = message.rsplit(['-', ' ']).next().expect("a code");
    assert!(message.starts_with("Change-your") && page.body.contains(code), "{message}: {}", page.body);
    idp.answers("alice", &json!({ "answer": "approve", "level": "aal2" }));
    let page = look_until(&mut browser, &page, 200);
    assert!(page.body.contains("<form"), "{page:?}");
    assert_eq!((confirm(&mut browser, &page).status, posts(&upstream)), (200, 1));
    assert_eq!((confirm(&mut browser, &page).status, posts(&upstream)), (409, 1));
    let events = events(&gateway);
    assert!(events.contains(&("step_up".to_owned(), "ok".to_owned())), "{events:?}");
    assert_eq!(events.last().expect("one"), &("confirm".to_owned(), "already_sent".to_owned()));
}

#[test]
fn what_is_no_yes_of_this_person_forwards_nothing() {
    let idp = Idp::start();
    let (gateway, upstream) = with_phones(&idp, "");
    for (account, answer, why) in [
        ("alice", json!({ "answer": "decline" }), "declined"),
        ("bob", json!({ "answer": "approve", "level": "aal1" }), "proof_too_weak"),
        ("alice", json!({ "answer": "approve", "level": "aal2", "as": "bob" }), "other_subject"),
    ] {
        let target = if account == "alice" { PROFILE } else { "/patients/p2/profile" };
        let mut browser = signed_in(&gateway, account);
        let asked = send(&mut browser, "POST", target, &[FORM], b"street=1");
        idp.answers(account, &answer);
        let page = browser.go(&to_phone(&asked)).answer;
        let page = if page.status == 200 { look_until(&mut browser, &page, 403) } else { page };
        assert_eq!((page.status, posts(&upstream)), (403, 0), "{why}: {page:?}");
        let last = events(&gateway).last().expect("one").clone();
        assert!(last.0 == "step_up" && last.1 != "ok", "{why}: {last:?}");
        if why != "other_subject" {
            assert_eq!(last.1, why);
        }
    }
}

#[test]
fn a_storm_of_prompts_is_stopped_and_the_other_way_stays_open() {
    let idp = Idp::start();
    let (gateway, upstream) = with_phones(&idp, "");
    let mut browser = signed_in(&gateway, "alice");
    for number in 0..5 {
        let asked = send(&mut browser, "POST", PROFILE, &[FORM], format!("street={number}").as_bytes());
        let page = browser.go(&to_phone(&asked)).answer;
        assert_eq!(page.status, if number < 3 { 200 } else { 429 }, "{number}: {page:?}");
        assert_eq!(idp.shown().len(), 3.min(number + 1));
        if number == 4 {
            let other = browser.go(&portal(&link(&page, "/_wardgate/step-up?"))).answer;
            assert_eq!((confirm(&mut browser, &other).status, posts(&upstream)), (200, 1), "{other:?}");
        }
    }
    assert!(events(&gateway).contains(&("step_up".to_owned(), "prompt_storm".to_owned())));
    let sessions = gateway.metric("wardgate_session_events_total{result=\"prompt_storm\",what=\"step_up\"");
    assert!((sessions - 2.0).abs() < 0.1, "{sessions}");
}

#[test]
fn a_scripts_request_is_held_and_its_page_notices_nothing() {
    let idp = Idp::start();
    let (gateway, upstream) = with_phones(&idp, ", hold_request: 25s");
    let mut browser = signed_in(&gateway, "alice");
    idp.answers("alice", &json!({ "answer": "approve", "level": "aal2" }));
    let before = browser.session().expect("signed in").to_owned();
    let body = br#"{"amount":5}"#;
    let answer = fetch(&mut browser, "POST", PAY, &[JSON], body);
    assert_eq!((answer.status, posts(&upstream)), (200, 1), "{answer:?}");
    assert_eq!(upstream.requests().last().expect("one").body, body);
    assert_ne!(browser.session(), Some(before.as_str()), "the session has another name");
    assert_eq!(fetch(&mut browser, "POST", PAY, &[JSON], body).status, 200, "and is worth more for a while");
    // No page shows a code, so the phone shows none.
    assert_eq!(idp.shown()[0]["binding_message"], "payment.pay");
    // What needs a proof of its own is never held: the person has to see it.
    let asked = fetch(&mut browser, "PUT", PROFILE, &[JSON], body);
    assert!(step_up_url(&asked).starts_with("/_wardgate/step-up?"), "{asked:?}");
    assert_eq!((idp.shown().len(), posts(&upstream)), (1, 2));
}

#[test]
fn a_held_request_that_gets_no_yes_is_answered_with_the_ways() {
    let idp = Idp::start();
    let (gateway, upstream) = with_phones(&idp, ", hold_request: 7s");
    let mut browser = signed_in(&gateway, "alice");
    idp.answers("alice", &json!({ "answer": "decline" }));
    let asked = fetch(&mut browser, "POST", PAY, &[JSON], b"{}");
    assert_eq!((asked.status, posts(&upstream)), (401, 0), "{asked:?}");
    assert!(events(&gateway).contains(&("step_up".to_owned(), "declined".to_owned())));
    // Nobody looks at the phone.
    let mut browser = signed_in(&gateway, "bob");
    let asked = fetch(&mut browser, "POST", "/patients/p2/payments", &[JSON], b"{}");
    assert_eq!((asked.status, posts(&upstream)), (401, 0), "{asked:?}");
    // Who looks later, does so on the page.
    idp.answers("bob", &json!({ "answer": "approve", "level": "aal2" }));
    let page = browser.go(&portal(&format!("{}&way=phone", step_up_url(&asked)))).answer;
    // The phone has no code to compare.
    assert!(!page.body.contains("class=\"code\""), "{page:?}");
    let page = if page.body.contains("<form") { page } else { look_until(&mut browser, &page, 200) };
    assert_eq!((confirm(&mut browser, &page).status, posts(&upstream)), (200, 1), "{page:?}");
}
