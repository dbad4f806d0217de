//! Pages on a host of their own: what is to be confirmed is confirmed there and nowhere else, and nothing of it has any
//! effect before that.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::session::browser::ACCESS;
use crate::session::{events, signed_in};
use crate::support::canaries::canary;
use crate::support::eventually;

const LONG: Duration = Duration::from_secs(60);
const MAIL: &str = "/patients/p1/mail";

/// The same configuration with a host for the pages.
pub fn apart(text: &str) -> String {
    let own = "pages: { name: Clinic of St. Anna }";
    assert!(text.contains(own), "{text}");
    text.replace(own, &format!("pages: {{ name: Clinic of St. Anna, origin: \"https://{ACCESS}\" }}"))
}

fn start_apart(idp: &Idp) -> (Gateway, Recorder) {
    let upstream = Recorder::start();
    let gateway = crate::session::running(&apart(&text(idp, &upstream, "desk")));
    gateway.wait_until_proofs_count();
    (gateway, upstream)
}

fn access(target: &str) -> String {
    format!("https://{ACCESS}{target}")
}

fn posts(upstream: &Recorder) -> usize {
    upstream.requests().iter().filter(|it| it.line.starts_with("POST ")).count()
}

/// Alice has given proof for a form; her browser, the page that asks whether to send it, and that page's address.
fn proven(gateway: &Gateway, body: &[u8]) -> (Browser, Answer, String) {
    let mut browser = signed_in(gateway, "alice");
    let asked = send(&mut browser, "POST", PROFILE, &[FORM], body);
    let (page, url) = proven_by(&mut browser, &asked);
    (browser, page, url)
}

fn proven_by(browser: &mut Browser, asked: &Answer) -> (Answer, String) {
    assert_eq!(asked.status, 401, "{asked:?}");
    std::thread::sleep(Duration::from_millis(1_050));
    let arrived = browser.go(&portal(&link(asked, "/_wardgate/step-up?")));
    assert!(arrived.url.starts_with(&access("/_wardgate/confirm?intent=")), "{:?}", arrived.way);
    assert!(arrived.answer.body.contains("<form"), "{:?}", arrived.answer);
    (arrived.answer, arrived.url)
}

/// A click on the page's own button: where it leads.
fn press(browser: &mut Browser, page: &Answer) -> Answer {
    let mut headers = NAVIGATION.to_vec();
    let origin = access("");
    headers.extend([("Sec-Fetch-Site", "same-origin"), ("Origin", &origin), FORM]);
    browser.ask("POST", &access(&action(page)), &headers, b"")
}

/// A click, and wherever it leads.
fn confirm_there(browser: &mut Browser, page: &Answer) -> crate::session::browser::Arrived {
    let pressed = press(browser, page);
    assert_eq!(pressed.status, 303, "{pressed:?}");
    let to = pressed.header("location").expect("an address").to_owned();
    assert!(to.starts_with(&portal("/_wardgate/confirm?back=")), "{to}");
    browser.go(&to)
}

fn name_of(url: &str) -> &str {
    url.split_once("intent=").expect("a name").1.split('&').next().expect("a name")
}

/// A ticket to the pages' host, for what waits under this name.
fn ticket(browser: &mut Browser, name: &str) -> String {
    let answer = browser.step(&portal(&format!("/_wardgate/confirm?intent={name}")));
    let to = answer.header("location").unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    assert!(to.starts_with(&access("/_wardgate/step-up?handover=")), "{to}");
    to
}

fn signed_in_as() -> String {
    format!("You are signed in as {}.", canary("NameThere"))
}

#[test]
fn what_is_confirmed_there_is_sent_once_and_answered_at_the_applications_address() {
    let (gateway, upstream) = start_apart(Idp::shared());
    let (mut browser, page, _) = proven(&gateway, b"street=1+Main+St");
    assert!(page.body.contains("1 Main St") && page.body.contains(&signed_in_as()), "{page:?}");
    let session = browser.session().expect("signed in").to_owned();
    // Nothing has any effect yet.
    assert_eq!((browser.step(&portal(PAY)).status, posts(&upstream)), (401, 0));
    let arrived = confirm_there(&mut browser, &page);
    assert!(arrived.url.starts_with(&portal(&format!("{PROFILE}?wardgate-intent="))), "{:?}", arrived.way);
    assert_eq!((arrived.answer.status, posts(&upstream)), (200, 1), "{:?}", arrived.answer);
    let sent = upstream.requests().pop().expect("one");
    assert_eq!((sent.target(), sent.body.as_slice()), (PROFILE, &b"street=1+Main+St"[..]));
    assert_eq!(sent.values("origin"), ["https://portal.example"]);
    assert!(sent.values("cookie").iter().all(|line| !line.contains("wardgate")));
    assert_ne!(browser.session(), Some(&*session), "the session has another name");
    assert_eq!(browser.step(&portal(PAY)).status, 200, "and is worth more for a while");
    // Loaded again, pressed again, gone back to: told so, and nothing is sent.
    assert_eq!((browser.step(&arrived.url).status, posts(&upstream)), (409, 1));
    let again = press(&mut browser, &page);
    assert_eq!((again.status, posts(&upstream)), (409, 1), "{again:?}");
    assert!(again.body.contains("href=\"https://portal.example/"), "{again:?}");
    let events = events(&gateway);
    for event in [("handover", "ok"), ("step_up", "ok"), ("confirm", "ok"), ("confirm", "already_sent")] {
        assert!(events.contains(&(event.0.to_owned(), event.1.to_owned())), "{event:?}: {events:?}");
    }
}

