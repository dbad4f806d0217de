//! Traces: continued, begun, passed upstream, and received by a collector that is a real HTTP server.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Gateway, Recorder, Signer, eventually, free_address, http, tokens};

const ROUTES: &str = r#"
  - { id: home, match: { path: "/", methods: [GET] }, upstream: app, access: public }
  - { id: results.read, match: { path: "/patients/{patient}/results/**", methods: [GET] }, upstream: app, tier: low,
      patient: { from: path.patient }, any_of: [{ patient: self }] }
  - { id: gone, match: { path: "/gone", methods: [GET] }, upstream: gone, access: public }
"#;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn start(upstream: &Recorder, traces: &str, trusted: bool) -> (Gateway, Signer) {
    let signer = Signer::new();
    let text = tokens::config(upstream.address, ROUTES)
        .replace("$TELEMETRY\" }", &format!("$TELEMETRY\"{traces} }}"))
        .replace("audit:", &format!("  gone: {{ endpoints: [\"{}\"] }}\naudit:", free_address()));
    let text =
        if trusted { text.replace("$LISTEN\" }", "$LISTEN\", trusted_proxies: [127.0.0.1] }") } else { text };
    let gateway =
        Gateway::start(&text, |dir| std::fs::write(dir.join("jwks.json"), signer.jwks()).expect("writable"));
    (gateway, signer)
}

fn collector(status: &'static str) -> Recorder {
    Recorder::behaving(Arc::new(move |_, stream| {
        let answer =
            format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
        std::io::Write::write_all(stream, answer.as_bytes()).is_ok()
    }))
}

/// Every span that the collector got, once there are so many.
fn spans(collector: &Recorder, count: usize) -> Vec<Value> {
    let received = || -> Vec<Value> {
        let messages = collector.requests().into_iter().map(|message| {
            assert_eq!(message.line, "POST /v1/traces HTTP/1.1");
            assert_eq!(message.values("content-type"), ["application/json"]);
            serde_json::from_slice::<Value>(&message.body).expect("JSON")
        });
        let spans = messages.flat_map(|message| {
            let resource = &message["resourceSpans"][0];
            assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "wardgate");
            resource["scopeSpans"][0]["spans"].as_array().expect("spans").clone()
        });
        spans.collect()
    };
    eventually("the collector has the spans", Duration::from_secs(20), || received().len() >= count);
    received()
}

fn attribute<'s>(span: &'s Value, key: &str) -> Option<&'s str> {
    let attributes = span["attributes"].as_array().expect("attributes");
    let found = attributes.iter().find(|attribute| attribute["key"] == key)?;
    found["value"].as_object()?.values().next()?.as_str()
}

#[test]
fn without_a_collector_traces_pass_through_or_begin() {
    let upstream = Recorder::start();
    let (gateway, _) = start(&upstream, "", false);
    for headers in [
        &[("traceparent", CALLER), ("tracestate", "a=1")][..],
        &[("traceparent", "00-zz"), ("tracestate", "a=1")],
        &[("traceparent", CALLER), ("traceparent", CALLER)],
        &[],
    ] {
        let answer = http::send(gateway.address, "GET", "/", headers, b"").expect("an answer");
        assert_eq!(answer.status, 200, "a trace is never a reason to refuse");
        let arrived = upstream.requests().pop().expect("a request");
        let begun = format!("00-{}-", answer.decision().replace('-', ""));
        match arrived.values("traceparent")[..] {
            [trace] if headers.len() == 2 && headers[1].0 == "tracestate" && headers[0].1 == CALLER => {
                assert_eq!((trace, arrived.values("tracestate")), (CALLER, vec!["a=1"]));
            }
            [trace] => {
                assert!(trace.starts_with(&begun) && trace.ends_with("-00"), "{trace}");
                assert_eq!(arrived.values("tracestate"), Vec::<&str>::new());
            }
            ref several => panic!("{several:?}"),
        }
    }
}

