//! An event that is pushed (RFC 8935): limited like any other request, and only from who it should be from.

use super::{Received, Streams, Unusable};
use crate::decision::Denial;
use crate::enforce::gate::{Arrival, Gate};
use crate::policy::Policy;
use crate::request::Facts;

/// What a push must say that it brings.
const MEDIA_TYPE: &str = "application/secevent+jwt";

/// A request that brings an event.
#[derive(Debug, Clone, Copy)]
pub struct Push<'p> {
    /// The stream's position.
    pub position: usize,
    /// The request.
    pub facts: &'p Facts,
    /// Its whole `Authorization` header.
    pub authorization: Option<&'p [u8]>,
    /// Its `Content-Type`.
    pub content_type: Option<&'p str>,
    /// Its body.
    pub body: &'p [u8],
}

impl Gate {
    /// Takes a push.
    ///
    /// # Errors
    /// There are too many requests.
    pub async fn push_signal(
        &self,
        policy: &Policy,
        streams: &Streams,
        arrival: &Arrival<'_>,
        push: &Push<'_>,
    ) -> Result<Received, Denial> {
        if let Err(denial) = self.limit_anybody(policy, None, push.facts) {
            self.record_refused_visit(arrival, denial.reason).await;
            return Err(denial);
        }
        let position = push.position;
        if !streams.authorizes(position, push.authorization) {
            return Ok(self.refuse_push(streams, position, Unusable::Unauthenticated).await);
        }
        let media = push.content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case(MEDIA_TYPE) {
            let why = Unusable::Request("set_content_type");
            return Ok(self.refuse_push(streams, position, why).await);
        }
        let Ok(token) = std::str::from_utf8(push.body) else {
            return Ok(self.refuse_push(streams, position, Unusable::Request("set_malformed")).await);
        };
        Ok(self.receive_signal(policy, streams, position, ("push", token.trim_ascii()), arrival.now).await)
    }
}
