//! What a page of a visit holds, and where its buttons lead.

use super::language::Language;
use super::text::Says;
use super::words::{Words, words};
use crate::enforce::break_glass::Form;
use crate::enforce::sessions::{ActsForYou, Choice, Page, Place};
use crate::request::shown::{Shown, ShownValue};

/// What a page holds beside its own words.
pub struct Content<'p> {
    /// What it is about.
    pub says: Says,
    /// What people call the action.
    pub label: Option<&'p str>,
    /// A code to compare.
    pub code: Option<&'p str>,
    /// Paragraphs after its own.
    pub notes: Vec<String>,
    /// What is to be confirmed.
    pub rows: Vec<Row>,
    /// Where its main button leads.
    pub button: Option<&'p str>,
    /// Whether that button sends a form.
    pub is_form: bool,
    /// Where beside this host the form may lead to: another origin, or `*`.
    pub leads_to: Option<&'p str>,
    /// More buttons.
    pub choices: &'p [Choice],
    /// What stands above those.
    pub heading: Option<&'static str>,
    /// Whether the first of those is the main one.
    pub is_ranked: bool,
    /// What is filled in to break the glass.
    pub glass: Option<GlassForm<'p>>,
    /// The way out.
    pub out: Option<Choice>,
}

/// What is filled in to break the glass.
pub struct GlassForm<'p> {
    /// Where the form posts to.
    pub action: &'p str,
    /// Path and query of the page that was refused.
    pub to: &'p str,
    /// The reasons that can be given.
    pub codes: &'p [Box<str>],
    /// Before them.
    pub code_label: &'static str,
    /// Before one's own words.
    pub text_label: &'static str,
    /// How long those must be.
    pub hint: String,
    /// The fewest characters.
    pub text_min: usize,
    /// Before a code that was handed out, where one is needed.
    pub offline_label: Option<&'static str>,
    /// What that is.
    pub offline_hint: &'static str,
    /// The reason that was chosen before.
    pub code: &'p str,
    /// What was written before: nobody has to write it again (WCAG 3.3.7).
    pub text: &'p str,
}

/// A row of what is to be confirmed.
pub struct Row {
    /// The field's name.
    pub name: String,
    /// What it holds.
    pub value: String,
    /// Whether that is said of the value, and is not the value.
    pub is_remark: bool,
}

impl<'p> Content<'p> {
    /// A page with at most one button.
    pub const fn plain(says: Says, button: Option<&'p str>) -> Self {
        Self {
            says,
            label: None,
            code: None,
            notes: Vec::new(),
            rows: Vec::new(),
            button,
            is_form: false,
            leads_to: None,
            choices: &[],
            heading: None,
            is_ranked: false,
            glass: None,
            out: None,
        }
    }

    /// The same with other ways below it.
    fn or(self, others: &'p [Choice], words: &Words) -> Self {
        Self { choices: others, heading: (!others.is_empty()).then_some(words.others), ..self }
    }

    /// The same with a way out for those who don't want it.
    fn or_back(self, back: &Option<String>, words: &Words) -> Self {
        let out = back.as_ref().map(|back| Choice { label: words.no.into(), link: back.clone() });
        Self { out, ..self }
    }

