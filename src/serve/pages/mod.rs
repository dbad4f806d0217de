//! The gateway's own pages: no script, nothing from elsewhere, in the language that the browser asks for.
//!
//! One template; what it says is in `text`. The policy of its content (CSP) lets the browser run nothing, load nothing,
//! and send its one form to where the page is meant to lead.

mod language;
mod text;

use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use self::language::Language;
use self::text::{Says, Text};
use crate::config::settings::PagesSettings;
use crate::enforce::sessions::{Choice, Page, Place};

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#f3f5f7;--card:#fff;--text:#1b1f23;--soft:#495057;--edge:#868e96;font:100%/1.5 system-ui,sans-serif}\
@media(prefers-color-scheme:dark){:root{--ground:#121517;--card:#1e2327;--text:#eceff1;--soft:#b6bec5;--edge:#868e96}\
.action{box-shadow:0 0 0 1px var(--edge)}header img{padding:.5rem;border-radius:.375rem;background:#fff}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;padding:0 1rem;display:flex;flex-direction:column;align-items:center;\
background:var(--ground);color:var(--text)}\
header,main,footer{width:100%;max-width:32rem}\
header,footer{padding:1rem 0}\
header p{margin:.5rem 0 0;font-weight:600}\
header img{display:block;max-width:100%;max-height:4rem}\
main{padding:1.5rem;background:var(--card);border:1px solid var(--edge);border-radius:.5rem}\
h1{margin:0 0 .75rem;font-size:1.5rem;line-height:1.25}\
ul{list-style:none;margin:0;padding:0}\
p,li{margin:0 0 1rem;overflow-wrap:anywhere}\
main>:last-child,li:last-child,footer p{margin-bottom:0}\
.action{display:block;width:100%;min-height:2.75rem;padding:.625rem 1rem;border:0;border-radius:.375rem;\
background:COLOUR;color:#fff;font:inherit;font-weight:600;text-align:center;text-decoration:none;cursor:pointer}\
.action:hover{text-decoration:underline}\
.action:focus-visible{outline:3px solid var(--text);outline-offset:3px}\
footer{font-size:.875rem;color:var(--soft)}\
code{font-family:ui-monospace,monospace}\
@media(min-width:34rem){body{justify-content:center}}\
@media(forced-colors:active){.action{border:1px solid}}";

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
    title: &'static str,
    body: &'static str,
    choices: &'f [Choice],
    form: Option<Choice>,
    action: Option<Choice>,
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
        let own = "'self'".to_owned();
        match page {
            Page::Chooser(choices) => self.fill(Says::Chooser, accepts, decision, choices, None, own),
            Page::ConfirmSignOut { leads_to } => {
                // Browsers hold the redirection that answers a form to the same rule as the form.
                let form_action = leads_to.iter().fold(own, |own, origin| format!("{own} {origin}"));
                self.fill(
                    Says::ConfirmSignOut,
                    accepts,
                    decision,
                    &[],
                    Some(Place::SignOut.path()),
                    form_action,
                )
            }
            Page::SignedOut => {
                self.fill(Says::SignedOut, accepts, decision, &[], Some(Place::SignIn.path()), own)
            }
            Page::Expired(again) => self.fill(Says::Expired, accepts, decision, &[], Some(again), own),
            Page::Failed(again) => self.fill(Says::Failed, accepts, decision, &[], Some(again), own),
            Page::Outage(again) => self.fill(Says::Outage, accepts, decision, &[], Some(again), own),
            _ => self.fill(Says::Malformed, accepts, decision, &[], None, own),
        }
    }

    /// A page in the place of a refusal with this status. `again` is where to try again after a passing fault.
    pub fn refusal(&self, status: u16, again: &str, accepts: Option<&str>, decision: Uuid) -> Rendered {
        let own = "'self'".to_owned();
        let says = match status {
            401 => Says::MoreProof,
            404 => Says::NotFound,
            429 => Says::TooMany,
            500..=599 => Says::Outage,
            403 => Says::Denied,
            _ => Says::Malformed,
        };
        let again = (says == Says::Outage || says == Says::TooMany).then_some(again);
        Rendered { status, ..self.fill(says, accepts, decision, &[], again, own) }
    }

    /// The page in the place of what somebody who is signed in may not do. `other` lets them sign in as somebody else.
    pub fn denied(&self, other: &str, accepts: Option<&str>, decision: Uuid) -> Rendered {
        self.fill(Says::Denied, accepts, decision, &[], Some(other), "'self'".to_owned())
    }

    /// The page for a form that was passed on, and whose answer was lost. Nothing on it sends the form again.
    pub fn uncertain(&self, status: u16, accepts: Option<&str>, decision: Uuid) -> Rendered {
        Rendered { status, ..self.fill(Says::Uncertain, accepts, decision, &[], None, "'self'".to_owned()) }
    }

    /// The page for a form that came without a session, or too late for it. `link` signs in and leads back to the form.
    pub fn ended(&self, link: &str, accepts: Option<&str>, decision: Uuid) -> Rendered {
        self.fill(Says::Ended, accepts, decision, &[], Some(link), "'self'".to_owned())
    }

    fn fill(
        &self,
        says: Says,
        accepts: Option<&str>,
        decision: Uuid,
        choices: &[Choice],
        link: Option<&str>,
        form_action: String,
    ) -> Rendered {
        let language = Language::of(accepts);
        let Text { title, body, action } = says.text(language);
        let button = link.map(|link| Choice { label: action.into(), link: link.to_owned() });
        let (form, action) = if says == Says::ConfirmSignOut { (button, None) } else { (None, button) };
        let filled = Filled {
            language: language.tag(),
            brand: &self.brand,
            logo: self.logo.as_deref(),
            style: &self.style,
            title,
            body,
            choices,
            form,
            action,
            reference: text::reference(language),
            decision,
        };
        let digest = &self.style_digest;
        Rendered {
            status: says.status(),
            // Writing to a string can't fail.
            html: filled.render().unwrap_or_default(),
            content_policy: format!(
                "default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action {form_action}; base-uri 'none'; frame-ancestors 'none'"
            ),
            language: language.tag(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Pages {
        Pages::new(&PagesSettings { name: "St. <Anna> & Sons".into(), ..PagesSettings::default() })
    }

    #[test]
    fn every_page_is_whole_in_every_language_and_runs_nothing() {
        let choices =
            vec![Choice { label: "Patients \"A\"".into(), link: "/_wardgate/sign-in?to=%2F&x=<".into() }];
        let all = [
            Page::Chooser(choices),
            Page::ConfirmSignOut { leads_to: Some("https://login.example".into()) },
            Page::SignedOut,
            Page::Expired("/a\"><script>".to_owned()),
            Page::Failed("/".to_owned()),
            Page::Outage("/".to_owned()),
            Page::Malformed,
        ];
        for (accepts, tag) in [(Some("es-MX,es;q=0.9,en;q=0.8"), "es"), (Some("de"), "en"), (None, "en")] {
            for page in &all {
                let Rendered { html, content_policy, language, .. } =
                    pages().page(page, accepts, Uuid::nil());
                assert_eq!(language, tag);
                assert!(html.contains(&format!("<html lang=\"{tag}\">")), "{html}");
                assert!(html.contains(&Uuid::nil().to_string()), "the decision's id: {html}");
                assert!(html.contains("St. &#60;Anna&#62; &#38; Sons"), "escaped: {html}");
                assert!(!html.contains("<script") && !html.contains("href=\"http"), "{html}");
                assert!(content_policy.starts_with("default-src 'none'; style-src 'sha256-"));
                assert!(!content_policy.contains("script-src") && !content_policy.contains("unsafe"));
                assert!(content_policy.contains("frame-ancestors 'none'"));
            }
        }
        let confirm = pages().page(&all[1], None, Uuid::nil());
        assert!(confirm.content_policy.contains("form-action 'self' https://login.example;"));
        assert!(confirm.html.contains("<form method=\"post\" action=\"/_wardgate/sign-out\">"));
    }

    #[test]
    fn a_refusals_page_has_its_status() {
        for status in [400, 401, 403, 404, 405, 429, 500, 503] {
            let page = pages().refusal(status, "/again", Some("es"), Uuid::nil());
            assert_eq!((page.status, page.language), (status, "es"));
            assert_eq!(page.html.contains("href=\"/again\""), status == 429 || status >= 500, "{status}");
        }
    }
}
