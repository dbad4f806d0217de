//! How a request presents a token (RFC 6750), with it the proof that it holds the token's key (RFC 9449 §7.1), or the
//! session that a browser holds.

use std::fmt;

use http::{HeaderMap, HeaderValue, header};

use super::cookies;
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
    /// One session of a browser.
    Session(SessionId),
    /// One token that is bound to a key, in the `DPoP` scheme.
    Dpop(Box<KeyBound>),
    /// Something that can't be used: two ways at once, a token in the query, an unknown scheme.
    Malformed(&'static str),
}

/// A token, and what stands in the `DPoP` header beside it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBound {
    /// The token.
    pub token: Token,
    /// The proof.
    pub proof: ShownProof,
}

/// What stands in the `DPoP` header.
#[derive(Clone, PartialEq, Eq)]
pub enum ShownProof {
    /// There is none.
    Missing,
    /// There are several (RFC 9449 §4.3 takes one only).
    Repeated,
    /// One proof, as it came.
    One(HeaderValue),
}

/// An access token as it came. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(HeaderValue);

impl Token {
    /// Wraps a token that did not come from a header, for tests and the command line.
    pub fn new(token: &str) -> Option<Self> {
        let (_, token) = from_value(&HeaderValue::from_str(&format!("Bearer {token}")).ok()?).ok()?;
        Some(token)
    }

    /// The token's exact bytes; always visible ASCII.
    pub fn as_str(&self) -> &str {
        let value = self.0.as_bytes();
        let scheme = memchr::memchr(b' ', value).unwrap_or(value.len());
        let token = value.get(scheme..).unwrap_or_default();
        std::str::from_utf8(token.trim_ascii_start()).unwrap_or_default()
    }
}

/// The opaque name of a browser's session, as its cookie has it: 256 bits in base64url. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// The length of such a name: 32 bytes without padding.
    pub const LENGTH: usize = 43;

    /// Reads a cookie's value; `None` where no gateway has made it.
    pub fn parse(value: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (value.len() == Self::LENGTH && value.bytes().all(fits)).then(|| Self(value.into()))
    }

    /// The name. Whoever knows it has the session.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionId(hidden)")
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
            Self::Session(_) => formatter.write_str("Session(hidden)"),
            Self::Dpop(_) => formatter.write_str("Dpop(hidden)"),
            Self::Malformed(why) => write!(formatter, "Malformed({why})"),
        }
    }
}

/// The header that proofs of possession stand in (RFC 9449 §4.1).
pub const PROOF_HEADER: &str = "dpop";

/// How a token is said to be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Bearer,
    Dpop,
}

impl Presented {
    /// Whether a token came in the `DPoP` scheme, whatever became of its proof.
    pub fn is_key_bound(&self) -> bool {
        matches!(self, Self::Dpop(_))
    }
}

/// Reads the token from `Authorization`, or the session from its cookie; a token in the query makes the request
/// malformed (RFC 6750 §2.3, §5.3), and so do a token and a session at once: which of the two would count?
pub fn presented(headers: &HeaderMap, target: &Target) -> Presented {
    if !target.query().is_empty() && target.query_names().any(|name| name == "access_token") {
        return Presented::Malformed("the token stands in the query, where logs would keep it");
    }
    let session = session(headers);
    match (headers.get(header::AUTHORIZATION).map(from_value), session) {
        (None, session) => session,
        (Some(_), Presented::Session(_)) => {
            Presented::Malformed("a token and a session are presented at once: which of the two would count?")
        }
        (Some(Err(why)), _) => Presented::Malformed(why),
        // A proof beside a bearer token says nothing: whether the token may come so is for the decision.
        (Some(Ok((Scheme::Bearer, token))), _) => Presented::Bearer(token),
        (Some(Ok((Scheme::Dpop, token))), _) => {
            Presented::Dpop(Box::new(KeyBound { token, proof: shown_proof(headers) }))
        }
    }
}

/// By what the browser of somebody is known who has not signed in; nothing where that is not one thing. Its cookie is set
/// for some minutes only, so it is seldom there.
pub fn anonymous(headers: &HeaderMap) -> Option<SessionId> {
    let mut values = cookies::values(headers, cookies::ANONYMOUS);
    let value = values.next()?;
    SessionId::parse(value).filter(|_| values.next().is_none())
}

