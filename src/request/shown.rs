//! What a body holds, for a person to read before they confirm that it is to be sent.
//!
//! The list decides nothing: a body is forwarded as it came. But people believe what they read here, so a body that
//! some server may read in another way gives no list rather than a wrong one.

mod label;
mod multipart;
mod ordered;
mod plain;

use self::ordered::Ordered;
pub(super) use self::plain::is_invisible;
use self::plain::plain;
use super::media::{ContentType, Media};

/// More rows than this are counted and not shown: nobody reads them, and a page must stay a page.
pub const MAX_ROWS: usize = 30;

/// Longer texts are cut, in letters.
pub const MAX_LETTERS: usize = 300;

/// Larger JSON is not taken apart, in bytes: as a tree it needs many times its length.
const MAX_JSON_BYTES: usize = 1024 * 1024;

/// What lies deeper in JSON than this is counted and not shown: its name would say nothing to anybody.
const MAX_DEPTH: usize = 6;

/// One row of what is to be confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The field's name, made readable; empty where it has none.
    pub name: Box<str>,
    /// What it holds.
    pub value: ShownValue,
}

/// What a field holds, as far as it may be shown.
#[derive(Clone, PartialEq, Eq)]
pub enum ShownValue {
    /// A text on one line, in which nothing is invisible; may be empty.
    Text(Box<str>),
    /// A secret: it is there, and stays unread.
    Hidden,
    /// A file.
    File {
        /// Its name.
        name: Box<str>,
        /// How long it is.
        bytes: usize,
    },
    /// So many rows more, which are not shown.
    More(usize),
    /// All of a body that can't be read, or not in one way only.
    Unread,
}

/// What people fill in is no one's business in a log.
impl std::fmt::Debug for ShownValue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Text(_) => "Text(…)",
            Self::Hidden => "Hidden",
            Self::File { .. } => "File(…)",
            Self::More(_) => "More(…)",
            Self::Unread => "Unread",
        })
    }
}

/// What a body of this `Content-Type` holds; empty where it holds nothing.
pub fn shown(content_type: Option<&str>, body: &[u8]) -> Vec<Shown> {
    let kind = ContentType::read(content_type.map(str::as_bytes));
    if !kind.utf8 {
        return unread(body);
    }
    let mut rows = Rows::default();
    let read = match kind.media {
        Media::Form => {
            for (name, text) in form_urlencoded::parse(body) {
                rows.field(&name, || ShownValue::Text(plain(&text, MAX_LETTERS)));
            }
            Some(())
        }
        Media::Json if body.len() <= MAX_JSON_BYTES => {
            Ordered::read(body).map(|value| rows.json(&mut Vec::new(), &value))
        }
        Media::Multipart => multipart::parts(content_type.unwrap_or_default(), body).map(|parts| {
            for part in parts {
                rows.field(part.name, || match part.file {
                    // A browser sends this where no file was chosen.
                    Some("") if part.content.is_empty() => ShownValue::Text("".into()),
                    Some(file) => {
                        ShownValue::File { name: plain(file, MAX_LETTERS), bytes: part.content.len() }
                    }
                    None => ShownValue::Text(plain(&String::from_utf8_lossy(part.content), MAX_LETTERS)),
                });
            }
        }),
        Media::Json | Media::Other => None,
    };
    if read.is_some() { rows.finished() } else { unread(body) }
}

/// The list of a body that can't be shown: that it is there has to be said, as more may be listed beside it.
fn unread(body: &[u8]) -> Vec<Shown> {
    if body.is_empty() { Vec::new() } else { vec![Shown { name: "".into(), value: ShownValue::Unread }] }
}

#[derive(Default)]
struct Rows {
    list: Vec<Shown>,
    more: usize,
}

impl Rows {
    /// A field of a form.
    fn field(&mut self, name: &str, value: impl FnOnce() -> ShownValue) {
        if !label::is_noise(name) {
            self.add(&label::steps(name).collect::<Vec<_>>(), value);
        }
    }

