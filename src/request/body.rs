//! What a body says, where a route's risk depends on it.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::Value;

use super::framing::BodyLength;
use super::media::ContentType;
pub use super::media::{Media, Patch};
use super::names::{fold, in_pair, names_method};

/// Bodies above this size are not read for classification: 256 KiB.
pub const MAX_CLASSIFIED_BYTES: usize = 256 * 1024;

/// A form with more fields than this is not read: 1,000, where frameworks draw the line themselves.
const MAX_FIELDS: usize = 1000;

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
    /// Whether a framework may take it for a form or for JSON, though it names neither.
    pub guessable: bool,
    /// Which patch of JSON it is.
    pub patch: Option<Patch>,
    /// Whether it is nothing that a server could take for a document with fields.
    pub opaque: bool,
}

/// What says how a body is to be read, as it came: under another type or coding the same bytes are another request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadAs(Vec<(HeaderName, HeaderValue)>);

impl ReadAs {
    /// Takes it from the headers.
    pub fn new(headers: &HeaderMap) -> Self {
        let names = [header::CONTENT_TYPE, header::CONTENT_ENCODING];
        let all = |name: HeaderName| {
            headers.get_all(&name).into_iter().map(move |value| (name.clone(), value.clone()))
        };
        Self(names.into_iter().flat_map(all).collect())
    }

    /// Names and values, in order.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()])
    }
}

