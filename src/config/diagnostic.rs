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

    /// What diagnostics call it.
    pub fn name(&self) -> &Arc<str> {
        &self.name
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
            message: without_passwords(&message.into()),
            file: Arc::clone(&source.name),
            place,
            context: None,
            help: help.into(),
            excerpt: without_secrets(line.copied().unwrap_or_default()).into(),
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

/// The text with the user information of each URL and the values of secrets in it masked, letter by letter: findings
/// go to logs.
fn without_secrets(text: &str) -> String {
    let masked = without_passwords(text);
    let Some(from) = secret_value(&masked) else { return masked };
    // To the end of the line: a secret may hold what looks like its end.
    let (before, secret) = masked.split_at_checked(from).unwrap_or((&masked, ""));
    before
        .chars()
        .chain(secret.chars().map(|letter| if letter.is_whitespace() { letter } else { '*' }))
        .collect()
}

fn without_passwords(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        // A password may hold slashes, commas and another `@`.
        let end = after.find(|letter: char| matches!(letter, '"' | '\'') || letter.is_whitespace());
        let (run, behind) = after.split_at_checked(end.unwrap_or(after.len())).unwrap_or((after, ""));
        let (secret, plain) = run.split_at_checked(run.rfind('@').unwrap_or(0)).unwrap_or(("", run));
        shown.extend(secret.chars().map(|_| '*'));
        shown.push_str(plain);
        rest = behind;
    }
    shown + rest
}

/// Where the first value of a key begins whose name says that it is secret. Files that hold secrets may be shown.
fn secret_value(line: &str) -> Option<usize> {
    for (colon, _) in line.match_indices(':') {
        let (before, after) = (line.get(..colon)?, line.get(colon + 1..)?);
        let key = before.trim_end();
        let is_quoted = key.ends_with(['"', '\'']);
        let is_key = is_quoted || after.is_empty() || after.starts_with(char::is_whitespace);
        let key = key.trim_end_matches(['"', '\'']);
        let of_name = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
        let name = key.rsplit(|letter| !of_name(letter)).next().unwrap_or_default().to_ascii_lowercase();
        let is_secret = (name.contains("password") || name.contains("secret")) && !name.ends_with("_file");
        if is_key && is_secret {
            return Some(colon + 1);
        }
    }
    None
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
    fn no_secret_is_shown() {
        let shown = |line: &str| {
            let place = Place { line: 1, column: 1, length: 1 };
            Diagnostic::new(&Source::new("f", line), Code::UnknownKey, place, "a", "c").excerpt().0
        };
        for line in [
            "urls: [redis://u:hun/ter2@127.0.0.1, redis://u:hun,ter2@h]",
            "urls: [\"redis://u:a@hunter2@127.0.0.1\"]",
            "urls: [redis://u:a://hunter2@127.0.0.1,redis://h]",
            "redis: { password: hunter2 }",
            "redis: { Password : 'a}, b: hunter2' }",
            "{\"client_secret\":\"hunter2\", x: 1}",
            "  sentinel-password: \"a: b hunter2\"",
        ] {
            let said = shown(line);
            assert!(!said.contains("ter2") && said.contains('*'), "{said}");
            assert_eq!(said.chars().count(), line.chars().count(), "the markers stay in place");
        }
        for line in [
            "password_file: /secrets/redis",
            "path: \"/password:change\"",
            "endpoint: https://h/reset-password",
            "- { id: reset-password, match: { path: /secret } }",
        ] {
            assert_eq!(shown(line), line);
        }
        let source = Source::new("f", "");
        let found = Diagnostic::new(&source, Code::BadUrl, Place::FILE, "`http://u:hunter2@h` is none", "c");
        assert!(!found.to_string().contains("hunter2"), "{found}");
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
