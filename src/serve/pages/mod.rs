//! The gateway's own pages: no script, nothing from elsewhere, in the language that the browser asks for.
//!
//! One template; what it says is in `text`. The policy of its content (CSP) lets the browser run nothing, load nothing,
//! and send its one form to where the page is meant to lead.

mod content;
mod language;
mod style;
mod text;
mod words;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use self::content::{Content, GlassForm, Row};
use self::language::Language;
use self::style::STYLE;
use self::text::{Says, Text};
use self::words::words;
use crate::config::settings::PagesSettings;
use crate::enforce::sessions::{Choice, Page};

/// What every page has in common.
pub struct Pages {
    brand: Box<str>,
    logo: Option<String>,
    style: String,
    /// The style's digest, by which the browser knows it (CSP Level 3, §6.7.3).
    style_digest: String,
}

/// A page that is ready to be sent.
#[derive(Debug)]
pub struct Rendered {
    /// The status it has where nothing else chooses one.
    pub status: u16,
    /// Its text.
    pub html: String,
    /// What the browser may do with it.
    pub content_policy: String,
    /// Its language.
    pub language: &'static str,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Filled<'f> {
    language: &'static str,
    brand: &'f str,
    logo: Option<&'f str>,
    style: &'f str,
    title: &'f str,
    body: &'f str,
    code: Option<&'f str>,
    rows: &'f [Row],
    notes: &'f [String],
    glass: Option<GlassForm<'f>>,
    /// What the form's button says.
    button: &'static str,
    form: Option<Choice>,
    action: Option<Choice>,
    heading: Option<&'static str>,
    choices: &'f [Choice],
    is_ranked: bool,
    out: Option<Choice>,
    /// For a way that has no name of its own.
    sign_in_again: &'static str,
    reference: &'static str,
    decision: Uuid,
}

impl Pages {
    /// Pages that look so.
    pub fn new(settings: &PagesSettings) -> Self {
        let style = STYLE.replace("COLOUR", &settings.colour);
        let logo = settings.logo.as_ref();
        Self {
            brand: settings.name.clone(),
            logo: logo.map(|logo| format!("data:{};base64,{}", logo.media, STANDARD.encode(&logo.bytes))),
            style_digest: STANDARD.encode(digest(&SHA256, style.as_bytes()).as_ref()),
            style,
        }
    }

    /// A page of a visit. `accepts` is the request's `Accept-Language`.
    pub fn page(&self, page: &Page, accepts: Option<&str>, decision: Uuid) -> Rendered {
        let language = Language::of(accepts);
        self.lay_out(Content::new(page, language), language, decision)
    }

    /// A page in the place of a refusal with this status. `again` is where to try again after a passing fault.
    pub fn refusal(&self, status: u16, again: &str, accepts: Option<&str>, decision: Uuid) -> Rendered {
        let says = match status {
            401 => Says::MoreProof,
            404 => Says::NotFound,
            429 => Says::TooMany,
            500..=599 => Says::Outage,
            403 => Says::Denied,
            _ => Says::Malformed,
        };
        let again = (says == Says::Outage || says == Says::TooMany).then_some(again);
        Rendered { status, ..self.plain(says, accepts, decision, again) }
    }

    /// The page in the place of what somebody who is signed in may not do. `other` lets them sign in as somebody else.
    /// `glass` is where the glass can be broken, where they may.
    pub fn denied(
        &self,
        other: &str,
        glass: Option<String>,
        accepts: Option<&str>,
        decision: Uuid,
    ) -> Rendered {
        let language = Language::of(accepts);
        let words = words(language);
        let ways: Vec<Choice> =
            glass.map(|link| Choice { label: words.break_glass.into(), link }).into_iter().collect();
        let heading = (!ways.is_empty()).then_some(words.emergency);
        let content = Content { choices: &ways, heading, ..Content::plain(Says::Denied, Some(other)) };
        self.lay_out(content, language, decision)
    }

    /// The page for a form that was passed on, and whose answer was lost. Nothing on it sends the form again.
    pub fn uncertain(&self, status: u16, accepts: Option<&str>, decision: Uuid) -> Rendered {
        Rendered { status, ..self.plain(Says::Uncertain, accepts, decision, None) }
    }

    /// The page for a form that came without a session, or too late for it. `link` signs in and leads back to the form.
    pub fn ended(&self, link: &str, accepts: Option<&str>, decision: Uuid) -> Rendered {
        self.plain(Says::Ended, accepts, decision, Some(link))
    }

    fn plain(&self, says: Says, accepts: Option<&str>, decision: Uuid, button: Option<&str>) -> Rendered {
        self.lay_out(Content::plain(says, button), Language::of(accepts), decision)
    }

    fn lay_out(&self, content: Content<'_>, language: Language, decision: Uuid) -> Rendered {
        let words = words(language);
        let Text { title, body, action } = content.says.text(language);
        let action_text = action;
        let names_action = |text: &str| match content.label {
            Some(label) if content.says == Says::Confirm => format!("{text}: {label}"),
            _ => text.to_owned(),
        };
        let label = content.label.map_or_else(|| words.this.to_owned(), |label| format!("“{label}”"));
        let button =
            content.button.map(|link| Choice { label: names_action(action).into(), link: link.to_owned() });
        let (form, action) = if content.is_form { (button, None) } else { (None, button) };
        let filled = Filled {
            language: language.tag(),
            brand: &self.brand,
            logo: self.logo.as_deref(),
            style: &self.style,
            title: &names_action(title),
            body: &body.replace("{label}", &label),
            code: content.code,
            rows: &content.rows,
            notes: &content.notes,
            glass: content.glass,
            button: action_text,
            form,
            action,
            heading: content.heading,
            choices: content.choices,
            is_ranked: content.is_ranked,
            out: content.out,
            sign_in_again: words.sign_in_again,
            reference: words.reference,
            decision,
        };
        let digest = &self.style_digest;
        // Browsers hold the redirection that answers a form to the same rule as the form.
        let leads_to = content.leads_to.map(|origin| format!(" {origin}")).unwrap_or_default();
        Rendered {
            status: content.says.status(),
            // Writing to a string can't fail.
            html: filled.render().unwrap_or_default(),
            content_policy: format!(
                "default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action 'self'{leads_to}; base-uri 'none'; frame-ancestors 'none'"
            ),
            language: language.tag(),
        }
    }
}

#[cfg(test)]
mod tests;