    /// What a page holds.
    pub fn new(page: &'p Page, language: Language) -> Self {
        let words = words(language);
        match page {
            Page::Chooser(choices) => Self { choices, ..Self::plain(Says::Chooser, None) },
            Page::ConfirmSignOut { leads_to } => Self {
                is_form: true,
                leads_to: leads_to.as_deref(),
                ..Self::plain(Says::ConfirmSignOut, Some(Place::SignOut.path()))
            },
            Page::SignedOut => Self::plain(Says::SignedOut, Some(Place::SignIn.path())),
            Page::Expired(again) => Self::plain(Says::Expired, Some(again)),
            Page::Failed(again) => Self::plain(Says::Failed, Some(again)),
            Page::Outage(again) => Self::plain(Says::Outage, Some(again)),
            Page::Malformed => Self::plain(Says::Malformed, None),
            Page::StepUp { label, ways, back, .. } if ways.is_empty() => {
                Self { label: label.as_deref(), ..Self::plain(Says::NoWay, None) }.or_back(back, words)
            }
            Page::StepUp { label, ways, kept, lost, back } => Self {
                label: label.as_deref(),
                notes: [(kept, words.kept), (lost, words.lost)]
                    .into_iter()
                    .filter(|(is_so, _)| **is_so)
                    .map(|(_, note)| note.to_owned())
                    .collect(),
                choices: ways,
                is_ranked: true,
                ..Self::plain(Says::StepUp, None).or_back(back, words)
            },
            Page::Confirm { label, account, shown, action, cancel } => Self {
                label: label.as_deref(),
                notes: notes(account.as_deref(), shown, words),
                rows: shown.iter().filter_map(|row| Row::new(row, words)).collect(),
                is_form: true,
                // What answers is the application, which may lead on to wherever it would have without the gateway.
                leads_to: Some("*"),
                out: Some(Choice { label: words.no.into(), link: cancel.clone() }),
                ..Self::plain(Says::Confirm, Some(action))
            },
            Page::Waiting { label, code, seconds, here, others, cancel } => Self {
                label: label.as_deref(),
                code: (!code.is_empty()).then_some(code),
                // The page does not load itself again. Whoever reads it slowly, or has it read out, would lose their
                // place each time (WCAG 2.2.1, failure F41), and nothing here could tell the browser to stop.
                notes: vec![words.patience.replace("{seconds}", &seconds.to_string())],
                out: Some(Choice { label: words.stop.into(), link: cancel.clone() }),
                ..Self::plain(if code.is_empty() { Says::Asked } else { Says::Waiting }, Some(here))
                    .or(others, words)
            },
            Page::BreakGlass(Form { to, action, wanted, given }) => Self {
                notes: given.as_ref().map(|_| words.incomplete.to_owned()).into_iter().collect(),
                glass: Some(GlassForm {
                    action,
                    to,
                    codes: &wanted.offer.reason_codes,
                    offline_label: wanted.needs_code.then_some(words.offline_code),
                    offline_hint: words.offline_hint,
                    code_label: words.code,
                    text_label: words.own_words,
                    hint: words.hint.replace("{count}", &wanted.offer.text_min.to_string()),
                    text_min: wanted.offer.text_min,
                    code: given.as_ref().map_or("", |given| &given.code),
                    text: given.as_ref().map_or("", |given| &given.text),
                }),
                out: Some(Choice { label: words.no.into(), link: "/".to_owned() }),
                ..Self::plain(if given.is_some() { Says::BreakGlassAgain } else { Says::BreakGlass }, None)
            },
            Page::Delegations { people, .. } if people.is_empty() => Self::plain(Says::NobodyActs, Some("/")),
            Page::Delegations { people, ends } => Self {
                rows: people.iter().map(|person| Row::of_person(person, words)).collect(),
                choices: ends,
                heading: Some(words.end_access),
                ..Self::plain(Says::Delegations, None)
            },
            Page::EndDelegation { name, action, back } => Self {
                label: Some(name),
                is_form: true,
                out: Some(Choice { label: words.no.into(), link: (*back).to_owned() }),
                ..Self::plain(Says::EndDelegation, Some(action))
            },
            Page::BreakGlassProof(link) => Self::plain(Says::BreakGlassProof, Some(link)),
            Page::BreakGlassSuspended(back) => Self::plain(Says::BreakGlassSuspended, Some(back)),
            Page::BreakGlassDrill(back) => Self::plain(Says::BreakGlassDrill, Some(back)),
            Page::Proven => Self::plain(Says::Proven, None),
            Page::Sent { ok: true, back } => Self::plain(Says::Sent, Some(back)),
            Page::Sent { ok: false, back } => Self::plain(Says::NotAccepted, Some(back)),
            Page::AlreadySent(back) => Self::plain(Says::AlreadySent, Some(back)),
            Page::IntentGone(back) => Self::plain(Says::IntentGone, Some(back)),
            Page::LinkGone(back) => Self::plain(Says::LinkGone, Some(back)),
            Page::OtherPerson(back) => Self::plain(Says::OtherPerson, Some(back)),
            Page::ProofRefused { again, others, back } => {
                Self::plain(Says::ProofRefused, Some(again)).or(others, words).or_back(back, words)
            }
            Page::WayOutage { again, others } => Self::plain(Says::WayOutage, Some(again)).or(others, words),
            Page::TooManyPrompts(others) => Self::plain(Says::TooManyPrompts, None).or(others, words),
        }
    }
}

