//! Proof before anybody has signed in, at the reference service of `examples/step_up_service` behind a real gateway.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use super::*;
use crate::session::signed_in;
use crate::support::redis::Redis;
use crate::support::{Setup, StepUpService};

const RECOVER: &str = "/recover";
pub const BODY: &str = "username=Alice&new_mail=a%40b.example";

const PUBLIC: &str = r#"
  - { id: account.recover, label: Recover your account, match: { path: /recover, methods: [POST] }, upstream: app,
      access: public, tier: critical,
      anonymous: { hint: body.username, step_up: [proofing], attempts: { more_than: 40, in: 1h, per_network: 80 } } }
  - { id: account.enrol, match: { path: /enrol, methods: [POST, PUT] }, upstream: app, access: public, tier: critical,
      anonymous: { hint: body.username, step_up: [proofing], attempts: { more_than: 40, in: 1h } } }
"#;

/// Its answer tells an account that there is from one that there is not; the gateway's must not.
pub fn telling() -> Recorder {
    Recorder::behaving(Arc::new(|request, stream: &mut TcpStream| {
        let is_known =
            request.line.starts_with("GET") || String::from_utf8_lossy(&request.body).contains("Alice");
        let said = if is_known { "200 OK" } else { "404 Not Found" };
        stream.write_all(format!("HTTP/1.1 {said}\r\nContent-Length: 0\r\n\r\n").as_bytes()).is_ok()
    }))
}

pub fn config(service: &StepUpService, upstream: &Recorder) -> String {
    let dir = service.dir().display();
    let ways = format!(
        r#"step_up:
  - {{ name: browser, type: oidc }}
  - {{ name: proofing, type: http, label: With my identity card, url: "http://{}", secret_file: {dir}/secret,
      keys_file: {dir}/key.jwks, grants: aal2, timeout: 1s }}
upstreams:"#,
        service.address
    );
    let text = text(Idp::shared(), upstream, "desk").replacen("upstreams:", &ways, 1);
    text.replacen("routes:", &format!("routes:{PUBLIC}"), 1)
}

fn start(service: &StepUpService) -> (Gateway, Recorder) {
    let upstream = telling();
    let gateway = crate::session::running(&config(service, &upstream));
    gateway.wait_until_proofs_count();
    (gateway, upstream)
}

pub fn stranger(gateway: &Gateway) -> Browser {
    Browser::new(gateway.address, "nobody")
}

pub fn post(browser: &mut Browser, body: &str) -> Answer {
    send(browser, "POST", RECOVER, &[FORM], body.as_bytes())
}

/// Where the one way of a page leads: to the service's page.
pub fn page_of(browser: &mut Browser, asked: &Answer) -> String {
    assert_eq!(asked.status, 401, "{asked:?}");
    let sent = browser.step(&portal(&link(asked, "/_wardgate/step-up?")));
    assert!((300..400).contains(&sent.status), "{sent:?}");
    sent.header("location").expect("a page").to_owned()
}

/// Sends a form and proves whose account it is; the page that asks whether to send it.
fn proven(service: &StepUpService, browser: &mut Browser, body: &str) -> Answer {
    let asked = post(browser, body);
    let page = page_of(browser, &asked);
    let back = service.prove(&page, "alice");
    browser.go(&back).answer
}

/// An answer, but for what is new in each: ids, names and the date.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let mut text = answer.body.clone();
    for mark in ["intent=", "anonymous-"] {
        while let Some(at) = text.find(&format!("{mark}anonymous-")).or_else(|| text.find(mark)) {
            let end = text[at + mark.len()..]
                .find(['&', '"', '#', '<'])
                .map_or(text.len(), |end| at + mark.len() + end);
            text.replace_range(at..end, "NAME");
        }
    }
    let text = text.replace(answer.decision(), "ID");
    let headers = answer.headers.iter().filter(|(name, _)| name != "date" && name != "content-length");
    let headers = headers.map(|(name, value)| {
        let value = if name == "set-cookie" { value.split(';').skip(1).collect() } else { value.clone() };
        (name.clone(), value.replace(answer.decision(), "ID"))
    });
    (answer.status, headers.collect(), text)
}

