//! Whom a session speaks for: read from the store, or remembered for a moment; within its limits, and with claims that
//! still count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::BrowserSessions;
use super::record::{self, Live, Named, Raise, Raised, Record, keep, raise_key, session_key, understood};
use super::refresh::Refreshed;
use crate::config::settings::SessionLimits;
use crate::decision::{Identity, Lookup, Revocation};
use crate::enforce::ports::Identified;
use crate::enforce::revocation;
use crate::enforce::sessions::{Resumed, Use, Visit};
use crate::identity::Subject;
use crate::identity::TokenFault;
use crate::identity::id_token::{self, Frame};
use crate::request::cookies;
use crate::request::credentials::{Presented, SessionId};

/// How long a session is believed to be as it was read. Signing out does not wait for this: what is revoked is looked
/// up with every request.
const REMEMBERED_FOR: Duration = Duration::from_secs(2);
/// How long, in seconds, a browser may show a session by the name before.
const OLD_NAME_COUNTS: i64 = 10;
/// So many times within the idle limit it is written that a session is used.
const NOTES_PER_IDLE: i64 = 8;

impl BrowserSessions {
    pub(super) async fn resumed(&self, id: &SessionId, host: &str, wanted: Use, now: i64) -> Resumed {
        let live = match self.live(&record::name_of(id.as_str()), wanted, now).await {
            Lookup::Found(live) => live,
            Lookup::Absent => return ended(),
            Lookup::Unavailable => return known(Identity::SessionUnavailable, false),
        };
        let name = live.name.clone();
        let issuer = self.issuers.get(live.position);
        let Some((issuer, settings)) = issuer.and_then(|issuer| Some((issuer, issuer.sign_in.as_ref()?)))
        else {
            return ended();
        };
        if *live.record.host != *host || has_ended(&live.record, settings.session, now) {
            return ended();
        }
        let fresh_until = live.record.fresh_until.filter(|until| *until <= now);
        let (live, fact, is_stale) = match fresh_until {
            None => (live, None, false),
            Some(until) => match self.refreshed(&name, &live, now).await {
                (Refreshed::Renewed(live), fact) => (live, fact, false),
                (Refreshed::Ended, fact) => return Resumed { fact, ..ended() },
                (Refreshed::Later, fact) if now.saturating_sub(until) < seconds(issuer.stale_for) => {
                    (live, fact, true)
                }
                (Refreshed::Later, fact) => {
                    return Resumed { fact, ..known(Identity::Unavailable, false) };
                }
            },
        };
        let is_used = match wanted {
            Use::Request => true,
            Use::Socket => !settings.shared_workstation,
            Use::Stream => false,
        };
        let live = if is_used { self.noted(&name, live, settings.session, now).await } else { live };
        Resumed { fact, ..known(Identity::Known(Arc::clone(&live.subject)), is_stale) }
    }

    /// The session that is shown by this name, whatever its limits say.
    pub(super) async fn live(&self, shown: &str, wanted: Use, now: i64) -> Lookup<Arc<Live>> {
        let holds = |live: &Arc<Live>| {
            live.read_at.elapsed() < REMEMBERED_FOR && live.subject.changes_at.is_none_or(|at| now < at)
        };
        if let Some(live) = self.known.get(shown).filter(holds) {
            return current(live, shown, None, wanted, now);
        }
        match understood::<Named>(self.state.peek(&session_key(shown)).await) {
            Lookup::Found(Named::Session(record)) => match self.judged(shown, *record, now).await {
                Lookup::Found(live) => current(live, shown, None, wanted, now),
                other => other,
            },
            Lookup::Found(Named::Other { stands_for, since }) => {
                match understood::<Record>(self.state.peek(&session_key(&stands_for)).await) {
                    Lookup::Found(record) => match self.judged(&stands_for, record, now).await {
                        Lookup::Found(live) => {
                            if live.raise.as_ref().is_some_and(|raise| *raise.shown_as.name == *shown) {
                                self.known.insert(shown.into(), Arc::clone(&live));
                            }
                            current(live, shown, Some(since), wanted, now)
                        }
                        other => other,
                    },
                    Lookup::Absent => Lookup::Absent,
                    Lookup::Unavailable => Lookup::Unavailable,
                }
            }
            Lookup::Absent => Lookup::Absent,
            Lookup::Unavailable => Lookup::Unavailable,
        }
    }

    /// Judges a session that was read by the rules in force, with what step-ups have added to it, and remembers it;
    /// `Absent` where its issuer is gone, or its claims are none any more.
    pub(super) async fn judged(&self, name: &str, record: Record, now: i64) -> Lookup<Arc<Live>> {
        let raise = match self.raise_of(name).await {
            Lookup::Found(raise) => Some(raise),
            Lookup::Absent => None,
            Lookup::Unavailable => return Lookup::Unavailable,
        };
        self.remember(name, record, raise, now).map_or(Lookup::Absent, Lookup::Found)
    }

    /// What step-ups have added to a session.
    pub(super) async fn raise_of(&self, name: &str) -> Lookup<Raise> {
        understood(self.state.peek(&raise_key(name)).await)
    }

    /// The same where it is known what was added.
    pub(super) fn remember(
        &self,
        name: &str,
        record: Record,
        raise: Option<Raise>,
        now: i64,
    ) -> Option<Arc<Live>> {
        let (position, _) = self.issuer(&record.issuer)?;
        let raised = raise.as_ref().map(|raise| &raise.raised);
        let subject = Arc::new(self.subject(name, (&record, raised), position, now)?);
        let read_at = Instant::now();
        let live = Arc::new(Live { name: name.into(), record, raise, subject, position, read_at });
        self.known.insert(name.into(), Arc::clone(&live));
        Some(live)
    }