/// The session of a request without a token. A value that no gateway has made is the same as none: another program on
/// this host may use the name.
fn session(headers: &HeaderMap) -> Presented {
    let mut values = cookies::values(headers, cookies::SESSION);
    let Some(value) = values.next() else {
        return Presented::Nothing;
    };
    if values.next().is_some() {
        return Presented::Malformed("the session's cookie came twice");
    }
    SessionId::parse(value).map_or(Presented::Nothing, Presented::Session)
}

fn shown_proof(headers: &HeaderMap) -> ShownProof {
    let mut values = headers.get_all(PROOF_HEADER).iter();
    match (values.next(), values.next()) {
        (None, _) => ShownProof::Missing,
        (Some(proof), None) => {
            let mut proof = proof.clone();
            proof.set_sensitive(true);
            ShownProof::One(proof)
        }
        (Some(_), Some(_)) => ShownProof::Repeated,
    }
}

fn from_value(value: &HeaderValue) -> Result<(Scheme, Token), &'static str> {
    let bytes = value.as_bytes();
    // The scheme is case-insensitive (RFC 9110 §11.1); the token is b64token (RFC 6750 §2.1), or token68.
    let begins = |scheme: &str| {
        bytes.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes()))
    };
    let (scheme, length) = match (begins("Bearer "), begins("DPoP ")) {
        (true, _) => (Scheme::Bearer, "Bearer ".len()),
        (_, true) => (Scheme::Dpop, "DPoP ".len()),
        _ => return Err("only the Bearer and DPoP schemes are accepted"),
    };
    let token = bytes.get(length..).unwrap_or_default().trim_ascii_start();
    if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !is_b64token(token) {
        return Err("the token is empty, too long or holds characters that no token has");
    }
    let mut value = value.clone();
    value.set_sensitive(true);
    Ok((scheme, Token(value)))
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
    fn a_session_is_one_cookie_and_never_beside_a_token() {
        let target = Target::parse(b"/").expect("target");
        let read = |pairs: &[(&'static str, String)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), HeaderValue::from_str(value).expect("value"))
            });
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, value);
            }
            presented(&headers, &target)
        };
        let id = "A".repeat(SessionId::LENGTH);
        let own = format!("{}={id}", cookies::SESSION);
        let Presented::Session(found) = read(&[("cookie", format!("a=b; {own}; c=d"))]) else { panic!() };
        assert_eq!(found.as_str(), id);
        assert!(!format!("{found:?} {:?}", Presented::Session(found.clone())).contains(&id));
        assert!(matches!(read(&[("cookie", format!("{own}; {own}"))]), Presented::Malformed(_)));
        assert!(matches!(read(&[("cookie", own.clone()), ("cookie", own.clone())]), Presented::Malformed(_)));
        for token in ["Bearer abc", "Basic abc"] {
            let both = read(&[("cookie", own.clone()), ("authorization", token.to_owned())]);
            assert!(matches!(both, Presented::Malformed(_)), "{token}");
        }
        for value in ["", "short", &format!("{id}A"), &format!("{}=", "A".repeat(42))] {
            assert_eq!(read(&[("cookie", format!("{}={value}", cookies::SESSION))]), Presented::Nothing);
        }
    }

    #[test]
    fn a_key_bound_token_comes_with_one_proof() {
        let target = Target::parse(b"/").expect("target");
        for (proofs, expected) in [
            (&[][..], ShownProof::Missing),
            (&["a.b.c"], ShownProof::One(HeaderValue::from_static("a.b.c"))),
            (&["a.b.c", "a.b.c"], ShownProof::Repeated),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static("dpop  a.b-c"));
            proofs.iter().for_each(|proof| {
                headers.append(PROOF_HEADER, HeaderValue::from_static(proof));
            });
            let Presented::Dpop(bound) = presented(&headers, &target) else { panic!("{proofs:?}") };
            assert_eq!(bound.token.as_str(), "a.b-c");
            assert!(bound.proof == expected, "{proofs:?}");
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer a.b-c"));
            assert!(matches!(presented(&headers, &target), Presented::Bearer(_)));
        }
    }

    #[test]
    fn everything_else_is_malformed() {
        for value in [
            "Bearer",
            "Bearer ",
            "DPoP",
            "DPoP ",
            "DPoPabc",
            "DPoP a b",
            "Basic abc",
            "Bearer a b",
            "Bearer a,b",
            "Bearer a\u{7f}",
        ] {
            let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) else {
                continue;
            };
            assert!(from_value(&value).is_err());
        }
        assert!(matches!(read("Bearer abc", "/x?access_token=abc"), Presented::Malformed(_)));
        assert!(matches!(read("Bearer abc", "/x?%61ccess_token=abc"), Presented::Malformed(_)));
    }
}
