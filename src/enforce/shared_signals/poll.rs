//! Fetches security events from transmitters that don't push them (RFC 8936).
//!
//! One request after the other for each stream. While there is nothing to fetch the transmitter holds the request; what
//! was done with the events of one answer is said with the next request, which is then not held. An event that could
//! not be carried out is not acknowledged, so that it comes again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{Delivery, PollFault, Received, Refusal, Stream, Streams};
use crate::enforce::gate::Gate;
use crate::policy::Policy;
use crate::request::json;
use crate::telemetry::metrics;

/// So many events are asked for at a time: their answer stays well below what is read of one.
const MOST_EVENTS: usize = 20;
/// A transmitter that sends more than was asked for is listened to no further.
const MOST_TAKEN: usize = 100;
/// How long an answer may take that need not be waited for.
const AT_ONCE: Duration = Duration::from_secs(10);
/// How much longer than the transmitter may hold a request we wait for its answer.
const GRACE: Duration = Duration::from_secs(5);
/// The first pause after a failure, and the shortest time between two requests that brought nothing; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A request for events (RFC 8936 §2.2).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'r> {
    max_events: usize,
    return_immediately: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    ack: &'r [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    set_errs: &'r BTreeMap<String, Refused>,
}

#[derive(Debug, Serialize)]
struct Refused {
    err: &'static str,
    description: &'static str,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { err: refusal.err, description: refusal.description }
    }
}

/// An answer (RFC 8936 §2.3): tokens by their `jti`.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    sets: Vec<(String, String)>,
    more: bool,
}

/// Where the conversation with one transmitter stands.
#[derive(Debug, Default)]
struct Conversation {
    acknowledged: Vec<String>,
    refused: BTreeMap<String, Refused>,
    /// Whether the next request is to be answered at once.
    at_once: bool,
    failures: u32,
}

