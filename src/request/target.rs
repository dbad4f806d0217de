//! The request target: origin-form only, and only where every server would read the same path in it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization as _;

use super::Unreadable;
use super::names::is_near;

/// Deeper paths are refused: no real API has them and matching cost stays bounded.
pub const MAX_SEGMENTS: usize = 64;

/// A request target whose path has exactly one reading.
///
/// Holds the bytes as they came; [`Target::path`] is the decoded path that routes are matched against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    raw: Box<str>,
    path_length: usize,
    decoded: Option<Box<str>>,
}

impl Target {
    /// Reads a request target as it stood in the request line (path and query, RFC 9112 §3.2.1).
    ///
    /// # Errors
    /// The first reason why two servers could read different paths.
    pub fn parse(raw: &[u8]) -> Result<Self, Unreadable> {
        if raw.first() != Some(&b'/') {
            return Err(Unreadable::NotOriginForm);
        }
        let (path, query) = match raw.iter().position(|byte| *byte == b'?') {
            Some(at) => raw.split_at(at),
            None => (raw, &[][..]),
        };
        let encoded = check_path_bytes(path)?;
        check_query_bytes(query)?;
        // Both checks leave only ASCII, so this can't fail; the error keeps the function total.
        let text = std::str::from_utf8(raw).map_err(|_| Unreadable::NotUtf8)?;
        let path_text = text.get(..path.len()).ok_or(Unreadable::NotUtf8)?;
        let decoded = if encoded { Some(decode(path_text)?) } else { None };
        check_segments(decoded.as_deref().unwrap_or(path_text))?;
        Ok(Self { raw: text.into(), path_length: path.len(), decoded })
    }

    /// The target byte for byte as the client sent it.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The path, percent-decoded once.
    pub fn path(&self) -> &str {
        match &self.decoded {
            Some(decoded) => decoded,
            None => self.raw.get(..self.path_length).unwrap_or_default(),
        }
    }

    /// The path's segments: `/a/b/` gives `a`, `b` and an empty one.
    pub fn segments(&self) -> std::str::Split<'_, char> {
        self.path().get(1..).unwrap_or_default().split('/')
    }

    /// The query without its `?`, undecoded; empty where there is none.
    pub fn query(&self) -> &str {
        self.raw.get(self.path_length + 1..).unwrap_or_default()
    }

    /// The value of a query parameter that is present exactly once.
    ///
    /// `None` where it is absent and also where it is repeated: a repeated parameter has no one reading.
    pub fn query_once(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut values = self.query_pairs().filter(|(key, _)| key == name).map(|(_, value)| value);
        let first = values.next()?;
        if values.next().is_some() { None } else { Some(first) }
    }

    /// The value of a query parameter, where no server could find another or none under its name.
    ///
    /// `None` also where a name that is only [near](is_near) occurs, or a `;`, at which some servers split.
    pub fn query_alone(&self, name: &str) -> Option<Cow<'_, str>> {
        let other = |key: &str| key != name && is_near(key, name);
        if self.query().contains(';') || self.query_pairs().any(|(key, _)| other(&key)) {
            return None;
        }
        self.query_once(name)
    }

    /// The names in the query, split at `&` and, as some servers do, at `;`.
    pub fn query_names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let pieces = self.query().split(['&', ';']);
        pieces.flat_map(|piece| form_urlencoded::parse(piece.as_bytes())).map(|(name, _)| name)
    }

    /// The query's decoded names and values, in order.
    pub fn query_pairs(&self) -> form_urlencoded::Parse<'_> {
        form_urlencoded::parse(self.query().as_bytes())
    }
}

/// Checks each byte of the path; says whether anything in it is percent-encoded.
fn check_path_bytes(path: &[u8]) -> Result<bool, Unreadable> {
    let mut encoded = false;
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                encoded = true;
                let (value, tail) = hex_pair(rest).ok_or(Unreadable::BadPercentEncoding)?;
                rest = tail;
                check_encoded(value)?;
            }
            b'\\' => return Err(Unreadable::Backslash),
            b';' => return Err(Unreadable::PathParameter),
            b'#' => return Err(Unreadable::Fragment),
            0..=0x1f | 0x7f => return Err(Unreadable::ControlCharacter),
            byte if is_path_character(*byte) => {}
            _ => return Err(Unreadable::ForbiddenCharacter),
        }
    }
    Ok(encoded)
}

/// Which bytes may stand behind a `%`: none that a second reading would treat as syntax.
fn check_encoded(value: u8) -> Result<(), Unreadable> {
    match value {
        b'.' => Err(Unreadable::DotSegment),
        b'/' | b'\\' | b'?' | b'#' | b';' | b'%' => Err(Unreadable::EncodedDelimiter),
        0..=0x1f | 0x7f => Err(Unreadable::ControlCharacter),
        byte if is_unreserved(byte) => Err(Unreadable::EncodedUnreserved),
        _ => Ok(()),
    }
}

fn check_query_bytes(query: &[u8]) -> Result<(), Unreadable> {
    let mut rest = query;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => match hex_pair(rest) {
                Some((0, _)) => return Err(Unreadable::ControlCharacter),
                Some((_, tail)) => rest = tail,
                None => return Err(Unreadable::BadPercentEncoding),
            },
            b'#' => return Err(Unreadable::Fragment),
            b'\\' => return Err(Unreadable::Backslash),
            0..=0x1f | 0x7f => return Err(Unreadable::ControlCharacter),
            // RFC 3986 leaves `[`, `]` and `|` out of queries, but browsers and FHIR clients send them plainly.
            b'?' | b'[' | b']' | b'|' | b';' => {}
            byte if is_path_character(*byte) => {}
            _ => return Err(Unreadable::ForbiddenCharacter),
        }
    }
    Ok(())
}

