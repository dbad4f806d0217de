//! Names of fields as people would write them, and those whose values are nobody's to read.

use super::plain::plain;

/// Longer names are cut, in letters.
const MAX_LETTERS: usize = 80;

/// Words that name a secret, alone or at the end of another: `newpassword`, `access_token`.
const SECRETS: &[&str] = &["password", "passwd", "passcode", "passphrase", "pwd", "secret", "token"];

/// Words that name one only where they stand alone: `pin`, and not `shipping`.
const SECRET_WORDS: &[&str] = &["pin", "otp", "totp", "cvv", "cvc", "csc"];

/// The steps of a form field's name: `contact[home_address]` leads in two to what it names, as in the frameworks that
/// build an object of it.
pub(super) fn steps(name: &str) -> impl Iterator<Item = &str> {
    name.split(['.', '[', ']', ':', '$', '/']).filter(|step| !step.is_empty())
}

/// Whether a framework put this field there to know its own forms again: nobody filled it in.
pub(super) fn is_noise(name: &str) -> bool {
    let starts_as =
        |start: &str| name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start));
    starts_as("csrf")
        || ["_csrf", "_token", "authenticity_token", "__RequestVerificationToken"]
            .iter()
            .any(|noise| name.eq_ignore_ascii_case(noise))
}

/// Whether a step names a secret.
pub(super) fn is_secret(step: &str) -> bool {
    words(step).any(|word| {
        let word = word.trim_end_matches(|letter: char| letter.is_ascii_digit()).to_lowercase();
        let one = word.strip_suffix('s').unwrap_or(&word);
        SECRET_WORDS.contains(&one) || SECRETS.iter().any(|secret| one.ends_with(secret))
    })
}

/// A name that people can read: `["contact", "homeAddress"]` is `Contact · Home address`.
pub(super) fn readable<S: AsRef<str>>(steps: &[S]) -> Box<str> {
    let mut text = String::new();
    for step in steps {
        // What is cut off anyway is not worth the work.
        if text.len() > MAX_LETTERS * 4 {
            break;
        }
        let step = plain(step.as_ref(), MAX_LETTERS);
        let sentence = sentence(&step);
        let sentence = if sentence.is_empty() { step.as_ref() } else { sentence.as_str() };
        if !text.is_empty() && !sentence.is_empty() {
            text.push_str(" · ");
        }
        text.push_str(sentence);
    }
    plain(&text, MAX_LETTERS)
}

/// The words of a step as the beginning of a sentence. Abbreviations stay in capitals, unless everything is.
fn sentence(step: &str) -> String {
    let shouts = !step.chars().any(char::is_lowercase);
    let mut text = String::new();
    for word in words(step) {
        let is_short_for_something = !shouts && word.len() > 1 && !word.chars().any(char::is_lowercase);
        let word = if is_short_for_something { word.to_owned() } else { word.to_lowercase() };
        if text.is_empty() {
            let mut letters = word.chars();
            text.extend(letters.next().into_iter().flat_map(char::to_uppercase));
            text.push_str(letters.as_str());
        } else {
            text.push(' ');
            text.push_str(&word);
        }
    }
    text
}

/// The words of a step: `home_address`, `home-address`, `homeAddress`, `HOMEAddress` have two.
fn words(step: &str) -> impl Iterator<Item = &str> {
    step.split(|letter: char| letter == '_' || letter == '-' || letter.is_whitespace()).flat_map(humps)
}

fn humps(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut letters = rest.char_indices().peekable();
        let mut before = letters.next()?.1;
        let mut end = rest.len();
        while let Some((at, letter)) = letters.next() {
            let ends_abbreviation =
                before.is_uppercase() && letters.peek().is_some_and(|(_, next)| next.is_lowercase());
            if letter.is_uppercase() && (!before.is_uppercase() || ends_abbreviation) {
                end = at;
                break;
            }
            before = letter;
        }
        let (word, beyond) = rest.split_at_checked(end)?;
        rest = beyond;
        Some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_readable() {
        for (name, expected) in [
            ("home_address", "Home address"),
            ("homeAddress", "Home address"),
            ("home-address", "Home address"),
            ("HomeAddress", "Home address"),
            ("HOME_ADDRESS", "Home address"),
            ("patientID", "Patient ID"),
            ("HTMLBody", "HTML body"),
            ("user[home_address]", "User · Home address"),
            ("items[]", "Items"),
            ("ctl00$Main$txtName", "Ctl00 · Main · Txt name"),
            ("straße_nr", "Straße nr"),
            ("añoNacimiento", "Año nacimiento"),
            ("___", "___"),
            ("", ""),
            ("a\u{202e}b\u{0}", "Ab\u{fffd}"),
        ] {
            assert_eq!(&*readable(&steps(name).collect::<Vec<_>>()), expected, "{name}");
        }
        let long = "long_".repeat(1000);
        assert_eq!(readable(&[&long]).chars().count(), MAX_LETTERS + 1);
        assert_eq!(readable(&vec!["long"; 1000]).chars().count(), MAX_LETTERS + 1);
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            "password",
            "Password",
            "newPassword",
            "newpassword2",
            "user_passwd",
            "pin",
            "PIN",
            "new-pin",
            "pin1",
            "client_secret",
            "cvv",
            "cardCVC",
            "access_token",
            "accesstoken",
            "otp",
            "otp_code",
            "totp",
            "backupTokens",
            "passphrase",
            "pwd",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["shipping", "opinion", "secretary", "address", "pint", "tokenizer", "spin", "option", ""]
        {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn noise_is_what_frameworks_add() {
        for name in [
            "csrf",
            "csrf_token",
            "csrfmiddlewaretoken",
            "CSRFName",
            "_csrf",
            "_token",
            "authenticity_token",
            "__RequestVerificationToken",
        ] {
            assert!(is_noise(name), "{name}");
        }
        for name in ["token", "note", "_note", "cs", "", "é"] {
            assert!(!is_noise(name), "{name}");
        }
    }
}
