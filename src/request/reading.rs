//! How an upstream reads the path of a request, where it reads it otherwise than RFC 3986 compared byte for byte.
//!
//! A reading never changes what is forwarded. It only says which path the upstream will see in the bytes, so that
//! the route is found from that path. What two servers of the *same* reading could still take differently is refused.

use std::borrow::Cow;

use super::Unreadable;

/// One upstream's way to read paths; the default is the strict one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct PathReading {
    /// Capitals make no difference (`path_case: insensitive`).
    pub ignores_case: bool,
    /// What follows a `;` in a segment is no part of the path (`allow: [path_params]`).
    pub drops_parameters: bool,
    /// Encoded bytes above 0x7f are ISO 8859-1 (`allow: [latin1]`).
    pub latin1: bool,
}

impl PathReading {
    /// Byte for byte, UTF-8, no parameters: how every upstream reads that is not said to read otherwise.
    pub const STRICT: Self = Self { ignores_case: false, drops_parameters: false, latin1: false };

    /// Brings a path, or a part of one, into the form in which this reading compares it.
    pub fn fold(self, path: Cow<'_, str>) -> Cow<'_, str> {
        if self.ignores_case && path.chars().any(char::is_uppercase) {
            // Character by character: as a whole, a string's last sigma would become another letter.
            Cow::Owned(path.chars().flat_map(char::to_lowercase).collect())
        } else {
            path
        }
    }

    /// Refuses what two servers that ignore case could take for two things: other names of one file, and letters of
    /// which they could make different ones (a dotless i is an `I` in capitals). Beyond ASCII only small letters pass
    /// that come back from capitals unchanged.
    pub(super) fn check_names(self, path: &str) -> Result<(), Unreadable> {
        if self.ignores_case && path.split('/').any(is_alias) {
            return Err(Unreadable::AmbiguousReading);
        }
        let stays = |letter: char| {
            letter.to_lowercase().eq([letter])
                && letter.to_uppercase().flat_map(char::to_lowercase).eq([letter])
        };
        if self.ignores_case && !path.chars().all(|letter| letter.is_ascii() || stays(letter)) {
            Err(Unreadable::FoldableCharacter)
        } else {
            Ok(())
        }
    }
}

/// Whether a file system that makes no difference of capitals may take a name for another one's: Windows drops dots and
/// spaces at the end, knows long names by short ones (`ADMINI~1`), and a file's content by `::$DATA`.
fn is_alias(segment: &str) -> bool {
    let short = |at: usize| segment.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit);
    segment.ends_with(['.', ' '])
        || segment.contains("::$")
        || segment.match_indices('~').any(|(at, _)| at > 0 && short(at))
}

/// Cuts each segment at its first `;` (the path parameters of RFC 3986 §3.3, as servlet containers take them).
///
/// The cut is made before percent-decoding, as there; an encoded `;` is refused in every reading.
pub(super) fn without_parameters(path: &str) -> String {
    let segments = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    let mut cut = String::with_capacity(path.len());
    for (position, segment) in segments.enumerate() {
        if position > 0 {
            cut.push('/');
        }
        cut.push_str(segment);
    }
    cut
}

/// Decodes ISO 8859-1, but nothing in which a server that tries UTF-8 first would find a character.
pub(super) fn latin1(bytes: &[u8]) -> Result<String, Unreadable> {
    let as_utf8 = String::from_utf8_lossy(bytes);
    if as_utf8.chars().any(|letter| !letter.is_ascii() && letter != char::REPLACEMENT_CHARACTER) {
        return Err(Unreadable::AmbiguousReading);
    }
    Ok(bytes.iter().map(|byte| char::from(*byte)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_cut_segment_by_segment() {
        for (path, cut) in [
            ("/a;jsessionid=1/b;x;y=2", "/a/b"),
            ("/a/;x", "/a/"),
            ("/a/..;/b", "/a/../b"),
            ("/a/;/b", "/a//b"),
            ("/a", "/a"),
        ] {
            assert_eq!(without_parameters(path), cut, "{path}");
        }
    }

    #[test]
    fn latin1_is_never_also_utf8() {
        assert_eq!(latin1(b"/caf\xe9").as_deref(), Ok("/caf\u{e9}"));
        assert_eq!(latin1("/caf\u{e9}".as_bytes()), Err(Unreadable::AmbiguousReading));
        assert_eq!(latin1(b"/\xe9/\xc3\xa9"), Err(Unreadable::AmbiguousReading), "also where only a part is");
    }

    #[test]
    fn letters_that_change_with_their_capitals_are_refused() {
        let reading = PathReading { ignores_case: true, ..PathReading::STRICT };
        assert_eq!(reading.fold("/Admin/CAF\u{c9}".into()), "/admin/caf\u{e9}");
        assert_eq!(reading.check_names("/ADMIN/caf\u{e9}"), Ok(()));
        // Dotless i, Kelvin, sharp s, final sigma, dotted capital I, a capital.
        for letter in ["\u{131}", "\u{212a}", "\u{df}", "\u{3c2}", "\u{130}", "\u{c9}"] {
            assert_eq!(reading.check_names(letter), Err(Unreadable::FoldableCharacter), "{letter}");
            assert_eq!(PathReading::STRICT.check_names(letter), Ok(()));
        }
    }

    #[test]
    fn names_that_windows_takes_for_others_are_refused() {
        let reading = PathReading { ignores_case: true, ..PathReading::STRICT };
        for path in ["/admin./x", "/admin /x", "/x/admin...", "/ADMINI~1/x", "/x::$DATA", "/~a~2"] {
            assert_eq!(reading.check_names(path), Err(Unreadable::AmbiguousReading), "{path}");
            assert_eq!(PathReading::STRICT.check_names(path), Ok(()));
        }
        for path in ["/a.b/x", "/~anne", "/a b", "/urn::x", "/~1"] {
            assert_eq!(reading.check_names(path), Ok(()), "{path}");
        }
    }
}
