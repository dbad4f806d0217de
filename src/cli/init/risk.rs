//! How risky an operation sounds, by its method and the words that it is called by.
//!
//! Words only raise: an operation that sounds harmless is judged by its method.

/// What takes things away.
const ERASING: &[&str] = &["delete", "remove", "erase", "purge", "destroy", "wipe", "merge", "unmerge"];
/// What lets much out at once.
const EXPORTING: &[&str] =
    &["export", "download", "dump", "bulk", "backup", "archive", "everything", "extract"];
/// Ways back into an account, and what opens it.
const RECOVERING: &[&str] = &[
    "password",
    "passwd",
    "recover",
    "recovery",
    "reset",
    "credential",
    "mfa",
    "otp",
    "totp",
    "passkey",
    "authenticator",
    "secret",
    "apikey",
    "token",
    "impersonate",
];
/// Who may act, and where somebody is reached.
const CONTROLLING: &[&str] = &[
    "role",
    "permission",
    "grant",
    "admin",
    "delegate",
    "delegation",
    "proxy",
    "consent",
    "email",
    "mail",
    "phone",
    "address",
    "contact",
    "prescribe",
];
/// Money.
const PAYING: &[&str] = &[
    "pay", "payment", "payout", "refund", "charge", "transfer", "iban", "bank", "card", "billing", "invoice",
    "checkout", "purchase",
];
/// What tells of somebody's health.
const CLINICAL: &[&str] = &[
    "patient",
    "record",
    "chart",
    "observation",
    "result",
    "lab",
    "medication",
    "prescription",
    "diagnosis",
    "diagnostic",
    "condition",
    "allergy",
    "immunization",
    "vaccination",
    "encounter",
    "visit",
    "appointment",
    "procedure",
    "imaging",
    "clinical",
    "note",
];
/// What people are called by where their records are.
const PATIENT: &[&str] = &["patient", "mrn", "subject", "beneficiary"];

/// What an operation does to what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It reads.
    Reads,
    /// It may change something.
    Writes,
    /// It deletes.
    Deletes,
}

/// A tier, with what speaks for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Risk {
    /// The name of one of the tiers that are there without a word.
    pub(super) tier: &'static str,
    /// Why, in words for the operator.
    pub(super) reason: String,
}

/// Judges an operation by what it does and the [`words`] for it.
pub(super) fn judge(kind: Kind, words: &[String]) -> Risk {
    let critical = |reason: String| Risk { tier: "critical", reason };
    let writes = kind != Kind::Reads;
    if kind == Kind::Deletes {
        return critical("it deletes".to_owned());
    }
    if let Some(word) = first(words, EXPORTING) {
        return critical(format!("`{word}` sounds as if much leaves at once"));
    }
    if let Some(word) = first(words, RECOVERING) {
        return critical(format!("`{word}` sounds like a way into an account"));
    }
    if !writes {
        return match first(words, PAYING) {
            Some(word) => Risk { tier: "high", reason: format!("it reads, and `{word}` sounds like money") },
            None => Risk { tier: "moderate", reason: "it reads".to_owned() },
        };
    }
    if let Some(word) = first(words, ERASING) {
        return critical(format!("it writes, and `{word}` sounds as if something is lost"));
    }
    if let Some(word) = first(words, CONTROLLING) {
        return critical(format!(
            "it writes, and `{word}` sounds like who may act or where somebody is reached"
        ));
    }
    if let Some(word) = first(words, PAYING) {
        return critical(format!("it writes, and `{word}` sounds like money"));
    }
    Risk { tier: "high", reason: "it may write, and nothing here proves that it is harmless".to_owned() }
}

/// Whether it sounds as if it told of somebody's health.
pub(super) fn is_clinical(words: &[String]) -> bool {
    first(words, CLINICAL).is_some()
}

/// Whether a parameter, or what stands before it in a path, names a patient.
pub(super) fn names_patient(text: &str) -> bool {
    first(&words(text), PATIENT).is_some()
}

/// The first word that is in a list. Long ones count within others (`resetpassword`), short ones only alone.
fn first<'w>(words: &'w [String], known: &[&str]) -> Option<&'w str> {
    let is_known = |word: &str| {
        known.iter().any(|known| match known.len() {
            7.. => word.contains(known),
            6 => word.starts_with(known),
            _ => word == *known,
        })
    };
    words.iter().map(String::as_str).find(|word| is_known(word))
}

/// The words of a name in lower case and the singular: `getPatientsByID` is `get`, `patient`, `by` and `id`.
pub(super) fn words(text: &str) -> Vec<String> {
    words_as_written(text).iter().map(|word| singular(word)).collect()
}

/// The words of a name in lower case.
pub(super) fn words_as_written(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut was_small = false;
    for letter in text.chars().chain([' ']) {
        let ends = !letter.is_alphanumeric() || (letter.is_uppercase() && was_small);
        if ends && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if letter.is_alphanumeric() {
            word.extend(letter.to_lowercase());
        }
        was_small = !letter.is_uppercase();
    }
    words
}

fn singular(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ies") {
        return format!("{stem}y");
    }
    if let Some(stem) = word.strip_suffix("sses") {
        return format!("{stem}ss");
    }
    match word.strip_suffix('s') {
        Some(stem) if stem.len() > 2 && !stem.ends_with(['s', 'i', 'u']) => stem.to_owned(),
        _ => word.to_owned(),
    }
}
