//! What a body says, where a route's risk depends on it.

use http::{HeaderMap, header};
use serde_json::Value;

use super::framing::BodyLength;

/// Bodies above this size are not read for classification: 256 KiB.
pub const MAX_CLASSIFIED_BYTES: usize = 256 * 1024;

/// The media types whose content can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `application/json` and every `+json` type except JSON Patch, which is a list of operations.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `multipart/form-data`, and every multipart type but `related`.
    Multipart,
    /// Anything else, or none named.
    Other,
}

/// What the headers say of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyShape {
    /// How long it is.
    pub length: BodyLength,
    /// What it is.
    pub media: Media,
    /// Whether `Content-Encoding` hides it.
    pub encoded: bool,
    /// Whether its text is UTF-8, as far as the headers say.
    pub utf8: bool,
    /// Whether it names no type, so that a framework may take it for a form.
    pub untyped: bool,
}

impl BodyShape {
    /// Reads the shape from the headers.
    pub fn new(length: BodyLength, headers: &HeaderMap) -> Self {
        let content_type =
            headers.get(header::CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or_default());
        let encoded = headers
            .get(header::CONTENT_ENCODING)
            .is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
        Self {
            length,
            media: media(content_type),
            encoded,
            utf8: is_utf8(content_type),
            untyped: content_type.is_empty(),
        }
    }

    /// Whether the body may be collected and read at all.
    pub fn is_readable(&self) -> bool {
        let fits = match self.length {
            BodyLength::Known(bytes) => {
                usize::try_from(bytes).is_ok_and(|bytes| bytes <= MAX_CLASSIFIED_BYTES)
            }
            BodyLength::None | BodyLength::Chunked => true,
        };
        fits && !self.encoded && self.utf8 && matches!(self.media, Media::Json | Media::Form)
    }

    /// Whether a form field could tell the back end to act as another method.
    pub fn may_hide_method(&self) -> bool {
        match self.media {
            _ if self.length == BodyLength::None => false,
            Media::Form | Media::Multipart => true,
            Media::Other => self.untyped,
            Media::Json => false,
        }
    }
}

fn media(content_type: &str) -> Media {
    let lower = content_type.to_ascii_lowercase();
    // A list of types is malformed, and some servers take one of them.
    if lower.contains(',') && (lower.contains("x-www-form-urlencoded") || lower.contains("form-data")) {
        return Media::Form;
    }
    let essence = lower.split(';').next().unwrap_or_default().trim().to_owned();
    match essence.as_str() {
        "application/json-patch+json" => Media::Other,
        "application/json" => Media::Json,
        "application/x-www-form-urlencoded" => Media::Form,
        // Imaging and FHIR use `related`, which no framework takes for a form.
        other if other.starts_with("multipart/") && other != "multipart/related" => Media::Multipart,
        other if other.ends_with("+json") => Media::Json,
        _ => Media::Other,
    }
}

/// Whether no other character set than UTF-8 is named.
fn is_utf8(content_type: &str) -> bool {
    let lower = content_type.to_ascii_lowercase();
    !lower.contains(',') && (!lower.contains("charset") || lower.contains("utf-8"))
}

/// A body that was read and has one meaning.
#[derive(Debug, Clone, PartialEq)]
pub enum BodyFacts {
    /// Parsed JSON.
    Json(Value),
    /// Decoded form fields, each name once.
    Form(Vec<(String, String)>),
}

impl BodyFacts {
    /// Reads the whole body.
    ///
    /// `None` where it has no one meaning: not of its type, a name twice, not UTF-8.
    pub fn read(media: Media, bytes: &[u8]) -> Option<Self> {
        match media {
            Media::Json => super::json::parse(bytes).ok().map(Self::Json),
            Media::Form => {
                let text = std::str::from_utf8(bytes).ok()?;
                let fields: Vec<(String, String)> =
                    form_urlencoded::parse(text.as_bytes()).into_owned().collect();
                let repeated = fields
                    .iter()
                    .enumerate()
                    .any(|(at, (name, _))| fields.iter().take(at).any(|(other, _)| other == name));
                if repeated { None } else { Some(Self::Form(fields)) }
            }
            Media::Multipart | Media::Other => None,
        }
    }

