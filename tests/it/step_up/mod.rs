//! Stronger proof at the risky action, at a real OpenID Provider: the person gives it, sees what will be done, and it is
//! done once.

mod anonymous;
mod anonymous_forged;
mod attacks;
mod attempts;
mod device;
mod elsewhere;
mod forms;
mod once;
pub mod pages_host;
mod phone;
mod ping;
mod refused_late;
mod scripts;
mod store_killed;
mod stored;
mod swaps;

use crate::session::browser::{Browser, NAVIGATION, SCRIPT, portal};
use crate::session::config;
use crate::support::http::Answer;
use crate::support::{Gateway, Idp, Recorder};

const ROUTES: &str = r#"
  - { id: profile.update, label: Change your address, match: { path: "/patients/{patient}/profile", methods: [GET, PUT, POST] },
      upstream: app, tier: critical, patient: { from: path.patient }, any_of: [{ issuer: patients, patient: self }] }
  - { id: mail.update, label: Change your mail address, match: { path: "/patients/{patient}/mail", methods: [POST] },
      upstream: app, tier: critical, patient: { from: path.patient }, any_of: [{ issuer: patients, patient: self }] }
"#;

pub const PAY: &str = "/patients/p1/payments";
pub const PROFILE: &str = "/patients/p1/profile";
pub const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
pub const OWN: [(&str, &str); 2] = [("Sec-Fetch-Site", "same-origin"), ("Origin", "https://portal.example")];

pub fn text(idp: &Idp, upstream: &Recorder, client: &str) -> String {
    text_before(idp, upstream.address, client)
}

/// The same before another application.
pub fn text_before(idp: &Idp, upstream: std::net::SocketAddr, client: &str) -> String {
    let text = config(&idp.issuer, client, "", upstream);
    let routes = text.find("routes:\n").expect("routes") + "routes:".len();
    let text = format!("{}{ROUTES}{}", &text[..routes], text[routes..].trim_start_matches('\n'));
    // Gateways that share a store have their files in the same places.
    text.replace("$DIR/secret", "secret")
}

pub fn start(idp: &Idp) -> (Gateway, Recorder) {
    let upstream = Recorder::start();
    let text = text(idp, &upstream, "desk");
    let gateway = crate::session::running(&text);
    gateway.wait_until_proofs_count();
    (gateway, upstream)
}

/// A person's own request from the portal's page.
pub fn send(
    browser: &mut Browser,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut all = NAVIGATION.to_vec();
    all.extend(OWN);
    all.extend_from_slice(headers);
    browser.ask(method, &portal(target), &all, body)
}

/// A script's request on the portal's page.
pub fn fetch(
    browser: &mut Browser,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut all = SCRIPT.to_vec();
    all.extend(OWN);
    all.extend_from_slice(headers);
    browser.ask(method, &portal(target), &all, body)
}

/// Text as it stands in an attribute of a page.
fn plain(attribute: &str) -> String {
    attribute.replace("&#38;", "&").replace("&amp;", "&").replace("&#34;", "\"").replace("&#39;", "'")
}

/// The first link on a page that begins so.
pub fn link(page: &Answer, start: &str) -> String {
    let mark = format!("href=\"{start}");
    let at = page.body.find(&mark).unwrap_or_else(|| panic!("no link to {start}: {}", page.body))
        + "href=\"".len();
    plain(page.body[at..].split('"').next().expect("a link"))
}

/// Where the form of a page leads.
pub fn action(page: &Answer) -> String {
    let mark = "method=\"post\" action=\"";
    let at = page.body.find(mark).unwrap_or_else(|| panic!("no form: {}", page.body)) + mark.len();
    plain(page.body[at..].split('"').next().expect("an action"))
}

/// Gives proof for what a page asks for; the page after it.
pub fn prove(browser: &mut Browser, page: &Answer) -> Answer {
    assert_eq!(page.status, 401, "{page:?}");
    // Nobody authenticates twice in one second; who does has done so once (`auth_time` is in seconds).
    std::thread::sleep(std::time::Duration::from_millis(1_050));
    let arrived = browser.go(&portal(&link(page, "/_wardgate/step-up?")));
    arrived.answer
}

/// Presses the button of the page that asks.
pub fn confirm(browser: &mut Browser, page: &Answer) -> Answer {
    assert_eq!(page.status, 200, "{page:?}");
    let to = action(page);
    send(browser, "POST", &to, &[FORM], b"")
}

/// The member of a script's challenge that leads to the step-up.
pub fn step_up_url(challenge: &Answer) -> String {
    assert_eq!(challenge.status, 401, "{challenge:?}");
    challenge.json()["step_up_url"].as_str().expect("a link").to_owned()
}
