//! Requests of scripts: the person follows the address that the answer names, or the script asks again by itself.

use super::*;
use crate::session::signed_in;
use crate::support::http;

const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn a_person_confirms_what_a_script_had_asked_for() {
    let (gateway, upstream) = start(Idp::shared());
    let mut browser = signed_in(&gateway, "alice");
    let before = upstream.count();
    let body = br#"{"street":"3 Main St"}"#;
    let referer = ("Referer", "https://portal.example/patients/p1/results/1");
    let asked = fetch(&mut browser, "PUT", PROFILE, &[JSON, referer], body);
    assert_eq!(asked.header("content-type"), Some("application/problem+json"));
    assert_eq!(asked.json()["action"], "Change your address");
    let page = browser.go(&portal(&step_up_url(&asked))).answer;
    assert!(page.body.contains("3 Main St") && page.body.contains("Change your address"), "{}", page.body);
    let done = confirm(&mut browser, &page);
    // Its JSON means nothing to a person.
    assert_eq!(
        (done.status, done.header("content-type")),
        (200, Some("text/html; charset=utf-8")),
        "{done:?}"
    );
    assert!(done.body.contains("href=\"/patients/p1/results/1\""), "{}", done.body);
    assert_eq!(upstream.count(), before + 1);
    let requests = upstream.requests();
    let sent = requests.last().expect("one");
    assert!(sent.line.starts_with("PUT /patients/p1/profile ") && sent.body == body);
    assert_eq!(confirm(&mut browser, &page).status, 409);
    assert_eq!(upstream.count(), before + 1);
}

#[test]
fn a_script_asks_again_once_the_proof_is_there() {
    let (gateway, upstream) = start(Idp::shared());
    let mut browser = signed_in(&gateway, "alice");
    let before = upstream.count();
    let (body, other) = (br#"{"street":"4 Main St"}"#, br#"{"street":"5 Main St"}"#);
    let asked = fetch(&mut browser, "PUT", PROFILE, &[JSON], body);
    let url = step_up_url(&asked);
    let name = url.split_once("intent=").expect("a name").1.to_owned();
    let state = |browser: &mut Browser| {
        let status = fetch(browser, "GET", &format!("/_wardgate/step-up/status?intent={name}"), &[], b"");
        status.json()["state"].as_str().expect("a word").to_owned()
    };
    assert_eq!(state(&mut browser), "waiting");
    let page = browser.go(&portal(&format!("{url}&then=close"))).answer;
    assert_eq!((page.status, state(&mut browser).as_str()), (200, "proven"), "{page:?}");
    assert!(!page.body.contains("<form"), "there is nothing to confirm: {}", page.body);
    assert_eq!(fetch(&mut browser, "PUT", PROFILE, &[JSON], other).status, 401, "it is for the other body");
    assert_eq!(fetch(&mut browser, "PUT", PROFILE, &[JSON], body).status, 200);
    assert_eq!(fetch(&mut browser, "PUT", PROFILE, &[JSON], body).status, 401, "it is used up");
    assert_eq!(upstream.count(), before + 1);
    // What was kept for the page is not sent as well.
    let kept = browser.step(&portal(&format!("/_wardgate/confirm?intent={name}")));
    assert!(!kept.body.contains("<form"), "{}", kept.body);
    let forced = send(&mut browser, "POST", &format!("{PROFILE}?wardgate-intent={name}"), &[FORM], b"");
    assert!(forced.status >= 400, "{forced:?}");
    assert_eq!(upstream.count(), before + 1);
    assert_eq!(state(&mut Browser::new(gateway.address, "bob")), "gone");
}

#[test]
fn everybody_gets_the_script_where_people_sign_in() {
    let (gateway, upstream) = start(Idp::shared());
    let at = |host: &str, method: &str| {
        let headers = [("Host", host), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "script")];
        http::send(gateway.address, method, "/_wardgate/step-up.js", &headers, b"").expect("an answer")
    };
    let script = at("portal.example", "GET");
    assert_eq!(script.status, 200, "{script:?}");
    assert_eq!(script.body, include_str!("../../../templates/step-up.js"));
    for (name, value) in [
        ("content-type", "text/javascript; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "public, max-age=300"),
    ] {
        assert_eq!(script.header(name), Some(value));
    }
    assert_eq!(script.header("set-cookie"), None, "what is cached is nobody's");
    assert_eq!(at("portal.example", "POST").status, 405);
    assert_eq!(at("staff.example", "GET").status, 404, "nobody signs in there");
    assert_eq!(upstream.count(), 0);
}