/// What is to be said of a list as a whole.
fn notes(account: Option<&str>, shown: &[Shown], words: &Words) -> Vec<String> {
    let account = account.map(|account| words.account.replace("{account}", account));
    if shown.is_empty() {
        return account.into_iter().chain([words.unread.to_owned()]).collect();
    }
    let more = |row: &Shown| match row.value {
        ShownValue::More(count) => Some(words.more.replace("{count}", &count.to_string())),
        ShownValue::Unread => Some(words.unread.to_owned()),
        ShownValue::Text(_) | ShownValue::Hidden | ShownValue::File { .. } => None,
    };
    account.into_iter().chain(shown.iter().filter_map(more)).collect()
}

impl Row {
    fn of_person(person: &ActsForYou, words: &Words) -> Self {
        let text = if person.waits { words.waits } else { words.acts_until };
        let value = text.replace("{relation}", &person.relation).replace("{date}", &person.until);
        Self { name: person.name.to_string(), value, is_remark: person.waits }
    }

    fn new(row: &Shown, words: &Words) -> Option<Self> {
        let (value, is_remark) = match &row.value {
            ShownValue::Text(text) if text.is_empty() => (words.empty.to_owned(), true),
            ShownValue::Text(text) => (text.to_string(), false),
            ShownValue::Hidden => (words.hidden.to_owned(), true),
            ShownValue::File { name, bytes } => (format!("{name} ({})", size(*bytes, words.decimal)), false),
            ShownValue::More(_) | ShownValue::Unread => return None,
        };
        let name = if row.name.is_empty() { words.nameless.to_owned() } else { row.name.to_string() };
        Some(Self { name, value, is_remark })
    }
}

/// How long a file is, as people say it: `850 B`, `1.2 MB`.
fn size(bytes: usize, decimal: char) -> String {
    const UNITS: [&str; 3] = ["kB", "MB", "GB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes / 100;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    format!("{}{decimal}{} {}", tenths / 10, tenths % 10, UNITS.get(unit).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_want_to_give_proof_can_go_back() {
        let back = || Some("/bills".to_owned());
        let ways = vec![Choice { label: "By card".into(), link: "/card".into() }];
        for page in [
            Page::StepUp { label: None, ways: ways.clone(), kept: true, lost: false, back: back() },
            Page::StepUp { label: None, ways: Vec::new(), kept: false, lost: false, back: back() },
            Page::ProofRefused { again: "/again".into(), others: ways, back: back() },
        ] {
            for (language, label) in [(Language::English, "No, go back"), (Language::Spanish, "No, volver")] {
                let out = Content::new(&page, language).out.expect("a way out");
                assert_eq!((&*out.label, &*out.link), (label, "/bills"), "{page:?}");
            }
        }
    }

    #[test]
    fn files_are_as_long_as_people_say() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_999, "999.9 kB"),
            (1_000_000, "1.0 MB"),
            (1_250_000, "1.2 MB"),
            (3_000_000_000, "3.0 GB"),
        ] {
            assert_eq!(size(bytes, '.'), expected);
        }
        assert_eq!(size(1500, ','), "1,5 kB");
    }
}
