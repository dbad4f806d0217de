//! What is printed: plain lines, and colour only where somebody looks at a terminal that wants it.

use std::io::{IsTerminal as _, Write as _};

/// Colours, as few as the tour needs.
#[derive(Debug, Clone, Copy)]
pub enum Paint {
    /// Headlines.
    Bold,
    /// What can be skipped.
    Dim,
    /// It went through.
    Green,
    /// More is asked for.
    Yellow,
    /// It was refused, or something is wrong.
    Red,
}

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    colour: bool,
}

impl Terminal {
    /// Colour where standard output is a terminal and `NO_COLOR` is unset (no-color.org).
    pub fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: std::io::stdout().is_terminal() && !refused }
    }

    /// A text in a colour.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Bold => 1,
            Paint::Dim => 2,
            Paint::Green => 32,
            Paint::Yellow => 33,
            Paint::Red => 31,
        };
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Prints a line.
    pub fn say(self, line: &str) {
        self.begin(&format!("{line}\n"));
    }

    /// Prints the beginning of a line, so that one can see what is waited for.
    pub fn begin(self, text: &str) {
        let mut out = std::io::stdout();
        // Nobody reads on, as behind `| head`: no reason to stop before the gateway is stopped.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// Breaks a text between words into lines of a readable width.
pub fn fold(text: &str) -> String {
    const WIDTH: usize = 100;
    let (mut folded, mut width) = (String::new(), 0);
    for word in text.split(' ') {
        let length = word.chars().count();
        if width > 0 && width + length > WIDTH {
            folded.push_str("\n     ");
            width = 2;
        } else if width > 0 {
            folded.push(' ');
        }
        folded.push_str(word);
        width += length + 1;
    }
    folded
}
