//! What the phone shows: the action's label, and the code that stands on the page too.
//!
//! CIBA Core 1.0 §7.1 asks for plain and short text, and leaves to each issuer what that is. So there are two forms: one
//! for people, and one in what every issuer takes, for those that refuse the first.

use unicode_normalization::UnicodeNormalization as _;

/// Characters of a message for people. Phones cut longer ones.
const MOST: usize = 100;
/// Characters of a message that every issuer takes.
const MOST_BASIC: usize = 20;

/// What an issuer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Plain text.
    Plain,
    /// Twenty letters, digits and few signs, without blanks.
    Basic,
}

/// Fills the template. The label is cut where there is no room; the code never is: `None` where it can't be shown. Without
/// a code the template, which speaks of one, says nothing: the label alone is shown.
pub fn fill(template: &str, label: &str, code: &str, form: Form) -> Option<String> {
    let (most, clean): (usize, fn(&str) -> String) = match form {
        Form::Plain => (MOST, plain),
        Form::Basic => (MOST_BASIC, basic),
    };
    if code.is_empty() {
        let label: String = clean(label).chars().take(most).collect();
        return (!label.is_empty()).then_some(label);
    }
    let code_shown = clean(code);
    if code_shown.is_empty() || !letters(&code_shown).eq(letters(code)) || code_shown.len() > most {
        return None;
    }
    let with = |label: &str| clean(&template.replace("{label}", label).replace("{code}", &code_shown));
    let label = clean(label);
    let mut room = label.chars().count();
    loop {
        let cut: String = label.chars().take(room).collect();
        let text = with(&cut);
        if text.chars().count() <= most && text.contains(&code_shown) {
            return Some(text);
        }
        match room.checked_sub(1) {
            Some(less) => room = less,
            // The template alone is too long.
            None => return Some(code_shown),
        }
    }
}

/// What people read as the code.
fn letters(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|letter| letter.is_alphanumeric())
}

/// Without what moves or hides text, and with one blank for each run of them.
fn plain(text: &str) -> String {
    let hides = |letter: &char| {
        letter.is_control()
            || matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let kept: String = text
        .chars()
        .map(|letter| if letter.is_whitespace() { ' ' } else { letter })
        .filter(|it| !hides(it))
        .collect();
    kept.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Letters without their marks, and a hyphen for each run of what is left out.
fn basic(text: &str) -> String {
    let mut short = String::new();
    for letter in text.nfd() {
        if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '+' | '/' | '!' | '?' | '#') {
            short.push(letter);
        } else if !unicode_normalization::char::is_combining_mark(letter) && !short.ends_with('-') {
            short.push('-');
        }
    }
    short.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "{label} {code}";

    #[test]
    fn the_label_gives_way_to_the_code() {
        assert_eq!(fill(TEMPLATE, "Pay a bill", "K7-42", Form::Plain).as_deref(), Some("Pay a bill K7-42"));
        assert_eq!(fill(TEMPLATE, "Pay a bill", "K7-42", Form::Basic).as_deref(), Some("Pay-a-bill-K7-42"));
        let long = "Send my whole record to another hospital";
        assert_eq!(fill(TEMPLATE, long, "K7-42", Form::Basic).as_deref(), Some("Send-my-whole-K7-42"));
        let text = fill(TEMPLATE, &long.repeat(9), "K7-42", Form::Plain).expect("text");
        assert!(text.ends_with(" K7-42") && text.chars().count() <= MOST, "{text}");
        let wordy = format!("{}{{code}}", "Do you agree? ".repeat(12));
        assert_eq!(fill(&wordy, "x", "K742", Form::Plain).as_deref(), Some("K742"));
    }

    #[test]
    fn only_plain_text_is_sent() {
        assert_eq!(
            fill("{label}: {code}", "Ä\u{202e}nde\nrung\t der  Adresse", "K742", Form::Plain).as_deref(),
            Some("Ände rung der Adresse: K742")
        );
        assert_eq!(fill(TEMPLATE, "Änderung", "K742", Form::Basic).as_deref(), Some("Anderung-K742"));
        assert_eq!(fill(TEMPLATE, "支払い", "K742", Form::Basic).as_deref(), Some("K742"));
    }

    #[test]
    fn where_no_page_shows_a_code_the_phone_shows_none() {
        let template = "Compare {code}: {label}";
        assert_eq!(fill(template, "Pay a bill", "", Form::Plain).as_deref(), Some("Pay a bill"));
        assert_eq!(
            fill(template, "Change your address", "", Form::Basic).as_deref(),
            Some("Change-your-address")
        );
        assert_eq!(fill(template, &"a".repeat(200), "", Form::Plain).map(|text| text.len()), Some(MOST));
        assert_eq!(fill(template, "\u{202e}", "", Form::Plain), None);
    }

    #[test]
    fn a_code_that_can_not_be_shown_is_not_sent() {
        assert_eq!(fill(TEMPLATE, "Pay", "\u{200b}", Form::Plain), None);
        assert_eq!(fill(TEMPLATE, "Pay", "コード", Form::Basic), None);
        assert_eq!(fill(TEMPLATE, "Pay", &"7".repeat(21), Form::Basic), None);
        assert_eq!(fill(TEMPLATE, "Pay", "48 21", Form::Basic).as_deref(), Some("Pay-48-21"));
    }
}
