//! What `Content-Type` says of a body (RFC 9110 §8.3), and what a lenient server may make of it.

/// The media types whose content can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `application/json` and every `+json` type except JSON Patch, which is a list of operations.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// Every multipart type: some frameworks take `related` and `mixed` for forms too.
    Multipart,
    /// Anything else, or none named.
    Other,
}

/// The types of patches of JSON documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patch {
    /// A list of operations (RFC 6902).
    Json,
    /// A document whose members replace others (RFC 7396).
    Merge,
}

/// A `Content-Type`, read narrowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentType {
    /// What it is.
    pub media: Media,
    /// Whether its text is UTF-8: the header is well-formed and names no other character set.
    pub utf8: bool,
    /// Whether a framework may take it for a form or for JSON, though it is neither by the book.
    pub guessable: bool,
    /// Which patch of JSON it is.
    pub patch: Option<Patch>,
    /// Whether it is named, and nothing that a server could take for a document with fields: a picture, say.
    pub opaque: bool,
}

impl ContentType {
    /// Reads the header's value; `None` where there is no such header.
    pub fn read(value: Option<&[u8]>) -> Self {
        let Ok(text) = std::str::from_utf8(value.unwrap_or_default()) else {
            return Self { media: Media::Other, utf8: false, guessable: true, patch: None, opaque: false };
        };
        let lower = text.trim().to_ascii_lowercase();
        // Servers cut the type off at different characters.
        let at = lower.find(|letter: char| letter == ';' || letter == ',' || letter.is_whitespace());
        let (essence, rest) = lower.split_at(at.unwrap_or(lower.len()));
        let media = match essence {
            "application/json-patch+json" => Media::Other,
            "application/json" => Media::Json,
            "application/x-www-form-urlencoded" => Media::Form,
            other if other.starts_with("multipart/") => Media::Multipart,
            other if other.ends_with("+json") => Media::Json,
            _ => Media::Other,
        };
        let well_formed = parameters_say_utf8(rest);
        // Some servers look for the name anywhere in the header, or take the last type of a list.
        let names_form = lower.contains("x-www-form-urlencoded") || lower.contains("form-data");
        if names_form && !matches!(media, Media::Form | Media::Multipart) {
            return Self { media: Media::Form, utf8: false, guessable: true, patch: None, opaque: false };
        }
        let may_be_json = media == Media::Other
            && lower.contains("json")
            && !(essence == "application/json-patch+json" && well_formed);
        let patch = match essence {
            "application/json-patch+json" => Some(Patch::Json),
            "application/merge-patch+json" => Some(Patch::Merge),
            _ => None,
        };
        let guessable = essence.is_empty() || may_be_json;
        let may_hold_fields =
            ["json", "xml", "html", "turtle", "text/"].iter().any(|word| lower.contains(word));
        let opaque = media == Media::Other && well_formed && !guessable && !may_hold_fields;
        Self { media, utf8: well_formed, guessable, patch, opaque }
    }
}

/// Whether the parameters are well-formed, each there once, and name no character set but UTF-8.
fn parameters_say_utf8(mut rest: &str) -> bool {
    let mut seen: Vec<&str> = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return true;
        }
        let Some(parameter) = rest.strip_prefix(';') else {
            return false;
        };
        rest = parameter.trim_start();
        // A lone `;` is allowed (RFC 9110 §5.6.6).
        if rest.is_empty() || rest.starts_with(';') {
            continue;
        }
        let Some((name, value)) = rest.split_once('=') else {
            return false;
        };
        let Some((value, beyond)) = parameter_value(value) else {
            return false;
        };
        let is_token = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !is_token || seen.contains(&name) || (name == "charset" && value != "utf-8") {
            return false;
        }
        seen.push(name);
        rest = beyond;
    }
}

