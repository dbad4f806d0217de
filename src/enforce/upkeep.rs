//! Sessions for which something runs: nobody asks about them with a request, so the gateway does.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use uuid::Uuid;

use super::gate::Gate;
use super::sessions::{SessionFact, Sessions, Use};
use super::streams::{Lasting, Running};
use crate::decision::{Identity, Reason};
use crate::identity::Subject;
use crate::telemetry::metrics;

/// How often sessions are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// So many are looked at at a time: an issuer that hangs must not keep the others waiting.
const AT_A_TIME: usize = 256;

impl Gate {
    /// Ends streams whose session has ended, or no longer speaks for the same person in the same roles; drop the future
    /// to stop. `sessions` gives those of the configuration in force.
    ///
    /// Who reconnects is decided about anew. While the store can't be asked, what runs goes on, and while an issuer can't,
    /// for as long as requests do.
    pub async fn keep_sessions(
        self: Arc<Self>,
        sessions: impl Fn() -> Option<Arc<dyn Sessions>> + Send + 'static,
    ) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let running = self.streams().of_sessions();
            let sessions = sessions();
            let looks = stream::iter(running).map(|running| {
                let (gate, sessions) = (Arc::clone(&self), sessions.clone());
                async move { gate.look_after(sessions.as_deref(), &running).await }
            });
            looks.buffer_unordered(AT_A_TIME).collect::<()>().await;
        }
    }

    async fn look_after(&self, sessions: Option<&dyn Sessions>, stream: &Running) {
        let (stands, fact) = match sessions {
            Some(sessions) => stands(sessions, stream).await,
            None => (false, None),
        };
        if let Some(fact) = fact {
            // What can't be recorded is counted and logged by the journal.
            self.record_session_at((Uuid::now_v7(), &stream.ticket.listener, None), &fact).await;
        }
        if !stands && stream.line.end(Some(&stream.subject), Reason::TokenEnded) {
            metrics().streams_ended.with_label_values(&["session"]).inc();
        }
    }
}

/// Whether a stream may go on, and what happened to its session.
async fn stands(sessions: &dyn Sessions, stream: &Running) -> (bool, Option<SessionFact>) {
    let wanted = if stream.lasting == Lasting::WebSocket { Use::Socket } else { Use::Stream };
    let now = jiff::Timestamp::now().as_second();
    let resumed = sessions.resume(&stream.ticket.id, &stream.ticket.host, wanted, now).await;
    let stands = match &resumed.identified.identity {
        Identity::Known(subject) => may_the_same(&stream.subject, subject),
        Identity::SessionUnavailable => true,
        // Nobody has vouched for them for longer than is believed.
        Identity::Unavailable => false,
        Identity::Nobody | Identity::Malformed(_) | Identity::Refused(_) => false,
    };
    (stands, resumed.fact)
}

/// Whether what was decided for the one holds for the other.
fn may_the_same(one: &Subject, other: &Subject) -> bool {
    one.issuer == other.issuer
        && one.id == other.id
        && one.patient == other.patient
        && one.actor == other.actor
        && one.roles == other.roles
        && one.scopes == other.scopes
        && one.level == other.level
        && lasting(one).eq(lasting(other))
}

