//! What waits for a proof: a request of a browser's, sealed, bound to the session it came by. And the proof, once it is
//! there: a grant.

use std::time::Duration;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};

use super::super::record::{Raised, keep, understood};
use super::super::{BrowserSessions, secret, target};
use super::owner::Owner;
use super::{address, choice};
use crate::decision::{Granted, Lookup};
use crate::enforce::action::Action;
use crate::enforce::sessions::{Choice, Use};
use crate::enforce::step_up::{ANONYMOUS, Again, Challenged, Offered};
use crate::request::credentials::SessionId;
use crate::request::fetch::From;
use crate::session::record;
use crate::state::spent::ProofKey;

/// So many requests of one person may wait at a time: a script that asks again and again fills no store.
const MOST_WAITING: u64 = 60;
/// The same for pages, of which nothing is kept but where they are.
const MOST_PAGES: u64 = 600;
/// So many requests of people who have not signed in may wait at a time, whoever they are: each may come from a browser of
/// its own, and what fills the store stops everybody.
const MOST_ANONYMOUS: u64 = 2_000;
/// Longer bodies of theirs are not kept, in bytes: a form that names an account is short.
const MOST_ANONYMOUS_BODY: usize = 16 * 1024;
/// How long it is known that something was sent: who finds an old window open must not be told that nothing was.
const REMEMBER_SENT: Duration = Duration::from_secs(24 * 3_600);
/// More bytes of headers are not kept.
const MOST_HEADER_BYTES: usize = 16 * 1024;
/// Headers that are not kept: they are between one hop and the next, of the day, or the gateway's own. All others are the
/// application's business, and what was asked is only what was asked with all of them.
const LEFT_OUT: [HeaderName; 16] = [
    header::HOST,
    header::COOKIE,
    header::AUTHORIZATION,
    header::USER_AGENT,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("dpop"),
    HeaderName::from_static("x-real-ip"),
];
const LEFT_OUT_STARTS: [&str; 4] = ["sec-", "proxy-", "x-forwarded-", "x-wardgate-"];

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
    /// The owner's name: the session's first one, or that of a browser in which nobody has signed in.
    pub session: Box<str>,
    /// The account that it names, where nobody has signed in.
    #[serde(default)]
    pub account: Option<Box<str>>,
    /// The host.
    pub host: Box<str>,
    /// The method.
    pub method: Box<str>,
    /// Path and query.
    pub target: Box<str>,
    /// Names and values.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// Whether it has a body, which lies apart.
    pub has_body: bool,
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
    /// The language of the page, as a tag (RFC 5646).
    pub language: Option<Box<str>>,
    /// Whether it can be sent as it is kept.
    pub is_whole: bool,
    /// How often it was taken out and could not go on.
    #[serde(default)]
    pub returns: u32,
}

impl Intent {
    /// Whether the browser just asks again once there is a proof: nothing changes by that, or nothing was kept.
    pub fn is_read(&self) -> bool {
        matches!(&*self.method, "GET" | "HEAD") || !self.is_whole
    }

