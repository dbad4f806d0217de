//! What is wrong, where, and what to do about it.
//!
//! ```text
//! error[WG014]: unknown tier `hgih`
//!   --> gateway.yaml:41:13   route `payment.pay`
//!    |
//! 41 |     tier: hgih
//!    |           ^^^^
//!    = help: did you mean `high`?
//! ```

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde_saphyr::{Location, Spanned};

use super::codes::{Code, Severity};

/// The most characters of a line that are shown, so that a file on one line stays readable.
const MAX_EXCERPT: usize = 120;

/// A stretch of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// The line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The length in characters, at least 1.
    pub length: usize,
}

impl Place {
    /// The file as a whole.
    pub const FILE: Self = Self { line: 0, column: 0, length: 0 };
}

impl From<Location> for Place {
    fn from(location: Location) -> Self {
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        // Blocks have an empty span, unknown positions a huge one; the excerpt clamps what is too long.
        Self {
            line: number(location.line()),
            column: number(location.column()),
            length: number(location.span().len()).max(1),
        }
    }
}

impl<T> From<&Spanned<T>> for Place {
    /// Where the value stands; for an alias that is the alias, not its anchor.
    fn from(value: &Spanned<T>) -> Self {
        value.referenced.into()
    }
}

/// The text that diagnostics point into.
#[derive(Debug, Clone)]
pub struct Source<'t> {
    name: Arc<str>,
    text: &'t str,
    /// Split once: a file of thousands of lines may have thousands of findings.
    lines: Vec<&'t str>,
}

impl<'t> Source<'t> {
    /// Names a text; the name is what is printed, usually the path as it was given.
    pub fn new(name: &str, text: &'t str) -> Self {
        Self { name: name.into(), text, lines: text.lines().collect() }
    }

    /// The whole text.
    pub fn text(&self) -> &'t str {
        self.text
    }
}

/// One finding; its `Display` is the rendering shown above, without colour and without a final line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of finding it is; this also says whether it is an error.
    pub code: Code,
    /// The finding, in lower case, with what the user wrote in backticks.
    pub message: String,
    /// The name of the file.
    pub file: Arc<str>,
    /// Where in the file.
    pub place: Place,
    /// What it is part of, such as ``route `payment.pay` ``.
    pub context: Option<Box<str>>,
    /// What to do about it.
    pub help: String,
    excerpt: Box<str>,
}

impl Diagnostic {
    /// Makes a finding about a place in a text.
    pub fn new(
        source: &Source<'_>,
        code: Code,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let line = place.line.checked_sub(1).and_then(|above| source.lines.get(above));
        Self {
            code,
            message: message.into(),
            file: Arc::clone(&source.name),
            place,
            context: None,
            help: help.into(),
            excerpt: without_passwords(line.copied().unwrap_or_default()).into(),
        }
    }

    /// Whether it refuses the configuration.
    pub fn severity(&self) -> Severity {
        self.code.severity()
    }

    /// The line and the markers below it, cut to a window around the place if the line is long.
    fn excerpt(&self) -> (String, String) {
        let before = self.place.column.saturating_sub(1);
        let skipped = if self.excerpt.chars().count() > MAX_EXCERPT {
            before.saturating_sub(MAX_EXCERPT / 3)
        } else {
            0
        };
        let shown: String = self.excerpt.chars().skip(skipped).take(MAX_EXCERPT).collect();
        let indent = before - skipped;
        let room = shown.trim_end().chars().count().saturating_sub(indent);
        let markers = " ".repeat(indent) + &"^".repeat(self.place.length.min(room).max(1));
        (shown, markers)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column, .. } = self.place;
        write!(formatter, "{}[{}]: {}", self.severity().word(), self.code.name(), Printable(&self.message))?;
        let gutter = if line == 0 { 1 } else { line.to_string().len() };
        let margin = " ".repeat(gutter);
        write!(formatter, "\n{margin}--> {}", Printable(&self.file))?;
        if line > 0 {
            write!(formatter, ":{line}:{column}")?;
        }
        if let Some(context) = &self.context {
            write!(formatter, "   {}", Printable(context))?;
        }
        if line > 0 {
            let (shown, markers) = self.excerpt();
            write!(
                formatter,
                "\n{margin} |\n{line} | {}\n{margin} | {markers}",
                Printable(shown.trim_end())
            )?;
        }
        write!(formatter, "\n{margin} = help: {}", Printable(&self.help))
    }
}

/// The line with the user information of each URL in it masked, letter by letter: findings go to logs.
fn without_passwords(line: &str) -> String {
    let mut parts = line.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str("://");
        let ends =
            part.find(|letter: char| matches!(letter, '/' | '"' | '\'' | ',') || letter.is_whitespace());
        let authority = part.get(..ends.unwrap_or(part.len())).unwrap_or_default();
        let hidden = authority.rfind('@').unwrap_or(0);
        let (secret, rest) = part.split_at_checked(hidden).unwrap_or_default();
        shown.extend(secret.chars().map(|_| '*'));
        shown.push_str(rest);
    }
    shown
}

/// What the user wrote may hold escape sequences, and this goes to terminals.
struct Printable<'t>(&'t str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '\t' => formatter.write_char(' '),
            letter if letter.is_control() => formatter.write_char(char::REPLACEMENT_CHARACTER),
            letter => formatter.write_char(letter),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_like_the_example() {
        let text = format!("{}    tier: hgih\n", "\n".repeat(40));
        let place = Place { line: 41, column: 11, length: 4 };
        let source = Source::new("gateway.yaml", &text);
        let mut found =
            Diagnostic::new(&source, Code::UnknownTier, place, "unknown tier `hgih`", "did you mean `high`?");
        found.context = Some("route `payment.pay`".into());
        let expected = "error[WG014]: unknown tier `hgih`
  --> gateway.yaml:41:11   route `payment.pay`
   |
41 |     tier: hgih
   |           ^^^^
   = help: did you mean `high`?";
        assert_eq!(found.to_string(), expected);
    }

    #[test]
    fn long_lines_and_control_characters_are_tamed() {
        let text = format!("[{}\u{1b}[31m hgih ]", "x, ".repeat(200));
        let place = Place { line: 1, column: 608, length: 4_000 };
        let shown =
            Diagnostic::new(&Source::new("f", &text), Code::UnknownTier, place, "a\nb", "c").to_string();
        assert!(!shown.contains('\u{1b}') && shown.starts_with("error[WG014]: a\u{fffd}b\n"), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= MAX_EXCERPT + 4), "{shown}");
        assert!(shown.ends_with("^^^^^^\n  = help: c"), "{shown}");
    }

    #[test]
    fn a_whole_file_has_no_excerpt() {
        let found = Diagnostic::new(
            &Source::new("f", ""),
            Code::FileUnreadable,
            Place::FILE,
            "gone",
            "bring it back",
        );
        assert_eq!(found.to_string(), "error[WG001]: gone\n --> f\n  = help: bring it back");
    }
}