#[test]
fn spans_say_what_was_decided_and_nothing_of_whom() {
    let (upstream, collector) = (Recorder::start(), collector("200 OK"));
    let traces = format!(", traces: {{ otlp: \"http://{}\", sample: 1 }}", collector.address);
    let (gateway, signer) = start(&upstream, &traces, false);
    let token = signer.bearer("p1", "aal1", 0);
    let secret = "/patients/p1/results/hiv?name=Ann";
    let headers = [("Authorization", token.as_str()), ("traceparent", CALLER), ("tracestate", "a=1")];
    let permitted = http::send(gateway.address, "GET", secret, &headers, b"").expect("an answer");
    assert_eq!(permitted.status, 200);
    let arrived = upstream.requests().pop().expect("a request");
    let refused = http::get(gateway.address, secret).expect("an answer");
    let unmatched = http::get(gateway.address, "/patients/Ann").expect("an answer");
    let failed = http::get(gateway.address, "/gone").expect("an answer");
    assert_eq!((refused.status, unmatched.status, failed.status), (401, 404, 502));

    let spans = spans(&collector, 6);
    assert_eq!(spans.len(), 6, "{spans:#?}");
    let of = |answer: &http::Answer| {
        let found = |span: &&Value| attribute(span, "wardgate.decision") == Some(answer.decision());
        spans.iter().find(found).expect("a span with the decision's id")
    };
    let child = |parent: &Value| spans.iter().find(|span| span["parentSpanId"] == parent["spanId"]);
    let server = of(&permitted);
    assert_eq!((&server["traceId"], &server["parentSpanId"]), (&TRACE.into(), &"b7ad6b7169203331".into()));
    assert_eq!((server["name"].as_str(), server["kind"].as_i64()), (Some("results.read"), Some(2)));
    assert_eq!(attribute(server, "http.route"), Some("/patients/{patient}/results/**"));
    assert_eq!(attribute(server, "http.response.status_code"), Some("200"));
    let client = child(server).expect("the call to the upstream");
    assert_eq!((client["kind"].as_i64(), attribute(client, "wardgate.upstream")), (Some(3), Some("app")));
    let expected = format!("00-{TRACE}-{}-01", client["spanId"].as_str().expect("an id"));
    assert_eq!(
        (arrived.values("traceparent"), arrived.values("tracestate")),
        (vec![expected.as_str()], vec!["a=1"])
    );
    let (start, end) = (&server["startTimeUnixNano"], &server["endTimeUnixNano"]);
    assert!(start.as_str().expect("a time") <= end.as_str().expect("a time"));

    let denied = of(&refused);
    assert_eq!(denied["traceId"], refused.decision().replace('-', ""), "one number finds both");
    assert_eq!(attribute(denied, "wardgate.reason"), Some("credentials_missing"));
    assert!(child(denied).is_none());
    assert_eq!(
        (of(&unmatched)["name"].as_str(), of(&failed)["status"]["code"].as_i64()),
        (Some("unmatched"), Some(2))
    );
    let call = child(of(&failed)).expect("the attempt");
    assert_eq!(attribute(call, "error.type"), Some("connection_refused"));

    let told = collector
        .requests()
        .iter()
        .map(|message| String::from_utf8_lossy(&message.body).into_owned())
        .collect::<String>();
    for word in ["hiv", "Ann", "p1", "127.0.0.1", "portal.example", token.as_str()] {
        assert!(!told.contains(word), "the collector was told `{word}`");
    }
    assert_eq!(gateway.metric(r#"wardgate_spans_total{result="exported"}"#), 6.0);
}

#[test]
fn the_world_does_not_decide_what_is_recorded() {
    let (upstream, collector) = (Recorder::start(), collector("200 OK"));
    let traces = format!(", traces: {{ otlp: \"http://{}/v1/traces\", sample: 0 }}", collector.address);
    let (gateway, _) = start(&upstream, &traces, false);
    for _ in 0..20 {
        http::send(gateway.address, "GET", "/", &[("traceparent", CALLER)], b"").expect("an answer");
    }
    assert!(upstream.requests().iter().all(|request| request.values("traceparent")[0].ends_with("-00")));
    let (trusting, _) = start(&upstream, &traces, true);
    http::send(trusting.address, "GET", "/", &[("traceparent", CALLER)], b"").expect("an answer");
    assert_eq!(spans(&collector, 2).len(), 2, "only those of the trusted caller");
    assert_eq!(gateway.metric("wardgate_spans_total"), 0.0);
}

#[test]
fn a_collector_that_is_down_costs_spans_and_nothing_else() {
    let (upstream, broken) = (Recorder::start(), collector("503 Service Unavailable"));
    for address in [broken.address, free_address()] {
        let (gateway, _) =
            start(&upstream, &format!(", traces: {{ otlp: \"http://{address}\", sample: 1 }}"), false);
        for _ in 0..5 {
            assert_eq!(http::get(gateway.address, "/").expect("an answer").status, 200);
        }
        eventually("the loss is counted", Duration::from_secs(20), || {
            gateway.metric(r#"wardgate_spans_total{result="failed"}"#) == 10.0
        });
        let warnings = || gateway.logs().iter().filter(|line| line.contains("telemetry.traces.otlp")).count();
        eventually("the loss is told", Duration::from_secs(20), || warnings() > 0);
        assert_eq!(warnings(), 1, "once, however often it fails: {:#?}", gateway.logs());
    }
}

#[test]
fn the_last_spans_are_sent_before_the_end() {
    let (upstream, collector) = (Recorder::start(), collector("200 OK"));
    let traces = format!(", traces: {{ otlp: \"http://{}\", sample: 1 }}", collector.address);
    let (mut gateway, _) = start(&upstream, &traces, false);
    assert_eq!(http::get(gateway.address, "/").expect("an answer").status, 200);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(Duration::from_secs(30)), Some(0));
    assert_eq!(spans(&collector, 2).len(), 2);
}
