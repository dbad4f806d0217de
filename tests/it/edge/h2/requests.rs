//! A request of HTTP/2 means what it would mean in HTTP/1.1, and is refused where that would be.

use std::time::Duration;

use http::{Method, StatusCode};

use super::{Bench, bare, get};

#[tokio::test]
async fn a_request_arrives_as_one_of_http_1() {
    let bench = Bench::start();
    let mut connection = bench.open().await;
    let target = "/patients/p1/results/a%20b?c=%2F&d";
    let request = get(target)
        .header("authorization", &bench.token)
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x-remote-user", "spoofed")
        .header("x-forwarded-for", "192.0.2.1")
        .header("x-wardgate-assertion", "spoofed")
        .header("forwarded", "for=spoofed")
        .header("te", "trailers");
    let answer = connection.ask(bare(request), None).await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, &br#"{"served":true}"#[..]));
    assert!(answer.headers.contains_key("x-wardgate-decision"));
    assert!(!answer.headers.contains_key("connection") && !answer.headers.contains_key("transfer-encoding"));

    let arrived = bench.upstream.requests();
    let [request] = &arrived[..] else { panic!("{arrived:?}") };
    assert_eq!(request.line, format!("GET {target} HTTP/1.1"));
    assert_eq!(request.values("host"), ["portal.example"]);
    assert_eq!(request.values("cookie"), ["a=1; b=2"]);
    assert_eq!(request.values("x-remote-user"), ["patients:user-p1"]);
    assert_eq!(request.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.values("x-forwarded-proto"), ["https"]);
    assert_eq!(request.values("x-forwarded-host"), ["portal.example"]);
    for name in ["authorization", "forwarded", "te"] {
        assert!(request.values(name).is_empty(), "{name}");
    }
    let text = format!("{request:?}");
    assert!(!text.contains("spoofed") && !text.contains("192.0.2.1"), "{text}");
    bench.reconcile();
}

#[tokio::test]
async fn what_is_refused_over_http_1_is_refused_here() {
    let bench = Bench::start();
    let mut connection = bench.open().await;
    let target = |target: &str| get(target).header("authorization", &bench.token);
    let with = |name: &str, value: &str| target("/open/x").header(name, value);
    let cases: Vec<(&str, http::request::Builder, u16, &str)> = vec![
        ("dots", target("/open/../admin/x"), 400, "path_dot_segment"),
        ("encoded dots", target("/open/%2e%2e/admin"), 400, "path_dot_segment"),
        ("encoded twice", target("/open/%252e%252e/x"), 400, "path_encoded_delimiter"),
        ("empty segment", target("//admin"), 400, "path_empty_segment"),
        ("encoded letter", target("/open/%61"), 400, "path_encoded_unreserved"),
        ("encoded slash", target("/open/..%2fadmin"), 400, "path_encoded_delimiter"),
        ("backslash", target("/open/a\\b"), 400, "path_backslash"),
        ("parameter", target("/open/;/admin"), 400, "path_parameter"),
        ("tomcat", target("/open/..;/admin"), 400, "path_parameter"),
        ("NUL", target("/open/1%00.json"), 400, "control_character"),
        ("CRLF", target("/open/%0d%0ax"), 400, "control_character"),
        ("percent", target("/open/%zz"), 400, "bad_percent_encoding"),
        ("half percent", target("/open/1%"), 400, "bad_percent_encoding"),
        ("overlong", target("/open/%c0%ae"), 400, "not_utf8"),
        ("full width", target("/open/%ef%bc%8e"), 400, "foldable_character"),
        ("plain UTF-8", target("/open/\u{e9}"), 400, "forbidden_character"),
        ("braces", target("/open/{x}"), 400, "forbidden_character"),
        ("TRACE", target("/open/x").method(Method::TRACE), 400, "bad_method"),
        ("small letters", target("/open/x").method("get"), 400, "bad_method"),
        ("made up", target("/open/x").method("GETX"), 405, "method_not_allowed"),
        ("underscore", with("x_user_id", "1"), 400, "bad_header_name"),
        ("dot", with("x.user", "1"), 400, "bad_header_name"),
        ("second authorization", with("authorization", "Bearer x"), 400, "duplicate_header"),
        ("blank in front", with("x-a", " b"), 400, "bad_header_value"),
        ("blank behind", with("x-a", "b "), 400, "bad_header_value"),
        ("overlong length", with("content-length", "00"), 400, "bad_content_length"),
        ("same host twice", with("host", "portal.example").header("host", "portal.example"), 400, "any"),
        ("another host", with("host", "staff.example"), 400, "any"),
        (
            "override",
            target("/patients/p1/results/1").header("x-http-method-override", "DELETE"),
            400,
            "method_override",
        ),
        ("override in the query", target("/patients/p1/results/1?_method=DELETE"), 400, "method_override"),
        ("token in the query", target("/patients/p1/results/1?access_token=x"), 400, "credentials_malformed"),
        ("another patient", target("/patients/p2/results/1"), 403, "no_relation"),
        ("no role", target("/admin/x"), 403, "role_missing"),
        ("no route", target("/nothing"), 404, "no_route"),
        (
            "a WebSocket's address",
            target("/patients/p1/live")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "x"),
            404,
            "any",
        ),
    ];
    for (name, request, status, reason) in cases {
        let answer =
            connection.ask(bare(request), None).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer.status, status, "{name}");
        assert!(reason == "any" || answer.headers.contains_key("x-wardgate-decision"), "{name}: {answer:?}");
        if reason != "any" {
            let decision = answer.headers["x-wardgate-decision"].to_str().expect("text").to_owned();
            let records = bench.gateway.audit();
            let record = records.iter().find(|record| record["decision"] == decision.as_str()).expect(name);
            assert_eq!(record["reason"], reason, "{name}");
        }
    }
    // The connection goes on, and nothing of it went upstream.
    let answer = connection.ask(bare(target("/open/x")), None).await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(bench.upstream.count(), 1);
    bench.reconcile();
}

#[tokio::test]
async fn header_sections_are_bounded() {
    let bench = Bench::start();
    let mut connection = bench.open().await;
    let ask = |bytes: usize| bare(get("/open/x").header("x-long", "y".repeat(bytes)));
    assert_eq!(connection.ask(ask(30 * 1024), None).await.expect("an answer").status, 200);
    let answer = connection.ask(ask(33 * 1024), None).await.expect("an answer");
    assert_eq!(answer.status, 431);
    assert!(answer.headers.contains_key("x-wardgate-decision"));
    let answered = connection.ask(ask(70 * 1024), None).await;
    assert!(answered.as_ref().map_or(true, |answer| answer.status == 431), "{answered:?}");
    let many = (0..101).fold(get("/open/x"), |request, at| request.header(format!("x-{at}"), "y"));
    assert_eq!(connection.ask(bare(many), None).await.expect("an answer").status, 431);
    assert_eq!(connection.ask(ask(1), None).await.expect("the connection goes on").status, 200);
    assert_eq!(bench.upstream.count(), 2);
    connection.close().await;
    crate::support::eventually("the library's refusal is counted", Duration::from_secs(10), || {
        bench.gateway.metric(r#"wardgate_unreadable_requests_total{reason="unparsed"}"#) >= 1.0
    });
}
