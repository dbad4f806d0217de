//! The way in: pages and redirections for people, plain answers for scripts, and what upstreams see of it.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::browser::{Browser, NAVIGATION, STAFF, portal};
use super::{RESULTS, config, events, running, signed_in, start, with_staff};
use crate::support::{Idp, Recorder, eventually, http};

#[test]
fn a_person_signs_in_on_the_way_to_a_page() {
    let idp = Idp::shared();
    let (gateway, upstream) = start(idp, "desk", "");
    let mut alice = Browser::new(gateway.address, "alice");
    let target = format!("{RESULTS}?year=2024&sort=%2Fnewest");
    let arrived = alice.go(&portal(&target));
    assert_eq!(arrived.answer.status, 200, "{:#?}", arrived.way);
    assert_eq!(arrived.url, portal(&target), "query and all");
    assert!(arrived.way[1].starts_with("https://portal.example/_wardgate/sign-in?"));
    assert!(arrived.way[2].starts_with(&format!("{}/auth?", idp.issuer)));
    for part in ["code_challenge_method=S256", "response_type=code", "nonce=", "state=", "max_age=43200"] {
        assert!(arrived.way[2].contains(part), "{part}: {}", arrived.way[2]);
    }
    // The upstream serves the person, and sees nothing of the session.
    let seen = upstream.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].target(), target);
    assert_eq!(seen[0].values("cookie"), Vec::<&str>::new());
    // The next click needs no detour, and neither does a script.
    assert_eq!(alice.step(&portal(RESULTS)).status, 200);
    assert_eq!(alice.fetch("GET", RESULTS).status, 200);
    assert_eq!(alice.fetch("GET", "/patients/p2/results/1").status, 403, "another patient's");
    assert_eq!(events(&gateway), [("sign_in".to_owned(), "ok".to_owned())]);
    let journal = std::fs::read_to_string(gateway.audit_file()).expect("the journal");
    let secrets = [alice.session().expect("a session"), "alice", "desk-secret"];
    assert!(
        secrets.iter().all(|secret| !journal.contains(secret) && !gateway.logs().join("\n").contains(secret))
    );
}

#[test]
fn scripts_streams_and_sockets_get_no_page() {
    let idp = Idp::shared();
    let (gateway, upstream) = start(idp, "desk", "");
    let socket = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-Fetch-Mode", "websocket"),
    ];
    type Case<'c> = (&'c str, &'c str, &'c [(&'c str, &'c str)]);
    let cases: [Case<'_>; 6] = [
        ("GET", RESULTS, &super::browser::SCRIPT),
        ("GET", RESULTS, &[("Accept", "text/event-stream"), ("Sec-Fetch-Mode", "cors")]),
        ("GET", RESULTS, &[("Accept", "application/json")]),
        (
            "GET",
            RESULTS,
            &[("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe"), ("Accept", "text/html")],
        ),
        ("POST", "/patients/p1/notes", &super::browser::SCRIPT),
        ("GET", "/patients/p1/ws", &socket),
    ];
    for (method, target, headers) in cases {
        let answer = http::send(gateway.address, method, target, headers, b"").expect("an answer");
        assert_eq!(answer.status, 401, "{method} {target} {headers:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!((answer.header("location"), answer.header("www-authenticate")), (None, Some("Bearer")));
    }
    // A form that a person has sent gets a page, with the same status: a redirection would lose it. It leads back to the
    // form, where that is one of this host's.
    for (from, back) in [
        ("https://portal.example/forms/new?a=1&b=%2F", "%2Fforms%2Fnew%3Fa%3D1%26b%3D%252F"),
        ("https://portal.example.evil.example/forms", "%2F"),
        ("https://evil.example/https://portal.example/forms", "%2F"),
    ] {
        let mut form = NAVIGATION.to_vec();
        form.extend([("Referer", from), ("Sec-Fetch-Site", "same-origin"), ("Host", "portal.example")]);
        let late =
            http::send(gateway.address, "POST", "/patients/p1/notes", &form, b"a=b").expect("an answer");
        assert_eq!((late.status, late.header("content-type")), (401, Some("text/html; charset=utf-8")));
        assert_eq!((late.header("location"), late.header("www-authenticate")), (None, Some("Bearer")));
        let link = format!("href=\"/_wardgate/sign-in?issuer=patients&#38;to={back}\"");
        assert!(late.body.contains(&link), "{}", late.body);
    }
    // An old browser says no more than what it takes.
    let old = http::send(gateway.address, "GET", RESULTS, &[("Accept", "text/html,*/*;q=0.8")], b"");
    assert_eq!(old.expect("an answer").status, 303);
    assert_eq!(upstream.count(), 0);
}

