//! How many requests there may be: exact numbers, a told wait, and no flood in memory or in the journal.

use super::{LONG, records, setup, start};
use crate::support::{Connection, Recorder, Signer, eventually, http, wire};

#[test]
fn exactly_as_many_pass_as_allowed_and_the_rest_are_told_when_to_come_again() {
    let upstream = Recorder::start();
    let limits = "
rate_limits:
  - { name: front-door, per: address, requests: 12, in: 1h, burst: 5, routes: [home] }
";
    let gateway = start(&upstream, "trusted_proxies: [127.0.0.1]", limits);
    let ask = |client: &str| {
        http::send(gateway.address, "GET", "/", &[("X-Forwarded-For", client)], b"").expect("an answer")
    };
    let passed = (0..300).filter(|_| ask("192.0.2.1").status == 200).count();
    assert_eq!((passed, upstream.count()), (5, 5));
    let refused = ask("192.0.2.1");
    assert_eq!(refused.status, 429);
    let wait: u64 = refused.header("retry-after").and_then(|value| value.parse().ok()).expect("a wait");
    assert!((1..=300).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit-policy"), Some(r#""front-door";q=12;w=3600"#));
    assert_eq!(refused.header("ratelimit"), Some(format!(r#""front-door";r=0;t={wait}"#).as_str()));
    assert_eq!(refused.json()["type"], "urn:wardgate:problem:too_many_requests");
    assert_eq!(ask("192.0.2.2").status, 200, "another address has its own bucket");
    assert_eq!(ask("unknown").status, 200, "and so have those that nobody knows, together");

    // The journal holds the first hundred of a span and then numbers; together they are all of them.
    let decided = "wardgate_decisions_total{reason=\"rate_limited\",route=\"home\"";
    assert_eq!(gateway.metric(decided), 296.0);
    let told = || {
        let one_by_one =
            records(&gateway, "decision").iter().filter(|record| record["reason"] == "rate_limited").count();
        let numbers = records(&gateway, "aggregated");
        let numbers = numbers.iter().filter(|record| record["cause"] == "rate_limited");
        (one_by_one as u64, numbers.filter_map(|record| record["count"].as_u64()).sum::<u64>())
    };
    eventually("all are audited", LONG, || told().0 + told().1 == 296);
    assert!(told().0 < 296, "some only as a number");
}

#[test]
fn subjects_have_limits_of_their_own_and_strangers_can_not_use_them_up() {
    let upstream = Recorder::start();
    let signer = Signer::new();
    let limits = "
rate_limits:
  - { name: people, per: subject, requests: 3, in: 1h, routes: [notes] }
  - { name: all-notes, per: route, requests: 5, in: 1h, routes: [notes] }
";
    let gateway = setup(upstream.address, &signer, "limits: {}", limits).start();
    let read = |patient: &str, token: Option<&str>| {
        let headers: Vec<_> = token.iter().map(|token| ("Authorization", *token)).collect();
        let path = format!("/patients/{patient}/notes");
        wire::once(gateway.address, "GET", &path, &headers, b"").expect("an answer")
    };
    for _ in 0..20 {
        assert_eq!(read("p1", None).status, 401);
        assert_eq!(read("p1", Some("Bearer x")).status, 401);
    }
    let (first, second) = (signer.bearer("p1", "aal1", 0), signer.bearer("p2", "aal1", 0));
    let statuses: Vec<u16> = (0..4).map(|_| read("p1", Some(&first)).status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    // A new token is the same subject.
    let refused = read("p1", Some(&signer.bearer("p1", "aal1", 5)));
    assert_eq!(refused.header("ratelimit-policy"), Some(r#""people";q=3;w=3600"#));
    let answers: Vec<_> = (0..3).map(|_| read("p2", Some(&second))).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 429], "the route's own limit is used up");
    assert_eq!(answers[2].header("ratelimit-policy"), Some(r#""all-notes";q=5;w=3600"#));
    assert_eq!(upstream.count(), 5);
    let subjects = records(&gateway, "decision");
    let limited = subjects.iter().find(|record| record["reason"] == "rate_limited").expect("audited");
    assert!(limited["subject"].is_string() && limited["action"] == "notes");
}

#[test]
fn a_limit_on_addresses_holds_before_tokens_are_looked_at_and_where_nothing_is() {
    let upstream = Recorder::start();
    let limits = "
rate_limits:
  - { name: strangers, per: address, requests: 10, in: 1h }
";
    let gateway = start(&upstream, "limits: {}", limits);
    let mut connection = Connection::open(gateway.address).expect("open");
    let mut statuses = Vec::new();
    for number in 0..30 {
        let path = ["/patients/p1/notes", "/nowhere", "/"][number % 3];
        let token = ("Authorization", "Bearer not.a.token");
        statuses.push(connection.ask("GET", path, &[token], b"").expect("an answer").status);
    }
    assert_eq!(statuses[..10], [401, 404, 200, 401, 404, 200, 401, 404, 200, 401]);
    assert!(statuses[10..].iter().all(|status| *status == 429), "{statuses:?}");
    assert_eq!(upstream.count(), 3);
}
