//! How often somebody may try who has not signed in: by account and by network, the same at every gateway.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use crate::support::http::{self, Answer};
use crate::support::redis::Redis;
use crate::support::{Gateway, Recorder, Setup};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// A portal whose answer tells an account that there is from one that there is not: the gateway's must not.
fn telling() -> Recorder {
    Recorder::behaving(Arc::new(|request, stream: &mut TcpStream| {
        let is_known = String::from_utf8_lossy(&request.body).to_lowercase().contains("alice");
        let said = if is_known { "HTTP/1.1 200 OK" } else { "HTTP/1.1 404 Not Found" };
        stream.write_all(format!("{said}\r\nContent-Length: 0\r\n\r\n").as_bytes()).is_ok()
    }))
}

fn config(state: &str, upstream: SocketAddr, attempts: &str) -> String {
    format!(
        r#"version: 1
listeners: [{{ name: portal, address: "$LISTEN", trusted_proxies: [127.0.0.1] }}]
telemetry: {{ address: "$TELEMETRY" }}
state: {state}
shutdown: {{ lame_duck: 0s, grace: 5s }}
upstreams: {{ app: {{ endpoints: ["{upstream}"] }} }}
audit: {{ dir: ./audit }}
routes:
  - {{ id: account.recover, match: {{ path: /recover, methods: [POST] }}, upstream: app, access: public,
      anonymous: {{ hint: body.username, attempts: {{ {attempts} }} }} }}
  - {{ id: account.check, match: {{ path: /check, methods: [GET] }}, upstream: app, access: public,
      anonymous: {{ hint: query.username, attempts: {{ {attempts} }} }} }}
"#
    )
}

fn alone(upstream: SocketAddr, attempts: &str) -> Gateway {
    Gateway::start(&config("{ single_replica: true }", upstream, attempts), |_| {})
}

/// Somebody at this address tries.
fn post(gateway: &Gateway, from: &str, (media, body): (&str, &str)) -> Answer {
    let headers = [("Host", "portal.example"), ("X-Forwarded-For", from), ("Content-Type", media)];
    http::send(gateway.address, "POST", "/recover", &headers, body.as_bytes()).expect("an answer")
}

fn recover(gateway: &Gateway, from: &str, account: &str) -> u16 {
    post(gateway, from, (FORM, &format!("username={account}"))).status
}

/// An answer, but for the decision's id and the date.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let id = answer.decision();
    let headers = answer.headers.iter().filter(|(name, _)| name != "date");
    let headers = headers.map(|(name, value)| (name.clone(), value.replace(id, "ID"))).collect();
    (answer.status, headers, answer.body.replace(id, "ID"))
}

