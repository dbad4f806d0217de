//! The name by which a browser shows that it was recognised before, beside its session.

use http::HeaderMap;

use super::cookies;
use super::credentials::{Presented, SessionId};

/// What stands in a browser's cookie: 256 bits in base64url. `Debug` hides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceId(SessionId);

impl DeviceId {
    /// Reads it where somebody's session is shown: alone it says nothing. Of two nobody could tell which one counts.
    pub fn read(headers: &HeaderMap, presented: &Presented) -> Option<Self> {
        if !matches!(presented, Presented::Session(_)) {
            return None;
        }
        let mut values = cookies::values(headers, cookies::DEVICE);
        let only = values.next().filter(|_| values.next().is_none())?;
        SessionId::parse(only).map(Self)
    }

    /// The secret itself.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    #[test]
    fn it_counts_once_and_beside_a_session_only() {
        let id = "A".repeat(SessionId::LENGTH);
        let session = Presented::Session(SessionId::parse(&id).expect("a name"));
        let read = |line: &str, presented: &Presented| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::from_str(line).expect("a value"));
            DeviceId::read(&headers, presented)
        };
        let own = format!("{}={id}", cookies::DEVICE);
        let found = read(&format!("a=b; {own}"), &session).expect("one");
        assert!(found.as_str() == id && !format!("{found:?}").contains(&id));
        for (line, presented) in [
            (own.clone(), &Presented::Nothing),
            (own.clone(), &Presented::Malformed("twice")),
            (format!("{own}; {own}"), &session),
            (format!("{own}A"), &session),
            (format!("{}=", cookies::DEVICE), &session),
            ("a=b".to_owned(), &session),
        ] {
            assert_eq!(read(&line, presented), None, "{line}");
        }
    }
}
