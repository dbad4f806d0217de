//! What is said to the issuer and by it (OpenID Connect CIBA Core 1.0 §7 and §10), and what is kept of a question.

use std::time::Duration;

use serde_json::{Map, Value};

use super::message::{self, Form};
use crate::enforce::prompts::Ask;
use crate::request::json;

/// How long a person has, as we ask for it, in seconds.
const REQUESTED_EXPIRY: u64 = 120;
/// Longer than this nobody waits, whatever the issuer grants, in seconds.
const MOST_EXPIRY: u64 = 600;
/// Between two looks, where the issuer says nothing (§7.3).
const INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks at an issuer that sends word (ping): it may get lost, and people have a minute or two.
const SELDOM: Duration = Duration::from_secs(10);
/// The longest name that an issuer may give to a question.
const MOST_ID: usize = 1024;

/// A question to a person.
pub struct Wanted {
    subject: Box<str>,
    id_token: Option<Box<str>>,
    label: Box<str>,
    code: Box<str>,
    acr_values: String,
    notification_token: Option<Box<str>>,
}

impl Wanted {
    /// Keeps what is needed after the request is gone.
    pub fn new(ask: &Ask<'_>) -> Self {
        Self {
            subject: ask.subject.into(),
            id_token: ask.id_token.map(Into::into),
            label: ask.label.into(),
            code: ask.code.into(),
            acr_values: ask.acr_values.join(" "),
            notification_token: ask.notification_token.map(Into::into),
        }
    }

    /// Whether the issuer can be told by an ID token who is meant.
    pub const fn has_id_token(&self) -> bool {
        self.id_token.is_some()
    }

    /// Whether the issuer sends word when there is an answer.
    pub const fn is_told(&self) -> bool {
        self.notification_token.is_some()
    }

    /// The body of a request for authentication (§7.1); `None` where the phone could not show the code.
    pub fn form(&self, how: &How<'_>) -> Option<String> {
        let message = message::fill(how.template, &self.label, &self.code, how.form)?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("scope", how.scope);
        form.append_pair("binding_message", &message);
        form.append_pair("requested_expiry", &REQUESTED_EXPIRY.to_string());
        // Exactly one hint (§7.1).
        match self.id_token.as_deref().filter(|_| how.by_id_token) {
            Some(token) => form.append_pair("id_token_hint", token),
            None => form.append_pair("login_hint", &self.subject),
        };
        if !self.acr_values.is_empty() {
            form.append_pair("acr_values", &self.acr_values);
        }
        if how.takes_claims {
            form.append_pair("claims", &self.claims());
        }
        if let Some(token) = &self.notification_token {
            form.append_pair("client_notification_token", token);
        }
        Some(form.finish())
    }

    /// Some issuers say how and when somebody authenticated only where they are asked for these claims
    /// (OpenID Connect Core 1.0 §5.5).
    fn claims(&self) -> String {
        let mut acr = Map::from_iter([("essential".to_owned(), Value::Bool(true))]);
        if !self.acr_values.is_empty() {
            acr.insert("values".to_owned(), self.acr_values.split(' ').collect());
        }
        serde_json::json!({ "id_token": { "acr": acr, "amr": null, "auth_time": { "essential": true } } })
            .to_string()
    }
}

/// In which of its ways a question is put.
#[derive(Clone, Copy)]
pub struct How<'h> {
    /// What the phone shows, before it is filled.
    pub template: &'h str,
    /// What the issuer takes of that.
    pub form: Form,
    /// Names the person by the ID token and not by the subject.
    pub by_id_token: bool,
    /// Space-separated.
    pub scope: &'h str,
    /// Whether the issuer knows the parameter `claims`.
    pub takes_claims: bool,
}

/// A question as its caller keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// When it was put, in Unix seconds.
    pub asked_at: i64,
    /// When it is over, in Unix seconds.
    pub expires_at: i64,
    /// The issuer's pause between two looks.
    pub interval: Duration,
    /// The issuer's name for it.
    pub id: Box<str>,
}

impl Handle {
    /// Reads the issuer's acknowledgement (§7.3) of a question that was put at `now`, in Unix seconds. Of an issuer that
    /// sends word (`is_told`) the answer is looked for more seldom.
    pub fn acknowledged(text: &[u8], now: i64, is_told: bool) -> Option<Self> {
        let Ok(Value::Object(members)) = json::parse(text) else { return None };
        let id = members.get("auth_req_id")?.as_str().filter(|id| is_sound(id))?;
        let lifetime = seconds(members.get("expires_in")?)?.clamp(1, MOST_EXPIRY);
        let interval = match members.get("interval") {
            None | Some(Value::Null) => INTERVAL,
            Some(value) => Duration::from_secs(seconds(value)?.clamp(1, MOST_EXPIRY)),
        };
        let interval = if is_told { interval.max(SELDOM) } else { interval };
        let expires_at = now.saturating_add(i64::try_from(lifetime).ok()?);
        Some(Self { asked_at: now, expires_at, interval, id: id.into() })
    }

