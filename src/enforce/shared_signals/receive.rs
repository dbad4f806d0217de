//! One security event: judged, carried out, recorded; once, however often it is delivered.

use std::time::Duration;

use super::{Received, Stream, Streams, Unsigned, Unusable};
use crate::audit::event::{Event, SharedSignalEvent};
use crate::audit::pseudonym::Kind as Pseudonym;
use crate::decision::Lookup;
use crate::enforce::gate::Gate;
use crate::enforce::ports::{RevocationClaim, RevocationKey};
use crate::enforce::revoke::RevokedBy;
use crate::identity::jwt::Media;
use crate::identity::security_event::{self, Effect, Kind, Named, OLDEST, SecurityEvent};
use crate::policy::Policy;
use crate::request::credentials::MAX_TOKEN_BYTES;
use crate::state::spent::ProofKey;
use crate::telemetry::metrics;

/// How long it is remembered that an event was carried out: longer than one is taken.
const REMEMBER: Duration = Duration::from_secs(OLDEST.unsigned_abs() + 3_600);
/// How far a transmitter's clock may differ from that of whoever issued the tokens, in seconds.
const CLOCKS_DIFFER: i64 = 30;

/// What there is to say of an event.
struct Account<'a> {
    stream: &'a Stream,
    delivery: &'static str,
    event: Option<&'a SecurityEvent>,
    result: &'static str,
}

