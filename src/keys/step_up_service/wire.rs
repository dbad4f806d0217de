//! What is said to a service and by it (`docs/step-up-service.yaml`), and what is kept of a prompt.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use serde_json::{Map, Value, json};

use crate::enforce::prompts::Ask;
use crate::request::json as strict;

/// Between two looks, where the service says nothing.
const INTERVAL: u64 = 5;
/// The longest pause between two looks, in seconds.
const MOST_INTERVAL: u64 = 60;
/// The longest that a person may have, in seconds.
const MOST_LIFETIME: u64 = 3_600;
const MOST_ID: usize = 128;
const MOST_PAGE: usize = 2_048;

/// A question to a person.
pub struct Wanted {
    /// By which the result is known to be about this question.
    pub nonce: Box<str>,
    /// By which the service knows the question again, where it is sent a second time.
    pub key: Box<str>,
    pub body: String,
}

impl Wanted {
    /// `None` without randomness.
    pub fn new(ask: &Ask<'_>) -> Option<Self> {
        let (nonce, key) = (random()?, random()?);
        let body = json!({
            "person": { "issuer": ask.issuer, "subject": ask.subject },
            "label": ask.label,
            "code": ask.code,
            "language": ask.language,
            "acr_values": ask.acr_values,
            "come_back": ask.come_back,
            "nonce": nonce,
        });
        Some(Self { nonce, key, body: body.to_string() })
    }
}

/// The service's answer to a new prompt.
pub struct Acknowledged {
    pub id: Box<str>,
    pub interval: Duration,
    /// In seconds.
    pub lifetime: u64,
    /// As it was given.
    pub page: Option<Box<str>>,
}

impl Acknowledged {
    /// `None` where it is not what it should be.
    pub fn read(text: &[u8]) -> Option<Self> {
        let members = object(text)?;
        let id = members.get("id")?.as_str().filter(|id| is_sound(id))?.into();
        let lifetime = members.get("expires_in")?.as_u64()?;
        let page = match members.get("page") {
            None | Some(Value::Null) => None,
            Some(page) => Some(page.as_str()?.into()),
        };
        let interval = interval(&members)?.unwrap_or(Duration::from_secs(INTERVAL));
        (1..=MOST_LIFETIME).contains(&lifetime).then_some(Self { id, interval, lifetime, page })
    }
}

/// What has become of a prompt.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// The pause till the next look, where it is another one now.
    Waiting(Option<Duration>),
    /// The signed result, where there is one.
    Proven(Option<Box<str>>),
    Declined,
    Expired,
}

impl State {
    /// `None` where it is not what it should be.
    pub fn read(text: &[u8]) -> Option<Self> {
        let members = object(text)?;
        match members.get("state")?.as_str()? {
            "waiting" => Some(Self::Waiting(interval(&members)?)),
            "proven" => Some(Self::Proven(members.get("result").and_then(Value::as_str).map(Into::into))),
            "declined" => Some(Self::Declined),
            "expired" => Some(Self::Expired),
            _ => None,
        }
    }
}

/// A prompt as its caller keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// The service's name for it.
    pub id: Box<str>,
    /// Ours.
    pub nonce: Box<str>,
    /// When it was put, in Unix seconds.
    pub asked_at: i64,
    /// When it is over, in Unix seconds.
    pub expires_at: i64,
    /// The pause between two looks.
    pub interval: Duration,
}

impl Handle {
    /// As text.
    pub fn text(&self) -> Box<str> {
        let seconds = self.interval.as_secs();
        format!("{}.{}.{seconds}.{}.{}", self.asked_at, self.expires_at, self.nonce, self.id).into()
    }

    /// Reads such a text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (asked_at, expires_at) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let interval = Duration::from_secs(parts.next()?.parse::<u64>().ok()?.clamp(1, MOST_INTERVAL));
        let mut word = || parts.next().filter(|word| is_sound(word)).map(Into::into);
        let (nonce, id) = (word()?, word()?);
        parts.next().is_none().then_some(Self { id, nonce, asked_at, expires_at, interval })
    }
}

/// An address below another; each segment is one that [`is_sound`].
pub fn below(base: &Url, segments: &[&str]) -> Url {
    let mut address = base.clone();
    // Only addresses without a host have no segments.
    if let Ok(mut own) = address.path_segments_mut() {
        own.pop_if_empty().extend(segments);
    }
    address
}

/// An address that a browser may be sent to.
pub fn page(text: &str) -> Result<Box<str>, ()> {
    let url = Url::parse(text).map_err(|_| ())?;
    let is_here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let is_sound = text.len() <= MOST_PAGE
        && url.username().is_empty()
        && url.password().is_none()
        && (url.scheme() == "https" || (url.scheme() == "http" && is_here));
    // As it was understood: what browsers would read otherwise is gone.
    if is_sound { Ok(url.as_str().into()) } else { Err(()) }
}

fn object(text: &[u8]) -> Option<Map<String, Value>> {
    match strict::parse(text) {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    }
}

