//! How a request presents a token (RFC 6750).

use std::fmt;

use http::{HeaderMap, HeaderValue, header};

use super::target::Target;

/// Longer tokens are refused unread, so that hashing and parsing stay bounded.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What the request shows to say who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented {
    /// Nothing.
    Nothing,
    /// One bearer token.
    Bearer(Token),
    /// Something that can't be used: two ways at once, a token in the query, an unknown scheme.
    Malformed(&'static str),
}

/// A bearer token as it came. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(HeaderValue);

impl Token {
    /// Wraps a token that did not come from a header, for tests and the command line.
    pub fn new(token: &str) -> Option<Self> {
        let presented = from_value(&HeaderValue::from_str(&format!("Bearer {token}")).ok()?);
        if let Presented::Bearer(token) = presented { Some(token) } else { None }
    }

    /// The token's exact bytes; always visible ASCII.
    pub fn as_str(&self) -> &str {
        let token = self.0.as_bytes().get(SCHEME.len()..).unwrap_or_default();
        std::str::from_utf8(token.trim_ascii_start()).unwrap_or_default()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(hidden)")
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => formatter.write_str("Nothing"),
            Self::Bearer(_) => formatter.write_str("Bearer(hidden)"),
            Self::Malformed(why) => write!(formatter, "Malformed({why})"),
        }
    }
}

const SCHEME: &str = "Bearer ";

/// Reads the token from `Authorization`; a token in the query makes the request malformed (RFC 6750 §2.3, §5.3).
pub fn presented(headers: &HeaderMap, target: &Target) -> Presented {
    if !target.query().is_empty() && target.query_names().any(|name| name == "access_token") {
        return Presented::Malformed("the token stands in the query, where logs would keep it");
    }
    match headers.get(header::AUTHORIZATION) {
        None => Presented::Nothing,
        Some(value) => from_value(value),
    }
}

fn from_value(value: &HeaderValue) -> Presented {
    let bytes = value.as_bytes();
    // The scheme is case-insensitive (RFC 9110 §11.1); the token is b64token (RFC 6750 §2.1).
    let is_bearer =
        bytes.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME.as_bytes()));
    if !is_bearer {
        return Presented::Malformed("only the Bearer scheme is accepted");
    }
    let token = bytes.get(SCHEME.len()..).unwrap_or_default().trim_ascii_start();
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !is_b64token(token) {
        return Presented::Malformed("the token is empty, too long or holds characters that no token has");
    }
    let mut value = value.clone();
    value.set_sensitive(true);
    Presented::Bearer(Token(value))
}

/// Looks at every byte without a branch, so that many are looked at at a time: tokens are long.
fn is_b64token(token: &[u8]) -> bool {
    let wrong = |byte: u8| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        // `-`, `.`, `/` and the digits stand in a row.
        let digit_or_mark = byte.wrapping_sub(b'-') <= b'9' - b'-';
        let alone = (byte == b'_') | (byte == b'~') | (byte == b'+') | (byte == b'=');
        u8::from(!(letter | digit_or_mark | alone))
    };
    token.iter().fold(0, |found, byte| found | wrong(*byte)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &'static str, target: &str) -> Presented {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        presented(&headers, &Target::parse(target.as_bytes()).expect("target"))
    }

    #[test]
    fn the_scheme_is_case_insensitive_and_the_token_exact() {
        for value in ["Bearer a.b-c", "bearer a.b-c", "BEARER  a.b-c"] {
            let Presented::Bearer(token) = read(value, "/") else { panic!("{value}") };
            assert_eq!(token.as_str(), "a.b-c");
            assert!(!format!("{token:?}").contains("a.b-c"));
        }
    }

    #[test]
    fn everything_else_is_malformed() {
        for value in ["Bearer", "Bearer ", "Basic abc", "Bearer a b", "Bearer a,b", "Bearer a\u{7f}"] {
            let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else {
                continue;
            };
            assert!(matches!(from_value(&value), Presented::Malformed(_)));
        }
        assert!(matches!(read("Bearer abc", "/x?access_token=abc"), Presented::Malformed(_)));
        assert!(matches!(read("Bearer abc", "/x?%61ccess_token=abc"), Presented::Malformed(_)));
    }
}
