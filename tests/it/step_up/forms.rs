//! Forms and pages: whatever the body, it arrives as it was sent, once, and after the person has seen it.

use super::*;
use crate::session::{events, signed_in};
use crate::support::eventually;
use std::time::Duration;

#[test]
fn a_page_is_shown_after_the_proof() {
    let (gateway, upstream) = start(Idp::shared());
    let mut browser = signed_in(&gateway, "alice");
    let (before, old) = (upstream.count(), browser.session().expect("signed in").to_owned());
    let asked = browser.step(&portal(PAY));
    assert!(asked.body.contains("/_wardgate/step-up?intent="), "{asked:?}");
    assert_eq!(upstream.count(), before);
    let shown = prove(&mut browser, &asked);
    assert_eq!((shown.status, upstream.count()), (200, before + 1), "{:?} {shown:?}", events(&gateway));
    assert_eq!(upstream.requests().last().expect("one").target(), PAY);
    assert_ne!(browser.session(), Some(old.as_str()), "the session has another name");
    // It counts for what needs no proof of its own.
    assert_eq!(browser.step(&portal(PAY)).status, 200);
    assert!(events(&gateway).contains(&("step_up".to_owned(), "ok".to_owned())));
    // Who knew the old name gains nothing by it, once requests on their way have arrived.
    let mut thief = Browser::new(gateway.address, "alice");
    thief.cookies.push(("portal.example".into(), "__Host-wardgate-session".into(), old));
    eventually("the old name is worth nothing", Duration::from_secs(30), || {
        thief.fetch("GET", crate::session::RESULTS).status == 401
    });
}

#[test]
fn each_kind_of_body_arrives_as_it_was_sent() {
    let (gateway, upstream) = start(Idp::shared());
    let mut browser = signed_in(&gateway, "alice");
    let mut multipart = b"--b\r\nContent-Disposition: form-data; name=\"street\"\r\n\r\nMain St\r\n--b\r\n\
        Content-Disposition: form-data; name=\"proof\"; filename=\"a.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n"
        .to_vec();
    multipart.extend((0..=255_u8).cycle().take(70_000));
    multipart.extend_from_slice(b"\r\n--b--\r\n");
    for (kind, body, seen) in [
        (FORM.1, b"street=1+Main+St&city=%C3%81vila".to_vec(), "1 Main St"),
        ("multipart/form-data; boundary=b", multipart, "a.bin"),
        ("application/json", br#"{"street":"2 Main St","city":null}"#.to_vec(), "2 Main St"),
    ] {
        let headers = [
            ("Content-Type", kind),
            ("X-CSRF-Token", "of the page"),
            ("X-Wardgate-Decision", "forged"),
            ("If-None-Match", "*"),
        ];
        let asked = send(&mut browser, "POST", PROFILE, &headers, &body);
        let before = upstream.count();
        let page = prove(&mut browser, &asked);
        assert!(page.body.contains(seen), "{kind}: {}", page.body);
        assert_eq!(upstream.count(), before, "nothing is sent before it is confirmed");
        let done = confirm(&mut browser, &page);
        assert_eq!((done.status, upstream.count()), (200, before + 1), "{kind}: {done:?}");
        let requests = upstream.requests();
        let sent = requests.last().expect("one");
        assert_eq!((sent.target(), &sent.body), (PROFILE, &body), "{kind}");
        assert_eq!(
            (sent.values("content-type"), sent.values("x-csrf-token")),
            (vec![kind], vec!["of the page"])
        );
        assert_eq!(sent.values("origin"), ["https://portal.example"]);
        assert_eq!(sent.values("if-none-match"), ["*"], "what was asked is only that with all of it");
        assert!(!sent.values("x-wardgate-decision").contains(&"forged"));
        assert!(sent.values("cookie").iter().all(|line| !line.contains("wardgate")));
        // Double click, back button: told so, and nothing is sent.
        let again = confirm(&mut browser, &page);
        assert_eq!((again.status, upstream.count()), (409, before + 1), "{again:?}");
        let back = browser.step(&portal(&format!("/_wardgate/confirm?{}", name_of(&page))));
        assert_eq!((back.status, upstream.count()), (409, before + 1), "{back:?}");
    }
    let admitted = gateway.admitted_intents();
    assert_eq!(admitted, upstream.count(), "each has its record");
}

/// `intent=…`, as the page that asks names it.
fn name_of(page: &Answer) -> String {
    action(page).rsplit_once("wardgate-").expect("a name").1.to_owned()
}

#[test]
fn what_can_not_be_kept_is_said_to_be_lost() {
    let (gateway, upstream) = start(Idp::shared());
    let mut browser = signed_in(&gateway, "alice");
    let before = upstream.count();
    let large = vec![b'a'; 300 * 1024];
    // Where each action needs a proof of its own, nobody can give one for what can't be kept.
    let asked = send(&mut browser, "POST", PROFILE, &[FORM], &large);
    assert!(asked.status == 401 && !asked.body.contains("way="), "{asked:?}");
    let asked = send(&mut browser, "POST", PAY, &[FORM], &large);
    assert_eq!(asked.status, 401);
    assert!(asked.body.contains("fill it in again"), "{}", asked.body);
    // The proof is given all the same, and the person is back at a page of the portal's.
    let page = prove(&mut browser, &asked);
    assert_eq!((page.status, page.body.contains("<form")), (200, false), "{page:?}");
    assert!(upstream.requests()[before..].iter().all(|request| request.line.starts_with("GET ")));
}

#[test]
fn an_answer_that_is_lost_is_said_to_be_unknown() {
    let upstream = Recorder::behaving(std::sync::Arc::new(|request, stream| {
        use std::io::Write as _;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        !request.line.starts_with("POST ") && stream.write_all(answer).is_ok()
    }));
    let text = text(Idp::shared(), &upstream, "desk");
    let gateway = crate::session::running(&text);
    let mut browser = signed_in(&gateway, "alice");
    let asked = send(&mut browser, "POST", PROFILE, &[FORM], b"street=x");
    let page = prove(&mut browser, &asked);
    let posts = || upstream.requests().iter().filter(|request| request.line.starts_with("POST ")).count();
    let done = confirm(&mut browser, &page);
    assert_eq!((done.status, posts()), (502, 1), "{done:?}");
    assert!(done.body.contains("not certain"), "{}", done.body);
    assert_eq!((confirm(&mut browser, &page).status, posts()), (409, 1));
}