/// The outer `None` is a value that is not what it should be.
#[allow(clippy::option_option, reason = "what may be left out may also be wrong")]
fn interval(members: &Map<String, Value>) -> Option<Option<Duration>> {
    match members.get("interval") {
        None | Some(Value::Null) => Some(None),
        Some(value) => {
            let seconds = value.as_u64().filter(|seconds| *seconds > 0)?;
            Some(Some(Duration::from_secs(seconds.min(MOST_INTERVAL))))
        }
    }
}

/// Nothing that means anything in a path or in a handle.
fn is_sound(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MOST_ID).contains(&id.len()) && id.bytes().all(is_plain)
}

fn random() -> Option<Box<str>> {
    let mut bytes = [0_u8; 18];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_goes_through_its_text() {
        let handle = Handle {
            id: "p_1-a".into(),
            nonce: "n".into(),
            asked_at: 1_000,
            expires_at: 1_060,
            interval: Duration::from_secs(2),
        };
        assert_eq!(&*handle.text(), "1000.1060.2.n.p_1-a");
        assert_eq!(Handle::parse(&handle.text()), Some(handle));
        for text in ["", "1.2.3.n", "1.2.3..p", "1.2.3.n.p.q", "x.2.3.n.p", "1.2.-3.n.p", "1.2.3.n.p/q"] {
            assert_eq!(Handle::parse(text), None, "{text}");
        }
        let ids: std::collections::HashSet<_> = (0..100).filter_map(|_| random()).collect();
        assert!(ids.len() == 100 && ids.iter().all(|id| id.len() == 24 && is_sound(id)));
    }

    #[test]
    fn an_acknowledgement_is_what_the_contract_says() {
        let read = |text: &str| Acknowledged::read(text.as_bytes());
        let good = read(r#"{"id":"p-1","expires_in":60,"page":"https://a.test/"}"#).expect("read");
        assert_eq!((good.lifetime, good.interval), (60, Duration::from_secs(5)));
        assert_eq!(good.page.as_deref(), Some("https://a.test/"));
        let seldom = read(r#"{"id":"p-1","expires_in":60,"interval":900,"page":null}"#).expect("read");
        assert_eq!((seldom.interval, seldom.page), (Duration::from_secs(60), None));
        let long = "p".repeat(MOST_ID + 1);
        for text in [
            "{",
            "[]",
            r#"{"expires_in":60}"#,
            r#"{"id":"","expires_in":60}"#,
            r#"{"id":"../x","expires_in":60}"#,
            r#"{"id":"a?b","expires_in":60}"#,
            r#"{"id":7,"expires_in":60}"#,
            r#"{"id":"p"}"#,
            r#"{"id":"p","expires_in":0}"#,
            r#"{"id":"p","expires_in":3601}"#,
            r#"{"id":"p","expires_in":60,"interval":0}"#,
            r#"{"id":"p","expires_in":60,"page":7}"#,
            r#"{"id":"p","id":"q","expires_in":60}"#,
            &format!(r#"{{"id":"{long}","expires_in":60}}"#),
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_state_is_what_the_contract_says() {
        let read = |text: &str| State::read(text.as_bytes());
        assert_eq!(read(r#"{"state":"waiting"}"#), Some(State::Waiting(None)));
        let slower = State::Waiting(Some(Duration::from_secs(9)));
        assert_eq!(read(r#"{"state":"waiting","interval":9}"#), Some(slower));
        assert_eq!(read(r#"{"state":"proven","result":"h.p.s"}"#), Some(State::Proven(Some("h.p.s".into()))));
        assert_eq!(read(r#"{"state":"proven","result":7}"#), Some(State::Proven(None)));
        assert_eq!(read(r#"{"state":"declined"}"#), Some(State::Declined));
        assert_eq!(read(r#"{"state":"expired"}"#), Some(State::Expired));
        for text in ["", "{}", r#"{"state":"PROVEN"}"#, r#"{"state":"waiting","state":"proven"}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_page_is_one_that_nobody_listens_in_on() {
        for text in ["https://proof.test/p/1?x=%2F", "http://127.0.0.1:8080/p", "http://localhost/p"] {
            assert_eq!(page(text).as_deref(), Ok(text));
        }
        let long = format!("https://proof.test/{}", "p".repeat(MOST_PAGE));
        for text in [
            "",
            "/p/1",
            "http://proof.test/p",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://a:b@proof.test/",
            "https://127.0.0.1@proof.test/",
            &long,
        ] {
            assert_eq!(page(text), Err(()), "{text}");
        }
        assert_eq!(page("https://proof.test/a\r\nb").as_deref(), Ok("https://proof.test/ab"));
    }

    #[test]
    fn addresses_are_below_the_configured_one() {
        for (base, whole) in [
            ("https://proof.test", "https://proof.test/prompts/p-1"),
            ("https://proof.test/v1", "https://proof.test/v1/prompts/p-1"),
        ] {
            let base = Url::parse(base).expect("address");
            assert_eq!(below(&below(&base, &["prompts"]), &["p-1"]).as_str(), whole);
        }
    }
}
