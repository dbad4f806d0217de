//! Texts that can't pretend to be others: on one line, nothing in them invisible, nothing turned round.

use unicode_normalization::char::is_combining_mark;

/// More marks than this on one letter reach into the rows around it; no language needs them.
const MAX_MARKS: usize = 4;

/// At most so many letters of a text, and then `…`. A new line becomes a sign for one, blanks become one space, other
/// controls become the sign for what can't be shown, and what can't be seen is left out.
pub(super) fn plain(text: &str, limit: usize) -> Box<str> {
    let mut kept = String::new();
    let (mut count, mut marks) = (0, 0);
    let mut after_blank = true;
    for letter in text.chars() {
        let sign = match letter {
            '\n' | '\u{2028}' | '\u{2029}' => " ↵ ",
            _ if letter.is_whitespace() || letter == '\u{2800}' => " ",
            _ if letter.is_control() => "\u{fffd}",
            _ if is_invisible(letter) => continue,
            _ => "",
        };
        marks = if is_combining_mark(letter) { marks + 1 } else { 0 };
        if marks > MAX_MARKS {
            continue;
        }
        let mut plain = [0; 4];
        let sign = if sign.is_empty() { &*letter.encode_utf8(&mut plain) } else { sign };
        for letter in sign.chars() {
            let is_blank = letter == ' ';
            if is_blank && after_blank {
                continue;
            }
            if count == limit {
                kept.push('…');
                return kept.into();
            }
            after_blank = is_blank;
            kept.push(letter);
            count += 1;
        }
    }
    kept.trim_end().into()
}

/// What shows nothing, or changes the order in which its neighbours are shown: format characters and the fillers that
/// look like nothing (`Default_Ignorable_Code_Point` of Unicode, UAX #44).
pub const fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_in_a_text() {
        for (text, expected) in [
            ("1 Main St.", "1 Main St."),
            ("  a \t\u{a0}\u{3000} b  ", "a b"),
            ("a\r\nb\nc", "a ↵ b ↵ c"),
            ("a\u{2028}b", "a ↵ b"),
            ("a\0b\u{1b}[2Jc\u{9b}d\u{7f}", "a\u{fffd}b\u{fffd}[2Jc\u{fffd}d\u{fffd}"),
            ("evil\u{202e}gnp.exe\u{2066}\u{200f}", "evilgnp.exe"),
            ("pass\u{200b}word\u{feff}\u{ad}", "password"),
            ("\u{e0061}\u{3164}", ""),
            ("Z\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}!", "Z\u{300}\u{301}\u{302}\u{303}!"),
            ("Ángel Muñoz 张伟 محمد", "Ángel Muñoz 张伟 محمد"),
        ] {
            assert_eq!(&*plain(text, 300), expected, "{}", text.escape_unicode());
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_letter() {
        assert_eq!(&*plain("ééé", 3), "ééé");
        assert_eq!(&*plain("éééé", 3), "ééé…");
        assert_eq!(&*plain("abc   ", 3), "abc…");
    }
}
