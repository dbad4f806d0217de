//! A proof that speaks of another account than the one that the request names, well signed as it may be.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use super::anonymous::{BODY, config, page_of, post, stranger, telling};
use super::*;
use crate::support::{StepUpService, free_address, http};

/// Who is said to have been proven to be there; nobody else than asked for, where nothing stands here.
type Said = Arc<Mutex<Option<(String, Vec<u8>)>>>;

/// The result with another subject, signed by the service's own key.
fn about(result: &str, subject: &str, key: &[u8]) -> String {
    let header = jsonwebtoken::decode_header(result).expect("a header");
    let mut claims = jsonwebtoken::dangerous::insecure_decode::<Value>(result).expect("a token").claims;
    claims["sub"] = json!(subject);
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_pem(key).expect("a key")).expect("signed")
}

/// A service that says of others that they were there.
fn careless() -> (Recorder, StepUpService, Said) {
    let (address, said) = (free_address(), Said::default());
    let saying = Arc::clone(&said);
    let between = Recorder::behaving(Arc::new(move |request, stream| {
        let mut words = request.line.split(' ');
        let (method, target) = (words.next().expect("a method"), words.next().expect("a target"));
        let kept = ["authorization", "idempotency-key"];
        let headers = request.headers.iter().filter(|(name, _)| kept.contains(&&*name.to_ascii_lowercase()));
        let headers: Vec<(&str, &str)> =
            headers.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = http::send(address, method, target, &headers, &request.body).expect("an answer");
        let mut body = answer.body;
        if let Some((subject, key)) = &*saying.lock().expect("lock")
            && let Ok(mut state) = serde_json::from_str::<Value>(&body)
            && let Some(result) = state["result"].as_str().map(str::to_owned)
        {
            state["result"] = json!(about(&result, subject, key));
            body = state.to_string();
        }
        let head = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n", answer.status, body.len());
        stream.write_all((head + &body).as_bytes()).is_ok()
    }));
    let service = StepUpService::behind(&format!("http://{}", between.address), address);
    (between, service, said)
}

#[test]
fn a_proof_of_another_account_is_none() {
    let (between, service, said) = careless();
    let upstream = telling();
    let own = format!("url: \"http://{}\"", service.address);
    let text = config(&service, &upstream).replace(&own, &format!("url: \"http://{}\"", between.address));
    let gateway = crate::session::running(&text);
    gateway.wait_until_proofs_count();
    let mut browser = stranger(&gateway);
    let key = |service: &StepUpService| std::fs::read(service.dir().join("key")).expect("a key");
    let own = key(&service);
    let stranger_key = key(&StepUpService::start());
    let asked = post(&mut browser, BODY);
    // Somebody else's digest, a name in clear, and the right one under a key that is not the service's.
    for (subject, key) in [("c29tZWJvZHkgZWxzZQ", &own), ("alice", &own), ("alice", &stranger_key)] {
        *said.lock().expect("lock") = Some((subject.to_owned(), key.clone()));
        let page = page_of(&mut browser, &asked);
        let refused = browser.go(&service.prove(&page, "alice")).answer;
        assert_eq!((refused.status, upstream.count()), (403, 0), "{subject}: {refused:?}");
    }
    let events = crate::session::events(&gateway);
    for result in ["other_subject", "token_bad_signature"] {
        assert!(events.contains(&("step_up".to_owned(), result.to_owned())), "{result}: {events:?}");
    }
    // It is asked again, and what is honest counts.
    *said.lock().expect("lock") = None;
    let mut browser = stranger(&gateway);
    let asked = post(&mut browser, BODY);
    let page = page_of(&mut browser, &asked);
    let confirming = browser.go(&service.prove(&page, "alice")).answer;
    assert_eq!((confirm(&mut browser, &confirming).status, upstream.count()), (200, 1));
}
