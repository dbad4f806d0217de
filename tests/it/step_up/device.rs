//! Browsers that are recognised: after a step-up and not before, as one person's at one host, until it ends.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::session::browser::STAFF;
use crate::session::signed_in;
use crate::support::eventually;

const COOKIE: &str = "__Host-wardgate-device";
const KNOWN: &str = "/patients/p1/known";
const LETTERS: &str = "/patients/p1/letters";
const MORE_ROUTES: &str = r#"
  - { id: known, match: { path: "/patients/{patient}/known", methods: [GET] }, upstream: app, tier: low,
      patient: { from: path.patient }, deny: [{ when: "!device.recognised" }], any_of: [{ issuer: patients, patient: self }] }
  - { id: letters, match: { path: "/patients/{patient}/letters", methods: [GET] }, upstream: app, tier: low,
      patient: { from: path.patient }, refine: [{ when: "!device.recognised", tier: high }], any_of: [{ issuer: patients, patient: self }] }
"#;

/// A gateway that recognises browsers as `recognised` says.
fn recognising(recognised: &str) -> (Gateway, Recorder) {
    let upstream = Recorder::start();
    let text = text(Idp::shared(), &upstream, "desk")
        .replace(
            "origins: [https://portal.example]",
            "origins: [https://portal.example, https://staff.example]",
        )
        .replace("backchannel_logout: true\n", &format!("backchannel_logout: true\n{recognised}\n"))
        .replace("telemetry: {", "operators: { address: \"unix:$DIR/operators.sock\" }\ntelemetry: {");
    let gateway = crate::session::running(&format!("{text}{MORE_ROUTES}"));
    gateway.wait_until_proofs_count();
    (gateway, upstream)
}

const USUAL: &str = "      recognised_device: { after: aal2, for: 90d }";

/// Gives proof for some action; the name by which the browser is recognised, if any.
fn step_up(browser: &mut Browser) -> Option<String> {
    // Each time another one: a proof that was given and not used would let the same through.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let body = format!("street={}", NEXT.fetch_add(1, Ordering::Relaxed));
    let asked = send(browser, "POST", PROFILE, &[FORM], body.as_bytes());
    let page = prove(browser, &asked);
    assert!(page.body.contains("<form"), "{page:?}");
    browser.cookie(COOKIE).map(str::to_owned)
}

/// Somebody signs in, by a password alone, at a browser that shows this.
fn fresh(gateway: &Gateway, account: &str, host: &str, device: &[&str]) -> Browser {
    let mut browser = Browser::new(gateway.address, account);
    assert_eq!(browser.go(&format!("https://{host}/_wardgate/sign-in?to=%2F")).answer.status, 200);
    assert_eq!(browser.cookie(COOKIE), None, "signing in makes no browser known");
    browser.cookies.extend(device.iter().map(|id| (host.to_owned(), COOKIE.to_owned(), (*id).to_owned())));
    browser
}

fn ask(browser: &mut Browser, host: &str, target: &str) -> u16 {
    let mut headers = SCRIPT.to_vec();
    headers.push(("Sec-Fetch-Site", "same-origin"));
    browser.ask("GET", &format!("https://{host}{target}"), &headers, b"").status
}

const PORTAL: &str = "portal.example";