#[test]
fn ten_tabs_at_once_each_arrive_where_they_were_going() {
    let idp = Idp::shared();
    let (gateway, _upstream) = start(idp, "desk", "");
    let mut browser = Browser::new(gateway.address, "alice");
    // Every tab is at the issuer before the first comes back.
    let targets: Vec<String> = (0..10).map(|tab| format!("/patients/p1/results/{tab}")).collect();
    let begun: Vec<String> =
        targets.iter().map(|target| browser.go_until_callback(&portal(target))).collect();
    for (target, callback) in targets.iter().zip(&begun) {
        let arrived = browser.go(callback);
        assert_eq!((arrived.answer.status, arrived.url), (200, portal(target)));
        assert!(arrived.way.len() <= 2, "no loop: {:?}", arrived.way);
    }
    // A tab that was left behind on the way in goes on by itself.
    let late = browser.go(&portal(&format!("/_wardgate/sign-in?to={RESULTS}")));
    assert_eq!((late.answer.status, late.way.len()), (200, 2), "{:?}", late.way);
    // And one that goes back to its callback too.
    let again = browser.go(&begun[3]);
    assert_eq!((again.answer.status, again.url), (200, portal(&targets[3])));
}

#[test]
fn who_comes_back_too_late_is_led_where_they_were_going() {
    let idp = Idp::shared();
    let (gateway, _upstream) = start(idp, "desk", "");
    let mut browser = Browser::new(gateway.address, "alice");
    let target = format!("{RESULTS}?year=2024");
    let callback = browser.go_until_callback(&portal(&target));
    // Who has merely seen the address gets nothing for it, and undoes nothing.
    let mut other = browser.clone();
    for (_, name, value) in &mut other.cookies {
        if name.contains("-tx-") {
            *value = value.replace(|c: char| c.is_ascii_alphanumeric(), "A");
        }
    }
    assert_eq!((other.step(&callback).status, other.session()), (403, None));
    assert_eq!(browser.clone().step(&callback).status, 303);
    // The code has been used, as it would be gone after ten minutes; and this browser holds no session.
    let late = browser.step(&callback);
    assert_eq!((late.status, browser.session()), (400, None));
    let link = "href=\"/_wardgate/sign-in?to=%2Fpatients%2Fp1%2Fresults%2F1%3Fyear%3D2024\"";
    assert!(late.body.contains("Please sign in again") && late.body.contains(link), "{}", late.body);
    let arrived = browser.go(&portal("/_wardgate/sign-in?to=%2Fpatients%2Fp1%2Fresults%2F1%3Fyear%3D2024"));
    assert_eq!((arrived.answer.status, arrived.url), (200, portal(&target)));
}

#[test]
fn where_several_issuers_serve_a_host_people_choose() {
    let idp = Idp::start();
    let other = Idp::shared();
    let upstream = Recorder::start();
    let text = config(&idp.issuer, "desk", "      label: Patients", upstream.address);
    let text = with_staff(&text, &other.issuer, "Staff <of> St. Anna");
    let gateway = running(&text);
    let mut nora = Browser::new(gateway.address, "nora");
    let page = nora.go(&portal("/ward"));
    assert_eq!((page.answer.status, page.answer.header("content-language")), (200, Some("en")));
    assert!(page.answer.body.contains("Staff &#60;of&#62; St. Anna"), "{}", page.answer.body);
    let start = page.answer.body.find("/_wardgate/sign-in?issuer=workforce").expect("a link");
    let link = page.answer.body[start..].split('"').next().expect("a link").replace("&#38;", "&");
    let arrived = nora.go(&portal(&link));
    assert_eq!((arrived.answer.status, arrived.url.as_str()), (200, "https://portal.example/ward"));
    // A route of one issuer, or a host of one issuer, asks nothing.
    let mut alice = Browser::new(gateway.address, "alice");
    assert_eq!(alice.go(&portal(RESULTS)).answer.status, 200);
    let mut other_host = Browser::new(gateway.address, "nora");
    let arrived = other_host.go(&format!("https://{STAFF}/ward"));
    assert_eq!((arrived.answer.status, arrived.url), (200, format!("https://{STAFF}/ward")));
    // A session is of one host.
    let stolen =
        other_host.cookies.iter().find(|(host, name, _)| host == STAFF && name.ends_with("-session"));
    let line = format!("__Host-wardgate-session={}", stolen.expect("a session").2);
    let answer = http::send(gateway.address, "GET", "/ward", &[("Cookie", &line)], b"").expect("an answer");
    assert_eq!(answer.status, 401);
}