#[test]
fn at_the_applications_host_nothing_is_shown_or_confirmed() {
    let (gateway, upstream) = start_apart(Idp::shared());
    let (mut browser, page, url) = proven(&gateway, b"street=1");
    let (name, before) = (name_of(&url).to_owned(), upstream.count());
    let own = [("Sec-Fetch-Site", "same-origin"), ("Origin", "https://portal.example"), FORM];
    let mut script = SCRIPT.to_vec();
    script.extend(own);
    let mut form = NAVIGATION.to_vec();
    form.extend(own);
    // Whatever a script on the portal's own page can do, in the name of the person who has just given proof.
    let confirm_page = format!("/_wardgate/confirm?intent={name}");
    let resumed = format!("{PROFILE}?wardgate-intent={name}");
    let back = format!("/_wardgate/confirm?back={name}");
    for (method, target) in [
        ("GET", &confirm_page),
        ("POST", &confirm_page),
        ("GET", &resumed),
        ("POST", &resumed),
        ("GET", &back),
        ("POST", &back),
    ] {
        for (how, headers) in [("fetch", &script), ("form", &form)] {
            let answer = browser.ask(method, &portal(target), headers, b"");
            let leads_there = answer.header("location").is_some_and(|to| to.contains("handover="));
            // Only a person's own way leads to where it can be confirmed.
            let expected = how == "form" && *target == confirm_page && method == "GET";
            assert_eq!(leads_there, expected, "{how} {method} {target}: {answer:?}");
            assert!(expected || answer.status >= 400, "{how} {method} {target}: {answer:?}");
            assert!(!answer.body.contains("<form"), "{how} {method} {target}: {answer:?}");
        }
    }
    // The proof is for what was seen: by itself the request is as good as without it.
    for headers in [&script, &form] {
        let answer = browser.ask("POST", &portal(PROFILE), headers, b"street=1");
        assert_eq!(answer.status, 401, "{answer:?}");
    }
    // Nor is the other host's page pressed from here, where cookies go along (one site) or not.
    let press_there = access(&action(&page));
    for site in ["same-site", "cross-site"] {
        for mode in [&SCRIPT, &NAVIGATION] {
            let mut headers = mode.to_vec();
            headers.extend([("Sec-Fetch-Site", site), ("Origin", "https://portal.example"), FORM]);
            let answer = browser.ask("POST", &press_there, &headers, b"");
            assert_eq!(answer.status, 400, "{site}: {answer:?}");
        }
    }
    let origin = access("");
    let mut there = NAVIGATION.to_vec();
    there.extend([("Sec-Fetch-Site", "same-origin"), ("Origin", &origin), FORM]);
    for check in ["", "&check=", &format!("&check={}", "A".repeat(43))] {
        let answer = browser.ask("POST", &access(&format!("{confirm_page}{check}")), &there, b"");
        assert_eq!(answer.status, 400, "without what its page holds: {answer:?}");
    }
    for (name, wanted) in [
        ("content-security-policy", "frame-ancestors 'none'"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert!(page.header(name).is_some_and(|value| value.contains(wanted)), "{name}: {page:?}");
    }
    assert_eq!(upstream.count(), before, "nothing was sent by any of that");
    assert_eq!((confirm_there(&mut browser, &page).answer.status, posts(&upstream)), (200, 1));
}

#[test]
fn a_ticket_is_for_one_browser_once_and_for_a_moment() {
    let (gateway, upstream) = start_apart(Idp::shared());
    let (mut browser, _, url) = proven(&gateway, b"street=1");
    let name = name_of(&url).to_owned();
    let mut late: Vec<String> = (0..20).map(|_| ticket(&mut browser, &name)).collect();
    // A script finds no way in, and takes nothing from the person by trying.
    let used = ticket(&mut browser, &name);
    let by_script = browser.ask("GET", &used, &SCRIPT, b"");
    assert_eq!((by_script.status, by_script.header("set-cookie")), (400, None), "{by_script:?}");
    let mut other = Browser::new(gateway.address, "alice");
    assert_eq!(other.step(&url).status, 410, "without a ticket");
    let arrived = other.go(&used);
    assert_eq!((arrived.answer.status, arrived.url.as_str()), (200, url.as_str()));
    // Replayed, made up.
    let mut thief = Browser::new(gateway.address, "bob");
    for ticket in [&used, &access(&format!("/_wardgate/step-up?handover={}", "A".repeat(43)))] {
        let gone = thief.step(ticket);
        assert_eq!((gone.status, gone.header("set-cookie")), (410, None), "{gone:?}");
        assert!(gone.body.contains("href=\"https://portal.example/\""), "{gone:?}");
    }
    // Too late.
    assert_eq!(thief.step(&late.pop().expect("one")).status, 303, "in time");
    eventually("tickets expire", LONG, || {
        std::thread::sleep(Duration::from_secs(4));
        thief.step(&late.pop().expect("enough of them")).status == 410
    });
    assert!(events(&gateway).contains(&("handover".to_owned(), "unknown".to_owned())));
    assert_eq!(posts(&upstream), 0);
}

#[test]
fn somebody_elses_confirmation_sends_nothing() {
    let (gateway, upstream) = start_apart(Idp::shared());
    let (mut alice, page, url) = proven(&gateway, b"street=1");
    // Bob is lured into Alice's window, or has stolen its address.
    let mut bob = signed_in(&gateway, "bob");
    let lured = bob.go(&ticket(&mut alice, name_of(&url))).answer;
    assert!(lured.body.contains(&signed_in_as()), "{lured:?}");
    let arrived = confirm_there(&mut bob, &lured).answer;
    assert_eq!((arrived.status, posts(&upstream)), (403, 0), "{arrived:?}");
    let mut stranger = bob.clone();
    stranger.cookies.retain(|(of, ..)| of == ACCESS);
    let stranger = confirm_there(&mut stranger, &lured);
    assert_eq!((stranger.answer.status, posts(&upstream)), (410, 0), "{:?}", stranger.answer);
    assert!(events(&gateway).contains(&("confirm".to_owned(), "other_session".to_owned())));
    // It is still hers.
    assert_eq!((confirm_there(&mut alice, &page).answer.status, posts(&upstream)), (200, 1));
    // Who has signed out has left nothing there.
    let asked = send(&mut alice, "POST", PROFILE, &[FORM], b"street=2");
    let (page, url) = proven_by(&mut alice, &asked);
    send(&mut alice, "POST", "/_wardgate/sign-out", &[FORM], b"");
    assert_eq!((press(&mut alice, &page).status, alice.step(&url).status), (410, 410));
    assert_eq!(posts(&upstream), 1);
}

#[test]
fn who_loses_the_way_after_confirming_is_not_asked_for_proof_again() {
    let (gateway, upstream) = start_apart(Idp::shared());
    let (mut browser, page, url) = proven(&gateway, b"street=1");
    let back = press(&mut browser, &page).header("location").expect("the way back").to_owned();
    // The proof takes effect, and the redirection after that is lost.
    assert_eq!((browser.step(&back).status, posts(&upstream)), (303, 0));
    let page = browser.step(&url);
    assert!(page.body.contains("<form"), "{page:?}");
    assert_eq!((confirm_there(&mut browser, &page).answer.status, posts(&upstream)), (200, 1));
}

/// The application's scripts would get the proof, and nobody would have been shown for what.
#[test]
fn what_is_not_kept_gets_no_proof_of_its_own() {
    let (idp, upstream) = (Idp::shared(), Recorder::start());
    let text = apart(&text(idp, &upstream, "desk"));
    let way = "\nstep_up: [{ name: browser, type: oidc, resume: { methods: [POST] } }]\nupstreams:";
    let text = text.replace("\nupstreams:", way);
    let gateway = crate::session::running(&text);
    gateway.wait_until_proofs_count();
    let mut browser = signed_in(&gateway, "alice");
    for (method, is_kept) in [("POST", true), ("PUT", false)] {
        let asked = send(&mut browser, method, PROFILE, &[FORM], b"street=1");
        assert_eq!(asked.status, 401, "{asked:?}");
        assert_eq!(asked.body.contains("/_wardgate/step-up?"), is_kept, "{method}: {asked:?}");
    }
}

#[test]
fn the_phone_is_waited_for_there() {
    let (idp, upstream) = (Idp::start(), Recorder::start());
    let ways = "step_up:\n  - { name: phone, type: ciba, label: On my phone, issuer: patients, client_id: desk-phone, \
         client_secret_file: phone-secret }\n  - { name: browser, type: oidc }\nupstreams:";
    let text = apart(&text(&idp, &upstream, "desk").replacen("upstreams:", ways, 1));
    let gateway = Gateway::start(&text, |dir| {
        std::fs::write(dir.join("secret"), "desk-secret\n").expect("written");
        std::fs::write(dir.join("phone-secret"), "desk-phone-secret\n").expect("written");
    });
    gateway.wait_until_proofs_count();
    let mut browser = signed_in(&gateway, "alice");
    let look = |browser: &mut Browser, url: &str, page: &Answer| {
        assert!(url.starts_with(&access("/_wardgate/step-up?intent=")), "{url}");
        assert!(page.body.contains("class=\"code\""), "{page:?}");
        let here = access(&link(page, "/_wardgate/step-up?"));
        let mut last = None;
        eventually("the answer is there", LONG, || {
            std::thread::sleep(Duration::from_millis(500));
            let arrived = browser.go(&here);
            let is_there = !arrived.answer.body.contains("class=\"code\"");
            last = Some(arrived);
            is_there
        });
        last.expect("a page")
    };
    // A page: it is shown afterwards, and there is nothing to confirm.
    let asked = browser.step(&portal(PAY));
    let waits = browser.go(&portal(&link(&asked, "/_wardgate/step-up?")));
    idp.answers("alice", &json!({ "answer": "approve", "level": "aal2" }));
    let shown = look(&mut browser, &waits.url, &waits.answer);
    assert_eq!((shown.url, shown.answer.status), (portal(PAY), 200), "{:?}", shown.way);
    // A form.
    std::thread::sleep(Duration::from_millis(1_050));
    let asked = send(&mut browser, "POST", MAIL, &[FORM], b"mail=a%40b");
    let waits = browser.go(&portal(&link(&asked, "/_wardgate/step-up?")));
    let page = look(&mut browser, &waits.url, &waits.answer);
    assert!(page.url.starts_with(&access("/_wardgate/confirm?intent=")), "{:?}", page.way);
    assert_eq!(posts(&upstream), 0);
    assert_eq!((confirm_there(&mut browser, &page.answer).answer.status, posts(&upstream)), (200, 1));
    // Without a proof there is nothing to press, and the issuer's way leads by the portal.
    let asked = send(&mut browser, "POST", MAIL, &[FORM], b"mail=c%40d");
    let waits = browser.go(&portal(&link(&asked, "/_wardgate/step-up?")));
    let ways = browser.step(&access(&format!("/_wardgate/confirm?intent={}", name_of(&waits.url))));
    assert!(ways.status == 401 && !ways.body.contains("<form"), "{ways:?}");
    let other = waits.answer.body.split("href=\"").map(|rest| plain(rest.split('"').next().expect("one")));
    let other = other.into_iter().find(|link| link.contains("way=browser")).expect("another way");
    let to = browser.step(&access(&other)).header("location").expect("an address").to_owned();
    assert!(to.starts_with(&portal("/_wardgate/step-up?intent=")), "{to}");
}

#[test]
fn nothing_else_is_there() {
    let (gateway, upstream) = start_apart(Idp::shared());
    let mut browser = signed_in(&gateway, "alice");
    let before = upstream.count();
    let session = browser.session().expect("signed in").to_owned();
    // Not even with her session, which browsers would not send there.
    browser.cookies.push((ACCESS.into(), "__Host-wardgate-session".into(), session));
    for (target, status) in [
        ("/", 404),
        (PROFILE, 404),
        (crate::session::RESULTS, 404),
        ("/patients/p1/profile?wardgate-intent=abc", 404),
        ("/_wardgate/sign-in?to=%2F", 400),
        ("/_wardgate/callback?state=a&code=b", 400),
        ("/_wardgate/step-up.js", 400),
        ("/_wardgate/step-up/status?intent=a", 400),
        ("/_wardgate/step-up?intent=a", 410),
        ("/_wardgate/confirm?intent=a", 410),
        ("/_wardgate/elsewhere", 404),
    ] {
        let answer = browser.step(&access(target));
        assert_eq!((answer.status, upstream.count()), (status, before), "{target}: {answer:?}");
    }
    let answer = send(&mut browser, "POST", &format!("{PROFILE}?wardgate-intent=abc"), &[FORM], b"");
    assert_eq!((answer.status, upstream.count()), (400, before), "{answer:?}");
}