fn decode(path: &str) -> Result<Box<str>, Unreadable> {
    let decoded = percent_decode_str(path).decode_utf8().map_err(|_| Unreadable::NotUtf8)?;
    if decoded.chars().any(char::is_control) {
        return Err(Unreadable::ControlCharacter);
    }
    // A server that folds U+FF0E into `.` or a ligature into letters would see another path.
    if !decoded.is_ascii() && !decoded.nfkc().eq(decoded.chars()) {
        return Err(Unreadable::FoldableCharacter);
    }
    Ok(decoded.into())
}

fn check_segments(path: &str) -> Result<(), Unreadable> {
    let mut segments = path.get(1..).unwrap_or_default().split('/').peekable();
    let mut count = 0usize;
    while let Some(segment) = segments.next() {
        count += 1;
        match segment {
            "." | ".." => return Err(Unreadable::DotSegment),
            "" if segments.peek().is_some() => return Err(Unreadable::EmptySegment),
            _ => {}
        }
    }
    if count > MAX_SEGMENTS { Err(Unreadable::TooManySegments) } else { Ok(()) }
}

fn hex_pair(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (high, rest) = bytes.split_first()?;
    let (low, rest) = rest.split_first()?;
    let value = char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?;
    Some((u8::try_from(value).ok()?, rest))
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 `pchar` without `;` and `%`, and the `/` between segments.
const fn is_path_character(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_keeps_every_byte() {
        for raw in ["/", "/a/b?x=1&y=%20", "/a/", "/caf%C3%A9", "/%24everything", "/a?b=c?d", "/a?code=x|y"] {
            let target = Target::parse(raw.as_bytes()).expect(raw);
            assert_eq!(target.raw(), raw);
        }
        assert_eq!(Target::parse(b"/%24everything").expect("one action").path(), "/$everything");
    }

    #[test]
    fn refuses_what_two_servers_could_read_differently() {
        use Unreadable::*;
        let cases: &[(&[u8], Unreadable)] = &[
            (b"admin", NotOriginForm),
            (b"", NotOriginForm),
            (b"*", NotOriginForm),
            (b"?x=1", NotOriginForm),
            (b"%20/x", NotOriginForm),
            (b"http://h/x", NotOriginForm),
            (b"//x", EmptySegment),
            (b"/a//b", EmptySegment),
            (b"/a/../b", DotSegment),
            (b"/a/.", DotSegment),
            (b"/a/..;/x", PathParameter),
            (b"/%2e%2e/x", DotSegment),
            (b"/a%2fb", EncodedDelimiter),
            (b"/a%5Cb", EncodedDelimiter),
            (b"/%252e%252e/x", EncodedDelimiter),
            (b"/1%23/x", EncodedDelimiter),
            (b"/%61dmin", EncodedUnreserved),
            (b"/a%", BadPercentEncoding),
            (b"/a%zz", BadPercentEncoding),
            (b"/a?b=%4", BadPercentEncoding),
            (b"/a\\b", Backslash),
            (b"/a;jsessionid=1", PathParameter),
            (b"/a#b", Fragment),
            (b"/a?b#c", Fragment),
            (b"/a%00.json", ControlCharacter),
            (b"/a%0d%0a", ControlCharacter),
            (b"/a?b=%00", ControlCharacter),
            (b"/%c2%85", ControlCharacter),
            (b"/a b", ForbiddenCharacter),
            ("/caf\u{e9}".as_bytes(), ForbiddenCharacter),
            (b"/%c0%ae", NotUtf8),
            (b"/%ff", NotUtf8),
            (b"/%ef%bc%8e", FoldableCharacter),
            (b"/e%cc%81", FoldableCharacter),
        ];
        for (raw, expected) in cases {
            assert_eq!(Target::parse(raw), Err(*expected), "{}", raw.escape_ascii());
        }
        let deep = "/a".repeat(MAX_SEGMENTS + 1);
        assert_eq!(Target::parse(deep.as_bytes()), Err(TooManySegments));
    }

    #[test]
    fn a_repeated_parameter_has_no_value() {
        let target = Target::parse(b"/a?p=1&q=2&%70=3").expect("readable");
        assert_eq!(target.query_once("p"), None);
        assert_eq!(target.query_once("q").as_deref(), Some("2"));
    }

    #[test]
    fn a_parameter_beside_one_that_some_server_takes_for_it_has_no_value() {
        let alone = |query: &str| {
            let target = Target::parse(format!("/a?{query}").as_bytes()).expect("readable");
            target.query_alone("patient").map(Cow::into_owned)
        };
        for query in ["patient=p1", "patients=p2&patient=p1", "patient=p1&x=patient", "%70atient=p1"] {
            assert_eq!(alone(query).as_deref(), Some("p1"), "{query}");
        }
        for query in [
            "patient=p1&Patient=p2",
            "patient=p1&+patient=p2",
            "patient=p1&patient[]=p2",
            "patient=p1&patient%5B%5D=p2",
            "patient=p1&patient:Patient=p2",
            "patient=p1&patient:missing=true",
            "patient=p1&patient.identifier=p2",
            "patient=p1&PAT%C4%B0ENT=p2&patient=p2",
            "x=1;patient=p2&patient=p1",
            "patient=p1;patient=p2",
            "Patient=p1",
            "patient[]=p1",
        ] {
            assert_eq!(alone(query), None, "{query}");
        }
    }
}
