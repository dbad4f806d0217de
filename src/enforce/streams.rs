//! What runs for whom, so that a request can be ended while it runs: its subject was revoked, or its token ended.
//!
//! A line is a client's way in that serves one request at a time: a connection of HTTP/1.1, a stream of HTTP/2. It is
//! entered here once, and only a pointer is exchanged with each of its requests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::sessions::Ticket;
use crate::decision::Reason;
use crate::identity::Subject;

/// Lines are spread over so many parts, so that connections that open at the same time rarely wait for one another.
const PARTS: usize = 16;
/// How long a request that is no stream may still take: an answer that is nearly there is worth more to everybody than
/// a broken connection.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// How long a WebSocket has for its closing handshake.
const CLOSING_HANDSHAKE: Duration = Duration::from_secs(2);

/// What a request is, as far as its end goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lasting {
    /// A request with an answer, which may take long but comes to an end.
    Answer,
    /// A stream of events, or of gRPC messages: it has no end of its own, so it ends with the token.
    Stream,
    /// A WebSocket: the same, and it has a closing handshake.
    WebSocket,
}

/// Every line that is open.
#[derive(Default)]
pub struct OpenStreams {
    parts: [Mutex<HashMap<u64, Arc<Line>>>; PARTS],
    next: AtomicU64,
    /// How often something was revoked, as far as this gateway has noticed.
    changes: AtomicU64,
    /// Somebody was let in while something was revoked, and must be looked at again.
    overtaken: Notify,
}

/// A line's entry; it ends with the value.
pub struct Entry {
    streams: Arc<OpenStreams>,
    number: u64,
    line: Arc<Line>,
}

/// One way in.
#[derive(Default)]
pub struct Line {
    held: Mutex<Held>,
    is_ending: AtomicBool,
    told: Arc<Notify>,
}

/// The request that a line serves.
#[derive(Default)]
struct Held {
    serial: u64,
    subject: Option<Arc<Subject>>,
    lasting: Option<Lasting>,
    /// By which session its subject was shown, where by one.
    ticket: Option<Arc<Ticket>>,
    ending: Option<Reason>,
}

impl OpenStreams {
    /// Enters a line.
    pub fn enter(self: &Arc<Self>) -> Entry {
        let (number, line) = (self.next.fetch_add(1, Ordering::Relaxed), Arc::new(Line::default()));
        self.part(number).insert(number, Arc::clone(&line));
        Entry { streams: Arc::clone(self), number, line }
    }

    /// To be read before a request is decided, and handed to [`Self::bind`].
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// A request of this subject is served from now on.
    pub fn bind(&self, line: &Line, subject: &Arc<Subject>, lasting: Lasting, changes_before: u64) {
        {
            let mut held = line.held();
            held.subject = Some(Arc::clone(subject));
            held.lasting = Some(lasting);
        }
        if self.changes() != changes_before {
            self.overtaken.notify_one();
        }
    }

