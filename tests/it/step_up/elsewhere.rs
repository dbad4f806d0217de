//! Proof at another service: the reference one of `examples/step_up_service`, behind a real gateway.

use super::*;
use crate::session::{events, signed_in};
use crate::support::StepUpService;

/// A gateway whose people prove who they are at the issuer or at the service.
fn start_with(service: &StepUpService) -> (Gateway, Recorder) {
    let upstream = Recorder::start();
    let dir = service.dir().display();
    let ways = format!(
        r#"step_up:
  - {{ name: browser, type: oidc, label: At the clinic }}
  - {{ name: proofing, type: http, label: With my identity card, url: "http://{}", secret_file: {dir}/secret,
      keys_file: {dir}/key.jwks, grants: aal2, timeout: 1s }}
  - {{ name: api, type: rfc9470 }}
upstreams:"#,
        service.address
    );
    let text = text(Idp::shared(), &upstream, "desk").replacen("upstreams:", &ways, 1);
    let gateway = crate::session::running(&text);
    gateway.wait_until_proofs_count();
    (gateway, upstream)
}

/// The link of a way on a page.
fn way(page: &Answer, name: &str) -> String {
    let links = page.body.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(plain);
    let mark = format!("way={name}");
    let found =
        links.into_iter().find(|link| link.starts_with("/_wardgate/step-up?") && link.contains(&mark));
    found.unwrap_or_else(|| panic!("no way {name}: {page:?}"))
}

/// Sends a form, and takes the way of the service; where the browser is sent then.
fn begin(browser: &mut Browser, street: &str) -> Answer {
    let asked = send(browser, "POST", PROFILE, &[FORM], format!("street={street}").as_bytes());
    assert_eq!(asked.status, 401, "{asked:?}");
    let to = way(&asked, "proofing");
    browser.step(&portal(&to))
}

fn page_of(sent: &Answer) -> &str {
    assert!((300..400).contains(&sent.status), "{sent:?}");
    sent.header("location").expect("a page")
}

fn posts(upstream: &Recorder) -> usize {
    upstream.requests().iter().filter(|request| request.line.starts_with("POST ")).count()
}

fn asked_so_far(gateway: &Gateway) -> f64 {
    gateway.metric("wardgate_step_up_prompts_total{asker=\"http\",result=\"asked\"}")
}

#[test]
fn what_was_sent_goes_on_after_the_proof_and_once() {
    let service = StepUpService::start();
    let (gateway, upstream) = start_with(&service);
    let mut browser = signed_in(&gateway, "alice");
    let sent = begin(&mut browser, "1+Main+St");
    let page = page_of(&sent).to_owned();
    assert!(page.starts_with(&format!("http://{}/pages/", service.address)), "{page}");
    let shown = service.page(&page).body;
    assert!(shown.contains("Change your address"), "{shown}");
    // Back without an answer: the same code, and nothing done.
    let asked = send(&mut browser, "POST", PROFILE, &[FORM], b"street=other");
    let here = browser.step(&portal(&way(&asked, "proofing")));
    let waits = browser.step(&portal(&way(&asked, "proofing")));
    assert_eq!((waits.status, posts(&upstream)), (200, 0), "{waits:?}");
    let other = service.page(page_of(&here)).body;
    let code = other.split("<strong>").nth(1).and_then(|rest| rest.split('<').next()).expect("a code");
    assert!(waits.body.contains(code), "{code}: {}", waits.body);

    let come_back = service.press(&page, "yes");
    assert!(come_back.starts_with("https://portal.example/_wardgate/step-up?intent="), "{come_back}");
    let confirming = browser.go(&come_back).answer;
    assert!(confirming.body.contains("1 Main St"), "{confirming:?} {:?}", events(&gateway));
    assert_eq!(posts(&upstream), 0, "nothing is sent before it is confirmed");
    let done = confirm(&mut browser, &confirming);
    assert_eq!((done.status, posts(&upstream)), (200, 1), "{done:?}");
    assert_eq!(upstream.requests().last().expect("one").body, b"street=1+Main+St");
    assert_eq!((confirm(&mut browser, &confirming).status, posts(&upstream)), (409, 1));
    assert_eq!((browser.step(&come_back).status, posts(&upstream)), (409, 1));
    assert!(events(&gateway).contains(&("step_up".to_owned(), "ok".to_owned())));
    // The proof was for one action. The other prompt is still open, and its own.
    let again = send(&mut browser, "POST", PROFILE, &[FORM], b"street=third");
    assert_eq!((again.status, posts(&upstream)), (401, 1));
}

