//! Names of fields and parameters as some back end would read them: servers fold, cut and split them in many ways.

use std::borrow::Cow;

/// Folds a name so that all its spellings in other letter cases become one.
///
/// Goes further than Unicode simple case folding, to which `ſ` is `s` and the Kelvin sign is `k`: what is folded too
/// much is refused as ambiguous, what is folded too little would be read twice.
pub fn fold(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(name);
    }
    let folded = name.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase);
    Cow::Owned(folded.flat_map(char::to_lowercase).collect())
}

/// Whether a parameter of this name tells some framework to act as another method.
///
/// PHP reads `.method` and ` method` as `_method`, others cut a name at NUL or ignore its case. ASP.NET takes the
/// header's name also as a field.
pub fn names_method(name: &str) -> bool {
    let name = name.split('\0').next().unwrap_or_default().trim();
    let plain: String = name
        .chars()
        .map(|letter| if matches!(letter, '.' | ' ' | '[') { '_' } else { letter.to_ascii_lowercase() })
        .collect();
    let plain = plain.split(']').next().unwrap_or_default().trim_end_matches('_');
    matches!(
        plain,
        "_method" | "_httpmethod" | "x-http-method-override" | "x-http-method" | "x-method-override"
    ) || plain.starts_with("_method_")
}

/// Whether some server takes this name for `parameter`, or for something said about it.
///
/// FHIR writes `patient:missing` and `patient.name`, PHP and Rails read `patient[]` and `patient[x]`, PHP takes
/// `patient.id` for `patient_id`, ASP.NET ignores the case.
pub fn is_near(name: &str, parameter: &str) -> bool {
    let stem =
        |name: &str| fold(name.split([':', '[', '.', '\0']).next().unwrap_or_default().trim()).into_owned();
    let plain = |name: &str| fold(name.trim()).replace(['.', ' ', '['], "_");
    stem(name) == stem(parameter) || plain(name) == plain(parameter)
}

/// The names in one pair of a form: some servers split at `;` as well as at `&`, others take it for a letter.
pub fn in_pair<'p>(name: &'p str, value: &'p str) -> impl Iterator<Item = &'p str> {
    let whole = Some(name).filter(|name| name.contains([';', '=']));
    let pieces = name.split(';').chain(value.split(';').skip(1));
    whole.into_iter().chain(pieces.map(|piece| piece.split('=').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_joins_what_ignoring_the_case_would_join() {
        for (one, other) in [
            ("Patient", "patient"),
            ("\u{17f}ex", "sex"),
            ("\u{212a}ey", "KEY"),
            ("\u{c9}tat", "\u{e9}tat"),
            ("\u{3c2}", "\u{3a3}"),
            ("\u{1e9e}", "\u{df}"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        assert_ne!(fold("patient"), fold("patients"));
    }

    #[test]
    fn names_that_name_a_method() {
        for name in [
            "_method",
            "_METHOD",
            ".method",
            " _method ",
            "_method[]",
            "_method\0x",
            "_HttpMethod",
            "X-HTTP-Method-Override",
        ] {
            assert!(names_method(name), "{name}");
        }
        for name in ["method", "methods", "a_method", "httpmethod", ""] {
            assert!(!names_method(name), "{name}");
        }
    }

    #[test]
    fn names_that_are_near() {
        for name in
            ["patient", "Patient", " patient", "patient[]", "patient:Patient", "patient.id", "patient[a]"]
        {
            assert!(is_near(name, "patient"), "{name}");
        }
        assert!(is_near("patient.id", "patient_id") && is_near("PATIENT ID", "patient_id"));
        assert!(
            !is_near("patients", "patient") && !is_near("inpatient", "patient") && !is_near("", "patient")
        );
    }

    #[test]
    fn pairs_hide_no_names_behind_a_semicolon() {
        let names: Vec<_> = in_pair("a", "1;_method=DELETE;b").collect();
        assert_eq!(names, ["a", "_method", "b"]);
        assert_eq!(in_pair("a;b=1;c", "2").collect::<Vec<_>>(), ["a;b=1;c", "a", "b", "c"]);
    }
}