    /// Notes that something was revoked. Whoever looks for what that ends must look after this.
    pub(super) fn note_change(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    /// Has everything looked at again.
    pub(super) fn note_overtaken(&self) {
        self.overtaken.notify_one();
    }

    /// Ends when somebody was let in on what was known before a change.
    pub(super) async fn overtaken(&self) {
        self.overtaken.notified().await;
    }

    /// Every request of a known subject that is running.
    pub(super) fn bound(&self) -> Vec<(Arc<Line>, Arc<Subject>)> {
        let mut found = Vec::new();
        for part in &self.parts {
            let lines = part.lock().unwrap_or_else(PoisonError::into_inner);
            let subjects = lines.values().filter_map(|line| Some((line, line.held().subject.clone()?)));
            found.extend(subjects.map(|(line, subject)| (Arc::clone(line), subject)));
        }
        found
    }

    /// Every stream that runs for a session.
    pub(super) fn of_sessions(&self) -> Vec<Running> {
        let mut found = Vec::new();
        for part in &self.parts {
            for line in part.lock().unwrap_or_else(PoisonError::into_inner).values() {
                let held = line.held();
                let Some(lasting) = held.lasting.filter(|lasting| *lasting > Lasting::Answer) else {
                    continue;
                };
                if let (Some(subject), Some(ticket)) = (&held.subject, &held.ticket) {
                    let (subject, ticket) = (Arc::clone(subject), Arc::clone(ticket));
                    found.push(Running { line: Arc::clone(line), subject, ticket, lasting });
                }
            }
        }
        found
    }

    /// Ends the streams whose token, or a role of it, has ended by `now` (Unix seconds); says how many.
    pub(super) fn end_expired(&self, now: i64) -> usize {
        let mut count = 0;
        for part in &self.parts {
            for line in part.lock().unwrap_or_else(PoisonError::into_inner).values() {
                let is_over = {
                    let held = line.held();
                    held.lasting.is_some_and(|lasting| lasting > Lasting::Answer)
                        && held.subject.as_ref().is_some_and(|subject| subject.holds_until() <= now)
                };
                count += usize::from(is_over && line.end(None, Reason::TokenEnded));
            }
        }
        count
    }

    fn part(&self, number: u64) -> MutexGuard<'_, HashMap<u64, Arc<Line>>> {
        let [first, ..] = &self.parts;
        let at = usize::try_from(number % PARTS as u64).unwrap_or(0);
        self.parts.get(at).unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that runs for a session.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) line: Arc<Line>,
    pub(super) subject: Arc<Subject>,
    pub(super) ticket: Arc<Ticket>,
    pub(super) lasting: Lasting,
}

impl Entry {
    /// The line.
    pub fn line(&self) -> &Arc<Line> {
        &self.line
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.streams.part(self.number).remove(&self.number);
    }
}

impl Line {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request that it serves was shown to be its subject's by a session.
    pub fn came_by(&self, ticket: Ticket) {
        self.held().ticket = Some(Arc::new(ticket));
    }

    /// The answer turned out to be a stream.
    pub fn lasts(&self) {
        let mut held = self.held();
        if held.subject.is_some() && held.lasting == Some(Lasting::Answer) {
            held.lasting = Some(Lasting::Stream);
        }
    }

    /// The request is over; the line may serve another.
    pub fn release(&self) {
        let mut held = self.held();
        *held = Held { serial: held.serial + 1, ..Held::default() };
        self.is_ending.store(false, Ordering::SeqCst);
    }

    /// Ends the request, if it is still one of `subject` (where that is given); says whether it had not been ended
    /// before.
    pub(super) fn end(&self, subject: Option<&Arc<Subject>>, reason: Reason) -> bool {
        let mut held = self.held();
        let is_theirs = match (&held.subject, subject) {
            (Some(held), Some(subject)) => Arc::ptr_eq(held, subject),
            (Some(_), None) => true,
            (None, _) => false,
        };
        if !is_theirs || held.ending.is_some() {
            return false;
        }
        held.ending = Some(reason);
        self.is_ending.store(true, Ordering::SeqCst);
        drop(held);
        self.told.notify_waiters();
        true
    }