/// Who has a password asks, and sends the address of the service's page to the person: they prove truthfully that it is
/// they, in another browser than the one that goes on.
#[test]
fn a_proof_counts_where_it_was_given() {
    let service = StepUpService::start();
    let (gateway, upstream) = start_with(&service);
    let mut thief = signed_in(&gateway, "alice");
    let asked = send(&mut thief, "POST", PROFILE, &[FORM], b"street=1");
    let here = portal(&way(&asked, "proofing"));
    let page = page_of(&thief.step(&here)).to_owned();
    let come_back = service.press(&page, "yes");
    for address in [here.clone(), format!("{here}&returned="), format!("{here}&returned={}", "A".repeat(43))]
    {
        let waits = thief.go(&address).answer;
        assert!(waits.status == 200 && !waits.body.contains("method=\"post\""), "{waits:?}");
    }
    // Nor does it help the one who is sent there.
    let mut other = signed_in(&gateway, "alice");
    assert_eq!(other.go(&come_back).answer.status, 403);
    assert_eq!((thief.step(&portal(PAY)).status, posts(&upstream)), (401, 0));
    // The browser that comes back is the one.
    let confirming = thief.go(&come_back).answer;
    assert_eq!((confirm(&mut thief, &confirming).status, posts(&upstream)), (200, 1));
}

#[test]
fn who_says_no_has_done_nothing() {
    let service = StepUpService::start();
    let (gateway, upstream) = start_with(&service);
    let mut browser = signed_in(&gateway, "alice");
    let page = page_of(&begin(&mut browser, "x")).to_owned();
    let come_back = service.press(&page, "no");
    let refused = browser.go(&come_back).answer;
    assert_eq!((refused.status, posts(&upstream)), (403, 0), "{refused:?}");
    assert!(
        events(&gateway).contains(&("step_up".to_owned(), "declined".to_owned())),
        "{:?}",
        events(&gateway)
    );
    // A new question at the same service, or another way.
    let next = browser.step(&portal(&way(&refused, "proofing")));
    assert_ne!(page_of(&next), page);
    let confirming = prove_at_issuer(&mut browser, &refused);
    assert_eq!((confirm(&mut browser, &confirming).status, posts(&upstream)), (200, 1));
}

/// Takes the issuer's way from a page.
fn prove_at_issuer(browser: &mut Browser, page: &Answer) -> Answer {
    std::thread::sleep(std::time::Duration::from_millis(1_050));
    browser.go(&portal(&way(page, "browser"))).answer
}

#[test]
fn who_does_not_answer_is_not_asked_for_ever() {
    let service = StepUpService::start();
    let (gateway, upstream) = start_with(&service);
    let mut browser = signed_in(&gateway, "alice");
    for street in ["1", "2", "3"] {
        page_of(&begin(&mut browser, street));
    }
    let stopped = begin(&mut browser, "4");
    assert_eq!((stopped.status, posts(&upstream)), (429, 0), "{stopped:?}");
    assert!((asked_so_far(&gateway) - 3.0).abs() < 0.5, "{}", asked_so_far(&gateway));
    assert!(events(&gateway).contains(&("step_up".to_owned(), "prompt_storm".to_owned())));
    // Somebody else is asked as ever, and the other way is open.
    let mut other = signed_in(&gateway, "bob");
    let theirs = send(&mut other, "POST", "/patients/p2/profile", &[FORM], b"street=x");
    if theirs.status == 401 {
        page_of(&other.step(&portal(&way(&theirs, "proofing"))));
    }
    let confirming = prove_at_issuer(&mut browser, &stopped);
    let done = confirm(&mut browser, &confirming);
    assert_eq!((done.status, posts(&upstream)), (200, 1), "{done:?}");
    assert_eq!(upstream.requests().last().expect("one").body, b"street=4");
}

#[test]
fn an_outage_is_told_and_the_other_way_is_open() {
    let mut service = StepUpService::start();
    let (gateway, upstream) = start_with(&service);
    let mut browser = signed_in(&gateway, "alice");
    service.stop();
    let down = begin(&mut browser, "x");
    assert_eq!((down.status, posts(&upstream)), (503, 0), "{down:?}");
    let told = gateway.telemetry_page("/readyz");
    assert_eq!(told.status, 200, "one way that is down keeps nobody from the rest: {told:?}");
    assert!(told.body.contains("step-up service"), "{told:?}");
    let confirming = prove_at_issuer(&mut browser, &down);
    assert_eq!((confirm(&mut browser, &confirming).status, posts(&upstream)), (200, 1));
    // When it is back it is asked again, without a restart.
    service.restart();
    page_of(&begin(&mut browser, "y"));
    assert!(!gateway.telemetry_page("/readyz").body.contains("step-up service"));
}

#[test]
fn nobody_else_s_proof_counts() {
    let service = StepUpService::start();
    let (gateway, upstream) = start_with(&service);
    let (mut alice, mut thief) = (signed_in(&gateway, "alice"), signed_in(&gateway, "bob"));
    let page = page_of(&begin(&mut alice, "x")).to_owned();
    let come_back = service.press(&page, "yes");
    // In another session the address is worth nothing.
    let stolen = thief.go(&come_back).answer;
    assert_eq!((stolen.status, posts(&upstream)), (403, 0), "{stolen:?}");
    let confirming = alice.go(&come_back).answer;
    assert_eq!((confirm(&mut alice, &confirming).status, posts(&upstream)), (200, 1));
}
