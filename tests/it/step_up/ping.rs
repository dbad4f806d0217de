//! An issuer that sends word: whoever waits looks at once, at whichever gateway; what is not its word is worth nothing,
//! and where none comes the answer is found all the same.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::session::{events, signed_in};
use crate::support::redis::Redis;
use crate::support::{Setup, eventually, http};

const LONG: Duration = Duration::from_secs(30);
const JSON: (&str, &str) = ("Content-Type", "application/json");
const HERE: &str = "/_wardgate/ciba-notification";
/// Without word the answer is looked for every ten seconds: what is held no longer than this needs it.
const SHORT: &str = "8s";

fn configured(idp: &Idp, upstream: &Recorder, hold: &str) -> String {
    let ways = format!(
        "step_up:\n  - {{ name: phone, type: ciba, label: On my phone, issuer: patients, client_id: desk-ping, \
         delivery: ping, client_secret_file: phone-secret, hold_request: {hold} }}\n  - {{ name: browser, type: oidc }}\nupstreams:"
    );
    text(idp, upstream, "desk").replacen("upstreams:", &ways, 1)
}

fn setup(text: &str) -> Setup {
    Setup::new(text, |dir| {
        std::fs::write(dir.join("secret"), "desk-secret\n").expect("written");
        std::fs::write(dir.join("phone-secret"), "desk-ping-secret\n").expect("written");
        std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("written");
    })
}

fn start_held(idp: &Idp, hold: &str) -> (Gateway, Recorder) {
    let upstream = Recorder::start();
    let gateway = setup(&configured(idp, &upstream, hold)).start();
    idp.relay_to(gateway.address);
    (gateway, upstream)
}

fn posts(upstream: &Recorder) -> usize {
    upstream.requests().iter().filter(|it| it.line.starts_with("POST ")).count()
}

fn pings(gateway: &Gateway, result: &str) -> u32 {
    let count =
        gateway.metric(&format!("wardgate_session_events_total{{result=\"{result}\",what=\"ciba_ping\"}}"));
    // A small whole number.
    (0..100).find(|number| (f64::from(*number) - count).abs() < 0.1).expect("few")
}