#[test]
fn what_was_sent_goes_on_after_the_proof_and_once() {
    let service = StepUpService::start();
    let (gateway, upstream) = start(&service);
    let mut browser = stranger(&gateway);
    let asked = post(&mut browser, BODY);
    assert!(asked.body.contains("Recover your account"), "{asked:?}");
    assert!(browser.cookie("__Host-wardgate-anonymous").is_some_and(|value| value.len() == 43));
    assert!(browser.session().is_none());
    let page = page_of(&mut browser, &asked);
    let shown = service.page(&page).body;
    assert!(shown.contains("Recover your account") && shown.contains("name=\"account\""), "{shown}");
    assert!(!shown.to_lowercase().contains("alice"), "the service is not told the name: {shown}");
    let confirming = browser.go(&service.prove(&page, "alice")).answer;
    assert!(confirming.body.contains("a@b.example") && confirming.body.contains("Alice"), "{confirming:?}");
    assert_eq!(upstream.count(), 0, "nothing is sent before it is confirmed");
    let done = confirm(&mut browser, &confirming);
    assert_eq!((done.status, upstream.count()), (200, 1), "{done:?}");
    let sent = upstream.requests().pop().expect("one");
    assert_eq!((sent.line.as_str(), sent.body.as_slice()), ("POST /recover HTTP/1.1", BODY.as_bytes()));
    assert!(sent.values("cookie").iter().all(|line| !line.contains("wardgate")), "{sent:?}");
    assert_eq!((confirm(&mut browser, &confirming).status, upstream.count()), (409, 1));
    // The same once more, in the same browser: the proof was for one.
    assert_eq!((post(&mut browser, BODY).status, upstream.count()), (401, 1));
    // The trail knows a pseudonym, the same in each record, and never the name.
    let records = gateway.audit();
    let of = |reason: &str| {
        let found = records.iter().find(|record| record["reason"] == reason).expect(reason);
        found["account"].as_str().expect("a pseudonym").to_owned()
    };
    let account = of("proofing_required");
    assert!(account.starts_with("u_") && account == of("anonymous_proven"), "{account}");
    let step_up = |record: &&serde_json::Value| record["event"] == "session" && record["what"] == "step_up";
    let record = records.iter().find(step_up).expect("a record");
    assert_eq!((&record["result"], record["account"].as_str()), (&"ok".into(), Some(&*account)));
    assert!(!format!("{records:?}").to_lowercase().contains("alice"));
}

#[test]
fn scripts_are_told_where_the_proof_is_given_and_ask_again() {
    let service = StepUpService::start();
    let (gateway, upstream) = start(&service);
    let mut browser = stranger(&gateway);
    let json = [("Content-Type", "application/json")];
    let body = br#"{"username":"Alice","mail":"a@b.example"}"#;
    let asked = fetch(&mut browser, "POST", RECOVER, &json, body);
    let to = format!("{}&then=close", step_up_url(&asked));
    let sent = browser.step(&portal(&to));
    let back = service.prove(sent.header("location").expect("a page"), "ALICE ");
    let closed = browser.go(&back).answer;
    assert_eq!((closed.status, upstream.count()), (200, 0), "{closed:?}");
    let done = fetch(&mut browser, "POST", RECOVER, &json, body);
    assert_eq!((done.status, upstream.count()), (200, 1), "{done:?}");
    assert_eq!((fetch(&mut browser, "POST", RECOVER, &json, body).status, upstream.count()), (401, 1));
}