    /// As text.
    pub fn text(&self) -> Box<str> {
        format!("{}.{}.{}.{}", self.asked_at, self.expires_at, self.interval.as_secs(), self.id).into()
    }

    /// Reads such a text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, '.');
        let mut number = || parts.next()?.parse::<i64>().ok();
        let (asked_at, expires_at) = (number()?, number()?);
        let interval = Duration::from_secs(u64::try_from(number()?).ok()?.clamp(1, MOST_EXPIRY));
        let id = parts.next().filter(|id| is_sound(id))?;
        Some(Self { asked_at, expires_at, interval, id: id.into() })
    }

    /// How long the person has, from beginning to end.
    pub fn lifetime(&self) -> Duration {
        let seconds = u64::try_from(self.expires_at.saturating_sub(self.asked_at)).unwrap_or_default();
        Duration::from_secs(seconds.min(MOST_EXPIRY))
    }

    /// The body of a request for the answer (§10.1).
    pub fn form(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:openid:params:grant-type:ciba")
            .append_pair("auth_req_id", &self.id)
            .finish()
    }
}

/// The ID token of an answer (§10.1.1).
pub fn id_token(text: &[u8]) -> Option<Box<str>> {
    let Ok(Value::Object(members)) = json::parse(text) else { return None };
    members.get("id_token")?.as_str().map(Into::into)
}

fn is_sound(id: &str) -> bool {
    (1..=MOST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A positive number of seconds; some issuers quote it.
fn seconds(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    (seconds > 0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(id_token: Option<&str>) -> Wanted {
        Wanted::new(&Ask {
            issuer: "https://login.test",
            subject: "a&b",
            id_token,
            label: "Pay",
            code: "K742",
            acr_values: &["loa:2".into(), "loa:3".into()],
            language: "en",
            come_back: "",
            notification_token: None,
        })
    }

    const HOW: How<'_> = How {
        template: "{label} {code}",
        form: Form::Plain,
        by_id_token: true,
        scope: "openid",
        takes_claims: false,
    };

    #[test]
    fn there_is_exactly_one_hint() {
        let by_token = wanted(Some("h.p.s")).form(&HOW).expect("form");
        assert_eq!(
            by_token,
            "scope=openid&binding_message=Pay+K742&requested_expiry=120&id_token_hint=h.p.s&acr_values=loa%3A2+loa%3A3"
        );
        for form in [wanted(None).form(&HOW), wanted(Some("h.p.s")).form(&How { by_id_token: false, ..HOW })]
        {
            let form = form.expect("form");
            assert!(form.contains("&login_hint=a%26b&") && !form.contains("id_token_hint"), "{form}");
        }
    }

    #[test]
    fn claims_and_notifications_are_asked_for_where_that_was_said() {
        let how = How { takes_claims: true, ..HOW };
        let told = Wanted { notification_token: Some("n-1".into()), ..wanted(None) };
        let form = told.form(&how).expect("form");
        let pairs: Vec<_> = form_urlencoded::parse(form.as_bytes()).collect();
        let value = |name: &str| pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_ref());
        assert_eq!(value("client_notification_token"), Some("n-1"));
        let claims: Value = serde_json::from_str(value("claims").expect("claims")).expect("json");
        assert_eq!(claims["id_token"]["acr"]["values"], serde_json::json!(["loa:2", "loa:3"]));
        assert_eq!(claims["id_token"]["auth_time"]["essential"], true);
    }

    #[test]
    fn a_question_goes_through_its_text() {
        let read = |text: &str| Handle::acknowledged(text.as_bytes(), 1_000, false);
        let handle = read(r#"{"auth_req_id":"q.1_-","expires_in":60,"interval":2}"#).expect("read");
        assert_eq!((handle.expires_at, handle.interval), (1_060, Duration::from_secs(2)));
        assert_eq!(&*handle.text(), "1000.1060.2.q.1_-");
        assert_eq!(Handle::parse(&handle.text()), Some(handle));
        let told = Handle::acknowledged(br#"{"auth_req_id":"q","expires_in":60,"interval":2}"#, 1_000, true);
        assert_eq!(told.expect("read").interval, SELDOM);
        let short = read(r#"{"auth_req_id":"q","expires_in":"99999"}"#).expect("read");
        assert_eq!((short.expires_at, short.interval), (1_600, INTERVAL), "the default, and not for ever");
        for text in [
            "{",
            "[]",
            r#"{"expires_in":60}"#,
            r#"{"auth_req_id":"","expires_in":60}"#,
            r#"{"auth_req_id":"q 1","expires_in":60}"#,
            r#"{"auth_req_id":"q"}"#,
            r#"{"auth_req_id":"q","expires_in":0}"#,
            r#"{"auth_req_id":"q","expires_in":60,"interval":-1}"#,
            r#"{"auth_req_id":"q","auth_req_id":"r","expires_in":60}"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        for text in ["", "1.2.3", "1.2.3.", "x.2.3.q", "1.2.-3.q", "1.2.3.a b"] {
            assert_eq!(Handle::parse(text), None, "{text}");
        }
    }
}