/// The claims that conditions may ask for, without those that every token has anew.
fn lasting(subject: &Subject) -> impl Iterator<Item = (&String, &serde_json::Value)> {
    const OF_THE_TOKEN: [&str; 9] =
        ["iat", "exp", "nbf", "jti", "at_hash", "c_hash", "s_hash", "nonce", "auth_time"];
    subject.claims.iter().filter(|(name, _)| !OF_THE_TOKEN.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use serde_json::json;

    use super::*;
    use crate::enforce::ports::Identified;
    use crate::enforce::sessions::{Resumed, Ticket, Visit, Visited};
    use crate::enforce::streams::OpenStreams;
    use crate::identity::TokenFault;
    use crate::identity::jwt::believed;
    use crate::identity::testing::{NOW, claims, rules};
    use crate::request::credentials::SessionId;
    use crate::request::device::DeviceId;

    /// Says the same of every session.
    struct Says(Box<dyn Fn(Use) -> Identity + Send + Sync>);

    #[async_trait]
    impl Sessions for Says {
        async fn keep(
            &self,
            _: &crate::enforce::step_up::Challenged<'_>,
        ) -> Option<crate::enforce::step_up::Offered> {
            unreachable!("nothing is challenged here")
        }

        async fn hold(&self, _: &str, _: &crate::enforce::step_up::Challenged<'_>) -> Option<Visited> {
            unreachable!("nothing is challenged here")
        }

        async fn grant(
            &self,
            _: &SessionId,
            _: &str,
            _: i64,
        ) -> crate::decision::Lookup<crate::decision::Granted> {
            unreachable!("nothing is challenged here")
        }

        async fn anonymous_grant(
            &self,
            _: &SessionId,
            _: &str,
            _: &str,
        ) -> crate::decision::Lookup<crate::decision::Granted> {
            unreachable!("nothing is challenged here")
        }

        async fn recognises(
            &self,
            _: &DeviceId,
            _: &str,
            _: &Subject,
            _: i64,
        ) -> crate::decision::Lookup<()> {
            unreachable!("no rule asks here")
        }

        async fn take(&self, _: &str, _: &str, _: &Visit<'_>) -> crate::enforce::step_up::Taken {
            unreachable!("nothing is confirmed here")
        }

        async fn keep_again(&self, _: &crate::enforce::step_up::Again, _: &[u8], _: i64) {
            unreachable!("nothing is confirmed here")
        }

        fn serves(&self, _: &str) -> bool {
            true
        }
        fn sign_in(&self, _: &str, _: &mut dyn Iterator<Item = Option<usize>>, _: &str) -> Option<String> {
            None
        }
        async fn resume(&self, _: &SessionId, _: &str, wanted: Use, _: i64) -> Resumed {
            let identified = Identified { identity: (self.0)(wanted), too_stale_for_critical: false };
            Resumed { identified, fact: None }
        }
        async fn visit(&self, _: &Visit<'_>) -> Visited {
            unreachable!("nobody visits")
        }
    }

    fn subject(change: &serde_json::Value) -> Arc<Subject> {
        let serde_json::Value::Object(claims) = claims(change) else { panic!("claims") };
        Arc::new(believed(claims, &rules(), NOW).expect("a subject"))
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_session_and_with_what_it_was_allowed_by() {
        let alice = subject(&json!({}));
        let same = subject(&json!({ "jti": "renewed" }));
        let demoted = subject(&json!({ "scope": "less" }));
        type Answer = Box<dyn Fn(Use) -> Identity + Send + Sync>;
        let known = |subject: &Arc<Subject>| {
            let subject = Arc::clone(subject);
            Box::new(move |_| Identity::Known(Arc::clone(&subject))) as Answer
        };
        let only_sockets = |wanted| match wanted {
            Use::Socket => Identity::SessionUnavailable,
            _ => Identity::Refused(TokenFault::SessionEnded),
        };
        for (what, says, lasting, ends) in [
            ("goes on", known(&same), Lasting::Stream, false),
            ("may do less now", known(&demoted), Lasting::Stream, true),
            (
                "has ended",
                Box::new(|_| Identity::Refused(TokenFault::SessionEnded)),
                Lasting::WebSocket,
                true,
            ),
            ("nobody vouches for any more", Box::new(|_| Identity::Unavailable), Lasting::Stream, true),
            ("nobody knows", Box::new(|_| Identity::SessionUnavailable), Lasting::Stream, false),
            ("idle, and only tells", Box::new(only_sockets), Lasting::Stream, true),
            ("in use", Box::new(only_sockets), Lasting::WebSocket, false),
        ] {
            let streams = Arc::new(OpenStreams::default());
            let entry = streams.enter();
            streams.bind(entry.line(), &alice, lasting, 0);
            let id = SessionId::parse(&"A".repeat(SessionId::LENGTH)).expect("a name");
            entry.line().came_by(Ticket { id, host: "portal.example".into(), listener: "portal".into() });
            let running = streams.of_sessions();
            assert_eq!(running.len(), 1);
            let (stands, _) = stands(&Says(says), &running[0]).await;
            assert_eq!(stands, !ends, "a session that {what}");
        }
    }

    #[test]
    fn a_download_is_left_alone() {
        let (streams, alice) = (Arc::new(OpenStreams::default()), subject(&json!({})));
        let entry = streams.enter();
        streams.bind(entry.line(), &alice, Lasting::Answer, 0);
        let id = SessionId::parse(&"A".repeat(SessionId::LENGTH)).expect("a name");
        entry.line().came_by(Ticket { id, host: "portal.example".into(), listener: "portal".into() });
        assert!(streams.of_sessions().is_empty());
        entry.line().lasts();
        assert_eq!(streams.of_sessions().len(), 1);
        entry.line().release();
        assert!(streams.of_sessions().is_empty(), "the next request on this line is another's");
    }
}