    /// Whether its request is to end.
    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::SeqCst)
    }

    /// Why its request is to end.
    pub fn reason(&self) -> Option<Reason> {
        self.held().ending
    }

    /// Ends when the request is to end; to be polled once before [`Self::is_ending`] is asked.
    pub fn told(&self) -> OwnedNotified {
        Arc::clone(&self.told).notified_owned()
    }

    /// Ends when whatever serves the line must be dropped: its request was to end, and had its time to.
    pub async fn cut(&self) {
        loop {
            let told = self.told();
            tokio::pin!(told);
            // Registered before the look, so that nothing comes in between.
            told.as_mut().enable();
            let ending = {
                let held = self.held();
                held.ending.map(|_| (held.serial, held.lasting))
            };
            let Some((serial, lasting)) = ending else {
                told.await;
                continue;
            };
            tokio::time::sleep(match lasting {
                Some(Lasting::Stream) => Duration::ZERO,
                Some(Lasting::WebSocket) => CLOSING_HANDSHAKE,
                Some(Lasting::Answer) | None => LAST_ANSWERS,
            })
            .await;
            let held = self.held();
            if held.serial == serial && held.ending.is_some() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::jwt::believed;
    use crate::identity::testing::{NOW, claims, rules};

    fn subject() -> Arc<Subject> {
        let serde_json::Value::Object(claims) = claims(&json!({})) else { panic!("claims") };
        Arc::new(believed(claims, &rules(), NOW).expect("a subject"))
    }

    fn streams() -> Arc<OpenStreams> {
        Arc::new(OpenStreams::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_cut_when_its_request_had_its_time() {
        for (lasting, patience) in [
            (Lasting::Stream, Duration::ZERO),
            (Lasting::WebSocket, CLOSING_HANDSHAKE),
            (Lasting::Answer, LAST_ANSWERS),
        ] {
            let (streams, alice) = (streams(), subject());
            let entry = streams.enter();
            streams.bind(entry.line(), &alice, lasting, 0);
            let line = Arc::clone(entry.line());
            let cut = tokio::spawn(async move { line.cut().await });
            tokio::task::yield_now().await;
            let started = tokio::time::Instant::now();
            assert!(entry.line().end(Some(&alice), Reason::TokenRevoked));
            assert!(!entry.line().end(None, Reason::TokenEnded), "it was ended before");
            cut.await.expect("cut");
            assert_eq!((started.elapsed(), entry.line().reason()), (patience, Some(Reason::TokenRevoked)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_request_on_a_line_is_somebody_elses() {
        let (streams, alice) = (streams(), subject());
        let entry = streams.enter();
        streams.bind(entry.line(), &alice, Lasting::Answer, 0);
        let line = Arc::clone(entry.line());
        let cut = tokio::spawn(async move { line.cut().await });
        tokio::task::yield_now().await;
        assert!(entry.line().end(None, Reason::TokenRevoked));
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The answer came in time.
        entry.line().release();
        let bob = subject();
        streams.bind(entry.line(), &bob, Lasting::Stream, 0);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!cut.is_finished() && !entry.line().is_ending());
        assert!(!entry.line().end(Some(&alice), Reason::TokenRevoked), "it is not alice's any more");
        assert!(entry.line().end(Some(&bob), Reason::TokenRevoked));
        cut.await.expect("cut");
    }

    #[tokio::test]
    async fn only_streams_end_with_their_token() {
        let (streams, alice) = (streams(), subject());
        let (answer, stream, idle) = (streams.enter(), streams.enter(), streams.enter());
        streams.bind(answer.line(), &alice, Lasting::Answer, 0);
        streams.bind(stream.line(), &alice, Lasting::Answer, 0);
        stream.line().lasts();
        idle.line().lasts();
        assert_eq!(streams.end_expired(alice.expires_at - 1), 0);
        assert_eq!(streams.end_expired(alice.expires_at), 1);
        assert_eq!((stream.line().reason(), answer.line().reason()), (Some(Reason::TokenEnded), None));
        assert_eq!(streams.end_expired(alice.expires_at), 0, "once");
        assert_eq!(streams.bound().len(), 2);
        drop((answer, stream, idle));
        assert!(streams.bound().is_empty());
    }

    #[tokio::test]
    async fn who_was_let_in_during_a_change_is_looked_at_again() {
        let (streams, alice) = (streams(), subject());
        let entry = streams.enter();
        let before = streams.changes();
        streams.bind(entry.line(), &alice, Lasting::Stream, before);
        streams.note_change();
        entry.line().release();
        streams.bind(entry.line(), &alice, Lasting::Stream, before);
        tokio::time::timeout(Duration::from_secs(5), streams.overtaken()).await.expect("told");
    }
}
