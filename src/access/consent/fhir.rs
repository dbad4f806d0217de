//! What a search for a patient's Consent resources says (FHIR R4 §6.2).
//!
//! Only a subset is understood: the basic rule (`policyRule`), and provisions that are limited by a period or by purposes.
//! What goes beyond that can only take away: a provision that permits under conditions which are not understood permits
//! nothing, one that denies under such conditions denies.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value};

/// The consents about sharing what is recorded; those about treatment, research and care in advance say nothing of it.
const PRIVACY: &str = "patient-privacy";
const OTHER_SCOPES: [&str; 3] = ["treatment", "research", "adr"];
/// Where the codes of scopes are defined.
const SCOPES: &str = "http://terminology.hl7.org/CodeSystem/consentscope";
/// What a provision may be limited by, and still is understood.
const UNDERSTOOD: [&str; 5] = ["id", "type", "period", "purpose", "provision"];
/// The members of a Consent that make none of its meaning uncertain.
const PLAIN: [&str; 15] = [
    "resourceType",
    "id",
    "meta",
    "text",
    "language",
    "identifier",
    "status",
    "scope",
    "category",
    "patient",
    "dateTime",
    "organization",
    "policyRule",
    "provision",
    "performer",
];
/// Members that document it.
const SOURCES: [&str; 5] = ["sourceAttachment", "sourceReference", "policy", "verification", "extension"];

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The server's base, without a slash at its end.
    pub base: &'a str,
    /// The patient's id.
    pub patient: &'a str,
    /// The code of the purpose, as consents have it.
    pub purpose: Option<&'a str>,
    /// When.
    pub now: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Permit,
    Deny,
}

