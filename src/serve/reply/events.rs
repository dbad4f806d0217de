//! Answers for transmitters of security events (RFC 8935 §2.3).

use bytes::Bytes;
use http::StatusCode;
use pingora::http::ResponseHeader;
use uuid::Uuid;

use super::{RETRY_AFTER, Reply};
use crate::enforce::shared_signals::Refusal;
use crate::serve::upstream::DECISION_HEADER;

impl Reply {
    /// The event is not taken, and never will be.
    pub fn event_refused(id: Uuid, refusal: Refusal) -> pingora::Result<Self> {
        let told = serde_json::json!({ "err": refusal.err, "description": refusal.description });
        let body = Bytes::from(format!("{told}\n"));
        let mut header = ResponseHeader::build(StatusCode::BAD_REQUEST, Some(8))?;
        header.insert_header(http::header::CONTENT_TYPE, "application/json")?;
        header.insert_header(http::header::CONTENT_LANGUAGE, "en")?;
        header.insert_header(http::header::CONTENT_LENGTH, body.len())?;
        header.insert_header(http::header::CACHE_CONTROL, "no-store")?;
        header.insert_header("x-content-type-options", "nosniff")?;
        header.insert_header(DECISION_HEADER, id.to_string())?;
        Ok(Self { header, body })
    }

    /// Nobody can take the event now; the transmitter is to try again.
    pub fn try_later(id: Uuid) -> pingora::Result<Self> {
        let mut reply = Self::bare(id, 503)?;
        reply.header.insert_header(http::header::RETRY_AFTER, RETRY_AFTER)?;
        Ok(reply)
    }
}