impl Gate {
    /// Judges one token of a stream and carries it out. `delivery` is `push` or `poll`; `now` is in Unix seconds.
    ///
    /// Whoever delivers it again, because an answer was lost or to do harm, changes nothing: what is revoked is what
    /// was begun before the event, and an event that was carried out is not carried out again.
    pub async fn receive_signal(
        &self,
        policy: &Policy,
        streams: &Streams,
        position: usize,
        (delivery, token): (&'static str, &str),
        now: i64,
    ) -> Received {
        let Some(stream) = streams.stream(position) else { return Received::Later };
        let account = Account { stream, delivery, event: None, result: "" };
        if token.len() > MAX_TOKEN_BYTES {
            return self.refuse_signal(account, Unusable::Request("set_too_long")).await;
        }
        let signed = match streams.transmitters.signed(position, token).await {
            Ok(signed) => signed,
            Err(Unsigned::Token(fault)) => return self.refuse_signal(account, Unusable::Token(fault)).await,
            Err(Unsigned::Unavailable) => {
                self.record_some(Account { result: "transmitter_unavailable", ..account }).await;
                return Received::Later;
            }
        };
        let (media, claims): (Media, _) = (signed.media, &signed.claims);
        let event = match security_event::read(media, claims, &stream.rules, &signed.critical, now) {
            Ok(event) => event,
            Err(fault) => return self.refuse_signal(account, Unusable::Event(fault)).await,
        };
        let account = Account { event: Some(&event), ..account };
        let memory = memory_of(stream, &event);
        if let Lookup::Found(_) = self.state.peek(&memory).await {
            count(&account, "again");
            return Received::Taken;
        }
        let (is_stored, is_recorded, result) = match &event.effect {
            Effect::Revoke { names, at } => {
                let (stored, recorded) = self.revoke_names(policy, stream, names, *at, now).await;
                (stored, recorded, if stored { "revoked" } else { "store_unavailable" })
            }
            Effect::Nothing => (true, true, "nothing_to_do"),
            Effect::Stream { enabled } => {
                stream.tell(|state| state.is_paused = !enabled);
                if !enabled {
                    tracing::warn!(issuer = %stream.issuer, "the transmitter of shared signals says that it sends no more events");
                }
                (true, true, if *enabled { "stream_enabled" } else { "stream_stopped" })
            }
        };
        let is_recorded = self.record_signal(Account { result, ..account }).await && is_recorded;
        if !(is_stored && is_recorded) {
            // What could be revoked is revoked; the transmitter is to deliver it again until all of it is done.
            return Received::Later;
        }
        if matches!(event.effect, Effect::Nothing) {
            // Nothing to undo, and there may be one for each device every day.
            return Received::Taken;
        }
        // Where this fails it is carried out again when it is delivered again, which changes nothing.
        let _ = self.state.seal(&memory, b"1", REMEMBER).await;
        Received::Taken
    }

    /// Refuses what came in the place of an event, before there was a stream to judge it by.
    async fn refuse_signal(&self, account: Account<'_>, why: Unusable) -> Received {
        let account = Account { result: why.code(), ..account };
        self.record_some(account).await;
        Received::Refused(why.refusal())
    }

    /// Records what anybody can send: not all of a flood.
    async fn record_some(&self, account: Account<'_>) {
        if self.flood.is_recorded("shared_signals", account.result) {
            // A refusal stands whether or not it can be recorded.
            self.record_signal(account).await;
        } else {
            count(&account, account.result);
        }
    }

    /// Refuses a push that brings no event at all.
    pub(crate) async fn refuse_push(&self, streams: &Streams, position: usize, why: Unusable) -> Received {
        match streams.stream(position) {
            Some(stream) => {
                let account = Account { stream, delivery: "push", event: None, result: "" };
                self.refuse_signal(account, why).await
            }
            None => Received::Later,
        }
    }

    /// Says whether all names are revoked, and whether all of that is recorded.
    async fn revoke_names(
        &self,
        policy: &Policy,
        stream: &Stream,
        names: &[Named],
        at: i64,
        now: i64,
    ) -> (bool, bool) {
        let by = RevokedBy { source: "shared_signals", uid: None };
        let (mut stored, mut recorded) = (true, true);
        for name in names {
            let (claim, from) = match name.kind {
                Kind::Subject => (RevocationClaim::Subject, Some(moment(at, now))),
                // A session or a token that has ended never comes back.
                Kind::Session => (RevocationClaim::Session, None),
                Kind::Token => (RevocationClaim::TokenId, None),
            };
            let key = RevocationKey { issuer: &stream.issuer, claim, value: &name.value };
            let revoked = self.revoke(policy, &key, from, now, by).await;
            stored &= revoked.stored;
            recorded &= revoked.recorded;
        }
        (stored, recorded)
    }

    /// Counts and records what became of an event; says whether it is recorded.
    async fn record_signal(&self, account: Account<'_>) -> bool {
        count(&account, account.result);
        let Account { stream, delivery, event, result } = account;
        let token = event.map(|event| self.pseudonyms.of(Pseudonym::Token, &stream.issuer, &event.token_id));
        let record = Event::SharedSignal(SharedSignalEvent {
            issuer: &stream.issuer,
            delivery,
            what: event.map(|event| event.kind.name()),
            result,
            token: token.as_deref(),
        });
        tracing::info!(issuer = %stream.issuer, delivery, event = word(event), result, "security event");
        self.record_own(&record).await
    }
}

fn word(event: Option<&SecurityEvent>) -> &'static str {
    event.map_or("none", |event| event.kind.name())
}

fn count(account: &Account<'_>, result: &'static str) {
    let issuer: &str = &account.stream.issuer;
    metrics().shared_signals.with_label_values(&[issuer, word(account.event), result]).inc();
}

/// Where it is remembered that an event was carried out.
fn memory_of(stream: &Stream, event: &SecurityEvent) -> String {
    let key = ProofKey::new(&[&stream.issuer, &stream.rules.transmitter, &event.token_id], 0);
    format!("security-event:{}", key.as_str())
}

/// What a subject began before this ends. Who signs in again after the event stays, whenever the event arrives; where
/// two clocks disagree, a sign-in of the same half minute is not believed.
fn moment(at: i64, now: i64) -> i64 {
    at.saturating_add(CLOCKS_DIFFER).min(now).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_signs_in_after_the_event_stays() {
        assert_eq!(moment(1_000, 1_000), 1_001, "nothing that exists now is left out");
        assert_eq!(moment(1_000, 1_010), 1_011);
        assert_eq!(moment(1_000, 9_000), 1_031, "delivered late, or once more");
        assert_eq!(moment(1_020, 1_000), 1_001, "a clock that runs ahead");
    }
}
