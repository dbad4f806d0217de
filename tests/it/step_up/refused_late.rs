//! What was confirmed and is then refused waits on: nothing was sent, and nothing has to be filled in again.

use std::time::Duration;

use super::once::posts;
use super::*;
use crate::session::signed_in;
use crate::support::eventually;

/// One request in a quarter of a minute, whoever asks.
const LIMIT: &str = "\nrate_limits:\n  - { name: slow, per: route, requests: 4, in: 1m, burst: 1, routes: [profile.update] }\n";

#[test]
fn who_was_refused_after_confirming_confirms_again() {
    let (idp, upstream) = (Idp::shared(), Recorder::start());
    let gateway = crate::session::running(&(text(idp, &upstream, "desk") + LIMIT));
    gateway.wait_until_proofs_count();
    let mut browser = signed_in(&gateway, "alice");
    let mut asked = None;
    eventually("the first gets through", Duration::from_secs(60), || {
        let answer = send(&mut browser, "POST", PROFILE, &[FORM], b"street=1");
        let is_asked = answer.status == 401;
        asked = Some(answer);
        is_asked
    });
    let page = prove(&mut browser, &asked.expect("a challenge"));
    // Somebody else takes what there is of the limit.
    eventually("the limit is reached", Duration::from_secs(60), || {
        browser.step(&portal(PROFILE)).status == 429
    });
    let refused = confirm(&mut browser, &page);
    assert_eq!((refused.status, posts(&upstream, "street=1")), (429, 0), "{refused:?}");
    // Twice, so that what was put back can be taken out and put back again.
    assert_eq!((confirm(&mut browser, &page).status, posts(&upstream, "street=1")), (429, 0));
    eventually("it goes on", Duration::from_secs(90), || {
        std::thread::sleep(Duration::from_millis(500));
        let answer = confirm(&mut browser, &page);
        let is_sent = answer.status == 200;
        assert!(is_sent || answer.status == 429, "{answer:?}");
        is_sent
    });
    assert_eq!(posts(&upstream, "street=1"), 1);
    let again = confirm(&mut browser, &page);
    assert_eq!((again.status, posts(&upstream, "street=1")), (409, 1), "{again:?}");
}