    /// Whom a session speaks for by the rules in force; `None` where they no longer are about this issuer, our name there
    /// or this host: a configured name may mean somebody else today.
    pub(super) fn subject(
        &self,
        name: &str,
        (record, raised): (&Record, Option<&Raised>),
        position: usize,
        now: i64,
    ) -> Option<Subject> {
        let settings = self.issuers.get(position)?.sign_in.as_ref()?;
        let rules = self.providers.rules(position)?;
        let is_same = settings.client_id == record.client_id
            && settings.origin(&record.host).is_some()
            && record.claim("iss") == Some(&rules.issuer);
        if !is_same {
            return None;
        }
        let ends_at = record.began_at.saturating_add(seconds(settings.session.absolute));
        let frame = Frame { client_id: &record.client_id, name, began_at: record.began_at, ends_at, now };
        let mut subject = id_token::subject(&record.claims, rules, &frame).ok()?;
        subject.session.get_or_insert_with(|| name.into());
        let levels = &self.policy.levels;
        if let Some(raised) = raised
            && let Some(level) = levels.find(&raised.level).filter(|level| *level >= subject.level)
        {
            subject.level = level;
            subject.methods.clone_from(&raised.methods);
            subject.auth_time = Some(raised.authenticated_at);
        }
        Some(subject)
    }

    /// Writes now and then that the session is used, so that it does not end as idle.
    async fn noted(&self, name: &str, live: Arc<Live>, limits: SessionLimits, now: i64) -> Arc<Live> {
        let every = (seconds(limits.idle) / NOTES_PER_IDLE).max(1);
        if now.saturating_sub(live.record.seen_at) < every {
            return live;
        }
        // Another gateway may have renewed the claims meanwhile: only the moment is this one's to say.
        let Lookup::Found(newest) = understood::<Record>(self.state.peek(&session_key(name)).await) else {
            return live;
        };
        let record = Record { seen_at: now.max(newest.seen_at), ..newest };
        // Where it can't be kept the session goes on till its idle limit: the store says that it fails by itself.
        keep(self.state.as_ref(), &session_key(name), &record, limits.idle + record::MARGIN).await;
        match self.judged(name, record, now).await {
            Lookup::Found(live) => live,
            Lookup::Absent | Lookup::Unavailable => live,
        }
    }

    /// The session that a visit's browser presents, within its limits and not revoked. An outage is no end: what waits for
    /// the person waits on.
    pub(super) async fn alive(&self, visit: &Visit<'_>) -> Lookup<Arc<Live>> {
        let Presented::Session(id) = &visit.facts.presented else { return Lookup::Absent };
        let resumed = self.resumed(id, visit.facts.host.as_str(), Use::Request, visit.now).await;
        let subject = match resumed.identified.identity {
            Identity::Known(subject) => subject,
            Identity::SessionUnavailable | Identity::Unavailable => return Lookup::Unavailable,
            Identity::Nobody | Identity::Malformed(_) | Identity::Refused(_) => return Lookup::Absent,
        };
        // As every other request asks: else the two would send each other a browser with a revoked session for ever.
        match revocation(self.state.as_ref(), &subject).await {
            Revocation::Valid => self.live(&record::name_of(id.as_str()), Use::Request, visit.now).await,
            Revocation::Revoked => Lookup::Absent,
            Revocation::Unknown => Lookup::Unavailable,
        }
    }

    /// The session that a visit's browser presents, whatever its limits say, with its name.
    pub(super) async fn presented(&self, visit: &Visit<'_>) -> Lookup<(Box<str>, Record)> {
        let id = match &visit.facts.presented {
            Presented::Session(id) => Some(id.clone()),
            // Beside a token, or twice: it counts for nothing, and can be ended all the same.
            Presented::Malformed(_) | Presented::Bearer(_) | Presented::Dpop(_) => {
                cookies::values(visit.headers, cookies::SESSION).find_map(SessionId::parse)
            }
            Presented::Nothing => None,
        };
        let Some(id) = id else { return Lookup::Absent };
        match self.live(&record::name_of(id.as_str()), Use::Request, visit.now).await {
            Lookup::Found(live) => Lookup::Found((live.name.clone(), live.record.clone())),
            Lookup::Absent => Lookup::Absent,
            Lookup::Unavailable => Lookup::Unavailable,
        }
    }
}

/// The session, where a browser may still show it by this name. `since` is when it was given the name.
fn current(live: Arc<Live>, shown: &str, since: Option<i64>, wanted: Use, now: i64) -> Lookup<Arc<Live>> {
    let is_current = live.raise.as_ref().map(|raise| &raise.shown_as).is_none_or(|newest| {
        // Requests that were on their way when the browser got the new name.
        let is_late = now < newest.since.saturating_add(OLD_NAME_COUNTS);
        // Of two names that two step-ups gave at the same moment the browser may have kept either.
        *newest.name == *shown || is_late || since.is_some_and(|since| since >= newest.since)
    });
    // What runs since before goes on.
    if is_current || wanted != Use::Request { Lookup::Found(live) } else { Lookup::Absent }
}

pub(super) fn has_ended(record: &Record, limits: SessionLimits, now: i64) -> bool {
    let idle = now.saturating_sub(record.seen_at) >= seconds(limits.idle);
    idle || now.saturating_sub(record.began_at) >= seconds(limits.absolute)
}

fn ended() -> Resumed {
    known(Identity::Refused(TokenFault::SessionEnded), false)
}

fn known(identity: Identity, too_stale_for_critical: bool) -> Resumed {
    Resumed { identified: Identified { identity, too_stale_for_critical }, fact: None }
}

pub(super) fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}
