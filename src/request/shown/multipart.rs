//! `multipart/form-data` (RFC 7578) as browsers write it, and nothing else.
//!
//! Not by one of the crates for it: they read streams, asynchronously, and as leniently as servers do, each in its own
//! way. Here the body lies in memory, and one that two servers may cut differently must not be read at all, because a
//! person is about to trust what was read.

use memchr::memmem;

use crate::request::media;

/// One part.
pub(super) struct Part<'b> {
    /// The field's name.
    pub(super) name: &'b str,
    /// The file's name, where it is one.
    pub(super) file: Option<&'b str>,
    /// What it holds.
    pub(super) content: &'b [u8],
}

/// The parts of a body; `None` where it is anything but what browsers write.
pub(super) fn parts<'b>(content_type: &str, body: &'b [u8]) -> Option<Vec<Part<'b>>> {
    let (essence, _) = content_type.split_once(';')?;
    let boundary = media::parameter(content_type, "boundary")?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") || !is_boundary(boundary) {
        return None;
    }
    let delimiter = format!("--{boundary}");
    let mut rest = body.strip_prefix(delimiter.as_bytes())?;
    let mut found = Vec::new();
    // After each delimiter comes a new line and a part, or the end. One that does not begin a line is none to some
    // servers only.
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let end = memmem::find(part, delimiter.as_bytes())?;
        let (part, beyond) = part.split_at_checked(end)?;
        found.push(read(part.strip_suffix(b"\r\n")?)?);
        rest = beyond.get(delimiter.len()..)?;
    }
    matches!(rest, b"--" | b"--\r\n").then_some(found)
}

/// RFC 2046 §5.1.1, without the space.
fn is_boundary(text: &str) -> bool {
    (1..=70).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte))
}

fn read(part: &[u8]) -> Option<Part<'_>> {
    let end = memmem::find(part, b"\r\n\r\n")?;
    let (head, content) = part.split_at_checked(end)?;
    let (mut disposition, mut has_type) = (None, false);
    for line in std::str::from_utf8(head).ok()?.split("\r\n") {
        let (name, value) = line.split_once(':')?;
        if line.chars().any(char::is_control) {
            return None;
        }
        if name.eq_ignore_ascii_case("content-disposition") && disposition.is_none() {
            disposition = Some(value);
        } else if name.eq_ignore_ascii_case("content-type") && !has_type {
            has_type = true;
        } else {
            // Twice, or one that changes what the part is: `Content-Transfer-Encoding`.
            return None;
        }
    }
    let (name, file) = names(disposition?)?;
    Some(Part { name, file, content: content.strip_prefix(b"\r\n\r\n")? })
}

/// The field's and the file's name. Browsers quote both and write `%22` for a quote (HTML Standard §4.10.22.8), so a
/// backslash would be an escape to some servers only, and `filename*` another name to some.
fn names(disposition: &str) -> Option<(&str, Option<&str>)> {
    let rest = disposition.trim_start().strip_prefix("form-data; name=\"")?;
    let (name, rest) = rest.split_once('"')?;
    let file = match rest.strip_prefix("; filename=\"") {
        Some(file) => Some(file.strip_suffix('"')?),
        None if rest.is_empty() => None,
        None => return None,
    };
    let is_plain = |text: &str| !text.contains(['"', '\\']);
    (is_plain(name) && file.is_none_or(is_plain)).then_some((name, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=----WebKitFormBoundaryA1";

    fn count(content_type: &str, body: &str) -> Option<usize> {
        parts(content_type, body.replace('@', "------WebKitFormBoundaryA1").as_bytes())
            .map(|parts| parts.len())
    }

    #[test]
    fn what_a_browser_writes_is_read() {
        let one = "@\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n@--\r\n";
        assert_eq!(count(TYPE, one), Some(1));
        assert_eq!(
            count("Multipart/Form-Data; charset=utf-8; Boundary=\"----WebKitFormBoundaryA1\"", one),
            Some(1)
        );
        assert_eq!(count(TYPE, "@--\r\n"), Some(0));
        let empty = b"--x\r\nContent-Disposition: form-data; name=\"\"\r\n\r\n\r\n--x--";
        let read = parts("multipart/form-data; boundary=x", empty).expect("parts");
        assert!(matches!(read.as_slice(), [Part { name: "", file: None, content: b"" }]));
    }

    #[test]
    fn what_servers_cut_differently_is_not() {
        let head = "Content-Disposition: form-data; name=\"a\"";
        for body in [
            String::new(),
            "@".to_owned(),
            format!("preamble\r\n@\r\n{head}\r\n\r\n1\r\n@--\r\n"),
            format!("@\r\n{head}\r\n\r\n1\r\n@--\r\nepilogue"),
            format!("@\r\n{head}\r\n\r\n1\r\n"),
            format!("@\n{head}\n\n1\n@--\n"),
            format!("@\r\n{head}\r\n\r\n1\n@\n{head}\n\n2\r\n@--\r\n"),
            format!("@\r\n{head}\r\n\r\nsee @ there\r\n@--\r\n"),
            format!("@ \r\n{head}\r\n\r\n1\r\n@--\r\n"),
            format!("@\r\n{head}\r\n{head}\r\n\r\n1\r\n@--\r\n"),
            format!("@\r\n{head}\r\nContent-Transfer-Encoding: base64\r\n\r\n1\r\n@--\r\n"),
            format!("@\r\n{head}\n\n1\r\n\r\n2\r\n@--\r\n"),
            format!("@\r\n{head}\r\n folded\r\n\r\n1\r\n@--\r\n"),
            format!("@\r\n{head}; filename*=utf-8''b\r\n\r\n1\r\n@--\r\n"),
            format!("@\r\n{head}; name=\"b\"\r\n\r\n1\r\n@--\r\n"),
            format!("@\r\n{head}; filename=\"a\"; name=\"b\"\r\n\r\n1\r\n@--\r\n"),
            "@\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n@--\r\n".to_owned(),
            "@\r\nContent-Disposition: form-data; name=\"a\\\"; name=\"\r\n\r\n1\r\n@--\r\n".to_owned(),
            "@\r\nContent-Type: text/plain\r\n\r\n1\r\n@--\r\n".to_owned(),
            "@\r\n\r\n1\r\n@--\r\n".to_owned(),
        ] {
            assert_eq!(count(TYPE, &body), None, "{body}");
        }
        for content_type in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"\"",
            "multipart/form-data; boundary=\"a\\b\"",
            "multipart/mixed; boundary=----WebKitFormBoundaryA1",
        ] {
            assert_eq!(count(content_type, "@--\r\n"), None, "{content_type}");
        }
    }
}
