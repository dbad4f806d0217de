//! A small browser: cookies by host, redirections, and what real ones say of each request. It runs no scripts.

use std::net::SocketAddr;

use crate::support::http::{self, Answer};

/// The host of the portal, as browsers know it.
pub const PORTAL: &str = "portal.example";
/// Another host of the same gateway.
pub const STAFF: &str = "staff.example";

/// A host that has nothing but the gateway's own pages.
pub const ACCESS: &str = "access.portal-pages.example";

/// What a person's click sends along.
pub const NAVIGATION: [(&str, &str); 3] =
    [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"), ("Accept", "text/html,*/*;q=0.8")];
/// What a page's script sends along.
pub const SCRIPT: [(&str, &str); 3] =
    [("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Dest", "empty"), ("Accept", "text/html,*/*")];

/// A browser.
#[derive(Clone)]
pub struct Browser {
    gateway: SocketAddr,
    /// Who signs in where an issuer asks.
    pub account: String,
    /// Host, name, value.
    pub cookies: Vec<(String, String, String)>,
}

/// Where a chain of redirections ended.
pub struct Arrived {
    pub url: String,
    pub answer: Answer,
    /// Every address on the way.
    pub way: Vec<String>,
}

impl Browser {
    pub fn new(gateway: SocketAddr, account: &str) -> Self {
        Self { gateway, account: account.to_owned(), cookies: Vec::new() }
    }

    /// The gateway is another process now.
    pub fn moved_to(&mut self, gateway: SocketAddr) {
        self.gateway = gateway;
    }

    /// One request; cookies are sent and kept.
    pub fn ask(&mut self, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let (host, target) = split(url);
        let address = if [PORTAL, STAFF, ACCESS].contains(&host) {
            self.gateway
        } else {
            host.parse().expect("an address")
        };
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .filter(|(of, ..)| *of == host)
            .map(|(_, name, value)| format!("{name}={value}"))
            .collect();
        let line = cookies.join("; ");
        let mut all = vec![("Host", host)];
        if !line.is_empty() {
            all.push(("Cookie", &line));
        }
        all.extend_from_slice(headers);
        let answer = http::send(address, method, target, &all, body).expect("an answer");
        for (_, line) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            self.keep(host, line);
        }
        answer
    }

    fn keep(&mut self, host: &str, line: &str) {
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a cookie");
        let attributes: Vec<String> = parts.map(str::to_ascii_lowercase).collect();
        let has = |wanted: &str| attributes.iter().any(|attribute| attribute == wanted);
        if name.starts_with("__Host-") {
            let is_whole =
                has("secure") && has("path=/") && !attributes.iter().any(|it| it.starts_with("domain"));
            assert!(is_whole, "no browser takes {line}");
            assert!(has("httponly") && has("samesite=lax"), "{line}");
        }
        self.cookies.retain(|(of, known, _)| of != host || known != name);
        let is_over =
            has("max-age=0") || attributes.iter().any(|it| it.starts_with("expires=thu, 01 jan 1970"));
        if !is_over && !value.is_empty() {
            self.cookies.push((host.to_owned(), name.to_owned(), value.to_owned()));
        }
    }

    /// Goes to an address, without following where it leads.
    pub fn step(&mut self, url: &str) -> Answer {
        self.ask("GET", url, &NAVIGATION, b"")
    }

    /// Goes to an address and wherever that leads.
    pub fn go(&mut self, url: &str) -> Arrived {
        let mut url = url.to_owned();
        let mut way = vec![url.clone()];
        for _ in 0..15 {
            let answer = self.step(&self.named(&url));
            let Some(next) = answer.header("location") else { return Arrived { url, answer, way } };
            url = join(&url, next);
            way.push(url.clone());
        }
        panic!("it goes round and round: {way:#?}");
    }

    /// Goes on until the gateway's callback is next, and gives its address.
    pub fn go_until_callback(&mut self, url: &str) -> String {
        let mut url = url.to_owned();
        for _ in 0..15 {
            if url.contains("/_wardgate/callback?") {
                return url;
            }
            let answer = self.step(&self.named(&url));
            let next = answer.header("location").unwrap_or_else(|| panic!("{url}: {answer:?}"));
            url = join(&url, next);
        }
        panic!("no callback");
    }

    /// Sends the issuer's form off by which it ends a sign-in of its own.
    pub fn confirm_at(&mut self, issuer: &str, page: &Answer) -> Answer {
        let mark = "name=\"xsrf\" value=\"";
        let start = page.body.find(mark).unwrap_or_else(|| panic!("no form: {}", page.body)) + mark.len();
        let xsrf = page.body[start..].split('"').next().expect("a value");
        let form = format!("xsrf={xsrf}&logout=yes");
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        self.ask("POST", &format!("{issuer}/session/end/confirm"), &kind, form.as_bytes())
    }

    /// The person tells the issuer who they are.
    fn named(&self, url: &str) -> String {
        if url.contains("/auth?") && !url.contains("login_hint=") {
            format!("{url}&login_hint={}", self.account)
        } else {
            url.to_owned()
        }
    }

    /// The value of a cookie of the portal's whose name begins so.
    pub fn cookie(&self, start: &str) -> Option<&str> {
        let mut found = self.cookies.iter().filter(|(of, name, _)| of == PORTAL && name.starts_with(start));
        found.next().map(|(_, _, value)| value.as_str())
    }

    /// The session's name.
    pub fn session(&self) -> Option<&str> {
        self.cookie("__Host-wardgate-session")
    }

    /// A script on the portal's own page asks.
    pub fn fetch(&mut self, method: &str, target: &str) -> Answer {
        let mut headers = SCRIPT.to_vec();
        headers.push(("Sec-Fetch-Site", "same-origin"));
        self.ask(method, &portal(target), &headers, b"")
    }
}

/// An address of the portal.
pub fn portal(target: &str) -> String {
    format!("https://{PORTAL}{target}")
}

fn split(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").expect("absolute").1;
    let at = rest.find('/').unwrap_or(rest.len());
    let (host, target) = rest.split_at(at);
    (host, if target.is_empty() { "/" } else { target })
}

fn join(base: &str, next: &str) -> String {
    let base = reqwest::Url::parse(base).expect("a base");
    base.join(next).expect("an address").to_string()
}