#[test]
fn people_get_pages_in_their_language_and_programs_problems() {
    let idp = Idp::shared();
    let (gateway, _upstream) = start(idp, "desk", "");
    let mut alice = signed_in(&gateway, "alice");
    let mut spanish = NAVIGATION.to_vec();
    spanish.push(("Accept-Language", "es-US,es;q=0.9,en;q=0.5"));
    let denied = alice.ask("GET", &portal("/patients/p2/results/1"), &spanish, b"");
    assert_eq!((denied.status, denied.header("content-language")), (403, Some("es")));
    assert!(denied.body.contains("No puede abrir esta página") && denied.body.contains(denied.decision()));
    let other = "href=\"/_wardgate/sign-in?change=1&#38;to=%2Fpatients%2Fp2%2Fresults%2F1\"";
    assert!(denied.body.contains(other), "there is a way out: {}", denied.body);
    let policy = denied.header("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    let missing = alice.step(&portal("/nowhere"));
    assert_eq!((missing.status, missing.header("content-type")), (404, Some("text/html; charset=utf-8")));
    let stronger = alice.step(&portal("/patients/p1/payments"));
    assert!(stronger.status == 401 && stronger.body.contains("confirm that it is you"), "{}", stronger.body);
    assert!(stronger.header("www-authenticate").is_some_and(|value| value.contains("urn:clinic:loa:2")));
    assert_eq!(alice.fetch("GET", "/nowhere").header("content-type"), Some("application/problem+json"));
    for (method, target, status) in [
        ("GET", "/_wardgate", 404),
        ("GET", "/_wardgate/other", 404),
        ("POST", "/_wardgate/sign-in", 405),
        ("GET", "/_wardgate/back-channel-logout", 405),
        ("GET", "/_wardgate/callback", 400),
        ("GET", "/_wardgate/sign-in?issuer=nobody", 303),
    ] {
        assert_eq!(alice.ask(method, &portal(target), &NAVIGATION, b"").status, status, "{target}");
    }
    // At a host where nobody signs in these paths are like any other.
    let other = http::send(gateway.address, "GET", "/_wardgate/sign-in", &[("Host", "api.example")], b"");
    assert_eq!(other.expect("an answer").status, 404);
}

#[test]
fn an_upstream_neither_sees_nor_sets_the_gateways_cookies() {
    let idp = Idp::shared();
    let upstream = Recorder::behaving(Arc::new(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: app=1; Path=/\r\n";
        let forged = "Set-Cookie: __Host-wardgate-session=AAAA; Path=/; Secure\r\nset-cookie: __HOST-Wardgate-tx-1=x\r\n";
        stream.write_all(format!("{head}{forged}\r\nok").as_bytes()).is_ok()
    }));
    let gateway = running(&config(&idp.issuer, "desk", "", upstream.address));
    let mut alice = signed_in(&gateway, "alice");
    let before = alice.session().expect("a session").to_owned();
    assert_eq!(alice.cookie("app"), Some("1"), "the application's own go through");
    assert_eq!(alice.fetch("GET", RESULTS).status, 200);
    assert_eq!(alice.session(), Some(before.as_str()));
    let seen = upstream.requests();
    let last = seen.last().expect("a request");
    assert_eq!(last.values("cookie"), ["app=1"]);
    assert!(seen.iter().all(|request| request.headers.iter().all(|(_, value)| !value.contains(&before))));
}

