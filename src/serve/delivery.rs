//! One request's way to its upstream: where it is now, and what may still be tried.
//!
//! A connection that can't be made is tried at another server whatever the method, since nothing has been sent. What
//! has been sent is sent again only under the rules of [`Delivery::may_send_again`].

use std::sync::Arc;

use http::Method;
use pingora::{Error, ErrorSource, ErrorType};

use super::upstream::{AnswerClock, Attempt, Handshake, Line, Tried};
use crate::config::settings::RetrySettings;

/// To how many servers a connection is tried for one request.
const CONNECTIONS: u32 = 3;
/// Interim answers (RFC 9110 §15.2) in front of a final one; an upstream that sends more is broken.
const INTERIM: u32 = 16;
/// More tries than any request may take: what Pingora is told, so that only the rules here count.
pub const MOST_TRIES: usize = 16;

/// What is known of a connection that failed after the request went out.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// Pingora's own verdict: an idempotent request met a kept connection that had just been closed, or the upstream
    /// said that it did not look at the request.
    pub surely_not_served: bool,
    /// Whether the connection broke, rather than the answer being late or malformed.
    pub broken: bool,
    /// Whether the configuration lets this request be sent again: its method is listed, it has no body and cost no
    /// proof.
    pub listed: bool,
    /// How often the configuration lets it be sent again.
    pub max: u32,
}

impl Failure {
    /// Reads Pingora's error. `repeatable` says that the request may be sent twice by its nature, `retries` what the
    /// configuration allows for it.
    pub fn of(
        error: &mut Error,
        reused: bool,
        repeatable: bool,
        retries: Option<&RetrySettings>,
        method: &Method,
    ) -> Self {
        error.retry.decide_reuse(reused);
        Self {
            surely_not_served: repeatable && error.retry(),
            broken: !reused && is_cut(error),
            listed: repeatable && retries.is_some_and(|retries| retries.methods.contains(method)),
            max: retries.map_or(0, |retries| retries.max),
        }
    }
}

/// Whether an error says that the upstream's connection broke.
fn is_cut(error: &Error) -> bool {
    let cut = matches!(
        error.etype(),
        ErrorType::ConnectionClosed
            | ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::H2Error
            | ErrorType::InvalidH2
    );
    cut && *error.esource() == ErrorSource::Upstream
}

/// A request's way.
#[derive(Default)]
pub struct Delivery {
    attempt: Option<Attempt>,
    handshake: Option<Arc<Handshake>>,
    line: Option<Line>,
    clock: Option<AnswerClock>,
    tried: Tried,
    connections: u32,
    sent_again: u32,
    interim: u32,
    answered: bool,
}

impl Delivery {
    /// The request goes to another server than before.
    pub fn begin(&mut self, attempt: Attempt, handshake: Option<Arc<Handshake>>) {
        self.attempt = Some(attempt);
        self.handshake = handshake;
        (self.line, self.clock) = (None, None);
        self.interim = 0;
    }

    /// Servers it has been to in vain.
    pub fn tried(&self) -> &Tried {
        &self.tried
    }

    /// The connection stands; `line` is its socket, where that can be told.
    pub fn connected(&mut self, line: Option<Line>) {
        match &self.handshake {
            Some(handshake) => handshake.start(),
            None => self.line = line,
        }
    }

    /// The whole request is about to have been sent in HTTP/1.1: now the head of its answer must come in time, as a
    /// whole. In HTTP/2 Pingora waits for all of it at once.
    pub fn awaits_head(&mut self) {
        if let Some(line) = self.line.take().filter(|_| !self.answered) {
            self.clock = Some(AnswerClock::start(line));
        }
    }

    /// The connection is one of HTTP/2.
    pub fn speaks_http2(&mut self) {
        self.line = None;
    }

    /// The head of an answer has come; `false` where there have been too many that are no answer.
    pub fn head(&mut self, status: u16) -> bool {
        if (100..200).contains(&status) && status != 101 {
            self.interim += 1;
            return self.interim <= INTERIM;
        }
        self.answered = true;
        self.clock = None;
        if let Some(handshake) = &self.handshake {
            handshake.settle();
        }
        true
    }

    /// Whether the head of the answer did not come in time.
    pub fn answer_is_late(&self) -> bool {
        self.handshake.as_ref().is_some_and(|handshake| handshake.has_expired())
            || self.clock.as_ref().is_some_and(AnswerClock::has_expired)
    }

    /// The connection could not be made; whether another one may be tried: to another server, or to the same one where
    /// what failed was a kept connection of HTTP/2 that took no further request.
    pub fn may_connect_again(&mut self, error: &Error) -> bool {
        self.connections += 1;
        if *error.etype() == ErrorType::H2Error {
            return self.connections < CONNECTIONS;
        }
        let Some(attempt) = self.attempt.take() else { return false };
        attempt.failed();
        self.tried.push(attempt.server.hash);
        self.connections < CONNECTIONS && attempt.has_other(&self.tried)
    }

    /// The request went out and failed; whether it may go out again.
    pub fn may_send_again(&mut self, failure: Failure) -> bool {
        if failure.broken
            && !failure.surely_not_served
            && let Some(attempt) = &self.attempt
        {
            attempt.failed();
            self.tried.push(attempt.server.hash);
        }
        let most = if failure.surely_not_served { failure.max.max(1) } else { failure.max };
        let allowed = failure.surely_not_served || (failure.broken && failure.listed);
        if self.answered || !allowed || self.sent_again >= most {
            return false;
        }
        self.sent_again += 1;
        self.clock = None;
        true
    }

    /// The whole answer has come.
    pub fn succeeded(&self) {
        if let Some(attempt) = &self.attempt {
            attempt.succeeded();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: Failure = Failure { surely_not_served: true, broken: true, listed: false, max: 0 };
    const CUT: Failure = Failure { surely_not_served: false, broken: true, listed: true, max: 2 };

    fn sent(failure: Failure) -> usize {
        let mut delivery = Delivery::default();
        1 + (0..MOST_TRIES).take_while(|_| delivery.may_send_again(failure)).count()
    }

    #[test]
    fn nothing_is_sent_more_often_than_allowed() {
        assert_eq!(sent(STALE), 2, "once more without any setting");
        assert_eq!(sent(Failure { max: 3, ..STALE }), 4);
        assert_eq!(sent(CUT), 3);
        assert_eq!(sent(Failure { listed: false, ..CUT }), 1);
        assert_eq!(sent(Failure { broken: false, ..CUT }), 1, "what is late may still be served");
        assert_eq!(sent(Failure { max: 0, ..CUT }), 1);
    }

    #[test]
    fn what_was_answered_is_never_sent_again() {
        let mut delivery = Delivery::default();
        assert!(delivery.head(103));
        assert!(delivery.may_send_again(CUT), "an interim answer is none");
        assert!(delivery.head(200));
        assert!(!delivery.may_send_again(CUT) && !delivery.may_send_again(STALE));
    }

    #[test]
    fn interim_answers_end() {
        let mut delivery = Delivery::default();
        assert!((0..INTERIM).all(|_| delivery.head(100)));
        assert!(!delivery.head(102));
    }
}