/// Whether text is an id (FHIR R4 §2.24.0.1).
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// Whether what was found says that the patient consents: something permits, and nothing denies.
///
/// # Errors
/// It is no whole answer to a search.
pub fn given(bundle: &Value, asked: &Asked<'_>) -> Result<bool, &'static str> {
    let text = |name: &str| bundle.get(name).and_then(Value::as_str);
    if text("resourceType") != Some("Bundle") || text("type") != Some("searchset") {
        return Err("it is no Bundle of a search");
    }
    let links = bundle.get("link").and_then(Value::as_array).into_iter().flatten();
    if links.into_iter().any(|link| link.get("relation").and_then(Value::as_str) == Some("next")) {
        return Err("the patient has more consents than fit on one page");
    }
    let entries = match bundle.get("entry") {
        None => &[][..],
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err("`entry` is no list"),
    };
    let mut permitted = false;
    for entry in entries {
        let Some(Value::Object(resource)) = entry.get("resource") else {
            return Err("an entry has no resource");
        };
        match word(resource, asked) {
            Some(Word::Deny) => return Ok(false),
            Some(Word::Permit) => permitted = true,
            None => {}
        }
    }
    Ok(permitted)
}

/// What one resource says; nothing where it is about something else.
fn word(consent: &Map<String, Value>, asked: &Asked<'_>) -> Option<Word> {
    let text = |name: &str| consent.get(name).and_then(Value::as_str);
    // Servers may leave out what they don't know of a search.
    if text("resourceType") != Some("Consent") || text("status") != Some("active") {
        return None;
    }
    let whose = consent.get("patient").and_then(|patient| patient.get("reference")).and_then(Value::as_str);
    if !whose.is_some_and(|whose| is_patient(whose, asked)) || is_about_other_things(consent.get("scope")) {
        return None;
    }
    let is_understood =
        consent.get("scope").is_some_and(|scope| codes(scope, Some(SCOPES)).contains(&PRIVACY))
            && consent.keys().all(|name| PLAIN.contains(&&**name) || SOURCES.contains(&&**name));
    let base = match consent.get("policyRule") {
        None => Some(None),
        Some(rule) => match codes(rule, None)[..] {
            ["OPTIN"] => Some(Some(Word::Permit)),
            ["OPTOUT"] => Some(Some(Word::Deny)),
            _ => None,
        },
    };
    let said = match (base, consent.get("provision")) {
        // What the rule means is not known: what is beside it may take away, and gives nothing.
        (None, provision) => {
            provision.and_then(|root| apply(root, None, asked)).filter(|word| *word == Word::Deny)
        }
        (Some(base), None) => base,
        (Some(base), Some(root)) => apply(root, base, asked),
    };
    if is_understood { said } else { said.filter(|word| *word == Word::Deny) }
}

/// A rule within what has been said above it.
fn apply(rule: &Value, above: Option<Word>, asked: &Asked<'_>) -> Option<Word> {
    let Value::Object(members) = rule else { return above.filter(|word| *word == Word::Deny) };
    let own = match members.get("type").map(Value::as_str) {
        None => above,
        Some(Some("permit")) => Some(Word::Permit),
        Some(_) => Some(Word::Deny),
    };
    let in_time = members.get("period").map_or(Some(true), |period| is_within(period, asked.now));
    let in_purpose = match (members.get("purpose"), asked.purpose) {
        (None, _) => Some(true),
        (Some(Value::Array(list)), Some(purpose)) => {
            Some(list.iter().any(|coding| coding.get("code").and_then(Value::as_str) == Some(purpose)))
        }
        (Some(_), _) => None,
    };
    if in_time == Some(false) || in_purpose == Some(false) {
        // What is permitted at another time only, or is limited to other purposes, is not permitted now.
        let is_limit = own != Some(Word::Deny) && (in_time == Some(false) || !members.contains_key("type"));
        return above.filter(|word| *word == Word::Deny || !is_limit);
    }
    let understood =
        in_time.is_some() && in_purpose.is_some() && members.keys().all(|name| UNDERSTOOD.contains(&&**name));
    if !understood {
        return match own {
            Some(Word::Deny) => Some(Word::Deny),
            // It permits under some conditions, or limits what is permitted to some.
            _ => above.filter(|word| *word == Word::Deny || members.contains_key("type")),
        };
    }
    let nested = match members.get("provision") {
        None => &[][..],
        Some(Value::Array(list)) => list,
        Some(_) => return Some(Word::Deny),
    };
    // Exceptions to a refusal are left alone: it stands.
    if own == Some(Word::Deny) {
        return own;
    }
    let words: Vec<Option<Word>> = nested.iter().map(|exception| apply(exception, own, asked)).collect();
    let permits = |word: &Option<Word>| *word == Some(Word::Permit);
    match own {
        _ if words.contains(&Some(Word::Deny)) => Some(Word::Deny),
        // One that is not understood limits what is permitted, nobody knows to what.
        Some(_) => Some(if words.iter().all(permits) { Word::Permit } else { Word::Deny }),
        None => words.iter().any(permits).then_some(Word::Permit),
    }
}

fn is_patient(reference: &str, asked: &Asked<'_>) -> bool {
    let relative = reference.strip_prefix(asked.base).and_then(|rest| rest.strip_prefix('/'));
    relative.unwrap_or(reference).strip_prefix("Patient/") == Some(asked.patient)
}

fn is_about_other_things(scope: Option<&Value>) -> bool {
    let codes = scope.map(|scope| codes(scope, Some(SCOPES))).unwrap_or_default();
    !codes.is_empty() && codes.iter().all(|code| OTHER_SCOPES.contains(code))
}

/// The codes of a concept, of one system where that is asked for.
fn codes<'v>(concept: &'v Value, system: Option<&str>) -> Vec<&'v str> {
    let codings = concept.get("coding").and_then(Value::as_array).into_iter().flatten();
    codings
        .filter(|coding| system.is_none() || coding.get("system").and_then(Value::as_str) == system)
        .map(|coding| coding.get("code").and_then(Value::as_str).unwrap_or_default())
        .collect()
}

/// Whether a moment is within a Period (FHIR R4 §2.24.0.11), whose parts may be as short as a year and count as a whole;
/// `None` where it can't be read.
fn is_within(period: &Value, now: Timestamp) -> Option<bool> {
    let Value::Object(members) = period else { return None };
    if !members.keys().all(|name| matches!(&**name, "start" | "end" | "id")) {
        return None;
    }
    let moment = |name: &str, at_end: bool| match members.get(name) {
        None => Some(None),
        Some(value) => boundary(value.as_str()?, at_end).map(Some),
    };
    let (start, end) = (moment("start", false)?, moment("end", true)?);
    Some(start.is_none_or(|start| start <= now) && end.is_none_or(|end| now <= end))
}

/// The first moment of what a text names, or the first one after it. Days are those of UTC.
fn boundary(text: &str, at_end: bool) -> Option<Timestamp> {
    if text.contains('T') {
        return text.parse().ok();
    }
    let (day, lasts) = match text.split('-').count() {
        1 => (format!("{text}-01-01"), 1.year()),
        2 => (format!("{text}-01"), 1.month()),
        _ => (text.to_owned(), 1.day()),
    };
    let day: Date = day.parse().ok()?;
    let day = if at_end { day.checked_add(lasts).ok()? } else { day };
    Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests;