#[test]
fn while_the_issuer_is_away_nobody_is_led_into_the_void() {
    let mut idp = Idp::start();
    let (gateway, _upstream) = start(&idp, "desk", "");
    let mut alice = Browser::new(gateway.address, "alice");
    let callback = alice.go_until_callback(&portal(RESULTS));
    idp.stop();
    let outage = alice.step(&callback);
    assert_eq!((outage.status, outage.header("retry-after").is_some()), (503, true), "{}", outage.body);
    assert!(outage.body.contains("not available at the moment") && alice.session().is_none());
    assert!(events(&gateway).contains(&("sign_in".to_owned(), "issuer_unavailable".to_owned())));
    idp.restart();
    eventually("people can sign in again", Duration::from_secs(20), || {
        let mut again = Browser::new(gateway.address, "alice");
        let begun = again.step(&portal("/_wardgate/sign-in"));
        begun.status == 303 && again.go(&portal(RESULTS)).answer.status == 200
    });
}

#[test]
fn while_the_application_is_away_people_read_so() {
    let idp = Idp::shared();
    // It takes what it is sent, and says nothing.
    let upstream = Recorder::behaving(Arc::new(|_, _| false));
    let gateway = running(&config(&idp.issuer, "desk", "", upstream.address));
    let mut alice = Browser::new(gateway.address, "alice");
    let callback = alice.go_until_callback(&portal(RESULTS));
    assert_eq!(alice.step(&callback).status, 303);
    let page = alice.step(&portal(RESULTS));
    assert_eq!((page.status, page.header("content-type")), (502, Some("text/html; charset=utf-8")));
    let again = format!("href=\"{RESULTS}\"");
    assert!(page.body.contains("not available") && page.body.contains(&again), "{}", page.body);
    // A form may have been acted on: nobody is told that nothing was changed, or offered to send it again.
    let mut form = NAVIGATION.to_vec();
    form.extend([("Sec-Fetch-Site", "same-origin"), ("Referer", "https://portal.example/form")]);
    let lost = alice.ask("POST", &portal("/patients/p1/notes"), &form, b"a=b");
    assert!(lost.status == 502 && lost.body.contains("It is not certain"), "{}", lost.body);
    assert!(!lost.body.contains("Nothing has been changed") && !lost.body.contains("href="), "{}", lost.body);
    let script = alice.fetch("GET", RESULTS);
    assert_eq!((script.status, script.header("content-type")), (502, Some("application/problem+json")));
    // What never got there is said to have changed nothing.
    let nobody = crate::support::free_address();
    let gateway = running(&config(&idp.issuer, "desk", "", nobody));
    let mut alice = Browser::new(gateway.address, "alice");
    let callback = alice.go_until_callback(&portal(RESULTS));
    assert_eq!(alice.step(&callback).status, 303);
    let unsent = alice.ask("POST", &portal("/patients/p1/notes"), &form, b"a=b");
    assert!(unsent.status >= 502 && unsent.body.contains("Nothing has been changed"), "{}", unsent.body);
    assert!(unsent.body.contains("href=\"/form\""), "back to the form: {}", unsent.body);
}

#[test]
fn at_a_shared_workstation_everybody_authenticates_anew() {
    let idp = Idp::shared();
    let (gateway, _upstream) = start(idp, "desk", "      shared_workstation: true");
    let mut browser = Browser::new(gateway.address, "alice");
    let arrived = browser.go(&portal(RESULTS));
    assert_eq!(arrived.answer.status, 200, "{:#?}", arrived.way);
    assert!(arrived.way[2].contains("prompt=login"), "{}", arrived.way[2]);
    let first = browser.session().expect("a session").to_owned();
    // The next person: the issuer still knows the first one, and must ask all the same.
    browser.account = "bob".to_owned();
    let asked = browser.go(&portal("/_wardgate/sign-in?change=1&to=%2Fpatients%2Fp2%2Fresults%2F1"));
    // The issuer ends the first one's sign-in by a form that sends itself off where scripts run.
    let confirmed = browser.confirm_at(&idp.issuer, &asked.answer);
    let next = confirmed.header("location").expect("onward").to_owned();
    let next = if next.starts_with('/') { format!("{}{next}", idp.issuer) } else { next };
    let arrived = browser.go(&next);
    assert_eq!(arrived.answer.status, 200, "{:#?} {}", arrived.way, arrived.answer.body);
    assert_eq!(arrived.url, portal("/patients/p2/results/1"));
    assert_eq!(browser.fetch("GET", RESULTS).status, 403, "bob is not alice");
    let line = format!("__Host-wardgate-session={first}");
    let old = http::send(gateway.address, "GET", RESULTS, &[("Cookie", &line)], b"").expect("an answer");
    assert_eq!(old.status, 401, "alice's session ended with the change");
}
