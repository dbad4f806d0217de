//! Headers that an upstream is given: their names, and values such as `{issuer.name}:{subject.id}`.

use http::HeaderName;

use crate::config::codes::Code;
use crate::config::report::{Report, instead};
use crate::config::schema::Text;
use crate::config::settings::{InjectPart, InjectTemplate};

/// What a value may speak of.
const PLACEHOLDERS: &[(&str, InjectPart)] = &[
    ("issuer.name", InjectPart::IssuerName),
    ("subject.id", InjectPart::SubjectId),
    ("subject.patient", InjectPart::SubjectPatient),
    ("subject.roles", InjectPart::SubjectRoles),
    ("subject.level", InjectPart::SubjectLevel),
    ("client.id", InjectPart::ClientId),
];

/// Headers that belong to HTTP itself, to the caller's credentials, or to what the gateway says of the
/// client.
const TAKEN: &[&str] = &[
    "authorization",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "origin",
    "range",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-by",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
];

/// Families of such headers.
const TAKEN_FAMILIES: &[&str] = &["accept", "access-control-", "content-", "if-", "proxy-", "sec-"];

/// Reports a name that is no header's or that must stay what it is.
pub(super) fn check_header(report: &mut Report<'_>, text: &Text) {
    let lower = text.value.to_ascii_lowercase();
    if !is_header(&lower) {
        let message = format!("`{}` is not the name of a header", text.value);
        let help = "use letters, digits and `-`; many servers read `_` and `-` as the same";
        report.add(Code::BadHeader, text, message, help);
    } else if TAKEN.contains(&lower.as_str()) || TAKEN_FAMILIES.iter().any(|family| lower.starts_with(family))
    {
        let message = format!("`{}` has a meaning of its own in HTTP", text.value);
        report.add(Code::BadHeader, text, message, "choose another header, such as `X-Remote-User`");
    }
}

/// Whether a name, in lower case, is one that every server reads the same.
pub(super) fn is_header(lower: &str) -> bool {
    HeaderName::from_bytes(lower.as_bytes()).is_ok()
        && lower.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Compiles a value; reports what can't be filled in.
pub(super) fn template(report: &mut Report<'_>, text: &Text) -> Option<InjectTemplate> {
    match parse(&text.value) {
        Ok(parts) => Some(InjectTemplate(parts)),
        Err((message, help)) => {
            report.add(Code::BadPlaceholder, text, message, help);
            None
        }
    }
}

/// The parts, or the message and the remedy.
fn parse(text: &str) -> Result<Vec<InjectPart>, (String, String)> {
    if text.is_empty() || !text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        let help = "write plain text and placeholders such as `{subject.id}`";
        return Err(("a header's value is visible ASCII and not empty".to_owned(), help.to_owned()));
    }
    let stray = || {
        let help = "a placeholder is a name in braces, such as `{subject.id}`";
        ("a brace has no counterpart".to_owned(), help.to_owned())
    };
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((plain, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(stray)?;
        if plain.contains('}') {
            return Err(stray());
        }
        if !plain.is_empty() {
            parts.push(InjectPart::Text(plain.into()));
        }
        parts.push(placeholder(name)?);
        rest = after;
    }
    if rest.contains('}') {
        return Err(stray());
    }
    if !rest.is_empty() {
        parts.push(InjectPart::Text(rest.into()));
    }
    Ok(parts)
}

fn placeholder(name: &str) -> Result<InjectPart, (String, String)> {
    let found = PLACEHOLDERS.iter().find(|(known, _)| *known == name);
    found.map(|(_, part)| part.clone()).ok_or_else(|| {
        (
            format!("unknown placeholder `{{{name}}}`"),
            instead(name, PLACEHOLDERS.iter().map(|(known, _)| *known)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_and_placeholders() {
        use InjectPart::{IssuerName, SubjectId, Text};
        assert_eq!(parse("{issuer.name}:{subject.id}"), Ok(vec![IssuerName, Text(":".into()), SubjectId]));
        assert_eq!(parse("fixed"), Ok(vec![Text("fixed".into())]));
        for text in [
            "",
            "{",
            "}",
            "a}b{subject.id}",
            "{subject.id",
            "{{subject.id}}",
            "{subject.ids}",
            "a\nb",
            "\u{e9}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
