//! What a browser says of a request: whether a person went there, and whose page it comes from.
//!
//! Fetch metadata (`Sec-Fetch-*`, W3C) where there is any: no page can forge it. Older browsers, and all browsers on
//! plain HTTP, send none; then `Origin` tells for requests that change something, and `Accept` whether a page is wanted.

use http::{HeaderMap, Method, header};

/// What a browser says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// Whether a person went to this address, so that a page or a redirection is an answer.
    pub navigation: bool,
    /// Whether a person has sent a form off, so that a page is an answer, but no redirection that would lose the form.
    pub form: bool,
    /// Whose page asks.
    pub from: From,
}

/// Whose page a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// One of this very origin, or the person's own doing: an address typed in, a bookmark.
    Own,
    /// Another's.
    Other,
    /// Nobody says.
    Unknown,
}

impl Fetch {
    /// What a client says that is no browser.
    pub const NOTHING: Self = Self { navigation: false, form: false, from: From::Unknown };

    /// Reads the headers. `authority` is HTTP/2's (RFC 9113 §8.3.1); HTTP/1 has it in `Host`.
    pub fn read(method: &Method, headers: &HeaderMap, authority: Option<&str>) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            navigation: is_navigation(method, headers, text),
            form: is_form(method, text),
            from: from(headers, authority, text),
        }
    }
}

fn is_navigation<'h>(method: &Method, headers: &HeaderMap, text: impl Fn(&str) -> Option<&'h str>) -> bool {
    // What is redirected after any other method would lose its body, or be done twice.
    if *method != Method::GET || headers.contains_key(header::UPGRADE) {
        return false;
    }
    if let Some(mode) = text("sec-fetch-mode") {
        // A frame is no place to sign in at: the issuer refuses to be framed, as it should.
        return fills_a_tab(mode, text);
    }
    let by_script = headers.contains_key("x-requested-with") || headers.contains_key(header::ORIGIN);
    !by_script && text("accept").is_some_and(wants_page)
}

/// An older browser does not tell a form from a script's request; then nobody gets a page.
fn is_form<'h>(method: &Method, text: impl Fn(&str) -> Option<&'h str>) -> bool {
    *method == Method::POST && text("sec-fetch-mode").is_some_and(|mode| fills_a_tab(mode, text))
}

fn fills_a_tab<'h>(mode: &str, text: impl Fn(&str) -> Option<&'h str>) -> bool {
    mode == "navigate" && text("sec-fetch-dest").is_none_or(|dest| dest == "document")
}

/// Whether `text/html` is among what is accepted by name: `*/*` is what scripts and tools send.
fn wants_page(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let media = range.split(';').next().unwrap_or_default().trim();
        media.eq_ignore_ascii_case("text/html") || media.eq_ignore_ascii_case("application/xhtml+xml")
    })
}

fn from<'h>(
    headers: &'h HeaderMap,
    authority: Option<&'h str>,
    text: impl Fn(&str) -> Option<&'h str>,
) -> From {
    match text("sec-fetch-site") {
        Some("same-origin" | "none") => return From::Own,
        Some(_) => return From::Other,
        None => {}
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return From::Unknown;
    };
    let host = authority.or_else(|| text("host"));
    // The session's cookie is for pages that came by TLS, so their origin says so, whoever ends TLS. Who answers for this
    // host without it, on a ward's wireless network for instance, is somebody else.
    let same = origin.to_str().ok().zip(host).is_some_and(|(origin, host)| {
        let plain = || origin.strip_prefix("http://").filter(|named| is_this_machine(named));
        let named = origin.strip_prefix("https://").or_else(plain);
        named.is_some_and(|named| named.eq_ignore_ascii_case(host))
    });
    if same { From::Own } else { From::Other }
}

/// Browsers take this one name for their own machine's whatever the network says (Secure Contexts §3.1), and keep `Secure`
/// cookies for it without TLS. They send no fetch metadata with its WebSockets.
fn is_this_machine(host: &str) -> bool {
    host.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case("localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(method: &Method, headers: &[(&'static str, &'static str)]) -> Fetch {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
            .collect();
        Fetch::read(method, &headers, None)
    }

    #[test]
    fn only_a_person_on_the_way_navigates() {
        let navigates = |headers: &[(&'static str, &'static str)]| read(&Method::GET, headers).navigation;
        assert!(navigates(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]));
        assert!(navigates(&[("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")]));
        for other in [
            &[][..],
            &[("accept", "*/*")],
            &[("accept", "application/json")],
            &[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")],
            &[("accept", "text/event-stream")],
            &[("accept", "text/html"), ("upgrade", "websocket")],
            &[("sec-fetch-mode", "cors"), ("accept", "text/html")],
            &[("sec-fetch-mode", "websocket")],
            &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), ("accept", "text/html")],
            &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
        ] {
            assert!(!navigates(other), "{other:?}");
        }
        let form = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("accept", "text/html")];
        let told = |method: &Method, headers: &[(&'static str, &'static str)]| {
            let fetch = read(method, headers);
            (fetch.navigation, fetch.form)
        };
        assert_eq!(told(&Method::POST, &form), (false, true));
        assert_eq!(told(&Method::GET, &form), (true, false));
        for other in [
            &[("accept", "text/html")][..],
            &[("sec-fetch-mode", "cors"), ("accept", "text/html")],
            &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
        ] {
            assert_eq!(told(&Method::POST, other), (false, false), "{other:?}");
        }
    }

    #[test]
    fn the_browser_says_whose_page_it_is() {
        let from = |headers: &[(&'static str, &'static str)]| read(&Method::POST, headers).from;
        let host = ("host", "Portal.example:8443");
        assert_eq!(from(&[host, ("sec-fetch-site", "same-origin")]), From::Own);
        assert_eq!(from(&[host, ("sec-fetch-site", "none")]), From::Own);
        assert_eq!(from(&[host, ("origin", "https://portal.example:8443")]), From::Own);
        assert_eq!(from(&[host]), From::Unknown);
        for other in [
            &[host, ("sec-fetch-site", "same-site")][..],
            &[host, ("sec-fetch-site", "cross-site")],
            &[host, ("sec-fetch-site", "")],
            // The browser's word counts, not that of a header which a proxy may have added.
            &[host, ("sec-fetch-site", "cross-site"), ("origin", "https://portal.example:8443")],
            &[host, ("origin", "null")],
            &[host, ("origin", "https://portal.example")],
            &[host, ("origin", "https://portal.example:8443.evil.example")],
            &[host, ("origin", "https://evil.example")],
            &[host, ("origin", "http://portal.example:8443")],
            &[("origin", "https://portal.example")],
        ] {
            assert_eq!(from(other), From::Other, "{other:?}");
        }
        // A demonstration on one's own machine, and names that only sound like it.
        let at = |host, origin| from(&[("host", host), ("origin", origin)]);
        assert_eq!(at("localhost:8081", "http://localhost:8081"), From::Own);
        assert_eq!(at("localhost:8081", "http://localhost:8082"), From::Other);
        assert_eq!(at("localhost.evil.example", "http://localhost.evil.example"), From::Other);
        assert_eq!(at("portal.example", "http://localhost"), From::Other);
    }
}
