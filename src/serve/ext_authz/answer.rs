//! What Envoy is told of a request.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use pingora::http::{RequestHeader, ResponseHeader};

use super::messages::{
    BoolValue, CheckResponse, DeniedHttpResponse, HeaderValue, HeaderValueOption, HttpResponse, HttpStatus,
    OkHttpResponse, Status,
};

/// `PERMISSION_DENIED` of `google.rpc.Code`: anything but 0 refuses.
const PERMISSION_DENIED: i32 = 7;

/// The request goes on, with these headers in the place of the client's, and without those.
///
/// # Errors
/// A value is no text.
pub fn leave(told: &RequestHeader, without: &[HeaderName]) -> pingora::Result<CheckResponse> {
    let headers_to_remove = without.iter().map(|name| name.as_str().to_owned()).collect();
    let ok = OkHttpResponse { headers: options(&told.headers)?, headers_to_remove };
    let status = Some(Status { code: 0 });
    Ok(CheckResponse { status, http_response: Some(HttpResponse::Ok(ok)) })
}

/// The client gets this answer.
///
/// # Errors
/// It is no text.
pub fn refusal(mut head: ResponseHeader, body: &Bytes) -> pingora::Result<CheckResponse> {
    // Envoy counts by itself.
    head.remove_header(&header::CONTENT_LENGTH);
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: head.status.as_u16().into() }),
        headers: options(&head.headers)?,
        body: text(body)?,
    };
    let status = Some(Status { code: PERMISSION_DENIED });
    Ok(CheckResponse { status, http_response: Some(HttpResponse::Denied(denied)) })
}

fn options(headers: &HeaderMap) -> pingora::Result<Vec<HeaderValueOption>> {
    let mut options: Vec<HeaderValueOption> = Vec::with_capacity(headers.len());
    for name in headers.keys() {
        for (position, value) in headers.get_all(name).iter().enumerate() {
            let (key, value) = (name.as_str().to_owned(), text(value.as_bytes())?);
            let header = Some(HeaderValue { key, value, ..HeaderValue::default() });
            // Without this word Envoy would add to what the client has sent.
            options.push(HeaderValueOption { header, append: Some(BoolValue { value: position > 0 }) });
        }
    }
    Ok(options)
}

fn text(bytes: &[u8]) -> pingora::Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| {
        pingora::Error::explain(pingora::ErrorType::InternalError, "what Envoy is to be told is no text")
    })
}
