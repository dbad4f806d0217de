//! Whose an order is: nobody's word counts but the configured service's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Says, StandIn, ask, bearer, setup};
use crate::support::{Recorder, Signer, eventually, http};

fn routes(pdp: &StandIn, more: &str) -> String {
    format!(
        r#"
  - {{ id: order.read, match: {{ path: "/orders/{{order}}/**", methods: [GET] }}, upstream: app, tier: low,
      patient: {{ from: lookup, url: "{}", secret_file: secret, timeout: 500ms{more} }}, any_of: [{{ patient: self }}] }}"#,
        pdp.url("/orders/{order}/patient")
    )
}

#[test]
fn an_order_is_whose_the_service_says() {
    let (index, upstream, signer) = (StandIn::start(), Recorder::start(), Signer::new());
    let gateway = setup(&upstream, &signer, "", &routes(&index, "")).start();
    let patient = bearer(&signer, "u1", &[], "aal1");
    let read = |target: &str| ask(&gateway, &patient, "GET", target);
    index.answer(r#"{"patient":"p1"}"#);
    assert_eq!(read("/orders/o-1/items"), (200, "permitted".into()));
    let asked = index.recorder.requests();
    assert_eq!(asked[0].line, "GET /orders/o-1/patient HTTP/1.1");
    assert_eq!(asked[0].values("authorization"), ["Bearer s3cret-of-the-gateway"]);
    assert_eq!(asked[0].values("x-request-id").len(), 1);

    index.answer(r#"{"patient":"p2"}"#);
    assert_eq!(read("/orders/o-2/items"), (403, "no_relation".into()));
    // What the client says of the patient changes nothing.
    assert_eq!(read("/orders/o-2/items?patient=p1&order=o-1"), (403, "no_relation".into()));
    assert_eq!(read("/orders/o-2%20x/items"), (403, "no_relation".into()));
    assert!(
        index.recorder.requests().last().is_some_and(|asked| asked.target() == "/orders/o-2%20x/patient")
    );

    for body in [
        "",
        "{}",
        r#"{"patient":null}"#,
        r#"{"patient":""}"#,
        r#"{"patient":["p1"]}"#,
        r#"{"patient":"p2","patient":"p1"}"#,
    ] {
        index.answer(body);
        assert_eq!(read("/orders/o-3/items"), (403, "patient_unresolved".into()), "{body}");
    }
    let yes = r#"{"patient":"p1"}"#;
    for says in [
        Says::Answer(404, yes.into()),
        Says::Answer(403, yes.into()),
        Says::Answer(201, yes.into()),
        Says::Redirect,
        Says::Elsewhere(yes.into()),
    ] {
        index.say(says);
        assert_eq!(read("/orders/o-3/items"), (403, "patient_unresolved".into()));
    }
    assert_eq!(upstream.count(), 1);

    for says in [Says::Close, Says::Nothing, Says::Answer(500, yes.into())] {
        index.say(says);
        assert_eq!(read("/orders/o-1/items"), (503, "patient_unavailable".into()));
    }
    assert!(gateway.telemetry_page("/readyz").body.contains("patient `order.read`"));
    assert_eq!(upstream.count(), 1);
    index.answer(yes);
    eventually("it is asked again", Duration::from_secs(10), || read("/orders/o-1/items").0 == 200);
    let outage = |record: &serde_json::Value| {
        record["event"] == "access_outage" && record["kind"] == "patient" && record["service"] == "order.read"
    };
    eventually("its end is on record", Duration::from_secs(20), || {
        gateway.audit().iter().filter(|it| outage(it)).count() == 2
    });
    let records = gateway.audit();
    let words: Vec<&str> =
        records.iter().filter_map(|record| record["input"]["patient_lookup"].as_str()).collect();
    for word in ["found", "none", "unavailable"] {
        assert!(words.contains(&word), "{words:?}");
    }
    let said = gateway.logs().join("\n");
    assert!(!said.contains("o-1") && !said.contains("s3cret-of-the-gateway"), "{said}");
}

#[test]
fn an_answer_is_remembered_for_its_order_alone() {
    let (index, upstream, signer) = (StandIn::start(), Recorder::start(), Signer::new());
    let gateway = setup(&upstream, &signer, "", &routes(&index, ", cache: 30s")).start();
    let patient = bearer(&signer, "u1", &[], "aal1");
    let read = |target: &str| ask(&gateway, &patient, "GET", target).0;
    // Nobody who is refused anyway is looked up for.
    assert_eq!(ask(&gateway, "Bearer x", "GET", "/orders/o-1/items").0, 401);
    assert_eq!(index.recorder.count(), 0);
    index.answer(r#"{"patient":null}"#);
    assert_eq!((read("/orders/o-1/items"), read("/orders/o-1/items")), (403, 403));
    assert_eq!(index.recorder.count(), 2, "that there is nobody is not remembered");
    index.answer(r#"{"patient":"p1"}"#);
    assert_eq!((read("/orders/o-1/items"), read("/orders/o-1/other")), (200, 200));
    assert_eq!(index.recorder.count(), 3);
    index.answer(r#"{"patient":"p2"}"#);
    assert_eq!((read("/orders/o-1/items"), read("/orders/o-2/items")), (200, 403));
    assert_eq!((index.recorder.count(), upstream.count()), (4, 3));
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn equal_questions_at_once_are_one_call_where_answers_are_remembered() {
    for (cache, calls) in [(", cache: 30s", 2), ("", 9)] {
        let (index, upstream, signer) = (StandIn::start(), Recorder::start(), Signer::new());
        let routes = routes(&index, cache).replace("500ms", "5s");
        let gateway = setup(&upstream, &signer, "", &routes).start();
        let token = bearer(&signer, "u1", &[], "aal1");
        let may = Arc::new(AtomicBool::new(false));
        index.say(Says::Late(Arc::clone(&may), r#"{"patient":"p1"}"#.into()));
        let read = |target: &str| {
            let headers = [("Authorization", &*token), ("Host", "portal.example")];
            http::send(gateway.address, "GET", target, &headers, b"").expect("an answer").status
        };
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..9)
                .map(|at| {
                    scope.spawn(move || read(if at == 0 { "/orders/o-2/items" } else { "/orders/o-1/items" }))
                })
                .collect();
            eventually("all wait", LONG, || {
                gateway.metric("wardgate_requests_in_flight") == 9.0 && index.recorder.count() == calls
            });
            may.store(true, Ordering::Release);
            asking.into_iter().map(|thread| thread.join().expect("ended")).collect()
        });
        assert_eq!(statuses, [200; 9]);
        assert_eq!((index.recorder.count(), upstream.count()), (calls, 9), "{cache}");
        let told = |result: &str| {
            gateway.metric(&format!(
                r#"wardgate_access_questions_total{{kind="patient",result="{result}",service="order.read"}}"#
            ))
        };
        assert_eq!((told("found"), told("joined")), (calls as f64, 9.0 - calls as f64));
    }
}