impl Gate {
    /// Fetches the events of all streams that are not pushed, for ever; drop the future to stop.
    pub async fn poll_signals(self: Arc<Self>, policy: Arc<Policy>, streams: Arc<Streams>) {
        let mut tasks = JoinSet::new();
        for position in 0..streams.streams.len() {
            let Some(stream) = streams.stream(position) else { continue };
            if let Delivery::Poll { wait } = stream.delivery {
                let (gate, policy, streams) = (Arc::clone(&self), Arc::clone(&policy), Arc::clone(&streams));
                tasks.spawn(async move { gate.poll_stream(&policy, &streams, position, wait).await });
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn poll_stream(&self, policy: &Policy, streams: &Streams, position: usize, wait: Duration) {
        let Some(stream) = streams.stream(position) else { return };
        // The first request shows whether the transmitter answers at all.
        let mut talk = Conversation { at_once: true, ..Conversation::default() };
        loop {
            let began = Instant::now();
            let pause = match self.poll_once(streams, position, &mut talk, wait).await {
                Ok(answer) => {
                    talk.failures = 0;
                    stream.tell(|state| state.outage = None);
                    let is_empty = answer.sets.is_empty();
                    let all_done = self.carry_out_signals(policy, streams, position, &mut talk, answer).await;
                    if !all_done {
                        // It would come again at once, and again.
                        talk.failures = talk.failures.saturating_add(1);
                        pause(talk.failures)
                    } else if is_empty {
                        FIRST_PAUSE.saturating_sub(began.elapsed())
                    } else {
                        Duration::ZERO
                    }
                }
                Err(fault) if fault.is_late && !talk.at_once => {
                    // It may have had nothing to say. Whether it is there at all shows an answer that is due at once.
                    talk.at_once = true;
                    Duration::ZERO
                }
                Err(fault) => {
                    talk.failures = talk.failures.saturating_add(1);
                    let pause = pause(talk.failures);
                    note(stream, &fault, pause);
                    pause
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn poll_once(
        &self,
        streams: &Streams,
        position: usize,
        talk: &mut Conversation,
        wait: Duration,
    ) -> Result<Answer, PollFault> {
        let has_news = !talk.acknowledged.is_empty() || !talk.refused.is_empty();
        talk.at_once |= has_news;
        let request = Request {
            max_events: MOST_EVENTS,
            return_immediately: talk.at_once,
            ack: &talk.acknowledged,
            set_errs: &talk.refused,
        };
        // Texts and numbers, which JSON can always hold.
        let request = serde_json::to_string(&request).unwrap_or_default();
        let limit = if talk.at_once { AT_ONCE } else { wait + GRACE };
        let answer = streams.transmitters.poll(position, request, limit).await;
        let answer = answer.and_then(|bytes| {
            read(&bytes).ok_or_else(|| PollFault {
                code: "unusable",
                text:
                    "the answer is none of RFC 8936, §2.3; check that `poll.url` is the stream's own address"
                        .to_owned(),
                is_late: false,
            })
        });
        let issuer = streams.stream(position).map_or("", |stream| &*stream.issuer);
        let result = answer.as_ref().err().map_or("ok", |fault| fault.code);
        metrics().shared_signal_polls.with_label_values(&[issuer, result]).inc();
        if answer.is_ok() {
            talk.acknowledged.clear();
            talk.refused.clear();
            talk.at_once = false;
        }
        answer
    }

    /// Carries out what came; says whether all of it is done with.
    async fn carry_out_signals(
        &self,
        policy: &Policy,
        streams: &Streams,
        position: usize,
        talk: &mut Conversation,
        answer: Answer,
    ) -> bool {
        talk.at_once = answer.more;
        let mut all_done = true;
        for (name, token) in answer.sets.into_iter().take(MOST_TAKEN) {
            let now = jiff::Timestamp::now().as_second();
            match self.receive_signal(policy, streams, position, ("poll", &token), now).await {
                Received::Taken => talk.acknowledged.push(name),
                Received::Refused(refusal) => {
                    talk.refused.insert(name, refusal.into());
                }
                Received::Later => all_done = false,
            }
        }
        all_done
    }
}

fn note(stream: &Stream, fault: &PollFault, pause: Duration) {
    let issuer = &stream.issuer;
    tracing::warn!(%issuer, error = %fault.text, retry_in = ?pause, "security events can't be fetched");
    stream.tell(|state| state.outage = Some(fault.text.clone()));
}

/// One second after the first failure, then doubled.
fn pause(failures: u32) -> Duration {
    let doublings = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(doublings).min(LONGEST_PAUSE)
}

fn read(bytes: &[u8]) -> Option<Answer> {
    let Ok(Value::Object(mut members)) = json::parse(bytes) else { return None };
    let more = match members.get("moreAvailable") {
        None => false,
        Some(Value::Bool(more)) => *more,
        Some(_) => return None,
    };
    let Some(Value::Object(sets)) = members.remove("sets") else { return None };
    let set = |(name, token)| if let Value::String(token) = token { Some((name, token)) } else { None };
    Some(Answer { sets: sets.into_iter().map(set).collect::<Option<_>>()?, more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let answer = read(br#"{"sets":{"a":"x.y.z"},"moreAvailable":true,"other":1}"#).expect("read");
        assert_eq!(answer, Answer { sets: vec![("a".to_owned(), "x.y.z".to_owned())], more: true });
        assert_eq!(read(br#"{"sets":{}}"#), Some(Answer { sets: Vec::new(), more: false }));
        for text in [
            &b"{}"[..],
            b"[]",
            br#"{"sets":[]}"#,
            br#"{"sets":{"a":7}}"#,
            br#"{"sets":{"a":"x","a":"y"}}"#,
            br#"{"sets":{},"moreAvailable":"yes"}"#,
        ] {
            assert_eq!(read(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn requests_are_those_of_the_standard() {
        let (ack, mut errors) = (vec!["a".to_owned()], BTreeMap::new());
        errors.insert("b".to_owned(), Refused { err: "invalid_key", description: "token_unknown_key" });
        let request = Request { max_events: 20, return_immediately: true, ack: &ack, set_errs: &errors };
        assert_eq!(
            serde_json::to_string(&request).expect("text"),
            r#"{"maxEvents":20,"returnImmediately":true,"ack":["a"],"setErrs":{"b":{"err":"invalid_key","description":"token_unknown_key"}}}"#
        );
        let none = BTreeMap::new();
        let request = Request { max_events: 20, return_immediately: false, ack: &[], set_errs: &none };
        let text = serde_json::to_string(&request).expect("text");
        assert_eq!(text, r#"{"maxEvents":20,"returnImmediately":false}"#);
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let all: Vec<u64> = (1..9).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(all, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