#[test]
fn a_proof_is_worth_nothing_for_anything_else() {
    let service = StepUpService::start();
    let (gateway, upstream) = start(&service);
    let mut browser = stranger(&gateway);
    let page = proven(&service, &mut browser, BODY);
    let name = action(&page).split_once("wardgate-intent=").expect("a name").1.to_owned();
    for (what, method, target, body) in [
        ("body", "POST", RECOVER, "username=Alice&new_mail=thief%40b.example"),
        ("account", "POST", RECOVER, "username=Bob&new_mail=a%40b.example"),
        ("target", "POST", "/recover?a=b", BODY),
        ("route", "POST", "/enrol", BODY),
        ("method", "PUT", "/enrol", BODY),
    ] {
        let answer = send(&mut browser, method, target, &[FORM], body.as_bytes());
        assert_eq!((answer.status, upstream.count()), (401, 0), "{what}: {answer:?}");
    }
    for target in ["/enrol", "/recover?x=y"] {
        let joint = if target.contains('?') { '&' } else { '?' };
        let to = format!("{target}{joint}wardgate-intent={name}");
        let answer = send(&mut browser, "POST", &to, &[FORM], b"");
        assert_eq!((answer.status, upstream.count()), (400, 0), "{target}: {answer:?}");
    }
    // Another browser that knows every address, with and without something of its own.
    let mut thief = stranger(&gateway);
    for _ in 0..2 {
        let confirmed = confirm(&mut thief, &page);
        assert_eq!((confirmed.status, upstream.count()), (410, 0), "{confirmed:?}");
        for place in ["confirm", "step-up"] {
            let seen = thief.step(&portal(&format!("/_wardgate/{place}?intent={name}")));
            assert_eq!(seen.status, 410, "{seen:?}");
            assert!(!seen.body.contains("Alice"), "{seen:?}");
        }
        assert_eq!(post(&mut thief, BODY).status, 401);
    }
    // Nor is it somebody's who is signed in, nor the other way round.
    let mut bob = signed_in(&gateway, "bob");
    assert_eq!((confirm(&mut bob, &page).status, upstream.count()), (410, 1));
    // The cookie of one host is none at another.
    let mut elsewhere = browser.clone();
    elsewhere.cookies.retain(|(_, name, _)| name.starts_with("__Host-wardgate-anonymous"));
    let cookie = elsewhere.cookies.first().expect("a cookie").clone();
    let line = format!("{}={}", cookie.1, cookie.2);
    let twice = format!("{line}; {line}");
    for (host, cookies) in [("other.example", &line), ("portal.example", &twice)] {
        let mut headers = NAVIGATION.to_vec();
        headers.extend([
            ("Host", host),
            ("Cookie", cookies.as_str()),
            ("Sec-Fetch-Site", "same-origin"),
            FORM,
        ]);
        let to = action(&page);
        let answer =
            crate::support::http::send(gateway.address, "POST", &to, &headers, b"").expect("an answer");
        assert!(answer.status >= 400 && upstream.count() == 1, "{host}: {answer:?}");
    }
    // Another site's page, or a script, can't confirm.
    for headers in [
        [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")],
        [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Mode", "cors")],
    ] {
        let mut all = headers.to_vec();
        all.push(FORM);
        let answer = browser.ask("POST", &portal(&action(&page)), &all, b"");
        assert_eq!((answer.status, upstream.count()), (400, 1), "{answer:?}");
    }
    assert_eq!((confirm(&mut browser, &page).status, upstream.count()), (200, 2), "still good for its own");
}

#[test]
fn other_rules_make_it_another_request() {
    let service = StepUpService::start();
    let (gateway, upstream) = start(&service);
    let mut browser = stranger(&gateway);
    let page = proven(&service, &mut browser, BODY);
    let file = gateway.dir.path().join("gateway.yaml");
    let changed =
        std::fs::read_to_string(&file).expect("read").replace("Clinic of St. Anna", "Clinic of St. Bob");
    std::fs::write(&file, changed.replace("Recover your account", "Recover your own account"))
        .expect("written");
    gateway.signal("HUP");
    crate::support::eventually("the rules are others", std::time::Duration::from_secs(30), || {
        browser.step(&portal("/_wardgate/signed-out")).body.contains("St. Bob")
    });
    let answer = confirm(&mut browser, &page);
    assert_eq!((answer.status, upstream.count()), (401, 0), "{answer:?}");
}

#[test]
fn nothing_tells_whether_there_is_such_an_account() {
    let service = StepUpService::start();
    let (gateway, upstream) = start(&service);
    let mut browser = stranger(&gateway);
    let ask = |browser: &mut Browser, account: &str| post(browser, &format!("username={account}&x=1"));
    let (known, unknown) = (ask(&mut browser, "Alice"), ask(&mut browser, "Zelda"));
    assert_eq!(told(&known), told(&unknown));
    // One who can't prove it, one who says no, and one whom the service can't ask: the same page.
    let page = page_of(&mut browser, &known);
    let back = service.prove(&page, "mallory");
    let wrong = browser.go(&back).answer;
    let page = page_of(&mut browser, &unknown);
    let back = service.press(&page, "no");
    let declined = browser.go(&back).answer;
    let asked = ask(&mut browser, "nobody");
    let unreachable = browser.step(&portal(&link(&asked, "/_wardgate/step-up?")));
    assert_eq!((wrong.status, upstream.count()), (403, 0), "{wrong:?}");
    assert_eq!(told(&wrong), told(&declined));
    assert_eq!(told(&wrong), told(&unreachable));
    // The trail tells them apart.
    let events = crate::session::events(&gateway);
    for result in ["declined", "person_not_reachable"] {
        assert!(events.contains(&("step_up".to_owned(), result.to_owned())), "{result}: {events:?}");
    }
}

#[test]
fn another_accounts_proof_is_refused() {
    let service = StepUpService::start();
    let (gateway, upstream) = start(&service);
    let mut browser = stranger(&gateway);
    // What was proven for one request leads to no other, even in one browser.
    let mine = post(&mut browser, "username=mallory");
    let theirs = post(&mut browser, BODY);
    let (own, other) = (page_of(&mut browser, &mine), page_of(&mut browser, &theirs));
    assert_ne!(own, other);
    let back = service.prove(&own, "mallory");
    assert_eq!(browser.go(&back).answer.status, 200);
    let waiting = browser.step(&portal(&link(&theirs, "/_wardgate/step-up?")));
    assert!(
        waiting.status != 303 || !waiting.header("location").expect("a place").contains("confirm"),
        "{waiting:?}"
    );
    let name = link(&theirs, "/_wardgate/step-up?")
        .split_once("intent=")
        .expect("a name")
        .1
        .split('&')
        .next()
        .expect("a name")
        .to_owned();
    let to = format!("{RECOVER}?wardgate-intent={name}");
    let answer = send(&mut browser, "POST", &to, &[FORM], b"");
    assert_eq!((answer.status, upstream.count()), (401, 0), "{answer:?}");
}

#[test]
fn a_service_that_is_away_lets_nobody_through() {
    let mut service = StepUpService::start();
    let (gateway, upstream) = start(&service);
    let mut browser = stranger(&gateway);
    let asked = post(&mut browser, BODY);
    service.stop();
    let to = portal(&link(&asked, "/_wardgate/step-up?"));
    let down = browser.step(&to);
    assert_eq!((down.status, upstream.count()), (503, 0), "{down:?}");
    service.restart();
    let back = service.prove(browser.step(&to).header("location").expect("a page"), "alice");
    let confirming = browser.go(&back).answer;
    assert_eq!((confirm(&mut browser, &confirming).status, upstream.count()), (200, 1));
}

#[test]
fn what_is_begun_at_one_gateway_goes_on_at_another_and_once() {
    let (service, server) = (StepUpService::start(), Redis::start(&[]));
    let upstream = telling();
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        server.address
    );
    let text = config(&service, &upstream).replace("state: { single_replica: true }", &state);
    let setup = || {
        Setup::new(&text, |dir| {
            std::fs::write(dir.join("secret"), "desk-secret\n").expect("written");
            std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("written");
        })
    };
    let setups = [setup(), setup()];
    let [one, two] = [setups[0].start(), setups[1].start()];
    let mut browser = stranger(&one);
    let asked = post(&mut browser, BODY);
    browser.moved_to(two.address);
    let page = page_of(&mut browser, &asked);
    browser.moved_to(one.address);
    let confirming = browser.go(&service.prove(&page, "alice")).answer;
    // Clicked at both at the same time.
    let racers: Vec<_> = (0..8)
        .map(|at| {
            let (mut browser, page) = (browser.clone(), confirming.clone());
            browser.moved_to(if at % 2 == 0 { one.address } else { two.address });
            std::thread::spawn(move || confirm(&mut browser, &page).status)
        })
        .collect();
    let mut statuses: Vec<u16> = racers.into_iter().map(|racer| racer.join().expect("an answer")).collect();
    statuses.sort_unstable();
    assert_eq!((statuses[0], upstream.count()), (200, 1), "{statuses:?}");
    assert!(statuses[1..].iter().all(|status| *status == 409), "{statuses:?}");
    // Without the store nothing goes on.
    let (again, body) = (post(&mut browser, "username=alice&x=2"), "username=alice&x=3");
    drop(server);
    assert_eq!((post(&mut browser, body).status, upstream.count()), (503, 1));
    let gone = browser.step(&portal(&link(&again, "/_wardgate/step-up?")));
    assert_eq!((gone.status, upstream.count()), (503, 1), "{gone:?}");
}