    /// What lies at a place in JSON.
    fn json(&mut self, at: &mut Vec<String>, value: &Ordered) {
        match value {
            Ordered::Members(_) | Ordered::List(_) if value.len() > 0 && at.len() >= MAX_DEPTH => {
                self.more += value.len();
            }
            Ordered::Members(members) if !members.is_empty() => {
                for (name, value) in members {
                    if !(at.is_empty() && value.is_leaf() && label::is_noise(name)) {
                        self.json_below(at, name.to_string(), value);
                    }
                }
            }
            Ordered::List(items) if !items.is_empty() => {
                for (number, value) in items.iter().enumerate() {
                    self.json_below(at, (number + 1).to_string(), value);
                }
            }
            Ordered::Nothing | Ordered::Members(_) | Ordered::List(_) => {
                self.add(at, || ShownValue::Text("".into()));
            }
            Ordered::Text(text) | Ordered::Word(text) => {
                self.add(at, || ShownValue::Text(plain(text, MAX_LETTERS)));
            }
        }
    }

    fn json_below(&mut self, at: &mut Vec<String>, step: String, value: &Ordered) {
        at.push(step);
        self.json(at, value);
        at.pop();
    }

    fn add<S: AsRef<str>>(&mut self, steps: &[S], value: impl FnOnce() -> ShownValue) {
        if self.list.len() >= MAX_ROWS {
            self.more += 1;
            return;
        }
        let is_secret = steps.iter().any(|step| label::is_secret(step.as_ref()));
        let value = if is_secret { ShownValue::Hidden } else { value() };
        self.list.push(Shown { name: label::readable(steps), value });
    }

