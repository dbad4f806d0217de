//! Whose a request that waits is: of somebody who is signed in, or of a browser in which nobody is.
//!
//! The second is known by a cookie of its own for as long as a request may wait. It stands for nobody, opens nothing, and
//! binds to that browser what it has begun.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::record::{self, Live, keep, name_of, understood};
use super::super::{BrowserSessions, cookie, secret};
use super::Matter;
use super::intent::Kept;
use crate::decision::Lookup;
use crate::enforce::sessions::{Page, SessionFact, Use, Visit, Visited};
use crate::enforce::step_up::{Asker, is_anonymous};
use crate::request::account::Account;
use crate::request::credentials::SessionId;

/// Whose a request is.
pub(super) enum Owner {
    /// A signed-in person's.
    SignedIn(Arc<Live>),
    /// A browser's.
    Nobody(Nobody),
}

/// A browser in which nobody has signed in.
pub(super) struct Nobody {
    /// Its name in the store.
    name: Box<str>,
    /// The account that the request names.
    pub(super) account: Account,
}

/// What lies under such a browser's name.
#[derive(Serialize, Deserialize)]
struct Begun {
    host: Box<str>,
}

fn nobody_key(name: &str) -> String {
    format!("anonymous:{name}")
}

impl Owner {
    /// The name by which everything of the owner's is kept.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::SignedIn(live) => &live.name,
            Self::Nobody(nobody) => &nobody.name,
        }
    }

    /// The session, where there is one.
    pub(super) fn live(&self) -> Option<&Arc<Live>> {
        match self {
            Self::SignedIn(live) => Some(live),
            Self::Nobody(_) => None,
        }
    }

    /// The position of the issuer that vouches for the person; one that no issuer has where none does.
    pub(super) fn issuer(&self) -> usize {
        self.live().map_or(usize::MAX, |live| live.position)
    }

    /// The person in counters, which are not sealed.
    pub(super) fn person(&self) -> String {
        match self {
            Self::SignedIn(live) => super::person(live),
            // Not the account: a stranger would use up what its own person has. How often anybody may begin about an account
            // is limited before.
            Self::Nobody(nobody) => format!("anonymous:{}", nobody.name),
        }
    }

    /// What happened, for the audit trail.
    pub(super) fn fact(&self, what: &'static str, result: &'static str) -> SessionFact {
        match self {
            Self::SignedIn(live) => live.record.fact(what, result, live.name.clone()),
            Self::Nobody(nobody) => SessionFact {
                what,
                result,
                session: Some(nobody.name.clone()),
                account: Some(nobody.account.clone()),
                ..SessionFact::default()
            },
        }
    }
}

impl BrowserSessions {
    /// Whose a challenged request is; with it the cookie that the browser is known by from now on. `Absent` where the
    /// session has ended.
    pub(super) async fn asker(
        &self,
        asker: Asker<'_>,
        host: &str,
        now: i64,
    ) -> Lookup<(Owner, Option<String>)> {
        let (id, account) = match asker {
            Asker::Session(id) => {
                return match self.live(&name_of(id.as_str()), Use::Request, now).await {
                    Lookup::Found(live) => Lookup::Found((Owner::SignedIn(live), None)),
                    Lookup::Absent => Lookup::Absent,
                    Lookup::Unavailable => Lookup::Unavailable,
                };
            }
            Asker::Nobody { id, account } => (id, account),
        };
        let known = match id {
            None => None,
            Some(id) => match self.nobody(id, host).await {
                Lookup::Found(()) => Some(id.as_str().to_owned()),
                // Nothing that this gateway has made counts for more than what it makes now.
                Lookup::Absent => None,
                Lookup::Unavailable => return Lookup::Unavailable,
            },
        };
        let Some(id) = known.or_else(secret::new) else { return Lookup::Unavailable };
        let name = name_of(&id);
        let ttl = self.policy.resume.ttl + record::MARGIN;
        if !keep(self.state.as_ref(), &nobody_key(&name), &Begun { host: host.into() }, ttl).await {
            return Lookup::Unavailable;
        }
        let cookie = cookie::anonymous(&id, ttl);
        Lookup::Found((Owner::Nobody(Nobody { name, account: account.clone() }), Some(cookie)))
    }