#[test]
fn attempts_are_counted_once_for_all_gateways() {
    let (server, upstream) = (Redis::start(&[]), telling());
    let state = format!(
        "{{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 1s }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        server.address
    );
    let text = config(&state, upstream.address, "more_than: 3, in: 1h, per_network: 4, effect: deny");
    let setup = || {
        Setup::new(&text, |dir| {
            std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("written")
        })
    };
    let setups = [setup(), setup()];
    let [one, two] = [setups[0].start(), setups[1].start()];
    // However it is written, and at whichever gateway.
    let here = "192.0.2.1";
    assert_eq!(recover(&one, here, "alice"), 200);
    assert_eq!(recover(&two, here, "%20ALICE"), 200);
    assert_eq!(
        post(&one, here, (JSON, r#"{"username":"\uff21lice"}"#)).status,
        404,
        "as the portal reads it"
    );
    assert_eq!((recover(&two, here, "alice"), recover(&one, here, "alice")), (429, 429));
    assert_eq!(upstream.count(), 3);
    // The account's own person is somewhere else, and is let in.
    let elsewhere = "198.51.100.7";
    for gateway in [&one, &two, &one] {
        assert_eq!(recover(gateway, elsewhere, "alice"), 200);
    }
    // From everywhere together there is an end.
    assert_eq!(recover(&two, "203.0.113.1", "alice"), 429);
    assert_eq!(recover(&two, "203.0.113.1", "bob"), 404);
    // A network has an end too, whatever the accounts, and uses up nobody's then.
    let network = ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2::3", "2001:db8:1:2:ffff::4"];
    for (at, from) in network.into_iter().enumerate() {
        assert_eq!(recover(if at % 2 == 0 { &one } else { &two }, from, &format!("user{at}")), 404);
    }
    for _ in 0..7 {
        assert_eq!(recover(&one, "2001:db8:1:2::5", "carol"), 429);
    }
    assert_eq!(recover(&two, "2001:db8:1:3::1", "carol"), 404, "the next customer's network");
    // Whoever can't be told apart is one network.
    for at in 0..4 {
        assert_eq!(recover(&one, "nowhere", &format!("some{at}")), 404);
    }
    assert_eq!(recover(&two, "elsewhere", "other"), 429);
    // Nothing that lies in the store names anybody.
    let keys = server.say(&["--scan"]) + &server.say(&["KEYS", "*"]);
    assert!(keys.contains("window") && !keys.contains("alice") && !keys.contains("192.0.2"), "{keys}");
    // What is on record has a pseudonym, and never the name.
    let records = one.audit();
    let limited = |record: &&serde_json::Value| record["reason"] == "too_many_attempts";
    let record = records.iter().find(limited).expect("a record");
    assert!(record["account"].as_str().is_some_and(|name| name.starts_with("u_")), "{record}");
    assert_eq!((&record["action"], &record["tier"]), (&"account.recover".into(), &"low".into()));
    assert_eq!(record["input"]["attempts"], "beyond");
    assert!(!format!("{records:?}").contains("alice"));
    let counted = |result: &str| {
        let start = format!("wardgate_anonymous_attempts_total{{result=\"{result}\"}}");
        (one.metric(&start) + two.metric(&start)).round()
    };
    let found = ["account", "network", "within"].map(counted);
    assert!(
        found.iter().zip([2.0, 9.0, 16.0]).all(|(found, right)| (found - right).abs() < 0.5),
        "{found:?}"
    );
}

#[test]
fn a_refusal_says_nothing_of_the_account_nor_of_which_limit_it_was() {
    let upstream = telling();
    let gateway = alone(upstream.address, "more_than: 1, in: 10m, per_network: 3");
    let try_from = |from: &str, account: &str| post(&gateway, from, (FORM, &format!("username={account}")));
    for account in ["alice", "nobody-here"] {
        assert_ne!(try_from("192.0.2.1", account).status, 429);
    }
    let (known, unknown) = (try_from("192.0.2.1", "alice"), try_from("192.0.2.1", "nobody-here"));
    let network = try_from("192.0.2.1", "third");
    assert_eq!((known.status, known.header("retry-after")), (429, Some("600")), "{known:?}");
    assert_eq!(told(&known), told(&unknown));
    assert_eq!(told(&known), told(&network));
    assert_eq!(upstream.count(), 2);
}

#[test]
fn who_names_no_account_or_two_is_told_so() {
    let upstream = telling();
    let gateway = alone(upstream.address, "more_than: 100, in: 1h");
    let big = format!("username=alice&x={}", "x".repeat(300 * 1024));
    for (media, body) in [
        (FORM, ""),
        (FORM, "user=alice"),
        (FORM, "username="),
        (FORM, "username=a&username=b"),
        (FORM, "username=a&Username=b"),
        (FORM, "username[]=a"),
        (FORM, "username=a%e2%80%8bb"),
        (JSON, "{}"),
        (JSON, r#"{"username":["alice"]}"#),
        (JSON, r#"{"username":"a","username":"b"}"#),
        (JSON, r#"{"username":"a""#),
        ("text/plain", "username=alice"),
        ("application/x-www-form-urlencoded; charset=ibm037", "username=alice"),
        (
            "multipart/form-data; boundary=x",
            "--x\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\na\r\n--x--\r\n",
        ),
        (FORM, &big),
    ] {
        let answer = post(&gateway, "192.0.2.1", (media, body));
        assert_eq!(answer.status, 400, "{media} {:.60}: {answer:?}", body);
    }
    assert_eq!(post(&gateway, "192.0.2.1", (FORM, "username=a&_method=DELETE")).status, 400);
    let to = |target: &str, headers: &[(&str, &str)]| {
        let mut all = vec![("Host", "portal.example"), ("Content-Type", FORM)];
        all.extend_from_slice(headers);
        http::send(gateway.address, "POST", target, &all, b"username=alice").expect("an answer").status
    };
    assert_eq!(to("/recover?username=bob", &[]), 400, "the portal may take either");
    assert_eq!(to("/recover", &[("Content-Encoding", "gzip")]), 400);
    assert_eq!(to("/recover", &[("Origin", "https://evil.example")]), 403, "another site's page");
    assert_eq!(to("/recover", &[("Sec-Fetch-Site", "cross-site")]), 403);
    assert_eq!(upstream.count(), 0);
    assert_eq!(to("/recover?lang=en", &[]), 200);
    let check = |query: &str| {
        let target = format!("/check?{query}");
        http::send(gateway.address, "GET", &target, &[("Host", "portal.example")], b"")
            .expect("an answer")
            .status
    };
    assert_eq!((check("username=alice"), check("username=a&username=b"), check("x=1")), (404, 400, 400));
    let unnamed = |record: &serde_json::Value| record["reason"] == "account_unnamed";
    assert!(gateway.audit().iter().filter(|record| unnamed(record)).count() > 10);
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let (mut server, upstream) = (Redis::start(&[]), telling());
    let state = format!(
        "{{ store: redis, redis: {{ urls: [\"redis://{}\"], timeout: 200ms }}, encryption_keys: [{{ id: k1, file: k1 }}] }}",
        server.address
    );
    let text = config(&state, upstream.address, "more_than: 3, in: 1h");
    let gateway = Gateway::start(&text, |dir| {
        std::fs::write(dir.join("k1"), format!("{}\n", "1".repeat(64))).expect("written");
    });
    assert_eq!(recover(&gateway, "192.0.2.1", "alice"), 200);
    server.kill();
    let refused = post(&gateway, "192.0.2.1", (FORM, "username=alice"));
    assert_eq!((refused.status, upstream.count()), (503, 1), "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    let uncounted = "wardgate_anonymous_attempts_total{result=\"unavailable\"}";
    assert!(gateway.metric(uncounted) > 0.5);
}