    /// The names of the top-level fields; `None` where the body is not an object or form, or has no fields.
    pub fn field_names(&self) -> Option<Vec<&str>> {
        let names: Vec<&str> = match self {
            Self::Json(Value::Object(map)) => map.keys().map(String::as_str).collect(),
            Self::Json(_) => return None,
            Self::Form(fields) => fields.iter().map(|(name, _)| name.as_str()).collect(),
        };
        if names.is_empty() { None } else { Some(names) }
    }

    /// A field's text: a string, or a whole number in decimal. Dots step into nested objects (`patient.id`).
    pub fn field(&self, path: &str) -> Option<String> {
        match self {
            Self::Json(root) => {
                match path.split('.').try_fold(root, |value, step| value.as_object()?.get(step))? {
                    Value::String(text) => Some(text.clone()),
                    Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
                    _ => None,
                }
            }
            Self::Form(fields) => {
                fields.iter().find(|(name, _)| name == path).map(|(_, value)| value.clone())
            }
        }
    }
}

/// Whether a parameter of this name tells some framework to act as another method.
///
/// PHP reads `.method` and ` method` as `_method`, others cut a name at NUL or ignore its case.
pub fn names_method(name: &str) -> bool {
    let name = name.split('\0').next().unwrap_or_default().trim();
    let plain: String = name
        .chars()
        .map(|letter| if matches!(letter, '.' | ' ' | '[') { '_' } else { letter.to_ascii_lowercase() })
        .collect();
    plain == "_method" || plain.starts_with("_method_")
}

/// Whether a form body carries a field that [`names_method`], in whatever spelling a form parser would accept.
///
/// Multipart bodies are searched as bytes: a false alarm refuses an odd upload, a miss would let a method through.
pub fn hides_method(media: Media, bytes: &[u8]) -> bool {
    match media {
        Media::Form => form_urlencoded::parse(bytes).any(|(name, _)| names_method(&name)),
        Media::Multipart => {
            let lower = bytes.to_ascii_lowercase();
            [&b"_method"[..], b".method", b"%5fmethod", b"%2emethod", b"=3d_method", b"=5fmethod"]
                .iter()
                .any(|needle| lower.windows(needle.len()).any(|window| window == *needle))
        }
        Media::Other => hides_method(Media::Form, bytes) || hides_method(Media::Multipart, bytes),
        Media::Json => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_forms_are_read_once_or_not_at_all() {
        let json = BodyFacts::read(Media::Json, br#"{"patient":{"id":"p1"},"n":7}"#).expect("json");
        assert_eq!(json.field("patient.id").as_deref(), Some("p1"));
        assert_eq!(json.field("n").as_deref(), Some("7"));
        assert_eq!(json.field("patient"), None);
        assert_eq!(BodyFacts::read(Media::Json, br#"{"a":1,"a":2}"#), None);
        assert_eq!(BodyFacts::read(Media::Form, b"a=1&%61=2"), None);
        assert_eq!(BodyFacts::read(Media::Json, b"{}").expect("json").field_names(), None);
        assert_eq!(BodyFacts::read(Media::Json, b"[]").expect("json").field_names(), None);
    }

    #[test]
    fn media_types_are_read_narrowly() {
        assert_eq!(media("application/fhir+json; charset=UTF-8"), Media::Json);
        assert!(!is_utf8("application/json; charset=utf-16") && is_utf8("application/json; charset=UTF-8"));
        assert_eq!(media("application/json-patch+json"), Media::Other);
        assert_eq!(media("text/plain"), Media::Other);
    }

    #[test]
    fn hidden_methods_are_found() {
        assert!(hides_method(Media::Form, b"a=1&_method=DELETE"));
        assert!(hides_method(Media::Form, b"%5fmethod=DELETE"));
        assert!(hides_method(
            Media::Multipart,
            b"--x\r\nContent-Disposition: form-data; Name=\"_method\"\r\n\r\nDELETE"
        ));
        for body in [&b"_METHOD=PUT"[..], b".method=PUT", b"_method%00=PUT", b"+method=PUT", b"_method[]=PUT"]
        {
            assert!(hides_method(Media::Form, body) == (body[0] != b'+'), "{}", body.escape_ascii());
        }
        assert!(!hides_method(Media::Form, b"method=DELETE"));
    }
}