    /// Whether a browser is known by this at a host.
    pub(super) async fn nobody(&self, id: &SessionId, host: &str) -> Lookup<()> {
        match understood::<Begun>(self.state.peek(&nobody_key(&name_of(id.as_str()))).await) {
            Lookup::Found(begun) if *begun.host == *host => Lookup::Found(()),
            Lookup::Found(_) | Lookup::Absent => Lookup::Absent,
            Lookup::Unavailable => Lookup::Unavailable,
        }
    }

    /// By what name a visit's browser has kept a request of this name: its session, or what it is known by otherwise.
    pub(super) async fn owner_name(&self, visit: &Visit<'_>, name: &str) -> Lookup<Box<str>> {
        if !is_anonymous(name) {
            return match self.visitor(visit).await {
                Lookup::Found(live) => Lookup::Found(live.name.clone()),
                Lookup::Absent => Lookup::Absent,
                Lookup::Unavailable => Lookup::Unavailable,
            };
        }
        let Some(id) = &visit.facts.anonymous else { return Lookup::Absent };
        match self.nobody(id, visit.facts.host.as_str()).await {
            Lookup::Found(()) => Lookup::Found(name_of(id.as_str())),
            Lookup::Absent => Lookup::Absent,
            Lookup::Unavailable => Lookup::Unavailable,
        }
    }

    /// The step-up that a visit of somebody names who has not signed in, where it was begun in this browser and still waits.
    pub(super) async fn anonymous_matter(&self, visit: &Visit<'_>, name: String) -> Result<Matter, Visited> {
        let target = &visit.facts.target;
        let gone = || Page::IntentGone("/".to_owned()).into();
        let outage = || Page::Outage(target.raw().to_owned()).into();
        let owner = match self.owner_name(visit, &name).await {
            Lookup::Found(owner) => owner,
            Lookup::Absent => return Err(self.unowned(visit, &name).await.into()),
            Lookup::Unavailable => return Err(outage()),
        };
        let intent = match self.kept(&name).await {
            Lookup::Found(Kept::Waiting(intent)) => *intent,
            Lookup::Found(Kept::Sent { session, back }) if session == owner => {
                return Err(Page::AlreadySent(back.into()).into());
            }
            Lookup::Found(Kept::Released { session }) if session == owner => return Err(Page::Proven.into()),
            Lookup::Found(_) | Lookup::Absent => return Err(gone()),
            Lookup::Unavailable => return Err(outage()),
        };
        let account = intent.account.as_deref().and_then(Account::parse);
        let is_theirs = intent.session == owner && *intent.host == *visit.facts.host.as_str();
        let Some(account) = account.filter(|_| is_theirs) else { return Err(gone()) };
        let closes = target.query_once("then").as_deref() == Some("close");
        let owner = Owner::Nobody(Nobody { name: owner, account });
        Ok(Matter { name, intent, owner, closes, home: None, is_held: false, device: None })
    }

    /// What is said of a request by whose name nobody has come who may have it.
    pub(super) async fn unowned(&self, visit: &Visit<'_>, name: &str) -> Page {
        if !is_anonymous(name) {
            // Whatever was kept was the ended session's.
            return Page::IntentGone(self.start_page(visit));
        }
        // The browser forgets soon by what it was known. Its person must not be told that nothing was sent.
        match self.kept(name).await {
            Lookup::Found(Kept::Sent { .. }) => Page::AlreadySent("/".to_owned()),
            _ => Page::IntentGone("/".to_owned()),
        }
    }
}