    fn finished(mut self) -> Vec<Shown> {
        if self.more > 0 {
            self.list.push(Shown { name: "".into(), value: ShownValue::More(self.more) });
        }
        self.list
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";
    const MULTIPART: &str = "multipart/form-data; boundary=xYz";

    fn rows(content_type: &str, body: &str) -> Vec<String> {
        let text = |row: Shown| match row.value {
            ShownValue::Text(text) => format!("{}={text}", row.name),
            ShownValue::Hidden => format!("{}: hidden", row.name),
            ShownValue::File { name, bytes } => format!("{}: file {name}, {bytes}", row.name),
            ShownValue::More(count) => format!("{count} more"),
            ShownValue::Unread => "unread".to_owned(),
        };
        shown(Some(content_type), body.as_bytes()).into_iter().map(text).collect()
    }

    #[test]
    fn forms() {
        assert_eq!(
            rows(
                FORM,
                "home_address=1+Main+St%2E&_csrf=x&csrfmiddlewaretoken=x&newPassword=y&kind=a&kind=b&empty="
            ),
            ["Home address=1 Main St.", "New password: hidden", "Kind=a", "Kind=b", "Empty="]
        );
        assert_eq!(rows(FORM, "contact[home_phone]=1&a.b=2"), ["Contact · Home phone=1", "A · B=2"]);
        assert_eq!(rows(FORM, ""), [""; 0]);
    }

    #[test]
    fn json_is_flattened() {
        assert_eq!(
            rows(
                "application/json; charset=utf-8",
                r#"{"authenticity_token":"t","contact":{"homeAddress":"1 Main St.","phones":["1",2]},"ok":true,"none":null,"pin":{"old":1}}"#
            ),
            [
                "Contact · Home address=1 Main St.",
                "Contact · Phones · 1=1",
                "Contact · Phones · 2=2",
                "Ok=true",
                "None=",
                "Pin · Old: hidden",
            ]
        );
        assert_eq!(rows("application/json", "\"alone\""), ["=alone"]);
        let deep = format!("{}1{}", "{\"a\":".repeat(20), "}".repeat(20));
        assert_eq!(rows("application/json", &deep), ["1 more"], "depth is bounded");
    }

    #[test]
    fn multipart_with_files() {
        let body = "--xYz\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nfirst\r\nsecond\r\n\
            --xYz\r\nContent-Disposition: form-data; name=\"scan\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n12345\r\n\
            --xYz\r\nContent-Disposition: form-data; name=\"other\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n\
            --xYz\r\nContent-Disposition: form-data; name=\"otp\"\r\n\r\n123456\r\n--xYz--\r\n";
        assert_eq!(
            rows(MULTIPART, body),
            ["Note=first ↵ second", "Scan: file a.png, 5", "Other=", "Otp: hidden"]
        );
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_shown() {
        for (content_type, body) in [
            ("application/json", r#"{"to":"a","to":"b"}"#),
            ("application/json", r#"{"to":"a""#),
            ("application/json; charset=utf-7", r#"{"to":"a"}"#),
            ("application/x-www-form-urlencoded; charset=ibm037", "to=a"),
            ("text/plain, application/x-www-form-urlencoded", "to=a"),
            ("text/plain", "to=a"),
            ("multipart/mixed; boundary=xYz", "--xYz--\r\n"),
        ] {
            assert_eq!(rows(content_type, body), ["unread"], "{content_type} {body}");
        }
        let is_unread = |rows: &[Shown]| matches!(rows, [Shown { value: ShownValue::Unread, .. }]);
        assert!(is_unread(&shown(None, b"a=b")));
        let large = format!("[{}1]", "1,".repeat(MAX_JSON_BYTES / 2));
        assert!(is_unread(&shown(Some("application/json"), large.as_bytes())));
        assert!(shown(None, b"").is_empty());
    }

    #[test]
    fn the_list_is_bounded() {
        let form = (0..100).map(|at| format!("f{at}={}", "é".repeat(400))).collect::<Vec<_>>().join("&");
        let rows = shown(Some(FORM), form.as_bytes());
        assert_eq!(rows.len(), MAX_ROWS + 1);
        assert!(rows.last().is_some_and(|row| row.value == ShownValue::More(70)));
        let Some(ShownValue::Text(text)) = rows.first().map(|row| &row.value) else { panic!("a text") };
        assert_eq!(text.chars().count(), MAX_LETTERS + 1);
        assert!(text.ends_with('…'));
    }

    #[test]
    fn nothing_of_it_reaches_a_log() {
        let rows = shown(Some(FORM), b"address=1+Main+St&card=4111");
        let text = format!("{rows:?}");
        assert!(!text.contains("Main") && !text.contains("4111"), "{text}");
    }

    fn bodies() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"--xYz".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"--".to_vec()),
            Just(b"Content-Disposition: form-data; name=\"a\"".to_vec()),
            Just(b"; filename=\"".to_vec()),
            Just(b"&=%\"[{:,}]\\u202e".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..8),
            any::<String>().prop_map(String::into_bytes),
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_body_breaks_it(body in bodies(), kind in 0_usize..4) {
            let kind = [FORM, "application/json", MULTIPART, "multipart/form-data; boundary=\"-\""][kind];
            let rows = shown(Some(kind), &body);
            prop_assert!(rows.len() <= MAX_ROWS + 1);
            for row in rows {
                let text = match &row.value {
                    ShownValue::Text(text) => text.clone(),
                    ShownValue::File { name, .. } => name.clone(),
                    ShownValue::Hidden | ShownValue::More(_) | ShownValue::Unread => "".into(),
                };
                prop_assert!(text.chars().count() <= MAX_LETTERS + 1);
                let mut letters = text.chars().chain(row.name.chars());
                let hides = letters.any(|letter| letter.is_control() || letter == '\u{202e}');
                prop_assert!(!hides, "hidden letters");
            }
        }

        #[test]
        fn a_browsers_multipart_is_read_whole(values in proptest::collection::vec("[ -~\u{e9}]{0,40}", 0..MAX_ROWS)) {
            prop_assume!(values.iter().all(|value| !value.contains("--xYz")));
            let part = |value: &String| format!("--xYz\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n{value}\r\n");
            let body = values.iter().map(part).collect::<String>() + "--xYz--\r\n";
            let expected: Vec<String> = values.iter().map(|value| format!("N={}", plain(value, MAX_LETTERS))).collect();
            prop_assert_eq!(rows(MULTIPART, &body), expected);
        }
    }
}
