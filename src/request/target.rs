//! The request target: origin-form only, and only where every server would read the same path in it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use unicode_normalization::UnicodeNormalization as _;

use super::Unreadable;
use super::names::is_near;
use super::reading::{self, PathReading};

/// Deeper paths are refused: no real API has them and matching cost stays bounded.
pub const MAX_SEGMENTS: usize = 64;

/// A request target as it came, whose path at least one kind of upstream reads without doubt.
///
/// Holds the bytes as they came; [`Target::path_as`] is the path that an upstream with a given reading sees in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    raw: Box<str>,
    path_length: usize,
    /// The strict reading's path, where it differs from the bytes, or why there is none.
    strict: Result<Option<Box<str>>, Unreadable>,
}

impl Target {
    /// Reads a request target as it stood in the request line (path and query, RFC 9112 §3.2.1), strictly.
    ///
    /// # Errors
    /// The first reason why two servers could read different paths.
    pub fn parse(raw: &[u8]) -> Result<Self, Unreadable> {
        let target = Self::receive(raw)?;
        target.path_as(PathReading::STRICT)?;
        Ok(target)
    }

    /// Takes a request target that some reading may accept, if not the strict one. Which upstream it is for is found
    /// from the path, so it can't be known here how the path has to be read: the index asks, with
    /// [`Target::path_as`].
    ///
    /// # Errors
    /// The first reason why no reading accepts it.
    pub fn receive(raw: &[u8]) -> Result<Self, Unreadable> {
        if raw.first() != Some(&b'/') {
            return Err(Unreadable::NotOriginForm);
        }
        let (path, query) = match raw.iter().position(|byte| *byte == b'?') {
            Some(at) => raw.split_at(at),
            None => (raw, &[][..]),
        };
        let bytes = check_path_bytes(path)?;
        check_query_bytes(query).map_err(|why| bytes.fault(why))?;
        // Both checks leave only ASCII, so this can't fail; the error keeps the function total.
        let text = std::str::from_utf8(raw).map_err(|_| Unreadable::NotUtf8)?;
        let path_text = text.get(..path.len()).ok_or(Unreadable::NotUtf8)?;
        let strict = strict(path_text, bytes);
        match strict {
            // Another reading may have none of these two.
            Ok(_) | Err(Unreadable::PathParameter | Unreadable::NotUtf8) => {
                Ok(Self { raw: text.into(), path_length: path.len(), strict })
            }
            Err(why) => Err(why),
        }
    }

    /// The target byte for byte as the client sent it.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The path as an upstream with this reading sees it, percent-decoded once, its capitals as they came:
    /// [`PathReading::fold`] makes of it what is compared.
    ///
    /// # Errors
    /// Why two servers with this reading could see different paths.
    pub fn path_as(&self, reading: PathReading) -> Result<Cow<'_, str>, Unreadable> {
        let path = match &self.strict {
            Ok(Some(decoded)) if !reading.latin1 => Cow::Borrowed(decoded.as_ref()),
            Ok(None) => Cow::Borrowed(self.raw_path()),
            Err(Unreadable::PathParameter) if !reading.drops_parameters => {
                return Err(Unreadable::PathParameter);
            }
            Err(Unreadable::NotUtf8) if !reading.latin1 => return Err(Unreadable::NotUtf8),
            Ok(Some(_)) | Err(_) => Cow::Owned(relaxed(self.raw_path(), reading)?),
        };
        reading.check_names(&path)?;
        Ok(path)
    }

    fn raw_path(&self) -> &str {
        self.raw.get(..self.path_length).unwrap_or_default()
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

/// What stands in a path's bytes, none of which is refused in every reading.
#[derive(Clone, Copy)]
struct PathBytes {
    encoded: bool,
    has_parameters: bool,
}

impl PathBytes {
    /// The first fault of a path in which `why` was found: a parameter stood before it.
    fn fault(self, why: Unreadable) -> Unreadable {
        if self.has_parameters { Unreadable::PathParameter } else { why }
    }
}

/// Checks each byte of the path.
fn check_path_bytes(path: &[u8]) -> Result<PathBytes, Unreadable> {
    let mut found = PathBytes { encoded: false, has_parameters: false };
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        let why = match byte {
            b'%' => {
                found.encoded = true;
                match hex_pair(rest) {
                    Some((value, tail)) => {
                        rest = tail;
                        check_encoded(value).err()
                    }
                    None => Some(Unreadable::BadPercentEncoding),
                }
            }
            b'\\' => Some(Unreadable::Backslash),
            b';' => {
                found.has_parameters = true;
                None
            }
            b'#' => Some(Unreadable::Fragment),
            0..=0x1f | 0x7f => Some(Unreadable::ControlCharacter),
            byte if is_path_character(*byte) => None,
            _ => Some(Unreadable::ForbiddenCharacter),
        };
        if let Some(why) = why {
            return Err(found.fault(why));
        }
    }
    Ok(found)
}

/// The path in the strict reading, where that is not what stands there.
fn strict(path: &str, bytes: PathBytes) -> Result<Option<Box<str>>, Unreadable> {
    if bytes.has_parameters {
        return Err(Unreadable::PathParameter);
    }
    let decoded = if bytes.encoded { Some(decode(path, PathReading::STRICT)?) } else { None };
    check_segments(decoded.as_deref().unwrap_or(path))?;
    Ok(decoded.map(Into::into))
}

/// The path in another reading.
fn relaxed(path: &str, reading: PathReading) -> Result<String, Unreadable> {
    let cut;
    let path = if reading.drops_parameters {
        cut = reading::without_parameters(path);
        &cut
    } else {
        path
    };
    let decoded = decode(path, reading)?;
    check_segments(&decoded)?;
    Ok(decoded)
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

fn decode(path: &str, reading: PathReading) -> Result<String, Unreadable> {
    let bytes = percent_decode_str(path);
    let decoded = if reading.latin1 {
        reading::latin1(&Cow::from(bytes))?
    } else {
        bytes.decode_utf8().map_err(|_| Unreadable::NotUtf8)?.into_owned()
    };
    if decoded.chars().any(char::is_control) {
        return Err(Unreadable::ControlCharacter);
    }
    // A server that folds U+FF0E into `.` or a ligature into letters would see another path.
    if !decoded.is_ascii() && !decoded.nfkc().eq(decoded.chars()) {
        return Err(Unreadable::FoldableCharacter);
    }
    Ok(decoded)
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
mod tests;
