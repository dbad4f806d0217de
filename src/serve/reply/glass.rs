//! The answer to whoever has broken the glass.

use bytes::Bytes;
use http::header;
use serde::Serialize;
use uuid::Uuid;

use super::Reply;
use crate::decision::{Offer, Opened};
use crate::serve::break_glass::PATH;

/// How an answer says that the glass was broken for it, or may be.
pub const GLASS_HEADER: &str = "x-wardgate-break-glass";

/// Where the glass can be broken, and what that takes; for programs.
#[derive(Serialize)]
pub(super) struct Offered<'o> {
    url: &'static str,
    reason_codes: &'o [Box<str>],
    text_min: usize,
}

impl<'o> Offered<'o> {
    pub(super) fn new(offer: &'o Offer) -> Self {
        Self { url: PATH, reason_codes: &offer.reason_codes, text_min: offer.text_min }
    }
}

impl Reply {
    /// One patient's record is open, or in a drill would be.
    pub fn glass_broken(id: Uuid, opened: &Opened) -> pingora::Result<Self> {
        let until = jiff::Timestamp::from_second(opened.until).unwrap_or_default().to_string();
        let told = serde_json::json!({
            "break_glass": opened.id, "right": opened.right, "until": until, "drill": opened.drill,
        });
        let body = Bytes::from(format!("{told}\n"));
        let mut reply = Self::bare(id, 201)?;
        reply.header.insert_header(header::CONTENT_TYPE, "application/json")?;
        reply.header.insert_header(header::CONTENT_LENGTH, body.len())?;
        reply.header.insert_header("x-content-type-options", "nosniff")?;
        Ok(Self { body, ..reply })
    }
}