/// The value of a parameter of a `Content-Type` whose parameters are well-formed.
pub(super) fn parameter<'t>(content_type: &'t str, name: &str) -> Option<&'t str> {
    let (_, mut rest) = content_type.split_once(';')?;
    loop {
        let (key, value) = rest.trim_start_matches([';', ' ', '\t']).split_once('=')?;
        let (value, beyond) = parameter_value(value)?;
        if key.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = beyond.trim_start().strip_prefix(';')?;
    }
}

/// The value at the start of `text`, without its quotes, and what follows it.
fn parameter_value(text: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        // A quoted pair is left as it is: no name that matters has a backslash in it.
        let mut escaped = false;
        let end = quoted.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        return Some((quoted.get(..end)?, quoted.get(end + 1..)?));
    }
    let end = text.find(|letter: char| letter == ';' || letter.is_whitespace()).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    let plain =
        !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",\\".contains(&byte));
    if plain { Some((value, rest)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ContentType {
        ContentType::read(Some(text.as_bytes()))
    }

    #[test]
    fn media_types_are_read_narrowly() {
        assert_eq!(read("application/fhir+json; charset=UTF-8").media, Media::Json);
        assert_eq!(read("application/json-patch+json").media, Media::Other);
        assert_eq!(read("text/plain").media, Media::Other);
        assert_eq!(read("multipart/related; type=\"application/dicom\"; boundary=x").media, Media::Multipart);
        for text in [
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded x",
            "application/x-www-form-urlencoded, text/plain",
            "application/x-www-form-urlencoded\tx",
            "text/plain, application/x-www-form-urlencoded",
            "text/plain x-www-form-urlencoded",
            "application/json; x=\"multipart/form-data\"",
        ] {
            assert_eq!(read(text).media, Media::Form, "{text}");
        }
        assert_eq!(read("application/json x").media, Media::Json);
    }

    #[test]
    fn patches_and_opaque_content_are_told_by_name() {
        assert_eq!(read("application/json-patch+json").patch, Some(Patch::Json));
        assert_eq!(read("application/merge-patch+json; charset=utf-8").patch, Some(Patch::Merge));
        assert_eq!(read("application/fhir+json").patch, None);
        for text in ["application/pdf", "image/png", "application/dicom; transfer-syntax=*"] {
            assert!(read(text).opaque, "{text}");
        }
        for text in
            ["", "application/fhir+xml", "text/plain", "application/json", "image/svg+xml", "image/png x"]
        {
            assert!(!read(text).opaque, "{text}");
        }
    }

    #[test]
    fn the_character_set_is_utf8_or_unknown() {
        for text in [
            "application/json",
            "application/json; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json ; profile=\"a;b,c\" ; charset=utf-8",
            "application/json;",
            "application/json; ;charset=utf-8",
            "multipart/form-data; boundary=----=_Part_1",
        ] {
            assert!(read(text).utf8, "{text}");
        }
        for text in [
            "application/json; charset=utf-16",
            "application/json; charset=utf-7; v=utf-8",
            "application/json; charset=utf-8; charset=utf-7",
            "application/json; v=1; V=2",
            "application/json; charset",
            "application/json; charset=",
            "application/json; charset =utf-8",
            "application/json; charset=\"utf-8",
            "application/json; charset=\"utf-8\"x",
            "application/json; charset=utf-8, text/plain",
            "application/json, text/plain",
            "application/json x",
            "application/json; charset='utf-8'",
            "application/json; charset*=utf-7",
        ] {
            assert!(!read(text).utf8, "{text}");
        }
        assert!(!ContentType::read(Some(b"application/json; v=\xff")).utf8);
    }

    #[test]
    fn what_frameworks_guess() {
        for text in ["", "text/json", "application/x-json", "text/plain, application/json"] {
            assert!(read(text).guessable, "{text}");
        }
        assert!(ContentType::read(None).guessable && ContentType::read(Some(b"\xff")).guessable);
        for text in ["text/plain", "application/json", "application/json-patch+json", "application/dicom"] {
            assert!(!read(text).guessable, "{text}");
        }
    }
}
