//! The page on which a person says why, and goes on to what was refused.

use std::sync::Arc;

use http::{HeaderMap, Method, header};
use pingora::proxy::Session;

use super::super::context::Context;
use super::super::intake::{self, SessionBody};
use super::super::own::{accepts, encoded};
use super::super::proxy::Gateway;
use super::super::reply::Reply;
use super::{MOST_BYTES, PATH};
use crate::decision::{Denial, Reason};
use crate::enforce::BodySource as _;
use crate::enforce::break_glass::{Asked, Broken, Form, Given, Wanted};
use crate::enforce::sessions::{Page, Place, Sessions};
use crate::request::Facts;
use crate::request::credentials::Presented;
use crate::request::fetch::From;
use crate::request::target::Target;

const FORM: &str = "application/x-www-form-urlencoded";

/// What was filled in.
#[derive(Clone, Default)]
struct FilledIn {
    to: String,
    code: String,
    text: String,
    offline_code: Option<String>,
}

/// The sessions, where it is a person who asks: in a browser, at a host where people sign in.
pub(in crate::serve) fn wanted(
    context: &Context,
    session: &Session,
    facts: &Facts,
) -> Option<Arc<dyn Sessions>> {
    let sessions = context.live.generation.sessions.as_ref()?;
    let is_form = media(&session.req_header().headers).is_some_and(|media| media.starts_with(FORM));
    let is_person = matches!(facts.presented, Presented::Nothing | Presented::Session(_))
        && (facts.method == Method::GET || (facts.method == Method::POST && is_form));
    (is_person && sessions.serves(facts.host.as_str())).then(|| Arc::clone(sessions))
}

fn media(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

/// Whether every browser reads a path and query as this host's (URL standard, §4.4): it goes back to a browser as an address.
fn is_of_this_host(to: &str) -> bool {
    !to.starts_with("//") && Target::parse(to.as_bytes()).is_ok_and(|_| to.starts_with('/'))
}

impl Gateway {
    /// Shows the page, or takes what was filled in.
    pub(super) async fn break_glass_page(
        &self,
        session: &mut Session,
        context: &mut Context,
        facts: &Facts,
        sessions: &dyn Sessions,
    ) -> pingora::Result<()> {
        let headers = session.req_header().headers.clone();
        let reply = match self.filled_in(session, context, facts).await {
            Ok(form) => self.glass_reply(session, context, facts, (sessions, &headers), form).await?,
            Err(reason) => {
                let arrival = self.arrival(context, &facts.method, Ok(facts));
                let denial = self.gate.refuse_visit(&arrival, reason).await;
                self.refusal_page(context, &denial, &headers)?
            }
        };
        reply.with_proxy_status(&self.proxy_status, None)?.send(session).await
    }

    /// The form, or before there is one where it is to lead.
    async fn filled_in(
        &self,
        session: &mut Session,
        context: &mut Context,
        facts: &Facts,
    ) -> Result<(FilledIn, bool), Reason> {
        if facts.method == Method::GET {
            if !intake::drain(session, Some(facts), None).await {
                session.set_keepalive(None);
            }
            let to = facts.target.query_once("to").filter(|to| is_of_this_host(to));
            let to = to.ok_or(Reason::BreakGlassMalformed)?.into_owned();
            return Ok((FilledIn { to, ..FilledIn::default() }, false));
        }
        let collected = SessionBody::new(session).collect(MOST_BYTES).await;
        if let Some(running) = &mut context.running {
            running.has_body();
        }
        let bytes = collected.map_err(|fault| {
            session.set_keepalive(None);
            Reason::from(fault)
        })?;
        // Browsers send a session's cookie whoever's page asks them to.
        if facts.fetch.from != From::Own {
            return Err(Reason::CrossSite);
        }
        let mut form = FilledIn::default();
        for (name, value) in form_urlencoded::parse(&bytes) {
            let place = match name.as_ref() {
                "to" => &mut form.to,
                "code" => &mut form.code,
                "text" => &mut form.text,
                "offline_code" => form.offline_code.get_or_insert_default(),
                _ => return Err(Reason::BreakGlassMalformed),
            };
            if !std::mem::replace(place, value.into_owned()).is_empty() {
                return Err(Reason::BreakGlassMalformed);
            }
        }
        if is_of_this_host(&form.to) { Ok((form, true)) } else { Err(Reason::BreakGlassMalformed) }
    }

    async fn glass_reply(
        &self,
        session: &Session,
        context: &Context,
        facts: &Facts,
        (sessions, headers): (&dyn Sessions, &HeaderMap),
        (form, is_order): (FilledIn, bool),
    ) -> pingora::Result<Reply> {
        let (id, to) = (context.id, form.to.as_str());
        let page = |page: Page| Reply::page(id, context.live.pages.page(&page, accepts(headers), id));
        if matches!(facts.presented, Presented::Nothing)
            && let Some(link) = sessions.sign_in(facts.host.as_str(), &mut std::iter::once(None), to)
        {
            return Reply::go_to(id, &link);
        }
        let offline_code = form.offline_code.as_deref();
        let asked = Asked { code: &form.code, text: &form.text, offline_code };
        let ask =
            |wanted: Wanted, given| Page::BreakGlass(Form { to: to.to_owned(), action: PATH, wanted, given });
        match self.before(session, context, facts, ("GET", to), is_order.then_some(asked)).await {
            Broken::Open(opened) if opened.drill => page(Page::BreakGlassDrill("/".to_owned())),
            Broken::Open(_) => Reply::go_to(id, to),
            Broken::Offered(wanted) => page(ask(wanted, None)),
            Broken::Challenged(_) => {
                let link = format!("{}?change=1&stronger=1&to={}", Place::SignIn.path(), encoded(to));
                page(Page::BreakGlassProof(link))
            }
            Broken::Refused(denial) => match denial.reason {
                Reason::BreakGlassNotNeeded => Reply::go_to(id, to),
                Reason::BreakGlassSuspended => page(Page::BreakGlassSuspended("/".to_owned())),
                Reason::BreakGlassMalformed if is_order => {
                    match self.before(session, context, facts, ("GET", to), None).await {
                        Broken::Offered(wanted) => {
                            let FilledIn { code, text, .. } = form.clone();
                            page(ask(wanted, Some(Given { code, text })))
                        }
                        _ => self.refusal_page(context, &denial, headers),
                    }
                }
                _ => self.refusal_page(context, &denial, headers),
            },
        }
    }

    pub(in crate::serve) fn refusal_page(
        &self,
        context: &Context,
        denial: &Denial,
        headers: &HeaderMap,
    ) -> pingora::Result<Reply> {
        let reply = Reply::refusal(context.id, denial, &[])?;
        let page = context.live.pages.refusal(reply.status(), "/", accepts(headers), context.id);
        reply.shown_as(page)
    }
}

#[cfg(test)]
mod tests {
    use super::is_of_this_host;

    #[test]
    fn nobody_is_sent_to_another_host() {
        for good in ["/", "/charts/p1?a=b"] {
            assert!(is_of_this_host(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example/",
            "/a\r\nLocation: x",
            "/%5cevil",
        ] {
            assert!(!is_of_this_host(bad), "{bad}");
        }
    }
}