impl BodyShape {
    /// Reads the shape from the headers.
    pub fn new(length: BodyLength, headers: &HeaderMap) -> Self {
        let content_type = ContentType::read(headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes()));
        let encoded = headers
            .get(header::CONTENT_ENCODING)
            .is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
        let ContentType { media, utf8, guessable, patch, opaque } = content_type;
        Self { length, media, encoded, utf8, guessable, patch, opaque }
    }

    /// The shape of a JSON document that came within another.
    pub fn of_json(bytes: Option<usize>, patch: Option<Patch>) -> Self {
        let length = bytes
            .map_or(BodyLength::None, |bytes| BodyLength::Known(u64::try_from(bytes).unwrap_or(u64::MAX)));
        let media = if patch == Some(Patch::Json) { Media::Other } else { Media::Json };
        Self { length, media, encoded: false, utf8: true, guessable: false, patch, opaque: false }
    }

    /// Whether the body may be collected, up to `most` bytes, and read at all.
    pub fn is_readable(&self, most: usize) -> bool {
        let fits = match self.length {
            BodyLength::Known(bytes) => usize::try_from(bytes).is_ok_and(|bytes| bytes <= most),
            BodyLength::None | BodyLength::Chunked => true,
        };
        let has_reading = matches!(self.media, Media::Json | Media::Form) || self.patch.is_some();
        fits && !self.encoded && self.utf8 && has_reading
    }

    /// Whether the body may be collected to search it for fields, whatever else it is.
    pub fn is_searchable(&self) -> bool {
        let too_long = matches!(self.length, BodyLength::Known(bytes) if bytes > MAX_CLASSIFIED_BYTES as u64);
        self.utf8 && !self.encoded && !too_long
    }

    /// Whether some framework finds named fields in it, which it may take for parameters.
    pub fn may_hold_fields(&self) -> bool {
        self.length != BodyLength::None && (self.media != Media::Other || self.guessable)
    }

    /// Whether a field could tell the back end to act as another method.
    ///
    /// JSON is looked into only where it `is_read` anyway, and by `POST`: few frameworks take a method from it, and large
    /// documents are to be streamed (`docs/decisions/0007-hidden-methods.md`).
    pub fn may_hide_method(&self, method: &Method, is_read: bool) -> bool {
        self.may_hold_fields() && (self.media != Media::Json || (is_read && *method == Method::POST))
    }
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
    /// `None` where it has no one meaning: not of its type, a name twice (also in another letter case, which some
    /// servers ignore), not UTF-8, too many fields.
    pub fn read(media: Media, bytes: &[u8]) -> Option<Self> {
        match media {
            Media::Json => super::json::parse_one_meaning(bytes).ok().map(Self::Json),
            Media::Form => {
                let text = std::str::from_utf8(bytes).ok()?;
                let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
                let fields: Vec<(String, String)> = pairs.take(MAX_FIELDS + 1).collect();
                let mut names = HashSet::with_capacity(fields.len());
                let each_once = fields.iter().all(|(name, _)| names.insert(fold(name)));
                if each_once && fields.len() <= MAX_FIELDS { Some(Self::Form(fields)) } else { None }
            }
            Media::Multipart | Media::Other => None,
        }
    }

    /// Reads the form of a FHIR search, in which a name may stand several times (FHIR R4 §3.1.1.2).
    pub fn read_search(media: Media, bytes: &[u8]) -> Option<Self> {
        if media != Media::Form {
            return None;
        }
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains(';'))?;
        let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
        let fields: Vec<(String, String)> = pairs.take(MAX_FIELDS + 1).collect();
        if fields.len() <= MAX_FIELDS { Some(Self::Form(fields)) } else { None }
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

    /// Every name at the top level that some server may find in it.
    pub fn every_name(&self) -> Vec<&str> {
        match self {
            Self::Json(Value::Object(map)) => map.keys().map(String::as_str).collect(),
            Self::Json(_) => Vec::new(),
            Self::Form(fields) => fields.iter().flat_map(|(name, value)| in_pair(name, value)).collect(),
        }
    }

    /// Whether one of its fields tells some framework to act as another method.
    pub fn hides_method(&self) -> bool {
        self.every_name().into_iter().any(names_method)
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

/// What of a field that overrides the method stands in a body, whatever surrounds it: plain, percent-encoded,
/// quoted-printable; and the letters as JSON may escape them, their backslash taken away.
const METHOD_NEEDLES: &[&[u8]] = &[
    b"_method",
    b".method",
    b"[method",
    b"%5fmethod",
    b"%2emethod",
    b"%5bmethod",
    b"=3d_method",
    b"=5fmethod",
    b"=2emethod",
    b"=5bmethod",
    b"httpmethod",
    b"http-method",
    b"method-override",
];
const ESCAPED_NEEDLES: &[&[u8]] = &[b"u002", b"u004", b"u005", b"u006", b"u007"];

/// Whether a body that has no one meaning carries a field that [`names_method`], in whatever spelling a parser would
/// accept.
///
/// All but forms are searched as bytes: a false alarm refuses an odd upload, a miss would let a method through.
pub fn hides_method(media: Media, bytes: &[u8]) -> bool {
    let holds = |needles: &[&[u8]]| {
        // Quoted pairs in a part's name, and text in UTF-16, which some JSON parsers detect by themselves.
        let plain: Vec<u8> =
            bytes.iter().filter(|byte| !matches!(byte, b'\\' | 0)).map(u8::to_ascii_lowercase).collect();
        needles.iter().any(|needle| plain.windows(needle.len()).any(|window| window == *needle))
    };
    match media {
        Media::Form => {
            form_urlencoded::parse(bytes).any(|(name, value)| in_pair(&name, &value).any(names_method))
        }
        Media::Multipart => holds(METHOD_NEEDLES),
        Media::Json => holds(METHOD_NEEDLES) || holds(ESCAPED_NEEDLES),
        Media::Other => match BodyFacts::read(Media::Json, bytes) {
            Some(facts) => facts.hides_method(),
            None => hides_method(Media::Form, bytes) || hides_method(Media::Multipart, bytes),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(content_type: &str) -> BodyShape {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().expect("value"));
        BodyShape::new(BodyLength::Known(1), &headers)
    }

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
    fn names_that_differ_in_case_only_have_no_one_meaning() {
        for body in [
            r#"{"cents":1,"Cents":99999999}"#,
            r#"[{"deep":{"sex":1,"\u017fex":2}}]"#,
            "{\"key\":1,\"\u{212a}ey\":2}",
        ] {
            assert_eq!(BodyFacts::read(Media::Json, body.as_bytes()), None, "{body}");
        }
        for body in ["patient=p1&Patient=p2", "sex=1&%C5%BFex=2"] {
            assert_eq!(BodyFacts::read(Media::Form, body.as_bytes()), None, "{body}");
        }
        assert!(BodyFacts::read(Media::Json, br#"[{"a":1},{"A":2}]"#).is_some());
    }

    #[test]
    fn forms_have_a_limited_number_of_fields() {
        let form = |count: usize| (0..count).map(|at| format!("f{at}")).collect::<Vec<_>>().join("&");
        assert!(BodyFacts::read(Media::Form, form(MAX_FIELDS).as_bytes()).is_some());
        assert_eq!(BodyFacts::read(Media::Form, form(MAX_FIELDS + 1).as_bytes()), None);
    }

    #[test]
    fn bodies_that_may_hide_a_method() {
        for (content_type, may, may_by_put, may_unread) in [
            ("application/x-www-form-urlencoded", true, true, true),
            ("multipart/form-data; boundary=x", true, true, true),
            ("multipart/related; boundary=x", true, true, true),
            ("application/json", true, false, false),
            ("application/fhir+json", true, false, false),
            ("text/json", true, true, true),
            ("text/plain", false, false, false),
            ("application/dicom", false, false, false),
        ] {
            let shape = shape(content_type);
            assert_eq!(shape.may_hide_method(&Method::POST, true), may, "{content_type}");
            assert_eq!(shape.may_hide_method(&Method::PUT, true), may_by_put, "{content_type}");
            assert_eq!(shape.may_hide_method(&Method::POST, false), may_unread, "{content_type}");
        }
        assert!(!shape("application/x-www-form-urlencoded; charset=ibm037").is_searchable());
        assert!(!shape("application/x-www-form-urlencoded; charset=utf-8; charset=utf-7").is_searchable());
        assert!(shape("application/x-www-form-urlencoded; charset=utf-8").is_searchable());
    }

    #[test]
    fn hidden_methods_are_found() {
        for body in ["a=1&_method=DELETE", "%5fmethod=DELETE", "a=1;_method=DELETE", "_HttpMethod=PUT"] {
            assert!(hides_method(Media::Form, body.as_bytes()), "{body}");
        }
        for name in ["_method", "_\\method", "\\_\\m\\ethod", "[method", ".HttpMethod", "%5Bmethod"] {
            let part = format!("--x\r\nContent-Disposition: form-data; Name=\"{name}\"\r\n\r\nDELETE");
            assert!(hides_method(Media::Multipart, part.as_bytes()), "{part}");
        }
        for body in [&b"_METHOD=PUT"[..], b".method=PUT", b"_method%00=PUT", b"+method=PUT", b"_method[]=PUT"]
        {
            assert!(hides_method(Media::Form, body) == (body[0] != b'+'), "{}", body.escape_ascii());
        }
        assert!(!hides_method(Media::Form, b"method=DELETE"));
        let read = |body: &str| BodyFacts::read(Media::Json, body.as_bytes()).expect("json").hides_method();
        assert!(read(r#"{"_method":"DELETE"}"#) && read(r#"{"\u005fMETHOD":"DELETE"}"#));
        assert!(!read(r#"{"a":{"_method":"DELETE"}}"#) && !read(r#"["_method"]"#));
        // JSON that only a lenient parser takes.
        for body in [r#"{"_method":"DELETE",}"#, r#"{'\u005fmethod':1}"#, "{\0\"\0_\0m\0e\0t\0h\0o\0d\0"] {
            assert!(hides_method(Media::Json, body.as_bytes()), "{body}");
        }
        assert!(!hides_method(Media::Json, br#"{"a":1,"a":2}"#));
        assert!(hides_method(Media::Other, br#"{"_method":"DELETE"}"#));
        assert!(!hides_method(Media::Other, br#"{"a":"obj.method()"}"#));
    }
}