    /// What it takes to keep it once more.
    pub fn again(&self, name: &str) -> Again {
        Again { name: name.into(), kept: serde_json::to_string(self).unwrap_or_default().into() }
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
    ProofKey::new(&["intent", name, &kept_at.to_string()], kept_at)
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

/// Says who is taking a request out; a key of the same kind as what is spent, as one of many gets it. It is no proof: it
/// has no moment before which it would be worth nothing.
pub fn click(name: &str, returns: u32) -> ProofKey {
    ProofKey::new(&["click", name, &returns.to_string()], i64::MAX)
}

/// Lies beside what waits, so that it can be written before that is taken out.
fn sent_key(name: &str) -> String {
    format!("sent:{}", secret::digest(name))
}

fn grant_key(session: &str, action: &str) -> String {
    format!("grant:{session}:{action}")
}

impl BrowserSessions {
    /// Keeps a request while its person gives proof; `None` where the store can't be asked.
    pub(in crate::session) async fn keep_request(&self, challenged: &Challenged<'_>) -> Option<Offered> {
        let nothing = |kept| Offered { kept, ..Offered::default() };
        let (facts, now) = (challenged.facts, challenged.now);
        let is_safe = facts.method.is_safe();
        let (owner, cookie) = match self.asker(challenged.asker, facts.host.as_str(), now).await {
            Lookup::Found(found) => found,
            Lookup::Absent => return Some(nothing(None)),
            Lookup::Unavailable => return None,
        };
        let Some(route) = self.policy.route(challenged.route) else { return Some(nothing(None)) };
        let (tier, resume) = (self.policy.tier(challenged.tier), &self.policy.resume);
        // Whatever page can have a request sent must not get it kept in this person's name.
        let is_own = facts.fetch.from == From::Own || is_safe;
        let most_body =
            if owner.live().is_some() { resume.most_body } else { resume.most_body.min(MOST_ANONYMOUS_BODY) };
        let body = challenged.body.as_deref().filter(|body| body.len() <= most_body);
        let headers = kept_headers(challenged.headers);
        let is_whole = is_safe
            || (is_own && body.is_some() && headers.is_some() && resume.methods.contains(&facts.method));
        let subject = owner.live().map(|live| &*live.subject);
        // Without a session there is nothing in which it could be done again. On a host of the pages' own nobody could be shown
        // what is not kept, and the application's scripts would get the proof for it all the same.
        if !is_whole && (subject.is_none() || (self.pages.is_some() && tier.each_action_needs_new_proof)) {
            return Some(nothing(Some(false)));
        }
        let action = match body {
            Some(body) => {
                let policy = &self.policy;
                Action { policy, route, tier: challenged.tier, facts, subject, body }.digest()
            }
            // Nobody can give proof for what nobody has read: it is for this name, which no request has.
            None if tier.each_action_needs_new_proof => return Some(nothing(Some(false))),
            None => secret::new()?,
        };
        let name = match (subject, is_safe) {
            // A page that is asked for again and again waits once.
            (Some(_), true) => secret::digest(&format!("{}:{action}", owner.name())),
            (Some(_), false) => secret::new()?,
            (None, _) => format!("{ANONYMOUS}{}", secret::new()?),
        };
        let person = owner.person();
        let (kind, most) = if is_safe { ("pages", MOST_PAGES) } else { ("intents", MOST_WAITING) };
        let theirs = (format!("{kind}:{person}"), most);
        let everybodys = subject.is_none().then(|| ("intents-of-nobody".to_owned(), MOST_ANONYMOUS));
        for (counter, most) in std::iter::once(theirs).chain(everybodys) {
            match self.state.window(&counter, resume.ttl).await {
                Lookup::Found(count) if count <= most => {}
                Lookup::Found(_) | Lookup::Absent => return Some(nothing((!is_safe).then_some(false))),
                Lookup::Unavailable => return None,
            }
        }
        let is_navigation = facts.fetch.navigation || facts.fetch.form;
        let intent = Intent {
            session: owner.name().into(),
            account: match &owner {
                Owner::SignedIn(_) => None,
                Owner::Nobody(nobody) => Some(nobody.account.as_str().into()),
            },
            host: facts.host.as_str().into(),
            method: facts.method.as_str().into(),
            target: facts.target.raw().into(),
            headers: headers.filter(|_| !is_safe && is_whole).unwrap_or_default(),
            has_body: !is_safe && is_whole && body.is_some_and(|body| !body.is_empty()),
            by_script: !is_navigation,
            back: back(facts.host.as_str(), challenged.headers, facts.target.raw(), is_navigation && is_safe),
            route: route.id.as_ref().into(),
            label: route.label.as_deref().map(Into::into),
            tier: tier.name.clone(),
            policy: self.policy.rules.clone(),
            action: action.into(),
            kept_at: now,
            language: text(challenged.headers, &header::ACCEPT_LANGUAGE).and_then(first_tag).map(Into::into),
            is_whole,
            returns: 0,
        };
        let kept = (!is_safe).then_some(is_whole);
        let ways: Vec<Choice> =
            self.ways(&intent, owner.issuer()).map(|way| choice(way, &name, false)).collect();
        if ways.is_empty() {
            return Some(nothing((!is_safe).then_some(false)));
        }
        let link = address(&name, None, false);
        let body = body.filter(|_| intent.has_body).unwrap_or_default();
        let is_kept = self.keep_body(&name, body).await
            && self.keep_intent(&name, &Kept::Waiting(Box::new(intent))).await;
        is_kept.then_some(Offered { name: Some(name), link: Some(link), ways, kept, cookie })
    }

    /// What lies under a request's name.
    pub(super) async fn kept(&self, name: &str) -> Lookup<Kept> {
        match understood(self.state.peek(&intent_key(name)).await) {
            // Taken out, or too old: which of them, the other place says.
            Lookup::Absent => self.note_of(name).await,
            found => found,
        }
    }

    /// The note that it was sent, where there is one.
    pub(super) async fn note_of(&self, name: &str) -> Lookup<Kept> {
        understood(self.state.peek(&sent_key(name)).await)
    }

    /// Takes out what lies under a request's name: one caller gets it.
    pub(super) async fn take_intent(&self, name: &str) -> Lookup<Kept> {
        understood(self.state.unseal(&intent_key(name)).await)
    }

    /// Takes the note back that it was sent: it could not be.
    pub(super) async fn not_sent(&self, name: &str) {
        let _ = self.state.unseal(&sent_key(name)).await;
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

    /// Whether proof was given for a request that waits.
    pub(super) async fn is_proven(&self, name: &str, intent: &Intent) -> bool {
        let grant = self.state.peek(&grant_key(&intent.session, &intent.action)).await;
        // A page that is asked for again waits anew, under the same name.
        let is_its = |grant: &StoredGrant| *grant.intent == *name && grant.kept_at == intent.kept_at;
        matches!(understood::<StoredGrant>(grant), Lookup::Found(grant) if is_its(&grant))
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
        self.grant_of(&live.name, action).await
    }

    /// The same by the owner's name.
    pub(super) async fn grant_of(&self, owner: &str, action: &str) -> Lookup<Granted> {
        match understood::<StoredGrant>(self.state.peek(&grant_key(owner, action)).await) {
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

/// The language that is liked best, as far as the order tells.
fn first_tag(accepted: &str) -> Option<&str> {
    let tag = accepted.split([',', ';']).next()?.trim();
    let is_tag =
        (2..=35).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_tag.then_some(tag)
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
        if LEFT_OUT.contains(name) || LEFT_OUT_STARTS.iter().any(|start| name.as_str().starts_with(start)) {
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
