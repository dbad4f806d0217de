//! Path templates: `/patients/{patient}/results/**`.

use crate::request::target::{MAX_SEGMENTS, Target};
use crate::request::{PathReading, Unreadable};

/// A path's segments: `/a/b/` gives `a`, `b` and an empty one.
pub fn segments(path: &str) -> std::str::Split<'_, char> {
    path.get(1..).unwrap_or_default().split('/')
}

/// One step of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Exactly this segment.
    Literal(Box<str>),
    /// Any one segment that is not empty.
    Parameter(Box<str>),
}

/// A path template; `**` at its end takes any number of further segments, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    steps: Vec<Step>,
    open: bool,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not begin with `/`.
    #[error("a path begins with `/`")]
    NotAbsolute,
    /// `**` stands before the end.
    #[error("`**` may only stand at the end")]
    OpenInTheMiddle,
    /// A brace or star inside a segment.
    #[error("`{0}` mixes text with `{{` `}}` or `*`; a segment is either plain text, `{{name}}` or `**`")]
    MixedSegment(String),
    /// The same name twice.
    #[error("the parameter `{0}` occurs twice")]
    RepeatedParameter(String),
    /// No request could ever have this path.
    #[error("no request can have this path, since such targets are refused: {0}")]
    NeverCanonical(&'static str),
    /// More segments than a request may have.
    #[error("it has more than {MAX_SEGMENTS} segments")]
    TooLong,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// It is malformed, or no canonical request target could match it.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(TemplateError::NotAbsolute);
        };
        let (path, open) = match path {
            "**" => (None, true),
            path => match path.strip_suffix("/**") {
                Some(rest) => (Some(rest), true),
                None => (Some(path), false),
            },
        };
        let mut steps = Vec::new();
        for segment in path.map(|path| path.split('/')).into_iter().flatten() {
            let step = step(segment)?;
            let repeated = matches!(&step, Step::Parameter(_)) && steps.contains(&step);
            if repeated {
                return Err(TemplateError::RepeatedParameter(segment.to_owned()));
            }
            steps.push(step);
        }
        if steps.len() > MAX_SEGMENTS {
            return Err(TemplateError::TooLong);
        }
        let template = Self { text: text.into(), steps, open };
        // A literal that a request can't spell would be a rule that never holds.
        let sample = template.sample();
        Target::parse(sample.as_bytes()).map_err(|why| TemplateError::NeverCanonical(why.code()))?;
        Ok(template)
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its steps, without the `**`.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether it ends in `**`.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step {
            Step::Parameter(name) => Some(name.as_ref()),
            Step::Literal(_) => None,
        })
    }

    /// The value of a parameter in a path that matched this template.
    pub fn value<'t>(&self, name: &str, path: &'t str) -> Option<&'t str> {
        let at = self
            .steps
            .iter()
            .position(|step| matches!(step, Step::Parameter(known) if known.as_ref() == name))?;
        segments(path).nth(at).filter(|value| !value.is_empty())
    }

    /// Whether any request could match where the upstream reads paths in this way.
    ///
    /// # Errors
    /// Why every target that spells this path is refused.
    pub fn check_reading(&self, reading: PathReading) -> Result<(), Unreadable> {
        let mut path = String::new();
        for step in &self.steps {
            path.push('/');
            match step {
                Step::Parameter(_) => path.push('x'),
                Step::Literal(text) if reading.latin1 => {
                    let folded = reading.fold(text.as_ref().into());
                    for letter in folded.chars() {
                        match u8::try_from(letter) {
                            Ok(byte) => path.extend(percent_encoding::percent_encode(&[byte], LITERAL)),
                            Err(_) => return Err(Unreadable::NotUtf8),
                        }
                    }
                }
                Step::Literal(text) => {
                    let folded = reading.fold(text.as_ref().into());
                    path.extend(percent_encoding::utf8_percent_encode(&folded, LITERAL));
                }
            }
        }
        let path = if path.is_empty() { "/" } else { &path };
        Target::receive(path.as_bytes())?.path_as(reading).map(drop)
    }

    /// A target that matches, with `x` for each parameter.
    pub fn sample(&self) -> String {
        let mut path = String::new();
        for step in &self.steps {
            path.push('/');
            match step {
                Step::Literal(text) => {
                    path.extend(percent_encoding::utf8_percent_encode(text, LITERAL).map(str::to_owned))
                }
                Step::Parameter(_) => path.push('x'),
            }
        }
        if path.is_empty() { "/".to_owned() } else { path }
    }
}

/// What must be encoded to write a decoded literal as a canonical target.
const LITERAL: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'[')
    .add(b']');

fn step(segment: &str) -> Result<Step, TemplateError> {
    if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        return if plain {
            Ok(Step::Parameter(name.into()))
        } else {
            Err(TemplateError::MixedSegment(segment.to_owned()))
        };
    }
    if segment.contains(['{', '}']) || segment == "**" || segment == "*" {
        let error = if segment == "**" {
            TemplateError::OpenInTheMiddle
        } else {
            TemplateError::MixedSegment(segment.to_owned())
        };
        return Err(error);
    }
    Ok(Step::Literal(segment.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_extracts() {
        let template = Template::parse("/patients/{patient}/results/**").expect("template");
        assert_eq!(template.value("patient", "/patients/p@1/results/2024/a"), Some("p@1"));
        assert_eq!(template.parameters().collect::<Vec<_>>(), ["patient"]);
        assert!(template.is_open());
        assert!(Template::parse("/").expect("root").parameters().next().is_none());
        assert!(Template::parse("/$export").is_ok());
        assert!(Template::parse("/caf\u{e9}").is_ok());
    }

    #[test]
    fn says_what_is_wrong() {
        for text in [
            "a", "", "/a/**/b", "/{a}x", "/{}", "/{a}/{a}", "/a//b", "/a/../b", "/a;b", "/*", "/a/{x",
            "/a%2fb",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn some_letters_can_never_be_asked_for() {
        let (latin1, insensitive) = (
            PathReading { latin1: true, ..PathReading::STRICT },
            PathReading { ignores_case: true, ..PathReading::STRICT },
        );
        for (path, reading, expected) in [
            ("/caf\u{e9}", PathReading::STRICT, Ok(())),
            ("/caf\u{e9}/{x}/**", latin1, Ok(())),
            ("/caf\u{e9}", insensitive, Ok(())),
            ("/CAF\u{c9}", insensitive, Ok(())),
            ("/stra\u{df}e", insensitive, Err(Unreadable::FoldableCharacter)),
            ("/\u{20ac}", latin1, Err(Unreadable::NotUtf8)),
            ("/\u{c3}\u{a9}", latin1, Err(Unreadable::AmbiguousReading)),
        ] {
            let template = Template::parse(path).expect(path);
            assert_eq!(template.check_reading(reading), expected, "{path}");
        }
    }
}
