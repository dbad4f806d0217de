//! Answers to other proxies, which forward requests themselves.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use uuid::Uuid;

use super::{DECISION_HEADER, Reply};

/// The status that the client is to get.
const STATUS: &str = "x-wardgate-status";
/// The body that the client is to get.
const PROBLEM: &str = "x-wardgate-problem";

impl Reply {
    /// Leave for another proxy to forward a request, with what it is to tell the application about its caller.
    pub fn leave(id: Uuid, told: &RequestHeader) -> pingora::Result<Self> {
        let mut header = ResponseHeader::build(StatusCode::OK, Some(8))?;
        for (name, value) in &told.headers {
            header.insert_header(name.clone(), value.clone())?;
        }
        header.insert_header(header::CONTENT_LENGTH, 0)?;
        header.insert_header(header::CACHE_CONTROL, "no-store")?;
        header.insert_header(DECISION_HEADER, id.to_string())?;
        Ok(Self { header, body: Bytes::new() })
    }

    /// The same answer for a proxy that passes on no status but 403 and no body: both stand in headers.
    pub fn in_headers(mut self) -> pingora::Result<Self> {
        self.header.insert_header(STATUS, self.status())?;
        // A problem is JSON, which has no line breaks within.
        if let Ok(problem) = HeaderValue::from_bytes(self.body.trim_ascii()) {
            self.header.insert_header(PROBLEM, problem)?;
        }
        self.header.set_status(StatusCode::FORBIDDEN)?;
        self.header.remove_header(&header::CONTENT_TYPE);
        self.header.insert_header(header::CONTENT_LENGTH, 0)?;
        self.body = Bytes::new();
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Denial, Reason};

    #[test]
    fn a_refusal_in_headers_is_the_same_refusal() {
        let id = Uuid::nil();
        let plain = Reply::refusal(id, &Denial::new(Reason::NoRoute), &[]).expect("a reply");
        let body = String::from_utf8(plain.body.to_vec()).expect("text");
        let told = plain.in_headers().expect("a reply");
        let value = |name: &str| told.header.headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!((told.status(), value(STATUS)), (403, Some("404")));
        assert_eq!(value(PROBLEM), Some(body.trim_end()));
        assert!(told.body.is_empty() && value("content-length") == Some("0"));
    }
}
