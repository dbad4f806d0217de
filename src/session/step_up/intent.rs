//! What waits for a proof: a request of a browser's, sealed, bound to the session it came by. And the proof, once it is
//! there: a grant.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use super::super::record::{Raised, keep, understood};
use super::super::{BrowserSessions, secret, target};
use super::address;
use crate::decision::{Granted, Lookup};
use crate::enforce::action::Action;
use crate::enforce::sessions::Use;
use crate::enforce::step_up::{Challenged, Offered};
use crate::request::credentials::SessionId;
use crate::request::fetch::From;
use crate::session::record;
use crate::state::spent::ProofKey;

/// So many requests of one session may wait at a time: a script that asks again and again fills no store.
const MOST_WAITING: u64 = 60;
/// How long it is known that something was sent: who finds an old window open must not be told that nothing was.
const REMEMBER_SENT: Duration = Duration::from_secs(24 * 3_600);
/// More bytes of headers are not kept.
const MOST_HEADER_BYTES: usize = 16 * 1024;
/// The headers that are the application's business, beside all that begin with `x-`. Cookies are not kept: the browser
/// sends those of the day.
const KEPT_HEADERS: [HeaderName; 9] = [
    header::CONTENT_TYPE,
    header::CONTENT_LANGUAGE,
    header::CONTENT_ENCODING,
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::REFERER,
    header::ORIGIN,
    header::IF_MATCH,
    header::IF_UNMODIFIED_SINCE,
];

/// What lies under a request's name.
#[derive(Serialize, Deserialize)]
pub enum Kept {
    /// It waits.
    Waiting(Box<Intent>),
    /// It was taken out to be sent.
    Sent {
        /// The session's first name.
        session: Box<str>,
        /// Where the person goes back to.
        back: Box<str>,
    },
    /// The proof is there, and who asked will ask again by itself.
    Released {
        /// The session's first name.
        session: Box<str>,
    },
}

/// A request that waits for a proof.
#[derive(Clone, Serialize, Deserialize)]
pub struct Intent {
    /// The session's first name.
    pub session: Box<str>,
    /// The host.
    pub host: Box<str>,
    /// The method.
    pub method: Box<str>,
    /// Path and query.
    pub target: Box<str>,
    /// Names and values.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// The body in base64.
    pub body: Box<str>,
    /// Whether a script asked, and not a person who went there.
    pub by_script: bool,
    /// Where the person comes from.
    pub back: Box<str>,
    /// The route's id, what people call it, and the tier that asks.
    pub route: Box<str>,
    /// What people call the action.
    pub label: Option<Box<str>>,
    /// The tier's name.
    pub tier: Box<str>,
    /// The digest of the rules.
    pub policy: Box<str>,
    /// The action's digest.
    pub action: Box<str>,
    /// When it was kept, in Unix seconds.
    pub kept_at: i64,
    /// The language of the page.
    pub language: Option<Box<str>>,
    /// Whether it can be sent as it is kept.
    pub is_whole: bool,
}

impl Intent {
    /// Whether the browser just asks again once there is a proof: nothing changes by that, or nothing was kept.
    pub fn is_read(&self) -> bool {
        matches!(&*self.method, "GET" | "HEAD") || !self.is_whole
    }

    /// Its body.
    pub fn body(&self) -> Option<Bytes> {
        STANDARD.decode(self.body.as_bytes()).ok().map(Bytes::from)
    }

    /// Its headers.
    pub fn headers(&self) -> HeaderMap {
        let pair = |(name, value): &(Box<str>, Box<str>)| {
            Some((HeaderName::try_from(&**name).ok()?, HeaderValue::try_from(&**value).ok()?))
        };
        self.headers.iter().filter_map(pair).collect()
    }
}

/// What is spent when a request goes on. `name` is the request's.
pub fn once(name: &str, kept_at: i64) -> ProofKey {
    ProofKey::new(&["intent", name], kept_at)
}

/// A grant, as it lies in the store.
#[derive(Serialize, Deserialize)]
struct StoredGrant {
    raised: Raised,
    /// The name of the request that it was given for.
    intent: Box<str>,
    kept_at: i64,
}

fn intent_key(name: &str) -> String {
    format!("intent:{}", secret::digest(name))
}

/// Lies beside what waits, so that it can be written before that is taken out.
fn sent_key(name: &str) -> String {
    format!("sent:{}", secret::digest(name))
}

fn grant_key(session: &str, action: &str) -> String {
    format!("grant:{session}:{action}")
}