/// A script's request, on its way while its person is asked; ends with its answer.
fn held(browser: &Browser) -> std::thread::JoinHandle<Answer> {
    let mut browser = browser.clone();
    std::thread::spawn(move || fetch(&mut browser, "POST", PAY, &[JSON], br#"{"amount":5}"#))
}

fn approve() -> serde_json::Value {
    json!({ "answer": "approve", "level": "aal2" })
}

#[test]
fn a_held_request_goes_on_when_word_comes() {
    let idp = Idp::start();
    let (gateway, upstream) = start_held(&idp, SHORT);
    let browser = signed_in(&gateway, "alice");
    let waits = held(&browser);
    eventually("she is asked", LONG, || idp.shown().len() == 1);
    assert_eq!(posts(&upstream), 0);
    idp.answers("alice", &approve());
    let answer = waits.join().expect("no panic");
    assert_eq!((answer.status, posts(&upstream)), (200, 1), "{answer:?}");
    assert_eq!(pings(&gateway, "ok"), 1);
    assert!(events(&gateway).contains(&("ciba_ping".to_owned(), "ok".to_owned())));
    // Word that she has declined.
    idp.answers("alice", &json!({ "answer": "decline" }));
    let mut other = signed_in(&gateway, "alice");
    let answer = fetch(&mut other, "POST", PAY, &[JSON], b"{}");
    assert_eq!((answer.status, posts(&upstream)), (401, 1), "{answer:?}");
    assert!(events(&gateway).contains(&("step_up".to_owned(), "declined".to_owned())));
}

#[test]
fn word_may_come_to_another_gateway_than_the_one_that_waits() {
    let (idp, server, upstream) = (Idp::start(), Redis::start(&[]), Recorder::start());
    let state = format!(
        "state: {{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        server.address
    );
    let text = configured(&idp, &upstream, SHORT).replace("state: { single_replica: true }", &state);
    let [one, two] = [setup(&text).start(), setup(&text).start()];
    idp.relay_to(two.address);
    let browser = signed_in(&one, "alice");
    let waits = held(&browser);
    eventually("she is asked", LONG, || idp.shown().len() == 1);
    idp.answers("alice", &approve());
    let answer = waits.join().expect("no panic");
    assert_eq!((answer.status, posts(&upstream)), (200, 1), "{answer:?}");
    assert_eq!((pings(&one, "ok"), pings(&two, "ok")), (0, 1));
}

#[test]
fn where_word_is_lost_the_answer_is_found_all_the_same() {
    let (idp, nobody) = (Idp::start(), Recorder::start());
    let (gateway, upstream) = start_held(&idp, "25s");
    idp.relay_to(nobody.address);
    idp.answers("alice", &approve());
    let mut browser = signed_in(&gateway, "alice");
    let answer = fetch(&mut browser, "POST", PAY, &[JSON], b"{}");
    assert_eq!((answer.status, posts(&upstream)), (200, 1), "{answer:?}");
    assert_eq!((nobody.count(), pings(&gateway, "ok")), (1, 0));
}

#[test]
fn what_is_not_the_issuers_word_is_worth_nothing() {
    let (idp, nobody) = (Idp::start(), Recorder::start());
    let (gateway, upstream) = start_held(&idp, SHORT);
    // The issuer's word goes astray, and falls into somebody's hands.
    idp.relay_to(nobody.address);
    let mut browser = signed_in(&gateway, "alice");
    let asked = send(&mut browser, "POST", PROFILE, &[FORM], b"street=1");
    let page = browser.go(&portal(&link(&asked, "/_wardgate/step-up?"))).answer;
    let here = portal(&link(&page, "/_wardgate/step-up?"));
    idp.answers("alice", &approve());
    eventually("word goes astray", LONG, || nobody.count() == 1);
    let word = nobody.requests().pop().expect("one");
    let (shown, body) = (word.values("authorization")[0].to_owned(), word.body.clone());
    let looks = idp.asked("token");
    let tell = |authorization: Option<&str>, kind: &str, body: &[u8]| {
        let mut headers = vec![("Content-Type", kind)];
        headers.extend(authorization.map(|value| ("Authorization", value)));
        http::send(gateway.address, "POST", HERE, &headers, body).expect("an answer")
    };
    let guess = format!("Bearer {}", "A".repeat(43));
    let basic = shown.replace("Bearer", "Basic");
    let other = br#"{"auth_req_id":"another"}"#;
    let unknown = [
        ("no token", tell(None, JSON.1, &body)),
        ("another's token", tell(Some(&guess), JSON.1, &body)),
        ("another scheme", tell(Some(&basic), JSON.1, &body)),
        ("another question", tell(Some(&shown), JSON.1, other)),
        ("neither", tell(Some(&guess), JSON.1, other)),
    ];
    for (what, answer) in unknown {
        assert_eq!((answer.status, answer.body.as_str()), (401, ""), "{what}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{what}: {answer:?}");
    }
    let long = format!(r#"{{"auth_req_id":"{}"}}"#, "a".repeat(5_000));
    for (kind, body) in [
        ("application/x-www-form-urlencoded", body.as_slice()),
        ("text/plain", &body),
        (JSON.1, b""),
        (JSON.1, b"{}"),
        (JSON.1, b"[1]"),
        (JSON.1, br#"{"auth_req_id":1}"#),
        (JSON.1, br#"{"auth_req_id":"a","auth_req_id":"b"}"#),
        (JSON.1, long.as_bytes()),
    ] {
        let answer = tell(Some(&shown), kind, body);
        assert_eq!(answer.status, 400, "{kind} {}", String::from_utf8_lossy(body));
    }
    assert_eq!(http::get(gateway.address, HERE).expect("an answer").status, 405);
    assert_eq!((pings(&gateway, "unknown"), pings(&gateway, "malformed")), (3, 8));
    assert_eq!(pings(&gateway, "no_token"), 2);
    // Nobody has looked for the answer by that, and who looks is told to wait.
    let waits = browser.go(&here).answer;
    assert!(waits.body.contains("class=\"code\""), "{waits:?}");
    assert_eq!(idp.asked("token"), looks);
    // The word itself, late and by whoever: it is worth one look, and of no more use.
    assert_eq!(tell(Some(&shown), "application/json; charset=utf-8", &body).status, 204);
    for _ in 0..3 {
        assert_eq!(tell(Some(&shown), JSON.1, &body).status, 401, "a replay");
    }
    assert_eq!(
        (idp.asked("token"), posts(&upstream)),
        (looks, 0),
        "it leads to a look, and does not make one"
    );
    let confirming = browser.go(&here).answer;
    assert!(confirming.body.contains("<form"), "{confirming:?}");
    assert_eq!(idp.asked("token"), looks + 1);
    assert_eq!((confirm(&mut browser, &confirming).status, posts(&upstream)), (200, 1));
}