#[test]
fn a_browser_is_known_after_a_step_up_as_one_persons_at_one_host() {
    let (gateway, upstream) = recognising(USUAL);
    let mut alice = fresh(&gateway, "alice", PORTAL, &[]);
    assert_eq!(ask(&mut alice, PORTAL, KNOWN), 403);
    assert_eq!(ask(&mut alice, PORTAL, LETTERS), 401, "a rule raises what an unknown browser asks for");
    let first = step_up(&mut alice).expect("a name");
    assert_eq!(ask(&mut alice, PORTAL, KNOWN), 200);
    let id = step_up(&mut alice).expect("another name");
    assert_ne!(first, id, "each proof gives it another one");

    // Another day: she signs in by her password, and this browser is hers.
    let mut later = fresh(&gateway, "alice", PORTAL, &[&id]);
    assert_eq!((ask(&mut later, PORTAL, KNOWN), ask(&mut later, PORTAL, LETTERS)), (200, 200));
    let mut unknown = fresh(&gateway, "alice", PORTAL, &[]);
    assert_eq!((ask(&mut unknown, PORTAL, KNOWN), ask(&mut unknown, PORTAL, LETTERS)), (403, 401));

    let made_up = "A".repeat(43);
    for (what, account, host, shown) in [
        ("another person", "bob", PORTAL, vec![id.as_str()]),
        ("another host", "alice", STAFF, vec![id.as_str()]),
        ("twice", "alice", PORTAL, vec![id.as_str(), made_up.as_str()]),
        ("made up", "alice", PORTAL, vec![made_up.as_str()]),
    ] {
        let target = if account == "bob" { "/patients/p2/known" } else { KNOWN };
        assert_eq!(ask(&mut fresh(&gateway, account, host, &shown), host, target), 403, "{what}");
    }
    let mut nobody = Browser::new(gateway.address, "alice");
    nobody.cookies.push((PORTAL.to_owned(), COOKIE.to_owned(), id.clone()));
    assert_eq!(ask(&mut nobody, PORTAL, LETTERS), 401, "it is no session");

    let names = [first, id];
    let is_told = |text: &str| names.iter().any(|name| text.contains(name.as_str()));
    assert!(upstream.requests().iter().all(|it| it.headers.iter().all(|(_, value)| !is_told(value))));
    let records = gateway.audit();
    assert!(records.iter().all(|record| !is_told(&record.to_string())));
    for recognised in [true, false] {
        let says = |record: &&serde_json::Value| record["input"]["device_recognised"] == recognised;
        assert!(records.iter().any(|record| says(&record)), "{recognised}");
    }
    let silent = records.iter().filter(|record| record["action"] == "home");
    assert!(silent.into_iter().all(|record| record["input"].get("device_recognised").is_none()));
}

#[test]
fn a_proof_that_is_too_weak_makes_no_browser_known_and_neither_does_a_gateway_that_is_not_told_to() {
    let three = "      recognised_device: { after: aal3 }";
    let upstream = Recorder::start();
    let text = text(Idp::shared(), &upstream, "desk");
    let stricter = text
        .replace("issuers:\n", "assurance_levels: [aal1, aal2, aal3]\nissuers:\n")
        .replace("backchannel_logout: true\n", &format!("backchannel_logout: true\n{three}\n"));
    assert!(stricter.contains("after: aal3") && stricter.contains("assurance_levels"));
    for text in [stricter, text] {
        let gateway = crate::session::running(&text);
        gateway.wait_until_proofs_count();
        assert_eq!(step_up(&mut signed_in(&gateway, "alice")), None);
    }
}

#[test]
fn it_ends_with_its_time_and_with_whatever_ends_all_of_its_person() {
    let (gateway, _upstream) = recognising("      recognised_device: { after: aal2, for: 12s }");
    let mut alice = signed_in(&gateway, "alice");
    let id = step_up(&mut alice).expect("a name");
    let mut elsewhere = fresh(&gateway, "alice", PORTAL, &[&id]);
    assert_eq!(ask(&mut elsewhere, PORTAL, KNOWN), 200);
    eventually("its time is over", Duration::from_secs(30), || ask(&mut elsewhere, PORTAL, KNOWN) == 403);

    let id = step_up(&mut alice).expect("a name");
    assert_eq!(ask(&mut fresh(&gateway, "alice", PORTAL, &[&id]), PORTAL, KNOWN), 200);
    let revoked = Command::new(env!("CARGO_BIN_EXE_wardgate"))
        .args(["revoke", "--issuer", "patients", "--subject", "alice", "--socket"])
        .arg(gateway.dir.path().join("operators.sock"))
        .output()
        .expect("the program runs");
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    // Sessions from the same second have ended, too.
    std::thread::sleep(Duration::from_millis(1_100));
    let mut again = fresh(&gateway, "alice", PORTAL, &[&id]);
    assert_eq!(ask(&mut again, PORTAL, "/patients/p1/results/1"), 200, "a new session counts");
    assert_eq!(ask(&mut again, PORTAL, KNOWN), 403, "the browser of before does not");
    assert!(step_up(&mut again).is_some());
    assert_eq!(ask(&mut again, PORTAL, KNOWN), 200);
}