impl BrowserSessions {
    /// Keeps a request while its person gives proof.
    pub(in crate::session) async fn keep_request(&self, challenged: &Challenged<'_>) -> Offered {
        let nothing = Offered { link: None, ways: Vec::new(), kept: None };
        let (facts, now) = (challenged.facts, challenged.now);
        let shown = record::name_of(challenged.session.as_str());
        let Lookup::Found(live) = self.live(&shown, Use::Request, now).await else { return nothing };
        let Some(route) = self.policy.route(challenged.route) else { return nothing };
        let tier = self.policy.tier(challenged.tier);
        let resume = &self.policy.resume;
        let is_safe = facts.method.is_safe();
        // Whatever page can have a request sent must not get it kept in this person's name.
        let is_own = facts.fetch.from == From::Own || is_safe;
        let body = challenged.body.as_deref().filter(|body| body.len() <= resume.most_body);
        let headers = kept_headers(challenged.headers);
        let is_whole = is_safe
            || (is_own && body.is_some() && headers.is_some() && resume.methods.contains(&facts.method));
        let waiting = self.state.window(&format!("intents:{}", live.name), resume.ttl).await;
        if matches!(waiting, Lookup::Found(count) if count > MOST_WAITING) {
            return Offered { kept: (!is_safe).then_some(false), ..nothing };
        }
        let Some(name) = secret::new() else { return nothing };
        let body = body.filter(|_| is_whole).unwrap_or_default();
        let action = Action {
            policy: &self.policy,
            route,
            tier: challenged.tier,
            facts,
            subject: &live.subject,
            body,
        };
        let is_navigation = facts.fetch.navigation || facts.fetch.form;
        let intent = Intent {
            session: live.name.clone(),
            host: facts.host.as_str().into(),
            method: facts.method.as_str().into(),
            target: facts.target.raw().into(),
            headers: headers.filter(|_| !is_safe && is_whole).unwrap_or_default(),
            body: STANDARD.encode(body).into(),
            by_script: !is_navigation,
            back: back(facts.host.as_str(), challenged.headers, facts.target.raw(), is_navigation && is_safe),
            route: route.id.as_ref().into(),
            label: route.label.as_deref().map(Into::into),
            tier: tier.name.clone(),
            policy: self.policy.rules.clone(),
            action: action.digest().into(),
            kept_at: now,
            language: text(challenged.headers, &header::ACCEPT_LANGUAGE).map(Into::into),
            is_whole,
        };
        let ways = self.ways(&intent, live.position);
        let choices = ways.map(|way| crate::enforce::sessions::Choice {
            label: Self::way_label(way),
            link: address(&name, Some(&way.name), false),
        });
        let (ways, link) = (choices.collect(), address(&name, None, false));
        let is_kept = self.keep_intent(&name, &Kept::Waiting(Box::new(intent))).await;
        let kept = (!is_safe).then_some(is_kept && is_whole);
        if is_kept { Offered { link: Some(link), ways, kept } } else { Offered { kept, ..nothing } }
    }

    /// What lies under a request's name.
    pub(super) async fn kept(&self, name: &str) -> Lookup<Kept> {
        match understood(self.state.peek(&intent_key(name)).await) {
            // Taken out, or too old: which of them, the other place says.
            Lookup::Absent => understood(self.state.peek(&sent_key(name)).await),
            found => found,
        }
    }

    /// Takes out what lies under a request's name: one caller gets it.
    pub(super) async fn take_intent(&self, name: &str) -> Lookup<Kept> {
        understood(self.state.unseal(&intent_key(name)).await)
    }

    pub(super) async fn keep_intent(&self, name: &str, kept: &Kept) -> bool {
        let (key, ttl) = match kept {
            Kept::Waiting(_) | Kept::Released { .. } => (intent_key(name), self.policy.resume.ttl),
            Kept::Sent { .. } => (sent_key(name), REMEMBER_SENT),
        };
        keep(self.state.as_ref(), &key, kept, ttl).await
    }

    /// Notes that proof was given for a request that waits.
    pub(super) async fn keep_grant(&self, name: &str, intent: &Intent, raised: &Raised) -> bool {
        let grant = StoredGrant { raised: raised.clone(), intent: name.into(), kept_at: intent.kept_at };
        keep(self.state.as_ref(), &grant_key(&intent.session, &intent.action), &grant, self.policy.resume.ttl)
            .await
    }

    /// The proof that was given for an action.
    pub(in crate::session) async fn granted(
        &self,
        id: &SessionId,
        action: &str,
        now: i64,
    ) -> Lookup<Granted> {
        let live = match self.live(&record::name_of(id.as_str()), Use::Request, now).await {
            Lookup::Found(live) => live,
            Lookup::Absent => return Lookup::Absent,
            Lookup::Unavailable => return Lookup::Unavailable,
        };
        match understood::<StoredGrant>(self.state.peek(&grant_key(&live.name, action)).await) {
            Lookup::Found(StoredGrant { raised, intent, kept_at }) => {
                let Some(level) = self.policy.levels.find(&raised.level) else { return Lookup::Absent };
                let proof = once(&intent, kept_at);
                Lookup::Found(Granted { level, methods: raised.methods, proof })
            }
            Lookup::Absent => Lookup::Absent,
            Lookup::Unavailable => Lookup::Unavailable,
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Where the person goes back to: the page itself where that was asked for, else the one that asked, where it is one of
/// this host's.
fn back(host: &str, headers: &HeaderMap, own: &str, is_page: bool) -> Box<str> {
    if is_page {
        return target::safe(Some(own)).into();
    }
    let page = text(headers, &header::REFERER).and_then(|page| {
        let page = reqwest::Url::parse(page).ok().filter(|page| page.host_str() == Some(host))?;
        Some(page.query().map_or_else(|| page.path().to_owned(), |query| format!("{}?{query}", page.path())))
    });
    target::safe(page.as_deref()).into()
}

/// The headers that go on with the request; `None` where they are too many or can't be kept.
fn kept_headers(headers: &HeaderMap) -> Option<Vec<(Box<str>, Box<str>)>> {
    let mut kept = Vec::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let is_own = name.as_str().starts_with("x-wardgate-") || name.as_str().starts_with("x-forwarded-");
        let is_the_applications = KEPT_HEADERS.contains(name) || name.as_str().starts_with("x-");
        if is_own || !is_the_applications {
            continue;
        }
        let value = value.to_str().ok()?;
        bytes += name.as_str().len() + value.len();
        kept.push((name.as_str().into(), value.into()));
    }
    (bytes <= MOST_HEADER_BYTES).then_some(kept)
}

/// A method that was kept.
pub fn method(text: &str) -> Option<Method> {
    Method::from_bytes(text.as_bytes()).ok()
}
