//! The external authorization front: Envoy asks by gRPC (`envoy.service.auth.v3.Authorization/Check`) and forwards the
//! request or not.
//!
//! Envoy tells a request with its body, and can be told what to take out of it; it sees its end, and nobody here does.

mod answer;
mod messages;
mod question;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{Method, header};
use pingora::proxy::Session;
use prost::Message as _;

use self::messages::CheckRequest;
use self::question::Question;
use super::context::Context;
use super::described::Word;
use super::intake::SessionBody;
use super::proxy::Gateway;
use super::reply::grpc::{self, Fault};
use crate::decision::Reason;
use crate::enforce::BodySource as _;
use crate::request::Unreadable;

const CHECK: &[u8] = b"/envoy.service.auth.v3.Authorization/Check";
/// The longest question, in bytes: the longest body that is read to classify it, with all headers.
const MOST_BYTES: usize = 1024 * 1024;
/// By it Envoy is said to send bodies, of so many bytes at most. It is of the call, which no client writes.
const BODY_BYTES: &str = "x-wardgate-body-bytes";
/// The byte and the length before a message.
const PREFIX: usize = 5;

impl Gateway {
    /// Answers one call.
    pub(super) async fn ext_authz(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<()> {
        let answer = self.check(session, context).await?;
        tracing::debug!(decision = %context.id, answered = answer.is_ok(), "answered Envoy");
        grpc::send(session, answer).await
    }

    async fn check(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> pingora::Result<Result<Bytes, Fault>> {
        let asked = session.req_header();
        let kind = asked.headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
        let is_check = asked.method == Method::POST
            && asked.raw_path() == CHECK
            && kind.is_some_and(|kind| kind.starts_with(b"application/grpc"));
        if !is_check {
            return Ok(Err(self.not_answered(context, Reason::NoRoute, Fault::Unimplemented).await));
        }
        let most = asked.headers.get(BODY_BYTES).and_then(|most| most.to_str().ok()?.parse().ok());
        if let Some(running) = &mut context.running {
            running.awaits_body();
        }
        let collected = SessionBody::new(session).collect(MOST_BYTES).await;
        if let Some(running) = &mut context.running {
            running.has_body();
        }
        let question = match collected {
            Ok(body) => read(&body, most),
            Err(fault) => return Ok(Err(self.not_answered(context, fault.into(), Fault::Malformed).await)),
        };
        let Some(Question { request, headers }) = question else {
            let reason = Reason::EvaluationMalformed;
            return Ok(Err(self.not_answered(context, reason, Fault::Malformed).await));
        };
        let response = match self.judge(context, request, None).await? {
            Word::Leave(mut told) => {
                let departure = context.departure()?;
                let without = context.live.upstreams.changes(&departure, &headers, &mut told)?;
                answer::leave(&told, &without)?
            }
            Word::Instead(reply, _) => {
                let (head, body) = reply.into_parts();
                answer::refusal(head, &body)?
            }
        };
        let message = response.encode_to_vec();
        let mut framed = BytesMut::with_capacity(PREFIX + message.len());
        framed.put_u8(0);
        framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
        framed.extend_from_slice(&message);
        Ok(Ok(framed.freeze()))
    }

    async fn not_answered(&self, context: &Context, reason: Reason, fault: Fault) -> Fault {
        let arrival = self.arrival(context, &Method::POST, Err(Unreadable::NotOriginForm));
        self.gate.refuse_visit(&arrival, reason).await;
        fault
    }
}

/// Reads the one message of a call.
fn read(body: &Bytes, most: Option<usize>) -> Option<Question> {
    let (prefix, message) = body.split_at_checked(PREFIX)?;
    let (compressed, length) = prefix.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    if *compressed != 0 || usize::try_from(length).ok()? != message.len() {
        return None;
    }
    Question::read(CheckRequest::decode(message).ok()?.attributes?, most)
}
