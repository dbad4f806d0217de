//! Answers for people: pages, and where the browser goes on.

use bytes::Bytes;
use http::StatusCode;
use pingora::http::ResponseHeader;
use uuid::Uuid;

use super::{RETRY_AFTER, Reply};
use crate::enforce::sessions::Heard;
use crate::serve::pages::Rendered;
use crate::serve::upstream::DECISION_HEADER;

/// The script of single-page applications. It is the same for everybody, and decides nothing.
const SCRIPT: &str = include_str!("../../../templates/step-up.js");
/// How long browsers keep it without asking again: an upgrade of the gateway is known to them by then.
const SCRIPT_CACHE: &str = "public, max-age=300";

impl Reply {
    /// One of the gateway's own pages.
    pub fn page(id: Uuid, page: Rendered) -> pingora::Result<Self> {
        let status = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut header = ResponseHeader::build(status, Some(12))?;
        header.insert_header(DECISION_HEADER, id.to_string())?;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            header.insert_header(http::header::RETRY_AFTER, RETRY_AFTER)?;
        }
        Self { header, body: Bytes::new() }.shown_as(page)
    }

    /// The same answer for somebody who reads it in a browser: status and challenges stay.
    pub fn shown_as(self, page: Rendered) -> pingora::Result<Self> {
        let Self { mut header, .. } = self;
        let body = Bytes::from(page.html);
        header.insert_header(http::header::CONTENT_TYPE, "text/html; charset=utf-8")?;
        header.insert_header(http::header::CONTENT_LENGTH, body.len())?;
        header.insert_header(http::header::CONTENT_LANGUAGE, page.language)?;
        header.insert_header(http::header::CACHE_CONTROL, "no-store")?;
        header.insert_header(http::header::CONTENT_SECURITY_POLICY, page.content_policy)?;
        header.insert_header(http::header::X_FRAME_OPTIONS, "DENY")?;
        // Not `no-referrer`: then a form of the page's own would come without its origin (Fetch standard).
        header.insert_header(http::header::REFERRER_POLICY, "same-origin")?;
        header.insert_header("cross-origin-opener-policy", "same-origin")?;
        header.insert_header("cross-origin-resource-policy", "same-origin")?;
        header.insert_header("x-content-type-options", "nosniff")?;
        Ok(Self { header, body })
    }

    /// The browser goes on to another address, by `GET`.
    pub fn go_to(id: Uuid, address: &str) -> pingora::Result<Self> {
        let mut reply = Self::bare(id, 303)?;
        reply.header.insert_header(http::header::LOCATION, address)?;
        // What the address holds is for nobody but the page there.
        reply.header.insert_header(http::header::REFERRER_POLICY, "no-referrer")?;
        Ok(reply)
    }

    /// How far a step-up is, for a script.
    pub fn progress(id: Uuid, word: &str) -> pingora::Result<Self> {
        let body = Bytes::from(format!("{{\"state\":\"{word}\"}}\n"));
        let mut header = Self::bare(id, 200)?.header;
        header.insert_header(http::header::CONTENT_TYPE, "application/json")?;
        header.insert_header(http::header::CONTENT_LENGTH, body.len())?;
        Ok(Self { header, body })
    }

    /// The script of single-page applications.
    pub fn script(id: Uuid) -> pingora::Result<Self> {
        let body = Bytes::from_static(SCRIPT.as_bytes());
        let mut header = Self::bare(id, 200)?.header;
        header.insert_header(http::header::CONTENT_TYPE, "text/javascript; charset=utf-8")?;
        header.insert_header(http::header::CONTENT_LENGTH, body.len())?;
        header.insert_header(http::header::CACHE_CONTROL, SCRIPT_CACHE)?;
        header.insert_header("x-content-type-options", "nosniff")?;
        // Only the applications of this host run it, or learn that it is here.
        header.insert_header("cross-origin-resource-policy", "same-origin")?;
        Ok(Self { header, body })
    }

    /// How an issuer's word was taken (OpenID Connect CIBA Core 1.0 §10.2).
    pub fn heard(id: Uuid, heard: Heard) -> pingora::Result<Self> {
        let status = match heard {
            Heard::Taken => 204,
            Heard::Malformed => 400,
            Heard::Refused => 401,
            Heard::Unavailable => 503,
        };
        let mut reply = Self::bare(id, status)?;
        match heard {
            // It has no content whose length could be told (RFC 9110 §8.6).
            Heard::Taken => drop(reply.header.remove_header(&http::header::CONTENT_LENGTH)),
            Heard::Refused => reply.header.insert_header(http::header::WWW_AUTHENTICATE, "Bearer")?,
            Heard::Malformed => {}
            Heard::Unavailable => reply.header.insert_header(http::header::RETRY_AFTER, RETRY_AFTER)?,
        }
        Ok(reply)
    }

    /// A status and nothing else.
    pub fn bare(id: Uuid, status: u16) -> pingora::Result<Self> {
        let mut header = ResponseHeader::build(status, Some(8))?;
        header.insert_header(http::header::CONTENT_LENGTH, 0)?;
        header.insert_header(http::header::CACHE_CONTROL, "no-store")?;
        header.insert_header(DECISION_HEADER, id.to_string())?;
        Ok(Self { header, body: Bytes::new() })
    }

    /// Has the browser forget what it keeps of this host (Clear Site Data §3.1).
    pub fn clearing_browser(mut self) -> pingora::Result<Self> {
        self.header.insert_header("clear-site-data", r#""cache", "cookies", "storage""#)?;
        Ok(self)
    }

    /// Gives the browser cookies, as whole `Set-Cookie` lines.
    pub fn with_cookies(mut self, lines: &[String]) -> pingora::Result<Self> {
        for line in lines {
            self.header.append_header(http::header::SET_COOKIE, line.as_str())?;
        }
        Ok(self)
    }
}
