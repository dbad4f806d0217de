//! The body of a request that waits. It lies apart from the rest, which is read at every look: only the page that shows it
//! and the sending read it. It outlasts the rest a little, so a body that is missing means that the request is gone.

use std::time::Duration;

use bytes::Bytes;

use super::super::{BrowserSessions, secret};
use super::intent::Intent;
use crate::decision::Lookup;

/// How much longer the body is kept than what it belongs to.
const MARGIN: Duration = Duration::from_secs(60);

fn body_key(name: &str) -> String {
    format!("body:{}", secret::digest(name))
}

impl BrowserSessions {
    /// Keeps the body of the request of this name; says whether it is kept. Before the request itself, which is worth
    /// nothing without it.
    pub(super) async fn keep_body(&self, name: &str, body: &[u8]) -> bool {
        let ttl = self.policy.resume.ttl + MARGIN;
        body.is_empty() || self.state.seal(&body_key(name), body, ttl).await == Lookup::Found(())
    }

    /// The body of a request that waits.
    pub(super) async fn body_of(&self, name: &str, intent: &Intent) -> Lookup<Bytes> {
        if !intent.has_body {
            return Lookup::Found(Bytes::new());
        }
        match self.state.peek(&body_key(name)).await {
            Lookup::Found(body) => Lookup::Found(body.into()),
            Lookup::Absent => Lookup::Absent,
            Lookup::Unavailable => Lookup::Unavailable,
        }
    }

    /// Nobody needs it any more. Where that can't be done now it ends by itself.
    pub(super) async fn drop_body(&self, name: &str, intent: &Intent) {
        if intent.has_body {
            let _ = self.state.unseal(&body_key(name)).await;
        }
    }
}
